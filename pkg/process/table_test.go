package process

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

const second = int64(1e9)

func fork(t *Table, pid uint32, start int64, ppid uint32, pstart int64) *Process {
	return t.Fork(&sensor.Record{Kind: event.Fork, Time: start, PID: pid, Start: start, ParentPID: ppid, ParentStart: pstart})
}

func exec(t *Table, pid uint32, start, time int64, exe string) *Process {
	return t.Exec(&sensor.Record{Kind: event.Exec, Time: time, PID: pid, Start: start, Exe: []byte(exe)})
}

func exit(t *Table, pid uint32, start, time int64) *Process {
	return t.Exit(&sensor.Record{Kind: event.Exit, Time: time, PID: pid, Start: start})
}

// check fails where the table's own links contradict each other.
func check(tb testing.TB, t *Table) {
	tb.Helper()
	held, living := 0, 0
	for p := range t.all() {
		held++
		if p.Alive {
			living++
			if p.list != noList {
				tb.Fatalf("pid %d lives and is in list %d", p.Actor.PID, p.list)
			}
		} else if p.list == noList {
			tb.Fatalf("pid %d has ended and is in no list", p.Actor.PID)
		}
		if t.get(p.Actor.PID, p.Actor.Start, 0) == nil {
			tb.Fatalf("pid %d cannot be found", p.Actor.PID)
		}
		for c := p.child; c != nil; c = c.sister {
			if c.Parent != p || c.sister != nil && c.sister.elder != c {
				tb.Fatalf("pid %d: wrong link among the children of %d", c.Actor.PID, p.Actor.PID)
			}
		}
		if p.Parent != nil && p.Parent.Actor.PID == 0 {
			tb.Fatalf("pid %d: its parent was forgotten", p.Actor.PID)
		}
	}
	if held != t.held || living != t.living || held > t.limit {
		tb.Fatalf("holds %d of %d, %d of %d living, limit %d", held, t.held, living, t.living, t.limit)
	}
	if t.dead.n+t.kept.n+living != held {
		tb.Fatalf("%d ended, %d kept and %d living are not %d", t.dead.n, t.kept.n, living, held)
	}
}

func TestLineageSurvivesEverythingThatHidesIt(t *testing.T) {
	tb := NewTable(1000)
	fork(tb, 100, 1*second, 1, 1)
	tb.TagChildren(100, 1*second, 3)
	if tb.Find(100, 1*second).Tags.Has(3) {
		t.Error("the process whose children are recorded is itself recorded")
	}
	job := fork(tb, 101, 2*second, 100, 1*second)
	if !job.Tags.Has(3) || job.Via(3) != event.ViaLineage {
		t.Fatalf("a child has tags %b, via %v", job.Tags, job.Via(3))
	}
	exec(tb, 101, 2*second, 2*second, "/usr/bin/npm")
	// A double fork: the middle one exits, the kernel says 1 is the parent now.
	fork(tb, 102, 3*second, 101, 2*second)
	fork(tb, 103, 3*second+1, 102, 3*second)
	exit(tb, 102, 3*second, 3*second+2)
	// setsid, sudo and env -i are nothing but execs.
	for i, exe := range []string{"/usr/bin/setsid", "/usr/bin/sudo", "/usr/bin/env", "/tmp/x"} {
		exec(tb, 103, 3*second+1, 4*second+int64(i), exe)
	}
	exit(tb, 101, 2*second, 5*second)
	// Much later all that is dead is forgotten but for the ancestors.
	fork(tb, 200, 100*second, 1, 1)
	p := tb.Find(103, 3*second+1)
	if !p.Tags.Has(3) || p.Actor.Image != 4 {
		t.Fatalf("after a double fork and four execs: tags %b, image %d", p.Tags, p.Actor.Image)
	}
	var pids []uint32
	for a := range p.Lineage() {
		pids = append(pids, a.Actor.PID)
	}
	// 102 executed nothing, so it was taken out when it was forgotten.
	if want := []uint32{101, 100, 1}; !slices.Equal(pids, want) {
		t.Errorf("lineage is %v, want %v", pids, want)
	}
	living := tb.Living(3)
	if len(living) != 1 || living[0] != p {
		t.Errorf("survivors are %v", living)
	}
	tb.Untag(3)
	if len(tb.Living(3)) != 0 || fork(tb, 201, 101*second, 103, 3*second+1).Tags != 0 {
		t.Error("a recording that ended still tags processes")
	}
	check(t, tb)
}

