package monitor

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/sensor"
)

// cgroup makes a cgroup of that path below the mount, for this test alone, and
// returns its folder.
func cgroup(t *testing.T, name string) string {
	t.Helper()
	root, err := probe.CgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	return cgroupBelow(t, root, name)
}

// cgroupBelow makes a cgroup below the root of a hierarchy.
func cgroupBelow(t *testing.T, root, name string) string {
	t.Helper()
	dir := filepath.Join(root, fmt.Sprintf("posture-monitor-test-%d", os.Getpid()), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skipf("cgroups cannot be made: %v", err)
	}
	t.Cleanup(func() {
		for d := dir; d != root; d = filepath.Dir(d) {
			_ = os.Remove(d)
		}
	})
	return dir
}

func TestWhatRunsInAContainerHasItsID(t *testing.T) {
	for _, sensor := range []string{"ebpf", "netlink"} {
		for _, form := range []string{"system.slice/docker-%s.scope", "docker/%s"} {
			t.Run(sensor+" "+strings.ReplaceAll(form, "/", "_"), func(t *testing.T) {
				m := started(t, sensor)
				defer m.Close()
				id := strings.Repeat("0123456789abcdef", 4)
				folder, err := os.Open(cgroup(t, fmt.Sprintf(form, id)))
				if err != nil {
					t.Fatal(err)
				}
				defer folder.Close()
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				port := l.Addr().(*net.TCPAddr).Port
				r := opened(t, m, "x")
				// It holds its socket until the sensor has looked.
				script := "exec 3<>/dev/tcp/127.0.0.1/" + strconv.Itoa(port) + "; echo; read x"
				cmd := exec.Command("bash", "-c", script)
				cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(folder.Fd())}
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
				_, err = out.Read(make([]byte, 1))
				settled := m.settle()
				_, _ = in.Write([]byte("\n"))
				if err := errors.Join(err, settled, cmd.Wait()); err != nil {
					t.Fatal(err)
				}
				perform(t, "OUTSIDE")
				m.finish(r, Closing{}, "")
				tree := process.NewTree(1 << 10)
				told, execs, connects := 0, 0, 0
				for _, ev := range events(t, r) {
					n := tree.Apply(&ev)
					argv := argvOf([]event.Event{ev})
					switch {
					case ev.Kind == event.Container && !ev.OK:
						told++
						if ev.Container.String() != id {
							t.Errorf("container %q", ev.Container)
						}
					case ev.Kind == event.Exec && strings.HasPrefix(argv[0], "bash"):
						execs++
						if ev.Container.String() != id {
							t.Errorf("%s: container %q", argv[0], ev.Container)
						}
					case ev.Kind == event.Exec && strings.Contains(argv[0], "OUTSIDE"):
						execs++
						if !ev.Container.IsZero() {
							t.Errorf("%s: container %q", argv[0], ev.Container)
						}
					case ev.Kind == event.Connect && int(ev.Dst.Port()) == port:
						connects++
						if n == nil || n.Container.String() != id {
							t.Errorf("the connect's process is not in the container")
						}
					}
				}
				if told != 1 || execs != 2 || connects == 0 {
					t.Errorf("%d container events, %d execs, %d connects", told, execs, connects)
				}
			})
		}
	}
}

// removed removes the folder of a cgroup, in which something ended just now.
func removed(t *testing.T, folder string) {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(folder)
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("removing %s: %v", folder, err)
		}
	}
}

// unread has no record read until f has returned.
func unread(m *Monitor, f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// enter runs a program in a cgroup, for as long as it takes.
func enter(t *testing.T, folder, mark string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs"; exec true `+mark, folder)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

// stay runs a program in a cgroup until leave is called.
func stay(t *testing.T, folder string) (leave func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs"; exec cat`, folder)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	leave = func() {
		once.Do(func() {
			_ = in.Close()
			_ = cmd.Wait()
		})
	}
	t.Cleanup(leave)
	return leave
}

// containersOf returns the container of each exec of true, by its mark.
func containersOf(t *testing.T, r *recording) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, ev := range events(t, r) {
		if ev.Kind != event.Exec {
			continue
		}
		switch argv := argvOf([]event.Event{ev})[0]; {
		case strings.HasPrefix(argv, "true "):
			got[strings.TrimPrefix(argv, "true ")] = ev.Container.String()
		case strings.HasPrefix(argv, "sh -c echo $$") && !ev.Container.IsZero():
			t.Errorf("what goes into the container is in %q before", ev.Container)
		}
	}
	return got
}

