package monitor

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
)

// attacks returns the findings of acts upon the monitor by what they are about.
func attacks(r *recording) map[string]judge.Severity {
	found := map[string]judge.Severity{}
	for _, f := range r.judge.Verdict().Findings {
		if f.Rule == "monitor-attack" {
			found[f.Object] = f.Severity
		}
	}
	return found
}

func TestWhoOpensTheMonitorsFilesActsOnTheMonitor(t *testing.T) {
	m := started(t, "ebpf")
	defer m.Close()
	r, err := m.Open(Opening{Command: []string{"x"}, Home: "/root"}, uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(r.spool, evidenceDir, "checkpoints")
	// The log as the monitor itself holds it open: the way to it is another.
	var held string
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, r.spool) && strings.HasSuffix(to, ".jsonl.zst") {
			held = fmt.Sprintf("/proc/%d/fd/%s", os.Getpid(), filepath.Base(fd))
		}
	}
	if held == "" {
		t.Fatal("the monitor does not hold its log open")
	}
	pids := map[uint32]string{}
	job := func(what string, uid uint32, argv ...string) {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		err := cmd.Run()
		if (err == nil) != (uid == 0) {
			t.Fatalf("%s: %v", what, err)
		}
		pids[uint32(cmd.Process.Pid)] = what
	}
	job("read", 0, "cat", notes)
	job("read by /proc", 0, "cat", held)
	job("refused", 65534, "cat", notes)
	job("write", 0, "truncate", "-s", "+0", notes)
	job("rename", 0, "mv", notes, notes+".gone")
	// Another's files are nobody's.
	other := filepath.Join(t.TempDir(), "checkpoints")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	job("another file", 0, "truncate", "-s", "1", other)
	if err := os.Rename(notes+".gone", notes); err != nil {
		t.Fatal(err)
	}
	m.finish(r, Closing{}, "")

	got := map[string]bool{}
	for _, e := range events(t, r) {
		if what := pids[e.Actor.PID]; what != "" && e.Target.PID == uint32(os.Getpid()) && e.Kind != event.Fork {
			got[what] = true
			if e.Via != event.ViaLineage {
				t.Errorf("%s is told %v", what, e.Via)
			}
		}
	}
	for _, what := range pids {
		if want := what != "another file"; got[what] != want {
			t.Errorf("%s: told as an act on the monitor %v, want %v", what, got[what], want)
		}
	}
	found := attacks(r)
	for object, want := range map[string]judge.Severity{
		"read of its files": judge.High, "refused open of its files": judge.Medium,
		"write to its files": judge.Critical, "rename of its files": judge.Critical,
	} {
		if found[object] != want {
			t.Errorf("%s is %q, want %s; all: %v", object, found[object], want, found)
		}
	}
}

// bpfVariable makes this test's own binary one that takes hold of the link with
// the id of its argument, and detaches it by force.
const bpfVariable = "POSTURE_TEST_BPF"

func detachLink(id string) error {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return err
	}
	attr := make([]byte, 64)
	binary.NativeEndian.PutUint32(attr, uint32(n))
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_GET_FD_BY_ID, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
	if errno != 0 {
		return fmt.Errorf("link %s: %w", id, errno)
	}
	clear(attr)
	binary.NativeEndian.PutUint32(attr, uint32(fd))
	if _, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_DETACH, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr))); errno != 0 {
		return fmt.Errorf("detaching link %s: %w", id, errno)
	}
	return nil
}

func TestWhoeverOnTheMachineDetachesTheSensorIsTold(t *testing.T) {
	for _, with := range []string{"bpf(2)", "bpftool"} {
		t.Run(with, func(t *testing.T) {
			m := started(t, "ebpf")
			defer m.Close()
			// The recording is of another process's children: ours are outside.
			watched := exec.Command("sleep", "60")
			if err := watched.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = watched.Process.Kill(); _ = watched.Wait() }()
			r, err := m.Open(Opening{Command: []string{"x"}, Home: "/root"}, uint32(watched.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			id := cgroupLink(t)
			cmd := exec.Command("/proc/self/exe", id)
			cmd.Env = append(os.Environ(), bpfVariable+"=1")
			if with == "bpftool" {
				tool, err := exec.LookPath("bpftool")
				if err != nil {
					t.Skip("there is no bpftool here")
				}
				cmd = exec.Command(tool, "link", "detach", "id", id)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			m.finish(r, Closing{}, "")
			ops := map[event.Op]int{}
			named := 0
			for _, e := range events(t, r) {
				if e.Kind == event.Existing && e.Via == event.ViaOutside && e.Actor.PID == uint32(cmd.Process.Pid) {
					if named++; len(ops) > 0 || !strings.HasSuffix(e.Exe.String(), filepath.Base(cmd.Path)) && with == "bpftool" || e.Exe.IsZero() {
						t.Errorf("it is named %q, after %v", e.Exe, ops)
					}
				}
				if e.Kind != event.BPF || e.Actor.PID != uint32(cmd.Process.Pid) {
					continue
				}
				if e.Via != event.ViaOutside || e.Target.PID != uint32(os.Getpid()) {
					t.Errorf("%v via %v on %+v", e.Op, e.Via, e.Target)
				}
				ops[e.Op]++
			}
			if named != 1 {
				t.Errorf("it is named %d times", named)
			}
			if ops[event.OpDetach] != 1 || ops[event.OpObject] == 0 {
				t.Errorf("told were %v, want one detach and who took hold of it", ops)
			}
			if found := attacks(r); found["bpf detach"] != judge.Critical || found["bpf object"] != judge.Medium {
				t.Errorf("findings %v", found)
			}
		})
	}
}

// cgroupLink returns the id of a cgroup link that this process holds.
func cgroupLink(t *testing.T) string {
	t.Helper()
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range infos {
		b, _ := os.ReadFile(path)
		var id string
		cgroup := false
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			switch {
			case len(f) != 2:
			case f[0] == "link_type:":
				cgroup = f[1] == "cgroup"
			case f[0] == "link_id:":
				id = f[1]
			}
		}
		if cgroup && id != "" {
			return id
		}
	}
	t.Fatal("this process holds no cgroup link")
	return ""
}
