package monitor

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/wire"
)

// noFile is the digest of no file of these tests.
var noFile = strings.Repeat("5a", 32)

// digesting starts a monitor and a recording whose policy lists programs; each
// line is an item of its exec list, without the dash.
func digesting(t *testing.T, sensor string, items ...string) (*Monitor, *recording) {
	t.Helper()
	m := started(t, sensor)
	t.Cleanup(m.Close)
	return m, programs(t, m, items...)
}

func programs(t *testing.T, m *Monitor, items ...string) *recording {
	t.Helper()
	p, err := intent.Parse("posture.yml", []byte("version: 1\nexec:\n  - "+strings.Join(items, "\n  - ")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Open(Opening{Command: []string{"x"}, Cwd: "/", Home: "/root", Intent: in.Canonical()}, uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// program makes a file that is copied from a program of the machine, so that it runs, with a tail
// that makes it a content of its own. It returns the digest.
func program(t *testing.T, to, from, tail string) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, tail...)
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// rest waits until the clock of files has gone on: what is executed then was
// not changed just before.
func rest(t *testing.T, path string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	for time.Now().UnixNano() <= st.Ctim.Nano()+2*int64(tick()) {
		time.Sleep(time.Millisecond)
	}
}

// told returns the digests that were told of a program, in their order: the
// digest, or why there is none.
func told(evs []event.Event, name string) []string {
	var out []string
	for i := range evs {
		e := &evs[i]
		path := e.Exe
		if e.Image&event.Script != 0 {
			path = e.Filename
		}
		if e.Kind != event.Digest || filepath.Base(strings.TrimSuffix(path.String(), " (deleted)")) != name {
			continue
		}
		if e.SHA256.IsZero() {
			out = append(out, e.Detail.String())
		} else {
			out = append(out, e.SHA256.String())
		}
	}
	return out
}

// stillRan reports whether the digest of a program was told before the process
// that it was told of had ended: then it may be vouched for by that.
func stillRan(evs []event.Event, name string) bool {
	for i := range evs {
		d := &evs[i]
		if d.Kind != event.Digest || filepath.Base(d.Exe.String()) != name {
			continue
		}
		for j := range evs[:i] {
			if e := &evs[j]; e.Kind == event.Exit && e.Actor == d.Actor {
				return false
			}
		}
		return true
	}
	return false
}

// undeclared finishes the recording and returns the programs that the verdict
// says no grant covers, each with what explain says of the grant that is
// nearest. The verdict must be the one of a replay.
func undeclared(t *testing.T, m *Monitor, r *recording) (evs []event.Event, list map[string]string) {
	t.Helper()
	m.finish(r, Closing{}, "")
	evs = events(t, r)
	e, err := evidence.Open(filepath.Join(r.spool, evidenceDir))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	in, err := e.Inputs()
	if err != nil {
		t.Fatal(err)
	}
	j, err := e.Replay(in)
	if err != nil {
		t.Fatal(err)
	}
	live, err := os.ReadFile(filepath.Join(r.spool, verdictFile))
	if err != nil || string(live) != string(j.Verdict().Encode()) {
		t.Errorf("%v: the replay says\n%s\nlive it was\n%s", err, j.Verdict().Encode(), live)
	}
	list = map[string]string{}
	_, causes, _ := j.Explain()
	for _, c := range causes {
		if name, ok := strings.CutPrefix(c.What, "undeclared exec "); ok {
			name, _, _ = strings.Cut(name, " ")
			list[filepath.Base(name)] = c.Misses
		}
	}
	return evs, list
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", name, err, out)
	}
}

func TestAGrantByDigestCoversThatFileAlone(t *testing.T) {
	for _, sensor := range []string{"ebpf", "netlink"} {
		t.Run(sensor, func(t *testing.T) {
			dir := t.TempDir()
			good, other := filepath.Join(dir, "good"), filepath.Join(dir, "other")
			wanted := program(t, good, "/bin/sleep", "good")
			has := program(t, other, "/bin/sleep", "other")
			rest(t, other)
			m, r := digesting(t, sensor, "{to: good, sha256: "+wanted+"}", "{to: other, sha256: ["+noFile+", "+wanted+"]}")
			run(t, good, "0.1")
			run(t, other, "0.1")
			evs, no := undeclared(t, m, r)
			if said := slices.ContainsFunc(evs, func(e event.Event) bool {
				return e.Kind == event.Note && e.Detail.HasPrefix("executed files are digested as far as /proc")
			}); said != (sensor == "netlink") {
				t.Errorf("that /proc shows little is told: %v", said)
			}
			if got := told(evs, "good"); len(got) != 1 || got[0] != wanted {
				t.Errorf("good: %q, want %s", got, wanted)
			}
			if why, ok := no["good"]; ok {
				t.Errorf("good is undeclared: %s", why)
			}
			for _, d := range []string{has, wanted, noFile} {
				if !strings.Contains(no["other"], d) {
					t.Errorf("other: %q does not name %s", no["other"], d)
				}
			}
		})
	}
}

// What is gone before it can be opened is found by its path, where that leads
// to the same content still.
func TestAProgramOfAMillisecondIsDigestedByItsPath(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	wanted := program(t, short, "/bin/true", "short")
	rest(t, short)
	m, r := digesting(t, "ebpf", "{to: short, sha256: "+wanted+"}")
	for range 20 {
		run(t, short)
	}
	evs, no := undeclared(t, m, r)
	if got := told(evs, "short"); len(got) != 1 || got[0] != wanted || len(no) > 0 {
		t.Errorf("%q, undeclared %v", got, no)
	}
}

func TestAProgramThatIsDeletedWhileItRunsIsDigested(t *testing.T) {
	dir := t.TempDir()
	gone := filepath.Join(dir, "gone")
	wanted := program(t, gone, "/bin/sleep", "gone")
	m, r := digesting(t, "ebpf", "{to: gone, sha256: "+wanted+"}")
	cmd := exec.Command(gone, "1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	evs, no := undeclared(t, m, r)
	if got := told(evs, "gone"); len(got) != 1 || got[0] != wanted || len(no) > 0 {
		t.Errorf("%q, undeclared %v", got, no)
	}
}

// memfd makes an anonymous file that is the copy of a program. It is closed on
// exec and nobody holds it open for writing any more.
func memfd(t *testing.T, from, tail string) (path, digest string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, tail...)
	fd, err := unix.MemfdCreate("hidden", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, b); err != nil {
		t.Fatal(err)
	}
	ro, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ro.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ro.Fd()), fmt.Sprintf("%x", sha256.Sum256(b))
}

func TestAFileInMemoryIsDigestedWhileItRuns(t *testing.T) {
	m := started(t, "ebpf")
	defer m.Close()
	long, wanted := memfd(t, "/bin/sleep", "long")
	r := programs(t, m, "{to: \"*\", sha256: "+wanted+"}")
	run(t, long, "1")
	evs, no := undeclared(t, m, r)
	if got := told(evs, "memfd:hidden"); len(got) != 1 || got[0] != wanted || len(no) > 0 {
		t.Errorf("%q, undeclared %v", got, no)
	}
}

func TestWhatCannotBeDigestedIsToldAndStaysUnexplained(t *testing.T) {
	dir := t.TempDir()
	m := started(t, "ebpf")
	defer m.Close()
	for _, c := range []struct {
		name string
		// make makes the program, do runs it.
		make func(path string) (digest string)
		do   func(path string)
		why  string
		tail string // of what ran, where it may have been read in time
	}{
		{"rewritten", func(path string) string { return program(t, path, "/bin/true", "good") }, func(path string) {
			wanted, _ := os.ReadFile(path)
			program(t, path, "/bin/true", "evil")
			rest(t, path)
			run(t, path)
			// The same inode, with the content that the policy wants, before
			// anybody can look.
			if err := os.WriteFile(path, wanted, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "leads to another file now, or to another content", "evil"},
		{"replaced", func(path string) string { return program(t, path, "/bin/true", "good") }, func(path string) {
			wanted, _ := os.ReadFile(path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			program(t, path, "/bin/true", "evil")
			rest(t, path)
			run(t, path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, wanted, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "leads to another file now, or to another content", "evil"},
		{"large", func(path string) string { return noFile }, func(path string) {
			program(t, path, "/bin/sleep", "")
			if err := os.Truncate(path, 600<<20); err != nil {
				t.Fatal(err)
			}
			run(t, path, "0.2")
			_ = os.Remove(path)
		}, "larger than 512 MiB", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.name)
			r := programs(t, m, "{to: "+c.name+", sha256: "+c.make(path)+"}")
			c.do(path)
			evs, no := undeclared(t, m, r)
			why := "not known: the file is " + c.why
			got := told(evs, c.name)
			if c.tail != "" {
				// Who looks in time has read what ran.
				why = "not known: its process had ended, and its path " + c.why
				if evil := program(t, filepath.Join(t.TempDir(), "evil"), "/bin/true", c.tail); len(got) == 1 && got[0] == evil {
					c.why, why = evil, "the file had SHA-256 "+evil
				}
			}
			if len(got) != 1 || !strings.Contains(got[0], c.why) {
				t.Errorf("%q, want %s", got, c.why)
			}
			if !strings.Contains(no[c.name], why) {
				t.Errorf("undeclared %v, want %s", no, why)
			}
		})
	}
}

// Two contents of one tick have the same time: of what runs in the tick in
// which it was changed, and ends at once, nobody can say which it was.
func TestWhatRunsInTheTickOfItsChangeIsNotVouchedFor(t *testing.T) {
	dir := t.TempDir()
	m := started(t, "ebpf")
	defer m.Close()
	const most = 50
	var paths []string
	wanted := ""
	for i := range most {
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("fresh%d", i)))
		wanted = program(t, paths[i], "/bin/true", "good")
	}
	r := programs(t, m, "{to: \"fresh*\", sha256: "+wanted+"}")
	for _, p := range paths {
		if err := os.Chmod(p, 0o700); err != nil {
			t.Fatal(err)
		}
		run(t, p)
	}
	evs, no := undeclared(t, m, r)
	racy := 0
	for _, p := range paths {
		name := filepath.Base(p)
		soon := false
		for i := range evs {
			if e := &evs[i]; e.Kind == event.Exec && e.Exe.String() == p {
				soon = e.CTime+int64(tick()) >= e.Time+wallOffset()
			}
		}
		got := told(evs, name)
		switch {
		case len(got) != 1:
			t.Errorf("%s: %q", name, got)
		case soon && !stillRan(evs, name):
			racy++
			if !strings.Contains(got[0], "just before it was executed") {
				t.Errorf("%s ran in the tick of its change, and is told as %s", name, got[0])
			}
		case got[0] != wanted && !strings.Contains(got[0], "just before it was executed"):
			t.Errorf("%s: %s", name, got[0])
		}
	}
	if racy == 0 {
		t.Skip("no program ran in the tick of its change: the machine is too slow")
	}
	if len(no) == 0 {
		t.Errorf("%d of them are not known, and all are explained", racy)
	}
}

func TestAShortProgramInMemoryIsNotVouchedFor(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("/dev/shm", "posture-test")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(dir)
	short := filepath.Join(dir, "short")
	wanted := program(t, short, "/bin/true", "good")
	rest(t, short)
	m, r := digesting(t, "ebpf", "{to: short, sha256: "+wanted+"}")
	run(t, short)
	evs, no := undeclared(t, m, r)
	got := told(evs, "short")
	if stillRan(evs, "short") {
		t.Skip("it was read while it ran")
	}
	if len(got) != 1 || !strings.Contains(got[0], "tmpfs") || no["short"] == "" {
		t.Errorf("%q, undeclared %v", got, no)
	}
}

func TestAProgramIsFoundInItsOwnMountNamespace(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "inside")
	wanted := program(t, filepath.Join(dir, "tool"), "/bin/true", "good")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	// What this namespace has at the path is another.
	program(t, filepath.Join(inside, "tool"), "/bin/true", "evil")
	rest(t, filepath.Join(inside, "tool"))
	m, r := digesting(t, "ebpf", "{to: tool, sha256: "+wanted+"}", "sh", "dash", "mount", "sleep")
	sh := exec.Command("/bin/sh", "-c", "mount --bind "+dir+" "+inside+" && "+inside+"/tool && sleep 0.5")
	sh.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := sh.CombinedOutput(); err != nil {
		t.Skipf("%v %s", err, out)
	}
	evs, no := undeclared(t, m, r)
	if got := told(evs, "tool"); len(got) != 1 || got[0] != wanted || no["tool"] != "" {
		t.Errorf("%q, undeclared %v", got, no)
	}
}

// Over an overlay, as containers have it, stat(2) and the kernel name different
// devices.
func TestAProgramOnAnOverlayIsDigested(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	below := program(t, at("lower/below"), "/bin/true", "below")
	if err := unix.Mount("overlay", at("merged"), "overlay", 0, "lowerdir="+at("lower")+",upperdir="+at("upper")+",workdir="+at("work")); err != nil {
		t.Skipf("no overlay: %v", err)
	}
	defer unix.Unmount(at("merged"), unix.MNT_DETACH)
	above := program(t, at("merged/above"), "/bin/sleep", "above")
	rest(t, at("merged/above"))
	m, r := digesting(t, "ebpf", "{to: below, sha256: "+below+"}", "{to: above, sha256: "+above+"}")
	run(t, at("merged/below"))
	run(t, at("merged/above"), "0.2")
	evs, no := undeclared(t, m, r)
	for name, want := range map[string]string{"below": below, "above": above} {
		if got := told(evs, name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if len(no) > 0 {
		t.Errorf("undeclared %v", no)
	}
}

func TestManyExecsOfAnImageAreToldOnce(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "tool")
	wanted := program(t, tool, "/bin/true", "good")
	rest(t, tool)
	m, r := digesting(t, "ebpf", "{to: tool, sha256: "+wanted+"}", "sh", "dash", "seq", "xargs")
	execs := 1500
	if testing.Short() {
		execs = 500
	}
	run(t, "/bin/sh", "-c", fmt.Sprintf("seq %d | xargs -n1 %s", execs, tool))
	evs, no := undeclared(t, m, r)
	n := 0
	for i := range evs {
		if evs[i].Kind == event.Exec && evs[i].Exe.String() == tool {
			n++
		}
	}
	if got := told(evs, "tool"); n != execs || len(got) != 1 || got[0] != wanted || len(no) > 0 {
		t.Errorf("%d execs, %q, undeclared %v", n, got, no)
	}
}

// Of a script the grant is for its own file; each content that its path leads
// to is told.
func TestAScriptIsGrantedByItsOwnDigest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) (path, digest string) {
		path = filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path, fmt.Sprintf("%x", sha256.Sum256([]byte("#!/bin/sh\n"+text)))
	}
	good, wanted := write("good.sh", "exit 0\n")
	changed, first := write("changed.sh", "exit 0\n")
	rest(t, changed)
	m, r := digesting(t, "ebpf", "{to: good.sh, sha256: "+wanted+"}", "{to: changed.sh, sha256: "+first+"}", "sleep")
	for range 10 {
		run(t, good)
	}
	run(t, changed)
	// The recording has told of the first before the second.
	if err := m.settle(); err != nil {
		t.Fatal(err)
	}
	r.digests.wait()
	_, second := write("changed.sh", "exit 1 # evil\n")
	rest(t, changed)
	_ = exec.Command(changed).Run()
	evs, no := undeclared(t, m, r)
	if got := told(evs, "good.sh"); len(got) != 1 || got[0] != wanted {
		t.Errorf("good.sh: %q", got)
	}
	if got := told(evs, "changed.sh"); len(got) != 2 || got[0] != first || got[1] != second {
		t.Errorf("changed.sh: %q", got)
	}
	if why, ok := no["good.sh"]; ok {
		t.Errorf("good.sh: %s", why)
	}
	if !strings.Contains(no["changed.sh"], second) {
		t.Errorf("changed.sh: %s", no["changed.sh"])
	}
}

