// Package learn makes a policy of what runs did: the tightest that a person can
// read and that explains all of them.
//
//	run, err := learn.Read("runs/17", ev)
//	policy, err := learn.Learn(runs, learn.Options{})
//	os.Stdout.Write(policy.Text)
//
// What many runs share goes into the policy. What only a few of many did is
// named in a comment and grants nothing, so that one hostile run among twenty
// widens nothing. Runs that no policy should be made of are left out, and told.
//
// It generalises only where a person would, and only where the runs show that
// the thing varies: numbers of hosts, versions and numbers in paths, names of
// chance, ports that the kernel chooses. No generalisation rests on a few runs
// of many either.
package learn

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
)

// Options say what else to learn from. The zero value is the careful one.
type Options struct {
	Findings bool // from runs with a finding, or with what their policy denied
	Partial  bool // from runs of which not everything was seen
	Forks    bool // from pull requests, of which a fork can make one
	Rare     bool // what only a few of many runs did is granted too
	// NoPresets names every host, where presets would be shorter.
	NoPresets bool
}

// Run is one recording.
type Run struct {
	Name string // as the user names it
	Job  string // the job that it was, where it is known
	// Digest is the same for copies of one recording, which count once. An
	// empty one is like no other.
	Digest string
	Facts  []*fact.Fact
	// Finding, Partial and Fork say why no policy should be learnt from it, in
	// words; empty where there is no such reason.
	Finding, Partial, Fork string
}

// Left is a run that was not learnt from.
type Left struct {
	Name string
	Why  string
	Flag string // the flag that takes it all the same, or ""
}

// Policy is what was learnt.
type Policy struct {
	Text []byte // the policy file
	Runs int    // how many runs it was learnt from
	Left []Left // those that were left out, by name
	// Rare and Open count what is told in comments and granted by no line:
	// what few of many runs did, and what no line of a policy can grant.
	Rare, Open int
}

// manyRuns is from how many runs on some facts are rare.
const manyRuns = 10

// few returns how many of n runs are so few that what only they did is rare: a
// tenth of them, and none where the runs are not many.
func few(n int) int {
	if n < manyRuns {
		return 0
	}
	return n / 10
}

// Learn makes the policy. Its text depends on the runs and not on their order.
// Where no run is left to learn from the text is empty.
func Learn(runs []Run, o Options) (*Policy, error) {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b Run) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
	p := &Policy{}
	var kept []Run
	seen := map[string]string{}
	for _, r := range runs {
		if l, out := o.leaves(&r); out {
			p.Left = append(p.Left, l)
			continue
		}
		if first, twice := seen[r.Digest]; twice && r.Digest != "" {
			p.Left = append(p.Left, Left{Name: r.Name, Why: "the same recording as " + first + ", which counts once"})
			continue
		}
		seen[r.Digest] = r.Name
		kept = append(kept, r)
	}
	if p.Runs = len(kept); p.Runs == 0 {
		return p, nil
	}
	jobs := jobsOf(kept)
	learnt := make([]*job, len(jobs))
	for i := range jobs {
		learnt[i] = newJob(jobs[i].name, jobs[i].runs, o)
		p.Rare += len(learnt[i].rare)
		p.Open += len(learnt[i].open)
	}
	p.Text = text(p, learnt)
	for _, j := range learnt {
		if err := j.check(p.Text); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (o *Options) leaves(r *Run) (Left, bool) {
	switch {
	case r.Finding != "" && !o.Findings:
		return Left{r.Name, r.Finding, "--with-findings"}, true
	case r.Partial != "" && !o.Partial:
		return Left{r.Name, r.Partial, "--partial"}, true
	case r.Fork != "" && !o.Forks:
		return Left{r.Name, r.Fork, "--forks"}, true
	}
	return Left{}, false
}

type jobRuns struct {
	name string
	runs []Run
}

// jobsOf sorts runs by the job that they were. Where one does not say, or all
// are the same, what is learnt stands at the top of the policy, for any job.
func jobsOf(runs []Run) []jobRuns {
	by := map[string][]Run{}
	for _, r := range runs {
		by[r.Job] = append(by[r.Job], r)
	}
	if _, unnamed := by[""]; unnamed || len(by) == 1 {
		return []jobRuns{{"", runs}}
	}
	var out []jobRuns
	for name, list := range by {
		out = append(out, jobRuns{name, list})
	}
	slices.SortFunc(out, func(a, b jobRuns) int { return cmp.Compare(a.name, b.name) })
	return out
}

// check holds the facts against the policy as it was written. A policy that
// does not explain what it was made of is a mistake of ours, and must not be
// given to anyone.
func (j *job) check(text []byte) error {
	p, err := intent.Parse("the learned policy", text)
	if err != nil {
		return fmt.Errorf("learn: what was learnt does not parse; please report this: %w", err)
	}
	r, err := p.Resolve(j.name)
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	for _, it := range j.items {
		for _, f := range it.facts {
			if r.Explain(f) == nil {
				return fmt.Errorf("learn: the policy does not explain %s %s, which it was made of; please report this", f.Verb, f.Object)
			}
		}
	}
	return nil
}
