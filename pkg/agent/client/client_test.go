package client

import (
	"bufio"
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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// folder returns a folder as a monitor has it.
func folder(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: the folder of the monitors' sockets must be root's: sudo -E go test ./pkg/agent/client")
	}
	dir := filepath.Join(t.TempDir(), "agents")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unhurried is the patience of tests that want to see what arrives.
const unhurried = 10 * time.Second

// said is one message as a monitor got it.
type said struct {
	header, payload string
}

// monitor listens as a monitor does and answers with answer, not at all where
// that is empty.
func monitor(t testing.TB, folder string, pid int, answer string) <-chan said {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(folder, strconv.Itoa(pid)+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got := make(chan said, 64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				header, _ := r.ReadString('\n')
				var version, agent, huge string
				var length int
				_, _ = fmt.Sscan(header, &version, &agent, &length, &huge)
				payload := make([]byte, length)
				n, _ := io.ReadFull(r, payload)
				got <- said{strings.TrimSuffix(header, "\n"), string(payload[:n])}
				if answer == "" {
					_, _ = io.Copy(io.Discard, r) // until the client has had enough
					return
				}
				_, _ = io.WriteString(c, answer)
			}()
		}
	}()
	return got
}

// pipe returns the reading end of a pipe into which text is written; it is
// closed then, unless it is to stay open.
func pipe(t *testing.T, text string, stays bool) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	go func() {
		_, _ = io.WriteString(w, text)
		if !stays {
			w.Close()
		}
	}()
	return r
}

func next(t *testing.T, got <-chan said) said {
	t.Helper()
	select {
	case s := <-got:
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("no message came")
		return said{}
	}
}

func TestThePayloadArrivesAsTheAgentGaveIt(t *testing.T) {
	payload := "{\"a\": \"}\\\"{\",\n  \"b\": [1, {}]}\n"
	for _, c := range []struct {
		name, argument, stdin string
		stays                 bool
		want                  string
	}{
		{"on standard input", "", payload, false, payload},
		{"on an input that never ends", "", payload, true, payload},
		{"as last argument", payload, "not this", false, payload},
		{"not JSON", "", "anything at all", false, "anything at all"},
		{"as large as it may be", "", strings.Repeat("x", MaxPayload), false, strings.Repeat("x", MaxPayload)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			got := monitor(t, dir, 4711, "ok\n")
			tell(dir, "codex", c.argument, pipe(t, c.stdin, c.stays), unhurried)
			s := next(t, got)
			if s.payload != c.want {
				t.Errorf("%d bytes came, want %d: %.80q", len(s.payload), len(c.want), s.payload)
			}
			if want := "edamame-hook/1 codex " + strconv.Itoa(len(c.want)); s.header != want {
				t.Errorf("header %q, want %q", s.header, want)
			}
		})
	}
}

func TestAPayloadBeyondTheBoundIsSaidToBeHuge(t *testing.T) {
	for _, size := range []int{MaxPayload + 1, 3 * MaxPayload} {
		dir := folder(t)
		got := monitor(t, dir, 4711, "ok\n")
		tell(dir, "gemini", "", pipe(t, strings.Repeat("x", size), false), unhurried)
		if s := next(t, got); s.header != "edamame-hook/1 gemini 0 huge" || s.payload != "" {
			t.Errorf("of %d bytes: header %q, %d bytes of payload", size, s.header, len(s.payload))
		}
	}
}

func TestEveryMonitorIsToldUpToEight(t *testing.T) {
	dir := folder(t)
	var all []<-chan said
	for pid := 1; pid <= maxMonitors+2; pid++ {
		all = append(all, monitor(t, dir, pid, "ok\n"))
	}
	tell(dir, "copilot", "{}", nil, unhurried)
	told := 0
	for _, got := range all {
		select {
		case <-got:
			told++
		default:
		}
	}
	if told != maxMonitors {
		t.Errorf("%d monitors were told, want %d", told, maxMonitors)
	}
}

