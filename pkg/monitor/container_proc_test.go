package monitor

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

func TestAStormOfExecsReadsProcOnceForItsParent(t *testing.T) {
	in := redact.Const("in")
	var o procContainers
	o.open()
	reads := 0
	world := map[uint32]placed{}
	o.read = func(pid uint32) (placed, bool) {
		reads++
		found, ok := world[pid]
		return found, ok
	}
	born := func(pid uint32, parent *process.Process) *process.Process {
		return &process.Process{Actor: event.Actor{PID: pid, Start: int64(pid), Image: 1}, Parent: parent, Alive: true}
	}
	runc := born(1, nil)
	world[1] = placed{runtime: true}
	world[2] = placed{container: container{id: in}}
	inside := born(2, runc)
	if got := o.of(inside, "/bin/sh"); got.id != in {
		t.Fatalf("what a runtime started is in %q", got.id)
	}
	for pid := uint32(100); pid < 3100; pid++ {
		child := born(pid, inside)
		if got := o.of(child, "/bin/true"); got.id != in {
			t.Fatalf("a child of the container's first process is in %q", got.id)
		}
		child.Actor.Image++
		if got := o.of(child, "/bin/false"); got.id != in {
			t.Fatalf("after a second exec it is in %q", got.id)
		}
	}
	if reads != 2 {
		t.Errorf("/proc was read %d times, want twice: for the runtime and for what it started", reads)
	}
	shell := born(5, nil)
	world[5] = placed{}
	for pid := uint32(5000); pid < 15000; pid++ {
		if got := o.of(born(pid, shell), "/bin/true"); !got.id.IsZero() {
			t.Fatalf("a child of a shell outside is in %q", got.id)
		}
	}
	if reads > 10 || len(o.known) > maxCgroups {
		t.Errorf("/proc was read %d times, %d processes are remembered", reads, len(o.known))
	}
	// A runtime that becomes the container's program itself.
	world[6] = placed{container: container{id: in}}
	self := born(6, shell)
	if got := o.of(self, "/memfd:runc_cloned:/proc/self/exe"); !got.id.IsZero() {
		t.Errorf("runc itself is in %q", got.id)
	}
	self.Actor.Image++
	if got := o.of(self, "/bin/sh"); got.id != in {
		t.Errorf("what runc became is in %q", got.id)
	}
}

// oldCgroup makes a cgroup of that path in a hierarchy of cgroup v1, for this
// test alone, and returns its folder.
func oldCgroup(t *testing.T, name string) string {
	t.Helper()
	needRoot(t)
	root := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(root + "/cgroup.clone_children"); err != nil {
		t.Skip("no hierarchy of cgroup v1 with pids")
	}
	return cgroupBelow(t, root, name)
}

func TestWhatRunsInAContainerOfCgroupV1HasItsID(t *testing.T) {
	for _, sensor := range []string{"ebpf", "netlink"} {
		t.Run(sensor, func(t *testing.T) {
			m := started(t, sensor)
			defer m.Close()
			id := strings.Repeat("fedcba9876543210", 4)
			folder := oldCgroup(t, "docker/"+id)
			bash, err := exec.LookPath("bash")
			if err != nil {
				t.Skip(err)
			}
			program, err := os.ReadFile(bash)
			if err != nil {
				t.Fatal(err)
			}
			runc := filepath.Join(t.TempDir(), "runc")
			if err := os.WriteFile(runc, program, 0o755); err != nil {
				t.Fatal(err)
			}
			r := opened(t, m, "x")
			// As a runtime does: a child is moved, then executes the container's program.
			inside := `sleep 0.1; sh -c "sleep 0.1; : CHILD"; : INSIDE`
			cmd := exec.Command(runc, "-c", `(echo $BASHPID > "$0/cgroup.procs"; exec bash -c "$1"); : RUNTIME`, folder, inside)
			out, err := cmd.CombinedOutput()
			if err := errors.Join(err, m.settle()); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			perform(t, "OUTSIDE")
			m.finish(r, Closing{}, "")
			told := 0
			got := map[string]string{}
			for _, ev := range events(t, r) {
				switch ev.Kind {
				case event.Container:
					if !ev.OK {
						told++
					}
				case event.Exec:
					argv := argvOf([]event.Event{ev})[0]
					switch program, _, _ := strings.Cut(argv, " "); {
					case program == "bash":
						got["first"] = ev.Container.String()
					case program == "sh" && strings.Contains(argv, "CHILD"):
						got["child"] = ev.Container.String()
					case program == "sh":
						got["outside"] = ev.Container.String()
					case strings.HasSuffix(program, "/runc"):
						got["runtime"] = ev.Container.String()
					}
				}
			}
			for who, want := range map[string]string{"first": id, "child": id, "outside": "", "runtime": ""} {
				if c, ok := got[who]; !ok || c != want {
					t.Errorf("%s: container %q, want %q (told: %v)", who, c, want, ok)
				}
			}
			if told != 1 {
				t.Errorf("%d container events, want one", told)
			}
		})
	}
}
