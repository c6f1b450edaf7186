package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/test/runnersim/runner"
)

// folder makes a new folder that every user may read.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "runnersim-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// lay writes files below a new folder.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := folder(t)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// play runs a workflow and returns the results by the job's name.
func play(t *testing.T, ctx context.Context, text string, o runner.Options) map[string]runner.Result {
	t.Helper()
	dir := lay(t, map[string]string{"ci.yml": text})
	jobs, err := runner.Read(filepath.Join(dir, "ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	o.Root = filepath.Join(dir, "runners")
	o.Stderr = os.Stderr
	results, err := runner.Run(ctx, jobs, o)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]runner.Result{}
	for _, r := range results {
		by[r.Job] = r
	}
	return by
}

// loud is an action each part of which says its name and what it was given.
var loud = map[string]string{
	"action.yml": `name: loud
inputs: {word: {default: none}}
runs: {using: node24, pre: pre.js, main: main.js, post: post.js, post-if: always()}`,
	"pre.js":  `require('fs').appendFileSync(process.env.GITHUB_STATE, 'seen=pre\n')`,
	"main.js": `console.log('main ' + process.env.INPUT_WORD + ' after ' + process.env.STATE_seen)`,
	"post.js": `console.log('post of ' + process.env.GITHUB_ACTION + ' ' + process.env.GITHUB_ACTION_REPOSITORY)`,
}

func TestAJobRunsInTheOrderOfTheRealRunner(t *testing.T) {
	actions := map[string]string{
		"octo/loud@v1": lay(t, loud), "octo/other@v1": lay(t, loud),
		"octo/both@v1": lay(t, map[string]string{"action.yml": `name: both
inputs: {word: {default: none}}
runs:
  using: composite
  steps:
    - {run: "echo inside $GITHUB_ACTION ${{ inputs.word }} $(basename $GITHUB_ACTION_PATH)", shell: bash}
    - {uses: octo/other@v1, with: {word: nested}}`}),
	}
	hooks := lay(t, map[string]string{"a.sh": "echo hook starts ${GITHUB_ACTION:-without a step}\n", "b.sh": "echo hook ends\n"})
	r := play(t, t.Context(), `
name: ci
on: push
env: {TOP: top}
jobs:
  build:
    runs-on: self-hosted
    env: {OWN: "own"}
    steps:
      - {uses: octo/loud@v1, with: {word: hello}}
      - uses: octo/both@v1
        id: two
        with: {word: given}
      - id: set
        run: |
          echo "out=1 and 2" >> $GITHUB_OUTPUT
          echo LATER=later >> $GITHUB_ENV
          mkdir -p $RUNNER_TEMP/bin && printf '#!/bin/sh\necho found\n' > $RUNNER_TEMP/bin/mine && chmod +x $RUNNER_TEMP/bin/mine
          echo $RUNNER_TEMP/bin >> $GITHUB_PATH
          echo '### sum' >> $GITHUB_STEP_SUMMARY
          echo '::add-mask::s3cr3t'
          echo '::warning title=x::careful%0Anow'
      - run: echo "$TOP $OWN $LATER ${{ steps.set.outputs.out }} s3cr3t $GITHUB_ACTION"; mine
        env: {GITHUB_ACTION: forged}
      - {run: exit 3, continue-on-error: true}
      - {run: exit 4}
      - run: echo not reached
      - {run: echo after all, if: failure()}
`, runner.Options{Actions: actions, Env: []string{
		"ACTIONS_RUNNER_HOOK_JOB_STARTED=" + filepath.Join(hooks, "a.sh"),
		"ACTIONS_RUNNER_HOOK_JOB_COMPLETED=" + filepath.Join(hooks, "b.sh"),
	}})["build"]
	want := []string{
		"pre __octo_loud", "pre two", "main __octo_loud", "main two", "main set", "main __run", "main __run_2", "main __run_3",
		"main __run_5", "post two", "post __octo_loud",
	}
	if !slices.Equal(r.Order, want) {
		t.Errorf("order is\n%q, want\n%q", r.Order, want)
	}
	if r.Conclusion != "Failed" {
		t.Errorf("the job has %s", r.Conclusion)
	}
	at := 0
	for _, line := range []string{
		"hook starts without a step", "main hello after pre", "inside two given v1", "main nested after pre",
		"top own later 1 and 2 *** __run", "found", "after all", "post of two octo/other", "post of __octo_loud octo/loud", "hook ends",
	} {
		i := strings.Index(r.Log[at:], line+"\n")
		if i < 0 {
			t.Fatalf("%q is not there, or not in its place:\n%s", line, r.Log)
		}
		at += i
	}
	if strings.Contains(r.Log, "not reached") || strings.Contains(r.Log, "s3cr3t") {
		t.Errorf("the log has what it must not:\n%s", r.Log)
	}
	if !slices.Equal(r.Annotations, []string{"warning: careful\nnow"}) || !strings.Contains(r.Summaries, "### sum") {
		t.Errorf("annotations %q, summaries %q", r.Annotations, r.Summaries)
	}
}

func TestProcessesLookLikeThoseOfTheRealRunner(t *testing.T) {
	r := play(t, t.Context(), `
on: push
jobs:
  look:
    runs-on: self-hosted
    steps:
      - run: |
          echo "parent $(cat /proc/$PPID/comm) $(readlink /proc/$PPID/exe)"
          echo "argv $(tr '\0' ' ' < /proc/$$/cmdline)"
          echo "worker $(tr '\0' ' ' < /proc/$PPID/cmdline)"
          echo "above $(cat /proc/$(cut -d' ' -f4 /proc/$PPID/stat)/comm)"
          echo "oom $(cat /proc/self/oom_score_adj) tracked $(echo $RUNNER_TRACKING_ID | cut -c1-7)"
          sleep 60 & setsid env -u RUNNER_TRACKING_ID sleep 3 > /dev/null 2>&1 < /dev/null &
          exec > /dev/null 2>&1
`, runner.Options{})["look"]
	for _, want := range []string{
		"parent Runner.Worker ", "/runner-1/bin/Runner.Worker\n", "argv /usr/bin/bash -e ", "/_work/_temp/",
		"/bin/Runner.Worker spawnclient 3 4", "above Runner.Listener\n", "oom 500 tracked github_\n",
	} {
		if !strings.Contains(r.Log, want) {
			t.Errorf("%q is not there:\n%s", want, r.Log)
		}
	}
	if !slices.Equal(r.Orphans, []string{"sleep"}) {
		t.Errorf("killed at the end: %q; want the one sleep that still had the mark", r.Orphans)
	}
}

func TestStepsInTheBackgroundRunAtTheSameTime(t *testing.T) {
	r := play(t, t.Context(), `
on: push
jobs:
  pair:
    runs-on: self-hosted
    steps:
      - {id: one, background: true, run: "mkfifo $RUNNER_TEMP/f; echo ping > $RUNNER_TEMP/f"}
      - {id: two, background: true, run: "until [ -p $RUNNER_TEMP/f ]; do sleep 0.02; done; cat $RUNNER_TEMP/f"}
      - {wait-all: true}
      - run: echo done
`, runner.Options{})["pair"]
	if r.Conclusion != "Succeeded" || !strings.Contains(r.Log, "ping\ndone\n") {
		t.Errorf("%s:\n%s", r.Conclusion, r.Log)
	}
}

// cancelledBy returns a context that ends when a file is there.
func cancelledBy(t *testing.T, file string) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if _, err := os.Stat(file); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return ctx
}

