package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/org/edamame-posture/pkg/judge"
)

// result is what one run came to.
type result struct {
	span          time.Duration
	sensor        string
	did, noEngine string
	samples       []sample
	coverage      judge.Coverage

	rows   []verdict
	failed []string
}

// verdict is what became of one thing that the monitor holds.
type verdict struct {
	what        string
	early, late string
	bound       string
	held        string
}

// measure is something that must not grow.
type measure struct {
	what string
	of   func(sample) int64
	// shown writes a number of it.
	shown func(int64) string
	// floor takes the least of a span rather than the middle: what comes and goes
	// with the load has no middle that says anything.
	floor bool
	// more is what may be added: so much, and so many hundredths.
	more, hundredths int64
	// hurried is what may be added besides in a run of minutes. Its load is twelve
	// times as quick, and a quarter of it sees one or two of the rounds that let go
	// of removed libraries: what of these was used in the five seconds before
	// stays. A probe that is never taken out comes to a hundred in a minute.
	hurried int64
	memory  bool
}

const mib = 1 << 20

var measures = []measure{
	{"resident memory", func(s sample) int64 { return s.RSS }, inMiB, false, mib, 5, 0, true},
	{"Go heap, live after a collection", func(s sample) int64 { return s.Heap }, inMiB, true, mib / 2, 5, 0, true},
	{"goroutines", func(s sample) int64 { return s.Goroutines }, plain, true, 2, 0, 0, false},
	{"file descriptors", func(s sample) int64 { return s.FDs }, plain, true, 2, 0, 20, false},
	{"BPF maps", func(s sample) int64 { return s.Maps }, plain, true, 0, 0, 0, false},
	{"links of uprobes", func(s sample) int64 { return s.Probes }, plain, true, 0, 0, 12, false},
}

func inMiB(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/mib) }
func plain(n int64) string { return fmt.Sprint(n) }

// judge holds the last quarter of the run against the second: the first is for
// what fills up.
func (r *result) judge() {
	early, late := part(r.samples, 1, 2), part(r.samples, 3, 4)
	if len(early) < 5 || len(late) < 5 {
		r.failed = append(r.failed, fmt.Sprintf("%d samples are too few", len(r.samples)))
		return
	}
	for _, m := range measures {
		a, b := m.typical(early), m.typical(late)
		most := a + m.more + a*m.hundredths/100
		if r.span < long {
			most += m.hurried
		}
		v := verdict{what: m.what, early: m.shown(a), late: m.shown(b), bound: "≤ " + m.shown(most), held: "yes"}
		switch {
		case m.memory && r.span < long:
			v.bound, v.held = "", ""
		case b > most:
			v.held = "**no**"
			r.failed = append(r.failed, fmt.Sprintf("%s grew from %s to %s", m.what, v.early, v.late))
		}
		r.rows = append(r.rows, v)
	}
	if c := r.coverage; c.Lost > 0 || len(c.Gaps) > 0 {
		why := ""
		for _, g := range c.Gaps {
			why += ", " + g.What
		}
		r.failed = append(r.failed, fmt.Sprintf("%d records were lost, %d gaps%s", c.Lost, len(c.Gaps), why))
	}
}

// part is the samples from one quarter of the time to another.
func part(all []sample, from, to float64) (out []sample) {
	if len(all) == 0 {
		return nil
	}
	end := all[len(all)-1].At
	for _, s := range all {
		if s.At >= end*from/4 && s.At <= end*to/4 {
			out = append(out, s)
		}
	}
	return out
}

func (m *measure) typical(in []sample) int64 {
	var list []int64
	for _, s := range in {
		list = append(list, m.of(s))
	}
	slices.Sort(list)
	if m.floor {
		return list[0]
	}
	return list[len(list)/2]
}

// rows of the table of samples.
const rows = 30

func (r *result) table() string {
	var b strings.Builder
	b.WriteString(r.header())
	b.WriteString("\nHeld against each other are the second quarter of the time and the last: of resident memory the middle, of all else the least.\n\n")
	b.WriteString("| what the monitor holds | second quarter | last quarter | bound | held |\n| --- | --- | --- | --- | --- |\n")
	for _, v := range r.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", v.what, v.early, v.late, v.bound, v.held)
	}
	c := r.coverage
	fmt.Fprintf(&b, "\nEvents: %d, lost %d, gaps %d, second witness: %s.\n\nThe load:\n\n", c.Events, c.Lost, len(c.Gaps), c.Witness)
	for line := range strings.Lines(r.did) {
		b.WriteString("* " + strings.TrimSpace(line) + "\n")
	}
	if r.noEngine != "" {
		b.WriteString("* no containers: " + strings.TrimSpace(r.noEngine) + "\n")
	}
	b.WriteString("\n| time | resident | heap | goroutines | descriptors | maps | links of uprobes |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for i := range min(rows, len(r.samples)) {
		s := r.samples[i*(len(r.samples)-1)/max(min(rows, len(r.samples))-1, 1)]
		fmt.Fprintf(&b, "| %v | %s | %s | %d | %d | %d | %d |\n", time.Duration(s.At*float64(time.Second)).Round(time.Second),
			inMiB(s.RSS), inMiB(s.Heap), s.Goroutines, s.FDs, s.Maps, s.Probes)
	}
	return b.String()
}
