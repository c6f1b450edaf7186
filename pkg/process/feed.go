package process

import (
	"strings"

	"github.com/org/edamame-posture/pkg/runner"
	"github.com/org/edamame-posture/pkg/sensor"
)

// Fork takes in a new process and returns it. It inherits the tags of the
// process that forked it.
func (t *Table) Fork(rec *sensor.Record) *Process {
	t.advance(rec.Time)
	if rec.PID == 0 {
		return t.unknown(0, 0, 0, 0)
	}
	p := t.get(rec.PID, rec.Start, rec.Time)
	if p != nil && rec.Start == 0 && (p.born != placeholder || !p.Alive) {
		p = nil // without a start time, a known pid is a reused one
	}
	if p != nil && p.born == forked {
		return p
	}
	if p == nil {
		p = t.add(rec.PID, rec.Start, rec.Time)
	}
	fresh := p.born == placeholder && p.Actor.Image == 0
	p.born = forked
	if rec.ParentPID != 0 {
		t.bear(p, t.known(rec.ParentPID, rec.ParentStart, rec.Time, 0), fresh, rec.Time)
	}
	if rec.Cgroup != 0 {
		p.Cgroup = rec.Cgroup
	}
	t.settle(p)
	return p
}

// bear makes p the child of parent, unless a confused record would make it its
// own ancestor.
func (t *Table) bear(p, parent *Process, inherits bool, time int64) {
	if parent == p || descends(parent, p) {
		return
	}
	if p.Parent != parent {
		t.unlink(p)
		t.adopt(p, parent)
	}
	if inherits {
		p.UID, p.Cgroup, p.NetNS, p.role = parent.UID, parent.Cgroup, parent.NetNS, parent.role
	}
	if parent.step != noStep && p.step == noStep {
		p.step = withinStep
	}
	p.Kernel = p.Kernel || parent.Kernel && p.Actor.Image == 0
	t.tagChild(p, parent, time)
}

// Exec takes in that a process runs another program, and returns it as its
// new image.
func (t *Table) Exec(rec *sensor.Record) *Process {
	t.advance(rec.Time)
	p := t.known(rec.PID, rec.Start, rec.Time, 0)
	p.Actor.Image++
	p.UID, p.Cgroup, p.NetNS = rec.UID, rec.Cgroup, rec.NS.Net
	base := rec.Exe
	for i := len(base) - 1; i >= 0; i-- {
		if base[i] == '/' {
			base = base[i+1:]
			break
		}
	}
	p.role = roleOf(base)
	if p.role == runnerWorker && !runner.IsWorker(rec.Exe) {
		p.role = noRole
	}
	p.enterStep()
	if p.Kernel {
		p.Kernel = false
		t.answer(p, KernelHelper, rec.Time)
	}
	if p.role == atClient {
		t.Request(p, At, rec.Time)
	}
	return p
}

// SetID takes in that a process has another effective user.
func (t *Table) SetID(rec *sensor.Record) *Process {
	t.advance(rec.Time)
	p := t.known(rec.PID, rec.Start, rec.Time, 0)
	p.UID = rec.UID
	return p
}

// Exit takes in the end of a process. It stays findable for a while.
func (t *Table) Exit(rec *sensor.Record) *Process {
	t.advance(rec.Time)
	p := t.known(rec.PID, rec.Start, rec.Time, 0)
	t.end(p, rec.Time)
	t.settle(p)
	return p
}

// Find returns the process that a record is about. start is 0 where the record
// does not say, and may be coarse. A process that no record told of is read
// from /proc; where it is gone there too, what is returned has no parent.
func (t *Table) Find(pid uint32, start int64) *Process {
	p := t.known(pid, start, 0, 0)
	t.last = p
	return p
}

func (t *Table) advance(time int64) {
	t.last = nil
	t.now = max(t.now, time)
	t.expire()
}

// get returns the process of that pid and start, or for start 0 the latest
// that began before time. It returns nil where there is none.
func (t *Table) get(pid uint32, start, time int64) *Process {
	for p := *t.bucket(pid); p != nil; p = p.chain {
		if p.Actor.PID != pid {
			continue
		}
		if start == 0 {
			if time == 0 || p.Actor.Start <= time {
				return p
			}
		} else if p.is(start) {
			return p
		}
	}
	return nil
}

// is reports whether the process is the one of its pid that began at start.
func (p *Process) is(start int64) bool {
	own := p.Actor.Start
	switch {
	case own == start:
		return true
	case p.guessed:
		return start <= own && own-start < 1e9
	case p.Coarse || start%tick == 0:
		return own/tick == start/tick
	}
	return false
}

