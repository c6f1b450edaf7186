package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spoolFolders returns the folders of recordings and control sockets.
func spoolFolders(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/var/lib/edamame-posture")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// cleanly fails the test if it leaves a folder of a run of its own behind.
// Other tests' monitors may come and go meanwhile, so it waits.
func cleanly(t *testing.T) {
	before := spoolFolders(t)
	t.Cleanup(func() {
		var left []string
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			left = slices.DeleteFunc(spoolFolders(t), func(n string) bool { return slices.Contains(before, n) })
			if len(left) == 0 {
				return
			}
		}
		t.Errorf("left in /var/lib/edamame-posture: %v", left)
	})
}

// A job is most often the same user as the caller of run, and finds the socket
// in /proc/net/unix.
func TestAJobCannotEndItsOwnRecording(t *testing.T) {
	need(t, "python3")
	cleanly(t)
	const attack = `
import re, socket
for line in open('/proc/net/unix'):
    m = re.search(r'(/var/lib/edamame-posture/\S+/control)', line)
    if not m: continue
    try:
        s = socket.socket(socket.AF_UNIX); s.settimeout(3); s.connect(m[1]); f = s.makefile('rw')
        for op in ('close', 'discard'):
            f.write('{"op":"%s","close":{"exit":0}}\n' % op); f.flush(); f.readline()
    except OSError: pass
`
	w := run(t, options{flags: []string{"--quiet"}}, "sh", "-c", "python3 -c \"$1\"; /bin/echo AFTERWARDS >/dev/null", "sh", attack)
	w.must(anyContains(w.execs(), "echo AFTERWARDS"), "what came after the attack is not in the log: %q", w.execs())
	w.complete()
}

func TestBrokenStderrLosesNeitherResultsNorExitCode(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(t *testing.T) *os.File
	}{
		{"a pipe that nobody reads", func(t *testing.T) *os.File {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			return w
		}},
		{"a device that is full", func(t *testing.T) *os.File {
			f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cleanly(t)
			in := t.TempDir()
			cmd := exec.Command(binary, "run", "--", "sh", "-c", "exit 4")
			f := c.open(t)
			defer f.Close()
			cmd.Dir, cmd.Stderr = in, f
			_ = cmd.Run()
			w := loaded(t, in)
			w.must(cmd.ProcessState.ExitCode() == 4, "it ended with %v, want the command's 4", cmd.ProcessState)
			w.complete()
		})
	}
}

func TestResultsSurviveWhatACommandDoesToTheirFolder(t *testing.T) {
	for _, c := range []struct{ name, script, where string }{
		{"removed", "rm -rf .posture", ".posture"},
		{"filled with a verdict of its own", "echo '{}' > .posture/verdict.json", ".posture"},
		{"replaced by a link", "rm -rf .posture; ln -s \"$PWD/elsewhere\" .posture", ".posture.1"},
		{"replaced by another folder", "rm -rf .posture; mkdir .posture; echo x > .posture/other", ".posture.1"},
		{"replaced by a file", "rm -rf .posture; echo x > .posture", ".posture.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cleanly(t)
			in := t.TempDir()
			elsewhere := filepath.Join(in, "elsewhere")
			if err := os.Mkdir(elsewhere, 0o777); err != nil {
				t.Fatal(err)
			}
			out := run(t, options{in: in}, "sh", "-c", c.script+"; exit 4")
			w := &watched{t: t, dir: filepath.Join(in, c.where), stderr: out.stderr, code: out.code}
			w.load()
			w.must(w.code == 4, "exit code %d, want 4", w.code)
			if c.where != ".posture" {
				w.must(strings.Contains(w.stderr, "the results are in "+w.dir), "it does not say where the results are")
			}
			w.complete()
			if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
				t.Errorf("the link was written through: %v, %v", entries, err)
			}
		})
	}
}

