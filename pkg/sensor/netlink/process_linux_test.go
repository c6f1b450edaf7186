package netlink

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/sensor"
)

// TestMain lets the test binary play a watched program: see play.
func TestMain(m *testing.M) {
	if role := os.Getenv("NETLINK_TEST_ROLE"); role != "" {
		play(role)
	}
	os.Exit(m.Run())
}

// play does what a role says and ends the process.
func play(role string) {
	switch role {
	case "exec-from-thread":
		// A thread that is not the leader takes its place.
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // another thread: main holds the leader, see init
			done <- syscall.Exec("/bin/sleep", []string{"sleep", "0.2"}, nil)
		}()
		fmt.Println(<-done)
	case "leader-first":
		runtime.LockOSThread()
		for range 3 {
			go func() { runtime.LockOSThread(); time.Sleep(300 * time.Millisecond); os.Exit(7) }()
		}
		time.Sleep(50 * time.Millisecond)
		// Only this thread ends, which is the leader: see init.
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	case "network":
		playNetwork()
	case "packets":
		playPackets()
	case "unix":
		playUnix()
	case "wander":
		playWander()
	}
	os.Exit(9)
}

// The main goroutine stays on the leader, in the tests too: one that takes its
// thread into another network namespace for good must not take that one, by
// which /proc/self says where the process is.
func init() { runtime.LockOSThread() }

func helper(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "NETLINK_TEST_ROLE="+role)
	return cmd
}

// of returns the records of one process.
func (l *log) of(pid int, kinds ...event.Kind) []sensor.Record {
	return l.find(func(r *sensor.Record) bool {
		return r.PID == uint32(pid) && (len(kinds) == 0 || slices.Contains(kinds, r.Kind))
	})
}

func run(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	_ = cmd.Wait()
	return pid
}

func TestAnExecIsToldWhole(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	dir := t.TempDir()
	cmd := exec.Command("/bin/sleep", "0.05")
	cmd.Dir = dir
	cmd.Env = []string{"GITHUB_JOB=build", "GITHUB_TOKEN=ghs_secret", "CI=true"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65533}}
	// The folder is handed to the other user.
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	drain(t, s)

	st, err := parseStat(stat)
	if err != nil {
		t.Fatal(err)
	}
	startWant := st.start * 1e7
	records := l.of(pid)
	var kinds []string
	for _, r := range records {
		kinds = append(kinds, r.Kind.String())
		if r.Start != startWant {
			t.Errorf("%s: start is %d, /proc says %d", r.Kind, r.Start, startWant)
		}
		if now := bootNow(); r.Time > now || now-r.Time > 20e9 {
			t.Errorf("%s: time is %d, now it is %d", r.Kind, r.Time, now)
		}
	}
	if want := []string{"fork", "setid", "setid", "exec", "exit"}; !slices.Equal(kinds, want) {
		t.Fatalf("kinds are %v, want %v", kinds, want)
	}
	if r := records[0]; r.ParentPID != uint32(os.Getpid()) || r.ParentStart == 0 {
		t.Errorf("parent is %d (%d), want %d", r.ParentPID, r.ParentStart, os.Getpid())
	}
	r := records[3]
	exe, _ := filepath.EvalSymlinks("/bin/sleep")
	var info unix.Stat_t
	if err := unix.Stat(exe, &info); err != nil {
		t.Fatal(err)
	}
	if string(r.Exe) != exe || r.File != (event.FileID{Dev: info.Dev, Inode: info.Ino}) || r.CTime != info.Ctim.Nano() || r.Size != uint64(info.Size) {
		t.Errorf("exe is %s %v changed at %d, %d bytes; want %s %d %d %d %d", r.Exe, r.File, r.CTime, r.Size, exe, info.Dev, info.Ino, info.Ctim.Nano(), info.Size)
	}
	if string(r.Argv) != "/bin/sleep\x000.05\x00" || r.ArgvCut || r.ArgvMissing || r.ArgvBytes != len(r.Argv) {
		t.Errorf("argv is %q (%d bytes)", r.Argv, r.ArgvBytes)
	}
	if string(r.Env) != "GITHUB_JOB=build\x00CI=true\x00" {
		t.Errorf("environment is %q", r.Env)
	}
	if string(r.Cwd) != dir {
		t.Errorf("folder is %s, want %s", r.Cwd, dir)
	}
	if r.UID != 65534 || r.GID != 65533 {
		t.Errorf("ids are %d and %d", r.UID, r.GID)
	}
	if r.NS.Net == 0 || r.NS.PID != 0xEFFFFFFC || r.NS.User != 0xEFFFFFFD || r.NS.Mount == 0 {
		t.Errorf("namespaces are %+v", r.NS)
	}
	if _, err := probe.CgroupRoot(); err == nil && r.Cgroup == 0 {
		t.Error("no cgroup")
	}
	if e := records[4]; e.Code != 0 || e.Signal != 0 {
		t.Errorf("exit is %d, signal %d", e.Code, e.Signal)
	}
}

