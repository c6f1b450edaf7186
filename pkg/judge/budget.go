package judge

import (
	"fmt"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
)

// budgets holds how many bytes were sent under each grant that has a budget.
//
// A fact that a grant without a budget covers counts for none. One that
// several grants with budgets cover counts for each of them, and is over only
// where each is used up. So one more grant can only help, never harm, which is
// the promise of the policy language.
type budgets map[*intent.Grant]uint64

func (j *Judge) budgets(facts []*fact.Fact) budgets {
	if !j.in.Budgets() {
		return nil
	}
	b := budgets{}
	var grants []*intent.Grant
	for _, f := range facts {
		grants = j.in.Budgeted(grants[:0], f)
		for _, g := range grants {
			if b[g]+f.Sent < b[g] {
				b[g] = ^uint64(0)
				continue
			}
			b[g] += f.Sent
		}
	}
	return b
}

// over reports whether every budget that a fact could count for is used up.
func (b budgets) over(in *intent.Resolved, f *fact.Fact) bool {
	if b == nil || f.Sent == 0 {
		return false
	}
	grants := in.Budgeted(nil, f)
	for _, g := range grants {
		if b[g] <= g.Upload {
			return false
		}
	}
	return len(grants) > 0
}

// least is how many bytes the budget with the least sent under it would have
// needed.
func (b budgets) least(in *intent.Resolved, f *fact.Fact) uint64 {
	var least uint64
	for i, g := range in.Budgeted(nil, f) {
		if i == 0 || b[g] < least {
			least = b[g]
		}
	}
	return least
}

// told says what was sent under the first of the grants, and what it allows.
func (b budgets) told(in *intent.Resolved, f *fact.Fact) string {
	g := in.Budgeted(nil, f)[0]
	return fmt.Sprintf("%d bytes sent, %d granted by %s", b[g], g.Upload, g.Text)
}
