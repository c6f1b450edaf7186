// Package github speaks to the GitHub runner that a step runs under: it
// appends the job summary, sets the step's outputs and makes annotations, for
// which it uses the runner's files and standard output only. [Attestations] is
// GitHub's store of them, and the only part that uses the network.
package github

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/report"
)

// ErrNoRunner is returned where no runner is there to speak to.
var ErrNoRunner = errors.New("GITHUB_ACTIONS is not true: this is no step of a workflow")

// Bounds of the runner: it keeps 10 annotations of a kind of each step, cuts
// their text at 4,096 characters, and drops a summary of 1 MiB without a word.
const (
	maxAnnotations = 9
	maxMessage     = 1000
	maxSummary     = 1<<20 - 4<<10
)

// Runner is the runner of one step.
type Runner struct {
	// Stdout takes the workflow commands; the runner reads it.
	Stdout io.Writer
	// Getenv looks up the step's environment.
	Getenv func(string) string
}

// Tell tells the runner of this process what a folder of results says: see
// [Runner.Tell].
func Tell(d *report.Data, dir string) error {
	return (&Runner{os.Stdout, os.Getenv}).Tell(d, dir)
}

// Tell appends the job summary, sets the outputs verdict, score and dir, and
// makes an annotation of each of the gravest findings. It does all of it that
// it can, and returns what it could not.
//
// What a job named stands in annotations escaped and cut, so that it can make
// no workflow command; texts of the evidence hold no secret that the redactor
// knew.
func (r *Runner) Tell(d *report.Data, dir string) error {
	if r.Getenv("GITHUB_ACTIONS") != "true" {
		return ErrNoRunner
	}
	action := githubactions.New(githubactions.WithWriter(r.Stdout), githubactions.WithGetenv(r.Getenv))
	return errors.Join(
		r.annotate(action, d),
		r.outputs(action, d, dir),
		r.summary(action, d),
	)
}

// Context is where a step runs. All of it comes from the step's environment,
// which the job can change: it labels, it proves nothing.
type Context struct {
	Repository, Commit, Ref, Workflow, Job, RunID, Attempt, Event string
}

// Context returns what the environment says of the step.
func (r *Runner) Context() (Context, error) {
	if r.Getenv("GITHUB_ACTIONS") != "true" {
		return Context{}, ErrNoRunner
	}
	return Context{
		Repository: r.Getenv("GITHUB_REPOSITORY"), Commit: r.Getenv("GITHUB_SHA"), Ref: r.Getenv("GITHUB_REF"),
		Workflow: r.Getenv("GITHUB_WORKFLOW"), Job: r.Getenv("GITHUB_JOB"), RunID: r.Getenv("GITHUB_RUN_ID"),
		Attempt: r.Getenv("GITHUB_RUN_ATTEMPT"), Event: r.Getenv("GITHUB_EVENT_NAME"),
	}, nil
}

// try runs f, whose only way to fail is to panic.
func try(what string, f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %v", what, p)
		}
	}()
	f()
	return nil
}

func (r *Runner) outputs(action *githubactions.Action, d *report.Data, dir string) error {
	if r.Getenv("GITHUB_OUTPUT") == "" {
		return errors.New("setting outputs: GITHUB_OUTPUT is not set")
	}
	v := d.Verdict
	return try("setting outputs", func() {
		action.SetOutput("verdict", string(v.Verdict))
		action.SetOutput("score", strconv.Itoa(v.Score))
		action.SetOutput("findings", strconv.Itoa(len(v.Findings)))
		action.SetOutput("dir", report.Visible(dir))
	})
}

func (r *Runner) summary(action *githubactions.Action, d *report.Data) error {
	file := r.Getenv("GITHUB_STEP_SUMMARY")
	if file == "" {
		return errors.New("writing the job summary: GITHUB_STEP_SUMMARY is not set")
	}
	var b bytes.Buffer
	if err := report.Markdown(&b, d); err != nil {
		return fmt.Errorf("writing the job summary: %w", err)
	}
	// Other programs of the step may have written there already.
	st, err := os.Stat(file)
	if err == nil && st.Size()+int64(b.Len()) > maxSummary {
		return fmt.Errorf("writing the job summary: %d bytes stand there already, and GitHub drops all of it at 1 MiB", st.Size())
	}
	return try("writing the job summary", func() { action.AddStepSummary(b.String()) })
}

// note is one annotation.
type note struct {
	severity      judge.Severity
	title, detail string
}

func (r *Runner) annotate(action *githubactions.Action, d *report.Data) error {
	notes := notesOf(d.Verdict)
	return try("annotating", func() {
		for i, n := range notes {
			if i == maxAnnotations {
				action.WithFieldsMap(map[string]string{"title": "Posture"}).
					Noticef("%d more in the job summary and report.html", len(notes)-i)
				break
			}
			a := action.WithFieldsMap(map[string]string{"title": cut("Posture: " + report.Visible(n.title))})
			text := cut(report.Visible(n.detail))
			switch n.severity {
			case judge.Critical, judge.High:
				a.Errorf("%s", text)
			case judge.Medium:
				a.Warningf("%s", text)
			default:
				a.Noticef("%s", text)
			}
		}
	})
}

// notesOf returns what is worth an annotation, the gravest first: findings,
// forbidden facts, and undeclared facts that are high.
func notesOf(v *judge.Verdict) []note {
	var out []note
	for _, f := range v.Findings {
		out = append(out, note{f.Severity, f.Title, path.Base(f.Actor.Exe) + ": " + f.Object + ". " + f.Do})
	}
	for _, f := range v.Forbidden {
		out = append(out, note{f.Severity, "forbidden: " + f.Verb, who(f.Who) + f.Object})
	}
	for _, f := range v.Undeclared {
		if f.Severity == judge.High || f.Severity == judge.Critical {
			out = append(out, note{f.Severity, "undeclared: " + f.Verb, who(f.Who) + f.Object})
		}
	}
	slices.SortStableFunc(out, func(a, b note) int { return cmp.Compare(weight(b.severity), weight(a.severity)) })
	return out
}

func who(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0] + ": "
}

func weight(s judge.Severity) int {
	return slices.Index([]judge.Severity{judge.Info, judge.Low, judge.Medium, judge.High, judge.Critical}, s)
}

// cut bounds a text that report.Visible made, by characters.
func cut(s string) string {
	n := 0
	for i := range s {
		if n == maxMessage {
			return s[:i] + "..."
		}
		n++
	}
	return s
}
