package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What the monitor does so that nobody changes or reads it.

func TestTheMonitorRunsFromASealedCopyOfItself(t *testing.T) {
	mine := filepath.Join(t.TempDir(), "edamame-posture")
	copyFile(t, binary, mine)
	if err := os.Chmod(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	whole := binary
	binary = mine
	defer func() { binary = whole }()
	cmd, _, in := begin(t, options{}, "sh", "-c", "echo ready; sleep 2")
	mon := monitorOf(t, cmd.Process.Pid)
	proc := fmt.Sprintf("/proc/%d/", mon)
	exe, err := os.Readlink(proc + "exe")
	if err != nil || !strings.HasPrefix(exe, "/memfd:edamame-posture") {
		t.Errorf("it runs from %q, %v", exe, err)
	}
	if comm, _ := os.ReadFile(proc + "comm"); string(comm) != "edamame-posture\n" {
		t.Errorf("ps calls it %q", comm)
	}
	if f, err := os.OpenFile(proc+"exe", os.O_WRONLY, 0); err == nil {
		defer f.Close()
		if _, err := f.Write([]byte("x")); !errors.Is(err, syscall.EPERM) {
			t.Errorf("writing to its program: %v", err)
		}
	}
	// The file is another one's now, and the recording goes on to its end.
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mine, bytes.Repeat([]byte("not a program\n"), 1000), 0o755); err != nil {
		t.Fatal(err)
	}
	wait(t, cmd)
	binary = whole
	loaded(t, in).complete()
}

func TestTheMonitorIsNotReadByOthersNorKilledFirst(t *testing.T) {
	need(t, "setpriv")
	cmd, _, _ := begin(t, options{}, "sh", "-c", "echo ready; sleep 2")
	proc := fmt.Sprintf("/proc/%d/", monitorOf(t, cmd.Process.Pid))
	// Root without power over every process is refused only by what is not
	// dumpable. CAP_PERFMON is such a power too (kernel/fork.c, may_access_mm).
	const fewer = "-sys_ptrace,-perfmon,-sys_admin"
	for pid, refused := range map[string]bool{proc: true, fmt.Sprintf("/proc/%d/", os.Getpid()): false} {
		out, err := exec.Command("setpriv", "--bounding-set", fewer, "--inh-caps", fewer, "cat", pid+"environ").CombinedOutput()
		if refused && (err == nil || !bytes.Contains(out, []byte("denied"))) {
			t.Errorf("the monitor's environment can be read: %v %.80q", err, out)
		}
		if !refused && err != nil {
			t.Skipf("the same of any process is refused here: %s", out)
		}
	}
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok && strings.Fields(rest)[1] != "0" {
			t.Errorf("core files: %s", rest)
		}
	}
	score, err := os.ReadFile(proc + "oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(score)); got != "-900" {
		// What we may not do for ourselves the monitor may not either.
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0); !errors.Is(err, fs.ErrPermission) {
			_ = os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0)
			t.Errorf("oom_score_adj is %s", got)
		}
	}
	wait(t, cmd)
}
