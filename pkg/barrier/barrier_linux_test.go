package barrier

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// setuidTrue is a program that gives power and does nothing with it.
func setuidTrue(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("fanotify's permission events need root")
	}
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "setuid-true")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	return path
}

func raise(t testing.TB, programs ...string) *Barrier {
	t.Helper()
	b, err := Start(programs)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		t.Skipf("this kernel has no fanotify permission events: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestAnExecWaitsForTheAnswer(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	for range 20 {
		var answered atomic.Bool
		done := make(chan error)
		pid := make(chan int, 1)
		go func() {
			cmd := exec.Command(program)
			err := cmd.Start() // returns when the exec is done
			if err == nil && !answered.Load() {
				err = errors.New("the exec did not wait")
			}
			if err == nil {
				pid <- cmd.Process.Pid
				err = cmd.Wait()
			}
			done <- err
		}()
		h, err := b.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Missed || h.Path != program {
			t.Fatalf("held: %+v", h)
		}
		answered.Store(true)
		if err := b.Answer(h.ID); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := <-pid; got != int(h.PID) {
			t.Fatalf("process %d was held, and %d executed it", h.PID, got)
		}
	}
}

func TestAnExecThatIsNotAnsweredGoesOnAndIsTold(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	done := make(chan error)
	go func() { done <- exec.Command(program).Run() }()
	h, err := b.Next()
	if err != nil || h.Missed {
		t.Fatalf("%+v, %v", h, err)
	}
	m, err := b.Next()
	if err != nil || !m.Missed || m.ID != h.ID || m.PID != h.PID {
		t.Fatalf("after %+v came %+v, %v", h, m, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// A late answer is for nobody, and the next exec waits again.
	if err := b.Answer(h.ID); err != nil {
		t.Fatal(err)
	}
	go func() { done <- exec.Command(program).Run() }()
	if h, err = b.Next(); err != nil || h.Missed {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := b.Answer(h.ID); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestAGuardThatIsKilledHoldsUpNobody(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	if err := syscall.Kill(int(b.PID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Next(); err == nil {
		t.Fatal("a dead guard spoke")
	}
	if err := exec.Command(program).Run(); err != nil {
		t.Fatal(err)
	}
}

func TestAGuardThatIsStoppedHoldsUpNobodyForLong(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	for range 100 {
		b.Look() // one that reads is left alone
	}
	if err := syscall.Kill(int(b.PID()), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- exec.Command(program).Run() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Next(); err == nil {
				t.Fatal("nobody hears that the guard is gone")
			}
			b.Look() // of one that is gone
			return
		case <-tick.C:
			b.Look()
		}
	}
}

func TestWhatTheGuardSaidIsToldWhenTheNextIsAskedFor(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	if !b.Told() {
		t.Fatal("nothing was said yet")
	}
	if err := exec.Command(program).Run(); err != nil { // waits in vain
		t.Fatal(err)
	}
	for range 2 { // held and missed
		if b.Told() {
			t.Error("what was said and not asked for counts as told")
		}
		if _, err := b.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if b.Told() {
		t.Error("the last was not told before Next is called again")
	}
	gone := make(chan struct{})
	go func() { defer close(gone); _, _ = b.Next() }()
	for !b.Told() {
		runtime.Gosched()
	}
	b.Close()
	<-gone
}

func TestAProgramThatIsReplacedIsTold(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	if got := b.Replaced(); len(got) != 0 {
		t.Fatalf("replaced before anything was: %q", got)
	}
	data, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(program+".new", data, 0o755)
	}
	if err == nil {
		err = os.Rename(program+".new", program)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Replaced(); !slices.Equal(got, []string{program}) {
		t.Errorf("replaced: %q", got)
	}
}

func TestAGuardDoesNotGrow(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	go func() {
		for {
			h, err := b.Next()
			if err != nil {
				return
			}
			_ = b.Answer(h.ID)
		}
	}()
	resident := func() (pages int) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", b.PID()))
		if err != nil {
			t.Fatal(err)
		}
		var size int
		if _, err := fmt.Sscan(string(stat), &size, &pages); err != nil {
			t.Fatal(err)
		}
		return pages
	}
	run := func(n int) {
		for range n {
			if err := exec.Command(program).Run(); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(100)
	before := resident()
	run(1500)
	if grown := (resident() - before) * os.Getpagesize(); grown > 5<<20 {
		t.Errorf("1,500 execs made it %d KiB larger", grown>>10)
	}
}

func TestAMonitorThatIsGoneHoldsUpNobody(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	b.guard.Conn.Close()
	if err := exec.Command(program).Run(); err != nil {
		t.Fatal(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	program := setuidTrue(t)
	b := raise(t, program)
	const execs = 300
	var done sync.WaitGroup
	var failed atomic.Int32
	for range execs {
		done.Go(func() {
			if exec.Command(program).Run() != nil {
				failed.Add(1)
			}
		})
	}
	seen := map[uint32]bool{}
	for len(seen) < execs {
		h, err := b.Next()
		if err != nil {
			t.Fatal(err)
		}
		seen[h.ID] = true
		if !h.Missed {
			if err := b.Answer(h.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	done.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d execs failed", failed.Load(), execs)
	}
}

func TestProgramsAreThoseThatGivePower(t *testing.T) {
	found := Programs()
	for _, p := range found {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	su, err := exec.LookPath("su")
	if err != nil {
		t.Skip("this machine has no su")
	}
	same := func(p string) bool {
		a, aerr := os.Stat(p)
		b, berr := os.Stat(su)
		return aerr == nil && berr == nil && os.SameFile(a, b)
	}
	if !slices.ContainsFunc(found, same) {
		t.Errorf("su is not among %d programs: %q", len(found), found)
	}
	if slices.Contains(found, "/bin/true") || slices.Contains(found, "/usr/bin/true") {
		t.Error("true gives no power")
	}
}

// The monitor's answer at once: what the guard alone adds to an exec.
func BenchmarkExec(b *testing.B) {
	program := setuidTrue(b)
	b.Run("free", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(program).Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("held", func(b *testing.B) {
		g := raise(b, program)
		go func() {
			for {
				h, err := g.Next()
				if err != nil {
					return
				}
				if !h.Missed {
					_ = g.Answer(h.ID)
				}
			}
		}()
		for b.Loop() {
			if err := exec.Command(program).Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
