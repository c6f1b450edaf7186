package signature

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strconv"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// Bounds of what one correlation remembers. Groups whose timespan is over are
// forgotten for nothing; what is pushed out before is counted.
const (
	maxGroups = 4096
	maxKept   = 1 << 14 // events of all groups
	maxValue  = 64      // bytes of a value; a longer one is remembered by its hash
)

// state is what a correlation remembers.
type state struct {
	groups map[string]*group
	// first and last are the ends of the list of groups: the one that was
	// changed least recently first, or where the end of a timespan decides the
	// one that began first.
	first, last *group
	kept        int // events that the groups remember
	evicted     uint64
}

// group is what was seen of one group.
type group struct {
	key        string
	prev, next *group
	// time is when it was changed last, or began.
	time int64
	kept int

	// chains has for each part of temporal_ordered the latest chain of events
	// that ends with it.
	chains [][]seen
	// events are those within the timespan, oldest first: for valueCount the
	// last one of each value, for temporal the last one of each part.
	events []seen
	count  int // events since the beginning, where the end decides

	// of the last event, for a hit that comes later
	node   *process.Node
	object redact.Text
}

// seen is an event, or a match of another correlation.
type seen struct {
	time, first int64
	part        int
	leaf        uint64
	leaves      []uint64 // of a correlation
	value       string
}

func newState() state { return state{groups: map[string]*group{}} }

// Evicted returns how many groups were forgotten within their timespan because
// a correlation had too much to remember; each may have cost a hit.
func (m *Matcher) Evicted() uint64 {
	var n uint64
	for i := range m.states {
		n += m.states[i].evicted
	}
	return n
}

// fed is a match that a correlation is given.
type fed struct {
	feed
	// of a match of a correlation
	leaves []uint64
	first  int64
	root   root
}

// correlate gives the rules that matched to the correlations they feed, and
// what these match to the next.
func (m *Matcher) correlate(in *Input, cat category) {
	m.fed = m.fed[:0]
	for _, ri := range m.matched {
		for _, f := range m.pack.rules[ri].feeds {
			m.fed = append(m.fed, fed{feed: f})
		}
	}
	sortedTo := 0
	for i := 0; i < len(m.fed); i++ {
		if sortedTo < len(m.fed) {
			// Correlations stand behind those that feed them. Parts from the last
			// to the first, so that one event does not count as two in a row.
			slices.SortStableFunc(m.fed[i:], func(a, b fed) int {
				return cmp.Or(cmp.Compare(a.correlation, b.correlation), cmp.Compare(b.part, a.part))
			})
			sortedTo = len(m.fed)
		}
		f := m.fed[i]
		c := m.pack.correlations[f.correlation]
		if c.counts() && i > 0 && m.fed[i-1].correlation == f.correlation {
			continue // one event counts once
		}
		e := in.Event
		now := seen{time: e.Time, first: e.Time, part: f.part, leaf: e.Seq, leaves: f.leaves}
		if f.leaves != nil {
			now.first = f.first
		}
		m.step(f, c, now, in, cat)
	}
}

func (m *Matcher) step(f fed, c *correlation, now seen, in *Input, cat category) {
	st := &m.states[f.correlation]
	m.expire(st, c, now.time)
	if c.kind == temporalOrdered {
		m.ordered(st, f, c, now, in, cat)
		return
	}
	root := f.root
	if root == (rootZero) || c.group == byActor {
		root = m.groupRoot(c.group, in)
	}
	if !m.appendGroup(c, f.part, root) {
		return
	}
	if c.kind == valueCount && !m.valueOf(c, &now) {
		return
	}
	g := st.get(string(m.key), now.time)
	defer st.changed(g, c.limits.late(), now.time)
	if c.limits.late() {
		g.node, g.object = in.Node, object(in, cat)
		g.note(c, now)
		return
	}
	g.events = slices.DeleteFunc(g.events, func(s seen) bool {
		return now.time-s.time > c.timespan || c.kind == valueCount && s.value == now.value || c.kind == temporal && s.part == now.part
	})
	g.events = append(g.events, now)
	if len(g.events) >= c.limits.least {
		m.hit(c, in.Node, object(in, cat), g.events, root)
		// The next hit needs as many events again.
		g.events = g.events[:0]
	}
}

