package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/learn"
)

// maxDiffering bounds each list of a comparison. What is beyond is counted.
const maxDiffering = 1000

// Comparison is what two runs did differently, by [Compare].
type Comparison struct {
	Version int  `json:"version"`
	Same    bool `json:"same"`
	A       Side `json:"a"`
	B       Side `json:"b"`
}

// Side is one run of a comparison: what it came to, and what it did that the
// other did not.
type Side struct {
	Dir      string        `json:"dir"`
	Run      string        `json:"run"`
	Verdict  judge.Outcome `json:"verdict"`
	Score    int           `json:"score"`
	Coverage string        `json:"coverage"`
	Events   uint64        `json:"events"`
	Lost     uint64        `json:"lost"`

	Facts    []OnlyFact    `json:"facts"`
	Findings []OnlyFinding `json:"findings"`
	LeftOut  uint64        `json:"left_out"` // facts that differ and are not listed
	NotKept  uint64        `json:"not_kept"` // facts that its judge had no room for, so that nobody can compare them
}

// OnlyFact is a fact of one of two runs. Parts of the object that differ by
// chance are stars.
type OnlyFact struct {
	Verb     string   `json:"verb"`
	Who      []string `json:"who"` // the doer first
	Object   string   `json:"object"`
	Standing string   `json:"standing,omitempty"`
	Count    uint64   `json:"count"`
	Leaf     uint64   `json:"leaf"` // an event that shows it
}

// OnlyFinding is a finding of one of two runs.
type OnlyFinding struct {
	ID       string         `json:"id"`
	Rule     string         `json:"rule"`
	Severity judge.Severity `json:"severity"`
	Title    string         `json:"title"`
	Object   string         `json:"object,omitempty"`
}

// Compare reads two folders of results and tells what each run did that the
// other did not. Two facts are the same when verb, lineage and object are, with
// what differs by chance left aside; two findings when their ids are.
func Compare(dirA, dirB string) (*Comparison, error) {
	c := &Comparison{Version: 1}
	var facts [2]map[string]*OnlyFact
	var findings [2]map[string]OnlyFinding
	for i, dir := range []string{dirA, dirB} {
		ev, err := open(dir)
		if err != nil {
			return nil, err
		}
		r, err := read(ev, nil)
		if cerr := ev.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		v := r.Verdict()
		side := c.side(i)
		*side = Side{
			Dir: dir, Run: v.Run.ID, Verdict: v.Verdict, Score: v.Score, Coverage: v.Coverage.State, Events: v.Coverage.Events,
			Lost: v.Coverage.Lost, Facts: []OnlyFact{}, Findings: []OnlyFinding{}, NotKept: v.Facts.LeftOut,
		}
		facts[i], findings[i] = factsOf(r, v), make(map[string]OnlyFinding)
		for _, f := range v.Findings {
			findings[i][f.ID] = OnlyFinding{f.ID, f.Rule, f.Severity, f.Title, f.Object}
		}
	}
	for i := range 2 {
		side := c.side(i)
		for k, f := range facts[i] {
			if facts[1-i][k] == nil {
				side.Facts = append(side.Facts, *f)
			}
		}
		for id, f := range findings[i] {
			if _, ok := findings[1-i][id]; !ok {
				side.Findings = append(side.Findings, f)
			}
		}
		slices.SortFunc(side.Facts, func(a, b OnlyFact) int {
			return cmp.Or(cmp.Compare(weightOf(a.Standing), weightOf(b.Standing)), cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.Object, b.Object), slices.Compare(a.Who, b.Who))
		})
		slices.SortFunc(side.Findings, func(a, b OnlyFinding) int {
			return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.ID, b.ID))
		})
		if n := len(side.Facts); n > maxDiffering {
			side.Facts, side.LeftOut = side.Facts[:maxDiffering], uint64(n-maxDiffering)
		}
	}
	a, b := &c.A, &c.B
	c.Same = len(a.Facts)+len(b.Facts)+len(a.Findings)+len(b.Findings) == 0 && a.Verdict == b.Verdict && a.Score == b.Score && a.Coverage == b.Coverage
	return c, nil
}

func (c *Comparison) side(i int) *Side {
	if i == 0 {
		return &c.A
	}
	return &c.B
}