// Sockets whose monitors are gone cost nothing and hide nobody.
func TestWhatDeadMonitorsLeftIsPassedOver(t *testing.T) {
	dir := folder(t)
	for pid := 100; pid < 130; pid++ {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, strconv.Itoa(pid)+".sock"), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	for _, name := range []string{"x.sock", "007.sock", "-1.sock", "99999999999999999999.sock", "5"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if names := sockets(dir); len(names) != 30 || names[0] != "129.sock" {
		t.Errorf("%d names, first %q", len(names), names[0])
	}
	got := monitor(t, dir, 50, "ok\n")
	tell(dir, "codex", "{}", nil, unhurried)
	next(t, got)
}

// The bound holds for what does not answer, in whatever way. The test waits for
// the client's end, and its own deadline is far off: a busy machine cannot make it fail.
func TestNobodyHoldsTheAgentUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		there func(t *testing.T, dir string)
		stdin func(t *testing.T) *os.File
	}{
		{"a monitor that does not answer", func(t *testing.T, dir string) { monitor(t, dir, 1, "") }, nil},
		{"a monitor that answers without an end", func(t *testing.T, dir string) { monitor(t, dir, 1, "no ") }, nil},
		{"a monitor that accepts nobody and whose queue is full", full, nil},
		{"an input on which nothing comes", func(t *testing.T, dir string) { monitor(t, dir, 1, "ok\n") },
			func(t *testing.T) *os.File { return pipe(t, "", true) }},
		{"an input that says half of something", func(t *testing.T, dir string) { monitor(t, dir, 1, "ok\n") },
			func(t *testing.T) *os.File { return pipe(t, `{"a": `, true) }},
		{"an input without an end", func(t *testing.T, dir string) { monitor(t, dir, 1, "ok\n") },
			func(t *testing.T) *os.File {
				f, err := os.Open("/dev/zero")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				return f
			}},
		{"no input at all", func(t *testing.T, dir string) { monitor(t, dir, 1, "ok\n") },
			func(*testing.T) *os.File { return nil }},
		{"a socket without a monitor", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "1.sock"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			c.there(t, dir)
			payload, stdin := "{}", (*os.File)(nil)
			if c.stdin != nil {
				payload, stdin = "", c.stdin(t)
			}
			done := make(chan struct{})
			go func() { defer close(done); tell(dir, "codex", payload, stdin, Patience) }()
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				t.Fatal("the client still waits after 30 s")
			}
		})
	}
}

// Where the client had no time left to wait, what it said is said all the same.
func TestAMonitorThatComesLateStillHearsIt(t *testing.T) {
	dir := folder(t)
	l, err := net.Listen("unix", filepath.Join(dir, "1.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	payload := strings.Repeat("x", 64<<10)
	tell(dir, "codex", payload, nil, 0)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if want := fmt.Sprintf("edamame-hook/1 codex %d\n%s", len(payload), payload); err != nil || string(got) != want {
		t.Errorf("%d bytes came, want %d, %v", len(got), len(want), err)
	}
}

// full is a listener whose queue has no place left.
func full(t *testing.T, dir string) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	path := filepath.Join(dir, "1.sock")
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 64 {
		fd := connect(path, time.Now())
		if fd < 0 {
			return
		}
		t.Cleanup(func() { syscall.Close(fd) })
	}
	t.Fatal("the queue takes anything")
}

func TestAFolderThatIsNotRootsIsNotSpokenTo(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"another user's":        func(dir string) error { return os.Chown(dir, 12345, 0) },
		"in another user's":     func(dir string) error { return os.Chown(filepath.Dir(dir), 12345, 0) },
		"open to a group":       func(dir string) error { return os.Chmod(dir, 0o775) },
		"open to all":           func(dir string) error { return os.Chmod(dir, 0o777) },
		"in one open to all":    func(dir string) error { return os.Chmod(filepath.Dir(dir), 0o777) },
		"a link to such folder": func(dir string) error { return errors.Join(os.Rename(dir, dir+".d"), os.Symlink(dir+".d", dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			got := monitor(t, dir, 1, "ok\n")
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			tell(dir, "codex", "{}", nil, unhurried)
			select {
			case s := <-got:
				t.Errorf("it was told %q", s.header)
			default:
			}
		})
	}
}

func TestWithoutAMonitorNothingIsRead(t *testing.T) {
	in := pipe(t, "{}", false)
	tell(filepath.Join(t.TempDir(), "none"), "codex", "", in, unhurried)
	if rest, err := io.ReadAll(in); err != nil || string(rest) != "{}" {
		t.Errorf("%q is left, %v", rest, err)
	}
}

func TestOnlyAgentsThatNeedAnAnswerGetOne(t *testing.T) {
	for _, agent := range append(Agents(), "no-such-agent", "") {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		hook(t.TempDir(), []string{agent, "{}"}, nil, out)
		text, err := os.ReadFile(out.Name())
		out.Close()
		if err != nil {
			t.Fatal(err)
		}
		if want := slices.Contains([]string{"gemini", "cursor"}, agent); want != (len(text) > 0) || want && !json.Valid(text) {
			t.Errorf("%s: it says %q", agent, text)
		}
	}
	hook(t.TempDir(), nil, nil, os.Stdout)
}

func TestAnAnswerThatNobodyReadsIsNoReasonToFail(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd := exec.Command(program(t), "gemini", "{}")
	cmd.Stdout = w
	err = cmd.Run()
	w.Close()
	if err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// program builds the hook.
func program(t testing.TB) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "edamame-hook")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -E edamame_hook_start", "-o", to, "../../../cmd/edamame-hook")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return to
}

