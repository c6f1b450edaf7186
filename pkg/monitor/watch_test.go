package monitor

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
)

func TestASlowWatcherLosesLinesThatAreCountedAndHoldsNobodyUp(t *testing.T) {
	var a audience
	slow, quick := a.join(nil), a.join(nil)
	for i := range 3 * maxUnshown {
		a.say(Sight{Kind: "connect", Time: int64(i)}) // would never return if it waited
		<-quick.lines
	}
	if n := slow.lost.Load(); n != 2*maxUnshown || quick.lost.Load() != 0 {
		t.Errorf("the slow one lost %d, the quick one %d", n, quick.lost.Load())
	}
	a.leave(quick)
	a.end()
	for range maxUnshown {
		<-slow.lines
	}
	if _, ok := <-slow.lines; ok || a.count.Load() != 0 {
		t.Error("the end is not told")
	}
	if _, ok := <-a.join(nil).lines; ok {
		t.Error("who comes after the end waits for ever")
	}
}

func TestAnEventThatNobodyWatchesCostsNoAllocation(t *testing.T) {
	var a audience
	ev := event.Event{Kind: event.Connect}
	if n := testing.AllocsPerRun(100, func() { a.saw(&ev, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSocketsToWatchAreReadFromTheKernelsTable(t *testing.T) {
	table := `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 111 /run/edamame-posture/watch/0123.sock
0000000000000000: 00000002 00000000 00010000 0001 01 112 /var/lib/edamame-posture/0123/control
0000000000000000: 00000002 00000000 00000000 0001 03 113 /run/edamame-posture/watch/4567.sock
0000000000000000: 00000002 00000000 00010000 0001 01 114 /home/mallory/edamame-posture/1/watch
0000000000000000: 00000002 00000000 00010000 0001 01 115 @/run/edamame-posture/watch/9.sock
`
	if got := watchSockets(table); len(got) != 1 || got[0] != "/run/edamame-posture/watch/0123.sock" {
		t.Errorf("found %v", got)
	}
}

func FuzzWatchSockets(f *testing.F) {
	f.Add("0: 00000002 00000000 00010000 0001 01 111 /run/edamame-posture/watch/0123.sock\n")
	f.Fuzz(func(t *testing.T, table string) {
		for _, s := range watchSockets(table) {
			if !strings.HasPrefix(s, "/run/edamame-posture/watch/") {
				t.Errorf("%q", s)
			}
		}
	})
}

// served runs a monitor with one recording, as run does, and returns its
// client.
func served(t *testing.T, uid int) *Client {
	t.Helper()
	needRoot(t)
	// A path to a socket has 107 bytes at most, and the test's folder has its name.
	dir, err := os.MkdirTemp("", "w")
	if err != nil {
		t.Fatal(err)
	}
	saved := spoolRoots
	spoolRoots = []string{filepath.Join(dir, "root")}
	t.Cleanup(func() {
		spoolRoots = saved
		os.RemoveAll(dir)
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() {
		over <- Serve(ctx, ServeOptions{Options: Options{Sensor: "auto", Tool: "test", Logf: t.Logf}, UID: uid, GID: uid}, w)
	}()
	h, err := readHello(r)
	if err != nil || h.Error != "" {
		t.Fatal(err, h.Error)
	}
	c, err := Dial(h.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.HangUp()
		cancel()
		<-over
	})
	if _, err := c.Open(Opening{Command: []string{"sh"}, Cwd: "/", Home: "/root"}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhoWatchesSeesWhatWasAndWhatComesUntilTheEnd(t *testing.T) {
	c, socket := watchable(t, 0)
	perform(t, "before")
	seen := make(chan Sight, 1000)
	over := make(chan error, 1)
	go func() {
		over <- Watch(socket, func(s *Sight) error {
			seen <- *s
			return nil
		})
	}()
	awaitProcess(t, seen, "before")
	perform(t, "after")
	awaitProcess(t, seen, "after")
	if _, err := c.Finish(Closing{}); err != nil {
		t.Fatal(err)
	}
	if err := <-over; err != nil {
		t.Errorf("watching ended with %v", err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// awaitProcess reads until a process was told whose arguments hold a mark.
func awaitProcess(t *testing.T, seen <-chan Sight, mark string) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case s := <-seen:
			if s.Kind == "process" && strings.Contains(s.Command, mark) {
				return
			}
		case <-timeout:
			t.Fatalf("no process with %q was told", mark)
		}
	}
}

// watchable is served, and returns where its recording is watched. Others may go
// on on this machine.
func watchable(t *testing.T, uid int) (*Client, string) {
	t.Helper()
	before, err := Watchable()
	if err != nil {
		t.Fatal(err)
	}
	c := served(t, uid)
	now, err := Watchable()
	if err != nil {
		t.Fatal(err)
	}
	for _, socket := range now {
		if !slices.Contains(before, socket) {
			return c, socket
		}
	}
	t.Fatalf("no socket of its own is among %q", now)
	return nil, ""
}

func TestAnotherUserMayNotWatchAndTheOwnerMay(t *testing.T) {
	if os.Getenv("WATCH_SOCKET") != "" { // the child below, as another user
		err := Watch(os.Getenv("WATCH_SOCKET"), func(*Sight) error { return errors.New("let in") })
		if err == nil || !strings.Contains(err.Error(), os.Getenv("WATCH_WANT")) {
			t.Fatalf("watching as %d: %v", os.Geteuid(), err)
		}
		return
	}
	_, socket := watchable(t, 4711)
	for uid, want := range map[uint32]string{4711: "let in", 4712: ErrNotYours.Error()} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestAnotherUserMayNotWatchAndTheOwnerMay$")
		cmd.Env = append(os.Environ(), "WATCH_SOCKET="+socket, "WATCH_WANT="+want)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("as %d: %v\n%s", uid, err, out)
		}
	}
}

func TestTooManyWatchersAreTurnedAway(t *testing.T) {
	_, socket := watchable(t, 0)
	var open []net.Conn
	for range maxWatchers {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	for _, c := range open { // each is served
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Watch(socket, func(*Sight) error { return nil }); !errors.Is(err, ErrNotYours) {
		t.Errorf("the fifth got %v", err)
	}
}