func TestAReusedPidIsAnotherProcess(t *testing.T) {
	tb := NewTable(1000)
	fork(tb, 100, 1*second, 1, 1)
	tb.TagChildren(100, 1*second, 0)
	fork(tb, 101, 2*second+7, 100, 1*second)
	exit(tb, 101, 2*second+7, 2*second+17)
	next := fork(tb, 101, 2*second+18, 1, 1) // at once, as with clone3 set_tid
	if next.Tags != 0 {
		t.Error("a process got the tags of an earlier one with its pid")
	}
	if late := tb.Find(101, 2*second+7); !late.Tags.Has(0) || late.Alive {
		t.Errorf("a late record of the earlier process found tags %b, alive %v", late.Tags, late.Alive)
	}
	if tb.Find(101, 0) != next {
		t.Error("a record without a start time did not find the process that lives")
	}
	// The exit of this one is lost.
	third := fork(tb, 101, 9*second, 100, 1*second)
	if !third.Tags.Has(0) || tb.Find(101, 2*second+18).Alive || tb.Stats().Exits != 1 {
		t.Errorf("after a lost exit: tags %b, earlier alive %v, %d exits followed", third.Tags, tb.Find(101, 2*second+18).Alive, tb.Stats().Exits)
	}
	for i := range int64(1000) { // the job takes one pid again and again
		fork(tb, 101, 9*second+2*i+1, 100, 1*second)
		exit(tb, 101, 9*second+2*i+1, 9*second+2*i+2)
	}
	same := 0
	for p := *tb.bucket(101); p != nil; p = p.chain {
		same++
	}
	if same > maxSamePID+2 {
		t.Errorf("%d processes of one pid are held", same)
	}
	check(t, tb)
}

func TestCoarseAndExactStartsMeet(t *testing.T) {
	tests := []struct {
		name        string
		held, asked int64
		same        bool
	}{
		{"equal exact starts", 123456789, 123456789, true},
		{"two exact starts in one tick", 123456789, 123456790, false},
		{"a coarse question for an exact start", 123456789, 120000000, true},
		{"an exact question for a coarse start", 120000000, 123456789, true},
		{"a coarse question one tick later", 123456789, 130000000, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tb := NewTable(100)
			p := fork(tb, 50, tt.held, 1, 1)
			if got := tb.Find(50, tt.asked) == p; got != tt.same {
				t.Errorf("same is %v, want %v", got, tt.same)
			}
			if p.Actor.Start != tt.held {
				t.Error("the actor changed")
			}
		})
	}
}

// A world makes records as a kernel would, and knows what is true.
type world struct {
	rng    *rand.Rand
	now    int64
	step   int64
	living []*truth
	all    []*truth
	recs   []sensor.Record
	pids   uint32 // a small range, so that pids are reused
}

type truth struct {
	actor  event.Actor
	parent *truth
	tagged bool
	alive  bool
}

func (w *world) tick() int64 { w.now += 1 + w.rng.Int64N(w.step); return w.now }

func (w *world) fork(parent *truth) *truth {
	pid := 10 + w.rng.Uint32N(w.pids)
	for slices.ContainsFunc(w.living, func(t *truth) bool { return t.actor.PID == pid }) {
		pid++
	}
	c := &truth{actor: event.Actor{PID: pid, Start: w.tick()}, parent: parent, tagged: parent.tagged || parent == w.all[0], alive: true}
	w.living, w.all = append(w.living, c), append(w.all, c)
	w.recs = append(w.recs, sensor.Record{Kind: event.Fork, Time: c.actor.Start, PID: pid, Start: c.actor.Start,
		ParentPID: parent.actor.PID, ParentStart: parent.actor.Start})
	return c
}

