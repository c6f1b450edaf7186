package judge

import (
	"fmt"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
)

// unread tells, as gaps of coverage, of connections on which requests are
// limited and were not read: what they asked for may be what no grant allows, so
// the grants do not count as kept. It is nobody's fault and no finding; but no
// pass either.
func (j *Judge) unread(facts []*fact.Fact, c *Coverage) {
	if !j.in.Requests() {
		return
	}
	type place struct{ object, why string }
	at := map[place]int{} // in gaps
	var gaps []Gap
	var conns []uint64
	more := 0
	for _, f := range facts {
		if f.Unread.Conns == 0 || f.Via == event.ViaHost || f.Via == event.ViaOutside {
			continue
		}
		u := &f.Unread
		p := place{f.Object.String(), u.Why.String()}
		i, ok := at[p]
		switch {
		case ok:
			g := &gaps[i]
			if u.First < g.From {
				g.From, g.Leaf = u.First, u.Leaf
			}
			g.To, conns[i] = max(g.To, u.Last), conns[i]+u.Conns
			continue
		case len(gaps) == maxGaps:
			more++
			continue
		}
		at[p] = len(gaps)
		gaps = append(gaps, Gap{From: u.First, To: u.Last, Leaf: u.Leaf})
		conns = append(conns, u.Conns)
		grant := ""
		if g := j.in.Explain(f); g != nil {
			grant = fmt.Sprintf(", which %s (%s:%d:%d) limits", g.Text, g.Origin.File, g.Origin.Line, g.Origin.Column)
		}
		gaps[len(gaps)-1].What = fmt.Sprintf("requests to %s%s, could not be checked: %s", p.object, grant, p.why)
	}
	for i := range gaps {
		if conns[i] > 1 {
			gaps[i].What += fmt.Sprintf(" (%d connections)", conns[i])
		}
	}
	if more > 0 {
		gaps[len(gaps)-1].What += fmt.Sprintf("; and at %d more destinations", more)
	}
	if len(gaps) > 0 {
		c.Gaps, c.State = append(c.Gaps, gaps...), "partial"
	}
}