func TestHowAProcessEndedIsTold(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	for name, c := range map[string]struct {
		script       string
		code, signal int
	}{
		"a code":             {"exit 3", 3, 0},
		"a signal":           {"kill -9 $$", 0, 9},
		"a signal with core": {"ulimit -c 0; kill -6 $$", 0, 6},
	} {
		t.Run(name, func(t *testing.T) {
			pid := run(t, exec.Command("/bin/sh", "-c", c.script))
			drain(t, s)
			exits := l.of(pid, event.Exit)
			if len(exits) != 1 || exits[0].Code != c.code || exits[0].Signal != c.signal {
				t.Errorf("%+v", exits)
			}
		})
	}
}

func TestAProcessWhoseLeaderEndsFirstIsNotOver(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	cmd := helper("leader-first")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	time.Sleep(150 * time.Millisecond) // the leader is gone by now, the others are not
	drain(t, s)
	if exits := l.of(pid, event.Exit); len(exits) != 0 {
		t.Errorf("told as over: %+v", exits)
	}
	_ = cmd.Wait()
	drain(t, s)
	exits := l.of(pid, event.Exit)
	if len(exits) != 1 || exits[0].Code != cmd.ProcessState.ExitCode() {
		t.Errorf("%+v, want one exit with %d", exits, cmd.ProcessState.ExitCode())
	}
}

func TestAnExecFromAnotherThreadIsNoEnd(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	pid := run(t, helper("exec-from-thread"))
	drain(t, s)
	var kinds []string
	for _, r := range l.of(pid) {
		kinds = append(kinds, r.Kind.String())
	}
	if got := strings.Join(kinds, " "); got != "fork exec exec exit" {
		t.Errorf("%s, want fork exec exec exit", got)
	}
	if e := l.of(pid, event.Exec); len(e) == 2 && !bytes.HasPrefix(e[1].Argv, []byte("sleep\x00")) {
		t.Errorf("second exec is of %q", e[1].Argv)
	}
}

