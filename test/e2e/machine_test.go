package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
)

// What a machine may refuse, taken away one by one.

// without gives a command line that runs the rest without capabilities.
func without(t *testing.T, caps string) []string {
	t.Helper()
	need(t, "setpriv")
	return []string{"setpriv", "--bounding-set", caps, "--inh-caps", caps}
}

func TestAMachineThatRefusesBPFIsWatchedWithNetlink(t *testing.T) {
	w := run(t, options{argv0: without(t, "-bpf,-perfmon,-sys_admin")}, "sh", "-c", "sleep 0.1; echo done")
	if w.verdict == nil {
		t.Fatalf("no verdict; exit code %d, stderr:\n%s", w.code, w.stderr)
	}
	w.must(w.code == 0 && w.stdout == "done\n", "exit code %d, stdout %q", w.code, w.stdout)
	w.must(w.verdict.Coverage.Sensor == "netlink", "the sensor is %s", w.verdict.Coverage.Sensor)
	w.must(w.verdict.Coverage.State == "partial" && w.verdict.Verdict != "pass", "coverage %s, verdict %s", w.verdict.Coverage.State, w.verdict.Verdict)
	w.must(anyContains(w.execs(), "sleep 0.1"), "the execs are %q", w.execs())
	w.must(strings.Contains(w.stderr, "netlink"), "it does not say that it sees less")
	w.must(anyContains(w.verdict.Coverage.Unseen, "eBPF sensor sees: it cannot be used: "), "why is not in the verdict: %q", w.verdict.Coverage.Unseen)
}

func TestWhereEBPFIsAskedForAndRefusedNothingIsStarted(t *testing.T) {
	w := run(t, options{argv0: without(t, "-bpf,-perfmon,-sys_admin"), flags: []string{"--sensor", "ebpf"}}, "sh", "-c", "echo started")
	w.must(w.code == 125 && w.stdout == "", "exit code %d, stdout %q", w.code, w.stdout)
	w.must(strings.Contains(w.stderr, "eBPF"), "it does not say what was refused")
}

func TestWhereBothSensorsAreRefusedNothingIsStarted(t *testing.T) {
	w := run(t, options{argv0: without(t, "-bpf,-perfmon,-sys_admin,-net_admin")}, "sh", "-c", "echo started")
	w.must(w.code == 125 && w.stdout == "", "exit code %d, stdout %q", w.code, w.stdout)
	w.must(strings.Contains(w.stderr, "netlink") && strings.Contains(w.stderr, "was not started"), "it does not say why")
}

// The proc connector answers in the initial network namespace only.
func TestInAnotherNetworkNamespaceThereIsNoSecondWitness(t *testing.T) {
	need(t, "unshare")
	w := run(t, options{argv0: []string{"unshare", "-n"}}, "true")
	if w.verdict == nil {
		t.Fatalf("no verdict; exit code %d, stderr:\n%s", w.code, w.stderr)
	}
	w.must(w.verdict.Coverage.Sensor == "ebpf" && w.verdict.Coverage.Witness == "none", "sensor %s, witness %s", w.verdict.Coverage.Sensor, w.verdict.Coverage.Witness)
	w.must(anyContains(w.verdict.Coverage.Unseen, "no second witness: "), "why there is none is not in the verdict: %q", w.verdict.Coverage.Unseen)
	w = run(t, options{argv0: []string{"unshare", "-n"}, flags: []string{"--sensor", "netlink"}}, "echo", "started")
	w.must(w.code == 125 && w.stdout == "", "exit code %d, stdout %q", w.code, w.stdout)
	w.must(strings.Contains(w.stderr, "network namespace"), "it does not say why")
}

// hiding gives a command line that runs the rest where a folder is empty.
func hiding(t *testing.T, script string) []string {
	t.Helper()
	need(t, "unshare", "mount", "umount")
	return []string{"unshare", "-m", "sh", "-c", script + " && exec \"$@\"", "sh"}
}

func TestWithoutTypeInformationItIsWatchedWithNetlinkAndSaysWhy(t *testing.T) {
	// The kernel's types are looked for in files of /boot and /lib too.
	if m, _ := filepath.Glob("/boot/vmlinux*"); len(m) > 0 {
		t.Skip("the kernel's types are in /boot too")
	}
	hide := "mount -t tmpfs tmpfs /sys/kernel/btf"
	w := run(t, options{argv0: hiding(t, hide)}, "sleep", "0.1")
	if w.verdict == nil {
		t.Fatalf("no verdict; exit code %d, stderr:\n%s", w.code, w.stderr)
	}
	c := w.verdict.Coverage
	w.must(c.Sensor == "netlink" && c.State == "partial", "sensor %s, coverage %s", c.Sensor, c.State)
	w.must(anyContains(c.Unseen, "BTF"), "what is missing is not named: %q", c.Unseen)
	w = run(t, options{argv0: hiding(t, hide), flags: []string{"--sensor", "ebpf"}}, "echo", "started")
	w.must(w.code == 125 && w.stdout == "" && strings.Contains(w.stderr, "BTF"), "exit code %d, stdout %q", w.code, w.stdout)
}

