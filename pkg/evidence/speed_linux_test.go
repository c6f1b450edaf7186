package evidence

import (
	"syscall"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/seal"
)

// cpu is the processor time of this process and of its children that ended, in
// seconds.
func cpu() (s float64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		if syscall.Getrusage(who, &ru) == nil {
			s += float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
		}
	}
	return s
}

// What a log of a million lines costs: to write, with a signed checkpoint after
// each ten thousand; to read again; and to check.
func BenchmarkAMillionLines(b *testing.B) {
	const lines, every = 1_000_000, 10_000
	for b.Loop() {
		keys, err := seal.NewChain()
		if err != nil {
			b.Fatal(err)
		}
		l, dir := newLog(b, Options{Keys: keys})
		var ev event.Event
		var encoding float64
		at := cpu()
		buf := make([]byte, 0, 4096)
		for i := range lines {
			fillExec(&ev, i)
			buf = ev.AppendJSON(buf[:0])
		}
		encoding = cpu() - at // which is not what sealing costs
		at = cpu()
		for i := range lines {
			fillExec(&ev, i)
			if err := l.Append(&ev); err != nil {
				b.Fatal(err)
			}
			if (i+1)%every == 0 {
				if err := l.Checkpoint(ev.Time); err != nil {
					b.Fatal(err)
				}
			}
		}
		closeLog(b, l)
		b.ReportMetric(cpu()-at-encoding, "sealing-s")
		at = cpu()
		e, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Each(func([]byte, *event.Event) error { return nil }); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(cpu()-at, "reading-s")
		at = cpu()
		if err := e.Verify(); err != nil {
			b.Fatal(err)
		}
		if c := e.Chain(); !c.Whole() || c.Signed <= lines/every {
			b.Fatalf("chain %+v", c)
		}
		b.ReportMetric(cpu()-at, "verifying-s")
		e.Close()
	}
}