func TestAnExecNeverCarriesTheArgumentsOfTheNext(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	wrong, both := 0, 0
	for i := range 100 {
		word := fmt.Sprintf("second-%d", i)
		// Two execs of one process, the second as soon as it can.
		pid := run(t, exec.Command("/bin/sh", "-c", `exec /bin/sleep 0.01 # first`, word))
		drain(t, s)
		execs := l.of(pid, event.Exec)
		if len(execs) != 2 {
			t.Fatalf("%d execs, want 2", len(execs))
		}
		if first := execs[0]; !first.ArgvMissing && !bytes.HasPrefix(first.Argv, []byte("/bin/sh\x00")) {
			wrong++
			t.Logf("the first exec has %q", first.Argv)
		} else if !first.ArgvMissing {
			both++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 100 told the arguments of the exec after", wrong)
	}
	t.Logf("both were read in %d of 100", both)
}

func TestScriptsAndOddImagesAreNamed(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	dir := t.TempDir()
	path := filepath.Join(dir, "build.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh -e\nsleep 0.05\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("a script", func(t *testing.T) {
		pid := run(t, exec.Command(path, "x"))
		drain(t, s)
		e := l.of(pid, event.Exec)
		if len(e) != 1 || e[0].Image&event.Script == 0 || string(e[0].Filename) != path || string(e[0].Interp) != "/bin/sh" {
			t.Errorf("%+v", e)
		}
	})
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a file that is deleted while it runs", func(t *testing.T) {
		copied := filepath.Join(dir, "gone")
		if err := os.WriteFile(copied, sleep, 0o755); err != nil {
			t.Fatal(err)
		}
		// The program that starts it deletes it first, through a descriptor.
		pid := run(t, exec.Command("/bin/sh", "-c", `exec 9<"$0"; rm "$0"; exec /proc/self/fd/9 0.05`, copied))
		drain(t, s)
		e := l.of(pid, event.Exec)
		if n := len(e); n == 0 || e[n-1].Image != event.Deleted || string(e[n-1].Exe) != copied {
			t.Errorf("%+v", e)
		}
	})
	t.Run("an anonymous file", func(t *testing.T) {
		fd, err := unix.MemfdCreate("evil", 0)
		if err != nil {
			t.Skipf("needs memfd_create: %v", err)
		}
		f := os.NewFile(uintptr(fd), "evil")
		defer f.Close()
		if _, err := f.Write(sleep); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), "0.05")
		pid := run(t, cmd)
		drain(t, s)
		e := l.of(pid, event.Exec)
		if len(e) != 1 || e[0].Image != event.Memfd|event.Deleted || string(e[0].Exe) != "/memfd:evil" {
			t.Errorf("%+v", e)
		}
	})
}

func TestArgumentsBeyondTheLimitAreCutAndCounted(t *testing.T) {
	var l log
	s := start(t, Options{ArgvMax: 1000}, l.sink)
	long := strings.Repeat("x", 5000)
	pid := run(t, exec.Command("/bin/sh", "-c", "sleep 0.05", long))
	drain(t, s)
	e := l.of(pid, event.Exec)
	if len(e) == 0 || len(e[0].Argv) != 1000 || !e[0].ArgvCut || e[0].ArgvBytes != len("/bin/sh\x00-c\x00sleep 0.05\x00")+len(long)+1 {
		t.Errorf("%d bytes kept, %+v", len(e[0].Argv), e[0].ArgvBytes)
	}
}

func TestSessionsAndTracersAreTold(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	cmd := exec.Command("/bin/sleep", "0.05")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pid := run(t, cmd)
	drain(t, s)
	if r := l.of(pid, event.SetSID); len(r) != 1 || r[0].Session != uint32(pid) {
		t.Errorf("setsid: %+v", r)
	}

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd = exec.Command("/bin/sleep", "5")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid = cmd.Process.Pid
	if err := unix.PtraceAttach(pid); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceDetach(pid); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	drain(t, s)
	r := l.of(os.Getpid(), event.Ptrace)
	if len(r) != 1 || r[0].TargetPID != uint32(pid) || r[0].TargetStart == 0 || r[0].Op != event.OpAttach {
		t.Errorf("ptrace: %+v", r)
	}
}

func TestDrainWaitsForWhatHappenedBefore(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	for range 50 {
		pid := run(t, exec.Command("/bin/true"))
		drain(t, s)
		if len(l.of(pid, event.Exec)) != 1 || len(l.of(pid, event.Exit)) != 1 {
			t.Fatalf("after Drain: %+v", l.of(pid))
		}
	}
}

func TestAMessageThatTheKernelDidNotSendIsRefused(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	forger, err := nl.Dial(unix.NETLINK_CONNECTOR, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	raw, err := forger.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	forged := mustHex(recorded["exec"])
	send := func(to *unix.SockaddrNetlink) (err error) {
		if e := raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), forged, 0, to) }); e != nil {
			return e
		}
		return err
	}
	// To our own socket only: others may listen on the group.
	addr, err := unix.Getsockname(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := send(&unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: addr.(*unix.SockaddrNetlink).Pid}); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	if n := s.counts.forged.Load(); n != 1 {
		t.Errorf("%d messages were refused, want 1", n)
	}
	if r := l.of(0x4834, event.Exec); len(r) != 0 && bytes.Equal(r[0].Argv, nil) {
		t.Errorf("the forged exec was told: %+v", r)
	}
	if problems := s.Check(); len(problems) != 1 || !strings.Contains(problems[0], "forges") {
		t.Errorf("Check says %q", problems)
	}
	if problems := s.Check(); len(problems) != 0 {
		t.Errorf("Check says it again: %q", problems)
	}
}