func TestAContainerHasItsIDHoweverShortItLives(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			folder := func(digits string) (dir, id string) {
				id = strings.Repeat(digits, 4)
				if version == "v1" {
					return oldCgroup(t, "docker/"+id), id
				}
				return cgroup(t, "docker/"+id), id
			}
			before, first := folder("0011223344556677")
			m := started(t, "ebpf")
			defer m.Close()
			r := opened(t, m, "x")
			var second string
			unread(m, func() {
				m.containers.byProc.read = func(pid uint32) (placed, bool) {
					t.Errorf("/proc was asked for %d", pid)
					return placed{}, false
				}
				enter(t, before, "BEFORE")
				removed(t, before)
				var while string
				while, second = folder("8899aabbccddeeff")
				enter(t, while, "WHILE")
				removed(t, while)
			})
			if err := m.settle(); err != nil {
				t.Fatal(err)
			}
			m.finish(r, Closing{}, "")
			if got, want := containersOf(t, r), map[string]string{"BEFORE": first, "WHILE": second}; !maps.Equal(got, want) {
				t.Errorf("containers %v, want %v", got, want)
			}
		})
	}
}

func TestAStormOfCgroupsIsBoundedAndHidesNoContainer(t *testing.T) {
	const storm = 5000
	m := started(t, "ebpf")
	defer m.Close()
	r := opened(t, m, "x")
	id := strings.Repeat("0123456789abcdef", 4)
	folder := cgroup(t, "docker/"+id)
	parent := filepath.Join(filepath.Dir(filepath.Dir(folder)), "storm", "docker")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		removed(t, parent)
		removed(t, filepath.Dir(parent))
	}()
	unread(m, func() {
		for i := range storm {
			// Each as a container is named.
			dir := filepath.Join(parent, fmt.Sprintf("%064x", i))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			removed(t, dir)
		}
		enter(t, folder, "INSIDE")
		removed(t, folder)
	})
	if err := m.settle(); err != nil {
		t.Fatal(err)
	}
	m.finish(r, Closing{}, "")
	if got := containersOf(t, r); got["INSIDE"] != id {
		t.Errorf("containers %v, want %s", got, id)
	}
	h := &m.containers.unified
	if n := len(h.known) + len(h.before); n < storm || n > 2*maxCgroups {
		t.Errorf("%d cgroups are remembered", n)
	}
	if st := m.primary.Stats(); st.Lost+st.Stolen+st.Undecoded != 0 {
		t.Errorf("%d records were lost, %d stolen, %d not decoded", st.Lost, st.Stolen, st.Undecoded)
	}
}

func TestAKnownCgroupCostsNoAllocation(t *testing.T) {
	c, err := openContainers()
	if err != nil {
		t.Skip(err)
	}
	defer c.close()
	root, err := probe.CgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	for version, folder := range map[string]func(*testing.T, string) string{"v1": oldCgroup, "v2": cgroup} {
		t.Run(version, func(t *testing.T) {
			var st, top unix.Stat_t
			dir := folder(t, "docker/"+strings.Repeat("cd", 32))
			if err := errors.Join(unix.Stat(dir, &st), unix.Stat(root, &top)); err != nil {
				t.Fatal(err)
			}
			rec := &sensor.Record{Kind: event.Exec, Cgroup: st.Ino}
			if version == "v1" {
				rec.Cgroup, rec.OldCgroup = top.Ino, st.Ino
			}
			if c.ofExec(rec, nil).id.IsZero() {
				t.Fatal("the container is not found")
			}
			if n := testing.AllocsPerRun(100, func() { c.ofExec(rec, nil) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestCgroupsThatAreRememberedAreBounded(t *testing.T) {
	h := newHierarchy()
	const used = 1
	path := func(id uint64) string { return fmt.Sprintf("/docker/%064x", id) }
	h.learn(used, path(used))
	for id := uint64(2); id < 10*maxCgroups; id++ {
		h.learn(id, path(id))
		h.learn(1<<60+id, "/user.slice") // of no container: not worth a place
		if id%1000 == 0 && h.of(used).id.String() != path(used)[len("/docker/"):] {
			t.Fatalf("after %d others one that is asked for again and again is forgotten", id)
		}
		if len(h.known) > maxCgroups || len(h.before) > maxCgroups {
			t.Fatalf("%d and %d cgroups are remembered", len(h.known), len(h.before))
		}
	}
	long := "/docker/" + strings.Repeat("ef", 32) + strings.Repeat("/"+strings.Repeat("n", 200), 20) + "/end"
	h.learn(used, long)
	if got := h.of(used); got.id.String() != strings.Repeat("ef", 32) || len(got.path) != maxCgroupPath || !strings.HasSuffix(long, got.path) {
		t.Errorf("of a path of %d bytes: %s, %q", len(long), got.id, got.path)
	}
}
