package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOutputInputAndExitCodeOfTheCommandAreItsOwn(t *testing.T) {
	w := run(t, options{stdin: strings.NewReader("from stdin\n")}, "sh", "-c", "cat; echo to stderr >&2; exit 41")
	w.must(w.stdout == "from stdin\n", "stdout is %q: nothing of ours may be there", w.stdout)
	w.must(strings.HasPrefix(w.stderr, "to stderr\n"), "stderr does not begin with the command's own")
	w.must(w.code == 41, "exit code %d, want 41", w.code)
	w.complete()
	w.must(w.verdict.Run.Command.Exit == 41, "the verdict says exit %d", w.verdict.Run.Command.Exit)
}

func TestExitCodesAreThoseOfAShell(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(notExecutable, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		argv []string
		want int
	}{
		{"a command that is not there", []string{"no-such-command-of-ours"}, 127},
		{"a file that cannot be executed", []string{notExecutable}, 126},
		{"a command that a signal ended", []string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
		{"a command that was killed", []string{"sh", "-c", "kill -KILL $$"}, 128 + 9},
		{"a command that went well", []string{"true"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := run(t, options{}, c.argv...)
			w.must(w.code == c.want, "exit code %d, want %d", w.code, c.want)
		})
	}
}

func TestTheSummaryIsQuietWhenAsked(t *testing.T) {
	w := run(t, options{flags: []string{"--quiet"}}, "true")
	w.must(w.stderr == "", "stderr is not empty")
	w.complete()
}

func TestTheSummaryFitsAScreenAndSaysWhereTheEvidenceIs(t *testing.T) {
	w := run(t, options{}, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do cat /etc/hostname > f$i; ls / >/dev/null; done")
	lines := strings.Count(w.stderr, "\n")
	w.must(lines >= 5 && lines <= 40, "the summary has %d lines", lines)
	w.must(strings.Contains(w.stderr, ".posture"), "it does not say where the evidence is")
}

func TestAnEarlierRunBecomesDirOne(t *testing.T) {
	in := t.TempDir()
	run(t, options{in: in}, "true")
	w := run(t, options{in: in}, "false")
	w.must(w.verdict != nil && w.verdict.Run.Command.Exit == 1, "the newer run is not in .posture")
	if _, err := os.Stat(filepath.Join(in, ".posture.1", "verdict.json")); err != nil {
		t.Errorf("the earlier run: %v", err)
	}
	ignore, err := os.ReadFile(filepath.Join(in, ".posture", ".gitignore"))
	if err != nil || strings.TrimSpace(string(ignore)) != "*" {
		t.Errorf(".gitignore is %q, %v", ignore, err)
	}
}

// begin starts a watched command that says "ready" and then waits.
func begin(t *testing.T, o options, argv ...string) (*exec.Cmd, *bytes.Buffer, string) {
	t.Helper()
	in := t.TempDir()
	args := append(append([]string{"run"}, o.flags...), "--")
	cmd := exec.Command(binary, append(args, argv...)...)
	cmd.Dir = in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("the command said %q, %v; stderr: %s", line, err, &stderr)
	}
	return cmd, &stderr, in
}

// monitorOf returns the pid of the monitor that a run started.
func monitorOf(t *testing.T, run int) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		stat, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if !bytes.Contains(cmdline, []byte("\x00monitor\x00")) {
			continue
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(f) > 1 && f[1] == strconv.Itoa(run) {
			return pid
		}
	}
	t.Fatalf("run %d has no monitor", run)
	return 0
}

// checkpointed waits until the recording of a monitor has one more checkpoint
// than it has now.
func checkpointed(t *testing.T, mon int) {
	t.Helper()
	count := func() int {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", mon))
		for _, fd := range fds {
			path, err := os.Readlink(fd)
			if err != nil || filepath.Base(path) != "checkpoints" {
				continue
			}
			b, _ := os.ReadFile(path)
			return bytes.Count(b, []byte("boottime "))
		}
		return 0
	}
	before := count()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if count() > before {
			return
		}
	}
	t.Fatal("no checkpoint was made")
}

// open lets other users pass to a folder of the test's.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; dir != "/" && dir != "/tmp"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func wait(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatal("run did not end")
		return 0
	}
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

func loaded(t *testing.T, in string) *watched {
	w := &watched{t: t, dir: filepath.Join(in, ".posture")}
	w.load()
	return w
}

func TestSignalsReachTheCommand(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd, stderr, in := begin(t, options{}, "sh", "-c", "trap 'exit 7' TERM INT HUP USR1; echo ready; while :; do sleep 0.05; done")
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := wait(t, cmd); code != 7 {
				t.Errorf("exit code %d, want the trap's 7; stderr: %s", code, stderr)
			}
			loaded(t, in).complete()
		})
	}
}