func TestWhatTheKernelCouldNotHoldIsCountedAndLookedUp(t *testing.T) {
	var l log
	hang, hung := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool // before, what others do must not stop the start
	var once bool
	s := start(t, Options{Buffer: 64 << 10, queue: 16}, func(r *sensor.Record) {
		if !once && armed.Load() {
			once = true
			close(hung)
			<-hang
		}
		l.sink(r)
	})
	armed.Store(true)
	run(t, exec.Command("/bin/true"))
	<-hung // the sink takes nothing from here on
	const execs = 1500
	before := s.Stats()
	cmd, _ := storm(execs)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	// One that is born while nobody listens, and lives.
	survivor := exec.Command("/bin/sleep", "60")
	if err := survivor.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = survivor.Process.Kill(); _ = survivor.Wait() })
	close(hang)
	drain(t, s)
	drain(t, s)

	after := s.Stats()
	if after.Lost == 0 {
		t.Fatal("nothing was lost: the test did not fill the buffer")
	}
	// Each exec of the storm is a fork, an exec and an exit.
	if told := after.Forks + after.Execs + after.Exits - before.Forks - before.Execs - before.Exits; told+after.Lost < 3*execs {
		t.Errorf("%d told and %d lost do not make %d", told, after.Lost, 3*execs)
	}
	gaps := l.find(func(r *sensor.Record) bool { return r.Kind == event.SensorGap })
	var lost uint64
	for _, g := range gaps {
		lost += g.Lost
		if g.From <= 0 || g.To < g.From || g.Detail == "" {
			t.Errorf("gap %+v", g)
		}
	}
	if lost != after.Lost {
		t.Errorf("the gaps tell of %d, the totals of %d", lost, after.Lost)
	}
	r := l.of(survivor.Process.Pid)
	if len(r) != 2 || r[0].Kind != event.Fork || r[0].ParentPID != uint32(os.Getpid()) || r[1].Kind != event.Exec || !bytes.Contains(r[1].Argv, []byte("60")) {
		t.Errorf("the survivor is told as %+v", r)
	}
	t.Logf("%d gaps, %d lost", len(gaps), lost)
}

func TestAWitnessCountsTheSame(t *testing.T) {
	var l log
	full := start(t, Options{}, l.sink)
	var told int
	witness := start(t, Options{WitnessOnly: true}, func(r *sensor.Record) { told++ })
	// Others work on this machine too, so both are read between two drains.
	drain(t, full)
	drain(t, witness)
	a0, b0 := full.Stats(), witness.Stats()
	cmd, _ := storm(300)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	drain(t, full)
	drain(t, witness)
	a, b := full.Stats(), witness.Stats()
	for what, d := range map[string][2]uint64{
		"forks": {a.Forks - a0.Forks, b.Forks - b0.Forks}, "execs": {a.Execs - a0.Execs, b.Execs - b0.Execs}, "exits": {a.Exits - a0.Exits, b.Exits - b0.Exits},
	} {
		if d[0] < 300 || d[1] < 300 || max(d[0], d[1])-min(d[0], d[1]) > 25 {
			t.Errorf("%s: %d and %d", what, d[0], d[1])
		}
	}
	if told != 0 {
		t.Errorf("the witness told of %d records", told)
	}
	if len(witness.Stats().Missing) == 0 {
		t.Error("the witness does not say what it cannot see")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	needKernel(t)
	fds := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	once := func() {
		s := New(Options{})
		if err := s.Start(context.Background(), func(*sensor.Record) {}); err != nil {
			t.Fatal(err)
		}
		run(t, exec.Command("/bin/true"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		if err := s.Drain(context.Background()); err == nil {
			t.Error("a closed sensor drains")
		}
	}
	once() // what the runtime opens once, such as its poller, is not ours
	routines, descriptors := runtime.NumGoroutine(), fds()
	for range 3 {
		once()
	}
	// A goroutine counts for a moment after its last statement.
	for deadline := time.Now().Add(time.Second); runtime.NumGoroutine() > routines; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), routines)
			break
		}
	}
	if n := fds(); n > descriptors {
		t.Errorf("%d descriptors, %d before", n, descriptors)
	}
}

