package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// steady is an hour of samples that go up and down with the load.
func steady() (all []sample) {
	for i := range 600 {
		s := sample{At: float64(6 * i), RSS: 60 * mib, Heap: 20 * mib, Goroutines: 30, FDs: 80, Maps: 40, Probes: 12}
		if i < 100 {
			s.RSS, s.Heap = 30*mib, 5*mib // it fills up
		}
		if i%3 == 0 {
			s.Goroutines, s.FDs, s.Probes, s.Heap = s.Goroutines+20, s.FDs+30, s.Probes+6, s.Heap+10*mib
		}
		all = append(all, s)
	}
	return all
}

func TestGrowthAfterTheFirstMinutesFails(t *testing.T) {
	for _, c := range []struct {
		what string
		leak func(i int64, s *sample)
		span time.Duration
		want string
	}{
		{"nothing", func(int64, *sample) {}, time.Hour, ""},
		{"resident memory", func(i int64, s *sample) { s.RSS += i * mib / 50 }, time.Hour, "resident memory grew"},
		{"the same in a minute", func(i int64, s *sample) { s.RSS += i * mib / 50 }, time.Minute, ""},
		{"heap", func(i int64, s *sample) { s.Heap += i * mib / 100 }, time.Hour, "Go heap"},
		{"goroutines", func(i int64, s *sample) { s.Goroutines += i / 60 }, time.Minute, "goroutines grew"},
		{"descriptors", func(i int64, s *sample) { s.FDs += i / 60 }, time.Hour, "file descriptors grew"},
		{"maps", func(i int64, s *sample) { s.Maps += i / 200 }, time.Hour, "BPF maps grew"},
		{"probes", func(i int64, s *sample) { s.Probes += i / 200 }, time.Hour, "links of uprobes grew"},
		{"those of a library that was just used, in a minute", func(i int64, s *sample) { s.Probes += i / 200 * 3; s.FDs += i / 200 * 5 }, time.Minute, ""},
		{"probes that stay, in a minute", func(i int64, s *sample) { s.Probes += i / 10 }, time.Minute, "links of uprobes grew"},
		{"descriptors that stay, in a minute", func(i int64, s *sample) { s.FDs += i / 10 }, time.Minute, "file descriptors grew"},
	} {
		r := &result{span: c.span, samples: steady()}
		for i := range r.samples {
			c.leak(int64(i), &r.samples[i])
		}
		r.judge()
		if c.want == "" && len(r.failed) != 0 || c.want != "" && !slices.ContainsFunc(r.failed, func(s string) bool { return strings.HasPrefix(s, c.want) }) {
			t.Errorf("%s: %q, want %q", c.what, r.failed, c.want)
		}
	}
	r := &result{span: time.Hour, samples: steady()}
	r.coverage.Lost = 3
	if r.judge(); len(r.failed) != 1 || !strings.Contains(r.failed[0], "3 records were lost") {
		t.Errorf("losses: %q", r.failed)
	}
	r = &result{span: time.Hour, samples: steady()[:9]}
	if r.judge(); len(r.failed) != 1 {
		t.Errorf("of 9 samples: %q", r.failed)
	}
}
