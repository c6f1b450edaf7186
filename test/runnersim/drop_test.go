package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/runnersim/runner"
)

// daemon stands for a container engine's: a socket of its group, which nobody
// is made a member of for the test.
func daemon(t *testing.T, gid int) {
	t.Helper()
	const path = "/run/docker.sock"
	if _, err := os.Stat(path); err == nil {
		t.Skip(path + " is there: a real engine's socket is not for this test")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, err := range []error{os.Chown(path, 0, gid), os.Chmod(path, 0o660)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// With sudo: drop the steps have no way to root, and on a runner that is kept
// they have it again after the job, unless the job left something running.
func TestStepsLoseSudoForTheJobAlone(t *testing.T) {
	needRoot(t)
	const uses = "org/edamame-posture@v1"
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	gid, err := strconv.Atoi(nobody.Gid)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, leaves string
		back         bool
	}{
		{"a job that ends", "", true},
		{"a job that leaves something running", "RUNNER_TRACKING_ID= setsid sleep 20 > /dev/null 2>&1 < /dev/null & echo $! > %s/left", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			daemon(t, gid)
			root, out := filepath.Join(folder(t), "r"), folder(t)
			if err := os.Chmod(out, 0o777); err != nil {
				t.Fatal(err)
			}
			rig.Sudo(t, "nobody", "drop", "ALL")
			rule := "/etc/sudoers.d/~edamame-posture-" + nobody.Uid
			t.Cleanup(func() { _ = os.Remove(rule) })
			leaves := c.leaves
			if leaves != "" {
				leaves = fmt.Sprintf(leaves, out)
			}
			jobs, err := runner.Read(filepath.Join(lay(t, map[string]string{"ci.yml": fmt.Sprintf(`
on: push
jobs:
  a:
    runs-on: self-hosted
    steps:
      - {uses: %s, with: {out: %s/posture, sudo: drop}}
      - run: |
          sudo -n /bin/true && echo "has sudo"
          node -e "require('net').connect('/run/docker.sock').on('connect', () => console.log('has docker')).on('error', (e) => console.log('docker ' + e.code))"
          %s
          true
`, uses, out, leaves)}), "ci.yml"))
			if err != nil {
				t.Fatal(err)
			}
			results, err := runner.Run(t.Context(), jobs, runner.Options{
				Root: root, User: "nobody", Stderr: os.Stderr, Actions: map[string]string{uses: release(t)},
			})
			if pid, err := os.ReadFile(filepath.Join(out, "left")); err == nil {
				if n, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
					defer func() {
						if p, err := os.FindProcess(n); err == nil {
							_ = p.Kill()
						}
					}()
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			r := results[0]
			if r.Conclusion != "Succeeded" || strings.Contains(r.Log, "has sudo") || !strings.Contains(r.Log, "docker EACCES") {
				t.Errorf("%s\n%s", r.Conclusion, r.Log)
			}
			if !strings.Contains(r.Summaries, "user lost sudo.") || !strings.Contains(r.Summaries, "docker&#46;sock") {
				t.Errorf("the summary does not tell of it:\n%s", r.Summaries)
			}
			events, err := rig.Events(filepath.Join(out, "posture", "evidence"))
			if err != nil {
				t.Fatal(err)
			}
			taken := 0
			for i := range events {
				switch ev := &events[i]; {
				case ev.Kind != event.Posture:
				case ev.Name.Is("power-taken"):
					taken++
				case ev.Name.Is("power-kept"), ev.Name.Is("docker-socket"):
					t.Errorf("%s is told: %s", ev.Name, ev.Detail)
				}
			}
			if taken != 2 {
				t.Errorf("%d ways to root are told as taken, want sudo and the socket", taken)
			}
			has := func() bool {
				return exec.Command("setpriv", "--reuid", nobody.Uid, "--regid", nobody.Gid, "--clear-groups", "sudo", "-n", "/bin/true").Run() == nil
			}
			// The monitor waits for the worker's end and then needs a moment; where
			// nothing is given back its own end is what is waited for.
			for end := time.Now().Add(15 * time.Second); time.Now().Before(end) && watching(t, out); time.Sleep(50 * time.Millisecond) {
			}
			if has() != c.back {
				t.Errorf("after the job the user has sudo: %v", !c.back)
			}
		})
	}
}

// watching reports whether the monitor whose results go below out still runs.
func watching(t *testing.T, out string) bool {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range lines {
		argv, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(argv), "\x00monitor\x00") && strings.Contains(string(argv), out) {
			return true
		}
	}
	return false
}
