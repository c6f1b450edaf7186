package judge

import (
	"slices"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
)

// Cause is one line of the ledger before small ones are told together: what
// cost points, by whom and why, and what it would take.
type Cause struct {
	Entry
	// Facts are what costs the points, at most [maxLeaves]; none for a finding
	// and for what was too much to keep.
	Facts []*fact.Fact
	// Finding is what costs the points where it is no fact.
	Finding *Finding
	// Leaves are the events that show it, at most [maxLeaves].
	Leaves []uint64
	// Deny is the entry that forbids it. Near is the grant that comes closest
	// to allowing it, and Misses says why it does not.
	Deny, Near *intent.Grant
	Misses     string
	// Key and Line are the smallest line of policy that would explain it, and
	// the list where it belongs; empty where none can.
	Key, Line string
	// Without is what the score would be without this one.
	Without int
}

// Explain returns the verdict, and for each thing that it took points for its
// cause, dearest first, at most [maxEntries]; more counts the others. Unlike in
// the ledger, one that cost nothing since its severity was at its cap stands by
// itself too.
func (j *Judge) Explain() (v *Verdict, causes []Cause, more int) {
	v, items := j.weigh() // sorted as the ledger has them
	total := 0
	sums := make([]int, len(bySeverity))
	groups := groupsOf(items)
	for _, g := range groups {
		sums[order[g[0].severity]] += g[0].points
	}
	for o, s := range sums {
		total += j.weights.charged(o, s)
	}
	spent := make([]int, len(bySeverity))
	for _, g := range groups {
		it := &g[0]
		o := order[it.severity]
		if len(causes) == maxEntries {
			more++
			continue
		}
		points := j.weights.charged(o, spent[o]+it.points) - j.weights.charged(o, spent[o])
		spent[o] += it.points
		c := Cause{
			Entry:   Entry{Points: points, Severity: it.severity, What: it.what, Capped: points < it.points},
			Without: score(total - j.weights.charged(o, sums[o]) + j.weights.charged(o, sums[o]-it.points)),
		}
		j.cause(&c, g)
		causes = append(causes, c)
	}
	return v, causes, more
}

// charged is what items of a severity cost together.
func (w *weights) charged(o, sum int) int {
	if w.caps[o] == 0 {
		return sum
	}
	return min(sum, w.caps[o])
}

// groupsOf cuts sorted items into those that are one entry of the ledger, the
// dearest first.
func groupsOf(items []item) [][]item {
	var groups [][]item
	at := make(map[string]int, len(items))
	for _, it := range items {
		i, ok := at[it.group]
		if !ok {
			i = len(groups)
			at[it.group] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], it)
	}
	return groups
}

// cause fills in what a group of items comes from.
func (j *Judge) cause(c *Cause, group []item) {
	if f := group[0].finding; f != nil {
		c.Finding, c.Leaves = f, f.Leaves
		return
	}
	for i := range group {
		f := group[i].fact
		if f == nil || len(c.Facts) == maxLeaves {
			return
		}
		c.Facts = append(c.Facts, f)
		if !slices.Contains(c.Leaves, f.Leaf) {
			c.Leaves = append(c.Leaves, f.Leaf)
		}
		switch group[i].judged.status {
		case forbidden:
			c.Deny = group[i].judged.grant
			continue
		case overBudget:
			c.Near, c.Misses = group[i].judged.grant, "more bytes were sent than it allows"
		}
		if c.Near == nil {
			c.Near, c.Misses = j.in.Near(f)
		}
		switch {
		case f.Verb == fact.Request:
			c.Key, c.Line = intent.Key(f), intent.LineOfRequests(c.Facts)
		case c.Line == "":
			c.Key, c.Line = intent.Key(f), group[i].line
		}
	}
}

// Intent returns the intent that the recording is judged by.
func (j *Judge) Intent() *intent.Resolved { return j.in }
