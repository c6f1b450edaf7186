package fact

import (
	"encoding/binary"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// maxWho is how many program names of a lineage are kept.
const maxWho = 8

// maxNodes bounds the images whose lineage is remembered, and maxLineages the
// distinct ones. Past it all are forgotten and made again as they are needed.
// An image that is remembered is held, also one that the tree has left out, so
// there are few.
const (
	maxNodes    = 1 << 11
	maxLineages = 1 << 15
)

// lineage is the subject of facts: who did it, as names that are the same in
// the next run, and in whose scope. Each distinct one is kept once.
type lineage struct {
	id                       uint32
	who                      []redact.Text
	job, step, action, agent redact.Text
	container, session, call redact.Text
	late                     bool
	via                      event.Via
}

// doer is the name of the program that acts.
func (l *lineage) doer() string {
	if len(l.who) == 0 {
		return ""
	}
	return l.who[0].String()
}

// nodeLineage is what was found for an image, and what it was found from: an
// image that was only named by others may become known later.
type nodeLineage struct {
	lin   *lineage
	known bool
	via   event.Via
}

// stands reports whether n is still where it was: its step, its container and the
// call of an agent that started it are told after its exec.
func (l *lineage) stands(n *process.Node) bool {
	return l.step == n.Step && l.container == n.Container &&
		(n.AgentSession.IsZero() || l.session == n.AgentSession && l.call == n.Call && l.late == n.Late)
}

func (f *Folder) lineageOf(n *process.Node, via event.Via) *lineage {
	if n != f.doer {
		f.doer, f.doing = n, f.nodes[n]
	}
	if e := &f.doing; e.lin != nil && e.known == n.Known && e.via == via && e.lin.stands(n) {
		return e.lin
	}
	l := f.makeLineage(n, via)
	if len(f.nodes) >= maxNodes {
		clear(f.nodes)
	}
	f.doing = nodeLineage{l, n.Known, via}
	f.nodes[n] = f.doing
	return l
}

func (f *Folder) makeLineage(n *process.Node, via event.Via) *lineage {
	var who [maxWho]redact.Text
	k := 0
	for m := n; m != nil && k < maxWho; m = m.Parent {
		// What was there before the recording is the machine's business and
		// differs from one to the next; a lineage begins inside.
		if m.Via == event.ViaMonitor && k > 0 {
			break
		}
		if !m.Execed && m.Parent != nil {
			continue // it runs its parent's program
		}
		name := m.Program()
		if name.IsZero() || k > 0 && who[k-1] == name {
			continue
		}
		who[k] = name
		k++
	}
	b := f.lkey[:0]
	for _, t := range who[:k] {
		b = append(append(b, t.String()...), 0)
	}
	b = append(b, 0, byte(via))
	for _, t := range []redact.Text{n.Job, n.Step, n.Action, n.Agent, n.Container} {
		b = binary.AppendUvarint(b, uint64(t.Len()))
		b = append(b, t.String()...)
	}
	if !n.AgentSession.IsZero() {
		late := byte(0)
		if n.Late {
			late = 1
		}
		b = append(b, late)
		for _, t := range []redact.Text{n.AgentSession, n.Call} {
			b = binary.AppendUvarint(b, uint64(t.Len()))
			b = append(b, t.String()...)
		}
	}
	f.lkey = b
	if l, ok := f.lineages[string(b)]; ok {
		return l
	}
	l := &lineage{
		id: f.nextLineage, who: append([]redact.Text(nil), who[:k]...), via: via,
		job: n.Job, step: n.Step, action: n.Action, agent: n.Agent, container: n.Container,
	}
	if !n.AgentSession.IsZero() {
		l.session, l.call, l.late = n.AgentSession, n.Call, n.Late
	}
	f.nextLineage++
	if len(f.lineages) >= maxLineages {
		// The ids stay taken, so a lineage that comes again makes new facts
		// rather than growing another's.
		clear(f.lineages)
		clear(f.nodes)
	}
	f.lineages[string(b)] = l
	return l
}