func TestTwoRunsInOneFolderAtOnceBothDeliver(t *testing.T) {
	cleanly(t)
	in := t.TempDir()
	first := exec.Command(binary, "run", "--quiet", "--", "sh", "-c", "echo ready; read x")
	first.Dir = in
	hold, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(ready, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	run(t, options{in: in, flags: []string{"--quiet"}}, "sh", "-c", "exit 6").complete()
	hold.Close()
	wait(t, first)
	codes := map[int]bool{}
	for _, name := range []string{".posture", ".posture.1"} {
		w := &watched{t: t, dir: filepath.Join(in, name)}
		w.load()
		w.complete()
		codes[w.verdict.Run.Command.Exit] = true
	}
	if !codes[6] || len(codes) != 2 {
		t.Errorf("the results are of commands that ended with %v", codes)
	}
}

func TestWhatACommandIsGivenIsWhatItsCallerGave(t *testing.T) {
	cleanly(t)
	in := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	// A variable given twice, one without a value's sign, and bytes that are no UTF-8.
	env := []string{"A=1", "A=2", "NOEQ", "PATH=/usr/bin:/bin", "B=\xff\xfe\x1b[0m"}
	script := "cat /proc/self/environ; cat /proc/self/limits; grep -E '^(Sig(Blk|Ign)|Umask|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; ls /proc/self/fd; nice; ps -o pgid= -o sid= -o tty= -p $$ | wc -w"
	see := func(argv ...string) string {
		t.Helper()
		// The shell lowers what can be lowered, and ignores two signals.
		argv = append([]string{"-c", "ulimit -Sn 300; ulimit -c 0; umask 027; trap '' HUP INT; exec \"$@\"", "sh"}, argv...)
		attr := &os.ProcAttr{Dir: in, Env: env, Files: []*os.File{nil, w, os.Stderr, r}}
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		attr.Files[0] = null
		p, err := os.StartProcess("/bin/sh", append([]string{"sh"}, argv...), attr)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := p.Wait(); err != nil || !st.Success() {
			t.Fatalf("%v, %v", st, err)
		}
		b := make([]byte, 1<<16)
		n, err := r.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	want := see("/bin/sh", "-c", script)
	if got := see(binary, "run", "--quiet", "--", "/bin/sh", "-c", script); got != want {
		t.Errorf("watched, a command sees\n%q\nwithout\n%q", got, want)
	}
	// The kernel's own copy, as no shell has touched it.
	for _, argv := range [][]string{{"/usr/bin/env", "-0"}, {binary, "run", "--quiet", "--", "/usr/bin/env", "-0"}} {
		p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Dir: in, Env: env, Files: []*os.File{os.Stdin, w, os.Stderr}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := r.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b[:n]); got != strings.Join(env, "\x00")+"\x00" {
			t.Errorf("%s: the environment is %q", filepath.Base(argv[0]), got)
		}
	}
}

func TestCommandLinesThatAreHardToTell(t *testing.T) {
	t.Run("1.7 MB that is not UTF-8", func(t *testing.T) {
		cleanly(t)
		argv := []string{"/bin/echo"}
		for range 17 {
			argv = append(argv, strings.Repeat("\xff\x1b", 50_000))
		}
		w := run(t, options{flags: []string{"--quiet"}}, argv...)
		w.must(w.code == 0 && len(w.stdout) == 17*100_001, "exit code %d, %d bytes came out", w.code, len(w.stdout))
		w.complete()
	})
	t.Run("a script without an interpreter line", func(t *testing.T) {
		in := t.TempDir()
		if err := os.WriteFile(filepath.Join(in, "plain"), []byte("echo \"$1\"; exit 7\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		w := run(t, options{in: in, flags: []string{"--quiet"}}, "./plain", "an argument")
		w.must(w.code == 7 && w.stdout == "an argument\n", "exit code %d, stdout %q", w.code, w.stdout)
	})
	t.Run("no PATH", func(t *testing.T) {
		w := run(t, options{flags: []string{"--quiet"}, argv0: []string{"/usr/bin/env", "-u", "PATH"}}, "true")
		w.must(w.code == 0, "exit code %d", w.code)
	})
	t.Run("an interpreter that is not there", func(t *testing.T) {
		cleanly(t)
		in := t.TempDir()
		if err := os.WriteFile(filepath.Join(in, "bad"), []byte("#!/no/such\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		w := run(t, options{in: in}, "./bad")
		w.must(w.code == 127, "exit code %d, want 127", w.code)
	})
	t.Run("a working directory that was removed", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "results")
		script := `mkdir "$1" && cd "$1" && rmdir "$1"; "$2" run -- true; echo $?; "$2" run --quiet --out "$3" -- true; echo $?`
		b, _ := exec.Command("sh", "-c", script, "sh", filepath.Join(t.TempDir(), "gone"), binary, out).CombinedOutput()
		if s := string(b); !strings.HasSuffix(s, "\n125\n0\n") || !strings.Contains(s, "--out") {
			t.Errorf("it said %s", s)
		}
	})
}

// A job with root that stops the monitor does not thereby make run wait.
func TestAMonitorThatAJobStoppedGoesOnAtTheEnd(t *testing.T) {
	cleanly(t)
	cmd, stderr, in := begin(t, options{}, "sh", "-c", "echo ready; exec sleep 3")
	mon := monitorOf(t, cmd.Process.Pid)
	if err := syscall.Kill(mon, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if code := wait(t, cmd); code != 0 && code != 3 {
		t.Errorf("exit code %d", code)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
	w := loaded(t, in)
	w.stderr = stderr.String()
	if w.verdict == nil {
		t.Fatalf("no verdict: %s", w.stderr)
	}
	w.must(w.verdict.Coverage.State == "partial", "coverage is %s", w.verdict.Coverage.State)
	w.must(len(w.execs()) > 0, "nothing of the log is left")
}

// shell is a script in which EP is the binary, run in a folder of its own.
func shell(t *testing.T, script string) (in, out string) {
	t.Helper()
	in = t.TempDir()
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir, cmd.Env = in, append(os.Environ(), "EP="+binary)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	cmd.WaitDelay = 30 * time.Second
	_ = cmd.Run()
	return in, b.String()
}

func TestMisuseOfStartAndStop(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"stopped twice", `$EP start --parent $$ > s; $EP stop -q --state s; echo code $?; $EP stop -q --state s; echo code $?`, "code 0\ncode 4\n"},
		{"a state that is no JSON", `echo garbage > s; $EP stop --state s; echo code $?`, "code 2\n"},
		{"a state that is another's", `echo '{}' > s; $EP stop --state s; echo code $?`, "code 2\n"},
		{"a parent that is no ancestor", `sleep 5 >/dev/null 2>&1 & $EP start --parent $!; echo code $?; kill $!`, "code 1\n"},
		{"a parent that is not there", `$EP start --parent 4194303; echo code $?`, "code 1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cleanly(t)
			_, out := shell(t, c.script)
			var codes string
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "code ") {
					codes += line
				}
			}
			if codes != c.want {
				t.Errorf("want %q, it said\n%s", c.want, out)
			}
		})
	}
}

