package monitor

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
)

// connectorSocket returns the descriptor by which the second witness listens.
func connectorSocket(t *testing.T) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range fds {
		fd, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			continue
		}
		proto, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		nl, ok := sa.(*unix.SockaddrNetlink)
		if err == nil && ok && proto == unix.NETLINK_CONNECTOR && nl.Groups != 0 {
			return fd
		}
	}
	t.Fatal("the second witness has no socket")
	return -1
}

func TestAStarvedWitnessIsAGapWithItsSpanAndCount(t *testing.T) {
	m := started(t, "ebpf")
	defer m.Close()
	if m.second == nil {
		t.Skip("there is no second witness here")
	}
	r := opened(t, m, "x")
	// A buffer for hardly a message: what a storm does to one of 32 MiB.
	socket := connectorSocket(t)
	room := func(bytes int) {
		t.Helper()
		if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes); err != nil {
			t.Fatal(err)
		}
	}
	room(1)
	for range 50 {
		if err := exec.Command("/bin/true").Run(); err != nil {
			t.Fatal(err)
		}
	}
	room(1 << 20)
	m.finish(r, Closing{}, "")
	var lost uint64
	for _, e := range events(t, r) {
		if e.Kind != event.SensorGap || !strings.Contains(e.Detail.String(), "buffer for us was full") {
			continue
		}
		if e.Sensor.String() != "netlink" || e.From == 0 || e.To <= e.From {
			t.Errorf("%v from %d to %d: %s", e.Sensor, e.From, e.To, e.Detail)
		}
		lost += e.Lost
	}
	if lost == 0 {
		t.Error("no gap says how much the witness lost")
	}
	v := r.judge.Verdict()
	if v.Coverage.State != "partial" || v.Coverage.Lost < lost {
		t.Errorf("coverage %s, %d lost, want partial and %d", v.Coverage.State, v.Coverage.Lost, lost)
	}
}
