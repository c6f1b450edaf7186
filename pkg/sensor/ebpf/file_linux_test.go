package ebpf

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

func TestWhatIsDoneToFilesIsTold(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	pid, _ := perform(t, "files", dir)
	drain(t, s)
	in := func(name string) string { return filepath.Join(dir, name) }
	var st unix.Stat_t
	if err := unix.Stat(in("renamed"), &st); err != nil {
		t.Fatal(err)
	}
	got := rec.find(func(r *sensor.Record) bool {
		return r.PID == pid && strings.HasPrefix(string(r.Path)+string(r.NewPath), dir)
	})
	want := []sensor.Record{
		{Kind: event.Open, Path: []byte(in("new")), Access: event.Write | event.Create | event.Truncate | event.Append, Mode: 0o100644},
		{Kind: event.Chmod, Path: []byte(in("new")), Mode: 0o600},
		{Kind: event.Mkdir, Path: []byte(in("dir")), Mode: 0o750},
		{Kind: event.Rename, Path: []byte(in("new")), NewPath: []byte(in("renamed"))},
		{Kind: event.Chmod, Path: []byte(in("renamed")), Mode: 0o4755},
		{Kind: event.Link, Path: []byte(in("renamed")), NewPath: []byte(in("hard")), Detail: "hard"},
		{Kind: event.Open, Path: []byte(in("renamed")), Access: event.Write | event.Truncate},
		{Kind: event.Unlink, Path: []byte(in("hard"))},
		{Kind: event.Unlink, Path: []byte(in("dir"))},
	}
	// os.Remove tries unlink and rmdir; only what succeeded is told.
	if len(got) != len(want) {
		for _, r := range got {
			t.Logf("%s %q %q", r.Kind, r.Path, r.NewPath)
		}
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Kind != w.Kind || string(g.Path) != string(w.Path) || string(g.NewPath) != string(w.NewPath) || g.Access != w.Access || g.Mode != w.Mode || g.Detail != w.Detail {
			t.Errorf("%d: %s %q -> %q, access %s, mode %o, %s\nwant %s %q -> %q, access %s, mode %o, %s", i,
				g.Kind, g.Path, g.NewPath, g.Access, g.Mode, g.Detail, w.Kind, w.Path, w.NewPath, w.Access, w.Mode, w.Detail)
		}
	}
	if got[0].File != (event.FileID{Dev: st.Dev, Inode: st.Ino}) {
		t.Errorf("file %+v, want %d:%d", got[0].File, st.Dev, st.Ino)
	}
	soft := rec.only(t, "symlink", func(r *sensor.Record) bool { return r.Kind == event.Link && r.Detail == "symbolic" && r.PID == pid })
	if string(soft.Path) != "../elsewhere" || string(soft.NewPath) != in("soft") {
		t.Errorf("symlink %q -> %q", soft.NewPath, soft.Path)
	}
}

