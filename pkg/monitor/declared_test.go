package monitor

import (
	"bufio"
	"bytes"
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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/agent"
	carriedhook "github.com/org/edamame-posture/pkg/agent/program"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
)

func TestTheFirstLineSaysWhatComes(t *testing.T) {
	for _, c := range []struct {
		sent, name, payload string
		huge                bool
	}{
		{"edamame-hook/1 codex 2\n{}", "codex", "{}", false},
		{"edamame-hook/1 gemini 0\n", "gemini", "", false},
		{"edamame-hook/1 cursor 0 huge\n", "cursor", "", true},
		{"edamame-hook/1 claude-code 2\n{}more", "claude-code", "{}", false},
	} {
		name, payload, err := readDeclared(strings.NewReader(c.sent))
		if err != nil || name != c.name || string(payload) != c.payload || (payload == nil) != c.huge {
			t.Errorf("%q: %q %q %v", c.sent, name, payload, err)
		}
	}
	for _, sent := range []string{
		"", "\n", "edamame-hook/1 codex 2", "edamame-hook/2 codex 2\n{}", "edamame-hook/1 other 2\n{}", "edamame-hook/1 codex -1\n",
		"edamame-hook/1 codex 1048577\n", "edamame-hook/1 codex 3\n{}", "edamame-hook/1 codex 2 huge\n{}", "edamame-hook/1 codex 0 large\n",
		"edamame-hook/1 codex\n", "edamame-hook/1 codex 2 huge more\n", "edamame-hook/1 " + strings.Repeat("x", 200) + " 2\n{}", "edamame-hook/1  codex 2\n{}",
	} {
		if _, _, err := readDeclared(strings.NewReader(sent)); err == nil {
			t.Errorf("%.60q is taken", sent)
		}
	}
}

func FuzzFirstLine(f *testing.F) {
	f.Add([]byte("edamame-hook/1 codex 2\n{}"))
	f.Add([]byte("edamame-hook/1 cursor 0 huge\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		name, payload, err := readDeclared(bytes.NewReader(sent))
		if err == nil && (name == "" || len(payload) > agent.MaxPayload || len(payload) > len(sent)) {
			t.Errorf("%q %d", name, len(payload))
		}
	})
}

// say declares from this process, and returns what it is answered.
func say(m *Monitor, sent string) (string, error) {
	c, err := net.Dial("unix", m.declared.path)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, sent); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func framed(payload string) string {
	return fmt.Sprintf("edamame-hook/1 claude-code %d\n%s", len(payload), payload)
}

func TestWhoIsNotRecordedDeclaresNothing(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	r := opened(t, m, "test")
	// This process is the recording's client, and no part of it.
	got, err := say(m, framed(`{"hook_event_name":"SessionStart","session_id":"12345678"}`))
	if err != nil || !strings.HasPrefix(got, "no ") {
		t.Errorf("answered %q, %v", got, err)
	}
	if got, err = say(m, "GET / HTTP/1.1\r\n\r\n"); err != nil || !strings.HasPrefix(got, "no ") {
		t.Errorf("answered %q, %v", got, err)
	}
	m.finish(r, Closing{}, "")
	for _, ev := range events(t, r) {
		if ev.Kind == event.Agent {
			t.Errorf("the log has %+v", ev)
		}
	}
}

