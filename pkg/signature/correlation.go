package signature

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/intent/document"
	"gopkg.in/yaml.v3"
)

// Bounds of a correlation.
const (
	maxCount = 1000 // events or values that a condition can ask for
	maxParts = 16   // rules of one temporal or temporal_ordered
	maxRefs  = 500  // rules of one count
)

// kind is how a correlation joins events.
type kind uint8

const (
	eventCount kind = iota
	valueCount
	temporal
	temporalOrdered
)

var kindNames = []string{"event_count", "value_count", "temporal", "temporal_ordered"}

// laterKinds are kinds of the specification that are not here.
var laterKinds = []string{"value_sum", "value_avg", "value_percentile", "value_median"}

// grouping says whose events belong together.
type grouping uint8

const (
	// byRecording: everybody's.
	byRecording grouping = iota
	// byActor: one process's, whatever programs it runs.
	byActor
	// byLineage: for temporal_ordered a process's and those of all that it
	// started; the first event's process is the root. Else as bySubtree.
	byLineage
	// bySubtree: those of the package manager's script that the process
	// belongs to, or where there is none of its step.
	bySubtree
)

// groupings are the words for them in group-by.
var groupings = map[string]grouping{"Actor": byActor, "Lineage": byLineage, "Subtree": bySubtree}

// correlation is a rule over several events (Sigma correlation rules
// specification 2.1).
type correlation struct {
	Rule
	kind     kind
	group    grouping
	by       [][]field // for each part, further fields that must be equal
	timespan int64     // nanoseconds
	limits   limits
	values   []field // of valueCount
	parts    int
	silent   bool // only feeds correlations
	feeds    []feed
}

// counts reports whether it counts single events.
func (c *correlation) counts() bool { return c.kind == eventCount || c.kind == valueCount }

// limits is the condition of a correlation.
type limits struct {
	least, most int // most is 0 where there is no upper end
	not         int // neq, or 0
}

func (l *limits) hold(n int) bool {
	return n >= l.least && (l.most == 0 || n <= l.most) && (l.not == 0 || n != l.not)
}

// late reports whether what holds can cease to hold, so that the end of the
// timespan decides.
func (l *limits) late() bool { return l.most > 0 || l.not > 0 }

// enough is how many events or values need to be remembered to decide.
func (l *limits) enough() int { return max(l.least, l.most+1, l.not+1) }

type pendingCorrelation struct {
	*correlation
	at       *yaml.Node
	rules    []*yaml.Node
	groups   []*yaml.Node
	aliases  map[string]*yaml.Node // alias -> mapping of rule to field
	used     map[string]bool
	generate bool
	file     string
	found    int
	state    uint8 // of ordering: 1 being looked at, 2 done, 3 wrong
	in       uint32
}

// correlation reads a correlation; resolve joins it to its rules.
func (l *loader) correlation(r Rule, n *yaml.Node, at map[string]document.Pair) *pendingCorrelation {
	c := &pendingCorrelation{correlation: &correlation{Rule: r}, at: n, file: l.File, aliases: map[string]*yaml.Node{}, used: map[string]bool{}}
	have := map[string]*yaml.Node{}
	for _, e := range l.Mapping(n, "type", "rules", "group-by", "timespan", "condition", "generate", "aliases") {
		have[e.Key] = e.Value
	}
	// The specification's schema has generate beside correlation.
	if e, ok := at["generate"]; ok && have["generate"] == nil {
		have["generate"] = e.Value
	}
	for _, key := range []string{"type", "rules", "group-by", "timespan"} {
		if have[key] == nil {
			l.Fail(n, "%q is missing", key)
			return nil
		}
	}
	i := slices.Index(kindNames, have["type"].Value)
	switch {
	case slices.Contains(laterKinds, have["type"].Value):
		l.Fail(have["type"], "the type is not supported: numbers are not added up here; there are %s", strings.Join(kindNames, ", "))
		return nil
	case i < 0:
		l.FailNear(have["type"], document.Nearest(have["type"].Value, kindNames), "the type is not supported; there are %s", strings.Join(kindNames, ", "))
		return nil
	}
	c.kind, c.source = kind(i), kindNames[i]
	c.rules = l.Strings(have["rules"])
	if have["aliases"] != nil {
		for _, e := range l.Any(have["aliases"]) {
			c.aliases[e.Key] = e.Value
		}
	}
	l.groupBy(c, have["group-by"])
	var ok bool
	if c.timespan, ok = parseTimespan(have["timespan"].Value); !ok {
		l.Fail(have["timespan"], "want a number and s, m, h or d, such as 120s")
	}
	if g := have["generate"]; g != nil {
		c.generate = g.Value == "true"
		if g.Tag != "!!bool" {
			l.Fail(g, "want true or false")
		}
	}
	c.parts = len(c.rules)
	most := maxRefs
	if !c.counts() {
		most = maxParts
	}
	if c.parts < 1 || c.parts > most {
		l.Fail(have["rules"], "%s takes 1 to %d rules", kindNames[c.kind], most)
		return nil
	}
	if !c.counts() && c.parts < 2 {
		l.Fail(have["rules"], "%s takes 2 to %d rules", kindNames[c.kind], most)
		return nil
	}
	for i, m := range c.rules {
		if slices.ContainsFunc(c.rules[:i], func(o *yaml.Node) bool { return o.Value == m.Value }) {
			l.Fail(m, "the rule stands twice")
		}
	}
	c.limits.least = c.parts
	if condition := have["condition"]; condition != nil {
		l.correlationCondition(c, condition)
	} else if c.counts() {
		l.Fail(n, `"condition" is missing`)
	}
	return c
}

