package process

import (
	"cmp"
	"iter"
	"slices"

	"github.com/org/edamame-posture/pkg/event"
)

// tick is the precision of field 22 of proc_pid_stat(5) in nanoseconds:
// USER_HZ is 100 on every Linux architecture that we run on.
const tick int64 = 1e7

const (
	// grace is how long an ended process stays findable after its exit, in
	// nanoseconds of the records' own time: rings are read in turns, so a file
	// event may come after the exit of its process.
	grace = 5e9
	// chunk is how many processes are allocated at once.
	chunk = 256
	// reapsPerRecord bounds the work that one record can cause.
	reapsPerRecord = 64
	// maxSamePID is how many ended processes of one pid stay findable. Without
	// it a job that chooses its pids (clone3 set_tid) could make every look-up
	// walk a list of its own length.
	maxSamePID = 8
	// maxResolve bounds the parents that are read from /proc for one unknown
	// process.
	maxResolve = 64
)

// Process is one living or lately ended process.
//
// It belongs to the table and is valid until the table is fed again, or asked
// for two others: keep its Actor, not the pointer.
type Process struct {
	// Actor names the image that runs now.
	Actor event.Actor
	// Parent is who forked it, whatever became of that one since: neither
	// re-parenting nor setsid nor exec changes it. It is nil at the root, and
	// skips ended processes that never executed anything.
	Parent *Process
	// Tags are the recordings that it is part of.
	Tags Set
	// Cgroup is its cgroup v2 id, NetNS the inode of its network namespace, as
	// of the last exec; 0 where not known.
	Cgroup uint64
	NetNS  uint32
	// UID is the effective user id.
	UID uint32
	// Ended is when it exited in boot time, 0 while it lives.
	Ended int64

	Alive bool
	// Coarse says that Actor.Start has the precision of /proc, 10 ms.
	Coarse bool
	// Kernel says that it is a kernel thread: never part of a job. A program
	// that the kernel starts (modprobe, a core dump handler) stops being one at
	// its exec.
	Kernel bool

	step    step
	begins  bool // this image is the first of a step
	guessed bool // Actor.Start is when a record named it first
	loose   bool // there was no room for it: it is not in the table
	born    birth
	role    role
	asks    kinds // what it has open requests for
	list    list

	viaLow, viaHigh Set // event.Via of each tag, two bits
	ambiguous       Set
	childTags       Set // for processes that it forks, not for itself

	chain                *Process // same hash bucket, newest of a pid first
	child, sister, elder *Process // first child; neighbours among the parent's children
	prev, next           *Process // neighbours in list
}

// step is where a process stands to the steps of a CI job.
type step uint8

const (
	noStep step = iota
	// stepRoot: a runner's worker started the process.
	stepRoot
	// withinStep: it came from such a process.
	withinStep
)

// StepRoot reports whether the process is a child of a worker of GitHub's
// runner, and the worker not one that a step started itself.
func (p *Process) StepRoot() bool { return p.step == stepRoot }

// BeginsStep reports whether the image is the first program of a [Process.StepRoot].
func (p *Process) BeginsStep() bool { return p.begins }

// InStep reports whether the process is one of a step.
func (p *Process) InStep() bool { return p.step != noStep }

// JoinStep makes the process, and what it starts from now on, a part of a step
// that asked a daemon to start it.
func (p *Process) JoinStep() {
	if p.step == noStep {
		p.step = withinStep
	}
}

// Worker reports whether the process is a worker of GitHub's runner, and none
// that a step started itself.
func (p *Process) Worker() bool {
	return p.role == runnerWorker && p.step == noStep && (p.Parent == nil || p.Parent.role != runnerWorker)
}

// enterStep notes what an exec makes of a process that a worker may have
// started.
func (p *Process) enterStep() {
	p.begins = p.step == noStep && p.Parent != nil && p.Parent.role == runnerWorker && p.Parent.step == noStep
	if p.begins {
		p.step = stepRoot
	}
}

// birth is how we came to know of a process; the higher, the better.
type birth uint8

const (
	placeholder birth = iota // a record named it
	seeded                   // /proc showed it
	forked                   // its fork was seen
)

// list is which of the table's lists a process is in.
type list uint8

const (
	noList list = iota
	deadList
	keptList
)

// Via returns why the process is part of the recording.
func (p *Process) Via(bit int) event.Via {
	b := bitSet(bit)
	switch {
	case p.viaHigh&b == 0 && p.viaLow&b == 0:
		return event.ViaLineage
	case p.viaHigh&b == 0:
		return event.ViaRequest
	case p.viaLow&b == 0:
		return event.ViaHost
	}
	return event.ViaOutside
}

func (p *Process) setVia(b Set, via event.Via) {
	p.viaLow &^= b
	p.viaHigh &^= b
	switch via {
	case event.ViaRequest:
		p.viaLow |= b
	case event.ViaHost:
		p.viaHigh |= b
	case event.ViaOutside:
		p.viaLow |= b
		p.viaHigh |= b
	}
}