func TestAKilledCommandLeavesWholeEvidence(t *testing.T) {
	cmd, _, in := begin(t, options{}, "sh", "-c", "echo ready; echo $$ > pid; exec sleep 60")
	var pid int
	for deadline := time.Now().Add(5 * time.Second); pid == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(filepath.Join(in, "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := wait(t, cmd); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	loaded(t, in).complete()
}

func TestAKilledMonitorIsToldAndItsEvidenceStaysReadable(t *testing.T) {
	// A command that says all is well is not believed.
	for exits, want := range map[int]int{5: 5, 0: 3} {
		t.Run(strconv.Itoa(exits), func(t *testing.T) { killedMonitor(t, exits, want) })
	}
}

func killedMonitor(t *testing.T, exits, want int) {
	cmd, stderr, in := begin(t, options{}, "sh", "-c", "echo ready; sleep 4; exit "+strconv.Itoa(exits))
	mon := monitorOf(t, cmd.Process.Pid)
	// What came before the first checkpoint must be there afterwards.
	checkpointed(t, mon)
	if err := syscall.Kill(mon, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, mon)
	code := wait(t, cmd)
	w := loaded(t, in)
	w.stderr, w.code = stderr.String(), code
	w.must(code == want, "exit code %d, want %d", code, want)
	w.must(strings.Contains(w.stderr, "the monitor"), "nothing tells that the monitor died")
	if w.verdict == nil {
		t.Fatalf("no verdict from what was there; stderr:\n%s", w.stderr)
	}
	w.must(w.verdict.Coverage.State == "partial" && w.verdict.Verdict == "fail", "verdict %s with coverage %s of a run whose monitor died", w.verdict.Verdict, w.verdict.Coverage.State)
	w.must(len(w.execs()) > 0, "nothing of the log is left")
}

func TestAKilledRunLeavesNothingBehindAndTheEvidenceReadable(t *testing.T) {
	cmd, _, in := begin(t, options{}, "sh", "-c", "echo ready; exec sleep 30")
	mon := monitorOf(t, cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	gone(t, mon)
	w := loaded(t, in)
	if w.verdict == nil {
		t.Fatal("there is no verdict")
	}
	w.must(w.verdict.Coverage.State == "partial", "coverage is %s", w.verdict.Coverage.State)
	w.must(len(w.execs()) > 0, "nothing of the log is left")
}

func TestNoProgramStaysAttached(t *testing.T) {
	need(t, "bpftool")
	list := func() string {
		out, err := exec.Command("bpftool", "prog", "list").Output()
		if err != nil {
			t.Fatalf("bpftool prog list: %v", err)
		}
		n := 0
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "name ") {
				n++
			}
		}
		return strconv.Itoa(n)
	}
	before := list()
	run(t, options{flags: []string{"--quiet"}}, "true")
	// The kernel frees programs after a grace period.
	var after string
	for range 100 {
		if after = list(); after == before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s programs were loaded before, %s after", before, after)
}

func TestWhatWasLeftRunningIsNamed(t *testing.T) {
	w := run(t, options{}, "sh", "-c", "sleep 7.25 >/dev/null 2>&1 & exit 0")
	w.must(strings.Contains(w.stderr, "sleep"), "the survivor is not named")
}

func TestANewcomersMistakesAreAnsweredWell(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "posture.yml")
	if err := os.WriteFile(broken, []byte("version: 1\negres:\n  - \"a.example.com:443\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Run("a broken policy", func(t *testing.T) {
		w := run(t, options{flags: []string{"--intent", broken}}, "sh", "-c", "echo started")
		w.must(w.code == 125, "exit code %d, want 125", w.code)
		w.must(w.stdout == "", "the command was started")
		w.must(strings.Contains(w.stderr, broken+":2:1:") && strings.Contains(w.stderr, `"egress"`), "it does not say where, and what was meant")
	})
	t.Run("a mistyped flag", func(t *testing.T) {
		w := run(t, options{flags: []string{"--intnet", "x"}}, "sh", "-c", "echo started")
		w.must(w.code == 125, "exit code %d, want 125", w.code)
		w.must(strings.Contains(w.stderr, "did you mean --intent?"), "it does not say what was meant")
		w.must(!strings.Contains(w.stderr, "Usage:") && strings.Count(w.stderr, "\n") <= 2, "it is longer than it need be")
	})
	t.Run("no root and no sudo", func(t *testing.T) {
		in := t.TempDir()
		open(t, in)
		if err := os.Chmod(in, 0o777); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, "run", "--", "/bin/sh", "-c", "echo started")
		cmd.Dir = in
		cmd.Env = []string{"PATH=/nonexistent"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		if cmd.ProcessState.ExitCode() != 125 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "root") || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("exit code %d, stdout %q, stderr %q", cmd.ProcessState.ExitCode(), &stdout, &stderr)
		}
	})
	t.Run("no root, and a sudo that wants a password", func(t *testing.T) {
		need(t, "sudo")
		in := t.TempDir()
		open(t, in)
		if err := os.Chmod(in, 0o777); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, "run", "--", "/bin/sh", "-c", "echo started")
		cmd.Dir = in
		// Without a terminal, in a language that sudo would answer in.
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=de_DE.UTF-8"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		said := stderr.String()
		if cmd.ProcessState.ExitCode() != 125 || stdout.Len() > 0 || strings.Contains(said, "not there") ||
			!strings.Contains(said, "it wants a password, and there is no terminal") {
			t.Errorf("exit code %d, stdout %q, stderr %q", cmd.ProcessState.ExitCode(), &stdout, said)
		}
	})
	t.Run("a folder that cannot be written", func(t *testing.T) {
		w := run(t, options{flags: []string{"--out", "/proc/nowhere"}}, "sh", "-c", "echo started")
		w.must(w.code == 125 && w.stdout == "", "exit code %d, stdout %q", w.code, w.stdout)
		w.must(strings.Contains(w.stderr, "/proc/nowhere"), "it does not say which folder")
	})
	t.Run("no command", func(t *testing.T) {
		cmd := exec.Command(binary, "run")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), "run -- COMMAND") {
			t.Errorf("exit code %d, %q", cmd.ProcessState.ExitCode(), out)
		}
	})
}

