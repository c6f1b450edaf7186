package process

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// cpuTime returns what the test has used of the processors, which
// depends less on what else runs on the machine than the clock does.
func cpuTime(t testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A tree of 100,000 processes, each with its fork, exec and exit. The aim is a
// second of processor time.
func BenchmarkAHundredThousandForks(b *testing.B) {
	exe := redact.Const("/usr/bin/true")
	begin := cpuTime(b)
	for b.Loop() {
		tree := NewTree(1 << 16)
		var ev event.Event
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
	}
	b.ReportMetric((cpuTime(b)-begin).Seconds()/float64(b.N), "cpu-s/op")
}