func TestStopHandsOverWhatAKilledMonitorSaw(t *testing.T) {
	cleanly(t)
	in := t.TempDir()
	cmd := exec.Command("bash", "-c", `$EP start --parent $$ > s; /bin/echo SEEN > /dev/null; echo ready; read x; $EP stop -q --state s; echo code $?`)
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
	mon := peerOf(t, filepath.Join(in, "s"))
	checkpointed(t, mon)
	if err := syscall.Kill(mon, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, mon)
	fmt.Fprintln(stdin)
	wait(t, cmd)
	w := loaded(t, in)
	w.stderr = b.String()
	if w.verdict == nil {
		t.Fatalf("no verdict: %s", w.stderr)
	}
	const code = "code 3" // what was done after that is in no record
	w.must(strings.Contains(w.stderr, code) && strings.Contains(w.stderr, "before its time"), "want %s, it said %s", code, w.stderr)
	w.must(w.verdict.Coverage.State == "partial" && w.verdict.Verdict != "pass", "verdict %s, coverage %s", w.verdict.Verdict, w.verdict.Coverage.State)
	w.must(anyContains(w.execs(), "echo SEEN"), "what was seen before is not there: %q", w.execs())
}

// peerOf returns the pid of the monitor that a state file tells of.
func peerOf(t *testing.T, state string) int {
	t.Helper()
	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Socket string }
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	if err := raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	}); err != nil || pid == 0 {
		t.Fatalf("who listens is not known: %v", err)
	}
	return pid
}

