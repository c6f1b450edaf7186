package process

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// cpuTime returns what the test has used of the processors, which does not
// depend on what else runs on the machine.
func cpuTime(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestAHundredThousandForksTakeLessThanASecond(t *testing.T) {
	tree := NewTree(1 << 16)
	exe := redact.Const("/usr/bin/true")
	ev := event.Event{}
	begin := cpuTime(t)
	for pid := uint32(1); pid <= 100_000; pid++ {
		ev = event.Event{Kind: event.Fork, Seq: uint64(pid), Time: int64(pid), Actor: actor(pid, 0), Parent: actor(pid-1, 0)}
		if pid%100 == 0 {
			ev.Parent = actor(1, 0)
		}
		tree.Apply(&ev)
		ev = event.Event{Kind: event.Exec, Seq: uint64(pid), Time: int64(pid), Actor: actor(pid, 1), Exe: exe}
		tree.Apply(&ev)
		ev = event.Event{Kind: event.Exit, Seq: uint64(pid), Time: int64(pid), Actor: actor(pid, 1)}
		tree.Apply(&ev)
	}
	took := cpuTime(t) - begin
	t.Logf("100,000 forks, execs and exits: %v of processor time", took)
	if took > time.Second {
		t.Errorf("100,000 forks took %v", took)
	}
	checkTree(t, tree)
}
