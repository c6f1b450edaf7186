package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
)

// chainOf checks the evidence of a run and returns what its keys say.
func chainOf(t *testing.T, dir string) evidence.Chain {
	t.Helper()
	e, err := evidence.Open(filepath.Join(dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	return e.Chain()
}

func TestEveryCheckpointOfARunIsSignedWithAKeyOfItsOwn(t *testing.T) {
	cleanly(t)
	w := run(t, options{flags: []string{"--seal"}}, "bash", "-c", "for i in 1 2 3; do sleep 1; done")
	w.must(w.code == 0, "code %d", w.code)
	c := chainOf(t, w.dir)
	w.must(c.Whole() && c.Signed >= 4, "chain: %+v", c)
	// What makes the keys is nothing that could have acted on the recording.
	made, err := os.ReadFile(filepath.Join(w.dir, "evidence", evidence.CommitmentFile))
	w.must(err == nil && !strings.Contains(string(made), `"process"`), "the commitment: %v\n%s", err, made)
}

// askers are users who may use sudo, as on a runner: the barrier is before it.
func TestWhatLedToRootIsSealedBeforeSudoRuns(t *testing.T) {
	need(t, "sudo")
	cleanly(t)
	w := run(t, options{flags: []string{"--seal"}}, "bash", "-c", "true led-to-it; /bin/echo led-to-it; sudo -n true; /bin/echo after")
	w.must(w.code == 0, "code %d", w.code)
	var held, ran *event.Event
	for i := range w.events {
		ev := &w.events[i]
		switch {
		case ev.Kind == event.Barrier && strings.HasSuffix(ev.Path.String(), "/sudo"):
			held = ev
		case ev.Kind == event.Exec && strings.HasSuffix(ev.Exe.String(), "/sudo"):
			ran = ev
		}
	}
	if held == nil || ran == nil {
		t.Fatalf("barrier %v, exec %v: %s", held, ran, w.stderr)
	}
	w.must(held.OK && held.Seq < ran.Seq && held.Actor.PID == ran.Actor.PID, "barrier %+v, exec %+v", held, ran)
	// A checkpoint lies between the two: what led to it was sealed, and the key
	// was gone.
	e, err := evidence.Open(filepath.Join(w.dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	between := false
	if err := e.EachCheckpoint(func(c *evidence.Checkpoint) error {
		between = between || c.Size > held.Seq && c.Size <= ran.Seq
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w.must(between, "no checkpoint has the barrier and not the exec of sudo: barrier at %d, exec at %d", held.Seq, ran.Seq)
	w.must(chainOf(t, w.dir).Whole(), "the chain is not whole")
}

// A monitor that is stopped holds up nobody for long, and what it missed is
// told when it goes on.
func TestAStoppedMonitorDoesNotHoldUpSudo(t *testing.T) {
	need(t, "sudo")
	cleanly(t)
	in := t.TempDir()
	cmd := exec.Command(binary, "run", "--seal", "--", "bash", "-c", "echo ready; read x; sudo -n true && echo through; read x")
	cmd.Dir = in
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var b syncBuffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.await(t, "ready\n")
	mon := monitorOf(t, cmd.Process.Pid)
	if err := syscall.Kill(mon, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(stdin)
	b.await(t, "through\n")
	if err := syscall.Kill(mon, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(stdin)
	wait(t, cmd)
	w := loaded(t, in)
	missed := false
	for i := range w.events {
		missed = missed || w.events[i].Kind == event.Barrier && !w.events[i].OK
	}
	w.must(missed, "nothing tells of the barrier that was missed: %s", b.String())
}

// killsEnv is how often the monitor is killed; the long form does it 200 times.
const killsEnv = "POSTURE_KILLS"

func TestKilledAtAnyMomentWhatWasSealedIsWhole(t *testing.T) {
	cleanly(t)
	kills := 3
	if n, err := strconv.Atoi(os.Getenv(killsEnv)); err == nil {
		kills = n
	}
	for i := range kills {
		in := t.TempDir()
		cmd := exec.Command(binary, "run", "-q", "--seal", "--", "bash", "-c", "echo ready; while :; do /bin/true; echo x > f; done")
		cmd.Dir = in
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		var b syncBuffer
		cmd.Stdout, cmd.Stderr = &b, &b
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		b.await(t, "ready\n")
		mon := monitorOf(t, cmd.Process.Pid)
		after := time.Duration(rand.IntN(2500)) * time.Millisecond
		time.Sleep(after) // the moment is what is tried
		if err := syscall.Kill(mon, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		gone(t, mon)
		for _, child := range childrenOf(cmd.Process.Pid) {
			_ = syscall.Kill(child, syscall.SIGTERM)
		}
		wait(t, cmd)
		dir := filepath.Join(in, ".posture", "evidence")
		if _, err := evidence.Open(dir); err == nil {
			t.Fatalf("killed after %v: the log counts as closed", after)
		}
		e, err := evidence.OpenPartial(dir)
		if err != nil {
			t.Fatalf("killed after %v: %v: %s", after, err, b.String())
		}
		if err := e.Verify(); err != nil {
			t.Errorf("killed after %v: %v", after, err)
		}
		c := e.Chain()
		if c.Signed == 0 || c.Ended || c.Whole() {
			t.Errorf("killed after %v: chain %+v", after, c)
		}
		e.Close()
		out, err := exec.Command(binary, "verify", filepath.Join(in, ".posture")).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("not closed")) {
			t.Errorf("killed after %v: verify says %v: %s", after, err, out)
		}
		if i%20 == 19 {
			t.Logf("%d of %d", i+1, kills)
		}
	}
}

// childrenOf returns the processes that a process has started.
func childrenOf(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// takeoversEnv is how often the machine is taken; the long form does it 200 times.
const takeoversEnv = "POSTURE_TAKEOVERS"

// The first thing that root does is to stop the monitor and to look at what is
// sealed: the way it came must be in it already, under a key that is gone.
func TestWhoeverTakesRootFindsTheWaySealed(t *testing.T) {
	need(t, "sudo")
	cleanly(t)
	takeovers := 4
	if n, err := strconv.Atoi(os.Getenv(takeoversEnv)); err == nil {
		takeovers = n
	}
	for i := range takeovers {
		in := t.TempDir()
		// What another test's monitor left is no part of it.
		var before []string
		there, _ := os.ReadDir("/var/lib/edamame-posture")
		for _, d := range there {
			before = append(before, d.Name())
		}
		loot := filepath.Join(in, "loot")
		// The monitor is the only process with this socket's folder open; its pid
		// is looked for before the attack, as a thief would.
		script := fmt.Sprintf(`M=$(pgrep -n -f 'edamame-posture monitor|posture monitor' ); /bin/echo marker-%d
sudo -n sh -c "kill -STOP $M; cp -a /var/lib/edamame-posture %s; kill -KILL $M"; true`, i, loot)
		cmd := exec.Command(binary, "run", "-q", "--seal", "--", "bash", "-c", script)
		cmd.Dir = in
		var b syncBuffer
		cmd.Stdout, cmd.Stderr = &b, &b
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait(t, cmd)
		spools, _ := filepath.Glob(filepath.Join(loot, "*", "evidence"))
		spools = slices.DeleteFunc(spools, func(s string) bool {
			return slices.Contains(before, filepath.Base(filepath.Dir(s)))
		})
		if len(spools) != 1 {
			t.Fatalf("takeover %d: %d logs were found by the thief: %s", i, len(spools), b.String())
		}
		e, err := evidence.OpenPartial(spools[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Verify(); err != nil {
			t.Fatalf("takeover %d: %v", i, err)
		}
		var sealed uint64
		if err := e.EachCheckpoint(func(c *evidence.Checkpoint) error { sealed = c.Size; return nil }); err != nil {
			t.Fatal(err)
		}
		marker, barrier := false, false
		if err := e.Each(func(_ []byte, ev *event.Event) error {
			if ev.Seq >= sealed {
				return nil
			}
			marker = marker || ev.Kind == event.Exec && len(ev.Argv) == 2 && ev.Argv[1].String() == fmt.Sprintf("marker-%d", i)
			barrier = barrier || ev.Kind == event.Barrier && ev.OK && strings.HasSuffix(ev.Path.String(), "/sudo")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		c := e.Chain()
		e.Close()
		// A machine without time lets sudo go unsealed after its patience; then a
		// miss is all there is, and that says so.
		if !marker || !barrier || c.Unsigned > 0 {
			t.Errorf("takeover %d: of what led to root is sealed: the command before it %v, the barrier %v; chain %+v", i, marker, barrier, c)
		}
	}
}
