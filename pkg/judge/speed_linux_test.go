package judge_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

// grants500 is a policy of 500 grants, none of which is the same as another.
func grants500() string {
	var b strings.Builder
	b.WriteString("version: 1\negress:\n")
	for i := range 300 {
		fmt.Fprintf(&b, "  - {to: \"g%d.example:443\", by: [tool%d]}\n", i, i%7)
	}
	b.WriteString("exec: [node, sh")
	for i := range 98 {
		fmt.Fprintf(&b, ", \"/opt/t%d/**\"", i)
	}
	b.WriteString("]\nwrite:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "  - \"dist/p%d/**\"\n", i)
	}
	return b.String()
}

// factory is a job of 3,000 processes of 49 programs that comes to thousands
// of facts: each program writes dozens of files of its own and asks for and
// sends to dozens of hosts, some granted and most not.
func factory() *facttest.Log {
	l := facttest.New("make", "build")
	sh := l.Root
	for i := range 3000 {
		if i%60 == 0 {
			sh = l.Run(l.Root, "/usr/bin/sh", "sh", "-c", fmt.Sprintf("step %d", i/60))
		}
		tool := fmt.Sprintf("tool%d", i%49)
		p := l.Run(sh, fmt.Sprintf("/opt/t%d/bin/%s", i%49, tool), tool, "--input", fmt.Sprintf("src/f%d.ts", i))
		l.Resolve(p, fmt.Sprintf("g%d.example", i%310), fmt.Sprintf("203.0.%d.%d", i%310/200, i%310%200))
		l.Send(p, fmt.Sprintf("203.0.%d.%d:443", i%310/200, i%310%200), uint64(i))
		for k := range 8 {
			l.Write(p, fmt.Sprintf("%s/dist/p%d/f%d.js", facttest.Root, i%49*2+k%2, (i/49+k)%60))
		}
		l.Read(p, "npm", facttest.Home+"/.npmrc")
		l.Unlink(p, fmt.Sprintf("/tmp/ccaBcD%02d.s", i%90))
		l.Exit(p, 0)
	}
	l.End(0)
	return l
}

// flood is a job that makes as many facts as it can, past every bound: each
// connection goes to another host and each write to another folder.
func flood() *facttest.Log {
	l := facttest.New("make", "build")
	p := l.Run(l.Root, "/usr/bin/node", "node", "flood.js")
	for i := range 10_000 {
		addr := fmt.Sprintf("203.%d.%d.%d", i>>16, i>>8&255, i&255)
		l.Resolve(p, fmt.Sprintf("f%d.g%d.example", i, i%300), addr)
		l.Send(p, addr+":443", 1)
		l.Write(p, fmt.Sprintf("/opt/d%d/.f", i))
	}
	l.End(0)
	return l
}

// lines is a log as it stands on the disk.
func lines(l *facttest.Log) []byte {
	var b []byte
	for i := range l.Events {
		b = append(l.Events[i].AppendJSON(b), '\n')
	}
	return b
}

// again gives judged the events of a log over and over until there were n, as
// one long job would have made them: each round has processes, sockets and
// times of its own, and there is one start and no end. Events come a few at a
// time, as a reader has them, so that none has left the processor's cache.
func again(b *testing.B, lines []byte, n int, judged func([]event.Event)) {
	var few [64]event.Event
	var began, last int64
	for seq, round := 0, int64(0); seq < n; round++ {
		span := last - began + 1
		later := func(a *event.Actor) {
			// What was there before the log is there all the time.
			if a.Start > began {
				a.Start += round * span
			}
		}
		k := 0
		for line := range bytes.Lines(lines) {
			ev := &few[k]
			if err := event.Decode(line[:len(line)-1], ev); err != nil {
				b.Fatal(err)
			}
			if seq == 0 {
				began = ev.Time
			}
			if round == 0 {
				last = ev.Time
			} else if ev.Via == event.ViaMonitor {
				continue
			}
			if ev.Kind == event.End {
				continue
			}
			later(&ev.Actor)
			later(&ev.Parent)
			later(&ev.Target)
			if ev.Sock != 0 {
				ev.Sock += uint64(round) << 32
			}
			ev.Seq, ev.Time = uint64(seq), ev.Time+round*span
			seq++
			if k++; k == len(few) {
				judged(few[:k])
				k = 0
			}
		}
		judged(few[:k])
	}
}

