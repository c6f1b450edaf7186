// Package lint says what could be better about a policy that parses: grants
// that another one makes needless, and, held against runs of the job, grants
// that nothing needed or that are wider than what used them.
//
//	problems := lint.Check(policy, []lint.Run{{Name: "monday", Job: "build", Facts: judge.Facts()}})
package lint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// maxLines is the most lines that are proposed in the place of one grant: one
// that more would have to replace is no wider than a person wants it.
const maxLines = 3

// maxFacts bounds the facts of one grant that a tighter line is made of.
const maxFacts = 10_000

// Kind is the word for what is wrong.
type Kind string

// The kinds of problems.
const (
	Shadowed Kind = "shadowed" // another grant allows all of it
	Unused   Kind = "unused"   // no run needed it
	Wide     Kind = "wide"     // a tighter one would have done
	Suppress Kind = "suppress" // a suppression that is over, or of no rule
)

// Problem is one thing to improve, with its place.
type Problem struct {
	Kind   Kind   `json:"kind"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Text is the grant, or "use: NAME" for a preset.
	Text    string `json:"text"`
	Message string `json:"message"`
	// Instead are the lines that say it more tightly.
	Instead []string `json:"instead,omitempty"`
}

// String is the problem in one line: file:line:column: kind: text: message.
func (p *Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s: %s", document.Shown(p.File), p.Line, p.Column, p.Kind, document.Shown(p.Text), document.Shown(p.Message))
}

// Run is what was seen of a job.
type Run struct {
	Name string // for messages: the folder of the evidence
	// Job is the job's name in the policy. Empty or unknown there: only what
	// stands at the top is held against it.
	Job   string
	Facts []*fact.Fact
}

// Report is what Check found.
type Report struct {
	Grants   int       // written in the file, without those of presets
	Jobs     int       // that have a section
	Problems []Problem // in the order of the file
	// NotSeen names jobs without a run among those given: their grants were
	// not looked at. It is empty where no run was given at all.
	NotSeen []string
}

// Check looks for grants to improve. Without runs it tells of shadowed ones
// alone. A deny is never unused: that nothing ran into it is its purpose.
func Check(p *intent.Policy, runs []Run) (*Report, error) {
	c := checker{policy: p, use: map[place]*usage{}}
	r := &Report{Jobs: len(p.Jobs())}
	for _, job := range append([]string{""}, p.Jobs()...) {
		if err := c.job(job); err != nil {
			return nil, err
		}
	}
	for _, e := range c.entries {
		if e.Preset == "" && !e.Deny {
			r.Grants++
		}
	}
	if len(runs) > 0 {
		if err := c.runs(runs); err != nil {
			return nil, err
		}
		for _, job := range p.Jobs() {
			if !c.seen[job] {
				r.NotSeen = append(r.NotSeen, job)
			}
		}
	}
	slices.SortStableFunc(c.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	r.Problems = c.problems
	return r, nil
}

// Suppressions returns those of the policy that suppress nothing: over at that
// wall time, in nanoseconds since 1970, or of a rule that is not among ids.
func Suppressions(p *intent.Policy, wall int64, ids []string) []Problem {
	var errs document.Errors
	if !errors.As(p.CheckSuppressions(wall, ids), &errs) {
		return nil
	}
	var list []Problem
	for _, e := range errs {
		message := e.Message
		if e.Nearest != "" {
			message += fmt.Sprintf(" (did you mean %q?)", e.Nearest)
		}
		list = append(list, Problem{Kind: Suppress, File: e.File, Line: e.Line, Column: e.Column, Text: e.Text, Message: message})
	}
	return list
}

// place tells grants apart. The section is part of it since two jobs may use
// the same preset; the verb and object since a read and where it may be sent
// stand in one line.
type place struct {
	job          string
	file         string
	line, column int
	verb         fact.Verb
	to           string
}

// usage is what runs made of a grant.
type usage struct {
	instead  *intent.Entry // that explained what this one covers
	facts    []*fact.Fact  // that it explained
	overfull bool
}

type checker struct {
	policy   *intent.Policy
	entries  []sectioned
	problems []Problem
	pairs    []pair
	use      map[place]*usage
	seen     map[string]bool
}

// pair is a grant that another one shadows, and the problem that tells it.
type pair struct {
	problem    int
	grant, and place
}

// sectioned is an entry of the section of a job, or of the top.
type sectioned struct {
	intent.Entry
	job string
}

func (s *sectioned) place() place {
	return place{s.job, s.Origin.File, s.Origin.Line, s.Origin.Column, s.Verb, s.To + "\x00" + s.Class}
}

// both returns the entries of the top and those of a job's own section.
func (c *checker) both(job string) ([]sectioned, error) {
	top, err := c.policy.Resolve("")
	if err != nil {
		return nil, err
	}
	both := top
	if job != "" {
		if both, err = c.policy.Resolve(job); err != nil {
			return nil, err
		}
	}
	var all []sectioned
	// What holds for a job begins, in each list, with what stands at the top.
	rest := map[key]int{}
	for _, e := range top.Entries() {
		rest[key{e.Verb, e.Deny}]++
	}
	for _, e := range both.Entries() {
		s := sectioned{e, job}
		if k := (key{e.Verb, e.Deny}); rest[k] > 0 {
			rest[k]--
			s.job = ""
		}
		all = append(all, s)
	}
	return all, nil
}

type key struct {
	verb fact.Verb
	deny bool
}

func (c *checker) job(job string) error {
	all, err := c.both(job)
	if err != nil {
		return err
	}
	for i := range all {
		e := &all[i]
		if e.job != job {
			continue
		}
		c.entries = append(c.entries, *e)
		// What was derived says why each grant is there; twice is no mistake.
		if e.Preset != "" || e.Origin.Kind == "workflow" {
			continue
		}
		for j := range all {
			o := &all[j]
			if i == j || e.Deny != o.Deny || !o.Includes(&e.Entry) {
				continue
			}
			// Of two that say the same, the later one is the one too many.
			if e.Includes(&o.Entry) && o.Preset == "" && j > i {
				continue
			}
			message := there(e, o) + " allows all of it; one of the two can go"
			if e.Upload > 0 && o.Upload == 0 {
				message = there(e, o) + " allows all of it without a budget, so this one holds nothing back"
			}
			if len(e.HTTP) > 0 && len(o.HTTP) == 0 {
				message = there(e, o) + " allows any request there, so this one holds nothing back"
			}
			if len(e.Keys) > 0 && len(o.Keys) == 0 {
				message = there(e, o) + " allows any key there, so this one holds nothing back"
			}
			c.problem(Shadowed, e, message, nil)
			c.pairs = append(c.pairs, pair{len(c.problems) - 1, e.place(), o.place()})
			break
		}
	}
	return nil
}

// there names another entry and its place.
func there(e, o *sectioned) string {
	switch {
	case o.Preset != "":
		return fmt.Sprintf("the preset %s (%s)", o.Preset, o.Text)
	case o.Origin.File != e.Origin.File:
		return fmt.Sprintf("%s:%d (%s)", o.Origin.File, o.Origin.Line, o.Text)
	}
	return fmt.Sprintf("line %d (%s)", o.Origin.Line, o.Text)
}

func (c *checker) problem(k Kind, e *sectioned, message string, instead []string) {
	if e.Deny {
		message = strings.Replace(message, "allows", "forbids", 1)
	}
	c.problems = append(c.problems, Problem{
		Kind: k, File: e.Origin.File, Line: e.Origin.Line, Column: e.Origin.Column, Text: e.Text, Message: message, Instead: instead,
	})
}

func (c *checker) runs(runs []Run) error {
	c.seen = map[string]bool{"": true}
	known := map[string]bool{}
	for _, j := range c.policy.Jobs() {
		known[j] = true
	}
	for i := range runs {
		r := &runs[i]
		job := r.Job
		if !known[job] {
			job = ""
		}
		c.seen[job] = true
		all, err := c.both(job)
		if err != nil {
			return err
		}
		for _, f := range r.Facts {
			if f.Via == event.ViaHost || f.Via == event.ViaOutside {
				continue
			}
			c.explain(all, f)
		}
	}
	c.tell()
	return nil
}

// explain notes which grant explains a fact, as [intent.Resolved.Explain]
// chooses it: the most specific, and of these the first.
func (c *checker) explain(all []sectioned, f *fact.Fact) {
	var covering []*sectioned
	var chosen *sectioned
	for i := range all {
		e := &all[i]
		if e.Deny || !e.Covers(f) {
			continue
		}
		// Which of several such entries were needed the requests say, and where
		// these could not be read nobody knows.
		if len(e.HTTP) > 0 && f.Verb == fact.Connect {
			if f.Unread.Conns > 0 {
				c.note(e, f)
			}
			continue
		}
		covering = append(covering, e)
		if chosen == nil || e.Specificity > chosen.Specificity {
			chosen = e
		}
	}
	for _, e := range covering {
		if e != chosen {
			c.usage(e).instead = &chosen.Entry
			continue
		}
		c.note(e, f)
	}
}

func (c *checker) usage(e *sectioned) *usage {
	u := c.use[e.place()]
	if u == nil {
		u = &usage{}
		c.use[e.place()] = u
	}
	return u
}

// note notes that an entry was needed for a fact.
func (c *checker) note(e *sectioned, f *fact.Fact) {
	u := c.usage(e)
	if len(u.facts) == maxFacts {
		u.overfull = true
		return
	}
	u.facts = append(u.facts, f)
}

// settle takes back that a grant is shadowed where it is the one that the runs
// used: then the wider one is too many, and is told as such.
func (c *checker) settle() {
	for i := len(c.pairs) - 1; i >= 0; i-- {
		p := c.pairs[i]
		if c.used(p.grant) && !c.used(p.and) {
			c.problems = slices.Delete(c.problems, p.problem, p.problem+1)
		}
	}
}

func (c *checker) used(p place) bool {
	u := c.use[p]
	return u != nil && len(u.facts) > 0
}

func (c *checker) tell() {
	c.settle()
	presets := map[string]bool{} // job, NUL, preset: whether a run used it
	read := map[place]bool{}     // reads whose line says where the class may go, and that was used
	for i := range c.entries {
		e := &c.entries[i]
		if c.used(e.place()) {
			presets[e.job+"\x00"+e.Preset] = true
			if e.Verb == fact.Chain {
				read[place{job: e.job, to: e.Class}] = true
			}
		}
	}
	for i := range c.entries {
		e := &c.entries[i]
		if !c.seen[e.job] || e.Deny || e.Preset != "" {
			continue
		}
		u := c.use[e.place()]
		switch {
		case u == nil && e.Verb == fact.Credential && read[place{job: e.job, to: e.Class}]:
			// The line is used for where it lets the class go.
		case u == nil:
			c.problem(Unused, e, "nothing that any of the runs did needed it", nil)
		case len(u.facts) == 0:
			c.problem(Unused, e, fmt.Sprintf("what it covers is explained more closely by %s", there(e, &sectioned{Entry: *u.instead})), nil)
		case u.overfull:
		default:
			if lines := e.Tighter(u.facts, maxLines); lines != nil {
				c.problem(Wide, e, "the runs needed no more than "+strings.Join(lines, " and "), lines)
			}
		}
	}
	for _, job := range append([]string{""}, c.policy.Jobs()...) {
		for _, use := range c.policy.Uses(job) {
			if c.seen[job] && !presets[job+"\x00"+use.Preset] {
				c.problems = append(c.problems, Problem{
					Kind: Unused, File: use.Origin.File, Line: use.Origin.Line, Column: use.Origin.Column,
					Text: "use: " + use.Preset, Message: "nothing that any of the runs did needed this preset",
				})
			}
		}
	}
}
