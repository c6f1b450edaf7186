package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
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
	w = run(t, options{argv0: []string{"unshare", "-n"}, flags: []string{"--sensor", "netlink"}}, "echo", "started")
	w.must(w.code == 125 && w.stdout == "", "exit code %d, stdout %q", w.code, w.stdout)
	w.must(strings.Contains(w.stderr, "network namespace"), "it does not say why")
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
