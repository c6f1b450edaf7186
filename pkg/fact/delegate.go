package fact

import (
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// delegates are the setuid programs that take power for another. Who has it is
// what they run: the exec below them says so, and not their arguments, which
// nobody but they can read rightly. So the fact of `sudo apt-get` is that of
// apt-get, below sudo.
var delegates = map[string]bool{"sudo": true, "sudo-rs": true, "su": true, "doas": true, "pkexec": true}

// maxAsked bounds the delegates that are remembered. One that finds no room
// has the power itself.
const maxAsked = 1 << 12

// asked is a delegate that has power, and whether it ran anything with it.
type asked struct {
	node *process.Node
	fact Fact // that it would be if it never does
	ran  bool
}

// ask takes note of a delegate that took power, and reports whether it did.
func (f *Folder) ask(ev *event.Event, n *process.Node, l *lineage) bool {
	if !delegates[l.doer()] {
		return false
	}
	for i := range f.asked {
		if f.asked[i].node == n {
			f.asked[i].fact.seen(ev.Time, 0)
			return true
		}
	}
	if len(f.asked) >= maxAsked {
		return false
	}
	fact := made(Power, ev, n, l)
	fact.Class, fact.Object = rootPower, rootPower
	f.asked = append(f.asked, asked{node: n, fact: *fact})
	f.tree.Pin(n)
	return true
}

// delegated makes the fact of a program that a delegate runs as root.
func (f *Folder) delegated(ev *event.Event, n *process.Node) {
	m := n.Parent
	for m != nil && !m.Execed && m.Parent != nil {
		m = m.Parent // it runs its parent's program
	}
	if m == nil || ev.UID != 0 {
		return
	}
	for i := range f.asked {
		if f.asked[i].node == m {
			f.asked[i].ran = true
			f.powerFact(ev, n, rootPower, redact.Text{})
			return
		}
	}
}

// unheard adds the delegates that took power and ran nothing with it so far.
func (f *Folder) unheard(byKey map[string]*Fact, out []*Fact) []*Fact {
	for i := range f.asked {
		a := &f.asked[i]
		if a.ran {
			continue
		}
		f.powerKey(f.lineageOf(a.node, a.fact.Via), rootPower, redact.Text{})
		if have := byKey[string(f.key)]; have != nil {
			have.First, have.Last = min(have.First, a.fact.First), max(have.Last, a.fact.Last)
			have.Count += a.fact.Count
			continue
		}
		fact := a.fact
		fact.key = string(f.key)
		byKey[fact.key] = &fact
		out = append(out, &fact)
	}
	return out
}
