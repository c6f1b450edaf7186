package judge

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/org/edamame-posture/pkg/fact"
)

// maxEntries bounds the lines of a ledger. The caps leave a dozen of them with
// points; only critical ones have none.
const maxEntries = 200

// item is one thing that costs points, before caps.
type item struct {
	severity Severity
	points   int
	what     string
	group    string // items of one group are one entry, the dearest

	// Where it comes from: a fact, or a finding; neither for facts that were too
	// many to keep.
	fact    *fact.Fact
	judged  judgement
	finding *Finding
	line    string // of policy, that would explain the fact; see Fact.Grant
}

// ledger makes the lines that the score is the sum of. What one severity costs
// is bounded, so the lines of it that come late cost less or nothing; those are
// marked, and what costs nothing is told in one line. The sum of all Points is
// L, and S = [score](L).
func (w *weights) ledger(items []item) ([]Entry, int) {
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(
			cmp.Compare(order[b.severity], order[a.severity]), cmp.Compare(b.points, a.points),
			cmp.Compare(a.group, b.group), cmp.Compare(a.what, b.what),
		)
	})
	seen := make(map[string]bool, len(items))
	entries := make([]Entry, 0, min(len(items), 16))
	sum := 0
	for start := 0; start < len(items); {
		s := items[start].severity
		end := start
		for end < len(items) && items[end].severity == s {
			end++
		}
		left, unbounded := w.caps[order[s]], w.caps[order[s]] == 0
		var free, more, morePoints int
		for _, it := range items[start:end] {
			if seen[it.group] {
				continue
			}
			seen[it.group] = true
			p := it.points
			if !unbounded {
				p = min(p, left)
				left -= p
			}
			sum += p
			switch {
			case p == 0:
				free++
			case len(entries) < maxEntries:
				entries = append(entries, Entry{Points: p, Severity: s, What: it.what, Capped: p < it.points})
			default:
				more++
				morePoints += p
			}
		}
		if more > 0 {
			entries = append(entries, Entry{Points: morePoints, Severity: s, What: fmt.Sprintf("%d more of this severity", more)})
		}
		if free > 0 {
			entries = append(entries, Entry{Severity: s, What: fmt.Sprintf("%d more, beyond what this severity can cost", free), Capped: true})
		}
		start = end
	}
	return entries, score(sum)
}