func TestASensorThatIsSwitchedOffIsNoticed(t *testing.T) {
	var m marks
	// Nobody reads: the marks do not come back.
	if err := m.beat(context.Background(), func() {}, 10*time.Millisecond); err != errDeaf {
		t.Errorf("error is %v", err)
	}
	r := reader{queue: newQueue(16), counts: &counts{}}
	now := int64(1e12)
	for i := range holders {
		if r.gap != nil && i < holders/2 {
			t.Fatalf("a gap after %d subscriptions of others", i)
		}
		r.answered(&procEvent{ack: 99}, now+int64(i))
	}
	if r.gap == nil {
		t.Fatal("no gap while another program withdraws subscriptions")
	}
	r = reader{queue: newQueue(16), counts: &counts{}}
	for i := range 100 {
		r.answered(&procEvent{ack: 99}, now+int64(i)*foreignPeriod)
		r.answered(&procEvent{ack: subscriptionAck + 1}, now)
	}
	if r.gap != nil {
		t.Error("a gap by subscriptions that are ours or far apart")
	}
}

func TestReadingAnExecAllocatesNothing(t *testing.T) {
	root, _ := probe.CgroupRoot()
	q := newQueue(64)
	d := dispatcher{queue: q, table: newTable(), counts: &counts{}, marks: &marks{}, tick: 1e7, sink: func(*sensor.Record) {}, nets: map[uint32]bool{}}
	d.mover = &mover{table: d.table, proc: &d.proc, tick: d.tick, emit: d.give}
	r := reader{queue: q, counts: d.counts, tick: 1e7, newest: 1, proc: procReader{argvMax: 4096, cgroupRoot: root}}
	self := uint32(os.Getpid())
	fork, execed, exit := mustHex(recorded["fork"]), mustHex(recorded["exec"]), mustHex(recorded["exit"])
	const body = nlHeaderSize + cnHeaderSize + procHeader
	putPID := func(b []byte, at int) { *(*uint32)(unsafe.Pointer(&b[body+at])) = self }
	putPID(fork, 8)
	putPID(fork, 12)
	for _, b := range [][]byte{execed, exit} {
		putPID(b, 0)
		putPID(b, 4)
	}
	var items []*item
	once := func() {
		for _, b := range [][]byte{fork, execed, exit} {
			r.take(b, true)
		}
		r.release(true)
		items = q.take(items)
		for _, it := range items {
			d.dispatch(it)
		}
		q.recycle(items)
	}
	once()
	if d.counts.records.Load() != 3 {
		t.Fatalf("%d records, want 3", d.counts.records.Load())
	}
	if n := testing.AllocsPerRun(100, once); n > 0 {
		t.Errorf("%v allocations for a fork, an exec and an exit", n)
	}
}

func TestInAnotherNetworkNamespaceTheReasonIsSaid(t *testing.T) {
	needKernel(t)
	done := make(chan [2]error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread stays in the namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
		}
		s := New(Options{})
		done <- [2]error{s.Start(context.Background(), func(*sensor.Record) {}), probe.CanNetlink()}
	}()
	errs := <-done
	if errs[0] == nil || errs[1] == nil {
		t.Fatalf("it works: %v", errs)
	}
	if !strings.Contains(errs[1].Error(), "initial network namespace") {
		t.Errorf("CanNetlink says %v", errs[1])
	}
}
