package judge

import (
	"fmt"
	"testing"

	"github.com/org/edamame-posture/pkg/intent"
)

// flooded returns the verdict after floods of one critical and one low rule,
// each before a single finding of another rule of its severity.
func flooded(t *testing.T, version string) *Verdict {
	t.Helper()
	var none *intent.Resolved
	j, err := NewVersion(version, none, nil)
	if err != nil {
		t.Fatal(err)
	}
	seq := int64(0)
	find := func(rule string, s Severity, object string) {
		seq++
		j.find(&Finding{Rule: rule, Severity: s, Object: object, First: seq, Last: seq, Count: 1, Technique: []string{}, Leaves: []uint64{}}, nil)
	}
	for _, s := range []Severity{Critical, Low} {
		for i := range 3 * maxFindings {
			find("flood-"+string(s), s, fmt.Sprint(i))
		}
		find("quiet-"+string(s), s, "one")
	}
	find("quiet-medium", Medium, "one")
	return j.Verdict()
}

func TestAFloodOfOneRuleHidesNoOther(t *testing.T) {
	v := flooded(t, Version)
	count := map[string]int{}
	last := Critical
	for _, f := range v.Findings {
		count[f.Rule]++
		if f.Rule == "left-out" {
			if want := uint64(4*maxFindings + 3 + 2*maxFindings - maxListedFinding); f.Count != want || f.Severity != Critical {
				t.Errorf("left out: %d of %s, want %d of critical", f.Count, f.Severity, want)
			}
			continue
		}
		if order[f.Severity] > order[last] {
			t.Errorf("%s comes after %s", f.Severity, last)
		}
		last = f.Severity
	}
	for _, rule := range []string{"quiet-critical", "quiet-medium", "quiet-low", "flood-low", "left-out"} {
		if count[rule] != 1 {
			t.Errorf("%s is listed %d times, want once", rule, count[rule])
		}
	}
	if len(v.Findings) != maxListedFinding+1 || count["flood-critical"] != maxListedFinding-4 {
		t.Errorf("%d findings, by rule %v", len(v.Findings), count)
	}
}

// What was judged by the first version is judged by it again.
func TestTheFirstVersionListsTheGravestAlone(t *testing.T) {
	for _, f := range flooded(t, "judge/1").Findings {
		if f.Rule != "flood-critical" && f.Rule != "left-out" {
			t.Errorf("%s is listed", f.Rule)
		}
	}
}