func (w *world) run(n int) {
	for range n {
		p := w.living[w.rng.IntN(len(w.living))]
		switch w.rng.IntN(6) {
		case 0, 1:
			if len(w.living) < int(w.pids)/2 {
				w.fork(p)
			}
		case 2, 3:
			p.actor.Image++
			w.recs = append(w.recs, sensor.Record{Kind: event.Exec, Time: w.tick(), PID: p.actor.PID, Start: p.actor.Start, Exe: []byte("/bin/x")})
		case 4:
			w.recs = append(w.recs, sensor.Record{Kind: event.Connect, Time: w.tick(), PID: p.actor.PID, Start: p.actor.Start})
		case 5:
			if p != w.all[0] {
				p.alive = false
				w.living = slices.DeleteFunc(w.living, func(t *truth) bool { return t == p })
				w.recs = append(w.recs, sensor.Record{Kind: event.Exit, Time: w.tick(), PID: p.actor.PID, Start: p.actor.Start})
			}
		}
	}
}

// shuffle moves records by a few places, as rings read in turns do.
func (w *world) shuffle(by int) {
	type placed struct {
		at  int
		rec sensor.Record
	}
	ps := make([]placed, len(w.recs))
	for i, r := range w.recs {
		ps[i] = placed{i + w.rng.IntN(by+1), r}
	}
	slices.SortStableFunc(ps, func(a, b placed) int { return a.at - b.at })
	for i, p := range ps {
		w.recs[i] = p.rec
	}
}

func feed(t *Table, rec *sensor.Record) *Process {
	switch rec.Kind {
	case event.Fork:
		return t.Fork(rec)
	case event.Exec:
		return t.Exec(rec)
	case event.Exit:
		return t.Exit(rec)
	}
	return t.Find(rec.PID, rec.Start)
}

func TestOrderWithinAFewRecordsDoesNotMatter(t *testing.T) {
	for seed := range uint64(16) {
		for _, by := range []int{0, 3, 12} {
			step := int64(1000) // everything within the grace
			if seed%2 == 1 {
				step = second / 20 // ended processes are forgotten on the way
			}
			w := &world{rng: rand.New(rand.NewPCG(seed, uint64(by))), now: second, step: step, pids: 60}
			root := &truth{actor: event.Actor{PID: 5, Start: 1}, alive: true}
			w.living, w.all = []*truth{root}, []*truth{root}
			w.run(3000)
			w.shuffle(by)

			tb := NewTable(4000)
			tb.TagChildren(5, 1, 7)
			for i := range w.recs {
				feed(tb, &w.recs[i])
				if i%500 == 0 {
					check(t, tb)
				}
			}
			check(t, tb)
			name := fmt.Sprintf("seed %d, moved by up to %d", seed, by)
			if got, want := len(tb.Living(7)), len(w.living)-1; got != want {
				t.Fatalf("%s: %d survivors, want %d", name, got, want)
			}
			for _, want := range w.living {
				p := tb.Find(want.actor.PID, want.actor.Start)
				if p.Actor != want.actor || p.Tags.Has(7) != want.tagged || !p.Alive {
					t.Fatalf("%s: have %+v tags %b alive %v, want %+v tagged %v", name, p.Actor, p.Tags, p.Alive, want.actor, want.tagged)
				}
				// Ancestors that executed a program are all there, in order.
				a := p.Parent
				for up := want.parent; up != nil; up = up.parent {
					if up.actor.Image == 0 && !up.alive {
						continue
					}
					for a != nil && a.Actor.Image == 0 && !a.Alive {
						a = a.Parent
					}
					if a == nil || a.Actor != up.actor {
						t.Fatalf("%s: lineage of %v breaks at %v", name, want.actor, up.actor)
					}
					a = a.Parent
				}
			}
			if s := tb.Stats(); by == 0 && s.Unknown != 1 || s.Overflow != 0 {
				t.Fatalf("%s: %+v", name, s)
			}
		}
	}
}