// person returns an ordinary user of this machine, made for the tests.
func person(t *testing.T) *user.User {
	t.Helper()
	need(t, "sudo", "useradd")
	const name = "posture-tester"
	u, err := user.Lookup(name)
	if err != nil {
		if out, err := exec.Command("useradd", "-m", "-s", "/bin/bash", name).CombinedOutput(); err != nil {
			t.Skipf("a user for the test cannot be made: %v %s", err, out)
		}
		if u, err = user.Lookup(name); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func TestTypedUnderSudoTheCommandRunsAsTheCaller(t *testing.T) {
	u := person(t)
	in := t.TempDir()
	uid, _ := strconv.Atoi(u.Uid)
	open(t, in)
	if err := os.Chown(in, uid, -1); err != nil {
		t.Fatal(err)
	}
	allow := filepath.Join("/etc/sudoers.d", "posture-e2e")
	if err := os.WriteFile(allow, []byte(u.Username+" ALL=(ALL) NOPASSWD: ALL\n"), 0o440); err != nil {
		t.Skipf("sudo cannot be allowed for the test: %v", err)
	}
	t.Cleanup(func() { os.Remove(allow) })
	script := "id -un; echo $HOME; echo $USER; echo $PATH; cat /proc/self/loginuid >/dev/null 2>&1; echo x > made"
	for _, c := range []struct{ name, line string }{
		{"typed under sudo", "sudo " + binary + " run -- sh -c '" + script + "'"},
		{"typed without root", binary + " run -- sh -c '" + script + "'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			os.RemoveAll(filepath.Join(in, ".posture"))
			os.Remove(filepath.Join(in, "made"))
			cmd := exec.Command("sudo", "-u", u.Username, "-H", "env", "PATH=/usr/local/bin:/usr/bin:/bin:/home/special", "sh", "-c", "cd "+in+" && "+c.line)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, &stderr)
			}
			want := u.Username + "\n" + u.HomeDir + "\n" + u.Username + "\n/usr/local/bin:/usr/bin:/bin:/home/special\n"
			if stdout.String() != want {
				t.Errorf("the command saw\n%swant\n%s", &stdout, want)
			}
			for _, f := range []string{"made", ".posture", ".posture/verdict.json", ".posture/evidence", ".posture/report.html"} {
				st, err := os.Stat(filepath.Join(in, f))
				if err != nil {
					t.Errorf("%v; stderr: %s", err, &stderr)
					continue
				}
				if got := st.Sys().(*syscall.Stat_t).Uid; int(got) != uid {
					t.Errorf("%s belongs to %d, want the caller's %d", f, got, uid)
				}
			}
			w := loaded(t, in)
			w.stderr = stderr.String()
			w.complete()
		})
	}
}
