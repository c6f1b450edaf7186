package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/probe"
)

func TestParseStat(t *testing.T) {
	const rest = " S 100 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 4242 1000 10"
	tests := []struct {
		name, line string
		want       stat
		bad        bool
	}{
		{"an ordinary line", "7 (cat)" + rest, stat{ppid: 100, start: 42420000000, threads: 3}, false},
		{"a name that imitates the line", "7 (a) S 1 1 1 0 -1 2097152 (b)" + rest, stat{ppid: 100, start: 42420000000, threads: 3}, false},
		{"a kernel thread", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 0 0", stat{threads: 1, start: 1, kernel: true}, false},
		{"cut off", "7 (cat) S 100 1", stat{}, true},
		{"no name", "7 cat S", stat{}, true},
		{"no number", strings.Replace("7 (cat)"+rest, "4242", "x", 1), stat{}, true},
		{"a start beyond time", strings.Replace("7 (cat)"+rest, "4242", "9223372036854775807", 1), stat{}, true},
		{"empty", "", stat{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.line))
			if (err != nil) != tt.bad || got != tt.want {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) b) S 100 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 4242 1000 10"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if s, err := parseStat(line); err == nil && s.start <= 0 {
			t.Errorf("start %d", s.start)
		}
	})
}

func TestSeedKnowsThisProcessAndItsAncestors(t *testing.T) {
	tb := NewTable(1 << 16)
	if err := tb.Seed("/proc"); err != nil {
		t.Fatal(err)
	}
	check(t, tb)
	self := tb.Find(uint32(os.Getpid()), 0)
	if !self.Alive || !self.Coarse || self.UID != uint32(os.Geteuid()) || self.Kernel {
		t.Fatalf("this process: %+v", self)
	}
	if self.Parent == nil || self.Parent.Actor.PID != uint32(os.Getppid()) {
		t.Errorf("its parent: %+v", self.Parent)
	}
	top := self
	for a := range self.Lineage() {
		top = a
	}
	if top.Actor.PID != 1 {
		t.Errorf("its lineage ends at pid %d", top.Actor.PID)
	}
	for p := range tb.all() {
		if p.Parent != nil && p.Parent.Actor.PID == 2 && !p.Kernel {
			t.Errorf("pid %d is a kernel thread, and we do not know", p.Actor.PID)
		}
	}
	if s := tb.Stats(); s.Unknown != 0 {
		t.Errorf("%+v", s)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err == nil && uint64(self.NetNS) != st.Ino {
		t.Errorf("network namespace %d, want %d", self.NetNS, st.Ino)
	}
}

// A daemon's children that were there before were asked for by nobody, and least
// of all by a recording that begins later: on most machines they are everything
// that systemd runs.
func TestWhatADaemonRanBeforeIsNoAnswer(t *testing.T) {
	proc := t.TempDir()
	for pid, of := range map[int]struct {
		parent int
		exe    string
	}{1: {0, "/usr/lib/systemd/systemd"}, 20: {1, "/usr/sbin/dockerd"}, 21: {20, "/usr/bin/containerd"}, 30: {1, "/usr/bin/agent"}} {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		stat := fmt.Sprintf("%d (p) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 1000 10", pid, of.parent, 100+pid)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644), os.Symlink(of.exe, filepath.Join(dir, "exe"))); err != nil {
			t.Fatal(err)
		}
	}
	tb := NewTable(1 << 10)
	if err := tb.Seed(proc); err != nil {
		t.Fatal(err)
	}
	check(t, tb)
	for _, pid := range []uint32{1, 20, 21, 30} {
		if p := tb.Find(pid, 0); p.Tags != 0 || !p.Alive {
			t.Errorf("process %d is of recordings %b: %+v", pid, p.Tags, p)
		}
	}
}

