package netlink

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// playWander does what each line of its input says, and answers each with a
// line: unshare, setns PID, children N.
func playWander() {
	runtime.LockOSThread() // the leader: see init
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var err error
		var n int
		word, _, _ := strings.Cut(in.Text(), " ")
		_, _ = fmt.Sscanf(in.Text(), word+" %d", &n)
		switch word {
		case "unshare":
			err = unix.Unshare(unix.CLONE_NEWNET)
		case "setns":
			var fd int
			if fd, err = unix.Open(fmt.Sprintf("/proc/%d/ns/net", n), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				err = unix.Setns(fd, unix.CLONE_NEWNET)
			}
		case "children":
			for range n {
				// From this thread, whose namespaces they get.
				if err = exec.Command("/bin/sleep", "0.02").Run(); err != nil {
					break
				}
			}
		}
		fmt.Println("did", in.Text(), err)
	}
	os.Exit(0)
}

// wanderer starts a process of playWander; do gives it a line to do.
func wanderer(t *testing.T) (pid int, do func(string)) {
	t.Helper()
	cmd := helper("wander")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	answer := func(want string) {
		t.Helper()
		if line, err := lines.ReadString('\n'); err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("%q, %v; want %q", line, err, want)
		}
	}
	answer("ready")
	return cmd.Process.Pid, func(what string) {
		t.Helper()
		fmt.Fprintln(in, what)
		answer("did " + what + " <nil>")
	}
}

func netOf(t *testing.T, pid int) uint32 {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	return parseNamespace([]byte(link))
}

func TestAProcessThatGoesToOtherNamespacesIsTold(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	other, doOther := wanderer(t)
	pid, do := wanderer(t)
	drain(t, s)
	for _, p := range []int{pid, other} {
		if r := l.of(p, event.Namespace); len(r) > 0 {
			t.Fatalf("a process that stays where it is: %+v", r)
		}
	}
	doOther("unshare")
	made := netOf(t, other)
	r := waitFor(t, s, &l, "the unshare", func(r *sensor.Record) bool { return r.Kind == event.Namespace && r.PID == uint32(other) })
	if r.Op != event.OpUnshare || r.NS.Net != made || r.NS.Mount == 0 || r.NS.PID == 0 || r.NS.User == 0 || r.Start == 0 {
		t.Errorf("unshare: %+v", r)
	}
	do(fmt.Sprint("setns ", other))
	r = waitFor(t, s, &l, "the setns", func(r *sensor.Record) bool { return r.Kind == event.Namespace && r.PID == uint32(pid) })
	if r.Op != event.OpSetNS || r.NS.Net != made {
		t.Errorf("setns: %+v", r)
	}
	// Once is enough.
	drain(t, s)
	for _, p := range []int{pid, other} {
		if r := l.of(p, event.Namespace); len(r) != 1 {
			t.Errorf("%d is told %d times: %+v", p, len(r), r)
		}
	}
}

func TestAProcessThatIsBornInOtherNamespacesIsToldByItsExec(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	pid, release := held(t, "packets", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID})
	net := netOf(t, pid)
	waitFor(t, s, &l, "the new namespaces", func(r *sensor.Record) bool {
		return r.Kind == event.Namespace && r.PID == uint32(pid) && r.Op == event.OpUnshare && r.NS.Net == net
	})
	release()
	drain(t, s)
	// Before the exec that showed it, and once.
	told := l.of(pid, event.Namespace, event.Exec)
	if len(told) != 2 || told[0].Kind != event.Namespace || told[1].NS.Net != net {
		t.Errorf("told %+v", told)
	}
}

func TestTheChildrenOfAProcessThatWentElsewhereAreNotToldAgain(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	pid, do := wanderer(t)
	drain(t, s)
	do("unshare")
	do("children 5") // before anybody has looked
	drain(t, s)
	children := map[uint32]bool{}
	for _, r := range l.find(func(r *sensor.Record) bool { return r.Kind == event.Fork && r.ParentPID == uint32(pid) }) {
		children[r.PID] = true
	}
	if len(children) < 5 { // Go's own first child comes on top
		t.Fatalf("%d children were told, want 5", len(children))
	}
	if r := l.of(pid, event.Namespace); len(r) != 1 || r[0].Op != event.OpUnshare {
		t.Errorf("the parent: %+v", r)
	}
	if r := l.find(func(r *sensor.Record) bool { return r.Kind == event.Namespace && children[r.PID] }); len(r) > 0 {
		t.Errorf("the children: %+v", r)
	}
}

func TestAProcessIsTheOneThatIsKnownThoughItsForkWasToldLate(t *testing.T) {
	const tick = 10e6
	proc := &procReader{}
	m := mover{table: newTable(), proc: proc, tick: tick}
	self := uint32(os.Getpid())
	began := proc.start(self) * tick
	for name, c := range map[string]struct {
		start int64
		same  bool
	}{
		"to the tick":           {began, true},
		"a few ticks late":      {began + 5*tick, true},
		"another process's":     {began - 60e9, false},
		"one that comes after":  {began + 60e9, false},
		"one of the first tick": {0, false},
	} {
		if ns := m.living(process{pid: self, start: c.start}); (ns.Net != 0) != c.same {
			t.Errorf("%s: %+v", name, ns)
		}
	}
	if ns := m.living(process{pid: 1 << 30, start: began}); ns != (event.Namespaces{}) {
		t.Errorf("a process that is gone: %+v", ns)
	}
}