// weightOf orders standings, the gravest first.
func weightOf(standing string) int {
	return slices.Index([]string{string(Forbidden), string(Undeclared)}, standing) & 3 // the -1 of others comes last
}

// factsOf returns the facts of a run by what makes two runs' the same.
func factsOf(r *reading, v *judge.Verdict) map[string]*OnlyFact {
	listed := standings(v)
	out := make(map[string]*OnlyFact)
	for _, f := range r.Facts() {
		standing, _ := r.Standing(f)
		if s := listed.of(f); s.standing != Unlisted {
			standing = string(s.standing)
		}
		if standing == "explained" {
			standing = ""
		}
		o := OnlyFact{Verb: f.Verb.String(), Who: texts(f.Who), Object: f.Object.String(), Standing: standing, Count: f.Count, Leaf: f.Leaf}
		switch f.Verb {
		case fact.Write, fact.Delete, fact.Exec, fact.Credential, fact.Drift:
			o.Object = learn.Fold(o.Object)
		}
		for i := range o.Who {
			o.Who[i] = learn.Fold(o.Who[i])
		}
		k := o.Verb + "\x00" + o.Object + "\x00" + strings.Join(o.Who, "\x00")
		if had := out[k]; had != nil {
			had.Count += o.Count
			continue
		}
		out[k] = &o
	}
	return out
}

// JSON writes the comparison as one line.
func (c *Comparison) JSON(w io.Writer) error { return writeJSON(w, c) }

// Text writes the comparison for a terminal, in the manner of diff(1).
func (c *Comparison) Text(w io.Writer) error {
	var b strings.Builder
	for i, mark := range []string{"---", "+++"} {
		fmt.Fprintf(&b, "%s %s  %s\n", mark, visible(c.side(i).Dir), c.side(i).sum())
	}
	for i, mark := range []string{"-", "+"} {
		s := c.side(i)
		for _, f := range s.Findings {
			fmt.Fprintf(&b, "%s finding %s\n", mark, visible(cutEnd(f.told(), 300)))
		}
		for _, f := range s.Facts {
			fmt.Fprintf(&b, "%s %s\n", mark, visible(cutEnd(f.told(), 300)))
		}
		for _, l := range s.missing() {
			fmt.Fprintf(&b, "%s (%s)\n", mark, l)
		}
	}
	if c.Same {
		b.WriteString("both did the same\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown writes the comparison for a comment or a job's summary.
func (c *Comparison) Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| | run | verdict | score | coverage | events |\n|---|---|---|---|---|---|\n")
	for i, name := range []string{"A", "B"} {
		s := c.side(i)
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %s | %s |\n", name, text(cutEnd(s.Dir, 100)), s.Verdict, s.Score, s.Coverage, number(s.Events))
	}
	if c.Same {
		b.WriteString("\nBoth did the same.\n")
	}
	for i, name := range []string{"A", "B"} {
		s := c.side(i)
		if len(s.Findings)+len(s.Facts) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n**Only in %s**\n\n", name)
		for _, f := range s.Findings {
			fmt.Fprintf(&b, "- finding %s\n", text(cutEnd(f.told(), 300)))
		}
		for _, f := range s.Facts {
			fmt.Fprintf(&b, "- %s\n", text(cutEnd(f.told(), 300)))
		}
		for _, l := range s.missing() {
			fmt.Fprintf(&b, "- (%s)\n", l)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Side) sum() string {
	return fmt.Sprintf("%s, score %d, %s coverage, %s, %s lost", s.Verdict, s.Score, s.Coverage, count(s.Events, "event", "events"), number(s.Lost))
}

func (s *Side) missing() (lines []string) {
	if s.LeftOut > 0 {
		lines = append(lines, count(s.LeftOut, "more fact", "more facts")+", not listed")
	}
	if s.NotKept > 0 {
		lines = append(lines, count(s.NotKept, "fact was", "facts were")+" too many to keep, and cannot be compared")
	}
	return lines
}

func (f *OnlyFinding) told() string {
	s := string(f.Severity) + " " + f.Rule + ": " + f.Title
	if f.Object != "" {
		s += ": " + f.Object
	}
	return s
}

func (f *OnlyFact) told() string {
	s := f.Verb + " " + f.Object + " (" + chain(f.Who) + ")"
	if f.Standing != "" {
		s += ", " + f.Standing
	}
	return s
}
