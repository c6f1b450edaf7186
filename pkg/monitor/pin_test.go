package monitor

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pinsIn has pins go into a BPF file system of the test's own.
func pinsIn(t *testing.T) {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Skipf("mounting a BPF file system: %v", err)
	}
	saved := pinRoot
	pinRoot = dir
	t.Cleanup(func() {
		pinRoot = saved
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestADetachedMonitorLeavesWhoSignalledItUntilItEnds(t *testing.T) {
	pinsIn(t)
	m := started(t, "ebpf")
	r, err := m.Open(Opening{Command: []string{"x"}, Home: "/root"}, uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.pin(r); err != nil {
		t.Fatal(err)
	}
	sweepPins()
	if _, err := os.Stat(pinOf(r.id)); err != nil {
		t.Fatalf("what a living recording left was swept: %v", err)
	}
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGTERM)
	defer signal.Stop(got)
	kill := exec.Command("kill", "-TERM", strconv.Itoa(os.Getpid()))
	if err := kill.Run(); err != nil {
		t.Fatal(err)
	}
	<-got
	d := Remembered(r.spool)
	if d.By == nil || d.By.PID != uint32(kill.Process.Pid) || d.By.Signal != int(unix.SIGTERM) || !strings.HasSuffix(string(d.By.Exe), "/kill") {
		t.Errorf("%+v, %+v", d, d.By)
	}
	if d := Remembered(r.spool); !strings.Contains(d.Unknown, "is not in "+pinRoot) {
		t.Errorf("it was left behind: %+v", d)
	}
	m.finish(r, Closing{}, "")

	// One that ends as it should leaves nothing.
	r, err = m.Open(Opening{Command: []string{"x"}, Home: "/root"}, uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.pin(r); err != nil {
		t.Fatal(err)
	}
	m.finish(r, Closing{}, "")
	// One whose recording is gone is swept by the next monitor.
	if err := m.primary.(rememberer).PinLastActs(pinOf("0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	sweepPins()
	// And one that is told to stop leaves nothing either.
	lost, err := m.Open(Opening{Command: []string{"x"}, Home: "/root"}, uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.pin(lost); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if err := m.primary.(rememberer).PinLastActs(pinOf("x")); err == nil {
		t.Error("a sensor that is closed left something")
	}
	left, err := filepath.Glob(pinOf("*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestWhatIsNoMemoryOfAMonitorsIsNotBelieved(t *testing.T) {
	pinsIn(t)
	for spool, want := range map[string]string{
		"/var/lib/edamame-posture/../../etc":        "another's name",
		"/var/lib/edamame-posture/0123456789abcdef": "is not in ",
	} {
		if d := Remembered(spool); d.By != nil || !strings.Contains(d.Unknown, want) {
			t.Errorf("%s: %+v, want %q", spool, d, want)
		}
	}
}