func TestACancelledJobStillRunsItsEnd(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	ctx := cancelledBy(t, ready)
	r := play(t, ctx, `
on: push
jobs:
  long:
    runs-on: self-hosted
    steps:
      - uses: octo/loud@v1
      - run: "trap 'echo asked; exit 1' INT; touch `+ready+`; while :; do sleep 0.1; done"
      - run: echo not reached
      - {run: echo always, if: always()}
`, runner.Options{Actions: map[string]string{"octo/loud@v1": lay(t, loud)}})["long"]
	if r.Conclusion != "Canceled" || !strings.Contains(r.Log, "asked\n") || !strings.Contains(r.Log, "always\npost of") || strings.Contains(r.Log, "not reached") {
		t.Errorf("%s:\n%s", r.Conclusion, r.Log)
	}
}

func TestAMatrixIsAJobForEachChoice(t *testing.T) {
	by := play(t, t.Context(), `
on: push
jobs:
  test:
    runs-on: self-hosted
    strategy: {matrix: {os: [a, b], go: ["1", "2"]}}
    steps:
      - run: echo "${{ matrix.os }}${{ matrix.go }} $RUNNER_NAME"
`, runner.Options{Runners: 2})
	for name, want := range map[string]string{
		"test (1, a)": "a1 runner-1", "test (1, b)": "b1 runner-2", "test (2, a)": "a2 runner-1", "test (2, b)": "b2 runner-2",
	} {
		if !strings.Contains(by[name].Log, want) {
			t.Errorf("%s: %+v", name, by[name])
		}
	}
}
