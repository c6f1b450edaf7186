package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/test/rig"
)

// asConfined has the test's own program start another one within what a unit
// allows: its value is a file that holds a confinement.
const asConfined = "RUNNERSIM_CONFINED"

// unitFile is what service install writes.
const unitFile = "../../pkg/service/files/edamame-posture.service"

// confinement is what systemd makes of a unit's settings: the kernel's part of it
// that needs no systemd as process 1.
type confinement struct {
	Calls        []int // system calls that are allowed
	Families     []int // address families of socket(2)
	Capabilities []int
}

// settings returns the values of a setting of the unit, a line each.
func settings(t *testing.T, name string) (values []string) {
	t.Helper()
	unit, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^`+name+`=(.*)$`).FindAllStringSubmatch(string(unit), -1) {
		values = append(values, m[1])
	}
	if len(values) == 0 {
		t.Fatalf("%s has no %s", unitFile, name)
	}
	return values
}

// numbers reads constants of a C header's names from a file of the package
// golang.org/x/sys/unix.
func numbers(t *testing.T, file, prefix string) map[string]int {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", file))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(`+prefix+`\w+)\s+= (0x[0-9a-f]+|\d+)$`).FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.ParseInt(m[2], 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		found[m[1]] = int(n)
	}
	return found
}

// confinementOf reads the unit as systemd would: its own program says which
// system calls a set holds.
func confinementOf(t *testing.T) confinement {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there: apt-get install systemd")
	}
	calls := numbers(t, "zsysnum_linux_"+runtime.GOARCH+".go", "SYS_")
	var expand func(name string) []string
	expand = func(name string) (names []string) {
		if !strings.HasPrefix(name, "@") {
			return []string{name}
		}
		out, err := exec.Command(analyze, "syscall-filter", name).Output()
		if err != nil {
			t.Fatalf("systemd-analyze syscall-filter %s: %v", name, err)
		}
		for l := range strings.Lines(string(out)) {
			l = strings.TrimSpace(l)
			if l != "" && l[0] != '#' && l != name {
				names = append(names, expand(l)...)
			}
		}
		return names
	}
	allowed := map[int]bool{}
	for _, value := range settings(t, "SystemCallFilter") {
		value, deny := strings.CutPrefix(value, "~")
		for _, set := range strings.Fields(value) {
			names := expand(set)
			if len(names) == 0 {
				t.Fatalf("the set %s is empty", set)
			}
			for _, n := range names {
				if at, ok := calls["SYS_"+strings.ToUpper(n)]; ok {
					allowed[at] = !deny
				} // else of another processor
			}
		}
	}
	var c confinement
	for n, ok := range allowed {
		if ok {
			c.Calls = append(c.Calls, n)
		}
	}
	slices.Sort(c.Calls)
	for _, of := range []struct {
		setting, prefix string
		to              *[]int
	}{{"RestrictAddressFamilies", "AF_", &c.Families}, {"CapabilityBoundingSet", "CAP_", &c.Capabilities}} {
		known := numbers(t, "zerrors_linux.go", of.prefix)
		for _, name := range strings.Fields(settings(t, of.setting)[0]) {
			n, ok := known[name]
			if !ok {
				t.Fatalf("%s: %s has no number", of.setting, name)
			}
			*of.to = append(*of.to, n)
		}
	}
	return c
}

// confined starts the program and arguments of this process within a confinement.
// It does not return.
func confined(file string) error {
	runtime.LockOSThread()
	var c confinement
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return err
	}
	for n := range unix.CAP_LAST_CAP + 1 {
		if slices.Contains(c.Capabilities, n) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return err // EINVAL: this kernel does not know it
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := c.filter()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("seccomp(2): %w", errno)
	}
	program, err := exec.LookPath(os.Args[1])
	if err != nil {
		return err
	}
	return unix.Exec(program, os.Args[1:], slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, asConfined+"=") }))
}