// groupBy reads what must be equal. Fields are looked at when the rules are
// known.
func (l *loader) groupBy(c *pendingCorrelation, n *yaml.Node) {
	words := append(fieldNames(), "Actor", "Subtree")
	for _, g := range l.Strings(n) {
		if w, ok := groupings[g.Value]; ok && c.aliases[g.Value] == nil {
			if c.group != byRecording {
				l.Fail(g, "only one of Actor, Lineage and Subtree can stand")
			}
			c.group = w
			continue
		}
		f, _, ok := groupField(g.Value)
		switch {
		case c.aliases[g.Value] != nil:
			c.used[g.Value] = true
		case !ok:
			l.FailNear(g, document.Nearest(g.Value, words), "not a field to group by, and no alias")
			continue
		case fields[f].many:
			l.Fail(g, "not a field to group by: it has several values")
			continue
		}
		c.groups = append(c.groups, g)
	}
	for name, m := range c.aliases {
		if !c.used[name] {
			l.Fail(m, "group-by never names the alias %s", name)
		}
	}
}

func (l *loader) correlationCondition(c *pendingCorrelation, n *yaml.Node) {
	hasField, bounded := false, false
	c.limits = limits{least: 1}
	for _, e := range l.Mapping(n, "gte", "gt", "lt", "lte", "eq", "neq", "field") {
		if e.Key == "field" {
			hasField = true
			l.countedFields(c, e)
			continue
		}
		v, err := strconv.Atoi(e.Value.Value)
		if err != nil || v < 0 || v > maxCount {
			l.Fail(e.Value, "want a number up to %d", maxCount)
			return
		}
		bounded = true
		b := &c.limits
		switch e.Key {
		case "gt":
			b.least = max(b.least, v+1)
		case "gte":
			b.least = max(b.least, v)
		case "lt":
			b.most = v - 1
		case "lte":
			b.most = v
		case "eq":
			b.least, b.most = v, v
		case "neq":
			b.not = v
		}
		if e.Key == "lt" && v < 2 || (e.Key == "lte" || e.Key == "eq") && v < 1 {
			l.Fail(e.Value, "no count of events that were seen is below 1")
			return
		}
	}
	switch b := &c.limits; {
	case !bounded:
		l.Fail(n, "gt, gte, lt, lte, eq or neq is missing")
	case b.most > 0 && b.least > b.most:
		l.Fail(n, "no number is at least %d and at most %d", b.least, b.most)
	case c.kind == valueCount && !hasField:
		l.Fail(n, `"field" is missing`)
	case c.counts():
	case b.late() || b.least > c.parts:
		l.Fail(n, "want gte or gt with at most %d, the number of rules", c.parts)
	case c.kind == temporalOrdered && b.least < c.parts:
		l.Fail(n, "not supported: temporal_ordered needs all %d rules; leave the condition out", c.parts)
	}
}

