// Package intent reads what a job says it will do, and says which of the facts
// seen it explains.
//
//	policy, err := intent.Parse(".github/posture.yml", data)
//	resolved, err := policy.Resolve("build")
//	if grant := resolved.Explain(f); grant == nil { … undeclared … }
//
// A policy is lists, not expressions: each entry is a grant, a fact is
// explained when any grant covers it, and adding a grant never takes another
// away. docs/policy.md is the reference; docs/policy.schema.json serves editors.
package intent

import (
	"fmt"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// Version is the version of the policy file that this package reads.
const Version = 1

// Specificities of grants in thousandths: how much a grant leaves open.
// Tightness is made of them (DESIGN §7).
const (
	exactLineage = 1000 // one object, for named programs
	exactHost    = 800  // one object, for any program
	suffix       = 500  // a domain, a network, a pattern
	preset       = 400  // at most, where a preset says it
	anything     = 0
)

// Origin says where a grant comes from.
type Origin struct {
	File         string
	Line, Column int
	// Kind is "policy", "preset" or "workflow".
	Kind string
}

// Grant is one thing that is allowed, or denied.
type Grant struct {
	Verb fact.Verb
	// Text is the entry in its canonical form.
	Text   string
	Origin Origin
	// Specificity is in thousandths: 1000 for one object and named programs,
	// 0 for "anything".
	Specificity int
	// Upload is how many bytes may be sent under the grant in all, 0 where it
	// has no budget.
	Upload uint64
}

// FailOn says what makes the outcome fail.
type FailOn struct {
	// Never: the verdict only reports.
	Never bool
	// Severity is the lowest severity that fails: low, medium, high, critical,
	// or empty where none does.
	Severity string
	// Score fails when reached: 1 to 100, or 0 where no score does.
	Score int
	// Coverage: partial coverage fails.
	Coverage bool
}

// Policy is a policy file that was read and found right.
type Policy struct {
	file   string
	top    section
	jobs   []section // in the file's order
	failOn FailOn

	suppress []Suppression
}

// section holds the entries at the top or of one job.
type section struct {
	job     string
	entries []entry
	listed  []string // keys that stand there, for the limits
	uses    []Use    // presets, in the order of the file
}

// Jobs returns the names of the jobs that the file has a section for, in its
// order.
func (p *Policy) Jobs() []string {
	names := make([]string, len(p.jobs))
	for i := range p.jobs {
		names[i] = p.jobs[i].job
	}
	return names
}

// Resolve returns what holds for a job: what stands at the top, and what
// stands under its name. The empty name gets what stands at the top, as does
// every name where the file has no jobs. A name that is not among the file's
// jobs is an error: a slip would leave the job without its grants, or, worse,
// without its limits.
func (p *Policy) Resolve(job string) (*Resolved, error) {
	r := &Resolved{present: true, failOn: p.failOn, suppress: p.suppress}
	if names := p.Jobs(); job != "" && len(names) > 0 && !contains(names, job) {
		near := ""
		if n := document.Nearest(job, names); n != "" {
			near = fmt.Sprintf(" (did you mean %s?)", document.Quote(n))
		}
		return nil, fmt.Errorf("%s: the policy has no job %s%s; it has %s", p.file, document.Quote(job), near, quoted(names))
	}
	parts := []section{p.top}
	for _, s := range p.jobs {
		if s.job == job {
			parts = append(parts, s)
			r.job = job
		}
	}
	for _, s := range parts {
		for _, key := range s.listed {
			r.limit(key)
		}
		for _, e := range s.entries {
			if err := r.add(e); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// quoted names at most ten things.
func quoted(names []string) string {
	var b strings.Builder
	for i, n := range names {
		if i == 10 {
			fmt.Fprintf(&b, " and %d more", len(names)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(document.Quote(n))
	}
	return b.String()
}

// None returns the intent of a job that declared nothing: it grants nothing
// and limits nothing, and [Resolved.Present] is false.
func None() *Resolved {
	return &Resolved{failOn: FailOn{Severity: "critical"}}
}

// Resolved is the intent of one job. It is not changed after it was made and
// may be used by many goroutines.
type Resolved struct {
	present bool
	job     string
	failOn  FailOn
	limited [fact.Chain + 1]bool
	grants  [fact.Chain + 1][]grant
	denies  []grant
	found   [fact.Chain + 1]index // into grants
	foundNo index                 // into denies
	count   int
	budgets bool // a grant has one
	digests bool // a grant has one
	// requests: a grant says what may be requested.
	requests bool
	agents   map[string]*agentIntent

	suppress []Suppression
}

// Present reports whether anything was declared.
func (r *Resolved) Present() bool { return r.present }

// Job returns the name of the job's section, or "" where none was used.
func (r *Resolved) Job() string { return r.job }

// FailOn returns what makes the outcome fail. Where the policy does not say,
// it is severity high and score 40; without an intent it is severity critical.
func (r *Resolved) FailOn() FailOn { return r.failOn }

// Limits reports whether a fact of this verb needs a grant. Egress (connect and
// resolve), credentials, power and chains do as soon as there is an intent.
// Exec, write, delete and listen do where the policy lists them; writes outside
// the workspace and listening beyond loopback are the judge's to hold against
// any intent, listed or not.
func (r *Resolved) Limits(v fact.Verb) bool {
	if v == fact.Request || v == fact.Key {
		v = fact.Connect
	}
	return int(v) < len(r.limited) && r.limited[v]
}

// limit notes that a key stands in the policy. An intent without any key
// limits egress, credentials, power and chains.
func (r *Resolved) limit(key string) {
	switch key {
	case "exec":
		r.limited[fact.Exec] = true
	case "write":
		r.limited[fact.Write], r.limited[fact.Delete] = true, true
	case "listen":
		r.limited[fact.Listen] = true
	case "":
		for _, v := range []fact.Verb{fact.Connect, fact.Resolve, fact.Credential, fact.Power, fact.Chain} {
			r.limited[v] = true
		}
	}
}

// Explain returns the most specific grant that covers a fact, the first of
// these where several are, or nil.
func (r *Resolved) Explain(f *fact.Fact) *Grant {
	v := explainedBy(f.Verb)
	if int(v) >= len(r.grants) {
		return nil
	}
	return best(r.grants[v], &r.found[v], f)
}

// Denied returns the deny that a fact runs into, or nil.
func (r *Resolved) Denied(f *fact.Fact) *Grant {
	if f.Verb != fact.Connect && f.Verb != fact.Resolve {
		return nil // a request stands beside its connection
	}
	return best(r.denies, &r.foundNo, f)
}

// Budgets reports whether any grant has a budget of bytes.
func (r *Resolved) Budgets() bool { return r.budgets }

// Digests reports whether any grant asks for the digest of an executed file.
func (r *Resolved) Digests() bool { return r.digests }

// Budgeted appends to list the grants that cover a Connect fact, where all of
// them have a budget of bytes. One without a budget is enough for any amount:
// the list then stays as it is.
func (r *Resolved) Budgeted(list []*Grant, f *fact.Fact) []*Grant {
	if !r.budgets || f.Verb != fact.Connect {
		return list
	}
	before := len(list)
	var at [64]int32
	for _, i := range r.found[fact.Connect].find(at[:0], f) {
		g := &r.grants[fact.Connect][i]
		if !g.covers(f) {
			continue
		}
		if g.Upload == 0 {
			return list[:before]
		}
		list = append(list, &g.Grant)
	}
	return list
}

func best(list []grant, x *index, f *fact.Fact) *Grant {
	var found *Grant
	var at [64]int32
	for _, i := range x.find(at[:0], f) {
		g := &list[i]
		if (found == nil || g.Specificity > found.Specificity) && g.covers(f) {
			found = &g.Grant
		}
	}
	return found
}
