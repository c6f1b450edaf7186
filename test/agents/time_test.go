package agents

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// answersAfter is how long the model of this measurement takes for an answer, by
// itself: those of model makers take that long and longer.
const answersAfter = 2 * time.Second

// What an agent's user waits longer because of us: each session twice, in turn
// without hooks and monitor and with both, POSTURE_PAIRS times, and what the
// second took of the first. It is printed and fails for no number: make agents-time.
func TestTheAgentsOwnTime(t *testing.T) {
	pairs, _ := strconv.Atoi(os.Getenv("POSTURE_PAIRS"))
	if pairs == 0 {
		t.Skip("a measurement for a quiet machine: make agents-time")
	}
	all, err := Sessions()
	if err != nil {
		t.Fatal(err)
	}
	s := all[slices.IndexFunc(all, func(s *Session) bool { return s.Name == everybodys })]
	for i := range programs[:2] {
		p := &programs[i]
		t.Run(p.name, func(t *testing.T) {
			var ratios []float64
			var bare, watched time.Duration
			for n := range pairs + 1 {
				var took [2]time.Duration
				for k := range took {
					with := k != n%2 // who is second finds warm caches
					took[map[bool]int{true: 1}[with]] = agentsTime(t, p, s, with)
				}
				if n == 0 {
					continue // caches were cold
				}
				bare, watched = bare+took[0], watched+took[1]
				ratios = append(ratios, float64(took[1])/float64(took[0]))
			}
			middle, low, high := median(ratios)
			fmt.Printf("%s: %d pairs of %s, whose model answers after %v: without %v, with hooks and monitor %v in the mean; with to without in the median %.4f, 95 %% interval %.4f to %.4f\n",
				p.name, pairs, s.Name, answersAfter, (bare / time.Duration(pairs)).Round(time.Millisecond), (watched / time.Duration(pairs)).Round(time.Millisecond), middle, low, high)
		})
	}
}

// agentsTime runs a session, with hooks and under the monitor or without both,
// and returns how long the agent itself took.
func agentsTime(t *testing.T, p *program, s *Session, with bool) (took time.Duration) {
	// Each session's world goes before the next one begins.
	t.Run(map[bool]string{true: "with", false: "without"}[with], func(t *testing.T) {
		plain := *s
		if !with {
			plain.Hooks = "none"
		}
		w := begin(t, p, &plain)
		w.model.after = answersAfter
		file := filepath.Join(w.root, "took")
		argv := append([]string{"sh", "-c", `s=$(date +%s%N); "$@"; c=$?; echo $(($(date +%s%N) - s)) >"$0"; exit $c`, file}, p.argv(t, w, &plain, "")...)
		if with {
			argv = append([]string{posture, "run", "--out", filepath.Join(w.root, "posture"), "--"}, argv...)
		}
		r := run(t, w, argv)
		if r.code == 3 {
			r.code = 0
		}
		r.did(t, &plain)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		took = time.Duration(ns)
	})
	return took
}

// median returns the median of values and its 95 % interval, which holds for any
// distribution: the greatest ranks from both ends between which it lies that often.
// Of fewer than six there is none, and it is all of them.
func median(values []float64) (middle, low, high float64) {
	v := slices.SortedFunc(slices.Values(values), cmp.Compare[float64])
	n := len(v)
	tail, rank := math.Pow(0.5, float64(n)), 0
	for p := tail; 2*tail <= 0.05 && rank < n/2; rank++ {
		p = p * float64(n-rank) / float64(rank+1)
		tail += p
	}
	rank = max(rank-1, 0)
	return (v[(n-1)/2] + v[n/2]) / 2, v[rank], v[n-1-rank]
}

func TestTheIntervalOfAMedian(t *testing.T) {
	for n, rank := range map[int]int{6: 0, 9: 1, 12: 2, 20: 5, 25: 7, 100: 39} { // as tables of the sign test have it
		var v []float64
		for i := range n {
			v = append(v, float64(n-i-1))
		}
		middle, low, high := median(v)
		if middle != float64(n-1)/2 || low != float64(rank) || high != float64(n-1-rank) {
			t.Errorf("%d: %v, %v to %v, want from %d", n, middle, low, high, rank)
		}
	}
}