// A flood of declarations takes nothing from the record, and what found no room
// is counted.
func TestAFloodOfDeclarationsIsBoundedAndCounted(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	r := opened(t, m, "test")
	held := make([]net.Conn, 0, 4*maxDeclaring)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 4 * maxDeclaring {
		all.Go(func() {
			if c, err := net.Dial("unix", m.declared.path); err == nil {
				mu.Lock()
				held = append(held, c)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	perform(t, "beside-the-flood")
	for _, c := range held {
		c.Close()
	}
	m.finish(r, Closing{}, "")
	var ran, counted bool
	for _, ev := range events(t, r) {
		for _, a := range ev.Argv {
			ran = ran || ev.Kind == event.Exec && a.Contains("beside-the-flood")
		}
		counted = counted || ev.Kind == event.Note && ev.Detail.HasPrefix("declarations that found no room") && ev.Count >= 2*maxDeclaring
	}
	if !ran || !counted {
		t.Errorf("the command was seen: %v; the flood was counted: %v", ran, counted)
	}
}

// floodVariable makes the test's program one that floods a socket with
// connections on which it says nothing whole, as the user that it names.
const floodVariable = "POSTURE_TEST_FLOOD"

// flood holds more connections than a process may, and makes a new one for each
// that is taken away, until its input ends.
func flood(path, user string) error {
	uid, err := strconv.Atoi(user)
	if err != nil {
		return err
	}
	if err := syscall.Setuid(uid); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	var held [2 * maxDeclaringOf]net.Conn
	for i := 0; ; i++ {
		at := i % len(held)
		if held[at] != nil {
			_, _ = io.Copy(io.Discard, held[at])
			held[at].Close()
		}
		if held[at], err = net.Dial("unix", path); errors.Is(err, os.ErrNotExist) {
			return nil // the monitor has ended
		} else if err != nil {
			return err
		}
		_, _ = io.WriteString(held[at], "edamame-hook/1 ")
		if i == 2*len(held) {
			fmt.Println("flooding")
		}
	}
}

// Who floods the socket, a process or a user, keeps nobody else from being heard.
func TestAFloodStarvesNobodyElse(t *testing.T) {
	for _, c := range []struct {
		name      string
		user      string
		processes int
	}{{"by a process of the same user", "0", 1}, {"by processes of another user", "65534", maxDeclaring/maxDeclaringOf + 2}} {
		t.Run(c.name, func(t *testing.T) {
			m := started(t, "auto")
			defer m.Close()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			for range c.processes {
				cmd := exec.Command(self, m.declared.path)
				cmd.Env = append(os.Environ(), floodVariable+"="+c.user)
				cmd.Stderr = os.Stderr
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
				if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
					t.Fatalf("%q %v", line, err)
				}
			}
			for i := range 50 {
				if got, err := say(m, framed(`{"hook_event_name":"SessionStart","session_id":"12345678"}`)); err != nil || got != "no the process is not recorded\n" {
					t.Fatalf("the %dth of them was answered %q, %v", i+1, got, err)
				}
			}
			var turned uint64
			m.locked(func() { turned = m.turnedAway })
			if turned == 0 {
				t.Error("it was no flood")
			}
		})
	}
}

func TestWhoGivesWay(t *testing.T) {
	d := &declarations{}
	add := func(uid, pid uint32) (*declaring, bool, bool) {
		here, there, err := pair()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { here.Close(); there.Close() })
		p := &declaring{c: here, who: speaker{pid: pid, uid: uid, pidfd: -1}}
		admitted, turned := d.admit(p)
		return p, admitted, turned
	}
	flooded := func(uid uint32, n int) (all []*declaring) {
		for i := range n {
			p, _, _ := add(uid, 1000*uid+uint32(i))
			all = append(all, p)
		}
		return all
	}
	// One user has as much as one may; the oldest of theirs gives way, and others have room.
	all := flooded(7, maxDeclaringBy)
	if _, admitted, turned := add(7, 1); !admitted || !turned || d.heard(all[0]) || !d.heard(all[1]) {
		t.Errorf("admitted %v, turned %v", admitted, turned)
	}
	if _, admitted, turned := add(8, 2); !admitted || turned {
		t.Errorf("another user's: admitted %v, turned %v", admitted, turned)
	}
	// Who was heard does not give way.
	for _, p := range d.open {
		p.said = true
	}
	if _, admitted, turned := add(7, 3); admitted || !turned {
		t.Errorf("where all were heard: admitted %v, turned %v", admitted, turned)
	}
	for len(d.open) > 0 {
		d.leave(d.open[0])
	}
	// A process gives way to itself.
	for range maxDeclaringOf {
		add(9, 9)
	}
	if _, admitted, turned := add(9, 9); !admitted || !turned || len(d.open) != maxDeclaringOf {
		t.Errorf("a process: admitted %v, turned %v, %d open", admitted, turned, len(d.open))
	}
	// Where there is no room at all the user with the most gives way.
	flooded(7, maxDeclaringBy)
	p, admitted, turned := add(8, 2)
	if !admitted || !turned || !d.heard(p) || len(d.open) != maxDeclaring {
		t.Errorf("a full socket: admitted %v, turned %v, %d open", admitted, turned, len(d.open))
	}
}

// pair returns two ends of a connection.
func pair() (here, there *net.UnixConn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			return nil, nil, err
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1], nil
}

// Who had waited enough and is gone is still who spoke, and who has the pid since
// is not.
func TestWhoSpokeAndIsGone(t *testing.T) {
	at := func(start, ended int64) *process.Process {
		return &process.Process{Actor: event.Actor{PID: 7, Start: start}, Ended: ended, Alive: ended == 0}
	}
	coarse := at(90, 0)
	coarse.Coarse = true
	for _, c := range []struct {
		name string
		seen int64
		p    *process.Process
		want bool
	}{
		{"it lives", 100, at(50, 0), true},
		{"it ended after it was seen", 100, at(50, 120), true},
		{"it ended before", 100, at(50, 99), false},
		{"another one that began since", 100, at(101, 0), false},
		{"one of which nobody knows when exactly it began", 100, coarse, false},
		{"it was never seen", 0, at(50, 0), false},
	} {
		if got := (speaker{pid: 7, seen: c.seen}).was(c.p); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestTheSocketGoesWithItsMonitor(t *testing.T) {
	m := started(t, "auto")
	path := m.declared.path
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("%v %v", st, err)
	}
	m.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	// One that a killed monitor left.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := socketFolder(AgentsFolder); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was not swept: %v", err)
	}
}

// What a hook waits for the monitor: it is not recorded, which is found out last.
func BenchmarkDeclare(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("watching from the kernel needs root")
	}
	m, err := Start(b.Context(), Options{Sensor: "auto", Tool: "test"})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	payload := framed(`{"hook_event_name":"UserPromptSubmit","session_id":"12345678","prompt":"x"}`)
	for b.Loop() {
		if _, err := say(m, payload); err != nil {
			b.Fatal(err)
		}
	}
}

