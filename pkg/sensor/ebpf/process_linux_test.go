package ebpf

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

func execOf(pid uint32) func(*sensor.Record) bool {
	return func(r *sensor.Record) bool { return r.Kind == event.Exec && r.PID == pid }
}

func TestAProgramIsSeenFromForkToExit(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", "exit 7")
	cmd.Dir = dir
	_ = cmd.Run()
	drain(t, s)
	pid := uint32(cmd.Process.Pid)

	fork := rec.only(t, "fork", func(r *sensor.Record) bool { return r.Kind == event.Fork && r.PID == pid })
	ex := rec.only(t, "exec", execOf(pid))
	exit := rec.only(t, "exit", func(r *sensor.Record) bool { return r.Kind == event.Exit && r.PID == pid })
	if fork.ParentPID != uint32(os.Getpid()) || fork.ParentStart == 0 || fork.Start == 0 {
		t.Errorf("fork %+v", fork)
	}
	if ex.Start != fork.Start || exit.Start != fork.Start {
		t.Errorf("start %d at fork, %d at exec, %d at exit", fork.Start, ex.Start, exit.Start)
	}
	if !(fork.Time < ex.Time && ex.Time < exit.Time) {
		t.Errorf("times %d %d %d", fork.Time, ex.Time, exit.Time)
	}
	if exit.Code != 7 || exit.Signal != 0 {
		t.Errorf("exit %+v", exit)
	}
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(shell, &st); err != nil {
		t.Fatal(err)
	}
	if string(ex.Exe) != shell || ex.File != (event.FileID{Dev: st.Dev, Inode: st.Ino}) || string(ex.Filename) != "/bin/sh" || len(ex.Interp) != 0 || ex.Image != 0 {
		t.Errorf("exe %q %+v, filename %q, interp %q, image %s", ex.Exe, ex.File, ex.Filename, ex.Interp, ex.Image)
	}
	if ex.CTime != st.Ctim.Nano() || ex.Size != uint64(st.Size) {
		t.Errorf("changed at %d, %d bytes; want %d, %d", ex.CTime, ex.Size, st.Ctim.Nano(), st.Size)
	}
	if string(ex.Argv) != "/bin/sh\x00-c\x00exit 7\x00" || ex.ArgvBytes != len(ex.Argv) || ex.ArgvCut {
		t.Errorf("argv %q of %d, cut %v", ex.Argv, ex.ArgvBytes, ex.ArgvCut)
	}
	if string(ex.Cwd) != dir {
		t.Errorf("cwd %q, want %q", ex.Cwd, dir)
	}
	for kind, got := range map[string]uint32{"mnt": ex.NS.Mount, "net": ex.NS.Net, "pid": ex.NS.PID, "user": ex.NS.User} {
		if err := unix.Stat("/proc/self/ns/"+kind, &st); err != nil || uint64(got) != st.Ino {
			t.Errorf("%s namespace %d, want %d (%v)", kind, got, st.Ino, err)
		}
	}
}

func TestAKilledProcessEndsOnceWithItsSignal(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	var pids []uint32
	for range 20 {
		cmd := as("threads")
		_ = cmd.Run()
		pids = append(pids, uint32(cmd.Process.Pid))
	}
	drain(t, s)
	for _, pid := range pids {
		exit := rec.only(t, "exit", func(r *sensor.Record) bool { return r.Kind == event.Exit && r.PID == pid })
		if exit.Signal != int(unix.SIGTERM) || exit.Code != 0 {
			t.Errorf("exit %+v", exit)
		}
	}
}

func TestArgumentsOfAnySizeAreSeenByteForByte(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	long := func(n int) []string {
		// Different in each place, so that pieces in the wrong order show.
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(i*7/13%26)
		}
		return []string{string(b)}
	}
	many := func(n, size int) (args []string) {
		for i := range n {
			args = append(args, strings.Repeat(string('a'+rune(i%26)), size-5)+fmt.Sprintf("%05d", i))
		}
		return args
	}
	const name = "/bin/true"
	for _, c := range []struct {
		what string
		args []string
	}{
		{"one byte", []string{""}},
		{"4,095 bytes in all", long(4095 - len(name) - 2)},
		{"4,096 bytes in all", long(4096 - len(name) - 2)},
		{"4,097 bytes in all", long(4097 - len(name) - 2)},
		{"120 KB in one", long(120_000)},
		{"4,094 short ones", many(4094, 10)},
		{"128 KiB in all", append(long(100_000), long(128<<10-100_001-len(name)-2)...)},
		{"128 KiB and a byte", append(long(100_000), long(128<<10-100_000-len(name)-2)...)},
		{"1.8 MB", many(18, 100_000)},
	} {
		cmd := exec.Command(name, c.args...)
		if err := cmd.Run(); err != nil {
			t.Fatal(c.what, err)
		}
		drain(t, s)
		ex := rec.only(t, c.what, execOf(uint32(cmd.Process.Pid)))
		var want bytes.Buffer
		for _, a := range cmd.Args {
			want.WriteString(a + "\x00")
		}
		size := want.Len()
		want.Truncate(min(size, 128<<10))
		if !bytes.Equal(ex.Argv, want.Bytes()) {
			t.Errorf("%s: %d bytes, not those of the %d given", c.what, len(ex.Argv), want.Len())
		}
		if ex.ArgvBytes != size || ex.ArgvCut != (size > 128<<10) || ex.ArgvMissing {
			t.Errorf("%s: argv of %d bytes, want %d, cut %v", c.what, ex.ArgvBytes, size, ex.ArgvCut)
		}
	}
}