// filter is the confinement as the kernel takes it (seccomp(2), struct
// seccomp_data). In place of systemd's EPERM, which a program may bear without a
// word, what is not allowed is a SIGSYS: Go's runtime tells where it was.
func (c *confinement) filter() []unix.SockFilter {
	const number, first, second, third = 0, 16, 24, 32 // offsets: of the call, and of its arguments' lower halves
	stop := uint32(unix.SECCOMP_RET_TRAP)
	var f []unix.SockFilter
	load := func(at uint32) {
		f = append(f, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at})
	}
	// equal skips n instructions where the accumulator is another than k.
	equal := func(k uint32, n uint8) {
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: n})
	}
	and := func(k uint32) { f = append(f, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: k}) }
	give := func(k uint32) { f = append(f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}) }
	// RestrictAddressFamilies
	load(number)
	equal(unix.SYS_SOCKET, uint8(2*len(c.Families)+2))
	load(first)
	for _, family := range c.Families {
		equal(uint32(family), 1)
		give(unix.SECCOMP_RET_ALLOW)
	}
	give(stop)
	// MemoryDenyWriteExecute
	load(number)
	equal(unix.SYS_MMAP, 5)
	load(third)
	and(unix.PROT_WRITE | unix.PROT_EXEC)
	equal(unix.PROT_WRITE|unix.PROT_EXEC, 1)
	give(stop)
	give(unix.SECCOMP_RET_ALLOW)
	equal(unix.SYS_MPROTECT, 5)
	load(third)
	and(unix.PROT_EXEC)
	equal(unix.PROT_EXEC, 1)
	give(stop)
	give(unix.SECCOMP_RET_ALLOW)
	// RestrictNamespaces=net
	equal(unix.SYS_SETNS, 4)
	load(second)
	equal(unix.CLONE_NEWNET, 1)
	give(unix.SECCOMP_RET_ALLOW)
	give(stop)
	equal(unix.SYS_CLONE, 5)
	load(first)
	and(unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID)
	equal(0, 1)
	give(unix.SECCOMP_RET_ALLOW)
	give(stop)
	equal(unix.SYS_CLONE3, 1)
	give(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	// SystemCallFilter
	for _, n := range c.Calls {
		equal(uint32(n), 1)
		give(unix.SECCOMP_RET_ALLOW)
	}
	give(stop)
	return f
}

// The service within the unit's system calls, address families and
// capabilities, while jobs run: with processes of a user, files, connections of
// another network namespace, sudo, hooks, and an end that is asked for.
func TestTheServiceWorksWithinItsUnit(t *testing.T) {
	needRoot(t)
	c := confinementOf(t)
	if len(c.Calls) < 200 || len(c.Families) != 4 || len(c.Capabilities) != 4 {
		t.Fatalf("the unit allows %d system calls, families %v, capabilities %v", len(c.Calls), c.Families, c.Capabilities)
	}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	rig.Sudo(t, "nobody", "unit", "/bin/true", "/usr/bin/true", "/usr/bin/unshare")
	s := serveIn(t, 1, "metrics: unix:"+filepath.Join(t.TempDir(), "m.sock"), filepath.Join(lay(t, map[string]string{"confinement": string(data)}), "confinement"))
	by := s.play(1, `on: push
jobs:
  a:
    runs-on: self-hosted
    steps:
      - {id: one, run: "for i in $(seq 50); do /bin/true mark=a=one; done; echo x > file; sleep 1.5"}
      - {id: net, run: "sudo -n /usr/bin/unshare -n /bin/bash -c ': < /dev/udp/127.0.0.1/9; exec 3<>/dev/tcp/127.0.0.1/9 || /bin/true mark=a=net'"}
      - {id: root, run: "sudo -n /bin/true mark=a=root"}
`)
	id := s.await(1)[0]
	s.state("WATCHDOG=1")
	s.notify.Close() // or what nobody reads holds its end up
	s.stop()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 || strings.Contains(s.all(), "SIGSYS") {
		t.Errorf("it ended with %d:\n%s", code, s.all())
	}
	if by["a"].Conclusion != "Succeeded" {
		t.Errorf("the job has %s:\n%s", by["a"].Conclusion, by["a"].Log)
	}
	events := s.events(id)
	if m := marks(events); m["a=one"] != 50 || m["a=net"] != 1 || m["a=root"] == 0 {
		t.Errorf("processes %v", m)
	}
	j, err := rig.Judge(filepath.Join(jobsDir, id, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	if c := j.Verdict().Coverage; c.State != "complete" || c.Witness != "agree" || c.Sensor != "ebpf" {
		t.Errorf("coverage %+v\n%s", c, s.all())
	}
}
