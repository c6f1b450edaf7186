// Package evasion tries, for real, what is done to hide from a monitor, and
// holds what the evidence tells of it against a table. RESULTS.md is the table
// with what was seen; go test ./test/evasion -update writes it.
package evasion

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
)

var (
	update      = flag.Bool("update", false, "write RESULTS.md")
	dump        = flag.Bool("dump", false, "log every event of the cases that differ from the table")
	only        = flag.String("only", "", "do these cases alone, by a regular expression of their names")
	binary, act string
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Println("SKIP test/evasion: watching from the kernel needs root: sudo -E go test ./test/evasion")
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "posture-evasion-")
	if err != nil {
		panic(err)
	}
	binary, act = filepath.Join(dir, "edamame-posture"), filepath.Join(dir, "act")
	for to, pkg := range map[string]string{binary: "../../cmd/edamame-posture", act: "./act"} {
		build := exec.Command("go", "build", "-o", to, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%v\n%s", err, out))
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// scene is what the evidence tells of one case.
type scene struct {
	dir    string // of the act
	truth  string // what the act wrote about itself
	all    []event.Event
	mine   []event.Event // by the act and what descends from it
	gaps   []event.Event // coverage that was not complete
	judge  *judge.Judge  // after the whole log
	closed bool          // the log has an end
	valid  bool          // the evidence verifies
}

// has reports whether an event of the act is such.
func (s *scene) has(kind event.Kind, ok func(*event.Event) bool) bool { return s.count(kind, ok) > 0 }

func (s *scene) count(kind event.Kind, ok func(*event.Event) bool) (n int) {
	for i := range s.mine {
		if e := &s.mine[i]; e.Kind == kind && ok(e) {
			n++
		}
	}
	return n
}

// watch runs acts under one monitor and gives their scenes.
func watch(t *testing.T, sensor string, host bool, acts ...string) map[string]*scene {
	t.Helper()
	dir, home := t.TempDir(), t.TempDir()
	for _, name := range acts {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if before[name] != nil {
			before[name](t, filepath.Join(dir, name))
		}
	}
	args := []string{"run", "--sensor", sensor}
	if host {
		args = append(args, "--host")
	}
	cmd := exec.Command(binary, append(append(args, "--", act, "all", dir), acts...)...)
	cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home)
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if stdout.Len() > 0 {
		t.Errorf("acts failed: %s", &stdout)
	}
	path := filepath.Join(home, ".posture", "evidence")
	ev, err := evidence.OpenPartial(path)
	if err != nil {
		t.Fatalf("evidence: %v; stderr: %s", err, &stderr)
	}
	defer ev.Close()
	var all []event.Event
	if err := ev.Each(func(_ []byte, e *event.Event) error { all = append(all, *e.Clone()); return nil }); err != nil {
		t.Fatal(err)
	}
	in, err := ev.Inputs()
	if err != nil {
		t.Fatal(err)
	}
	judged, err := ev.Replay(in)
	if err != nil {
		t.Fatal(err)
	}
	valid := false
	if whole, err := evidence.Open(path); err == nil {
		valid = whole.Verify() == nil
		whole.Close()
	}
	scenes := map[string]*scene{}
	for _, name := range acts {
		s := &scene{dir: filepath.Join(dir, name), all: all, judge: judged, valid: valid}
		b, _ := os.ReadFile(filepath.Join(s.dir, "truth"))
		s.truth = string(b)
		s.pick(name)
		scenes[name] = s
	}
	return scenes
}

// pick takes the events of the act's process and of what descends from it.
func (s *scene) pick(name string) {
	type process struct {
		pid   uint32
		start int64
	}
	mine := map[process]bool{}
	for i := range s.all {
		e := &s.all[i]
		p := process{e.Actor.PID, e.Actor.Start}
		switch e.Kind {
		case event.Exec:
			if len(e.Argv) == 3 && e.Argv[1].Is(name) && e.Argv[2].Is(s.dir) {
				mine[p] = true
			}
		case event.Fork:
			if mine[process{e.Parent.PID, e.Parent.Start}] {
				mine[p] = true
			}
		case event.End:
			s.closed = true
		case event.SensorGap:
			s.gaps = append(s.gaps, *e)
		case event.Canary:
			if !e.OK {
				s.gaps = append(s.gaps, *e)
			}
		}
		if mine[p] {
			s.mine = append(s.mine, *e)
		}
	}
}

// before prepares what is there before the monitor.
var before = map[string]func(t *testing.T, dir string){
	"ask-daemon":          daemon("daemon"),
	"daemon-works":        daemon("daemon"),
	"daemon-on-host":      daemon("daemon"),
	"existing-connection": daemon("connected"),
	"handed-to-daemon":    daemon("sends"),
	"daemon-sends":        daemon("sends"),

	"ask-tmux": func(t *testing.T, dir string) {
		sock := filepath.Join(dir, "daemon.sock")
		if out, err := exec.Command("tmux", "-f", "/dev/null", "-S", sock, "new-session", "-d", "sleep 600").CombinedOutput(); err != nil {
			t.Fatalf("tmux: %v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("tmux", "-S", sock, "kill-server").Run() })
	},
	"ask-at": func(t *testing.T, dir string) {
		folder(t, dir, "jobs", "daemon", 0o1770)
		folder(t, dir, "out", "daemon", 0o1770)
		folder(t, dir, "run", "root", 0o755)
		// at(1) counts its jobs in a file that the package makes.
		if err := os.WriteFile(filepath.Join(dir, "jobs/.SEQ"), []byte("00000\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "jobs/.SEQ"), 0o666); err != nil {
			t.Fatal(err)
		}
		service(t, dir, "run/atd.pid", "mount --bind jobs /var/spool/cron/atjobs && mount --bind out /var/spool/cron/atspool && mount --bind run /run && exec timeout 900 atd -f -l 1000")
	},
	"ask-cron": func(t *testing.T, dir string) {
		folder(t, dir, "tabs", "root", 0o1730)
		folder(t, dir, "none", "root", 0o755)
		// cron looks again where the folder is not of the second that it was.
		if old := time.Now().Add(-time.Hour); os.Chtimes(filepath.Join(dir, "tabs"), old, old) != nil {
			t.Fatal("the time of tabs cannot be set")
		}
		folder(t, dir, "run", "root", 0o755)
		// Nothing of the machine's own is due here.
		service(t, dir, "run/crond.pid", "mount --bind tabs /var/spool/cron/crontabs && mount --bind none /etc/cron.d && mount --bind /dev/null /etc/crontab && mount --bind run /run && exec timeout 900 cron -f")
	},
	"ask-systemd": func(t *testing.T, dir string) {
		folder(t, dir, "run", "root", 0o755)
		folder(t, dir, "run/user", "root", 0o700)
		folder(t, dir, "run/systemd/system", "root", 0o755) // the mark of a machine that systemd has started
		service(t, dir, "run/user/systemd/private", "mount --bind run /run && export XDG_RUNTIME_DIR=/run/user && exec timeout 900 /lib/systemd/systemd --user --log-target=console --unit=basic.target")
	},
	"ask-dbus": func(t *testing.T, dir string) {
		folder(t, dir, "services", "root", 0o755)
		for name, text := range map[string]string{
			"bus.conf": fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%s/system_bus_socket</listen><servicedir>%[1]s/services</servicedir>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
`, dir),
			"services/test.Canary.service": fmt.Sprintf("[D-BUS Service]\nName=test.Canary\nExec=%s touched %s by-daemon\n", act, filepath.Join(dir, "done")),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		service(t, dir, "system_bus_socket", "exec timeout 900 dbus-daemon --config-file=bus.conf --nofork")
	},
}

func folder(t *testing.T, dir, name, owner string, mode uint32) {
	t.Helper()
	path := filepath.Join(dir, name)
	u, err := user.Lookup(owner)
	if err == nil {
		err = os.MkdirAll(path, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// service starts a daemon in a mount namespace of its own, for a quarter of an
// hour at most should this test be killed, and waits for the file that it makes
// when it is up.
func service(t *testing.T, dir, up, script string) {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "sh", "-ec", script)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &said, &said, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, up)); err == nil {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: %v: %s", script, err, &said)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: it does not come up", script)
		}
	}
}

// daemon starts the act's program in a role, with a socket daemon.sock.
func daemon(role string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		cmd := exec.Command(act, role, filepath.Join(dir, "daemon.sock"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("the daemon says %q, %v", line, err)
		}
	}
}

func TestEachEvasionIsSeenAsTheTableSays(t *testing.T) {
	for _, p := range []string{"ip", "tmux", "gcore", "unshare", "python3", "atd", "at", "cron", "crontab", "/lib/systemd/systemd", "systemd-run", "dbus-daemon", "dbus-send"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	cases := cases
	if *only != "" {
		chosen := regexp.MustCompile(*only)
		cases = slices.DeleteFunc(slices.Clone(cases), func(c evasion) bool { return !chosen.MatchString(c.name) })
	}
	var together []string
	for _, c := range cases {
		if !c.alone {
			together = append(together, c.name)
		}
	}
	got := map[string]map[string]string{}
	for _, sensor := range []string{"ebpf", "netlink"} {
		scenes := watch(t, sensor, false, together...)
		for _, c := range cases {
			if c.alone {
				scenes[c.name] = watch(t, sensor, c.host, c.name)[c.name]
			}
		}
		got[sensor] = map[string]string{}
		for _, c := range cases {
			s, how := scenes[c.name], "missed"
			switch {
			case len(s.mine) > 0 && c.event != nil && c.event(s):
				how = "event"
			case c.covered != nil && c.covered(s):
				how = "gap"
			}
			got[sensor][c.name] = how
			want := c.ebpf
			if sensor == "netlink" {
				want = c.netlink
			}
			if *dump && sensor == "netlink" {
				t.Logf("netlink %s %s", c.name, how)
			}
			if want.luck {
				continue
			}
			if seen := how != "missed"; seen != want.seen(s) {
				t.Errorf("%s on %s: %s, and the table says %q", c.name, sensor, how, want.reason)
				if *dump {
					for i := range s.mine {
						e := &s.mine[i]
						t.Logf("%s", e.AppendJSON(nil))
						if e.Kind == event.Connect {
							t.Logf("that is %+v", s.judge.Names().Lookup(e.Actor, e.Dst.Addr(), e.Sock))
						}
					}
					for i := range s.gaps {
						t.Logf("%s", s.gaps[i].AppendJSON(nil))
					}
					t.Logf("closed %v valid %v truth %q", s.closed, s.valid, s.truth)
				}
			}
		}
	}
	seen := 0
	for _, c := range cases {
		if got["ebpf"][c.name] != "missed" {
			seen++
		}
	}
	if *only == "" && seen*100 < len(cases)*95 {
		t.Errorf("%d of %d are seen on eBPF, want 95 %%", seen, len(cases))
	}
	text := results()
	if *update {
		if err := os.WriteFile("RESULTS.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b, _ := os.ReadFile("RESULTS.md"); string(b) != text {
		t.Error("RESULTS.md is not what the table says: go test ./test/evasion -update")
	}
}

func results() string {
	var b strings.Builder
	seen, netlink, luck := 0, 0, 0
	for _, c := range cases {
		if c.ebpf.reason == "" {
			seen++
		}
		switch {
		case c.netlink.reason == "":
			netlink++
		case c.netlink.luck:
			luck++
		}
	}
	fmt.Fprintf(&b, "# Evasions\n\nWritten by `go test ./test/evasion -update`, which does each of them for real and fails where this is not true.\n"+
		"Seen: an event with the right actor and object is in the evidence, or a gap that covers the moment.\n\n"+
		"eBPF sees %d of %d. netlink sees %d for certain, and %d more where timing is kind to it.\n\n| case | what it tries | eBPF | netlink |\n|---|---|---|---|\n", seen, len(cases), netlink, luck)
	for _, c := range cases {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.name, c.tries, c.ebpf, c.netlink)
	}
	return b.String()
}

func (s *scene) pid() uint32 { n, _ := strconv.ParseUint(s.truth, 10, 32); return uint32(n) }

func TestTheListNamesEachCaseAndNoOther(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := bytes.Cut(b, []byte("\n## "))
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z0-9-]+)`").FindAllSubmatch(list, -1) {
		named[string(m[1])] = true
	}
	for _, c := range cases {
		if !named[c.name] {
			t.Errorf("README.md does not say what %s is for", c.name)
		}
		delete(named, c.name)
	}
	for name := range named {
		t.Errorf("README.md names %s, which is no case", name)
	}
}
