package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
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
			wait(t, cmd) // it delivers to a folder of the test's
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

// What it did after that is in no record, and a command that says all is well is
// not believed. What lies in the folder for the results may be its own.
func TestAMonitorThatEndsBeforeTheCommandIsNoPass(t *testing.T) {
	const find = `for p in $(cat /proc/$PPID/task/*/children); do
		if tr '\0' ' ' < /proc/$p/cmdline | grep -q ' [m]onitor '; then mon=$p; fi
	done
	`
	for name, script := range map[string]string{
		"it is killed, and other results are laid": `kill -KILL $mon; sleep 0.5; rm -rf .posture; mkdir .posture; echo '{"verdict":"pass"}' > .posture/verdict.json`,
	} {
		t.Run(name, func(t *testing.T) {
			in := t.TempDir()
			cmd := exec.Command(binary, "run", "--", "sh", "-c", find+script+"; exit 0")
			cmd.Dir = in
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != 3 {
				t.Errorf("exit code %d, want 3\n%s", code, out)
			}
		})
	}
	policy := filepath.Join(t.TempDir(), "p.yml")
	if err := os.WriteFile(policy, []byte("version: 1\nfail-on: never\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := run(t, options{flags: []string{"--intent", policy}}, "sh", "-c", find+"kill -KILL $mon; sleep 0.5; exit 0")
	w.must(w.code == 0, "with fail-on: never exit code %d", w.code)
}

func TestAJobThatKillsTheMonitorIsNamed(t *testing.T) {
	for _, c := range []struct {
		name, kill, exe string
	}{
		{"by a program of its own, at once", `env kill -KILL $mon`, "/kill"},
		{"by the shell that the job is", `kill -KILL $mon`, "sh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The monitor is the child of what the job is a child of.
			script := `for p in $(cat /proc/$PPID/task/*/children); do
				if tr '\0' ' ' < /proc/$p/cmdline | grep -q ' [m]onitor '; then mon=$p; fi
			done
			echo $mon > mon; ` + c.kill + `; sleep 0.5; exit 5`
			w := run(t, options{}, "sh", "-c", script)
			w.must(w.code == 5, "exit code %d, want the command's 5", w.code)
			if w.verdict == nil {
				t.Fatalf("no verdict; stderr:\n%s", w.stderr)
			}
			mon, err := os.ReadFile(filepath.Join(w.dir, "..", "mon"))
			if err != nil {
				t.Fatal(err)
			}
			var kill, gap *event.Event
			for i, e := range w.events {
				switch {
				case e.Kind == event.Kill && e.Signal == 9 && fmt.Sprint(e.Target.PID) == strings.TrimSpace(string(mon)):
					kill = &w.events[i]
				case e.Kind == event.SensorGap && strings.Contains(e.Detail.String(), "the monitor was ended by process"):
					gap = &w.events[i]
				}
			}
			if kill == nil || gap == nil {
				t.Fatalf("nobody is named: kill %v, gap %v; coverage %+v\n%s", kill, gap, w.verdict.Coverage, w.stderr)
			}
			w.must(kill.Via == event.ViaLineage && kill.Time > 0 && !kill.Actor.IsZero(), "the act is %+v", kill)
			w.must(strings.HasSuffix(kill.Exe.String(), c.exe) || c.exe == "sh" && !kill.Exe.IsZero(), "it was done by %s", kill.Exe)
			named := fmt.Sprintf("process %d %s", kill.Actor.PID, kill.Exe)
			w.must(strings.Contains(gap.Detail.String(), named) && strings.Contains(gap.Detail.String(), "signal 9"), "the gap says %q, want %q", gap.Detail, named)
			w.must(gap.To > gap.From && gap.From <= kill.Time, "the gap is from %d to %d, and it was killed at %d", gap.From, gap.To, kill.Time)
			f := w.finding("monitor-attack")
			w.must(f != nil && f.Object == "signal 9" && f.Actor.PID == kill.Actor.PID && f.Actor.Exe == kill.Exe.String(),
				"the finding is %+v", f)
			w.must(w.verdict.Verdict == judge.Fail && w.verdict.Coverage.State == "partial", "verdict %s, coverage %s", w.verdict.Verdict, w.verdict.Coverage.State)
		})
	}
}

// ps reads the environment of every process, lsof and fuser the maps of every
// one: who lists what runs does the monitor no harm. Reading its memory does.
func TestListingProcessesIsNoActOnTheMonitor(t *testing.T) {
	t.Setenv("DEPLOY_TOKEN", "canary-7f3a")
	const find = `for p in $(cat /proc/$PPID/task/*/children); do
			if tr '\0' ' ' < /proc/$p/cmdline | grep -q ' [m]onitor '; then mon=$p; fi
		done; `
	w := run(t, options{}, "sh", "-c", find+`ps aux > /dev/null; cat /proc/$mon/maps > /dev/null; tr '\0' '\n' < /proc/$mon/environ > environ`)
	w.must(w.finding("monitor-attack") == nil, "a list of processes is an act on the monitor: %+v", w.finding("monitor-attack"))
	env, err := os.ReadFile(filepath.Join(w.dir, "..", "environ"))
	w.must(err == nil && len(env) > 0 && !bytes.Contains(env, []byte("canary-7f3a")), "the monitor's environment: %v %q", err, env)
	read := 0
	for _, e := range w.events {
		if e.Kind == event.MemAccess && strings.HasSuffix(e.Path.String(), "/environ") {
			read++
		}
	}
	w.must(read > 0, "no read of an environment is told")

	w = run(t, options{}, "sh", "-c", find+`head -c 1 /proc/$mon/mem > /dev/null 2>&1; true`)
	w.must(w.finding("monitor-attack") != nil, "a read of its memory is nothing")
}

// Without root, run holds the monitor's memory all the same, but what it says
// of it is the word of a process that the job could change.
func TestACallerWithoutRootNamesTheKillerAndWhoseWordThatIs(t *testing.T) {
	u := person(t)
	in := t.TempDir()
	uid, _ := strconv.Atoi(u.Uid)
	open(t, in)
	if err := os.Chown(in, uid, -1); err != nil {
		t.Fatal(err)
	}
	allow := filepath.Join("/etc/sudoers.d", "posture-e2e-killer")
	if err := os.WriteFile(allow, []byte(u.Username+" ALL=(ALL) NOPASSWD: ALL\n"), 0o440); err != nil {
		t.Skipf("sudo cannot be allowed for the test: %v", err)
	}
	t.Cleanup(func() { os.Remove(allow) })
	script := `echo ready; while [ ! -e mon ]; do sleep 0.05; done; sudo -n kill -KILL $(cat mon); sleep 0.5`
	cmd := exec.Command("sudo", "-u", u.Username, "-H", "sh", "-c", "cd "+in+" && exec "+binary+" run -- sh -c '"+script+"'")
	var b syncBuffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.await(t, "ready\n")
	mon := monitorFor(t, in)
	if err := os.WriteFile(filepath.Join(in, "mon.new"), []byte(strconv.Itoa(mon)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(in, "mon.new"), filepath.Join(in, "mon")); err != nil {
		t.Fatal(err)
	}
	wait(t, cmd)
	w := loaded(t, in)
	w.stderr = b.String()
	if w.verdict == nil {
		t.Fatalf("no verdict; it said\n%s", w.stderr)
	}
	said := false
	for _, g := range w.verdict.Coverage.Gaps {
		said = said || strings.Contains(g.What, "/kill (kill) with signal 9") && strings.Contains(g.What, "is the word of the caller")
	}
	w.must(said, "the gaps are %+v", w.verdict.Coverage.Gaps)
	w.must(w.finding("monitor-attack") != nil, "there is no finding; all: %+v", w.verdict.Findings)
}

// monitorFor returns the pid of the monitor whose results go below a folder.
func monitorFor(t *testing.T, in string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		exe, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err == nil && bytes.Contains(cmdline, []byte("\x00monitor\x00")) && bytes.Contains(cmdline, []byte("\x00"+in+"/.posture\x00")) && !strings.Contains(exe, "sudo") {
			return pid
		}
	}
	t.Fatalf("no monitor delivers to %s", in)
	return 0
}

func TestStopNamesWhoKilledTheMonitor(t *testing.T) {
	need(t, "unshare")
	cleanly(t)
	for _, c := range []struct{ name, mount, want string }{
		{"where there is a BPF file system", "mount -t bpf bpf /sys/fs/bpf", "the monitor was ended by process"},
		{"where there is none", "umount -l /sys/fs/bpf 2>/dev/null; true", "who it was is not known: what remembers it is not in /sys/fs/bpf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := t.TempDir()
			cmd := exec.Command("unshare", "-m", "bash", "-c", c.mount+` || { echo ready; exit 9; }
				$EP start --parent $$ > s; echo ready; read mon; kill -KILL $mon; sleep 0.3
				$EP stop -q --state s; ls /sys/fs/bpf | grep edamame; exit 0`)
			cmd.Dir, cmd.Env = in, append(os.Environ(), "EP="+binary)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var b syncBuffer
			cmd.Stdout, cmd.Stderr = &b, &b
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			b.await(t, "ready\n")
			mon := 0
			if _, err := os.Stat(filepath.Join(in, "s")); err == nil {
				mon = peerOf(t, filepath.Join(in, "s"))
			}
			fmt.Fprintln(stdin, mon)
			if wait(t, cmd) == 9 {
				t.Skip("a BPF file system cannot be mounted")
			}
			w := loaded(t, in)
			w.stderr = b.String()
			if w.verdict == nil {
				t.Fatalf("no verdict: %s", w.stderr)
			}
			said := false
			for _, g := range w.verdict.Coverage.Gaps {
				said = said || strings.Contains(g.What, c.want)
			}
			w.must(said, "the gaps are %+v, want %q", w.verdict.Coverage.Gaps, c.want)
			w.must(!strings.Contains(w.stderr, "edamame-posture-"), "it was left behind: %s", w.stderr)
		})
	}
}
