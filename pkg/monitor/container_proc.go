package monitor

import (
	"os"
	"strconv"

	"github.com/org/edamame-posture/pkg/process"
)

// procContainers tells which container a process is in by the hierarchies of
// cgroup v1 where the sensor does not: by /proc/PID/cgroup. So that a storm of
// execs does not read that file each time, a process is where its parent is,
// unless the parent is a program that makes containers.
type procContainers struct {
	mounted bool
	// known holds the answers by process, whatever it executes later.
	known map[lifetime]placed
	// read asks /proc. ok is false where the process is gone.
	read func(pid uint32) (found placed, ok bool)
}

// lifetime is a process through all its execs.
type lifetime struct {
	pid   uint32
	start int64
}

// placed is where a process is, and whether those that it starts are there too.
type placed struct {
	container
	image   uint32 // the exec at which this was so
	runtime bool   // it makes containers
}

func (o *procContainers) open() {
	info, err := os.ReadFile("/proc/self/mountinfo")
	o.mounted = err == nil && process.HasOldCgroups(info)
	o.known = make(map[lifetime]placed)
	o.read = readPlaced
}

// of returns where a process is that now executes exe.
func (o *procContainers) of(p *process.Process, exe string) container {
	life := lifetime{p.Actor.PID, p.Actor.Start}
	before, seen := o.known[life]
	if seen && before.image == p.Actor.Image {
		return before.container // asked for another recording
	}
	now := placed{image: p.Actor.Image, runtime: process.IsRuntime(exe)}
	known := seen
	if !seen && p.Parent != nil {
		before, known = o.place(p.Parent)
	}
	if known && !before.runtime {
		now.container = before.container
	} else if read, ok := o.read(p.Actor.PID); ok {
		now.container = read.container
	} else if known {
		now.container = before.container // it is gone already
	}
	o.keep(life, now)
	return now.container
}

// place returns where a process is. It reports false where that is not known
// any more.
func (o *procContainers) place(p *process.Process) (placed, bool) {
	life := lifetime{p.Actor.PID, p.Actor.Start}
	if found, ok := o.known[life]; ok {
		return found, true
	}
	if !p.Alive {
		return placed{}, false
	}
	found, ok := o.read(p.Actor.PID)
	if ok {
		found.image = p.Actor.Image
		o.keep(life, found)
	}
	return found, ok
}

func (o *procContainers) keep(life lifetime, where placed) {
	if len(o.known) >= maxCgroups {
		clear(o.known)
	}
	o.known[life] = where
}

// readPlaced asks /proc where a process is. It reports false where the process
// is gone.
func readPlaced(pid uint32) (placed, bool) {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10)
	text, err := readBounded(dir+"/cgroup", 64<<10)
	if err != nil {
		return placed{}, false
	}
	exe, _ := os.Readlink(dir + "/exe") // a kernel thread has none
	found := placed{runtime: process.IsRuntime(exe)}
	id, path := process.ContainerOf(text)
	if id, ok := containerID(id); ok {
		found.container = container{id: id, path: path}
	}
	return found, true
}
