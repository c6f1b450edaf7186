package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/runnersim/runner"
)

// release lays the action out as a release does: with the binary beside it.
func release(t *testing.T) string {
	t.Helper()
	files := map[string]string{}
	for _, f := range []string{"action.yml", "action/pre.js", "action/main.js", "action/post.js", "action/shim.js"} {
		text, err := os.ReadFile(filepath.Join("../..", f))
		if err != nil {
			t.Fatal(err)
		}
		files[f] = string(text)
	}
	program, err := os.ReadFile(watched)
	if err != nil {
		t.Fatal(err)
	}
	files["bin/linux-"+runtime.GOARCH+"/edamame-posture"] = string(program)
	return lay(t, files)
}

// installed returns where the runners under root have the action's program.
func installed(root string, i int) string {
	return fmt.Sprintf("%s/runner-%d/_work/_actions/org/edamame-posture/v1/bin/linux-%s/edamame-posture", root, i, runtime.GOARCH)
}

// Two jobs at once, each on a runner of its own and with the action: what one
// monitor tells is of its own job.
func TestTheActionWatchesItsOwnJob(t *testing.T) {
	needRoot(t)
	const uses = "org/edamame-posture@v1"
	root, out := filepath.Join(folder(t), "r"), folder(t)
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	rig.Sudo(t, "nobody", "action", "/bin/true", installed(root, 1), installed(root, 2))
	text := "on: push\njobs:"
	for _, c := range []struct{ job, last string }{{"well", "true"}, {"badly", "exit 9"}} {
		text += fmt.Sprintf(`
  %[1]s:
    runs-on: self-hosted
    steps:
      - {uses: %[2]s, id: posture, with: {out: %[3]s/%[1]s}}
      - {id: one, run: "/bin/echo mark=%[1]s=one; sudo -n /bin/true mark=%[1]s=one"}
      - {id: two, run: "GITHUB_ACTION=one /bin/echo mark=%[1]s=two; %[4]s"}
`, c.job, uses, out, c.last)
	}
	jobs, err := runner.Read(filepath.Join(lay(t, map[string]string{"ci.yml": text}), "ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := runner.Run(t.Context(), jobs, runner.Options{
		Root: root, Runners: 2, User: "nobody", Stderr: os.Stderr, Actions: map[string]string{uses: release(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if want := map[string]string{"well": "Succeeded", "badly": "Failed"}[r.Job]; r.Conclusion != want {
			t.Errorf("%s: %s, want %s\n%s", r.Job, r.Conclusion, want, r.Log)
		}
		if !strings.Contains(r.Summaries, "### ") || len(r.Orphans) > 0 {
			t.Errorf("%s: summary %q, killed at its end: %q\n%s", r.Job, r.Summaries, r.Orphans, r.Log)
		}
		dir := filepath.Join(out, r.Job, "evidence")
		if err := rig.Verify(dir); err != nil {
			t.Errorf("%s: %v\n%s", r.Job, err, r.Log)
			continue
		}
		events, err := rig.Events(dir)
		if err != nil {
			t.Fatal(err)
		}
		tree, marks := process.NewTree(1<<16), map[string]int{}
		for i := range events {
			ev := &events[i]
			n := tree.Apply(ev)
			if len(ev.Survivors) > 0 {
				t.Errorf("%s: %v are told as left running: our own post step is not one", r.Job, ev.Survivors)
			}
			if ev.Kind != event.Exec {
				continue
			}
			for _, a := range ev.Argv {
				if mark, ok := strings.CutPrefix(a.String(), "mark="); ok {
					marks[mark]++
					if mark != n.Job.String()+"="+n.Step.String() {
						t.Errorf("%s: %s is told as of job %q, step %q", r.Job, mark, n.Job, n.Step)
					}
				}
			}
		}
		// sudo and what it runs have the same arguments.
		if marks[r.Job+"=one"] < 3 || marks[r.Job+"=two"] != 1 || len(marks) != 2 {
			t.Errorf("%s: what is told is %v", r.Job, marks)
		}
	}
}

func TestACancelledJobIsStillTold(t *testing.T) {
	needRoot(t)
	const uses = "org/edamame-posture@v1"
	root, out := filepath.Join(folder(t), "r"), folder(t)
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	rig.Sudo(t, "nobody", "cancel", installed(root, 1))
	jobs, err := runner.Read(filepath.Join(lay(t, map[string]string{"ci.yml": fmt.Sprintf(`
on: push
jobs:
  long:
    runs-on: self-hosted
    steps:
      - {uses: %s, with: {out: %[2]s/posture}}
      - {id: waits, run: "trap 'exit 1' INT; touch %[2]s/ready; while :; do sleep 0.1; done"}
`, uses, out)}), "ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := runner.Run(cancelledBy(t, filepath.Join(out, "ready")), jobs, runner.Options{
		Root: root, User: "nobody", Stderr: os.Stderr, Actions: map[string]string{uses: release(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := results[0]
	if r.Conclusion != "Canceled" || !strings.Contains(r.Summaries, "### ") {
		t.Errorf("%s, summary %q\n%s", r.Conclusion, r.Summaries, r.Log)
	}
	if err := rig.Verify(filepath.Join(out, "posture", "evidence")); err != nil {
		t.Errorf("%v\n%s", err, r.Log)
	}
}

// What is watched from within a step is of that step from its beginning.
func TestACommandThatAStepWatchesIsOfThatStep(t *testing.T) {
	needRoot(t)
	out := filepath.Join(folder(t), "posture")
	r := play(t, t.Context(), fmt.Sprintf(`
on: push
jobs:
  a:
    runs-on: self-hosted
    steps:
      - {id: inner, run: "%s run --quiet --out %s -- env GITHUB_ACTION=release GITHUB_JOB=b /bin/echo mark"}
`, watched, out), runner.Options{})["a"]
	events, err := rig.Events(filepath.Join(out, "evidence"))
	if err != nil {
		t.Fatalf("%v\n%s", err, r.Log)
	}
	tree, found := process.NewTree(1<<12), 0
	for i := range events {
		n := tree.Apply(&events[i])
		if events[i].Kind == event.Exec && n.Program().Is("echo") {
			found++
			if !n.Job.Is("a") || !n.Step.Is("inner") {
				t.Errorf("it is told as of job %q, step %q", n.Job, n.Step)
			}
		}
	}
	if found != 1 {
		t.Errorf("echo ran %d times", found)
	}
}
