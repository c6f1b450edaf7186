package judge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func random(r *rand.Rand, n int) []item {
	items := make([]item, n)
	for i := range items {
		s := bySeverity[1+r.IntN(4)]
		p := current.points[order[s]]
		if r.IntN(4) == 0 {
			p = current.denied[order[s]]
		}
		id := fmt.Sprint(s, p, r.IntN(20))
		items[i] = item{severity: s, points: p, what: id, group: id}
	}
	return items
}

func sum(entries []Entry) int {
	n := 0
	for _, e := range entries {
		n += e.Points
	}
	return n
}

func TestLedgerProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		items := random(r, r.IntN(30))
		entries, s := current.ledger(slices.Clone(items))
		if s != score(sum(entries)) {
			t.Fatalf("score %d, but the lines add up to %d", s, score(sum(entries)))
		}
		if s < 0 || s > 100 || (s == 0) != (len(items) == 0) {
			t.Fatalf("score %d of %d items", s, len(items))
		}
		if slices.ContainsFunc(items, func(i item) bool { return i.severity == Critical }) && s < 90 {
			t.Fatalf("score %d with a critical item", s)
		}
		more, s2 := current.ledger(append(slices.Clone(items), random(r, 1)...))
		if s2 < s {
			t.Fatalf("one item more takes the score from %d to %d: %v", s, s2, more)
		}
		shuffled := append(slices.Clone(items), items...)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again, s3 := current.ledger(shuffled)
		if s3 != s || !slices.Equal(again, entries) {
			t.Fatalf("order and duplicates change the ledger:\n%v\n%v", entries, again)
		}
	}
}

func TestNoSeverityCostsMoreThanItsCap(t *testing.T) {
	want := map[Severity]int{Info: 5, Low: 15, Medium: 45, High: 85, Critical: 100}
	for s, limit := range want {
		var items []item
		for i := range 100 {
			items = append(items, item{severity: s, points: current.points[order[s]], what: fmt.Sprint(i), group: fmt.Sprint(i)})
		}
		entries, got := current.ledger(items)
		if got != limit {
			t.Errorf("a hundred of %s score %d, want %d", s, got, limit)
		}
		if s != Critical && (len(entries) > 8 || !entries[len(entries)-1].Capped) {
			t.Errorf("%s: %v", s, entries)
		}
	}
}