func (l *loader) countedFields(c *pendingCorrelation, e document.Pair) {
	if c.kind != valueCount {
		l.Fail(e.At, "field is for value_count")
		return
	}
	for _, n := range l.Strings(e.Value) {
		f, _, ok := groupField(n.Value)
		if !ok || fields[f].many {
			l.FailNear(n, document.Nearest(n.Value, fieldNames()), "not a field whose values can be counted")
			continue
		}
		c.values = append(c.values, f)
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

// resolver joins correlations to the rules that they name.
type resolver struct {
	*loader
	rules        map[string]*compiled
	correlations map[string]*pendingCorrelation
	looked       int
}

func (l *loader) resolve() {
	r := resolver{loader: l, rules: map[string]*compiled{}, correlations: map[string]*pendingCorrelation{}}
	for _, c := range l.pack.rules {
		r.rules[c.ID] = c
	}
	for _, c := range l.pending {
		r.correlations[c.ID] = c
	}
	for _, c := range l.pending {
		r.add(c)
	}
}

// maxNearest bounds how often a name that may have been meant is looked for:
// each time all names are compared.
const maxNearest = 20

func (r *resolver) nearest(name string) string {
	if r.looked++; r.looked > maxNearest {
		return ""
	}
	return document.Nearest(name, slices.Sorted(maps.Keys(r.names)))
}

// fail notes an error of a correlation, which is not used then.
func (r *resolver) fail(c *pendingCorrelation, n *yaml.Node, nearest, format string, args ...any) bool {
	c.state = 3
	text := ""
	if n.Kind == yaml.ScalarNode {
		text = n.Value
	}
	e := Error{File: c.file, Line: n.Line, Column: n.Column, Text: text, Message: fmt.Sprintf(format, args...), Nearest: nearest}
	r.errs = append(r.errs, e)
	r.found[c.found].wrong = true
	return false
}

// add puts a correlation into the pack, after those that it names, and reports
// whether it could.
func (r *resolver) add(c *pendingCorrelation) bool {
	if c.state != 0 {
		return c.state == 2
	}
	c.state = 1
	for _, n := range c.rules {
		id := r.names[n.Value]
		part := r.correlations[id]
		switch {
		case part != nil && part.state == 1:
			return r.fail(c, n, "", "the correlation is a part of itself")
		case part != nil && !r.add(part):
			return r.fail(c, n, "", "the rule that is named is wrong itself")
		case part != nil && part.limits.late():
			return r.fail(c, n, "", "not supported: what is known only when a timespan is over can be no part of another correlation")
		case part != nil:
			c.in |= part.in
		case r.rules[id] != nil:
			c.in |= 1 << r.rules[id].category
		default:
			if _, seen := r.seen[n.Value]; seen {
				return r.fail(c, n, "", "the rule that is named is wrong itself")
			}
			return r.fail(c, n, r.nearest(n.Value), "no rule has this name or id")
		}
	}
	if !r.fields(c) {
		return false
	}
	c.state = 2
	for part, n := range c.rules {
		f := feed{len(r.pack.correlations), part}
		id := r.names[n.Value]
		if p := r.correlations[id]; p != nil {
			p.feeds = append(p.feeds, f)
			p.silent = p.silent || r.silences(c, &p.Rule)
			continue
		}
		rule := r.rules[id]
		rule.feeds = append(rule.feeds, f)
		rule.silent = rule.silent || r.silences(c, &rule.Rule)
	}
	r.pack.correlations = append(r.pack.correlations, c.correlation)
	return true
}

// silences reports whether a rule tells nothing itself because a correlation
// names it. One of the caller's own silences no rule that ships.
func (r *resolver) silences(c *pendingCorrelation, part *Rule) bool {
	return !c.generate && !r.opts.Parts && (!r.own[c.origin.file] || r.own[part.origin.file])
}

// fields finds the fields that each part is grouped by.
func (r *resolver) fields(c *pendingCorrelation) bool {
	for _, rule := range c.rules {
		id := r.names[rule.Value]
		in := uint32(0)
		if p := r.correlations[id]; p != nil {
			in = p.in
		} else {
			in = 1 << r.rules[id].category
		}
		var by []field
		for _, g := range c.groups {
			n := g
			if m := c.aliases[g.Value]; m != nil {
				if n = r.alias(m, id); n == nil {
					return r.fail(c, m, "", "the alias %s has no field for the rule %s", g.Value, rule.Value)
				}
			}
			f, fin, ok := groupField(n.Value)
			switch {
			case !ok || fields[f].many:
				return r.fail(c, n, document.Nearest(n.Value, fieldNames()), "not a field to group by")
			case fin&in != in:
				return r.fail(c, n, "", "the field has no value in the events of the rule %s, so they would never be joined; an alias can name another", rule.Value)
			}
			by = append(by, f)
		}
		for _, f := range c.values {
			if fields[f].in&in != in {
				return r.fail(c, rule, "", "the counted field %s has no value in %s", fields[f].name, categoriesText(in))
			}
		}
		c.by = append(c.by, by)
	}
	return true
}

// alias returns the field that an alias has for the rule with an id.
func (r *resolver) alias(m *yaml.Node, id string) *yaml.Node {
	if m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if r.names[m.Content[i].Value] == id && m.Content[i+1].Kind == yaml.ScalarNode {
			return m.Content[i+1]
		}
	}
	return nil
}

func categoriesText(in uint32) string {
	var list []string
	for i, name := range categoryNames {
		if in&(1<<i) != 0 && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return strings.Join(list, ", ")
}
