package learn

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

// Read replays the evidence of one run. It is judged with the rules of this
// program, and again with those that it was recorded with: a run that either
// finds something in is no run to learn from.
//
// An error means that the evidence cannot be read or does not agree with
// itself; no option makes it fit to learn from.
func Read(name string, e *evidence.Evidence) (Run, error) {
	if err := e.Verify(); err != nil {
		return Run{}, fmt.Errorf("%s: %w", name, err)
	}
	in, err := e.Inputs()
	if err != nil {
		return Run{}, fmt.Errorf("%s: %w", name, err)
	}
	r, err := NewRecorder(in)
	if err != nil {
		return Run{}, err
	}
	sum := sha256.New()
	if err := e.Each(func(line []byte, ev *event.Event) error {
		sum.Write(line)
		sum.Write([]byte{'\n'})
		r.Apply(ev)
		return nil
	}); err != nil {
		return Run{}, fmt.Errorf("%s: %w", name, err)
	}
	run := r.Run(name)
	run.Digest = hex.EncodeToString(sum.Sum(nil))
	if m := e.Missing(); run.Partial == "" && len(m) > 0 {
		run.Partial = "its evidence is not whole: " + m[0]
	}
	return run, nil
}

// Recorder takes the events of one recording, in the order of its log.
type Recorder struct {
	// facts are judged without an intent, so that none gives way to another.
	facts *judge.Judge
	own   *judge.Judge // with the run's own intent and rules; nil where it had none
	pull  string       // what says that it is a pull request
}

// rules are those that ship with the program, compiled once for all runs.
var rules = sync.OnceValues(signature.Default)

// NewRecorder returns a recorder of a run that was recorded with in.
func NewRecorder(in evidence.Inputs) (*Recorder, error) {
	pack, err := rules()
	if err != nil {
		return nil, err
	}
	r := &Recorder{facts: judge.New(intent.None(), pack)}
	if in.Intent != nil && in.Intent.Present() || in.Signatures != nil && in.Signatures.SHA256() != pack.SHA256() {
		r.own = judge.New(in.Intent, in.Signatures)
	}
	return r, nil
}

// Apply takes the next event. It keeps no reference to ev.
func (r *Recorder) Apply(ev *event.Event) {
	r.facts.Apply(ev)
	if r.own != nil {
		r.own.Apply(ev)
	}
	if r.pull != "" || ev.Kind != event.Start && (ev.Kind != event.Exec || ev.Via == event.ViaHost || ev.Via == event.ViaOutside) {
		return
	}
	// A job can set these as it likes. It can make a push look like a pull
	// request so, and lose; what the runner said first it cannot take back.
	for i := range ev.Env {
		switch v := ev.Env[i].Value.String(); ev.Env[i].Name.String() {
		case "GITHUB_EVENT_NAME":
			if strings.HasPrefix(v, "pull_request") {
				r.pull = v
			}
		case "GITHUB_REF":
			if strings.HasPrefix(v, "refs/pull/") {
				r.pull = v
			}
		}
	}
}

// Run returns what was recorded.
func (r *Recorder) Run(name string) Run {
	v := r.facts.Verdict()
	run := Run{Name: name, Job: v.Run.Job}
	suppressed := map[string]bool{} // by the run's own policy
	if r.own != nil {
		own := r.own.Verdict()
		for i := range own.Findings {
			suppressed[own.Findings[i].ID] = own.Findings[i].Suppressed != nil
		}
		run.Finding = refusal(own, suppressed)
	}
	run.Finding = cmp.Or(refusal(v, suppressed), run.Finding)
	switch {
	case v.Coverage.State != "complete" && len(v.Coverage.Gaps) > 0:
		run.Partial = "not everything was seen: " + v.Coverage.Gaps[0].What
	case v.Coverage.State != "complete":
		run.Partial = "not everything was seen"
	case v.Facts.LeftOut > 0:
		run.Partial = fmt.Sprintf("it did too much to keep: %d facts were left out", v.Facts.LeftOut)
	}
	if r.pull != "" {
		// The log holds no word of the repository that the request is from.
		run.Fork = "a pull request (" + r.pull + "), and one of a fork looks the same in the log"
	}
	for _, f := range r.facts.Facts() {
		c := *f
		if len(c.Who) > 0 {
			c.Node = nil // it holds the tree of the whole run
		}
		run.Facts = append(run.Facts, &c)
	}
	return run
}

// coverageLost is the rule of the finding that says no more than that coverage
// is partial, which has its own flag.
const coverageLost = "coverage-lost"

// refusal says what a verdict found that keeps a run from being learnt from: a
// finding of medium or above, as in the verdict's reasons, or a fact that its
// policy forbids. What its policy suppresses is none.
func refusal(v *judge.Verdict, suppressed map[string]bool) string {
	for i := range v.Findings { // the gravest first
		f := &v.Findings[i]
		if f.Severity != judge.Info && f.Severity != judge.Low && f.Rule != coverageLost && !suppressed[f.ID] {
			return fmt.Sprintf("it has a finding: %s (%s)", f.Rule, f.Severity)
		}
	}
	if len(v.Forbidden) > 0 {
		return fmt.Sprintf("its policy forbids what it did: %s %s", v.Forbidden[0].Verb, v.Forbidden[0].Object)
	}
	return ""
}
