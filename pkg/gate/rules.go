package gate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/judge"
)

var severities = []judge.Severity{judge.Info, judge.Low, judge.Medium, judge.High, judge.Critical}

// rules holds the gate's own verdict against the policy.
func (x *examined) rules() {
	r, v := &x.in.Policy.Require, x.ours
	if r.Verdict != "" {
		ok := v.Verdict == judge.Pass || r.Verdict == "review" && v.Verdict == judge.Review
		reasons := make([]string, len(v.Reasons))
		for i, why := range v.Reasons {
			reasons[i] = string(why)
		}
		x.hold(ok, None, "verdict", BadVerdict, r.Verdict, strings.TrimSpace(string(v.Verdict)+" "+strings.Join(reasons, ", ")), "the job did what its intent does not say: 'edamame-posture explain' tells what")
	}
	if r.MaxScore >= 0 {
		x.hold(v.Score <= r.MaxScore, None, "score", HighScore, fmt.Sprintf("%d at most", r.MaxScore), strconv.Itoa(v.Score), "grant what the job needs, and look at the rest")
	}
	for _, verb := range tightnessVerbs {
		least, asked := r.MinTightness[verb]
		if !asked {
			continue
		}
		got := map[string]int{"egress": v.Tightness.Egress, "exec": v.Tightness.Exec, "write": v.Tightness.Write, "credentials": v.Tightness.Credentials}[verb]
		x.hold(got < 0 || got >= least, None, "tightness of "+verb, LowTightness, fmt.Sprintf("%d at least", least), strconv.Itoa(got), "name hosts and programs in the grants, not patterns: 'edamame-posture intent check'")
	}
	if r.NoFindings != "" {
		x.findings(judge.Severity(r.NoFindings))
	}
	if r.Coverage {
		c := &v.Coverage
		got := c.State
		if len(c.Gaps) > 0 {
			got += fmt.Sprintf(", first gap at event %d: %.200s", c.Gaps[0].Leaf, c.Gaps[0].What)
		}
		x.hold(c.State == "complete", None, "coverage", PartialCoverage, "complete", got, "what was not seen may have been anything: 'edamame-posture doctor' on the runner tells why")
	}
	x.signaturePack()
	switch r.Power {
	case "none":
		x.hold(x.power.State == judge.PowerNone, None, "power over the machine", PowerTaken, "none", powerText(x.power), "take sudo from the job")
	case "granted":
		x.hold(x.power.State != judge.PowerOpen, None, "power over the machine", PowerTaken, "none, or by a grant", powerText(x.power), "take sudo from the job, or grant what needs it with root:")
	}
}

func (x *examined) findings(lowest judge.Severity) {
	from := slices.Index(severities, lowest)
	var first *judge.Finding
	n := 0
	for i := range x.ours.Findings {
		f := &x.ours.Findings[i]
		if f.Suppressed != nil || slices.Index(severities, f.Severity) < from {
			continue
		}
		if n++; first == nil {
			first = f
		}
	}
	got := "none"
	if first != nil {
		got = fmt.Sprintf("%d, the first is %s %.80s: %.200s", n, first.Severity, first.Rule, first.Title)
	}
	x.hold(n == 0, None, "findings", HasFinding, fmt.Sprintf("none of severity %s or higher", lowest), got, "look at it: 'edamame-posture explain' tells what led to it")
}

// signaturePack holds the rules that watched against the policy. The findings
// are by the gate's own rules, whatever these are.
func (x *examined) signaturePack() {
	r, got := &x.in.Policy.Require.Signatures, x.verdict.Inputs.Signatures
	if r.SHA256 != "" {
		x.hold(got.SHA256 == r.SHA256, None, "signature pack", WrongSignatures, "sha256 "+r.SHA256, "sha256 "+got.SHA256, "the job was watched with other rules than the ones that are pinned")
	}
	if r.NotOlderThan > 0 {
		version, err := strconv.Atoi(got.Version)
		x.hold(err == nil && got.Name == "default" && version >= r.NotOlderThan, None, "signature pack", OldSignatures,
			fmt.Sprintf("version %d at least", r.NotOlderThan), strings.TrimSpace(got.Name+" "+got.Version), "watch the job with a newer release of edamame-posture")
	}
}

