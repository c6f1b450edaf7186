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

// A way is how an agent is run in this measurement.
type way struct {
	name    string
	hooks   bool // ours are installed
	nothing bool // and are a program that does nothing at all
	watched bool // it runs under the monitor
}

// The first is what the others are held against, the second what is asked for.
// The others are its parts: what the agent itself takes to call a hook, which it
// does for every tool and turn, whatever is called; and the monitor alone.
var ways = []way{
	{name: "without"},
	{name: "with hooks and monitor", hooks: true, watched: true},
	{name: "with hooks that do nothing", hooks: true, nothing: true},
	{name: "with the monitor alone", watched: true},
}

// What an agent's user waits longer because of us: each session in turn without
// hooks and monitor and in the other ways, POSTURE_PAIRS times, and what each took
// of the first. It is printed and fails for no number: make agents-time.
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
			ratios := make([][]float64, len(ways))
			means := make([]time.Duration, len(ways))
			for n := range pairs + 1 {
				took := make([]time.Duration, len(ways))
				for k := range ways {
					which := (n + k) % len(ways) // who is later finds warm caches
					took[which] = agentsTime(t, p, s, ways[which])
				}
				if n == 0 {
					continue // caches were cold
				}
				for k := range ways {
					means[k] += took[k] / time.Duration(pairs)
					ratios[k] = append(ratios[k], float64(took[k])/float64(took[0]))
				}
			}
			fmt.Printf("%s: %d times %s, whose model answers after %v; without hooks and monitor %v in the mean\n", p.name, pairs, s.Name, answersAfter, means[0].Round(time.Millisecond))
			for k, w := range ways[1:] {
				middle, low, high := median(ratios[k+1])
				fmt.Printf("  %s: %v in the mean; of the time without in the median %.4f, 95 %% interval %.4f to %.4f\n", w.name, means[k+1].Round(time.Millisecond), middle, low, high)
			}
		})
	}
}

// agentsTime runs a session in one of the ways, and returns how long the agent
// itself took.
func agentsTime(t *testing.T, p *program, s *Session, by way) (took time.Duration) {
	// Each session's world goes before the next one begins.
	t.Run(strings.ReplaceAll(by.name, " ", "-"), func(t *testing.T) {
		plain := *s
		if !by.hooks {
			plain.Hooks = "none"
		}
		w := begin(t, p, &plain)
		if by.nothing {
			w.doNothing()
		}
		w.model.after = answersAfter
		file := filepath.Join(w.root, "took")
		argv := append([]string{"sh", "-c", `s=$(date +%s%N); "$@"; c=$?; echo $(($(date +%s%N) - s)) >"$0"; exit $c`, file}, p.argv(t, w, &plain, "")...)
		if by.watched {
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

// doNothing puts a program that does nothing in the hook's place.
func (w *world) doNothing() {
	data, err := os.ReadFile("/bin/true")
	if err == nil {
		err = os.Remove(w.hook) // a link to what others use
	}
	if err == nil {
		err = os.WriteFile(w.hook, data, 0o755)
	}
	if err != nil {
		w.t.Fatal(err)
	}
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
