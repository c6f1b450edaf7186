package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/test/rig"
)

// Two jobs at once with a real engine: one that runs in a container, in which
// two steps run at the same time, and one on the machine; both use a docker
// action. What runs in a container is no child of the worker, and says by an
// argument or a URL, mark=JOB=STEP, whose it is.
func TestWhatRunsInContainersIsInItsStep(t *testing.T) {
	engine := rig.StartEngine(t)
	engine.Import(t, "posture-box:local", []string{"sh", "true", "tail", "wget", "env", "sleep"}, nil)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	port := server.Listener.Addr().(*net.TCPAddr).Port
	in := func(job, step string, n int) string {
		return fmt.Sprintf("for i in $(busybox seq %d); do /bin/true mark=%s=%s; done; wget -q -O /dev/null http://127.0.0.1:%d/mark=%s=%s || :", n, job, step, port, job, step)
	}
	acts := lay(t, map[string]string{"action.yml": fmt.Sprintf(`name: dock
inputs: {count: {default: "20"}}
runs:
  using: docker
  image: docker://posture-box:local
  pre-entrypoint: /bin/true
  entrypoint: /bin/sh
  args: [-c, "for i in $(busybox seq ${{ inputs.count }}); do /bin/true mark=$GITHUB_JOB=$GITHUB_ACTION; done; wget -q -O /dev/null http://127.0.0.1:%d/mark=$GITHUB_JOB=$GITHUB_ACTION; echo said=$GITHUB_ACTION >> $GITHUB_OUTPUT"]
`, port)})
	built := lay(t, map[string]string{
		"action.yml": "name: built\nruns: {using: docker, image: Dockerfile}\n",
		"Dockerfile": "FROM posture-box:local\nENTRYPOINT [\"/bin/sh\", \"-c\", \"/bin/true mark=$GITHUB_JOB=$GITHUB_ACTION\"]\n",
	})
	dir, printed := watch(t, fmt.Sprintf(`
on: push
jobs:
  inside:
    runs-on: self-hosted
    container: posture-box:local
    steps:
      - {id: dock, uses: octo/dock@v1}
      - id: plain
        run: |
          %s
          (sleep 0.3; /bin/true mark=inside=plain) &
      - {id: one, background: true, run: "%s"}
      - {id: two, background: true, run: "%s"}
      - {wait-all: true}
      - id: forger
        run: |
          echo GITHUB_ACTION=plain >> $GITHUB_ENV
          export GITHUB_ACTION=plain GITHUB_JOB=machine
          %s
          env -i /bin/true mark=inside=forger
  machine:
    runs-on: self-hosted
    steps:
      - {id: dock, uses: octo/dock@v1, with: {count: "30"}}
      - {id: built, uses: octo/built@v1}
      - {id: after, run: "echo said ${{ steps.dock.outputs.said }}; /bin/true mark=machine=after"}
      - {id: own, run: "docker run --rm -e GITHUB_ACTION=plain -e GITHUB_JOB=inside posture-box:local /bin/true mark=="}
`, in("inside", "plain", 30), in("inside", "one", 30), in("inside", "two", 30), in("inside", "forger", 10)), nil, []string{
		"-runners", "2", "-network", "host", "-env", "DOCKER_HOST=" + engine.Host, "-env", "DOCKER_BUILDKIT=0", "-env", "DOCKER_CONFIG=/nowhere",
		"-action", "octo/dock@v1=" + acts, "-action", "octo/built@v1=" + built,
	})
	if !strings.Contains(printed, "said dock\n") {
		t.Errorf("a docker action's output is not there:\n%s", printed)
	}
	events, err := rig.Events(filepath.Join(dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	tree := process.NewTree(1 << 20)
	execs, connects := map[string]int{}, map[string]int{}
	for i := range events {
		ev := &events[i]
		n := tree.Apply(ev)
		if ev.Kind != event.Exec && ev.Kind != event.Connect {
			continue
		}
		mark := ""
		for _, a := range n.Argv {
			if _, m, ok := strings.Cut(a.String(), "mark="); ok && (ev.Kind == event.Exec) == a.HasPrefix("mark=") {
				mark = m
			}
		}
		if mark == "" || ev.Kind == event.Exec && !n.Argv[0].Is("/bin/true") {
			continue
		}
		job, step, _ := strings.Cut(mark, "=")
		if ev.Kind == event.Exec {
			execs[mark]++
		} else {
			connects[mark]++
		}
		if n.Job.String() != job || n.Step.String() != step {
			t.Errorf("%s of %s is told as of job %q, step %q", ev.Kind, mark, n.Job, n.Step)
		}
		if inside := step != "after"; n.Container.IsZero() == inside {
			t.Errorf("%s of %s: in a container: %v", ev.Kind, mark, !inside)
		}
		want := ""
		switch step {
		case "dock", "built":
			want = "octo/" + step + "@v1"
		}
		if n.Action.String() != want {
			t.Errorf("%s of %s is told as of action %q", ev.Kind, mark, n.Action)
		}
	}
	for mark, want := range map[string]int{
		"inside=dock": 20, "inside=plain": 31, "inside=one": 30, "inside=two": 30, "inside=forger": 11,
		"machine=dock": 30, "machine=built": 1, "machine=after": 1, "=": 1,
	} {
		if execs[mark] != want {
			t.Errorf("%s: %d execs, want %d", mark, execs[mark], want)
		}
		connect := 1
		if strings.HasPrefix(mark, "machine=") && mark != "machine=dock" || mark == "=" {
			connect = 0
		}
		if connects[mark] != connect {
			t.Errorf("%s: %d connections, want %d", mark, connects[mark], connect)
		}
	}
	if t.Failed() {
		t.Logf("%s", printed)
	}
}