// Ambiguous reports whether a daemon started the process while more than one
// client could have asked for it, so that the recording may hold another's
// doing.
func (p *Process) Ambiguous(bit int) bool { return p.ambiguous.Has(bit) }

// Lineage returns the process's ancestors, the nearest first.
func (p *Process) Lineage() iter.Seq[*Process] {
	return func(yield func(*Process) bool) {
		for a := p.Parent; a != nil; a = a.Parent {
			if !yield(a) {
				return
			}
		}
	}
}

// Stats counts what a table could not know, or had to forget.
type Stats struct {
	// Living and Held are how many processes live and are held now.
	Living, Held int
	// Unknown is how many processes were named by a record before, or without,
	// their fork.
	Unknown uint64
	// Unresolved is how many of these /proc did not show either.
	Unresolved uint64
	// Exits counts processes whose exit was never reported and followed from
	// the reuse of their pid.
	Exits uint64
	// Early counts ended processes that were forgotten before their time.
	Early uint64
	// Folded counts ended ancestors that were taken out of a lineage.
	Folded uint64
	// Overflow counts records of processes for which there was no room.
	Overflow uint64
}

// Table knows the processes of the machine by pid. It is fed by one goroutine
// with the records of the sensors, which may come slightly out of order.
//
// A table is bounded: it holds at most as many processes as its limit, ended
// ones included, and what did not fit is counted. On a warm table fork, exec
// and exit allocate nothing.
type Table struct {
	limit   int
	proc    string // where /proc is; empty before Seed
	now     int64  // time of the latest record
	buckets []*Process
	chunks  [][]Process
	free    *Process // by next
	held    int
	living  int

	dead, kept lru
	last       *Process // what Find returned last
	asked      requests
	since      [MaxTags]int64 // when TagChildren was called first for the bit

	stats Stats
}

// NewTable returns an empty table for at most limit processes, at least 64.
func NewTable(limit int) *Table {
	limit = max(limit, 64)
	n := 64
	for n < limit {
		n *= 2
	}
	return &Table{limit: limit, buckets: make([]*Process, n)}
}

// Stats returns what was counted so far.
func (t *Table) Stats() Stats {
	s := t.stats
	s.Living, s.Held = t.living, t.held
	return s
}

// Tag makes the process, and what it forks from now on, part of the recording.
func (t *Table) Tag(p *Process, bit int, via event.Via) {
	b := bitSet(bit)
	if p == nil || b == 0 || p.Kernel {
		return
	}
	p.setVia(b, via)
	t.addTags(p, b)
}

// addTags gives tags and counts the process's open requests for them too.
func (t *Table) addTags(p *Process, add Set) {
	if add &^= p.Tags; add == 0 {
		return
	}
	if p.Alive && p.asks != 0 {
		if p.Tags == 0 {
			t.asked.close(p.asks, 0, t.now)
		}
		t.asked.open(p.asks, add)
	}
	p.Tags |= add
}

// TagChildren makes every process that pid forks from now on part of the
// recording, but not pid itself. start is pid's start time, 0 where not known.
func (t *Table) TagChildren(pid uint32, start int64, bit int) {
	b := bitSet(bit)
	if b == 0 {
		return
	}
	p := t.Find(pid, start)
	p.childTags |= b
	if t.since[bit] == 0 || t.now < t.since[bit] {
		t.since[bit] = t.now
	}
}

// Untag ends the recording's part in the table, so that the bit can be used
// again.
func (t *Table) Untag(bit int) {
	b := bitSet(bit)
	for p := range t.all() {
		p.Tags &^= b
		p.childTags &^= b
		p.ambiguous &^= b
		p.viaLow &^= b
		p.viaHigh &^= b
	}
	if b != 0 {
		t.since[bit] = 0
		t.asked.forget(bit)
	}
}

// Living returns the living processes of the recording, by start time and pid.
func (t *Table) Living(bit int) []*Process {
	var ps []*Process
	for p := range t.all() {
		if p.Alive && p.Tags.Has(bit) {
			ps = append(ps, p)
		}
	}
	slices.SortFunc(ps, func(a, b *Process) int {
		return cmp.Or(cmp.Compare(a.Actor.Start, b.Actor.Start), cmp.Compare(a.Actor.PID, b.Actor.PID))
	})
	return ps
}

// all returns every process that the table holds.
func (t *Table) all() iter.Seq[*Process] {
	return func(yield func(*Process) bool) {
		for _, c := range t.chunks {
			for i := range c {
				if c[i].Actor.PID != 0 && !yield(&c[i]) {
					return
				}
			}
		}
	}
}

// Workers returns the living processes that are workers of GitHub's runner.
func (t *Table) Workers() []*Process {
	var ps []*Process
	for p := range t.all() {
		if p.Alive && p.Worker() {
			ps = append(ps, p)
		}
	}
	return ps
}

// Below returns the living processes that p started, and what these started.
func (t *Table) Below(p *Process) []*Process {
	var out []*Process
	for q := range t.all() {
		if !q.Alive || q == p {
			continue
		}
		for up := q.Parent; up != nil; up = up.Parent {
			if up == p {
				out = append(out, q)
				break
			}
		}
	}
	return out
}