func TestAWarmTableAllocatesNothing(t *testing.T) {
	tb := NewTable(4096)
	now := second
	rec := sensor.Record{Exe: []byte("/usr/bin/containerd-shim-runc-v2")}
	pid := uint32(100)
	fork(tb, 50, 1, 1, 1)
	tb.TagChildren(50, 1, 1)
	cycle := func() {
		now += 3e6
		pid = 100 + (pid+1)%30000
		rec.PID, rec.Start, rec.Time, rec.ParentPID, rec.ParentStart = pid, now, now, 50, 1
		tb.Fork(&rec)
		tb.Exec(&rec)
		tb.Find(pid, now)
		tb.Exit(&rec)
	}
	for range 10000 {
		cycle()
	}
	if n := testing.AllocsPerRun(10000, cycle); n != 0 {
		t.Errorf("fork, exec, find and exit allocate %v times", n)
	}
	check(t, tb)
}

func TestMemoryIsBounded(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tb := NewTable(1 << 16)
	for i := range int64(40000) {
		fork(tb, uint32(100+i), second+i, 1, 1)
		if i%2 == 0 {
			exit(tb, uint32(100+i), second+i, second+i+1)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if s := tb.Stats(); s.Living != 20001 || s.Held != 40001 {
		t.Fatalf("%+v", s)
	}
	size := after.HeapAlloc - before.HeapAlloc
	t.Logf("20,000 living and 20,000 ended: %.1f MB", float64(size)/1e6)
	if size > 10e6 {
		t.Errorf("%d bytes", size)
	}
	runtime.KeepAlive(tb)
}

func TestAFullTableCountsWhatItCannotHold(t *testing.T) {
	t.Run("a fork bomb", func(t *testing.T) {
		tb := NewTable(100)
		tb.TagChildren(50, 1, 2)
		for i := range int64(1000) {
			p := fork(tb, uint32(100+i), second+i, 50, 1)
			if !p.Tags.Has(2) || p.Actor.PID != uint32(100+i) {
				t.Fatalf("fork %d: %+v", i, p)
			}
			// What has no room still has a lineage for its own record.
			if p.Parent.Actor.PID != 50 {
				t.Fatalf("fork %d has parent %+v", i, p.Parent)
			}
		}
		if s := tb.Stats(); s.Held != 100 || s.Overflow != 1000-99 {
			t.Errorf("%+v", s)
		}
		check(t, tb)
	})
	t.Run("a chain of forks, each ending", func(t *testing.T) {
		tb := NewTable(100)
		tb.TagChildren(50, 1, 2)
		last := fork(tb, 100, second, 50, 1)
		for i := range int64(5000) {
			a := last.Actor
			last = fork(tb, uint32(101+i), second+i+1, a.PID, a.Start)
			exec(tb, last.Actor.PID, last.Actor.Start, second+i+1, "/tmp/walker")
			exit(tb, a.PID, a.Start, second+i+1)
		}
		if !last.Tags.Has(2) || last.Parent == nil {
			t.Errorf("at the end of the chain: %+v", last)
		}
		root := last
		for root.Parent != nil {
			root = root.Parent
		}
		if root.Actor.PID != 50 {
			t.Errorf("the chain ends at %+v", root.Actor)
		}
		if s := tb.Stats(); s.Folded == 0 || s.Overflow != 0 {
			t.Errorf("%+v", s)
		}
		check(t, tb)
	})
}

func TestTheActorOfARecordOutlivesTheSearchForItsTarget(t *testing.T) {
	tb := NewTable(64)
	for i := range int64(64) {
		fork(tb, uint32(100+i), second+i*7+1, 0, 0)
	}
	for _, ended := range []int64{0, 1, 5} {
		exit(tb, uint32(100+ended), second+ended*7+1, 2*second)
	}
	for i := range uint32(10) {
		p := tb.Find(100, second+1)
		a := p.Actor
		q := tb.Find(5000+i, 0)
		if p == q || p.Actor != a || q.Actor.PID != 5000+i {
			t.Fatalf("look-up %d: %+v and %+v", i, p.Actor, q.Actor)
		}
		check(t, tb)
	}
}

func TestKernelThreadsAreNotOfTheJob(t *testing.T) {
	tb := NewTable(100)
	tb.TagChildren(2, 1, 0)
	worker := fork(tb, 60, second, 2, 1)
	if worker.Tags != 0 || !worker.Kernel {
		t.Errorf("a kernel thread: tags %b, kernel %v", worker.Tags, worker.Kernel)
	}
	job := fork(tb, 70, second, 1, 1)
	tb.Tag(job, 0, event.ViaLineage)
	helper := fork(tb, 61, 2*second, 60, second)
	exec(tb, 61, 2*second, 2*second, "/sbin/modprobe")
	if helper.Tags != 0 || helper.Kernel {
		t.Errorf("what the kernel runs by itself: tags %b, kernel %v", helper.Tags, helper.Kernel)
	}
	tb.Request(job, KernelHelper, 3*second) // it wrote to core_pattern
	exit(tb, 70, second, 3*second)
	fork(tb, 62, 99*second, 60, second)
	handler := exec(tb, 62, 99*second, 99*second, "/tmp/handler")
	if !handler.Tags.Has(0) || handler.Via(0) != event.ViaRequest {
		t.Errorf("the handler that the job installed: tags %b, via %v", handler.Tags, handler.Via(0))
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 1, 4, 5, 6, 2, 1, 2, 3, 0, 2, 1, 1})
	f.Add([]byte{0, 0, 2, 3, 1}) // a fork of pid 0
	f.Fuzz(func(t *testing.T, in []byte) {
		tb := NewTable(64)
		tb.TagChildren(1, 1, 0)
		for len(in) >= 5 {
			rec := sensor.Record{
				Kind: []event.Kind{event.Fork, event.Exec, event.Exit, event.Connect}[in[0]%4],
				PID:  uint32(in[1] % 16), Start: int64(in[2]) * 4e6, Time: int64(in[2])*4e6 + int64(in[4])*1e8,
				ParentPID: uint32(in[3] % 16), ParentStart: int64(in[4]) * 4e6, Exe: []byte("/usr/bin/dockerd"),
			}
			p := feed(tb, &rec)
			switch in[4] % 8 {
			case 0:
				tb.Request(p, Kind(in[3]%8), rec.Time)
			case 1:
				tb.Tag(p, int(in[3]), event.Via(in[4]>>4))
			case 2:
				tb.Untag(int(in[3] % 64))
			}
			in = in[5:]
		}
		check(t, tb)
		for range tb.Find(3, 0).Lineage() {
		}
	})
}

func TestTheFirstProgramOfAWorkersChildBeginsAStep(t *testing.T) {
	const worker = "/r/bin/Runner.Worker"
	table := NewTable(64)
	fork(table, 10, 10*second, 1, 1)
	if exec(table, 10, 10*second, 10*second, worker).StepRoot() {
		t.Error("the worker begins a step")
	}
	roots := func(pid, parent uint32, exe string) bool {
		at := int64(pid) * second
		fork(table, pid, at, parent, int64(parent)*second)
		return exec(table, pid, at, at, exe).BeginsStep()
	}
	for _, c := range []struct {
		what        string
		pid, parent uint32
		exe         string
		want        bool
	}{
		{"a child", 11, 10, "/bin/bash", true},
		{"a child's child", 12, 11, "/bin/ls", false},
		{"a worker that a step starts", 13, 11, worker, false},
		{"that one's child", 14, 13, "/bin/bash", false},
		{"another child", 15, 10, "/usr/bin/node", true},
		{"a program of that name elsewhere", 16, 1, "/tmp/Runner.Worker", false},
		{"its child", 17, 16, "/bin/bash", false},
	} {
		if got := roots(c.pid, c.parent, c.exe); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	if p := exec(table, 11, 11*second, 20*second, "/bin/dash"); p.BeginsStep() || !p.StepRoot() {
		t.Error("the second program of a child begins a step too, or is no child any more")
	}
	check(t, table)
}