func FuzzArguments(f *testing.F) {
	f.Add("codex", `{"type":"agent-turn-complete"}`, 2)
	f.Add("claude-code", "", 1)
	f.Add("--help", "install", 2)
	f.Add("", "", 0)
	f.Fuzz(func(t *testing.T, first, last string, n int) {
		var args []string
		for i := range max(0, min(n, 6)) {
			args = append(args, map[bool]string{true: first, false: last}[i == 0])
		}
		agent, payload, ok := arguments(args)
		if ok != (len(args) > 0 && Known(first)) {
			t.Fatalf("%q: %v", args, ok)
		}
		if ok && (agent != first || len(args) > 1 && payload != last || len(args) == 1 && payload != "") {
			t.Fatalf("%q: agent %q, payload %q", args, agent, payload)
		}
	})
}

// Where an object ends for shape, the decoder of the standard library says so too.
func FuzzShape(f *testing.F) {
	for _, s := range []string{`{}`, ` {"a":"\"}"} `, `{"a":[{}]}x`, `[1,2]`, `"{"`, `{`, `{"a":"\\"}`, "\x00{}"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		var whole Shape
		ended := whole.Feed([]byte(text))
		var pieces Shape
		at := max(0, min(cut, len(text)))
		pieces.Feed([]byte(text[:at]))
		if got := pieces.Feed([]byte(text[at:])); got != ended {
			t.Fatalf("in pieces %v, at once %v", got, ended)
		}
		dec := json.NewDecoder(strings.NewReader(text))
		var v map[string]any
		if dec.Decode(&v) == nil && v != nil && !ended {
			t.Fatalf("%q holds an object, and its end was not seen", text)
		}
	})
}

// BenchmarkHook is what an agent waits for: the program's start, its way to a
// monitor that answers at once, and its end. On a quiet machine p95-ms is below
// 10; cpu-ms does not depend on how busy it is.
func BenchmarkHook(b *testing.B) {
	payload, err := os.ReadFile("testdata/PreToolUse.json")
	if err != nil {
		b.Fatal(err)
	}
	path := program(b)
	for _, beside := range []string{"another program", "no monitor", "a monitor"} {
		b.Run(strings.ReplaceAll(beside, " ", "-"), func(b *testing.B) {
			if beside == "a monitor" {
				if os.Geteuid() != 0 {
					b.Skip("SKIP: the monitors' folder is root's")
				}
				if err := os.MkdirAll(Folder, 0o755); err != nil {
					b.Fatal(err)
				}
				monitor(b, Folder, os.Getpid(), "ok\n")
			}
			var took []time.Duration
			var worked time.Duration
			for b.Loop() {
				cmd := exec.Command(path, "claude-code")
				if beside == "another program" { // what a start costs on this machine
					cmd = exec.Command("/bin/true")
				}
				cmd.Stdin = bytes.NewReader(payload)
				begin := time.Now()
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
				worked += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
			b.ReportMetric(float64(worked.Microseconds())/1000/float64(len(took)), "cpu-ms")
		})
	}
}
