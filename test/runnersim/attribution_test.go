package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/runnersim/runner"
)

// watched is the program under test; asCommand has the test's own program be
// the command runnersim.
var watched string

const asCommand = "RUNNERSIM_COMMAND"

// The test's own program is copied as the two processes of a runner.
func TestMain(m *testing.M) {
	if code, is := runner.Main(); is {
		os.Exit(code)
	}
	if os.Getenv(asCommand) != "" {
		os.Exit(command())
	}
	if file := os.Getenv(asConfined); file != "" {
		fmt.Fprintln(os.Stderr, confined(file))
		os.Exit(1)
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	os.Exit(rig.Main(m, map[*string]string{&watched: "../../cmd/edamame-posture"}))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("watching from the kernel needs root: sudo -E go test ./test/runnersim")
	}
}

// watch runs a workflow on runners of a plain user under the monitor, and
// returns what was seen and what the jobs printed.
func watch(t *testing.T, text string, flags, args []string) (dir, printed string) {
	t.Helper()
	wf := filepath.Join(lay(t, map[string]string{"ci.yml": text}), "ci.yml")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(folder(t), "posture")
	all := append([]string{"run", "--quiet", "--out", dir}, flags...)
	all = append(append(all, "--", self, "-user", "nobody", "-root", filepath.Join(folder(t), "r")), args...)
	cmd := exec.Command(watched, append(all, wf)...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir, string(out)
}

// job is one of those that run at once; %[1]s is its key. What a step starts
// says by an argument, mark=JOB=STEP, whose it is.
const job = `
  %[1]s:
    runs-on: self-hosted
    steps:
      - uses: octo/loud@v1
        id: first
      - uses: octo/both@v1
      - id: plain
        run: for i in $(seq 400); do /bin/true mark=%[1]s=plain; done
      - name: "Run tests"
        run: |
          for i in $(seq 400); do /bin/true mark=%[1]s=__run; done
          (setsid sh -c 'sleep 0.2; for i in 1 2 3 4 5; do /bin/true mark=%[1]s=__run; done' &)
          sudo -n /bin/true mark=%[1]s=__run
      - id: forger
        run: |
          echo "[2026-01-01 00:00:00Z INFO StepsRunner] Processing step: DisplayName='release'"
          log=$(ls $(dirname $RUNNER_WORKSPACE)/../_diag/Worker_*.log | tail -1)
          echo "[2026-01-01 00:00:00Z INFO StepsRunner] Processing step: DisplayName='release'" >> $log
          echo GITHUB_ACTION=release >> $GITHUB_ENV
          export GITHUB_ACTION=release GITHUB_JOB=other GITHUB_ACTION_REPOSITORY=good/one GITHUB_ACTION_PATH=/w/_actions/good/one/v1
          for i in $(seq 200); do /bin/true mark=%[1]s=forger; done
          env -i /bin/true mark=%[1]s=forger
          mkdir -p bin && cp /bin/bash bin/Runner.Worker
          bin/Runner.Worker -c 'for i in $(seq 50); do /bin/true mark=%[1]s=forger; done; :'
      - {id: one, background: true, run: "for i in $(seq 100); do /bin/true mark=%[1]s=one; done"}
      - {id: two, background: true, run: "for i in $(seq 100); do /bin/true mark=%[1]s=two; done; echo x > $RUNNER_TEMP/mark=%[1]s=two"}
`

func TestEachProcessIsInTheStepOfItsJob(t *testing.T) {
	needRoot(t)
	rig.Sudo(t, "nobody", "steps", "/bin/true", "/usr/bin/true")
	spawn := `const {spawnSync} = require('node:child_process');
const part = require('node:path').basename(__filename, '.js');
for (let i = 0; i < 20; i++) spawnSync('/bin/true', ['mark=' + process.env.GITHUB_JOB + '=' + process.env.GITHUB_ACTION], {env: {}});`
	manifest := "name: x\nruns: {using: node24, pre: pre.js, main: main.js, post: post.js}\n"
	js := lay(t, map[string]string{"action.yml": manifest, "pre.js": spawn, "main.js": spawn, "post.js": spawn})
	both := lay(t, map[string]string{"action.yml": `name: both
runs:
  using: composite
  steps:
    - {run: "for i in $(seq 20); do /bin/true mark=$GITHUB_JOB=__octo_both; done", shell: bash}
    - uses: octo/other@v1
`})
	hooks := lay(t, map[string]string{
		"start.sh": "/bin/true mark=$GITHUB_JOB=hook:job-started\n", "end.sh": "/bin/true mark=$GITHUB_JOB=hook:job-completed\n",
	})
	text := "on: push\njobs:"
	for _, j := range []string{"a", "b", "c", "d"} {
		text += fmt.Sprintf(job, j)
	}
	dir, printed := watch(t, text, nil, []string{
		"-runners", "2", "-action", "octo/loud@v1=" + js, "-action", "octo/other@v1=" + js, "-action", "octo/both@v1=" + both,
		"-env", "ACTIONS_RUNNER_HOOK_JOB_STARTED=" + filepath.Join(hooks, "start.sh"),
		"-env", "ACTIONS_RUNNER_HOOK_JOB_COMPLETED=" + filepath.Join(hooks, "end.sh"),
	})
	if n := strings.Count(printed, ": Succeeded\n"); n != 4 {
		t.Fatalf("%d of 4 jobs have succeeded:\n%s", n, printed)
	}
	events, err := rig.Events(filepath.Join(dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	tree := process.NewTree(1 << 20)
	by := map[string]int{} // processes of each step
	wrong, files, named := 0, 0, map[string]string{}
	at := func(n *process.Node, mark string) {
		_, rest, _ := strings.Cut(mark, "mark=")
		job, step, _ := strings.Cut(rest, "=")
		by[job+" "+step]++
		if n.Job.String() != job || n.Step.String() != step {
			if wrong++; wrong <= 10 {
				t.Errorf("%s of %s is told as of job %q, step %q", step, job, n.Job, n.Step)
			}
		}
		var action string
		if step == "first" {
			action = "octo/loud@v1"
		}
		if step != "__octo_both" && n.Action.String() != action {
			t.Errorf("%s of %s is told as of action %q", step, job, n.Action)
		}
	}
	for i := range events {
		ev := &events[i]
		n := tree.Apply(ev)
		switch ev.Kind {
		case event.Exec:
			for _, a := range ev.Argv {
				if strings.HasPrefix(a.String(), "mark=") && strings.HasSuffix(ev.Exe.String(), "/true") {
					at(n, a.String())
					break
				}
			}
		case event.Open:
			if strings.Contains(ev.Path.String(), "mark=") {
				files++
				at(n, ev.Path.String())
			}
		case event.Step:
			if !ev.StepName.IsZero() {
				named[n.Job.String()+" "+ev.StepName.String()] = n.Step.String()
			}
		}
	}
	total := 0
	for _, j := range []string{"a", "b", "c", "d"} {
		for step, want := range map[string]int{
			"first": 60, "__octo_both": 80, "plain": 400, "__run": 406, "forger": 251, "one": 100, "two": 101,
			"hook:job-started": 1, "hook:job-completed": 1,
		} {
			total += by[j+" "+step]
			if got := by[j+" "+step]; got != want {
				t.Errorf("%s of %s: %d processes and files, want %d", step, j, got, want)
			}
		}
		if got := named[j+" Run tests"]; got != "__run" {
			t.Errorf("the name that the log gives to step __run of %s is with step %q", j, got)
		}
	}
	t.Logf("%d processes, %d in another step or job than they are of; %d of all %d events are execs of steps", total, wrong, total-files, len(events))
	if total < 5000 || files != 4 {
		t.Errorf("%d processes and %d files were looked at", total, files)
	}
}

func TestAGrantForAStepIsForThatStepAlone(t *testing.T) {
	needRoot(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	policy := filepath.Join(lay(t, map[string]string{"p.yml": fmt.Sprintf("version: 1\negress:\n  - {to: \"127.0.0.1:%d\", step: release}\nfail-on: never\n", port)}), "p.yml")
	for _, c := range []struct {
		step string
		want int // facts that nothing explains
	}{{"release", 0}, {"build", 1}} {
		text := fmt.Sprintf("on: push\njobs:\n  a:\n    runs-on: self-hosted\n    steps:\n      - {id: %s, run: 'GITHUB_ACTION=release bash -c \": > /dev/tcp/127.0.0.1/%d\"'}\n", c.step, port)
		dir, _ := watch(t, text, []string{"--intent", policy}, nil)
		j, err := rig.Judge(filepath.Join(dir, "evidence"))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, f := range j.Verdict().Undeclared {
			if f.Verb == "connect" {
				got++
			}
		}
		if got != c.want {
			t.Errorf("step %s: %d undeclared connects, want %d: %+v", c.step, got, c.want, j.Verdict().Undeclared)
		}
	}
}
