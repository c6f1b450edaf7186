package monitor

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
)

// at is a reading while nothing happened.
func at(ebpf, netlink [3]uint64) reading { return reading{before: ebpf, netlink: netlink, after: ebpf} }

// between is a reading while something happened.
func between(before, netlink, after [3]uint64) reading {
	return reading{before: before, netlink: netlink, after: after}
}

// A thread that executes a program takes the leader's place. The leader's end may
// be told after that, as a thread's.
func TestALeaderWhoseThreadExecutesMayEndUntold(t *testing.T) {
	var w witness
	r := at([3]uint64{100, 100, 100}, [3]uint64{100, 100, 100})
	r.threadExecs = 7 // before arming
	w.arm(r)
	r = at([3]uint64{110, 110, 110}, [3]uint64{110, 110, 108})
	r.threadExecs = 9
	if dev := w.deviation(r, 0); dev != 0 || w.apart(r) != "" {
		t.Errorf("two ends that two execs explain deviate by %d (%s)", dev, w.apart(r))
	}
	r.netlink[exit]--
	if dev := w.deviation(r, 0); dev != 1 || !strings.HasPrefix(w.apart(r), "exit: 110 by eBPF, 107 ") {
		t.Errorf("a third one deviates by %d (%s)", dev, w.apart(r))
	}
	r = at([3]uint64{110, 110, 110}, [3]uint64{110, 110, 111})
	r.threadExecs = 9
	if dev := w.deviation(r, 0); dev != 1 {
		t.Errorf("one that netlink alone tells deviates by %d", dev)
	}
}

func TestWitnessesThatAgreeAreLeftAlone(t *testing.T) {
	var w witness
	w.arm(at([3]uint64{100, 100, 100}, [3]uint64{90, 95, 100}))
	for i := uint64(1); i <= 50; i++ {
		if w.doubts(at([3]uint64{100 + i, 100 + i, 100 + i}, [3]uint64{90 + i, 95 + i, 100 + i})) {
			t.Fatalf("reading %d: the difference is that at arming, and counts as disagreement", i)
		}
	}
}

func TestWhatHappensWhileTheyAreReadIsNoDisagreement(t *testing.T) {
	var w witness
	w.arm(at([3]uint64{}, [3]uint64{}))
	for i := uint64(1); i <= 50; i++ {
		n := i * 1000
		r := between([3]uint64{n - 9, n, n - 400}, [3]uint64{n - 7, n + 3, n}, [3]uint64{n, n + 9, n})
		if dev := w.deviation(r, 0); dev != 0 || w.doubts(r) {
			t.Fatalf("reading %d: counts that lie between count as a deviation of %d", i, dev)
		}
	}
	if dev := w.deviation(between([3]uint64{10, 10, 10}, [3]uint64{10, 9, 10}, [3]uint64{20, 20, 20}), 0); dev != 1 {
		t.Errorf("one exec that netlink did not tell: a deviation of %d", dev)
	}
	if dev := w.deviation(between([3]uint64{10, 10, 10}, [3]uint64{10, 23, 10}, [3]uint64{20, 20, 20}), 0); dev != 3 {
		t.Errorf("three execs that netlink alone told: a deviation of %d", dev)
	}
}

// On a machine that is never still the difference at arming is known to lie
// between two numbers, and each reading brings them closer together.
func TestTheDifferenceAtArmingIsFoundOnABusyMachine(t *testing.T) {
	var w witness
	all := func(n uint64) [3]uint64 { return [3]uint64{n, n, n} }
	w.arm(between(all(100), all(97), all(110))) // netlink is behind by 5
	if w.base[0] != -13 || w.slack[0] != 10 {
		t.Errorf("base %d, slack %d", w.base[0], w.slack[0])
	}
	w.arm(between(all(200), all(196), all(204)))
	if w.base[0] != -8 || w.slack[0] != 4 {
		t.Errorf("base %d, slack %d", w.base[0], w.slack[0])
	}
	w.arm(at(all(300), all(295)))
	if w.base[0] != -5 || w.slack[0] != 0 {
		t.Errorf("base %d, slack %d", w.base[0], w.slack[0])
	}
	if w.deviation(at(all(400), all(395)), 0) != 0 || w.deviation(at(all(400), all(394)), 0) != 1 || w.deviation(at(all(400), all(396)), 0) != 1 {
		t.Error("it is not what readings are held against")
	}
	// What was in flight at one reading does not stay.
	w.arm(at(all(500), all(496)))
	if w.base[0] != -4 || w.slack[0] != 0 {
		t.Errorf("base %d, slack %d", w.base[0], w.slack[0])
	}
}

func TestAWitnessThatStaysBehindIsDoubted(t *testing.T) {
	for _, c := range []struct {
		name          string
		ebpf, netlink uint64 // how much each grows a reading
	}{
		{"eBPF sees nothing more", 0, 10},
		{"netlink sees nothing more", 10, 0},
		{"eBPF sees half", 5, 10},
		{"netlink has missed one", 10, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w witness
			w.arm(at([3]uint64{}, [3]uint64{}))
			for i := uint64(1); i <= 2*patience; i++ {
				if got := w.doubts(at([3]uint64{0, i * c.ebpf, 0}, [3]uint64{0, i * c.netlink, 0})); got != (i >= patience) {
					t.Errorf("reading %d: doubted %v", i, got)
				}
			}
			w.disagree = true
			if w.doubts(at([3]uint64{0, 100, 0}, [3]uint64{})) {
				t.Error("what was found out is doubted again")
			}
		})
	}
}

