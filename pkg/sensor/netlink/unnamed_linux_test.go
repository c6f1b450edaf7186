package netlink

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
)

// playPackets opens a packet socket and raw ones, says so, and holds them until
// its input ends.
func playPackets() {
	for _, s := range [][3]int{
		{unix.AF_PACKET, unix.SOCK_RAW, 0}, {unix.AF_PACKET, unix.SOCK_DGRAM, 0},
		{unix.AF_INET, unix.SOCK_RAW, 253}, {unix.AF_INET6, unix.SOCK_RAW, 253},
	} {
		if _, err := unix.Socket(s[0], s[1], s[2]); err != nil {
			fmt.Printf("socket %v: %v\n", s, err)
			os.Exit(1)
		}
	}
	hold()
}

// hold says that all is ready, waits until its input ends, and ends the process.
func hold() {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// held starts the test binary in a role that ends in hold, and returns its pid
// once it is ready. release ends it.
func held(t *testing.T, role string, attr *syscall.SysProcAttr) (pid int, release func()) {
	t.Helper()
	cmd := helper(role)
	cmd.SysProcAttr = attr
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
	done := false
	release = func() {
		if !done {
			done = true
			in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(release)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s: %q, %v", role, line, err)
	}
	return cmd.Process.Pid, release
}

// packets are what is told of packet and raw sockets of a process, in order.
func (l *log) packets(pid int) (told []string) {
	for _, r := range l.of(pid, event.Packet) {
		told = append(told, fmt.Sprintf("%d %s", r.Proto, r.Detail))
	}
	slices.Sort(told)
	return told
}

func TestOpenPacketAndRawSocketsAreToldOnceWithTheirProcess(t *testing.T) {
	want := []string{
		"255 a raw socket was opened", "255 a raw socket was opened",
		"256 a packet socket was opened", "256 a packet socket was opened",
	}
	for name, attr := range map[string]*syscall.SysProcAttr{
		"in our own network namespace": {},
		"in one of its own":            {Cloneflags: unix.CLONE_NEWNET},
	} {
		for from, refused := range map[string]bool{"sock_diag": false, "proc": true} {
			t.Run(name+" from "+from, func(t *testing.T) {
				var l log
				s := start(t, Options{noQuietDiag: refused}, l.sink)
				pid, release := held(t, "packets", attr)
				for deadline := time.Now().Add(2 * time.Second); len(l.of(pid, event.Packet)) < 4 && time.Now().Before(deadline); {
					drain(t, s)
				}
				// More rounds tell nothing more, nor does their end.
				drain(t, s)
				release()
				drain(t, s)
				if got := l.packets(pid); !slices.Equal(got, want) {
					t.Errorf("told %q: %+v", got, l.of(pid, event.Packet))
				}
				for _, r := range l.of(pid, event.Packet) {
					if r.Start == 0 || r.NS.Net == 0 || r.Src.IsValid() || r.Dst.IsValid() {
						t.Errorf("%+v", r)
					}
				}
			})
		}
	}
}

func TestPacketAndRawSocketsOfBeforeAreNotTold(t *testing.T) {
	pid, _ := held(t, "packets", nil)
	var l log
	s := start(t, Options{}, l.sink)
	drain(t, s)
	if got := l.packets(pid); len(got) > 0 {
		t.Errorf("told %q", got)
	}
}
