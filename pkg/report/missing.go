package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
)

// telling orders verbs by how much a fact of them tells a reader, of those of
// one severity: what left the machine or could, before what merely ran.
var telling = []string{"chain", "credential", "upload", "connect", "request", "power", "posture-drift", "listen", "resolve", "write", "delete", "exec"}

// worstFirst returns facts as a reader wants them: the worst first, and of these
// the most telling.
func worstFirst(facts []judge.Fact) []judge.Fact {
	facts = slices.Clone(facts)
	slices.SortStableFunc(facts, func(a, b judge.Fact) int {
		return cmp.Or(rank(a.Severity)-rank(b.Severity), slices.Index(telling, a.Verb)-slices.Index(telling, b.Verb))
	})
	return facts
}

// missing returns the lines of a policy that would cover the facts, below the
// names of their lists, to be pasted as they are.
func missing(facts []judge.Fact) []string {
	lists := map[string][]string{}
	var keys []string
	for _, f := range facts {
		key := intent.ListOf(f.Verb)
		item, ok := strings.CutPrefix(f.Grant, "- ")
		if !ok || key == "" || strings.ContainsAny(item, "\n\r") || slices.Contains(lists[key], item) {
			continue
		}
		if lists[key] == nil {
			keys = append(keys, key)
		}
		lists[key] = append(lists[key], item)
	}
	var lines []string
	for _, key := range keys {
		lines = append(lines, key+":")
		for _, item := range lists[key] {
			lines = append(lines, "  - "+item)
		}
	}
	return lines
}