// Without a digest in the policy or among the indicators nothing is opened.
func TestWithoutDigestsInThePolicyNothingIsTold(t *testing.T) {
	m := started(t, "ebpf")
	defer m.Close()
	r := programs(t, m, "true")
	run(t, "/bin/true")
	m.finish(r, Closing{}, "")
	for _, e := range events(t, r) {
		if e.Kind == event.Digest || e.CTime != 0 || e.Size != 0 {
			t.Errorf("%+v", e)
		}
	}
	if r.digests != nil {
		t.Error("something digests")
	}
}

func TestAFileOfAKnownAttackIsFoundByItsDigest(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "innocent")
	digest := program(t, bad, "/bin/true", "bad")
	rest(t, bad)
	m := started(t, "ebpf")
	defer m.Close()
	list := `{"version":1,"indicators":[{"incident":"a test","sha256":["` + digest + `"]}]}`
	r, err := m.Open(Opening{Command: []string{"x"}, Cwd: "/", Home: "/root", Indicators: []byte(list)}, uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	run(t, "/bin/sh", "-c", bad+"; :")
	m.finish(r, Closing{}, "")
	verdict := r.judge.Verdict()
	for _, f := range verdict.Findings {
		if f.Rule == "indicator" {
			if f.Object != "sha256:"+digest || f.Actor.Exe != bad || len(f.Actor.Lineage) == 0 || len(f.Leaves) != 1 || f.Severity != judge.Critical {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Errorf("no finding: %s", verdict.Encode())
}

func TestAFileThatChangesWhileItIsReadIsToldToHaveChanged(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	for _, script := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "tool")
		want := program(t, path, "/bin/true", "good")
		rest(t, path)
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		// What a process that has ended ran.
		x := &executed{at: boottime(), name: path, script: script, actor: event.Actor{PID: 1 << 30}}
		if !script {
			x.content = content{event.FileID{Dev: uint64(st.Dev), Inode: st.Ino}, st.Ctim.Nano(), uint64(st.Size)}
		}
		for _, change := range []bool{false, true} {
			d := newDigester(m, nil)
			f, why := d.find(x)
			if f == nil {
				t.Fatal(why)
			}
			defer f.f.Close()
			if change {
				program(t, path, "/bin/true", "evil")
			}
			sum, why := d.sum(f, make([]byte, 4096))
			if change != (why == whyChanged) || !change && sum.String() != want {
				t.Errorf("script %v, changed %v: %s %q", script, change, sum, why)
			}
		}
	}
}

// A file system may never answer. The recording ends all the same, and a queue
// that is full holds up no event.
func TestWhatIsNotReadInTimeIsToldAtTheEnd(t *testing.T) {
	m, r := digesting(t, "ebpf", "{to: \"*\", sha256: "+noFile+"}")
	dir := t.TempDir()
	slow, late := filepath.Join(dir, "slow"), filepath.Join(dir, "late")
	program(t, slow, "/bin/true", "slow")
	program(t, late, "/bin/true", "late")
	m.locked(func() {
		r.digests.running = true // and nobody opens anything
		r.digests.queue = make(chan *executed, 1)
	})
	run(t, slow)
	run(t, late)
	evs, no := undeclared(t, m, r)
	for name, want := range map[string]redact.Text{"slow": whyLate, "late": whyBusy} {
		if got := told(evs, name); len(got) != 1 || got[0] != want.String() || !strings.Contains(no[name], want.String()) {
			t.Errorf("%s: %q, undeclared %q; want %s", name, got, no[name], want)
		}
	}
	if last := evs[len(evs)-1]; last.Kind != event.End {
		t.Errorf("the log ends with %s", last.Kind)
	}
}

func TestOnlyFilesOfWhichAllReadTheSameAreRead(t *testing.T) {
	d := newDigester(nil, nil)
	for name, want := range map[string]redact.Text{"/proc/version": whyForeign, "/dev/null": whyForeign, "/": whyNoScript, "/no/such": whyNoScript} {
		if name == "/dev/null" {
			var fs unix.Statfs_t
			if unix.Statfs(name, &fs) == nil && memory[int64(uint32(fs.Type))] {
				want = whyNoScript // a device, on tmpfs
			}
		}
		if f, why := d.find(&executed{script: true, name: name}); f != nil || why != want {
			t.Errorf("%s: %v, %q; want %q", name, f, why, want)
		}
	}
	if f, why := d.find(&executed{script: true, name: "/proc/self/exe/../../../bin/sh"}); f != nil || why.IsZero() {
		t.Errorf("a way through a link of the kernel's: %v, %q", f, why)
	}
}

// askAgain is an exec of an image that was asked for, as a build makes by the
// thousand.
func askAgain() (*digester, func()) {
	d := newDigester(nil, nil)
	rec := &sensor.Record{Kind: event.Exec, Exe: []byte("/usr/bin/cc1"), File: event.FileID{Dev: 1, Inode: 2}, CTime: 3, Size: 4}
	p := &process.Process{Actor: event.Actor{PID: 7, Start: 8, Image: 1}}
	ev := &event.Event{Kind: event.Exec}
	d.asked[content{rec.File, rec.CTime, rec.Size}] = true
	return d, func() { d.ask(rec, p, ev) }
}

func TestAskingAgainAllocatesNothing(t *testing.T) {
	d, ask := askAgain()
	if n := testing.AllocsPerRun(100, ask); n != 0 || len(d.waiting) != 0 {
		t.Errorf("%v allocations, %d wait", n, len(d.waiting))
	}
}

func BenchmarkAskAgain(b *testing.B) {
	_, ask := askAgain()
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}

// BenchmarkExec is the way of an exec through a recording to its log and its
// judge, where nobody asks for digests and where somebody does.
func BenchmarkExec(b *testing.B) {
	for _, c := range []struct {
		name, policy string
	}{{"without digests", "version: 1\nexec: [cc1]\n"}, {"with digests", "version: 1\nexec: [{to: cc1, sha256: " + noFile + "}]\n"}} {
		b.Run(c.name, func(b *testing.B) {
			p, err := intent.Parse("posture.yml", []byte(c.policy))
			if err != nil {
				b.Fatal(err)
			}
			in, err := p.Resolve("")
			if err != nil {
				b.Fatal(err)
			}
			r := &recording{red: redact.New([32]byte{1}, redact.Options{}), judge: judge.New(in, nil), streams: wire.NewStreams(maxStreams), containers: &containers{}}
			if r.log, err = evidence.Create(filepath.Join(b.TempDir(), "e"), evidence.Options{Run: "x"}); err != nil {
				b.Fatal(err)
			}
			rec := &sensor.Record{
				Kind: event.Exec, Exe: []byte("/usr/bin/cc1"), Filename: []byte("/usr/bin/cc1"), Cwd: []byte("/src"), Argv: []byte("cc1\x00a.c\x00"), ArgvBytes: 8,
				File: event.FileID{Dev: 1, Inode: 2}, CTime: 3, Size: 4,
			}
			if in.Digests() {
				r.digests = newDigester(nil, r)
				r.digests.asked[content{rec.File, rec.CTime, rec.Size}] = true
			}
			parent := &process.Process{Actor: event.Actor{PID: 7, Start: 8, Image: 1}}
			proc := &process.Process{Actor: event.Actor{PID: 9, Start: 10, Image: 1}, Parent: parent, Alive: true}
			b.ReportAllocs()
			for b.Loop() {
				proc.Actor.PID++
				rec.Time++
				r.record(rec, proc, nil, event.ViaLineage)
			}
		})
	}
}
