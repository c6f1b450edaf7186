package github

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/report"
)

// step is a runner's files and environment for one step.
type step struct {
	stdout          bytes.Buffer
	summary, output string
	env             map[string]string
}

func newStep(t *testing.T) *step {
	t.Helper()
	dir := t.TempDir()
	s := &step{summary: filepath.Join(dir, "step_summary_1"), output: filepath.Join(dir, "set_output_1")}
	// The runner makes the files before the step.
	for _, f := range []string{s.summary, s.output} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.env = map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": s.summary, "GITHUB_OUTPUT": s.output,
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_RUN_ID": "42", "GITHUB_JOB": "build",
	}
	return s
}

func (s *step) runner() *Runner {
	return &Runner{Stdout: &s.stdout, Getenv: func(k string) string { return s.env[k] }}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func data(findings ...judge.Finding) *report.Data {
	return &report.Data{Verdict: &judge.Verdict{
		Version: 1, Verdict: judge.Fail, Reasons: []judge.Reason{judge.HasFinding}, Score: 40, Findings: findings,
		Coverage: judge.Coverage{State: "complete"},
	}}
}

func finding(severity judge.Severity, title, object string) judge.Finding {
	return judge.Finding{Rule: "d01", Title: title, Severity: severity, Object: object, Do: "Look.", Actor: judge.Actor{Exe: "/usr/bin/curl"}}
}

func TestTheRunnerIsToldAsRecorded(t *testing.T) {
	s := newStep(t)
	err := s.runner().Tell(data(
		finding(judge.Low, "Odd", "a"), finding(judge.Critical, "Memory of the runner was read", "/proc/1/mem"), finding(judge.Medium, "So so", "b"),
	), ".posture")
	if err != nil {
		t.Fatal(err)
	}
	want := "::error title=Posture%3A Memory of the runner was read::curl: /proc/1/mem. Look.\n" +
		"::warning title=Posture%3A So so::curl: b. Look.\n" +
		"::notice title=Posture%3A Odd::curl: a. Look.\n"
	if got := s.stdout.String(); got != want {
		t.Errorf("stdout is\n%swant\n%s", got, want)
	}
	output := read(t, s.output)
	for _, o := range [][2]string{{"verdict", "fail"}, {"score", "40"}, {"finding-count", "3"}, {"coverage", "complete"}, {"dir", ".posture"}} {
		if want := o[0] + "<<_GitHubActionsFileCommandDelimeter_\n" + o[1] + "\n_GitHubActionsFileCommandDelimeter_\n"; !strings.Contains(output, want) {
			t.Errorf("output %s is missing in\n%s", o[0], output)
		}
	}
	if got := read(t, s.summary); !strings.HasPrefix(got, "### Posture: **fail**, score 40\n") {
		t.Errorf("summary begins with %.80q", got)
	}
}

func TestAnAnnotationStandsAtItsStep(t *testing.T) {
	s := newStep(t)
	f, other := finding(judge.High, "Odd", "a"), finding(judge.Low, "So so", "b")
	f.Scope.Step, other.Scope.Step = "fetch", "unknown"
	d := data(f, other)
	d.Steps = map[string]report.Place{"fetch": {File: ".github/workflows/c,i:1.yml", Line: 9}}
	if err := s.runner().Tell(d, ".posture"); err != nil {
		t.Fatal(err)
	}
	want := "::error file=.github/workflows/c%2Ci%3A1.yml,line=9,title=Posture%3A Odd::curl: a. Look.\n::notice title=Posture%3A So so::curl: b. Look.\n"
	if got := s.stdout.String(); got != want {
		t.Errorf("stdout is\n%swant\n%s", got, want)
	}
}

func TestTheSummaryIsAppended(t *testing.T) {
	s := newStep(t)
	if err := os.WriteFile(s.summary, []byte("what was there\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.runner().Tell(data(), "x"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s.summary); !strings.HasPrefix(got, "what was there\n### Posture") {
		t.Errorf("summary is %.80q", got)
	}
}

func TestOnlyNineAnnotationsAndTheRestCounted(t *testing.T) {
	s := newStep(t)
	var fs []judge.Finding
	for i := range 30 {
		fs = append(fs, finding(judge.Low, fmt.Sprint("low ", i), "x"))
	}
	fs = append(fs, finding(judge.Critical, "the one that matters", "x"))
	if err := s.runner().Tell(data(fs...), "x"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(s.stdout.String()), "\n")
	if len(lines) != 10 {
		t.Fatalf("%d lines, want 9 and one that counts", len(lines))
	}
	if !strings.Contains(lines[0], "the one that matters") {
		t.Errorf("first is %s", lines[0])
	}
	if !strings.Contains(lines[9], "22 more") {
		t.Errorf("last is %s", lines[9])
	}
}

func TestNamesOfTheJobMakeNoWorkflowCommand(t *testing.T) {
	for _, name := range []string{
		"x\n::set-output name=verdict::pass", "x\r\n::add-mask::e", "a%0A::error::b", "\x1b[2J", "a,b:c", "_GitHubActionsFileCommandDelimeter_\nverdict<<x\npass\nx",
		"\u202ecba", "%s%d%!", strings.Repeat("x", 100_000),
	} {
		s := newStep(t)
		if err := s.runner().Tell(data(finding(judge.High, name, name)), name); err != nil {
			t.Fatal(err)
		}
		out := s.stdout.String()
		if strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "::error title=") || strings.ContainsAny(out, "\r\x1b\u202e") {
			t.Errorf("%.60q makes the output %.300q", name, out)
		}
		if len(out) > 4096 {
			t.Errorf("%.60q makes an annotation of %d bytes", name, len(out))
		}
		output := read(t, s.output)
		var names []string
		for l := range strings.Lines(output) {
			if k, _, ok := strings.Cut(l, "<<_GitHub"); ok && !strings.Contains(k, " ") {
				names = append(names, k)
			}
		}
		if got := strings.Join(names, " "); got != "verdict score tightness coverage findings finding-count dir evidence-path report-path attestation-path" {
			t.Errorf("%.60q makes the outputs %q:\n%s", name, got, output)
		}
	}
}

func TestWhatFailsIsToldAndTheRestIsDone(t *testing.T) {
	s := newStep(t)
	s.env["GITHUB_OUTPUT"] = "/nonexistent/dir/file"
	err := s.runner().Tell(data(finding(judge.High, "a", "b")), "x")
	if err == nil || !strings.Contains(err.Error(), "setting outputs") {
		t.Errorf("error is %v", err)
	}
	if !strings.Contains(read(t, s.summary), "### Posture") || s.stdout.Len() == 0 {
		t.Error("the rest was not done")
	}

	s = newStep(t)
	s.env["GITHUB_OUTPUT"], s.env["GITHUB_STEP_SUMMARY"] = "", ""
	if err := s.runner().Tell(data(), "x"); err == nil || !strings.Contains(err.Error(), "GITHUB_STEP_SUMMARY") || !strings.Contains(err.Error(), "GITHUB_OUTPUT") {
		t.Errorf("error is %v", err)
	}

	s = newStep(t)
	if err := os.WriteFile(s.summary, bytes.Repeat([]byte("x"), maxSummary-100), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.runner().Tell(data(finding(judge.High, "a", "b")), "x"); err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("error is %v", err)
	}
	if strings.Contains(read(t, s.summary), "###") {
		t.Error("a summary was written that GitHub would drop")
	}
}

func TestOutsideAWorkflowNothingIsDone(t *testing.T) {
	s := newStep(t)
	delete(s.env, "GITHUB_ACTIONS")
	if err := s.runner().Tell(data(), "x"); !errors.Is(err, ErrNoRunner) {
		t.Errorf("error is %v", err)
	}
	if s.stdout.Len() > 0 || read(t, s.output) != "" {
		t.Error("something was written")
	}
	if _, err := s.runner().Context(); !errors.Is(err, ErrNoRunner) {
		t.Errorf("error is %v", err)
	}
}

func TestTheContextIsThatOfTheStep(t *testing.T) {
	c, err := newStep(t).runner().Context()
	if err != nil || c.Repository != "octo/app" || c.RunID != "42" || c.Job != "build" {
		t.Errorf("context is %+v, %v", c, err)
	}
}