// What an agent waits for its hook beside an idle monitor with a recording: the
// program's start, the monitor's answer and the program's end. On a quiet machine
// p95-ms is below 10; cpu-ms, the hook's own, does not depend on how busy it is.
func BenchmarkHookBesideTheMonitor(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("watching from the kernel needs root")
	}
	data, err := carriedhook.Hook()
	if err != nil {
		b.Fatal(err)
	}
	hook := filepath.Join(b.TempDir(), "edamame-hook")
	if err := os.WriteFile(hook, data, 0o755); err != nil {
		b.Fatal(err)
	}
	m, err := Start(b.Context(), Options{Sensor: "auto", Tool: "test"})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	r, err := m.Open(Opening{Command: []string{"test"}, Cwd: "/", Home: "/root"}, uint32(os.Getpid()))
	if err != nil {
		b.Fatal(err)
	}
	defer m.finish(r, Closing{}, "")
	var took []time.Duration
	var worked time.Duration
	for b.Loop() {
		cmd := exec.Command(hook, "claude-code")
		cmd.Stdin = strings.NewReader(`{"hook_event_name":"PreToolUse","session_id":"12345678","tool_use_id":"t1","tool_name":"Bash","tool_input":{"command":"make"}}`)
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
		worked += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
	b.ReportMetric(float64(worked.Microseconds())/1000/float64(len(took)), "cpu-ms")
}