// Execs that netlink has not told, more than happen while it is read, are found
// when a recording ends, and those that it tells late are none.
func TestAtTheEndTheWitnessesAreHeldAgainstEachOther(t *testing.T) {
	needRoot(t)
	m := started(t, "auto")
	defer m.Close()
	if m.second == nil {
		t.Skip("no second witness")
	}
	busy := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-busy:
					return
				default:
					_ = exec.Command("true").Run()
				}
			}
		})
	}
	for range 5 {
		if err := m.settle(); err != nil {
			t.Error(err)
		}
	}
	close(busy)
	wg.Wait()
	if m.witness.disagree {
		t.Fatal("while processes come and go the witnesses disagree")
	}
	m.locked(func() { m.witness.base[1] += 100_000 })
	if err := m.settle(); err != nil {
		t.Error(err)
	}
	if !m.witness.disagree {
		t.Error("execs that only one witness saw are no disagreement")
	}
	if by := m.witness.apart(m.counted); !strings.HasPrefix(by, "exec: ") || strings.Contains(by, "fork") {
		t.Errorf("they are apart by %q", by)
	}
}

// A process may take long between the beginning of its exit, which eBPF tells,
// and its end, which netlink tells: here the first process of a namespace waits
// for a child of another to be waited for.
func TestAnExitThatTakesLongIsNoDisagreement(t *testing.T) {
	needRoot(t)
	// stuck returns when such a process is exiting; let has it end.
	stuck := func(t *testing.T) (let func()) {
		first := exec.Command("sleep", "60")
		first.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		enter := exec.Command("nsenter", "-t", strconv.Itoa(first.Process.Pid), "-p", "sleep", "60")
		if err := enter.Start(); err != nil {
			t.Fatal(err)
		}
		children := fmt.Sprintf("/proc/%d/task/%d/children", enter.Process.Pid, enter.Process.Pid)
		await(t, "the child in the namespace", func() bool {
			b, _ := os.ReadFile(children)
			return len(b) > 0
		})
		_ = enter.Process.Signal(syscall.SIGSTOP)
		_ = first.Process.Kill()
		await(t, "a process that is exiting", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", first.Process.Pid))
			return err == nil && exitingStat(stat)
		})
		let = sync.OnceFunc(func() {
			_ = enter.Process.Signal(syscall.SIGCONT)
			_ = enter.Wait() // killed with its child's end
			_ = first.Wait()
		})
		t.Cleanup(let)
		return let
	}
	disagrees := func(t *testing.T, r *recording) bool {
		seen := false
		for _, ev := range events(t, r) {
			seen = seen || ev.Kind == event.Witness && !ev.OK
		}
		return seen
	}
	t.Run("begun before arming", func(t *testing.T) {
		let := stuck(t)
		m := started(t, "auto")
		defer m.Close()
		r := opened(t, m, "true")
		let()
		m.finish(r, Closing{}, "")
		if disagrees(t, r) {
			t.Error("the witnesses disagree")
		}
	})
	t.Run("not done at the end", func(t *testing.T) {
		m := started(t, "auto")
		defer m.Close()
		r := opened(t, m, "true")
		stuck(t)
		m.finish(r, Closing{}, "")
		if disagrees(t, r) {
			t.Error("the witnesses disagree")
		}
	})
}

func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !there(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not there after 10 s", what)
		}
	}
}

func TestExitsThatNetlinkAloneSawCountBeyondThoseThatWereUnderway(t *testing.T) {
	var w witness
	w.arm(at([3]uint64{}, [3]uint64{}))
	w.leaving = 2
	if dev := w.deviation(at([3]uint64{0, 0, 5}, [3]uint64{0, 0, 8}), 0); dev != 1 {
		t.Errorf("3 exits more where 2 were underway: a deviation of %d", dev)
	}
	if dev := w.deviation(at([3]uint64{0, 0, 5}, [3]uint64{0, 0, 7}), 0); dev != 0 {
		t.Errorf("those 2 are held against it: %d", dev)
	}
	if dev := w.deviation(at([3]uint64{0, 0, 9}, [3]uint64{0, 0, 9}), 1); dev != 1 {
		t.Errorf("2 exits fewer where 1 is underway: a deviation of %d", dev)
	}
}

// A process may hang in its exit for longer than the witnesses are given.
func TestAnExitThatHangsIsNoDisagreementAndHidesNone(t *testing.T) {
	var w witness
	w.arm(at([3]uint64{}, [3]uint64{}))
	if dev := w.deviation(at([3]uint64{0, 0, 1}, [3]uint64{}), 1); dev != 0 {
		t.Errorf("an exit that is underway: a deviation of %d", dev)
	}
	if dev := w.deviation(at([3]uint64{0, 1, 1}, [3]uint64{}), 1); dev != 1 {
		t.Errorf("an exec that netlink did not tell is hidden by an exit that is underway: a deviation of %d", dev)
	}
}

func TestWhatExitsIsReadFromItsState(t *testing.T) {
	for stat, want := range map[string]bool{
		"1 (a) S 0 1 1 0 -1 4194564 0":        true,
		"1 (a) D 0 1 1 0 -1 4 0":              true,
		"1 (a) Z 0 1 1 0 -1 4 0":              false,
		"1 (a) S 0 1 1 0 -1 4194560 0":        false,
		"1 (a) R 1 (b) S 0 1 1 0 -1 4 0":      true,
		"1 (a) S 0 1 1 0 -1 99999999999999 0": false,
		"1 (a) S 0":                           false,
		"":                                    false,
	} {
		if got := exitingStat([]byte(stat)); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
}