// sleeper runs a shell command that prints a pid and stays, and returns the pid.
func sleeper(t *testing.T, script string) uint32 {
	t.Helper()
	cmd := osexec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no sh here: %v", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Skipf("%q said nothing: %v", script, err)
	}
	pid, err := strconv.ParseUint(strings.TrimSpace(line), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p, err := os.FindProcess(int(pid)); err == nil {
			_ = p.Kill()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return uint32(pid)
}

func TestUnknownProcessesAreReadFromProc(t *testing.T) {
	tests := []struct{ name, need, script string }{
		{"a child", "sh", `sh -c 'echo $$; exec sleep 60'`},
		{"a chain of execs", "env", `exec env sh -c 'echo $$; exec env sleep 60'`},
		{"a session of its own", "setsid", `setsid sh -c 'echo $$; exec sleep 60'`},
		{"a clean environment", "env", `env -i /bin/sh -c 'echo $$; exec sleep 60'`},
		{"sudo", "sudo", `sudo -n env -i /bin/sh -c 'echo $$; exec sleep 60'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := osexec.LookPath(tt.need); err != nil {
				t.Skipf("needs %s: %v", tt.need, err)
			}
			tb := NewTable(1 << 16)
			if err := tb.Seed("/proc"); err != nil {
				t.Fatal(err)
			}
			tb.TagChildren(uint32(os.Getpid()), 0, 5)
			pid := sleeper(t, tt.script)
			// Its fork was never reported: one record is all that is known.
			p := tb.Find(pid, 0)
			if !p.Tags.Has(5) || !p.Alive {
				t.Errorf("tags %b, alive %v, parent %+v", p.Tags, p.Alive, p.Parent)
			}
			if s := tb.Stats(); s.Unknown == 0 || s.Unresolved != 0 {
				t.Errorf("%+v", s)
			}
			// A fork with the exact time tells the same.
			st, err := tb.readStat(pid)
			if err != nil {
				t.Fatal(err)
			}
			if tb.Find(pid, st.start+1234) != p || tb.Find(pid, st.start) != p {
				t.Error("an exact start time is taken for another process")
			}
			check(t, tb)
		})
	}
}

func TestADoubleForkIsReadFromProcAndMendedByItsFork(t *testing.T) {
	tb := NewTable(1 << 16)
	if err := tb.Seed("/proc"); err != nil {
		t.Fatal(err)
	}
	me := uint32(os.Getpid())
	tb.TagChildren(me, 0, 5)
	// The middle shell ends at once, so that /proc shows another parent. It
	// says its own pid first.
	pid := sleeper(t, `sh -c '(sh -c "echo \$\$; exec sleep 60") &'; exec sleep 60`)
	p := tb.Find(pid, 0)
	st, err := tb.readStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	// The table was given nothing but the late forks of the middle and of it.
	self := tb.Find(me, 0)
	fork(tb, 1<<22+1, st.start+1, me, self.Actor.Start)
	fork(tb, pid, st.start+2, 1<<22+1, st.start+1)
	if got := tb.Find(pid, 0); got != p || !p.Tags.Has(5) || p.Parent.Actor.PID != 1<<22+1 {
		t.Errorf("tags %b, parent %+v", p.Tags, p.Parent)
	}
	check(t, tb)
}

func TestAProcessWhoseFirstThreadEndedLivesOn(t *testing.T) {
	python, err := osexec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3: its main thread can end before the others")
	}
	tb := NewTable(1 << 16)
	if err := tb.Seed("/proc"); err != nil {
		t.Fatal(err)
	}
	tb.TagChildren(uint32(os.Getpid()), 0, 5)
	dir := t.TempDir()
	code := filepath.Join(dir, "leader.py")
	err = os.WriteFile(code, []byte(`
import ctypes, os, threading, time
def stay():
    while open("/proc/self/stat").read().rsplit(")", 1)[1].split()[0] != "Z": time.sleep(0.001)
    os.write(1, b"%d\n" % os.getpid())
    time.sleep(60)
threading.Thread(target=stay).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	pid := sleeper(t, fmt.Sprintf("exec %s %s", python, code))
	p := tb.Find(pid, 0)
	if !p.Tags.Has(5) {
		t.Fatalf("%+v", p)
	}
	exit(tb, pid, p.Actor.Start, p.Actor.Start+second)
	fork(tb, 1<<22+1, p.Actor.Start+100*second, 1, 0)
	if got := tb.Find(pid, 0); got != p || !p.Alive || !p.Tags.Has(5) {
		t.Errorf("after the exit of its first thread: alive %v, tags %b", got.Alive, got.Tags)
	}
	check(t, tb)
}

func TestCgroupPathsByID(t *testing.T) {
	v2, err2 := probe.CgroupRoot()
	_, v1, err1 := probe.OldCgroupRoot()
	for version, root := range map[string]string{"v1": v1, "v2": v2} {
		if root == "" {
			t.Logf("no %s: %v", version, errors.Join(err1, err2))
			continue
		}
		c, err := OpenCgroups(root)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		dir := filepath.Join(c.mount, fmt.Sprintf("posture-test-%d", os.Getpid()), "docker", strings.Repeat("ab", 32))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Skipf("needs root and a cgroup mount that can be written: %v", err)
		}
		defer func() {
			for d := dir; d != c.mount; d = filepath.Dir(d) {
				_ = os.Remove(d)
			}
		}()
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		for _, way := range []string{"by its handle", "by a walk"} {
			t.Run(version+" "+way, func(t *testing.T) {
				c.handle = way == "by its handle"
				p, ok := c.Path(st.Ino)
				if !ok || c.mount+p != dir || ContainerID(p) != strings.Repeat("ab", 32) {
					t.Errorf("%q, %v", p, ok)
				}
				if p, ok := c.Path(1 << 60); ok || p != "" {
					t.Error("an id that is not there has a path")
				}
				if way == "by its handle" && !c.handle {
					t.Error("the handle was not taken")
				}
			})
		}
		n := 0
		c.Each(2, func(uint64, string) bool { n++; return true })
		if n != 2 {
			t.Errorf("%d cgroups are given, want two", n)
		}
	}
}