// note takes an event into a group that the end of its timespan decides.
func (g *group) note(c *correlation, now seen) {
	if c.kind == valueCount && slices.ContainsFunc(g.events, func(s seen) bool { return s.value == now.value }) {
		return
	}
	g.count++
	if len(g.events) < c.limits.enough() {
		g.events = append(g.events, now)
	}
}

// expire forgets the groups whose timespan is over, and decides those that
// waited for it.
func (m *Matcher) expire(st *state, c *correlation, now int64) {
	for g := st.first; g != nil && now-g.time > c.timespan; g = st.first {
		st.remove(g)
		if c.limits.late() && c.limits.hold(g.count) {
			m.hit(c, g.node, g.object, g.events, root{})
		}
	}
}

// valueOf puts the counted value into now, and reports whether there is one.
func (m *Matcher) valueOf(c *correlation, now *seen) bool {
	b := m.value[:0]
	for i, f := range c.values {
		s := m.view.get(f, true)
		if s == "" {
			return false
		}
		if i > 0 {
			b = append(b, 0)
		}
		b = appendShort(b, s)
	}
	m.value = b
	now.value = string(b)
	return true
}

// appendShort appends a value, or the hash of one that is long.
func appendShort(b []byte, s string) []byte {
	if len(s) <= maxValue {
		return append(b, s...)
	}
	sum := sha256.Sum256([]byte(s))
	return append(append(b, 1), sum[:]...)
}

// ordered is temporal_ordered. An event begins a chain, or makes the chain of
// the part before it longer.
func (m *Matcher) ordered(st *state, f fed, c *correlation, now seen, in *Input, cat category) {
	if f.part == 0 {
		r := f.root
		if r == rootZero || c.group == byActor {
			r = m.chainRoot(c.group, in)
		}
		if !m.appendGroup(c, 0, r) {
			return
		}
		g := st.get(string(m.key), now.time)
		if g.chains == nil {
			g.chains = make([][]seen, c.parts-1)
		}
		g.chains[0] = append(g.chains[0][:0], now)
		st.changed(g, false, now.time)
		return
	}
	if len(st.groups) == 0 {
		return
	}
	m.roots = m.appendRoots(m.roots[:0], c.group, in)
	for _, root := range m.roots {
		if !m.appendGroup(c, f.part, root) {
			return
		}
		g := st.groups[string(m.key)]
		if g == nil || len(g.chains[f.part-1]) == 0 {
			continue
		}
		before := g.chains[f.part-1]
		if now.time-before[0].time > c.timespan {
			continue
		}
		chain := append(slices.Clone(before), now)
		if f.part == c.parts-1 {
			m.hit(c, in.Node, object(in, cat), chain, root)
			return
		}
		g.chains[f.part] = chain
		st.changed(g, false, now.time)
		return
	}
}

// maxHitLeaves bounds the events that a hit names.
const maxHitLeaves = 16

func (m *Matcher) hit(c *correlation, n *process.Node, what redact.Text, events []seen, r root) {
	leaves := make([]uint64, 0, maxHitLeaves)
	first, last := events[0].first, events[0].time
	for i, s := range events {
		first, last = min(first, s.first), max(last, s.time)
		if s.leaves == nil {
			s.leaves = []uint64{s.leaf}
		}
		for j, leaf := range s.leaves {
			final := i == len(events)-1 && j == len(s.leaves)-1
			if (len(leaves) < maxHitLeaves-1 || final) && !slices.Contains(leaves, leaf) {
				leaves = append(leaves, leaf)
			}
		}
	}
	slices.Sort(leaves)
	if !c.silent {
		m.hits = append(m.hits, Hit{Rule: &c.Rule, Node: n, Object: what, Leaves: leaves, First: first, Last: last})
	}
	for _, f := range c.feeds {
		m.fed = append(m.fed, fed{feed: f, leaves: leaves, first: first, root: r})
	}
}

