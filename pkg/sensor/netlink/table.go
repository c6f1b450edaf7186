package netlink

import (
	"sync"

	"github.com/org/edamame-posture/pkg/event"
)

// process is what this sensor knows of a living process.
type process struct {
	pid   uint32
	start int64 // boot time, in ticks of /proc/PID/stat
	// threads counts those that live, the leader too. The process is gone
	// when none is left: a leader that exits first, or whose place another
	// thread takes by execve, is not the end of it.
	threads    int
	leaderGone bool
	code       uint32 // exit_code of the leader
	uid, gid   uint32
	parent     uint32 // that forked it, 0 where not known
	ns         event.Namespaces
	// own: ns was read of the process itself, not taken from its parent.
	own bool
	// moved is the boot time at which ns was last found to have changed.
	moved  int64
	kernel bool // a kernel thread
	// since is the boot time at which /proc told of the process, 0 where its
	// fork was seen. Events of threads before it are in the count already, and
	// the count is not certain.
	since int64
	// args is where the arguments lie, stat.argStart: another place is another
	// image.
	args uint64
	// looked is the round in which its files were last read, see owners.
	looked uint64
}

// table holds the living processes. The dispatcher writes it, the socket
// watcher reads it.
type table struct {
	mu    sync.Mutex
	procs map[uint32]*process
	spare []*process
}

func newTable() *table { return &table{procs: make(map[uint32]*process, 1024)} }

// fork puts a child in, and reports whether it was not there yet: after a
// gap, /proc may have told of it before its event is read. now is the time of
// the event.
func (t *table) fork(pid, parent uint32, start, now int64) (p process, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.procs[pid]; old != nil && old.start == start {
		return *old, false
	}
	n := t.procs[pid]
	if n == nil {
		n = t.make()
		t.procs[pid] = n
	}
	*n = process{pid: pid, start: start, threads: 1, parent: parent}
	if pp := t.procs[parent]; pp != nil {
		n.uid, n.gid, n.kernel = pp.uid, pp.gid, pp.kernel
		// Where the parent has moved since, it may have done so before or after.
		if pp.moved <= now {
			n.ns = pp.ns
		}
	}
	return *n, true
}

func (t *table) make() *process {
	if n := len(t.spare); n > 0 {
		p := t.spare[n-1]
		t.spare = t.spare[:n-1]
		return p
	}
	return new(process)
}

// find returns what is known of a process; the zero value where nothing is.
func (t *table) find(pid uint32) process {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.procs[pid]; p != nil {
		return *p
	}
	return process{}
}

// change lets f write what is known of a process, and returns it after.
func (t *table) change(pid uint32, f func(*process)) process {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.procs[pid]
	if p == nil {
		return process{}
	}
	f(p)
	return *p
}

// inside notes what was read of a process's namespaces at a boot time, and
// reports whether they are others than those it was in. inherited says that
// what was known before was its parent's; entered that somebody else was in one
// of the new ones already. start is the process's, 0 for any.
func (t *table) inside(pid uint32, start int64, ns event.Namespaces, read int64) (p process, changed, inherited, entered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.procs[pid]
	if n == nil || start != 0 && n.start != start || read < n.moved {
		return process{}, false, false, false
	}
	before := n.ns
	fill(&n.ns.Mount, ns.Mount)
	fill(&n.ns.Net, ns.Net)
	fill(&n.ns.PID, ns.PID)
	fill(&n.ns.User, ns.User)
	inherited = !n.own
	n.own = n.own || ns.Mount != 0
	now := n.ns
	if !elsewhere(before, now) {
		return *n, false, inherited, false
	}
	n.moved = read
	for _, o := range t.procs {
		// A child is where its parent has put it.
		if o == n || o.parent == pid {
			continue
		}
		if differs(before.Mount, now.Mount) && o.ns.Mount == now.Mount || differs(before.Net, now.Net) && o.ns.Net == now.Net ||
			differs(before.PID, now.PID) && o.ns.PID == now.PID || differs(before.User, now.User) && o.ns.User == now.User {
			entered = true
			break
		}
	}
	return *n, true, inherited, entered
}

// elsewhere reports whether any namespace is another one.
func elsewhere(before, now event.Namespaces) bool {
	return differs(before.Mount, now.Mount) || differs(before.Net, now.Net) || differs(before.PID, now.PID) || differs(before.User, now.User)
}

// differs reports whether a namespace is another one; one that was not known
// is not.
func differs(before, now uint32) bool { return before != 0 && now != 0 && before != now }

func fill(to *uint32, v uint32) {
	if v != 0 {
		*to = v
	}
}

// thread puts a thread of a process in.
func (t *table) thread(tgid uint32, now int64) {
	t.mu.Lock()
	if p := t.procs[tgid]; p != nil && now > p.since {
		p.threads++
	}
	t.mu.Unlock()
}

// exit takes one thread off. gone reports that it was the last one, and
// status is what wait(2) would say of the process.
func (t *table) exit(pid, tgid, code uint32, now int64, left func(pid uint32) int) (p process, status uint32, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.procs[tgid]
	if n == nil {
		// Never heard of: a leader's end is all that can be told.
		return process{pid: tgid}, code, pid == tgid
	}
	if now > n.since || pid == tgid {
		n.threads--
	}
	if pid == tgid {
		n.leaderGone, n.code = true, code
	}
	if !n.leaderGone {
		return *n, 0, false
	}
	if n.threads > 0 && (n.since == 0 || left(tgid) > 1) {
		return *n, 0, false
	}
	// After exit_group and after a killing signal every thread has the code
	// of the group; a last thread that only ended itself has 0.
	status = code
	if status == 0 {
		status = n.code
	}
	p = *n
	delete(t.procs, tgid)
	if len(t.spare) < 4096 {
		t.spare = append(t.spare, n)
	}
	return p, status, true
}

// found puts in what /proc says of a process, and reports whether the process
// or its image was not known.
func (t *table) found(p process) (newProcess, newImage bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.procs[p.pid]
	if old == nil {
		old = t.make()
		t.procs[p.pid] = old
		newProcess = true
	} else {
		newProcess = old.start != p.start
		newImage = !newProcess && old.args != p.args && old.args != 0
		if !newProcess && old.args == p.args {
			p.looked = old.looked
		}
	}
	*old = p
	return newProcess, newImage || newProcess
}

// others calls f for each process that was not found since a boot time, and
// forgets it.
func (t *table) others(since int64, f func(process)) {
	t.mu.Lock()
	var gone []process
	for _, p := range t.procs {
		if p.since < since {
			gone = append(gone, *p)
			delete(t.procs, p.pid)
		}
	}
	t.mu.Unlock()
	for _, p := range gone {
		f(p)
	}
}

// pids appends the ids of all processes but kernel threads.
func (t *table) pids(to []process) []process {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.procs {
		if !p.kernel {
			to = append(to, *p)
		}
	}
	return to
}