func TestScriptsMemfdsAndDeletedImagesAreTold(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	image, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}

	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh -e\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	scripted := exec.Command(script, "x")

	fd, err := unix.MemfdCreate("evil", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memory := os.NewFile(uintptr(fd), "evil")
	defer memory.Close()
	if _, err := memory.Write(image); err != nil {
		t.Fatal(err)
	}
	memfd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", fd))

	gone := filepath.Join(dir, "gone")
	if err := os.WriteFile(gone, image, 0o755); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(gone)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	deleted := exec.Command(fmt.Sprintf("/proc/self/fd/%d", held.Fd()))

	// A file that only looks like one.
	named := filepath.Join(dir, "memfd:evil")
	if err := os.WriteFile(named, image, 0o755); err != nil {
		t.Fatal(err)
	}
	plain := exec.Command(named)

	for _, c := range []*exec.Cmd{scripted, memfd, deleted, plain} {
		if err := c.Run(); err != nil {
			t.Fatal(c, err)
		}
	}
	drain(t, s)
	shell, _ := filepath.EvalSymlinks("/bin/sh")
	for _, c := range []struct {
		what                  string
		cmd                   *exec.Cmd
		exe, filename, interp string
		image                 event.Image
	}{
		{"script", scripted, shell, script, "/bin/sh", event.Script},
		{"memfd", memfd, "/memfd:evil", memfd.Path, "", event.Memfd},
		{"deleted", deleted, gone, deleted.Path, "", event.Deleted},
		{"named like a memfd", plain, named, named, "", 0},
	} {
		ex := rec.only(t, c.what, execOf(uint32(c.cmd.Process.Pid)))
		if string(ex.Exe) != c.exe || string(ex.Filename) != c.filename || string(ex.Interp) != c.interp || ex.Image != c.image {
			t.Errorf("%s: exe %q, filename %q, interp %q, image %q", c.what, ex.Exe, ex.Filename, ex.Interp, ex.Image)
		}
	}
}

func TestOnlyListedVariablesLeaveAProcess(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	cmd := exec.Command("/bin/true")
	cmd.Env = []string{
		"GITHUB_TOKEN=secret-1", "GITHUB_JOB=build", "GITHUB_JOBS=secret-2", "CI=true", "CI_JOB_TOKEN=secret-3",
		"GITHUB_JOB", "LONG=" + strings.Repeat("x", 510-5) + "CI=secret-4" + strings.Repeat("CI=secret-5", 500),
		"RUNNER_TRACKING_ID=github_0815", "GITHUB_WORKFLOW=" + strings.Repeat("w", 2000),
		"npm_package_name=left-pad",
	}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	ex := rec.only(t, "exec", execOf(uint32(cmd.Process.Pid)))
	want := "GITHUB_JOB=build\x00CI=true\x00RUNNER_TRACKING_ID=github_0815\x00" +
		"GITHUB_WORKFLOW=" + strings.Repeat("w", 511-16) + "\x00npm_package_name=left-pad\x00"
	if string(ex.Env) != want {
		t.Errorf("%q\nwant %q", ex.Env, want)
	}
}

