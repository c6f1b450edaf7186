package signature

import "github.com/org/edamame-posture/pkg/process"

// maxHeld bounds what waits for engines to say what containers are called. What
// finds no room is decided by the container's id alone.
const maxHeld = 4096

// held is a rule whose answer for an event hangs on what its container is
// called, which its engine has not said yet.
type held struct {
	in   Input
	cat  category
	rule int
}

// hold keeps what rule asked of the event that is looked at until its
// container has a name. It reports false where nothing will come, or there is no
// room.
func (m *Matcher) hold(in *Input, cat category, rule int) bool {
	c := in.Node.In()
	if len(m.held) >= maxHeld || c == nil {
		return false
	}
	h := held{*in, cat, rule}
	h.in.Event = in.Event.Clone()
	m.held = append(m.held, h)
	return true
}

// release asks the rules that waited for a container, or with nil all.
func (m *Matcher) release(of *process.Container) {
	rest := m.held[:0]
	m.decided = true
	for i := range m.held {
		h := m.held[i]
		if of != nil && h.in.Node.In() != of {
			rest = append(rest, h)
			continue
		}
		m.view.reset(&h.in)
		m.view.cat = h.cat
		m.matched = m.matched[:0]
		m.ask(&h.in, h.cat, h.rule)
		if len(m.matched) > 0 {
			m.correlate(&h.in, h.cat)
		}
	}
	m.decided = false
	clear(m.held[len(rest):])
	m.held = rest
}

// End returns the hits of what still waited: the log is over, and nobody says
// any more what a container is called.
func (m *Matcher) End() []Hit {
	m.hits = m.hits[:0]
	m.release(nil)
	return m.hits
}
