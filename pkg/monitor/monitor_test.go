package monitor

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("watching from the kernel needs root")
	}
}

// started starts a monitor in this process, with a spool of the test's own.
func started(t *testing.T, sensor string) *Monitor {
	t.Helper()
	needRoot(t)
	spoolIn(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	m, err := Start(ctx, Options{Sensor: sensor, Tool: "test", Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// payloads starts a monitor that reads what is said over connections, and
// closes it at the end of the test.
func payloads(t *testing.T) *Monitor {
	t.Helper()
	m := started(t, "auto")
	t.Cleanup(func() { m.Close() })
	if m.SensorName() != "ebpf" {
		t.Skip("the netlink sensor sees no payload")
	}
	return m
}

// opened begins a recording of what this process starts.
func opened(t *testing.T, m *Monitor, command string) *recording {
	t.Helper()
	r, err := m.Open(Opening{Command: []string{command}, Cwd: "/", Home: "/root"}, uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// perform runs a shell whose arguments hold a mark, for as long as the netlink
// sensor needs to find it alive.
func perform(t *testing.T, mark string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", "sleep 0.1; : "+mark).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

func events(t *testing.T, r *recording) []event.Event {
	t.Helper()
	e, err := evidence.Open(filepath.Join(r.spool, evidenceDir))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
	var out []event.Event
	if err := e.Each(func(_ []byte, ev *event.Event) error {
		out = append(out, *ev.Clone())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func argvOf(evs []event.Event) []string {
	var out []string
	for _, e := range evs {
		if e.Kind != event.Exec {
			continue
		}
		var args []string
		for _, a := range e.Argv {
			args = append(args, a.String())
		}
		out = append(out, strings.Join(args, " "))
	}
	return out
}

// What each recording holds is what happened while it was open, and the
// monitor's own processes are in none.
func TestRecordingsHoldWhatHappenedWhileTheyWereOpen(t *testing.T) {
	for _, sensor := range []string{"ebpf", "netlink"} {
		t.Run(sensor, func(t *testing.T) {
			m := started(t, sensor)
			defer m.Close()
			first := opened(t, m, "first")
			perform(t, "ONE")
			second := opened(t, m, "second")
			perform(t, "TWO")
			m.finish(first, Closing{}, "")
			perform(t, "THREE")
			m.finish(second, Closing{}, "")
			for _, c := range []struct {
				r        *recording
				has, not []string
			}{
				{first, []string{"ONE", "TWO"}, []string{"THREE", "posture-canary"}},
				{second, []string{"TWO", "THREE"}, []string{"ONE", "posture-canary"}},
			} {
				evs := events(t, c.r)
				all := strings.Join(argvOf(evs), "\n")
				for _, w := range c.has {
					if !strings.Contains(all, w) {
						t.Errorf("recording of %s misses %s: %s", c.r.id, w, all)
					}
				}
				for _, w := range c.not {
					if strings.Contains(all, w) {
						t.Errorf("recording of %s holds %s: %s", c.r.id, w, all)
					}
				}
				if evs[0].Kind != event.Start || evs[len(evs)-1].Kind != event.End {
					t.Errorf("it begins with %v and ends with %v", evs[0].Kind, evs[len(evs)-1].Kind)
				}
			}
		})
	}
}

func TestOpeningClosingAndEventsAtTheSameTime(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	self := uint32(os.Getpid())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				r, err := m.Open(Opening{Command: []string{"x"}, Home: "/root"}, self)
				if err != nil {
					t.Error(err)
					return
				}
				if err := exec.Command("/bin/true").Run(); err != nil {
					t.Error(err)
				}
				_ = m.status(r)
				m.finish(r, Closing{}, "")
			}
		})
	}
	wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if open := m.open(); len(open) != 0 {
		t.Errorf("%d recordings are still open", len(open))
	}
}

// A monitor over its real socket.
func TestTheProtocolRefusesWhatItShould(t *testing.T) {
	needRoot(t)
	spoolIn(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, ServeOptions{Options: Options{Sensor: "auto", Sealed: true, Logf: t.Logf}, UID: 0}, w)
	}()
	hello, err := readHello(r)
	if err != nil || hello.Error != "" {
		t.Fatalf("hello: %v %s", err, hello.Error)
	}
	uc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: hello.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	k := newConn(uc)
	ask := func(q Request) Response {
		t.Helper()
		if err := k.write(q); err != nil {
			t.Fatal(err)
		}
		var a Response
		if err := k.read(&a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		name string
		q    Request
		want string
	}{
		{"another version", Request{Op: "hello", Version: 99}, "version 99"},
		{"close before open", Request{Op: "close", Close: &Closing{}}, "no recording"},
		{"status before open", Request{Op: "status"}, "no recording"},
		{"discard before close", Request{Op: "discard"}, "no recording"},
		{"an operation that is none", Request{Op: "format-disk"}, "format-disk"},
		{"open without anything", Request{Op: "open"}, "nothing to open"},
		{"an intent that is none", Request{Op: "open", Open: &Opening{Intent: []byte("{")}}, "intent"},
		{"a parent that is no ancestor", Request{Op: "open", Open: &Opening{Parent: 0xfffffff}}, "not an ancestor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := ask(c.q); !strings.Contains(a.Error, c.want) {
				t.Errorf("answer %+v, want an error with %q", a, c.want)
			}
		})
	}
	if a := ask(Request{Op: "open", Open: &Opening{Command: []string{"x"}}}); a.Error != "" || a.Opened == nil {
		t.Fatalf("open: %+v", a)
	}
	if a := ask(Request{Op: "open", Open: &Opening{Command: []string{"x"}}}); !strings.Contains(a.Error, "already") {
		t.Errorf("a second open: %+v", a)
	}
	if a := ask(Request{Op: "status"}); a.Status == nil || a.Status.Events == 0 {
		t.Errorf("status: %+v", a)
	}
	closed := ask(Request{Op: "close", Close: &Closing{}})
	if closed.Closed == nil || closed.Closed.Verdict == "" {
		t.Fatalf("close: %+v", closed)
	}
	if a := ask(Request{Op: "discard"}); a.Error != "" {
		t.Errorf("discard: %s", a.Error)
	}
	if _, err := os.Stat(closed.Closed.Spool); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	uc.Close()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the monitor did not end with its client")
	}
}

func TestALongMessageIsRefused(t *testing.T) {
	fds, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer fds.Close()
	go func() {
		c, err := net.DialUnix("unix", nil, fds.Addr().(*net.UnixAddr))
		if err != nil {
			return
		}
		defer c.Close()
		junk := []byte(strings.Repeat("x", 1<<20))
		for range 4 {
			if _, err := c.Write(junk); err != nil {
				return
			}
		}
	}()
	c, err := fds.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var q Request
	if err := newConn(c).read(&q); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("error is %v, want one about the limit", err)
	}
}

func ExampleExitCode() {
	fmt.Println(ExitCode(3, 0), ExitCode(0, 15))
	// Output: 3 143
}