// root names a process: its images share it.
type root struct {
	pid   uint32
	start int64
}

var rootZero root

func rootOf(a event.Actor) root { return root{a.PID, a.Start} }

// chainRoot returns the process whose group the first event of a chain begins.
func (m *Matcher) chainRoot(g grouping, in *Input) root {
	if g == byActor || g == byLineage {
		return rootOf(in.Event.Actor)
	}
	return m.groupRoot(g, in)
}

// appendRoots appends the processes whose chains the event may continue: for
// byLineage its own and all that it descends from, nearest first.
func (m *Matcher) appendRoots(list []root, g grouping, in *Input) []root {
	list = append(list, m.chainRoot(g, in))
	if g != byLineage || in.Node == nil {
		return list
	}
	i := 0
	for n := in.Node.Parent; n != nil && i < maxLineage; n = n.Parent {
		i++
		if r := rootOf(n.Actor); r != list[len(list)-1] {
			list = append(list, r)
		}
	}
	return list
}

// groupRoot returns the process whose events are counted together.
func (m *Matcher) groupRoot(g grouping, in *Input) root {
	switch {
	case g == byRecording:
		return root{}
	case g == byActor || in.Node == nil:
		return rootOf(in.Event.Actor)
	}
	// The outermost image inside the recording that has the same step as the
	// actor and is part of the same lifecycle script.
	n := in.Node
	top := n
	script, st := m.view.lifecycle(n).Node, n.Step
	i := 0
	for a := n; a != nil && i < maxLineage; a = a.Parent {
		i++
		if a.Via == event.ViaMonitor || a.Step != st || m.view.lifecycle(a).Node != script {
			break
		}
		top = a
	}
	return rootOf(top.Actor)
}

// appendGroup makes the key of a group: its process, and the fields that must
// be equal. It reports false where one of these is empty: what has no value is
// like nothing. Labels are, since who belongs to no step belongs together.
func (m *Matcher) appendGroup(c *correlation, part int, r root) bool {
	b := strconv.AppendUint(m.key[:0], uint64(r.pid), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.start, 10)
	for _, f := range c.by[part] {
		s := m.view.get(f, true)
		if s == "" && !fields[f].label {
			return false
		}
		b = appendShort(append(b, 0), s)
	}
	m.key = b
	return true
}

// get returns a group, and makes it where there is none. The one that comes
// first in the list is pushed out when there are too many.
func (s *state) get(k string, now int64) *group {
	if g := s.groups[k]; g != nil {
		return g
	}
	if len(s.groups) >= maxGroups {
		s.remove(s.first)
		s.evicted++
	}
	g := &group{key: k, time: now}
	s.groups[k] = g
	s.link(g)
	return g
}

// changed counts what a group remembers now, and puts it at the end of the
// list unless the order is that of the beginnings.
func (s *state) changed(g *group, began bool, now int64) {
	kept := len(g.events)
	for _, c := range g.chains {
		kept += len(c)
	}
	s.kept += kept - g.kept
	g.kept = kept
	if !began {
		g.time = max(g.time, now)
		if s.last != g {
			s.unlink(g)
			s.link(g)
		}
	}
	for s.kept > maxKept && s.first != g {
		s.remove(s.first)
		s.evicted++
	}
}

func (s *state) link(g *group) {
	g.prev, g.next = s.last, nil
	if s.last != nil {
		s.last.next = g
	} else {
		s.first = g
	}
	s.last = g
}

func (s *state) unlink(g *group) {
	if g.prev != nil {
		g.prev.next = g.next
	} else {
		s.first = g.next
	}
	if g.next != nil {
		g.next.prev = g.prev
	} else {
		s.last = g.prev
	}
}

func (s *state) remove(g *group) {
	s.unlink(g)
	delete(s.groups, g.key)
	s.kept -= g.kept
}
