package monitor

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
)

// none is no process that is exiting.
func none() int64 { return 0 }

func TestWitnessesThatAgreeAreLeftAlone(t *testing.T) {
	var w witness
	w.arm([3]uint64{100, 100, 100}, [3]uint64{90, 95, 100})
	for i := uint64(1); i <= 50; i++ {
		if w.read([3]uint64{100 + i, 100 + i, 100 + i}, [3]uint64{90 + i, 95 + i, 100 + i}, none) {
			t.Fatalf("reading %d: the difference is that at arming, and counts as disagreement", i)
		}
	}
}

func TestAStormWithEventsInFlightIsNoDisagreement(t *testing.T) {
	var w witness
	w.arm([3]uint64{}, [3]uint64{})
	for i := uint64(1); i <= 50; i++ {
		n := i * 1000
		if w.read([3]uint64{n, n, n}, [3]uint64{n - 7, n - 3, n - 9}, none) {
			t.Fatalf("reading %d: 9 of 1000 in flight count as disagreement", i)
		}
	}
}

func TestAWitnessThatStaysBehindDisagrees(t *testing.T) {
	for _, c := range []struct {
		name          string
		ebpf, netlink uint64 // how much each grows a reading
	}{
		{"eBPF sees nothing more", 0, 10},
		{"netlink sees nothing more", 10, 0},
		{"eBPF sees half", 5, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w witness
			w.arm([3]uint64{}, [3]uint64{})
			told := 0
			for i := uint64(1); i <= 2*patience; i++ {
				if w.read([3]uint64{0, i * c.ebpf, 0}, [3]uint64{0, i * c.netlink, 0}, none) {
					told++
				}
			}
			if told != 1 || !w.disagree {
				t.Errorf("told %d times, disagree %v; want once", told, w.disagree)
			}
		})
	}
}

func TestAnExecThatOnlyOneSawCountsAtAQuietEnd(t *testing.T) {
	var w witness
	w.arm([3]uint64{}, [3]uint64{})
	w.settle([3]uint64{5, 5, 5}, [3]uint64{5, 5, 5}, 1)
	if !w.disagree {
		t.Error("one exec that only one witness saw, with nothing else going on, is no disagreement")
	}
	var busy witness
	busy.arm([3]uint64{}, [3]uint64{})
	busy.settle([3]uint64{5, 5, 5}, [3]uint64{50, 50, 50}, 3)
	if busy.disagree {
		t.Error("three in flight while 45 happened count as disagreement")
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
	w.arm([3]uint64{}, [3]uint64{})
	w.leaving = 2
	if dev := w.deviation([3]uint64{0, 0, 5}, [3]uint64{0, 0, 8}, 0); dev != 1 {
		t.Errorf("3 exits more where 2 were underway: a deviation of %d", dev)
	}
	if dev := w.deviation([3]uint64{0, 0, 5}, [3]uint64{0, 0, 7}, 0); dev != 0 {
		t.Errorf("those 2 are held against it: %d", dev)
	}
	if dev := w.deviation([3]uint64{0, 0, 9}, [3]uint64{0, 0, 9}, 1); dev != 1 {
		t.Errorf("2 exits fewer where 1 is underway: a deviation of %d", dev)
	}
}

// A process may hang in its exit for longer than the witnesses are given.
func TestAnExitThatHangsIsNoDisagreementAndHidesNone(t *testing.T) {
	one := func() int64 { return 1 }
	var w witness
	w.arm([3]uint64{}, [3]uint64{})
	for range 2 * patience {
		if w.read([3]uint64{0, 0, 1}, [3]uint64{}, one) {
			t.Fatal("an exit that is underway counts as disagreement")
		}
	}
	if !w.read([3]uint64{0, 1, 1}, [3]uint64{}, one) {
		t.Error("an exec that netlink did not tell is hidden by an exit that is underway")
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
