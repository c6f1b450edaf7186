package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary ask from inside namespaces and without
// capabilities: it prints what a function says and ends.
func TestMain(m *testing.M) {
	if ask := os.Getenv("PROBE_TEST_ASK"); ask != "" {
		f := map[string]func() error{"netlink": CanNetlink, "ebpf": CanEBPF}[ask]
		if err := f(); err != nil {
			os.Stdout.WriteString(err.Error())
		} else {
			os.Stdout.WriteString("yes")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestAllAnswersEveryQuestionOnce(t *testing.T) {
	results := All(context.Background())
	if len(results) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(results), len(questions))
	}
	var names []string
	for _, r := range results {
		names = append(names, r.Name)
		if r.Title == "" {
			t.Errorf("%s has no title", r.Name)
		}
		if r.OK && (r.Lost != "" || r.Get != "") {
			t.Errorf("%s is there, and yet something is lost: %+v", r.Name, r)
		}
		if !r.OK && (r.Lost == "" || r.Get == "" || r.Detail == "") {
			t.Errorf("%s is not there, and it is not said what is lost and how to get it: %+v", r.Name, r)
		}
	}
	slices.Sort(names)
	if n := len(slices.Compact(names)); n != len(results) {
		t.Errorf("%d names for %d answers", n, len(results))
	}
}

func TestAllStopsWhenItsTimeIsOver(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, r := range All(ctx) {
		if r.OK || !strings.HasPrefix(r.Detail, "not asked") {
			t.Errorf("%+v", r)
		}
	}
}

func TestWhatAllSaysAgreesWithTheSmallQuestions(t *testing.T) {
	results := map[string]Result{}
	for _, r := range All(context.Background()) {
		results[r.Name] = r
	}
	if err := CanNetlink(); (err == nil) != results["proc-connector"].OK {
		t.Errorf("CanNetlink says %v, All says %+v", err, results["proc-connector"])
	}
	if CanEBPF() == nil && (!results["bpf"].OK || !results["btf"].OK || !results["ring-buffer"].OK || !results["cgroup2"].OK) {
		t.Errorf("CanEBPF says yes, All says %+v", results)
	}
}

func TestWhyNotIsSaid(t *testing.T) {
	needRoot(t)
	if err := CanNetlink(); err != nil {
		t.Skipf("needs the proc connector: %v", err)
	}
	root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	for name, c := range map[string]struct {
		ask  string
		attr syscall.SysProcAttr
		want string
	}{
		"netlink in a network namespace": {"netlink", syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}, "initial network namespace"},
		"netlink in a user namespace": {"netlink",
			syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: root, GidMappings: root}, "initial user namespace"},
		"eBPF in a user namespace": {"ebpf",
			syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: root, GidMappings: root}, "initial user namespace"},
		"netlink without root": {"netlink", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, "CAP_NET_ADMIN"},
		"eBPF without root":    {"ebpf", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, "run it as root (sudo)"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "PROBE_TEST_ASK="+c.ask)
			cmd.SysProcAttr = &c.attr
			out, err := cmd.CombinedOutput()
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EACCES) {
				t.Skipf("cannot start it so: %v", err)
			}
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if !strings.Contains(string(out), c.want) {
				t.Errorf("it says %q, which is not about %q", out, c.want)
			}
		})
	}
}

func TestAProbeLeavesNothing(t *testing.T) {
	needRoot(t)
	fds := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	All(context.Background())
	runtime.GC()
	routines, descriptors := runtime.NumGoroutine(), fds()
	for range 3 {
		All(context.Background())
	}
	runtime.GC()
	if n := runtime.NumGoroutine(); n > routines {
		t.Errorf("%d goroutines, %d before", n, routines)
	}
	if n := fds(); n > descriptors {
		t.Errorf("%d descriptors, %d before", n, descriptors)
	}
}

func TestTheClocksAgreeWithGo(t *testing.T) {
	c, err := ReadClock()
	if err != nil {
		t.Fatal(err)
	}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(time.Unix(0, boot.Nano()+c.Wall)).Abs(); d > 100*time.Millisecond {
		t.Errorf("the wall clock is off by %v", d)
	}
	if c.UserHZ < 1 || c.Monotonic < -int64(time.Millisecond) {
		t.Errorf("%+v", c)
	}
}

