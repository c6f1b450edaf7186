// Package e2e watches real commands with the real binary, as a user would, and
// holds what it says against what these commands are known to do.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/test/rig"
)

var binary string

func TestMain(m *testing.M) {
	os.Exit(rig.Main(m, map[*string]string{&binary: "../../cmd/edamame-posture"}))
}

// watched is one run of the binary.
type watched struct {
	t              *testing.T
	dir            string // of the results
	code           int
	stdout, stderr string
	verdict        *judge.Verdict
	events         []event.Event
	observed       []*fact.Fact
	answers        string // what hooks of agents were answered
}

type options struct {
	flags []string
	in    string // working directory; a new one if empty
	env   []string
	stdin io.Reader
	argv0 []string // instead of the binary: sudo and the like, put before it
}

// run watches a command to its end.
func run(t *testing.T, o options, argv ...string) *watched {
	t.Helper()
	if o.in == "" {
		o.in = t.TempDir()
	}
	out := filepath.Join(o.in, ".posture")
	args := slices.Concat(o.argv0, []string{binary, "run"}, o.flags, []string{"--"}, argv)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = o.in, o.stdin
	cmd.Env = append(os.Environ(), o.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", args, err)
	}
	w := &watched{t: t, dir: out, code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	w.load()
	return w
}

// load reads the results, where there are any.
func (w *watched) load() {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "verdict.json"))
	if err != nil {
		return
	}
	w.verdict = &judge.Verdict{}
	if err := json.Unmarshal(b, w.verdict); err != nil {
		w.t.Fatalf("verdict.json: %v", err)
	}
	dir := filepath.Join(w.dir, "evidence")
	if w.events, err = rig.Events(dir); err != nil {
		w.t.Fatalf("evidence: %v", err)
	}
	j, err := rig.Judge(dir)
	if err != nil {
		w.t.Fatalf("replay: %v", err)
	}
	w.observed = j.Facts()
}

// must fails the test with everything that was said.
func (w *watched) must(ok bool, format string, args ...any) {
	w.t.Helper()
	if !ok {
		w.t.Errorf(format, args...)
		w.t.Logf("exit code %d\nstderr:\n%s", w.code, w.stderr)
	}
}

// execs returns the argument lists of what was executed.
func (w *watched) execs() []string {
	var out []string
	for _, e := range w.events {
		if e.Kind == event.Exec {
			var args []string
			for _, a := range e.Argv {
				args = append(args, a.String())
			}
			out = append(out, strings.Join(args, " "))
		}
	}
	return out
}

// lineage returns the names of the programs above and including the first
// exec that ok chooses, the nearest first.
func (w *watched) lineage(ok func(*event.Event) bool) []string {
	parents, exe := map[event.Actor]event.Actor{}, map[event.Actor]string{}
	var at event.Actor
	for i := range w.events {
		e := &w.events[i]
		switch e.Kind {
		case event.Fork, event.Existing:
			parents[e.Actor] = e.Parent
			if e.Kind == event.Existing {
				exe[e.Actor] = filepath.Base(e.Exe.String())
			}
		case event.Exec:
			before := e.Actor
			before.Image--
			parents[e.Actor] = before
			exe[e.Actor] = filepath.Base(e.Exe.String())
			if at.IsZero() && ok(e) {
				at = e.Actor
			}
		}
	}
	var names []string
	for a := at; !a.IsZero() && len(names) < 100; a = parents[a] {
		if n := exe[a]; n != "" && (len(names) == 0 || names[len(names)-1] != n) {
			names = append(names, n)
		}
	}
	return names
}

// facts returns the objects of a verb's facts, declared or not.
func (w *watched) facts(verb fact.Verb) []string {
	var out []string
	for _, f := range w.observed {
		if f.Verb == verb {
			out = append(out, f.Object.String())
		}
	}
	return out
}

func (w *watched) finding(rule string) *judge.Finding {
	for i := range w.verdict.Findings {
		if w.verdict.Findings[i].Rule == rule {
			return &w.verdict.Findings[i]
		}
	}
	return nil
}

func anyContains(list []string, part string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) })
}

// need skips, with the reason, what this machine cannot run.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// complete checks what every undisturbed run must be.
func (w *watched) complete() {
	w.t.Helper()
	if w.verdict == nil {
		w.t.Fatalf("there is no verdict; exit code %d, stderr:\n%s", w.code, w.stderr)
	}
	w.must(w.verdict.Coverage.State == "complete", "coverage is %+v, want complete", w.verdict.Coverage)
	w.must(w.verdict.Coverage.Lost == 0, "%d events were lost", w.verdict.Coverage.Lost)
	if err := rig.Verify(filepath.Join(w.dir, "evidence")); err != nil {
		w.t.Errorf("evidence: %v", err)
	}
	again, err := exec.Command(binary, "replay", w.dir).CombinedOutput()
	if err != nil {
		w.t.Errorf("replay differs: %v\n%s", err, again)
	}
}