func TestWithoutCgroup2WhatIsNotSeenIsNamed(t *testing.T) {
	w := run(t, options{argv0: hiding(t, "for m in $(awk '$3 == \"cgroup2\" {print $2}' /proc/mounts); do umount -l $m || exit 1; done")}, "true")
	if w.verdict == nil {
		t.Fatalf("no verdict; exit code %d, stderr:\n%s", w.code, w.stderr)
	}
	c := w.verdict.Coverage
	w.must(c.Sensor != "ebpf" || anyContains(c.Unseen, "DNS answers (cgroup2 is not mounted)"), "sensor %s, not seen: %q", c.Sensor, c.Unseen)
	w.must(c.State == "partial" && (c.Sensor == "netlink" || len(c.Gaps) > 0 && strings.Contains(c.Gaps[0].What, "cgroup2 is not mounted")), "coverage is %s: nothing of DNS and UDP was seen", c.State)
}

// Nothing is asked of tracefs: the programs are typed by the kernel's own types.
func TestWithoutTracefsEverythingIsSeen(t *testing.T) {
	run(t, options{argv0: hiding(t, "mount -t tmpfs tmpfs /sys/kernel/debug && { test ! -d /sys/kernel/tracing || mount -t tmpfs tmpfs /sys/kernel/tracing; }")}, "true").complete()
}

func TestAFullDiskIsToldAndDoesNotDisturbTheCommand(t *testing.T) {
	need(t, "unshare", "mount")
	script := "mkdir -p /var/lib/edamame-posture && mount -t tmpfs -o size=1m,mode=0711 tmpfs /var/lib/edamame-posture && exec \"$@\""
	w := run(t, options{argv0: []string{"unshare", "-m", "sh", "-c", script, "sh"}}, "sh", "-c",
		// Arguments that do not compress fill a mebibyte soon.
		"i=0; while [ $i -lt 60 ]; do /bin/true $(head -c 24000 /dev/urandom | base64 -w 0); i=$((i+1)); done; echo done")
	if w.verdict == nil {
		t.Fatalf("no verdict; exit code %d, stderr:\n%s", w.code, w.stderr)
	}
	w.must(w.code == 0 && w.stdout == "done\n", "exit code %d, stdout %q", w.code, w.stdout)
	w.must(w.verdict.Coverage.State == "partial" && w.verdict.Coverage.Lost > 0, "coverage is %+v", w.verdict.Coverage)
	w.must(len(w.execs()) > 0, "nothing of the log is left")
	if out, err := exec.Command(binary, "replay", w.dir).CombinedOutput(); err != nil {
		t.Errorf("replay: %v\n%s", err, out)
	}
}

func TestWithHostEverythingOnTheMachineIsWatched(t *testing.T) {
	done := make(chan error, 1)
	cmd, stderr, in := begin(t, options{flags: []string{"--host"}}, "sh", "-c", "echo ready; while [ ! -e go-on ]; do sleep 0.02; done")
	go func() { done <- exec.Command("/bin/true", "from-outside").Run() }()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("touch", filepath.Join(in, "go-on")).Run(); err != nil {
		t.Fatal(err)
	}
	wait(t, cmd)
	w := loaded(t, in)
	w.stderr = stderr.String()
	var outside, inside bool
	for _, e := range w.events {
		if e.Kind == event.Exec && len(e.Argv) > 1 {
			outside = outside || e.Argv[1].String() == "from-outside" && e.Via == event.ViaHost
			inside = inside || e.Argv[0].String() == "sleep" && e.Via == event.ViaLineage
		}
	}
	w.must(outside, "what another process started is not in the log")
	w.must(inside, "the command's own is not told apart")
}

// A monitor that watches the whole machine probes our program as it does others
// in Go. The next monitor runs as a copy of it, which must not have that probe's
// breakpoint in it.
func TestTheCopyThatAMonitorRunsAsIsWholeBesideAnotherMonitor(t *testing.T) {
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256(program))
	cmd, _, in := begin(t, options{flags: []string{"--host"}}, "sh", "-c", "echo ready; while [ ! -e go-on ]; do sleep 0.02; done")
	for range 3 { // by the second it has been seen
		w := run(t, options{}, "true")
		var made evidence.Commitment
		data, err := os.ReadFile(filepath.Join(w.dir, "evidence", "commitment.json"))
		if err == nil {
			err = json.Unmarshal(data, &made)
		}
		if err != nil {
			t.Fatal(err)
		}
		if made.Tool.SHA256 != want {
			t.Errorf("the monitor runs as %s, and the program is %s", made.Tool.SHA256, want)
		}
	}
	if err := os.WriteFile(filepath.Join(in, "go-on"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, cmd)
}