// Another user must not get at a watch that outlives its client, nor the job.
func TestOnlyRootSpeaksToADetachedMonitor(t *testing.T) {
	need(t, "/usr/bin/python3", "setpriv")
	cleanly(t)
	_, out := shell(t, `$EP start --parent $$ > s
setpriv --reuid 65534 --clear-groups /usr/bin/python3 -c "
import json, socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])
try:
    s.sendall(b'{\"op\":\"close\",\"close\":{}}\n'); print('answer', len(s.recv(100)))
except OSError as e: print('answer 0')
" "$(sed 's/.*"socket":"\([^"]*\)".*/\1/' s)"
/usr/bin/python3 - >/dev/null 2>&1 <<'P' &
import json, socket, time
s = socket.socket(socket.AF_UNIX); s.connect(json.load(open('s'))['socket']); s.sendall(b'garbage'); time.sleep(20)
P
held=$!
$EP stop -q --state s; echo code $?
kill $held`)
	if !strings.Contains(out, "answer 0") || !strings.Contains(out, "code 0") {
		t.Errorf("it said\n%s", out)
	}
}

// syncBuffer collects output of a command that still runs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) await(t *testing.T, what string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(s.String(), what) {
			return
		}
	}
	t.Fatalf("no %q in %s", what, s)
}

// terminal is a shell at a terminal, as a person has it.
type terminal struct {
	t      *testing.T
	master *os.File
	out    syncBuffer
}

func newTerminal(t *testing.T, in string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd := exec.Command("bash", "--norc", "-i")
	cmd.Dir, cmd.Env = in, append(os.Environ(), "EP="+binary, "PS1=$ ", "TERM=dumb")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, master: master}
	go func() { _, _ = io.Copy(&term.out, master) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGHUP)
		master.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return term
}

// typed sends keys and waits until the terminal shows what is awaited. What is
// awaited must not be among the keys, which are shown too.
func (x *terminal) typed(keys, awaited string) {
	x.t.Helper()
	if _, err := x.master.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
	x.out.await(x.t, awaited)
}

func TestCtrlCEndsALoopOfTheShellAround(t *testing.T) {
	cleanly(t)
	x := newTerminal(t, t.TempDir())
	x.typed("bash -c 'for i in 1 2 3; do $EP run -q -- sh -c \"echo in\\$((40+2)); exec sleep 20\"; echo next; done'; echo after$((40+2))\n", "in42")
	x.typed("\x03", "$ ")
	x.typed("echo ended$((40+2))\n", "ended42")
	if strings.Contains(x.out.String(), "\nnext") {
		t.Errorf("the loop went on:\n%s", x.out.String())
	}
}

func TestAnInteractiveShellAsTheCommandCanBeSuspended(t *testing.T) {
	cleanly(t)
	in := t.TempDir()
	x := newTerminal(t, in)
	x.typed("$EP run -q -- bash --norc -i\n", "$ ")
	x.typed("echo inside$((40+2))\n", "inside42")
	x.typed("suspend\n", "Stopped")
	x.typed("echo outside$((40+2))\n", "outside42")
	x.typed("fg\n", "bash --norc -i\r\n")
	x.typed("echo again$((40+2))\n", "again42")
	x.typed("exit 9\n", "exit\r\n")
	x.typed("echo code $?$?\n", "code 99")
	loaded(t, in).complete()
}
