package signature

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/intent/document"
	"gopkg.in/yaml.v3"
)

// Bounds of the state of one correlation. What is pushed out is counted.
const (
	maxGroups = 4096
	maxCount  = 256 // events or values that a condition can ask for
	maxParts  = 8   // rules of one temporal_ordered
)

// kind is how a correlation joins events.
type kind uint8

const (
	eventCount kind = iota
	valueCount
	temporalOrdered
)

var kindNames = []string{"event_count", "value_count", "temporal_ordered"}

// grouping says which events belong together.
type grouping uint8

const (
	// byActor: one process, whatever programs it runs.
	byActor grouping = iota
	// byLineage: a process and all that it started. The first event's process
	// is the root for temporal_ordered; for counts it is the lifecycle script
	// or the step that the process belongs to.
	byLineage
)

// correlation is a rule over several events (Sigma correlation rules
// specification 2).
type correlation struct {
	Rule
	kind     kind
	group    grouping
	by       []field // further fields that must be equal
	timespan int64   // nanoseconds
	count    int
	field    field // of valueCount
	parts    int
}

type pendingCorrelation struct {
	*correlation
	rules    []*yaml.Node
	generate bool
	file     string
}

// correlation reads a correlation; resolve joins it to its rules.
func (l *loader) correlation(r Rule, n *yaml.Node) {
	c := pendingCorrelation{correlation: &correlation{Rule: r}, file: l.File}
	have := map[string]bool{}
	var condition *yaml.Node
	grouped := false
	for _, e := range l.Mapping(n, "type", "rules", "group-by", "timespan", "condition", "generate") {
		have[e.Key] = true
		switch e.Key {
		case "type":
			i := slices.Index(kindNames, e.Value.Value)
			if i < 0 {
				l.FailNear(e.Value, document.Nearest(e.Value.Value, kindNames), "the type is not supported; there are %s", strings.Join(kindNames, ", "))
				return
			}
			c.kind = kind(i)
		case "rules":
			c.rules = l.Strings(e.Value)
		case "group-by":
			for _, g := range l.Strings(e.Value) {
				switch g.Value {
				case "Actor":
					c.group, grouped = byActor, true
				case "Lineage":
					c.group, grouped = byLineage, true
				default:
					f, ok := findField(g.Value)
					if !ok || fields[f].many {
						l.FailNear(g, document.Nearest(g.Value, append(fieldNames(), "Actor", "Lineage")), "not a field to group by")
						return
					}
					c.by = append(c.by, f)
				}
			}
		case "timespan":
			var ok bool
			if c.timespan, ok = parseTimespan(e.Value.Value); !ok {
				l.Fail(e.Value, "want a number and s, m, h or d, such as 120s")
			}
		case "condition":
			condition = e.Value
		case "generate":
			c.generate = e.Value.Value == "true"
			if e.Value.Tag != "!!bool" {
				l.Fail(e.Value, "want true or false")
			}
		}
	}
	for _, key := range []string{"type", "rules", "group-by", "timespan"} {
		if !have[key] {
			l.Fail(n, "%q is missing", key)
			return
		}
	}
	if !grouped {
		l.Fail(n, "group-by needs Actor or Lineage, so that what two strangers did is not joined")
		return
	}
	c.parts = len(c.rules)
	switch c.kind {
	case temporalOrdered:
		if c.parts < 2 || c.parts > maxParts {
			l.Fail(n, "temporal_ordered takes 2 to %d rules", maxParts)
			return
		}
		if condition != nil {
			l.Fail(condition, "temporal_ordered has no condition")
		}
	default:
		if c.parts < 1 {
			l.Fail(n, "rules names none")
			return
		}
		if condition == nil {
			l.Fail(n, `"condition" is missing`)
			return
		}
		l.correlationCondition(&c, condition)
	}
	l.pending = append(l.pending, c)
}

