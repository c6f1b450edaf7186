package live

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/monitor"
)

func actor(pid uint32) event.Actor { return event.Actor{PID: pid, Start: int64(pid), Image: 1} }

// shown is a model of a make that runs a compiler and a fetch.
func shown() *Model {
	m := New()
	for _, s := range []monitor.Sight{
		{Kind: "begin", Time: 1, Object: "/src"},
		{Kind: "process", Time: 2, Actor: actor(1), Program: "make", Command: "make all", Step: "build"},
		{Kind: "process", Time: 3, Actor: actor(2), Parent: actor(1), Program: "gcc", Command: "gcc \x1b[2J\u202ea.c", Step: "build"},
		{Kind: "process", Time: 4, Actor: actor(3), Parent: actor(1), Program: "curl", Command: "curl x", Step: "build"},
		{Kind: "connect", Time: 5, Actor: actor(3), Program: "curl", Object: "a.example.com:443"},
		{Kind: "connect", Time: 6, Actor: actor(3), Program: "curl", Object: "a.example.com:443"},
		{Kind: "exit", Time: 7, Actor: actor(2), Code: 2},
		{Kind: "finding", Time: 8, Rule: "d5-piped-shell", Title: "A download went into a shell", Severity: "high", Program: "curl"},
		{Kind: "status", Time: 9, Status: &monitor.Status{Processes: 2, Events: 40}},
	} {
		m.Apply(&s)
	}
	return m
}

func screen(m *Model, width, height int) string { return strings.Join(m.Screen(width, height), "\n") }

func TestTheScreenHasFindingsOnTopTheTreeAndTheDestinations(t *testing.T) {
	want := `edamame-posture  0s  2 processes  40 events  1 destination  1 finding
! finding high: A download went into a shell (d5-piped-shell) curl
--- step build
    make all
  2   gcc \x1b[2J\u{202e}a.c
      curl x


> a.example.com:443  curl  x2
q quit  p pause  / filter  f follow  arrows move`
	if got := screen(shown(), 90, 10); got != want {
		t.Errorf("the screen is\n%s\nwant\n%s", got, want)
	}
}

func TestPauseKeepsTheBodyAndCountsWhatComes(t *testing.T) {
	m := shown()
	m.Key("p")
	before := m.Screen(90, 10)
	m.Apply(&monitor.Sight{Kind: "process", Time: 20, Actor: actor(9), Program: "later"})
	after := m.Screen(90, 10)
	if strings.Contains(strings.Join(after, "\n"), "later") || !strings.Contains(after[0], "paused, 1 since") || before[3] != after[3] {
		t.Errorf("while it is paused the screen is\n%s", strings.Join(after, "\n"))
	}
	m.Key("p")
	if !strings.Contains(screen(m, 90, 12), "later") {
		t.Error("after the pause what came is not shown")
	}
}

func TestTheFilterShowsOnlyWhatHasIt(t *testing.T) {
	m := shown()
	for _, k := range []string{"/", "g", "x", "\x7f", "C", "\r"} {
		m.Key(k)
	}
	got := screen(m, 90, 10)
	if !strings.Contains(got, "gcc") || strings.Contains(got, "curl x") || !strings.Contains(got, "[only: gC]") {
		t.Errorf("the screen is\n%s", got)
	}
	m.Key("\x1b")
	if !strings.Contains(screen(m, 90, 10), "curl x") {
		t.Error("without the filter not all is shown")
	}
}

func TestFollowKeepsTheNewestAndArrowsLeaveIt(t *testing.T) {
	m := New()
	for i := range 100 {
		m.Apply(&monitor.Sight{Kind: "process", Time: int64(i), Actor: actor(uint32(i + 1)), Program: fmt.Sprintf("p%03d", i)})
	}
	if got := screen(m, 40, 12); !strings.Contains(got, "p099") || strings.Contains(got, "p010") {
		t.Errorf("it does not follow:\n%s", got)
	}
	for range 10 {
		m.Key("\x1b[5~")
	}
	if got := screen(m, 40, 12); !strings.Contains(got, "p000") || strings.Contains(got, "p099") {
		t.Errorf("it does not stay:\n%s", got)
	}
	m.Key("f")
	if !strings.Contains(screen(m, 40, 12), "p099") {
		t.Error("it does not follow again")
	}
}

func TestWhatIsKeptIsBoundedAndCounted(t *testing.T) {
	m := New()
	for i := range maxProcesses + 10 {
		m.Apply(&monitor.Sight{Kind: "process", Actor: actor(uint32(i + 1)), Program: "p"})
	}
	for i := range maxDestinations + 5 {
		m.Apply(&monitor.Sight{Kind: "connect", Object: fmt.Sprint("h", i)})
	}
	m.Apply(&monitor.Sight{Kind: "lost", Lost: 7})
	if len(m.processes) != maxProcesses || len(m.destinations) != maxDestinations || !strings.Contains(m.Screen(200, 10)[0], "22 not shown") {
		t.Errorf("%d processes, %d destinations, %s", len(m.processes), len(m.destinations), m.Screen(200, 10)[0])
	}
}

func TestPlainLinesAreEscapedAndStatusIsNone(t *testing.T) {
	if got := Plain(&monitor.Sight{Kind: "process", Time: 2_500_000_000, Actor: actor(7), Program: "sh", Command: "a\nb\x1b[0m"}, 1_000_000_000); got != `    1.500 exec 7 sh  a\x0ab\x1b[0m` {
		t.Errorf("the line is %q", got)
	}
	if got := Plain(&monitor.Sight{Kind: "status", Status: &monitor.Status{}}, 0); got != "" {
		t.Errorf("a status is %q", got)
	}
}

// FuzzScreen holds that nothing a monitor could say, and no key, breaks the
// screen: its size, or what a terminal obeys.
func FuzzScreen(f *testing.F) {
	f.Add("process", "make\x1b[2J", "step", uint32(1), uint32(0), "/", 80, 24)
	f.Add("connect", "\u202ehost", "", uint32(1), uint32(1), "\x1b[A", 1, 1)
	f.Fuzz(func(t *testing.T, kind, text, step string, pid, parent uint32, k string, width, height int) {
		m := shown()
		for range 2 {
			m.Apply(&monitor.Sight{Kind: kind, Actor: actor(pid), Parent: actor(parent), Program: text, Command: text, Object: text, Title: text, Step: step})
			if k != "" {
				m.Key(k)
			}
		}
		width, height = 1+width&0xff, 1+height&0x7f
		lines := m.Screen(width, height)
		if len(lines) != height {
			t.Errorf("%d lines instead of %d", len(lines), height)
		}
		for _, l := range lines {
			if strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
				t.Errorf("a terminal would obey %q", l)
			}
		}
	})
}