func TestAPathAcrossMountsIsWhole(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	at := filepath.Join(dir, "m")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	deep := at
	for len(deep) < 3500 {
		deep = filepath.Join(deep, strings.Repeat("d", 200))
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(deep, "true")
	if err := os.WriteFile(file, image, 0o755); err != nil {
		t.Fatal(err)
	}
	s, rec := arm(t, Options{}, nil)
	cmd := exec.Command(file)
	cmd.Dir = deep
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	ex := rec.only(t, "exec", execOf(uint32(cmd.Process.Pid)))
	if string(ex.Exe) != file || string(ex.Cwd) != deep || string(ex.Filename) != file {
		t.Errorf("exe %q\nwant %q\ncwd %q", ex.Exe, file, ex.Cwd)
	}
}

// storm runs n short programs of distinct arguments and checks each.
func storm(t testing.TB, n int) {
	s, rec := arm(t, Options{}, func(r *sensor.Record) bool { return r.Kind == event.Exec || r.Kind == event.Fork })
	before := s.Stats()
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true storm $i; i=$((i+1)); done", n))
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	parent := uint32(cmd.Process.Pid)
	forks := map[uint32]int{}
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.Kind == event.Fork && r.ParentPID == parent }) {
		forks[r.PID]++
	}
	// The order of a process's life holds in a storm too.
	life := map[uint32]event.Kind{}
	rec.mu.Lock()
	for i := range rec.recs {
		r := &rec.recs[i]
		if _, forked := life[r.PID]; r.Kind == event.Exec && forks[r.PID] == 1 && !forked {
			t.Errorf("the exec of %d came before its fork", r.PID)
		}
		if r.Kind == event.Fork {
			life[r.PID] = r.Kind
		}
	}
	rec.mu.Unlock()
	truth, err := filepath.EvalSymlinks("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.Kind == event.Exec && forks[r.PID] == 1 }) {
		if string(r.Exe) != truth {
			t.Fatalf("exe %q", r.Exe)
		}
		seen[string(r.Argv)]++
	}
	for i := range n {
		if seen[fmt.Sprintf("/bin/true\x00storm\x00%d\x00", i)] != 1 {
			t.Fatalf("exec %d of %d was seen %d times; stats %+v", i, n, seen[fmt.Sprintf("/bin/true\x00storm\x00%d\x00", i)], s.Stats())
		}
	}
	st := s.Stats()
	if st.Lost != 0 || st.Missed != 0 || st.Undecoded != 0 {
		t.Errorf("%+v", st)
	}
	if got := st.Execs - before.Execs; got < uint64(n)+1 {
		t.Errorf("%d execs were counted, %d happened", got, n+1)
	}
}

func TestEveryExecOfAStormIsSeen(t *testing.T) { storm(t, 5000) }

func BenchmarkExecStorm20000(b *testing.B) {
	for range b.N {
		storm(b, 20000)
	}
}

// int80 opens /tmp/… for writing by the 32-bit system call, then ends.
func int80(path string) []byte {
	const header = 64 + 56
	code := []byte{
		0xb8, 5, 0, 0, 0, // mov eax, __NR_ia32_open
		0xbb, 0, 0, 0, 0, // mov ebx, path
		0xb9, 0x41, 0, 0, 0, // mov ecx, O_WRONLY|O_CREAT
		0xba, 0xb6, 1, 0, 0, // mov edx, 0666
		0xcd, 0x80, // int 0x80
		0xbb, 0, 0, 0, 0, // mov ebx, 0
		0x85, 0xc0, // test eax, eax
		0x79, 0x02, // jns +2
		0xb3, 0x01, // mov bl, 1
		0xb8, 1, 0, 0, 0, // mov eax, __NR_ia32_exit
		0xcd, 0x80,
	}
	at := uint32(elfBase + header + len(code))
	native.PutUint32(code[6:], at)
	return program(append(code, path+"\x00"...))
}

func TestASystemCallByInterrupt0x80IsSeen(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("int $0x80 is of x86")
	}
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	program, target := filepath.Join(dir, "program"), filepath.Join(dir, "made by int 0x80")
	if err := os.WriteFile(program, int80(target), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	if err := cmd.Run(); err != nil {
		if _, statErr := os.Stat(target); statErr != nil {
			t.Skipf("this kernel has no 32-bit system calls: %v", err)
		}
	}
	drain(t, s)
	open := rec.only(t, "open", func(r *sensor.Record) bool { return r.Kind == event.Open && string(r.Path) == target })
	if open.PID != uint32(cmd.Process.Pid) || open.Access != event.Write|event.Create {
		t.Errorf("%+v", open)
	}
}

// The aim is 200 ms on a quiet machine with two processors.
func BenchmarkArming(b *testing.B) {
	for b.Loop() {
		s, _ := arm(b, Options{}, nil)
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// Where nothing was going on the programs wake the reader: what happens is told
// without its own poll, which here does not come.
func TestWhatHappensAfterAQuietMomentIsToldWithoutThePoll(t *testing.T) {
	_, rec := arm(t, Options{poll: time.Hour}, nil)
	for i := range 3 {
		cmd := exec.Command("/bin/true", strconv.Itoa(i))
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		pid := uint32(cmd.Process.Pid)
		for deadline := time.Now().Add(20 * time.Second); len(rec.find(func(r *sensor.Record) bool { return r.Kind == event.Exit && r.PID == pid })) == 0; {
			if time.Now().After(deadline) {
				t.Fatalf("program %d was not told", i)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
