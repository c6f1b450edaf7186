package signature

import (
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// Matcher holds events against the rules of a pack. It is for one goroutine,
// and sees the events of one recording in their order.
type Matcher struct {
	pack *Pack
	view view
	// stamp marks the rules that were already taken for the current event.
	stamp      []uint64
	now        uint64
	candidates []int
	states     []state
	// late are the correlations that the end of a timespan decides.
	late    []int
	hits    []Hit
	matched []int
	fed     []fed
	roots   []root
	// key and value are those of the group and value that is looked at.
	key, value []byte
	// told holds connections whose destination was decided and looked at.
	told map[connection]struct{}
	// held waits for the names of containers; decided: it is asked again now, and
	// does not wait any more.
	held    []held
	decided bool
}

// connection names a connection as well as the sensor can.
type connection struct {
	sock  uint64
	actor event.Actor
	dst   netip.AddrPort
}

// maxTold bounds the connections that are remembered. When there are more all
// are forgotten, and one that goes on is looked at once more.
const maxTold = 1 << 13

// first reports whether a Flow event is the first that tells where its
// connection went. Totals come every few seconds and say nothing new.
func (m *Matcher) first(in *Input) bool {
	e := in.Event
	c := connection{sock: e.Sock, dst: e.Dst}
	if e.Sock == 0 {
		c.actor = e.Actor
	}
	_, seen := m.told[c]
	switch {
	case e.Kind == event.Flow && (in.Fact == nil || seen):
		if e.OK {
			delete(m.told, c)
		}
		return false
	case in.Fact == nil || e.Kind == event.Flow && e.OK:
		return true
	}
	if len(m.told) >= maxTold {
		clear(m.told)
	}
	m.told[c] = struct{}{}
	return true
}

// Matcher returns a matcher without any state.
func (p *Pack) Matcher() *Matcher {
	m := &Matcher{pack: p, stamp: make([]uint64, len(p.rules)), states: make([]state, len(p.correlations)), told: map[connection]struct{}{}}
	m.view.scripts = process.NewScripts()
	m.view.suffixes = p.suffixes
	if p.suffixes == nil {
		m.view.suffixes = shippedSuffixes()
	}
	m.view.look = newLookalikes(p.brands, m.view.suffixes)
	for i, c := range p.correlations {
		m.states[i] = newState()
		if c.limits.late() {
			m.late = append(m.late, i)
		}
	}
	return m
}

// Grant takes a host that the policy grants: its domain imitates none, whatever
// it is called.
func (m *Matcher) Grant(host string) {
	if _, domain, ok := m.view.suffixes.registered(lowerText(host)); ok {
		m.view.look.granted[domain] = true
	}
}

// Apply returns the hits of one event: of correlations whose timespan it shows
// to be over, then in the order of the pack's rules, then of its correlations.
// The slice and what it holds are valid until the next call, but for Leaves,
// which are the caller's.
func (m *Matcher) Apply(in *Input) []Hit {
	m.hits = m.hits[:0]
	m.view.scripts.Moved(in.Event, in.Node)
	for _, i := range m.late {
		m.expire(&m.states[i], m.pack.correlations[i], in.Event.Time)
	}
	if in.Event.Kind == event.Container && in.Event.OK && len(m.held) > 0 {
		m.release(in.Node.In())
	}
	set := categories(in.Event) & m.pack.categories
	if set&(1<<networkConnection) != 0 && !m.first(in) {
		set = 0
	}
	if set != 0 {
		m.view.reset(in)
	}
	for cat := category(0); set != 0; cat, set = cat+1, set>>1 {
		if set&1 != 0 {
			m.category(in, cat)
		}
	}
	if len(m.hits) == 0 {
		return nil
	}
	return m.hits
}

// category holds the event against the rules of one category.
func (m *Matcher) category(in *Input, cat category) {
	x := &m.pack.byCategory[cat]
	v := &m.view
	v.cat = cat
	v.have[operation], v.haveLow[operation] = false, false // it depends on the category
	m.now++
	m.candidates = m.candidates[:0]
	m.consider(x.always)
	for _, f := range x.keyFields {
		if !fields[f].many {
			m.consider(x.byKey[f][keyed[f](v.get(f, true))])
			continue
		}
		for _, s := range v.getAll(f, true) {
			m.consider(x.byKey[f][s])
		}
	}
	for _, f := range x.textFields {
		x.byText[f].find(m, v.get(f, true))
	}
	m.matched = m.matched[:0]
	for _, i := range sorted(m.candidates) {
		m.ask(in, cat, i)
	}
	if len(m.matched) > 0 {
		m.correlate(in, cat)
	}
}

// ask holds the event against one rule.
func (m *Matcher) ask(in *Input, cat category, i int) {
	r := m.pack.rules[i]
	m.view.nameless = false
	matches := r.test(&m.view)
	if m.view.nameless && !m.decided && m.hold(in, cat, i) || !matches {
		return
	}
	if !r.silent {
		m.hits = append(m.hits, Hit{Rule: &r.Rule, Node: in.Node, Object: object(in, cat),
			Leaves: []uint64{in.Event.Seq}, First: in.Event.Time, Last: in.Event.Time})
	}
	if len(r.feeds) > 0 {
		m.matched = append(m.matched, i)
	}
}

// consider adds rules to those that are asked about the event.
func (m *Matcher) consider(rules []int) {
	for _, r := range rules {
		if m.stamp[r] != m.now {
			m.stamp[r] = m.now
			m.candidates = append(m.candidates, r)
		}
	}
}

// object names what the event acted on.
func object(in *Input, cat category) redact.Text {
	e := in.Event
	switch cat {
	case processCreation:
		return e.Exe
	case networkConnection, proxy:
		if f := in.Fact; f != nil && !f.Object.IsZero() {
			return f.Object
		}
		if e.Kind == event.TLS && !e.Name.IsZero() {
			return e.Name
		}
		return redact.AddrPort(e.Dst)
	case dnsQuery, dnsAnswer:
		return e.Name
	case processAccess:
		if t := ownProgram(in.Target); t != nil {
			return t.Exe
		}
		if e.Kind == event.Open {
			return e.Path
		}
		return redact.Uint(uint64(e.Target.PID))
	}
	if !e.NewPath.IsZero() {
		return e.NewPath
	}
	return e.Path
}
