package netlink

import (
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// mover tells of processes that are in other namespaces than before. No source
// tells of setns(2), unshare(2) and clone(2) with CLONE_NEW*: only the links in
// /proc/PID/ns are seen, at an exec and now and then. Where somebody else was in
// a new namespace already, the process is said to have entered it by setns, else
// to have made it by unshare; it may be that clone put it there.
type mover struct {
	table *table
	proc  *procReader
	tick  int64
	emit  func(*sensor.Record)

	record sensor.Record
}

// startSlack is how far the start of a process that is known may be from what
// /proc says, in nanoseconds.
const startSlack = 200e6

// read takes what was read of the namespaces of a process p at a boot time and
// tells, as of the time now, where they are others.
func (m *mover) read(p process, ns event.Namespaces, at, now int64) {
	p, changed, inherited, entered := m.table.inside(p.pid, p.start, ns, at)
	if !changed {
		return
	}
	if inherited {
		// Many children may show what their parent did: it is told of the parent.
		parent := m.table.find(p.parent)
		read := bootNow()
		there := m.living(parent)
		if after, changed, _, entered := m.table.inside(parent.pid, parent.start, there, read); changed {
			m.tell(after, entered, now)
		}
		if there == p.ns {
			return
		}
	}
	m.tell(p, entered, now)
}

// living reads the namespaces of a process that is known; nothing where it is
// gone, though another may have its number.
func (m *mover) living(p process) event.Namespaces {
	if p.pid == 0 || p.kernel {
		return event.Namespaces{}
	}
	ns := m.proc.namespacesOf(p.pid)
	// The start that a fork told may be off by what the parent waited for a
	// processor in it; no number comes again that soon.
	ticks := m.proc.start(p.pid)
	if off := ticks*m.tick - p.start; ticks < 0 || off < -startSlack || off > startSlack {
		return event.Namespaces{}
	}
	return ns
}

func (m *mover) tell(p process, entered bool, now int64) {
	r := &m.record
	*r = sensor.Record{Kind: event.Namespace, Time: now, PID: p.pid, TID: p.pid, Op: event.OpUnshare}
	if entered {
		r.Op = event.OpSetNS
	}
	fillProcess(r, p)
	m.emit(r)
}