// A million events against 500 grants, without rules and with ours, and the
// verdict, of a made job with thousands of facts and of two real commands. The
// metric judging-s is
// what the judge takes of one processor; cpu-s is that and the reading of the
// lines, which is what replay takes besides unpacking them. A flood, which finds
// no room, is what a hostile job could make of it.
func BenchmarkAMillionEventsAgainst500Grants(b *testing.B) {
	in, ours := resolved(b, grants500()), rules(b)
	for _, log := range []struct {
		name  string
		lines []byte
		facts uint64 // at least
	}{
		{"a made job", lines(factory()), 4000},
		{"a flood of facts", lines(flood()), 50_000},
		{"npm install", unpacked(b, "../fact/testdata/npm-install.jsonl.zst"), 10},
		{"go build", unpacked(b, "../fact/testdata/go-build.jsonl.zst"), 20},
	} {
		for _, with := range []struct {
			name string
			pack *signature.Pack
		}{{"grants alone", nil}, {"and rules", ours}} {
			pack := with.pack
			b.Run(log.name+"/"+with.name, func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				b.ReportAllocs()
				var judging, all int64
				for b.Loop() {
					start := spent(b, unix.CLOCK_PROCESS_CPUTIME_ID)
					j := judge.New(in, pack)
					again(b, log.lines, 1_000_000, func(list []event.Event) {
						start := spent(b, unix.CLOCK_THREAD_CPUTIME_ID)
						for i := range list {
							j.Apply(&list[i])
						}
						judging += spent(b, unix.CLOCK_THREAD_CPUTIME_ID) - start
					})
					end := spent(b, unix.CLOCK_THREAD_CPUTIME_ID)
					v := j.Verdict()
					judging += spent(b, unix.CLOCK_THREAD_CPUTIME_ID) - end
					all += spent(b, unix.CLOCK_PROCESS_CPUTIME_ID) - start
					if v.Coverage.Events < 1_000_000 || v.Facts.Total < log.facts {
						b.Fatalf("%d events, %+v", v.Coverage.Events, v.Facts)
					}
					b.ReportMetric(float64(v.Facts.Total), "facts")
				}
				b.ReportMetric(float64(judging)/1e9/float64(b.N), "judging-s/op")
				b.ReportMetric(float64(all)/1e9/float64(b.N), "cpu-s/op")
			})
		}
	}
}

// spent is the time that a processor was at work for us, in nanoseconds: on a
// machine that others use too, the clock on the wall tells of them.
func spent(b *testing.B, clock int32) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}

// Judging a build live, as the monitor does: what the judge takes of one core
// over the whole of a recorded go build, and in its busiest second, by the clock
// of its evidence. That was made on two cores that others used too: at ten times
// the speed the share would be ten times as much.
func BenchmarkLiveJudgingOfABuild(b *testing.B) {
	const dir = "testdata/recorded/go-build/"
	read := func(name string) []byte {
		data, err := os.ReadFile(dir + name)
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	in, err := intent.ReadResolved(read("intent.json"))
	if err != nil {
		b.Fatal(err)
	}
	pack, err := signature.ReadPack(read("signatures.json"))
	if err != nil {
		b.Fatal(err)
	}
	var events []event.Event
	for line := range bytes.Lines(unpacked(b, dir+"log.jsonl.zst")) {
		var ev event.Event
		if err := event.Decode(line[:len(line)-1], &ev); err != nil {
			b.Fatal(err)
		}
		events = append(events, *ev.Clone())
	}
	busiest, from := 0, 0
	for i := range events {
		for events[i].Time-events[from].Time > int64(time.Second) {
			from++
		}
		busiest = max(busiest, i-from+1)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var judging int64
	for b.Loop() {
		start := spent(b, unix.CLOCK_THREAD_CPUTIME_ID)
		j := judge.New(in, pack)
		for i := range events {
			j.Apply(&events[i])
			j.Live()
		}
		j.Verdict()
		judging += spent(b, unix.CLOCK_THREAD_CPUTIME_ID) - start
	}
	took := float64(judging) / float64(b.N) // ns for the whole log
	b.ReportMetric(took/float64(len(events)), "ns/event")
	b.ReportMetric(100*took/float64(events[len(events)-1].Time-events[0].Time), "%-of-a-core")
	b.ReportMetric(100*took/float64(len(events))*float64(busiest)/1e9, "%-in-the-busiest-second")
	b.ReportMetric(float64(busiest), "events-in-it")
}