func TestTicks(t *testing.T) {
	c := Clock{UserHZ: 100}
	if got := c.Ticks(123); got != 1230e6 {
		t.Errorf("123 ticks are %d ns", got)
	}
	if got := c.Tick(1234567891); got != 1230e6 {
		t.Errorf("rounded down it is %d", got)
	}
	if got := (Clock{}).Ticks(1); got != 10e6 {
		t.Errorf("the zero value has a tick of %d ns", got)
	}
	if got := c.Ticks(1 << 55); got <= 0 {
		t.Errorf("a large time overflows to %d", got)
	}
}

func TestUserHZ(t *testing.T) {
	auxv := func(v ...uint64) []byte {
		var b []byte
		for _, x := range v {
			b = binary.NativeEndian.AppendUint64(b, x)
		}
		return b
	}
	for name, c := range map[string]struct {
		auxv []byte
		want int64
	}{
		"it is there":          {auxv(6, 4096, 17, 250, 0, 0), 250},
		"it is after the end":  {auxv(6, 4096, 0, 0, 17, 250), 100},
		"there is nothing":     {nil, 100},
		"the vector is cut":    {auxv(6, 4096, 17), 100},
		"a value that is none": {auxv(17, 0), 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := userHZ(c.auxv); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

func TestLockdownModes(t *testing.T) {
	for line, want := range map[string]string{
		"[none] integrity confidentiality\n": "none",
		"none [integrity] confidentiality\n": "integrity",
		"none integrity [confidentiality]\n": "confidentiality",
		"none integrity confidentiality\n":   "",
		"none [integrity":                    "",
		"[other]":                            "",
		"":                                   "",
	} {
		got, err := parseLockdown(line)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q gives %q, %v", line, got, err)
		}
	}
}

func TestCgroupMounts(t *testing.T) {
	for name, c := range map[string]struct {
		mountinfo string
		want      []string
	}{
		"version 2 alone": {"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", []string{"/sys/fs/cgroup"}},
		"hybrid": {"30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n31 30 0:27 / /sys/fs/cgroup/unified rw shared:5 master:2 - cgroup2 cgroup2 rw\n" +
			"32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n", []string{"/sys/fs/cgroup/unified"}},
		"the usual place comes first":       {"40 1 0:26 / /mnt/x rw - cgroup2 none rw\n41 1 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n", []string{"/sys/fs/cgroup", "/mnt/x"}},
		"a part of the hierarchy is not it": {"30 24 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", nil},
		"a name with a space":               {"30 24 0:26 / /mnt/a\\040b rw - cgroup2 none rw\n", []string{"/mnt/a b"}},
		"a source that looks like it":       {"30 24 0:26 / /mnt/a rw - tmpfs cgroup2 rw\n", nil},
		"lines that are none":               {"\n-\n - \nx - cgroup2 y\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := cgroupMounts([]byte(c.mountinfo), "cgroup2", ""); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestTheHierarchyOfAControllerIsFoundAmongMounts(t *testing.T) {
	const mountinfo = "25 1 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,memory\n" +
		"31 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n" +
		"32 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
		"33 30 0:30 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"34 30 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
	for controller, want := range map[string][]string{
		"pids": {"/sys/fs/cgroup/pids"}, "cpu": {"/sys/fs/cgroup/cpu,cpuacct"}, "cpuacct": {"/sys/fs/cgroup/cpu,cpuacct"},
		"memory": nil, "devices": nil, "systemd": nil,
	} {
		if got := cgroupMounts([]byte(mountinfo), "cgroup", controller); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", controller, got, want)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for status, want := range map[string]Capabilities{
		"Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\n": 0x1ffffffffff,
		"CapEff:\t0000000000000000\n":                                      0,
	} {
		if got, err := parseCapEff([]byte(status)); err != nil || got != want {
			t.Errorf("%q gives %x, %v", status, got, err)
		}
	}
	for _, status := range []string{"", "CapEff:\tx\n", "CapPrm:\t1\n"} {
		if got, err := parseCapEff([]byte(status)); err == nil {
			t.Errorf("%q gives %x", status, got)
		}
	}
	admin := Capabilities(1 << unix.CAP_SYS_ADMIN)
	if !admin.covers(unix.CAP_BPF) || admin.Has(unix.CAP_BPF) || admin.covers(unix.CAP_NET_ADMIN) {
		t.Error("CAP_SYS_ADMIN holds CAP_BPF within it, and not CAP_NET_ADMIN")
	}
	if r := judgeCapabilities(admin); r.OK || strings.Contains(r.Detail, "CAP_BPF") || !strings.Contains(r.Detail, "CAP_NET_ADMIN") {
		t.Errorf("%+v", r)
	}
}

func TestBTFIsLookedInto(t *testing.T) {
	for name, c := range map[string]struct {
		root fstest.MapFS
		ok   bool
	}{
		"it is there":      {fstest.MapFS{btfPath: {Data: []byte{0x9f, 0xeb, 1, 0}}}, true},
		"big-endian":       {fstest.MapFS{btfPath: {Data: []byte{0xeb, 0x9f, 1, 0}}}, true},
		"it is not there":  {fstest.MapFS{}, false},
		"it is empty":      {fstest.MapFS{btfPath: {}}, false},
		"it is not of BTF": {fstest.MapFS{btfPath: {Data: []byte("text")}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := btfSize(c.root); (err == nil) != c.ok {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestContainersAreNamed(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, c := range map[string]struct {
		root fstest.MapFS
		want string
	}{
		"the machine itself":      {fstest.MapFS{"proc/1/environ": file("HOME=/\x00")}, ""},
		"Docker":                  {fstest.MapFS{".dockerenv": file("")}, "Docker container"},
		"Podman":                  {fstest.MapFS{"run/.containerenv": file("")}, "Podman container"},
		"systemd-nspawn":          {fstest.MapFS{"run/systemd/container": file("systemd-nspawn\n")}, "systemd-nspawn container"},
		"LXC":                     {fstest.MapFS{"proc/1/environ": file("a=b\x00container=lxc\x00")}, "lxc container"},
		"a name that is not one":  {fstest.MapFS{"proc/1/environ": file("container=\x1b[31m\x00")}, ""},
		"a name without an end":   {fstest.MapFS{"proc/1/environ": file("container=" + strings.Repeat("x", 1000))}, strings.Repeat("x", 32) + " container"},
		"a variable that ends so": {fstest.MapFS{"proc/1/environ": file("not_container=lxc\x00")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := container(c.root); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestNamespaceLinks(t *testing.T) {
	if ino, err := parseNamespace("pid:[4026531836]", "pid"); err != nil || ino != initialPID {
		t.Errorf("%d, %v", ino, err)
	}
	for _, link := range []string{"", "pid:", "pid:[x]", "net:[1]"} {
		if ino, err := parseNamespace(link, "pid"); err == nil {
			t.Errorf("%q gives %d", link, ino)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add([]byte("30 24 0:26 / /mnt/a\\040b rw shared:1 - cgroup2 none rw\n"))
	f.Add([]byte("32 30 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range append(cgroupMounts(b, "cgroup2", ""), cgroupMounts(b, "cgroup", "cpu")...) {
			if p == "" || len(p) > len(b) {
				t.Fatalf("%q", p)
			}
		}
		_, _ = parseLockdown(string(b))
		_, _ = parseCapEff(b)
		_ = userHZ(b)
	})
}

func TestATracepointThatWasRenamedIsNotMissing(t *testing.T) {
	if _, err := os.Stat("/" + btfPath); err != nil {
		t.Skip("this kernel has no BTF")
	}
	missing, err := missingTracepoints([]string{"never_was|sched_process_exec", "sched_process_exec|never_was", "never_was|nor_was_this"})
	if err != nil || !slices.Equal(missing, []string{"never_was or nor_was_this"}) {
		t.Errorf("%q %v", missing, err)
	}
}
