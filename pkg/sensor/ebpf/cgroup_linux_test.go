package ebpf

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/sensor"
)

// cgroupOfTests is below the root; others make cgroups meanwhile.
var cgroupOfTests = fmt.Sprintf("posture-sensor-test-%d", os.Getpid())

// testCgroup returns the folder of a cgroup of that version that is not there,
// and removes it with all below it after the test.
func testCgroup(t testing.TB, version int) string {
	t.Helper()
	root, err := probe.CgroupRoot()
	if version == 1 {
		_, root, err = probe.OldCgroupRoot()
	}
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(root, cgroupOfTests)
	remove := func() {
		var all []string
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for _, path := range slices.Backward(all) {
			_ = unix.Rmdir(path)
		}
	}
	remove()
	t.Cleanup(remove)
	return dir
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func isCgroup(r *sensor.Record) bool {
	return r.Kind == event.Container && bytes.HasPrefix(r.Path, []byte("/"+cgroupOfTests))
}

func TestACgroupThatIsMadeIsToldBeforeWhatRunsInIt(t *testing.T) {
	for version, name := range map[int]string{1: "v1", 2: "v2"} {
		t.Run(name, func(t *testing.T) {
			dir := testCgroup(t, version)
			s, rec := arm(t, Options{}, nil)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Skipf("cgroups cannot be made: %v", err)
			}
			cmd := exec.Command("/bin/sh", "-c", `echo $$ >"$0/cgroup.procs"; exec /bin/true`, dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			drain(t, s)
			id := inodeOf(t, dir)
			of := func(r *sensor.Record) (in, other uint64) {
				if version == 1 {
					return r.OldCgroup, r.Cgroup
				}
				return r.Cgroup, r.OldCgroup
			}
			made := rec.only(t, "cgroup", isCgroup)
			if in, other := of(&made); string(made.Path) != "/"+cgroupOfTests || in != id || other != 0 {
				t.Errorf("%q, id %d, want %d, in the other version %d", made.Path, in, id, other)
			}
			if made.PID != uint32(os.Getpid()) {
				t.Errorf("made by %d", made.PID)
			}
			for _, c := range []struct {
				exe string
				in  bool
			}{{"/bin/sh", false}, {"/bin/true", true}} {
				ran := rec.only(t, c.exe, func(r *sensor.Record) bool {
					return r.Kind == event.Exec && r.PID == uint32(cmd.Process.Pid) && string(r.Filename) == c.exe
				})
				if in, _ := of(&ran); (in == id) != c.in || in == 0 {
					t.Errorf("%s ran in cgroup %d, the one that was made is %d", c.exe, in, id)
				}
				if ran.Time < made.Time {
					t.Errorf("%s ran %d ns before its cgroup was made", c.exe, made.Time-ran.Time)
				}
			}
		})
	}
}

func TestOfCgroupV1OneHierarchyIsTold(t *testing.T) {
	used := testCgroup(t, 1)
	others, err := filepath.Glob(filepath.Dir(filepath.Dir(used)) + "/*/cgroup.clone_children")
	if err != nil || len(others) < 2 {
		t.Skipf("one hierarchy of cgroup v1 alone: %v, %v", others, err)
	}
	s, rec := arm(t, Options{}, nil)
	for _, file := range others {
		dir := filepath.Join(filepath.Dir(file), filepath.Base(used))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("cgroups cannot be made: %v", err)
		}
		defer func() { _ = unix.Rmdir(dir) }()
	}
	drain(t, s)
	if made := rec.only(t, "cgroup", isCgroup); made.OldCgroup != inodeOf(t, used) {
		t.Errorf("cgroup %d, want %d", made.OldCgroup, inodeOf(t, used))
	}
}

// The kernel's own buffer for the path has 1,024 bytes, with a NUL.
func TestThePathOfACgroupIsWholeUpToWhatTheKernelGives(t *testing.T) {
	dir := testCgroup(t, 2)
	s, rec := arm(t, Options{}, nil)
	var want []string
	for path := dir; len(path)-len(dir) < 1100; path += "/" + strings.Repeat("x", 199) {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Skipf("cgroups cannot be made: %v", err)
		}
		want = append(want, strings.TrimPrefix(path, filepath.Dir(dir)))
	}
	drain(t, s)
	made := rec.find(isCgroup)
	if len(made) != len(want) || len(want[len(want)-1]) <= 1023 {
		t.Fatalf("%d cgroups are told of %d", len(made), len(want))
	}
	for i, r := range made {
		if whole := []byte(want[i]); !bytes.Equal(r.Path, whole[:min(len(whole), 1023)]) {
			t.Errorf("a path of %d bytes is told as %d: %q", len(whole), len(r.Path), r.Path)
		}
	}
}

func TestWithoutItsTracepointCgroupsAreNotToldAndAllElseIs(t *testing.T) {
	i := slices.IndexFunc(hooks, func(h hook) bool { return h.program == "on_cgroup" })
	was := hooks[i]
	defer func() { hooks[i] = was }()
	hooks[i].tracepoint = "of_no_kernel"
	dir := testCgroup(t, 2)
	s, rec := arm(t, Options{}, nil)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("cgroups cannot be made: %v", err)
	}
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	rec.only(t, "exec", execOf(uint32(cmd.Process.Pid)))
	if got := rec.find(isCgroup); len(got) != 0 {
		t.Errorf("%d cgroups are told", len(got))
	}
	if st := s.Stats(); !slices.Contains(st.Missing, was.without) {
		t.Errorf("not among what is not seen: %q", st.Missing)
	}
}
