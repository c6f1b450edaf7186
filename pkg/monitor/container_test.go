package monitor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/process"
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
					case ev.Kind == event.Container:
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

func TestAKnownCgroupCostsNoAllocation(t *testing.T) {
	c, err := openContainers()
	if err != nil {
		t.Skip(err)
	}
	defer c.close()
	var st unix.Stat_t
	if err := unix.Stat(cgroup(t, "docker/"+strings.Repeat("cd", 32)), &st); err != nil {
		t.Fatal(err)
	}
	if c.of(st.Ino).id.IsZero() {
		t.Fatal("the container is not found")
	}
	if n := testing.AllocsPerRun(100, func() { c.of(st.Ino) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range uint64(maxCgroups + 64) {
		c.of(1<<60 + i)
	}
	if len(c.known) > maxCgroups {
		t.Errorf("%d cgroups are remembered", len(c.known))
	}
}
