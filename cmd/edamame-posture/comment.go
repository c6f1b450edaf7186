package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/github"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/learn"
	"github.com/org/edamame-posture/pkg/report"
)

// comment says on a pull request what its job newly did. Where the base's runs
// cannot be had it says that.
func (a *action) comment(ctx context.Context, w *watch, d *report.Data, out string) error {
	ctx, cancel := context.WithTimeout(ctx, commentWithin)
	defer cancel()
	token := os.Getenv("INPUT_TOKEN")
	if token == "" {
		return errors.New("there is no token: leave the input token as it is")
	}
	of := &github.Run{API: os.Getenv("GITHUB_API_URL"), Repository: os.Getenv("GITHUB_REPOSITORY"), Token: token}
	n := &report.Newly{Verdict: d.Verdict, Job: w.Name, Base: w.Pull.Base}
	dir, err := os.MkdirTemp("", "posture-base-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Half of the time is kept for the comment itself.
	asking, stop := context.WithTimeout(ctx, commentWithin/2)
	base, err := w.Pull.BaseRuns(asking, of, w.Name, dir)
	stop()
	if err == nil {
		n.Facts, n.Left, err = newly(out, base)
	}
	if err != nil {
		n.Why = err.Error()
	} else {
		for _, b := range base {
			n.Runs = append(n.Runs, b.URL)
		}
	}
	var body bytes.Buffer
	if err := n.Comment(&body); err != nil {
		return err
	}
	return w.Pull.Comment(ctx, of, body.String())
}

// newly returns the facts of a folder of results that no run of the base
// explains: what is undeclared under the policy that those alone would need.
func newly(out string, base []github.BaseRun) (facts []judge.Fact, left uint64, err error) {
	var runs []learn.Run
	for _, b := range base {
		// What is in an artifact is whatever a job stored there.
		e, err := evidence.Open(filepath.Join(b.Dir, evidenceDir))
		if err == nil {
			err = e.Verify()
			e.Close()
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", b.URL, err)
		}
		run, err := readLearnt(b.Dir)
		if err != nil {
			return nil, 0, err
		}
		run.Name = b.URL
		runs = append(runs, run)
	}
	p, err := learn.Learn(runs, learn.Options{Findings: true, Partial: true, Rare: true, NoPresets: true})
	if err != nil {
		return nil, 0, err
	}
	if p.Runs == 0 {
		return nil, 0, errors.New("nothing could be learned from the runs of the base branch")
	}
	policy, err := intent.Parse("the runs of the base branch", p.Text)
	if err != nil {
		return nil, 0, err
	}
	job := ""
	if jobs := policy.Jobs(); len(jobs) == 1 {
		job = jobs[0]
	}
	e, err := evidence.Open(filepath.Join(out, evidenceDir))
	if err != nil {
		return nil, 0, err
	}
	defer e.Close()
	in, err := e.Inputs()
	if err != nil {
		return nil, 0, err
	}
	if in.Intent, err = policy.Resolve(job); err != nil {
		return nil, 0, err
	}
	j, err := e.Replay(in)
	if err != nil {
		return nil, 0, err
	}
	v := j.Verdict()
	facts = slices.Concat(v.Forbidden, v.Undeclared)
	slices.SortStableFunc(facts, func(a, b judge.Fact) int { return cmp.Compare(judge.Rank(b.Severity), judge.Rank(a.Severity)) })
	return facts, v.Facts.LeftOut, nil
}
