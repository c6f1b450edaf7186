package monitor

import (
	"errors"
	"strings"

	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
)

// containers tells which container a process is in at an exec of its own, by
// the cgroups it is in then. It is asked at each exec, so an answer is
// remembered and costs one look-up after that.
//
// It is not safe for use by several goroutines.
type containers struct {
	unified hierarchy // version 2
	old     hierarchy // version 1, one of those that are mounted
	byProc  procContainers
}

// hierarchy tells which container a cgroup belongs to, by its id.
type hierarchy struct {
	cgroups *process.Cgroups // nil where it is not mounted
	// known holds the answers. Where it is full it becomes before, and what is
	// asked for again comes back from there: a storm of cgroups pushes out only
	// what nobody asked for meanwhile.
	known, before map[uint64]container
}

// container is the answer for one cgroup. The id of one of no container is zero.
type container struct {
	id   redact.Text
	path string // of the cgroup, below the mount
	// lost: the cgroup was gone before anything told of its path.
	lost bool
}

const (
	// maxCgroups bounds the cgroups that are remembered, twice for each hierarchy.
	maxCgroups = 4096
	// maxCgroupPath bounds the path that is remembered of each: its end, where
	// the container's name is.
	maxCgroupPath = 255
)

// openContainers never fails: the error says why no container will be known
// by its cgroup.
func openContainers() (*containers, error) {
	c := &containers{unified: newHierarchy(), old: newHierarchy()}
	c.byProc.open()
	root, err := probe.CgroupRoot()
	if err == nil {
		c.unified.cgroups, err = process.OpenCgroups(root)
	}
	if _, root, none := probe.OldCgroupRoot(); none == nil {
		var old error
		c.old.cgroups, old = process.OpenCgroups(root)
		err = errors.Join(err, old)
	}
	return c, err
}

func newHierarchy() hierarchy {
	return hierarchy{known: make(map[uint64]container), before: make(map[uint64]container)}
}

func (c *containers) close() {
	for _, h := range []*hierarchy{&c.unified, &c.old} {
		if h.cgroups != nil {
			_ = h.cgroups.Close()
		}
	}
}

// seed learns the containers that are there: one of them may be gone right
// after its first process.
func (c *containers) seed() {
	for _, h := range []*hierarchy{&c.unified, &c.old} {
		if h.cgroups != nil {
			h.cgroups.Each(maxCgroups, func(id uint64, path string) bool {
				h.learn(id, path)
				return true
			})
		}
	}
}

// made takes a record of a cgroup that was made. A cgroup of version 1 that is
// renamed is remembered by the name it was made with; in version 2 none can be.
// It returns the container that it is of.
func (c *containers) made(rec *sensor.Record) redact.Text {
	if rec.OldCgroup != 0 {
		return c.old.learn(rec.OldCgroup, string(rec.Path))
	}
	return c.unified.learn(rec.Cgroup, string(rec.Path))
}

// ofExec returns the container that a process is in at an exec of its own. On a
// machine that mounts both versions an engine may use the old one alone.
func (c *containers) ofExec(rec *sensor.Record, p *process.Process) container {
	found := c.unified.of(rec.Cgroup)
	if found.id.IsZero() && rec.OldCgroup != 0 {
		if found = c.old.of(rec.OldCgroup); !found.lost {
			return found
		}
	}
	if !found.id.IsZero() || !c.byProc.mounted || p == nil {
		return found
	}
	return c.byProc.of(p, string(rec.Exe))
}

// of returns the container of the cgroup with that id.
func (h *hierarchy) of(id uint64) container {
	if found, ok := h.known[id]; ok {
		return found
	}
	found, ok := h.before[id]
	if !ok {
		if h.cgroups == nil || id == 0 {
			return container{lost: true}
		}
		if path, ok := h.cgroups.Path(id); ok {
			found = containerAt(path)
		} else {
			found.lost = true
		}
	}
	h.keep(id, found)
	return found
}

// learn remembers a cgroup's path where it is of a container. Any other is
// asked for when something runs in it, so that making cgroups pushes out none.
func (h *hierarchy) learn(id uint64, path string) redact.Text {
	found := containerAt(path)
	if !found.id.IsZero() {
		h.keep(id, found)
	}
	return found.id
}

func (h *hierarchy) keep(id uint64, found container) {
	if len(h.known) >= maxCgroups {
		h.known, h.before = h.before, h.known
		clear(h.known)
	}
	h.known[id] = found
}

// containerID takes an id as text. It is hex alone, or one of BuildKit's, so it
// is not the job's text.
func containerID(id string) (redact.Text, bool) {
	if process.IsBuildID(id) {
		return redact.BuildID(id)
	}
	return redact.HexID(id)
}

// containerAt reads the path of a cgroup.
func containerAt(path string) container {
	id, ok := containerID(process.ContainerID(path))
	if !ok {
		return container{}
	}
	if over := len(path) - maxCgroupPath; over > 0 {
		path = strings.Clone(path[over:])
	}
	return container{id: id, path: path}
}
