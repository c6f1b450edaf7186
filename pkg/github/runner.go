// Package github speaks to the GitHub runner that a step runs under: it reads
// the step's inputs, appends the job summary, sets outputs and makes
// annotations, for which it uses the runner's files and standard output only.
//
// The network is used by three: [Runner.Declared] reads what a job declares
// through GitHub's API, [Artifacts] is the run's store of artifacts, and
// [Attestations] that of attestations.
package github

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf16"

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

// Tell appends the job summary, sets the outputs (action.yml has them), and makes an annotation of each of the gravest findings. It does all of it that
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

// Check returns ErrNoRunner where none is there.
func (r *Runner) Check() error {
	if r.Getenv("GITHUB_ACTIONS") != "true" {
		return ErrNoRunner
	}
	return nil
}

// Level is how loud an annotation is.
type Level int

// The levels of annotations.
const (
	Notice Level = iota
	Warning
	Error
)

// Say makes an annotation of a text of ours, which may name what is not.
func (r *Runner) Say(l Level, text string) {
	action := githubactions.New(githubactions.WithWriter(r.Stdout), githubactions.WithGetenv(r.Getenv)).
		WithFieldsMap(map[string]string{"title": "edamame-posture"})
	text = cut(report.Visible(text))
	// It panics where nobody reads any more.
	_ = try("annotating", func() {
		switch l {
		case Error:
			action.Errorf("%s", text)
		case Warning:
			action.Warningf("%s", text)
		default:
			action.Noticef("%s", text)
		}
	})
}

// Mask has the runner hide a value in what steps print.
func (r *Runner) Mask(value string) {
	if value != "" {
		_ = try("masking", func() { githubactions.New(githubactions.WithWriter(r.Stdout)).AddMask(value) })
	}
}

// SaveState leaves a value of one line for the later steps of this use of the
// action, and for no others.
func (r *Runner) SaveState(name, value string) error {
	if r.Getenv("GITHUB_STATE") == "" {
		return errors.New("leaving the last step what it needs: GITHUB_STATE is not set")
	}
	return try("leaving the last step what it needs", func() {
		githubactions.New(githubactions.WithGetenv(r.Getenv), githubactions.WithWriter(r.Stdout)).SaveState(name, value)
	})
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
	findings, err := outputFindings(v.Findings)
	if err != nil {
		return fmt.Errorf("setting outputs: %w", err)
	}
	tightness, err := json.Marshal(v.Tightness)
	if err != nil {
		return fmt.Errorf("setting outputs: %w", err)
	}
	shown := report.Visible(dir)
	file := func(name string) string {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return ""
		}
		return shown + "/" + name
	}
	return try("setting outputs", func() {
		for _, o := range [][2]string{
			{"verdict", string(v.Verdict)}, {"score", strconv.Itoa(v.Score)}, {"tightness", string(tightness)},
			{"coverage", v.Coverage.State}, {"findings", findings}, {"finding-count", strconv.Itoa(len(v.Findings))},
			{"dir", shown}, {"evidence-path", file("evidence")}, {"report-path", file("report.html")},
			{"attestation-path", file("attestation.json")},
		} {
			action.SetOutput(o[0], o[1])
		}
	})
}

// maxOutput bounds the findings in the output, in bytes: outputs go into the
// environment of steps, where 128 KiB is the end.
const maxOutput = 32 << 10

// outputFindings returns the gravest findings as JSON in one line.
func outputFindings(list []judge.Finding) (string, error) {
	type output struct {
		Rule     harmless `json:"rule"`
		Title    harmless `json:"title"`
		Severity harmless `json:"severity"`
		Step     harmless `json:"step,omitempty"`
		Program  harmless `json:"program"`
		Object   harmless `json:"object"`
		Count    uint64   `json:"count"`
	}
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b judge.Finding) int { return cmp.Compare(weight(b.Severity), weight(a.Severity)) })
	all := []byte("[")
	for i, f := range sorted {
		one, err := json.Marshal(output{
			harmless(f.Rule), harmless(f.Title), harmless(string(f.Severity)), harmless(cut(f.Scope.Step)),
			harmless(cut(path.Base(f.Actor.Exe))), harmless(cut(f.Object)), max(f.Count, 1),
		})
		if err != nil {
			return "", err
		}
		if len(all)+len(one)+2 > maxOutput {
			break
		}
		if i > 0 {
			all = append(all, ',')
		}
		all = append(all, one...)
	}
	return string(append(all, ']')), nil
}

// harmless is a text that a job named. As JSON it has no sign but letters,
// digits and a few more, so that it stays text where a workflow puts the output
// into a script.
type harmless string

// MarshalJSON implements [json.Marshaler].
func (h harmless) MarshalJSON() ([]byte, error) {
	b := []byte{'"'}
	for _, u := range utf16.Encode([]rune(string(h))) {
		switch {
		case u >= 'a' && u <= 'z', u >= 'A' && u <= 'Z', u >= '0' && u <= '9', u == ' ', u == '.', u == '/', u == '_', u == '-', u == ':':
			b = append(b, byte(u))
		default:
			b = fmt.Appendf(b, `\u%04x`, u)
		}
	}
	return append(b, '"'), nil
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
	step          string // whose doing it is
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
			fields := map[string]string{"title": cut("Posture: " + report.Visible(n.title))}
			if p, ok := d.Steps[n.step]; ok {
				fields["file"], fields["line"] = report.Visible(p.File), strconv.Itoa(p.Line)
			}
			a := action.WithFieldsMap(fields)
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
		out = append(out, note{f.Severity, f.Title, path.Base(f.Actor.Exe) + ": " + f.Object + ". " + f.Do, f.Scope.Step})
	}
	for _, f := range v.Forbidden {
		out = append(out, note{f.Severity, "forbidden: " + f.Verb, who(f.Who) + f.Object, f.Scope.Step})
	}
	for _, f := range v.Undeclared {
		if f.Severity == judge.High || f.Severity == judge.Critical {
			out = append(out, note{f.Severity, "undeclared: " + f.Verb, who(f.Who) + f.Object, f.Scope.Step})
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
