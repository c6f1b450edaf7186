package monitor

import (
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// containers tells which container a cgroup v2 id belongs to. It is asked at
// each exec, so an answer is remembered and costs one look-up after that.
//
// It is not safe for use by several goroutines.
type containers struct {
	cgroups *process.Cgroups // nil where cgroup v2 is not mounted
	known   map[uint64]container
	old     oldContainers
}

// container is the answer for one cgroup; the zero value is that of a cgroup
// of no container.
type container struct {
	id   redact.Text
	path string // of the cgroup, below the mount
	// silent: the cgroup is of no container, or is not known, so that a hierarchy
	// of cgroup v1 may say more: on a machine that mounts both, an engine may
	// use the old one alone.
	silent bool
}

// maxCgroups bounds the cgroups that are remembered.
const maxCgroups = 4096

// openContainers never fails: the error says why no container will be known.
func openContainers() (*containers, error) {
	c := &containers{known: make(map[uint64]container)}
	c.old.open()
	var err error
	c.cgroups, err = process.OpenCgroups(maxCgroups)
	return c, err
}

func (c *containers) close() {
	if c.cgroups != nil {
		_ = c.cgroups.Close()
	}
}

// of returns the container of the cgroup with that id.
func (c *containers) of(cgroup uint64) container {
	if cgroup == 0 || c.cgroups == nil {
		return container{silent: true}
	}
	if found, ok := c.known[cgroup]; ok {
		return found
	}
	if len(c.known) >= maxCgroups {
		clear(c.known)
	}
	var found container
	path, ok := c.cgroups.Path(cgroup)
	found.silent = true
	if ok {
		// The id is hex alone, so it is not the job's text.
		if id, ok := redact.HexID(process.ContainerID(path)); ok {
			found = container{id: id, path: path}
		}
	}
	c.known[cgroup] = found
	return found
}