func TestAWatchedNameIsFoundWhateverLedToIt(t *testing.T) {
	long := strings.Repeat("n", 70)
	s, rec := arm(t, Options{Watch: sensor.Watch{Names: []string{"credentials", long}, Prefixes: []string{".env."}}}, nil)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	// All of them are made after arming.
	for _, n := range []string{"credentials", ".env.local", ".env", "credentials2", "credential", "plain", long, long[:69]} {
		if err := os.WriteFile(in(n), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("credentials", in("innocent")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in("sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	pid, _ := perform(t, "read", in("innocent"), in(".env.local"), in(".env"), in("credentials2"), in("credential"),
		in("plain"), in("sub/../plain"), in(long), in(long[:69]))
	drain(t, s)
	seen := map[string]bool{}
	for _, r := range rec.find(func(r *sensor.Record) bool {
		return r.Kind == event.Open && r.PID == pid && strings.HasPrefix(string(r.Path), dir)
	}) {
		if !r.Watched || r.Access != event.Read {
			t.Errorf("%q watched %v, access %s", r.Path, r.Watched, r.Access)
		}
		seen[filepath.Base(string(r.Path))] = true
	}
	// Names are compared by their first 63 bytes: the shorter one is told too.
	want := map[string]bool{"credentials": true, ".env.local": true, long: true, long[:69]: true}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("seen %v\nwant %v", seen, want)
	}
}

func TestAnotherProcessMemoryIsWatchedAndOnesOwnIsNot(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	other := exec.Command("/bin/sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	proc := "/proc/" + strconv.Itoa(other.Process.Pid)
	pid, _ := perform(t, "read", proc+"/mem", proc+"/maps", proc+"/environ", proc+"/task/"+strconv.Itoa(other.Process.Pid)+"/mem",
		proc+"/status", "/proc/self/maps", "/proc/self/environ")
	drain(t, s)
	target := uint32(other.Process.Pid)
	mem := rec.find(func(r *sensor.Record) bool { return r.Kind == event.MemAccess && r.PID == pid })
	if len(mem) != 3 {
		t.Fatalf("%d records of memory: %+v", len(mem), mem)
	}
	for i, want := range []string{proc + "/mem", proc + "/environ", proc + "/task/" + strconv.Itoa(other.Process.Pid) + "/mem"} {
		if r := mem[i]; string(r.Path) != want || r.TargetPID != target || r.TargetStart == 0 || r.Op != event.OpRead {
			t.Errorf("%q of %d, op %s, want %q of %d", r.Path, r.TargetPID, r.Op, want, target)
		}
	}
	maps := rec.only(t, "maps", func(r *sensor.Record) bool { return r.Kind == event.Open && r.PID == pid && r.Watched })
	if string(maps.Path) != proc+"/maps" || maps.TargetPID != target {
		t.Errorf("%q of %d", maps.Path, maps.TargetPID)
	}
}

func TestRepeatedWritesAreFoldedAndCounted(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	const n = 20000
	pid, _ := perform(t, "write-many", dir, strconv.Itoa(n))
	drain(t, s)
	var told uint64
	opens := rec.find(func(r *sensor.Record) bool {
		return r.Kind == event.Open && r.PID == pid && strings.HasPrefix(string(r.Path), dir+"/")
	})
	files := map[string]bool{}
	for _, r := range opens {
		told++
		files[string(r.Path)] = true
	}
	st := s.Stats()
	// A file is told when made and when opened again: two verbs.
	if len(files) != 1000 || told < 2000 || told+st.Folded < n || told > 10000 {
		t.Errorf("%d files, %d records, %d folded, of %d writes", len(files), told, st.Folded, n)
	}
	if st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

// A file system gives the number of a removed file to the next that is made. A
// job must not be able to write a file unseen in the place of one that was told.
func TestAFileWithTheNumberOfARemovedOneIsTold(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	pid, _ := perform(t, "reuse", dir)
	drain(t, s)
	numbers, err := os.ReadFile(filepath.Join(dir, "numbers"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(string(numbers)); err != nil || n >= 100 {
		t.Skipf("this file system used no number twice (%s of 100)", numbers)
	}
	opens := map[string]int{}
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.Kind == event.Open && r.PID == pid }) {
		opens[filepath.Base(string(r.Path))]++
	}
	for i := range 100 {
		if name := fmt.Sprintf("life-%d", i); opens[name] != 2 {
			t.Errorf("%s was told %d times, want when it was made and when it was written again", name, opens[name])
		}
	}
}

func TestTamperingIsToldWithItsTarget(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	victim := exec.Command("/bin/sleep", "60")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = victim.Process.Kill(); _ = victim.Wait() })
	target := uint32(victim.Process.Pid)
	pid, _ := perform(t, "power", strconv.Itoa(int(target)), dir)
	drain(t, s)
	by := func(kind event.Kind, op event.Op) sensor.Record {
		t.Helper()
		return rec.only(t, kind.String()+" "+op.String(), func(r *sensor.Record) bool { return r.PID == pid && r.Kind == kind && r.Op == op })
	}
	if r := by(event.Ptrace, event.OpAttach); r.TargetPID != target || r.Err != 0 {
		t.Errorf("ptrace %+v", r)
	}
	if r := by(event.MemAccess, event.OpRead); r.TargetPID != target {
		t.Errorf("process_vm_readv %+v", r)
	}
	if r := by(event.MemAccess, event.OpWrite); r.TargetPID != target {
		t.Errorf("process_vm_writev %+v", r)
	}
	if r := by(event.Ptrace, event.OpOther); r.TargetPID != target {
		t.Errorf("pidfd_getfd %+v", r)
	}
	if r := rec.only(t, "kill", func(r *sensor.Record) bool {
		return r.PID == pid && r.Kind == event.Kill && r.Signal == int(unix.SIGUSR1)
	}); r.TargetPID != target || r.TargetStart == 0 {
		t.Errorf("kill %+v", r)
	}
	if r := by(event.BPF, event.OpObject); r.Err != int(unix.ENOENT) {
		t.Errorf("bpf %+v", r)
	}
	by(event.IOUring, event.OpSetup)
	if r := rec.only(t, "unix", func(r *sensor.Record) bool { return r.PID == pid && r.Kind == event.Unix }); string(r.Path) != filepath.Join(dir, "sock") || r.File.Inode == 0 {
		t.Errorf("unix %q %+v", r.Path, r)
	}
	if r := by(event.Namespace, event.OpUnshare); r.NS.Mount == 0 {
		t.Errorf("unshare %+v", r)
	}
	mount := rec.only(t, "mount", func(r *sensor.Record) bool {
		return r.PID == pid && r.Kind == event.Mount && string(r.Path) == "posture"
	})
	if string(mount.NewPath) != filepath.Join(dir, "mnt") || mount.Op != event.OpMount {
		t.Errorf("mount %q on %q", mount.Path, mount.NewPath)
	}
	if r := by(event.Mount, event.OpUnmount); string(r.NewPath) != filepath.Join(dir, "mnt") {
		t.Errorf("unmount %q", r.NewPath)
	}
	if r := rec.only(t, "packet", func(r *sensor.Record) bool { return r.PID == pid && r.Kind == event.Packet }); r.Proto != event.ProtoPacket {
		t.Errorf("packet socket %+v", r)
	}
	if r := rec.only(t, "setsid", func(r *sensor.Record) bool { return r.PID == pid && r.Kind == event.SetSID }); r.Session != pid {
		t.Errorf("setsid %+v", r)
	}
	if r := rec.find(func(r *sensor.Record) bool { return r.PID == pid && r.Kind == event.SetID }); len(r) == 0 || r[0].UID != 65534 {
		t.Errorf("setid %+v", r)
	}
}

func TestTheMonitorsOwnFilesAreLeftOut(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	perform(t, "read", path)
	drain(t, s)
	if found := rec.find(func(r *sensor.Record) bool { return string(r.Path) == path }); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

func TestATargetInAPIDNamespaceIsNamedByItsGlobalPID(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	cmd := as("inner")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC}
	if err := cmd.Run(); err != nil {
		t.Skipf("a pid namespace: %v", err)
	}
	drain(t, s)
	pid := uint32(cmd.Process.Pid)
	child := rec.only(t, "exec", func(r *sensor.Record) bool {
		return r.Kind == event.Exec && string(r.Argv) == "/bin/cat\x00-u\x00" && r.NS.PID != 0 && r.PID != pid
	})
	read := rec.only(t, "read", func(r *sensor.Record) bool { return r.Kind == event.MemAccess && r.PID == pid })
	if read.TargetPID != child.PID || read.Err != int(unix.EFAULT) {
		t.Errorf("target %d, want %d; %+v", read.TargetPID, child.PID, read)
	}
	clone := rec.only(t, "clone", func(r *sensor.Record) bool { return r.Kind == event.Namespace && r.TargetPID == pid })
	if clone.Op != event.OpClone || clone.PID != uint32(os.Getpid()) || clone.NS.PID == 0 || clone.TargetStart == 0 {
		t.Errorf("%+v", clone)
	}
	ex := rec.only(t, "exec", func(r *sensor.Record) bool { return r.Kind == event.Exec && r.PID == pid })
	if ex.NS.PID != clone.NS.PID {
		t.Errorf("pid namespace %d at clone, %d at exec", clone.NS.PID, ex.NS.PID)
	}
}

// Where the kernel preempts the programs of system calls there are three, and
// each call is told once whichever of them was skipped.
func TestACallIsToldOnceByWhicheverProgramIsRunForIt(t *testing.T) {
	for _, skipped := range [][]string{nil, {"on_sys_exit"}, {"on_sys_exit_second"}, {"on_sys_exit_third"}, {"on_sys_exit", "on_sys_exit_second"}, {"on_sys_exit", "on_sys_exit_third"}, {"on_sys_exit_second", "on_sys_exit_third"}} {
		t.Run(strings.Join(skipped, ","), func(t *testing.T) {
			s, rec := arm(t, Options{preempted: true}, nil)
			for _, a := range s.l.links {
				if slices.Contains(skipped, a.hook.program) {
					if err := a.link.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
			dir := t.TempDir()
			const n = 300
			pid, _ := perform(t, "write-many", dir, strconv.Itoa(n))
			drain(t, s)
			told := map[string]int{}
			for _, r := range rec.find(func(r *sensor.Record) bool { return r.PID == pid && r.Kind == event.Open && r.Access&event.Write != 0 }) {
				told[string(r.Path)]++
			}
			for i := range n {
				if path := filepath.Join(dir, strconv.Itoa(i)); told[path] != 1 {
					t.Errorf("%s is told %d times", path, told[path])
				}
			}
		})
	}
}
