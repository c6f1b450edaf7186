package monitor

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor/ebpf"
)

// Who is who in the logs of these tests. What was there before has a start time
// in ticks, as /proc gives it.
var (
	theRun     = event.Actor{PID: 100, Start: 5_000_000_000}
	theMonitor = event.Actor{PID: 101, Start: 6_000_000_000}
	theJob     = event.Actor{PID: 102, Start: 7_000_000_123}
)

// cutOff makes a log whose monitor died after a job had begun.
func cutOff(t *testing.T, more ...event.Event) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "evidence")
	l, err := evidence.Create(dir, evidence.Options{Run: "r", NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	job := theJob
	job.Image = 1
	for _, ev := range append([]event.Event{
		{Kind: event.Start, Via: event.ViaMonitor, Time: 8_000_000_000, Actor: theRun, Version: event.Version},
		{Kind: event.SensorUp, Via: event.ViaMonitor, Time: 8_000_000_000, Actor: theMonitor, Sensor: redact.Const("ebpf")},
		{Kind: event.Existing, Via: event.ViaMonitor, Time: 8_000_000_000, Actor: theRun, Exe: redact.Const("/usr/bin/run")},
		{Kind: event.Fork, Time: 8_000_000_100, Actor: theJob, Parent: theRun},
		{Kind: event.Exec, Time: 8_000_000_200, Actor: job, Exe: redact.Const("/usr/bin/bash")},
	}, more...) {
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Checkpoint(8_000_000_300); err != nil {
		t.Fatal(err)
	}
	l.Abort()
	return dir
}

func TestWhoKilledTheMonitorIsPlacedAmongThoseTheLogKnows(t *testing.T) {
	kill := func(pid uint32, start int64, exe string, above ...ebpf.Ancestor) *ebpf.LastAct {
		return &ebpf.LastAct{Time: 8_500_000_000, PID: pid, Start: start, Signal: 9, Comm: []byte("thread"), Exe: []byte(exe), Above: above}
	}
	run, job, systemd := ebpf.Ancestor{PID: 100, Start: 5_000_000_042}, ebpf.Ancestor{PID: 102, Start: 7_000_000_123}, ebpf.Ancestor{PID: 1, Start: 10}
	for _, c := range []struct {
		name string
		by   *ebpf.LastAct
		more []event.Event
		want []string // kind via pid.image parent exe
	}{
		{"the job's own shell", kill(102, 7_000_000_123, "/usr/bin/bash", run, systemd), nil,
			[]string{"kill lineage 102.1 0 /usr/bin/bash"}},
		{"the job, which is another program by then", kill(102, 7_000_000_123, "/usr/bin/kill", run, systemd), nil,
			[]string{"existing lineage 102.2 0 /usr/bin/kill", "kill lineage 102.2 0 /usr/bin/kill"}},
		{"a grandchild that the log has not heard of", kill(104, 8_400_000_001, "/usr/bin/kill", ebpf.Ancestor{PID: 103, Start: 8_300_000_001}, job, run, systemd), nil,
			[]string{"existing lineage 103.0 102 ", "existing lineage 104.0 103 /usr/bin/kill", "kill lineage 104.0 0 /usr/bin/kill"}},
		{"a command that begins with it", kill(105, 8_400_000_001, "/usr/bin/kill", run, systemd), nil,
			[]string{"existing lineage 105.0 100 /usr/bin/kill", "kill lineage 105.0 0 /usr/bin/kill"}},
		{"who runs it", kill(100, 5_000_000_042, "/usr/bin/run", systemd), nil,
			[]string{"kill outside 100.0 0 /usr/bin/run"}},
		{"another of the machine", kill(900, 900_000_001, "/usr/bin/agent", systemd), nil,
			[]string{"existing outside 1.0 0 ", "existing outside 900.0 1 /usr/bin/agent", "kill outside 900.0 0 /usr/bin/agent"}},
		{"the same pid in another life", kill(102, 8_400_000_001, "/usr/bin/agent"), nil,
			[]string{"existing outside 102.0 0 /usr/bin/agent", "kill outside 102.0 0 /usr/bin/agent"}},
		{"a forked shell", kill(103, 8_300_000_001, "/usr/bin/bash", job, run), []event.Event{
			{Kind: event.Fork, Time: 8_300_000_001, Actor: event.Actor{PID: 103, Start: 8_300_000_001}, Parent: event.Actor{PID: 102, Start: 7_000_000_123, Image: 1}},
		}, []string{"kill lineage 103.0 0 /usr/bin/bash"}},
		{"what the log tells itself", kill(102, 7_000_000_123, "/usr/bin/bash", run), []event.Event{
			{Kind: event.Kill, Time: 8_500_000_000, Actor: event.Actor{PID: 102, Start: 7_000_000_123, Image: 1}, Target: theMonitor, Signal: 9},
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := cutOff(t, c.more...)
			if err := (&Death{By: c.by}).tell(dir); err != nil {
				t.Fatal(err)
			}
			evs := partial(t, dir)
			added := evs[5+len(c.more):]
			var got []string
			for _, e := range added[:len(added)-1] {
				got = append(got, strings.Join([]string{e.Kind.String(), e.Via.String(),
					redact.Uint(uint64(e.Actor.PID)).String() + "." + redact.Uint(uint64(e.Actor.Image)).String(),
					redact.Uint(uint64(e.Parent.PID)).String(), e.Exe.String()}, " "))
				if e.Kind == event.Kill && (e.Target != theMonitor || e.Signal != 9 || e.Time != c.by.Time) {
					t.Errorf("%+v", e)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("added was\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			gap := added[len(added)-1]
			last := int64(8_000_000_200)
			for _, e := range c.more {
				last = e.Time
			}
			if gap.Kind != event.SensorGap || gap.From != last || gap.To <= gap.From {
				t.Errorf("the gap is %+v", gap)
			}
		})
	}
}

func partial(t *testing.T, dir string) (evs []event.Event) {
	t.Helper()
	e, err := evidence.OpenPartial(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
	if err := e.Each(func(_ []byte, ev *event.Event) error {
		evs = append(evs, *ev.Clone())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return evs
}

func TestTheGapSaysWhatIsKnownOfADeathAndWhatIsNot(t *testing.T) {
	by := func(signal int) *ebpf.LastAct {
		return &ebpf.LastAct{Time: 9, PID: 7, Start: 8, Signal: signal, Comm: []byte("kill"), Exe: []byte("/bin/kill")}
	}
	for _, c := range []struct {
		death Death
		want  string
	}{
		{Death{By: by(9)}, "the monitor was ended by process 7 /bin/kill (kill) with signal 9: nothing was seen after this"},
		{Death{By: by(9), Claimed: true}, "the word of the caller's own process"},
		{Death{By: by(19)}, "the monitor died, acted upon last by process 7"},
		{Death{}, "no process had sent it a signal"},
		{Death{Unknown: "nobody was there"}, "the monitor died: nothing was seen after this; nobody was there"},
	} {
		dir := cutOff(t)
		if err := c.death.tell(dir); err != nil {
			t.Fatal(err)
		}
		evs := partial(t, dir)
		if got := evs[len(evs)-1].Detail.String(); !strings.Contains(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func FuzzReadDeath(f *testing.F) {
	f.Add([]byte(`{"by":{"Time":9,"PID":7,"Signal":9,"Exe":"L2Jpbi9raWxs","Above":[{"PID":1,"Start":2}]},"claimed":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ReadDeath(b)
		if err != nil {
			return
		}
		red := redact.New([32]byte{}, redact.Options{})
		if d.text(red).IsZero() {
			t.Errorf("%q says nothing", b)
		}
		if d.By == nil {
			return
		}
		was := lastMoments{chain: append([]ebpf.Ancestor{{PID: d.By.PID, Start: d.By.Start}}, d.By.Above...)}
		was.nodes = make([]*process.Node, len(was.chain))
		if evs := was.act(d.By, red); len(evs) != len(was.chain)+1 {
			t.Errorf("%d events of %d processes", len(evs), len(was.chain))
		}
	})
}