// known is get, but makes what it does not find.
func (t *Table) known(pid uint32, start, time int64, depth int) *Process {
	p := t.get(pid, start, time)
	if p == nil {
		p = t.unknown(pid, start, time, depth)
	}
	return p
}

// add makes a process. One of the same pid that began before it has ended,
// whatever we heard.
func (t *Table) add(pid uint32, start, time int64) *Process {
	guessed := start == 0
	if guessed {
		if start = time; start <= 0 {
			start = max(t.now, 1)
		}
	}
	stale := false
	for q := *t.bucket(pid); q != nil; q = q.chain {
		if q.Actor.PID != pid {
			continue
		}
		if q.Actor.Start > start {
			stale = true
		} else if q.Alive {
			t.stats.Exits++
			t.end(q, max(time, t.now))
			t.settle(q)
		}
	}
	p := t.alloc()
	if p == nil {
		t.stats.Overflow++
		p = &Process{loose: true} // lives for one record
	}
	p.Actor.PID, p.Actor.Start = pid, start
	p.guessed = guessed
	p.Coarse = guessed || start%tick == 0
	p.Alive = !stale
	p.Kernel = pid == 2
	if stale {
		p.Ended = t.now
	}
	if !p.loose {
		t.insert(p)
		if p.Alive {
			t.living++
		}
	}
	return p
}

// settle puts an ended process, now that it is linked, in the list of those
// that will be forgotten.
func (t *Table) settle(p *Process) {
	if !p.Alive && p.list == noList && !p.loose {
		p.list = deadList
		t.dead.push(p)
	}
}

func (t *Table) end(p *Process, time int64) {
	if !p.Alive {
		return
	}
	p.Alive, p.Ended = false, time
	if !p.loose {
		t.living--
		t.asked.close(p.asks, p.Tags, time)
	}
}

// revive takes back an exit that was none: the first thread of a process may
// end before the others.
func (t *Table) revive(p *Process) {
	t.dead.remove(p)
	p.list, p.Alive, p.Ended = noList, true, 0
	t.living++
	t.asked.open(p.asks, p.Tags)
}

// adopt links p to its parent, unless p will be gone after this record.
func (t *Table) adopt(p, parent *Process) {
	switch {
	case p.loose:
		p.Parent = parent
	case parent.loose:
		t.link(p, nearest(parent))
	default:
		t.link(p, parent)
	}
}

// tagChild gives p the tags that a child of parent has, and what p forked
// already gets those that are new.
func (t *Table) tagChild(p, parent *Process, time int64) {
	if p.Kernel {
		return
	}
	add := parent.Tags
	for rules := parent.childTags; rules != 0; rules &= rules - 1 {
		if bit := rules.first(); time == 0 || time >= t.since[bit] {
			add |= bitSet(bit)
		}
	}
	if add &^= p.Tags; add != 0 {
		t.spread(p, add, parent)
	}
	t.ask(p, parent.asks) // it holds the same connections
	if kind := parent.role.kind(); kind != NoKind {
		t.answer(p, kind, time)
	}
}

// spread gives p and all that came from it the tags in add, with the reasons
// that from has them for.
func (t *Table) spread(p *Process, add Set, from *Process) {
	for q := p; q != nil; {
		fresh := add &^ q.Tags
		q.viaLow |= from.viaLow & fresh
		q.viaHigh |= from.viaHigh & fresh
		q.ambiguous |= from.ambiguous & fresh
		t.addTags(q, fresh)
		// Down, then right, then up: the tree's own links serve as the stack.
		if q.child != nil {
			q = q.child
			continue
		}
		for q != p && q.sister == nil {
			q = q.Parent
		}
		if q == p {
			return
		}
		q = q.sister
	}
}

// nearest returns the first ancestor of p that the table holds.
func nearest(p *Process) *Process {
	for p != nil && p.loose {
		p = p.Parent
	}
	return p
}

// descends reports whether p came from ancestor.
func descends(p, ancestor *Process) bool {
	if p == nil || ancestor.child == nil {
		return false
	}
	for ; p != nil; p = p.Parent {
		if p == ancestor {
			return true
		}
	}
	return false
}

// roleOf says which part a program plays in what is done by request.
func roleOf(base []byte) role {
	const gone = " (deleted)"
	if n := len(base) - len(gone); n > 0 && string(base[n:]) == gone {
		base = base[:n]
	}
	if r, ok := roles[string(base)]; ok { // the compiler does not copy for a look-up
		return r
	}
	if len(base) >= len(shimPrefix) && string(base[:len(shimPrefix)]) == shimPrefix {
		return containerDaemon
	}
	return noRole
}

func roleOfString(exe string) role {
	return roleOf([]byte(exe[strings.LastIndexByte(exe, '/')+1:]))
}
