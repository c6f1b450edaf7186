package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// ratio is a median with its bootstrap 95 % interval.
type ratio struct {
	median, low, high float64
	n                 int
}

func (r ratio) String() string {
	return fmt.Sprintf("%.3f [%.3f..%.3f] n=%d", r.median, r.low, r.high, r.n)
}

// met is the rule by which a bound counts as met on a machine that scatters:
// the interval reaches down to it, and the median is at most .02 above it or no
// further out than what the null pairs show with nothing to measure.
func (r ratio) met(bound float64, null ratio) bool {
	return r.low <= bound && (r.median <= bound+.02 || null.low <= r.median && r.median <= null.high)
}

// took is one run of a load: what it took by the clock, or a piece of its work
// where the run has a fixed length, and the processor time of all of it.
type took struct {
	wall, cpu time.Duration
	// from and to are on CLOCK_BOOTTIME, in nanoseconds.
	from, to int64
}

// rounds runs every one of ways in each of n rounds, in turning order, and
// returns for each the ratio of its time to that of the first in the same
// round, and the first one's median processor time.
func (s *suite) rounds(n int, ways ...func() (took, error)) ([]ratio, time.Duration, error) {
	taken := make([][]took, len(ways))
	for i := range n {
		for j := range ways {
			w := (i + j) % len(ways)
			if s.interrupted.Err() != nil {
				return nil, 0, fmt.Errorf("interrupted in round %d of %d", i+1, n)
			}
			t, err := ways[w]()
			if err != nil {
				return nil, 0, err
			}
			taken[w] = append(taken[w], t)
		}
	}
	ratios := make([]ratio, len(ways))
	for w := range ways {
		quotients := make([]float64, n)
		for i := range quotients {
			quotients[i] = float64(taken[w][i].wall) / float64(taken[0][i].wall)
		}
		ratios[w] = bootstrap(quotients)
	}
	cpu := make([]float64, n)
	for i := range cpu {
		cpu[i] = float64(taken[0][i].cpu)
	}
	return ratios, time.Duration(median(cpu)), nil
}

// bootstrap gives the median's interval by the percentile method, from 2,000
// samples drawn from a fixed seed.
func bootstrap(xs []float64) ratio {
	rng := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, 2000)
	sample := make([]float64, len(xs))
	for i := range medians {
		for j := range sample {
			sample[j] = xs[rng.IntN(len(xs))]
		}
		medians[i] = median(sample)
	}
	slices.Sort(medians)
	return ratio{median(xs), medians[len(medians)*25/1000], medians[len(medians)*975/1000], len(xs)}
}

func median(xs []float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}