const mayReadJobs = "the token must be allowed to read actions (permissions: actions: read)"

// jobs asks that jobs of the run were recorded.
func (d *Decision) jobs(ctx context.Context, in *Input, all []*examined) {
	r := &in.Policy.Require
	// The run that is released: what others recorded stands for none of its jobs.
	run := in.Run
	for _, released := range []bool{true, false} {
		for _, x := range all {
			if run == "" && (!released || len(x.s.About) > 0) {
				run = x.run
			}
		}
	}
	all = slices.DeleteFunc(slices.Clone(all), func(x *examined) bool {
		return x.run != "" && x.run != run && !x.keptFrom(ctx, run) && !silent(x.asked)
	})
	for _, name := range r.Jobs {
		there := slices.ContainsFunc(all, func(x *examined) bool { return x.res != nil && x.verdict != nil && x.verdict.Run.Job == name })
		c := Check{Name: "job " + name, Status: Passed, Got: "recorded"}
		if !there {
			c = Check{Name: "job " + name, Status: Refused, Reason: JobMissing, Want: "a statement by the job", Got: "none", Do: "record that job too, and hand the gate its results"}
		}
		d.add(c)
	}
	if !r.EveryJob {
		return
	}
	if in.Jobs == nil || run == "" {
		d.add(Check{Name: "every job", Status: Refused, Reason: JobsUnknown, Want: "the list of the run's jobs", Got: "nobody was asked", Do: "give the gate --github OWNER/REPO and a token that may read actions"})
		return
	}
	jobs, err := in.Jobs(ctx, run)
	if err != nil {
		d.add(Check{Name: "every job", Reason: JobsUnknown, Want: "the list of the run's jobs", Do: mayReadJobs}.unlessSilent(err))
		return
	}
	if len(jobs) == 0 {
		d.add(Check{Name: "every job", Status: Refused, Reason: JobsUnknown, Want: "jobs", Got: "the run has none"})
	}
	asked := 0
	for i := range jobs {
		if d.job(&jobs[i], r.Except, all) {
			asked++
		}
	}
	if len(jobs) > 0 && asked == 0 {
		d.add(Check{Name: "every job", Status: Refused, Reason: JobsUnknown, Want: "a job that was to be recorded", Got: "all were skipped, or need not be", Do: "look at every-job: except"})
	}
	for _, x := range all {
		if x.res != nil && x.verdict != nil && !slices.ContainsFunc(jobs, func(j Job) bool { return x.ofJob(&j) }) {
			x.refuse(None, "job", JobUnknown, "a job of the run", x.s.Job, "GitHub does not list such a job: some step signed a statement of its own")
		}
	}
}

// job asks that one job ended well and was recorded in the attempt in which it
// ran. It reports whether it was one to ask about.
func (d *Decision) job(j *Job, except []string, all []*examined) bool {
	if slices.Contains(except, j.Name) || j.Conclusion == "skipped" {
		return false
	}
	name := "job " + j.Name
	if j.Status != "completed" || j.Conclusion != "success" {
		d.add(Check{Name: name, Status: Refused, Reason: JobFailed, Want: "completed, success", Got: strings.TrimSpace(j.Status + " " + j.Conclusion), Do: "wait for it, or name it under every-job: except, as the gate's own job must be"})
		return true
	}
	for _, x := range all {
		if x.res == nil || !x.ofJob(j) {
			continue
		}
		if _, attempt, ok := parseRun(x.run); ok && attempt != strconv.FormatInt(j.Attempt, 10) {
			d.add(Check{Name: name, Status: Refused, Reason: OtherRun, Want: fmt.Sprintf("attempt %d, in which it ran", j.Attempt), Got: "attempt " + attempt, Do: "the job was done again: hand the gate the results of that"})
			return true
		}
		d.add(Check{Name: name, Status: Passed, Got: "recorded in " + x.c.Where})
		return true
	}
	d.add(Check{Name: name, Status: Refused, Reason: JobMissing, Want: "a statement by the job", Got: "none", Do: "record that job too: one that is not watched may have made the artifact"})
	return true
}