func (l *loader) correlationCondition(c *pendingCorrelation, n *yaml.Node) {
	hasField := false
	for _, e := range l.Mapping(n, "gte", "gt", "lt", "lte", "eq", "neq", "field") {
		switch e.Key {
		case "gte", "gt":
			v, err := strconv.Atoi(e.Value.Value)
			if e.Key == "gt" {
				v++
			}
			if err != nil || v < 1 || v > maxCount {
				l.Fail(e.Value, "want a number up to %d", maxCount)
				continue
			}
			c.count = v
		case "field":
			f, ok := findField(e.Value.Value)
			if !ok || fields[f].many {
				l.FailNear(e.Value, document.Nearest(e.Value.Value, fieldNames()), "not a field whose values can be counted")
				continue
			}
			c.field, hasField = f, true
		default:
			l.Fail(e.At, "not supported: whether it holds is known only when the timespan is over; want gt or gte")
		}
	}
	if c.count == 0 {
		l.Fail(n, "gte or gt is missing")
	}
	if c.kind == valueCount && !hasField {
		l.Fail(n, `"field" is missing`)
	}
}

// parseTimespan reads 30s, 5m, 1h or 1d.
func parseTimespan(s string) (int64, bool) {
	if len(s) < 2 {
		return 0, false
	}
	unit, ok := map[byte]int64{'s': 1e9, 'm': 60e9, 'h': 3600e9, 'd': 86400e9}[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if !ok || err != nil || n == 0 || int64(n) > math.MaxInt64/unit/2 {
		return 0, false
	}
	return int64(n) * unit, true
}

// resolve joins correlations to the rules that they name.
func (l *loader) resolve() {
	byID := map[string]*compiled{}
	for _, r := range l.pack.rules {
		byID[r.ID] = r
	}
	for _, c := range l.pending {
		for part, n := range c.rules {
			r := byID[l.names[n.Value]]
			if r == nil {
				names := make([]string, 0, len(byID))
				for name := range byID {
					names = append(names, name)
				}
				slices.Sort(names)
				l.errs = append(l.errs, Error{File: c.file, Line: n.Line, Column: n.Column, Text: n.Value,
					Message: "no rule has this name or id", Nearest: document.Nearest(n.Value, names)})
				continue
			}
			if c.kind == valueCount && fields[c.field].in&(1<<r.category) == 0 {
				l.errs = append(l.errs, Error{File: c.file, Line: n.Line, Column: n.Column, Text: n.Value,
					Message: "the counted field " + fields[c.field].name + " has no value in " + categoryNames[r.category]})
			}
			r.feeds = append(r.feeds, feed{len(l.pack.correlations), part})
			if !c.generate {
				r.silent = true
			}
		}
		l.pack.correlations = append(l.pack.correlations, c.correlation)
	}
}

// state is what a correlation remembers.
type state struct {
	groups map[string]*group
	// order holds the groups' keys, oldest first, for pushing out.
	order   []string
	evicted uint64
}

// group is what was seen of one group.
type group struct {
	key string
	// chains has for each part of temporal_ordered the latest chain of events
	// that ends with it.
	chains [][]seen
	// events are those within the timespan, oldest first; for valueCount the
	// last one of each value.
	events []seen
}

type seen struct {
	time  int64
	leaf  uint64
	value string
}

func newState(*correlation) state { return state{groups: map[string]*group{}} }

// Evicted returns how many groups were forgotten because a correlation had too
// many at once; each may have cost a hit.
func (m *Matcher) Evicted() uint64 {
	var n uint64
	for i := range m.states {
		n += m.states[i].evicted
	}
	return n
}

// correlate gives the rules that matched to the correlations they feed.
func (m *Matcher) correlate(in *Input, cat category) {
	for ci, c := range m.pack.correlations {
		// Parts from the last to the first, so that one event does not count
		// as two in a row.
		for part := c.parts - 1; part >= 0; part-- {
			for _, ri := range m.matched {
				if slices.Contains(m.pack.rules[ri].feeds, feed{ci, part}) {
					m.step(ci, c, part, in, cat)
				}
			}
		}
	}
}

func (m *Matcher) step(ci int, c *correlation, part int, in *Input, cat category) {
	if c.kind == temporalOrdered {
		m.ordered(ci, c, part, in, cat)
		return
	}
	st := &m.states[ci]
	g := st.get(m.groupKey(c, groupRoot(c, in)))
	e := in.Event
	now := seen{time: e.Time, leaf: e.Seq}
	g.events = slices.DeleteFunc(g.events, func(s seen) bool { return e.Time-s.time > c.timespan })
	if c.kind == valueCount {
		value := m.view.get(c.field, true)
		if value == "" {
			return
		}
		g.events = slices.DeleteFunc(g.events, func(s seen) bool { return s.value == value })
		now.value = strings.Clone(value)
	}
	g.events = append(g.events, now)
	if len(g.events) >= c.count {
		m.hit(c, in, cat, g.events)
		// The next hit needs as many events again.
		g.events = g.events[:0]
	}
}

// ordered is temporal_ordered. An event begins a chain, or makes the chain of
// the part before it longer.
func (m *Matcher) ordered(ci int, c *correlation, part int, in *Input, cat category) {
	st := &m.states[ci]
	e := in.Event
	now := seen{time: e.Time, leaf: e.Seq}
	if part == 0 {
		g := st.get(m.groupKey(c, actorRoot(in)))
		if g.chains == nil {
			g.chains = make([][]seen, c.parts-1)
		}
		g.chains[0] = append(g.chains[0][:0], now)
		return
	}
	if len(st.groups) == 0 {
		return
	}
	m.roots = appendRoots(m.roots[:0], c, in)
	for _, root := range m.roots {
		m.key = m.appendGroup(m.key[:0], c, root)
		g := st.groups[string(m.key)]
		if g == nil || g.chains == nil || len(g.chains[part-1]) == 0 {
			continue
		}
		before := g.chains[part-1]
		if e.Time-before[0].time > c.timespan {
			continue
		}
		chain := append(slices.Clone(before), now)
		if part == c.parts-1 {
			m.hit(c, in, cat, chain)
			return
		}
		g.chains[part] = chain
		return
	}
}

func (m *Matcher) hit(c *correlation, in *Input, cat category, events []seen) {
	leaves := make([]uint64, 0, 16)
	for i, s := range events {
		if i < 15 || i == len(events)-1 {
			leaves = append(leaves, s.leaf)
		}
	}
	m.hits = append(m.hits, Hit{Rule: &c.Rule, Node: in.Node, Object: object(in, cat), Leaves: leaves,
		First: events[0].time, Last: in.Event.Time})
}

// root names a process: its images share it.
type root struct {
	pid   uint32
	start int64
}

func rootOf(a event.Actor) root { return root{a.PID, a.Start} }

func actorRoot(in *Input) root { return rootOf(in.Event.Actor) }

// appendRoots appends the processes whose chains the event may continue: its
// own, and for byLineage all that it descends from, nearest first.
func appendRoots(list []root, c *correlation, in *Input) []root {
	list = append(list, actorRoot(in))
	if c.group == byActor || in.Node == nil {
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
func groupRoot(c *correlation, in *Input) root {
	if c.group == byActor || in.Node == nil {
		return actorRoot(in)
	}
	// The outermost image inside the recording that has the same step as the
	// actor and is part of the same lifecycle script.
	n := in.Node
	top := n
	script, st := scriptRoot(n), n.Step
	i := 0
	for m := n; m != nil && i < maxLineage; m = m.Parent {
		i++
		if m.Via == event.ViaMonitor || m.Step != st || scriptRoot(m) != script {
			break
		}
		top = m
	}
	return rootOf(top.Actor)
}

func (m *Matcher) groupKey(c *correlation, r root) string { return string(m.appendGroup(nil, c, r)) }

// appendGroup appends the key of a group: its process, and the fields that
// must be equal.
func (m *Matcher) appendGroup(b []byte, c *correlation, r root) []byte {
	b = strconv.AppendUint(b, uint64(r.pid), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.start, 10)
	for _, f := range c.by {
		b = append(b, 0)
		b = append(b, m.view.get(f, true)...)
	}
	return b
}

// get returns a group, and makes it where there is none. The oldest is
// pushed out when there are too many.
func (s *state) get(k string) *group {
	if g := s.groups[k]; g != nil {
		return g
	}
	if len(s.groups) >= maxGroups {
		delete(s.groups, s.order[0])
		s.order = s.order[1:]
		s.evicted++
	}
	g := &group{key: k}
	s.groups[k] = g
	s.order = append(s.order, k)
	return g
}
