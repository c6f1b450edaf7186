package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/service"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/runnersim/runner"
)

// jobsDir is where a service keeps what it has recorded.
const jobsDir = "/var/lib/edamame-posture/jobs"

// machine is a service that runs as its unit would start it.
type machine struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string // for its settings and sockets
	runs   string // the folder for runners
	socket string
	within string // file of what it is confined to; empty for nothing
	notify *net.UnixConn
	over   chan struct{} // closed when it has ended and all it said was read

	mu    sync.Mutex
	said  []string
	heard chan struct{} // closed at the next line
}

// serve starts a service that records the jobs of n runners below a folder of
// their own, with more settings, and returns when it says that it is ready.
func serve(t *testing.T, n int, settings string) *machine {
	t.Helper()
	return serveIn(t, n, settings, "")
}

// serveIn is serve within what a file says: see asConfined.
func serveIn(t *testing.T, n int, settings, within string) *machine {
	t.Helper()
	return serveAt(t, n, settings, within, "")
}

// serveAt is serveIn with a socket at a place of its own.
func serveAt(t *testing.T, n int, settings, within, socket string) *machine {
	t.Helper()
	needRoot(t)
	s := &machine{t: t, within: within, dir: folder(t), over: make(chan struct{}), heard: make(chan struct{})}
	s.runs, s.socket = filepath.Join(folder(t), "r"), cmp.Or(socket, filepath.Join(s.dir, "service.sock"))
	settings = "version: 1\n" + settings + "\nrunners:\n"
	for i := range n {
		settings += fmt.Sprintf("  - %s/runner-%d\n", s.runs, i+1)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "service.yml"), []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.dir, "notify"), Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	_, before := os.Stat("/var/lib/edamame-posture/machine.json")
	t.Cleanup(func() {
		s.notify.Close()
		s.stop()
		for _, id := range s.each(`job ([0-9a-f]{16}) `) {
			_ = os.RemoveAll(filepath.Join(jobsDir, id))
		}
		if before != nil {
			_ = os.Remove("/var/lib/edamame-posture/machine.json")
		}
	})
	s.start()
	return s
}

// start starts the service again, with the settings that are there.
func (s *machine) start() {
	s.t.Helper()
	args := []string{watched, "service", "run", "--config", filepath.Join(s.dir, "service.yml"), "--socket", s.socket}
	if s.within != "" {
		self, err := os.Executable()
		if err != nil {
			s.t.Fatal(err)
		}
		args = append([]string{self}, args...)
	}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET=" + filepath.Join(s.dir, "notify"), "WATCHDOG_USEC=3000000"}
	if s.within != "" {
		s.cmd.Env = append(s.cmd.Env, asConfined+"="+s.within)
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	over := make(chan struct{})
	s.over = over
	go func() {
		defer close(over)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.mu.Lock()
			s.said = append(s.said, lines.Text())
			close(s.heard)
			s.heard = make(chan struct{})
			s.mu.Unlock()
		}
		_ = s.cmd.Wait()
	}()
	s.state("READY=1")
}

// state waits until systemd would have been told a state.
func (s *machine) state(want string) {
	s.t.Helper()
	buf := make([]byte, 256)
	_ = s.notify.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, err := s.notify.Read(buf)
		if err != nil {
			s.t.Fatalf("%s was not told: %v\n%s", want, err, s.all())
		}
		if string(buf[:n]) == want {
			return
		}
	}
}

// stop ends the service as systemd would.
func (s *machine) stop() {
	select {
	case <-s.over:
		return
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.over:
	case <-time.After(60 * time.Second):
		_ = s.cmd.Process.Kill()
		s.t.Error("the service did not end within a minute")
	}
}

func (s *machine) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.said, "\n")
}

// each returns what a pattern's group is in what was said, once each.
func (s *machine) each(pattern string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(s.all(), -1) {
		if !slices.Contains(found, m[1]) {
			found = append(found, m[1])
		}
	}
	return found
}

// await returns the ids of n recordings that were closed.
func (s *machine) await(n int) []string {
	s.t.Helper()
	late := time.After(60 * time.Second)
	for {
		s.mu.Lock()
		more := s.heard
		s.mu.Unlock()
		if ids := s.each(`job ([0-9a-f]{16}) ends:`); len(ids) >= n {
			return ids
		}
		select {
		case <-more:
		case <-late:
			s.t.Fatalf("no %d recordings were closed:\n%s", n, s.all())
		}
	}
}

// play runs a workflow on the service's runners, with its hooks; actions are
// OWNER/REPO@REF and the folder that holds it, in turn.
func (s *machine) play(runners int, text string, actions ...string) map[string]runner.Result {
	s.t.Helper()
	hooks := map[string]string{}
	for _, when := range []string{"started", "completed"} {
		hooks[when+".sh"] = fmt.Sprintf("%s service hook %s --config %s/service.yml --socket %s\n", watched, when, s.dir, s.socket)
	}
	at := lay(s.t, hooks)
	jobs, err := runner.Read(filepath.Join(lay(s.t, map[string]string{"ci.yml": text}), "ci.yml"))
	if err != nil {
		s.t.Fatal(err)
	}
	held := map[string]string{}
	for i := 0; i+1 < len(actions); i += 2 {
		held[actions[i]] = actions[i+1]
	}
	results, err := runner.Run(s.t.Context(), jobs, runner.Options{
		Root: s.runs, Runners: runners, Actions: held, User: "nobody", Stderr: os.Stderr,
		Env: []string{"ACTIONS_RUNNER_HOOK_JOB_STARTED=" + at + "/started.sh", "ACTIONS_RUNNER_HOOK_JOB_COMPLETED=" + at + "/completed.sh"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	by := map[string]runner.Result{}
	for _, r := range results {
		by[r.Job] = r
	}
	return by
}

// events returns what a recording holds, which must be whole.
func (s *machine) events(id string) []event.Event {
	s.t.Helper()
	dir := filepath.Join(jobsDir, id, "evidence")
	if err := rig.Verify(dir); err != nil {
		s.t.Errorf("job %s: %v", id, err)
	}
	events, err := rig.Events(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return events
}

// marks counts the processes of a recording that say whose they are, by that.
func marks(events []event.Event) map[string]int {
	found := map[string]int{}
	for i := range events {
		if events[i].Kind != event.Exec {
			continue
		}
		for _, a := range events[i].Argv {
			if mark, ok := strings.CutPrefix(a.String(), "mark="); ok && events[i].Exe.HasSuffix("/true") {
				found[mark]++
			}
		}
	}
	return found
}

// Four jobs at once on two runners: each is recorded apart, from its first
// process to what it leaves running, whether it has hooks or takes them away.
func TestAServiceRecordsEachJobOfTheMachineApart(t *testing.T) {
	s := serve(t, 2, "metrics: unix:"+filepath.Join(t.TempDir(), "m.sock"))
	text := "on: push\njobs:"
	for _, j := range []string{"a", "b", "c", "d"} {
		text += fmt.Sprintf(`
  %[1]s:
    runs-on: self-hosted
    steps:
      - {id: one, run: "for i in $(seq 400); do /bin/true mark=%[1]s=one; done"}
      - {id: gone, run: "rm -f $(dirname $RUNNER_WORKSPACE)/../.env; env -i setsid /bin/true mark=%[1]s=gone"}
      - {id: two, background: true, run: "for i in $(seq 400); do /bin/true mark=%[1]s=two; done"}
`, j)
	}
	by := s.play(2, text)
	ids := s.await(4)
	seen := map[string]string{}
	for _, id := range ids {
		events := s.events(id)
		if len(events) == 0 || events[0].Kind != event.Start || !strings.HasPrefix(events[0].Cwd.String(), s.runs) {
			t.Errorf("recording %s does not begin with the start of a job below %s: %v", id, s.runs, events[:min(len(events), 1)])
		}
		tree, job := process.NewTree(1<<14), ""
		for i := range events {
			n := tree.Apply(&events[i])
			if events[i].Kind == event.Exec && n != nil && !n.Step.IsZero() {
				for _, a := range events[i].Argv {
					if mark, ok := strings.CutPrefix(a.String(), "mark="); ok && mark != n.Job.String()+"="+n.Step.String() {
						t.Errorf("%s is told as of job %q, step %q", mark, n.Job, n.Step)
					}
				}
				job = n.Job.String()
			}
		}
		if seen[job] != "" {
			t.Errorf("job %q has two recordings, %s and %s", job, seen[job], id)
		}
		seen[job] = id
		found := marks(events)
		if found[job+"=one"] != 400 || found[job+"=two"] != 400 || found[job+"=gone"] != 1 || len(found) != 3 {
			t.Errorf("job %q: processes %v", job, found)
		}
		if !strings.Contains(by[job].Log, "This machine records what jobs do (edamame-posture, recording "+id) || !strings.Contains(by[job].Log, "Recording "+id+":") {
			t.Errorf("job %q was not told that it is recorded as %s:\n%s", job, id, by[job].Log)
		}
		j, err := rig.Judge(filepath.Join(jobsDir, id, "evidence"))
		if err != nil {
			t.Fatal(err)
		}
		if c := j.Verdict().Coverage; c.Lost != 0 || len(c.Gaps) != 0 || c.Witness != "agree" {
			t.Errorf("job %q: coverage %+v", job, c)
		}
	}
	if len(ids) != 4 || len(seen) != 4 {
		t.Errorf("%d recordings of the jobs %v", len(ids), seen)
	}
	s.state("WATCHDOG=1")
}

// What is scraped says what became of the jobs; a socket that hears nonsense
// goes on.
func TestFiguresOfAServiceAreScraped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	s := serve(t, 1, "metrics: "+at)
	s.play(1, "on: push\njobs:\n  a:\n    runs-on: self-hosted\n    steps: [{run: 'true'}]\n")
	s.await(1)
	if c, err := net.Dial("tcp", at); err == nil {
		_, _ = c.Write([]byte("\x16\x03\x01 not HTTP\r\n\r\n"))
		_, _ = io.ReadAll(c)
		c.Close()
	}
	resp, err := http.Get("http://" + at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%v, %s, %v", err, resp.Status, resp.Header)
	}
	for _, want := range []string{"edamame_posture_jobs_running 0\n", `edamame_posture_jobs_total{verdict="review"} 1` + "\n", "edamame_posture_events_lost_total 0\n", "edamame_posture_jobs_unrecorded_total 0\n"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("%q is not there:\n%s", want, body)
		}
	}
	if resp, err := http.Get("http://" + at + "/other"); err != nil || resp.StatusCode != 404 {
		t.Errorf("another path: %v, %v", resp, err)
	}
}

// The action in a job that the machine's service records: two monitors at once,
// each with a whole recording, and the job is told of both.
func TestTheActionBesideTheServiceOfTheMachine(t *testing.T) {
	needRoot(t)
	if _, err := os.Lstat(service.Socket); err == nil {
		t.Skipf("a service runs on this machine: %s", service.Socket)
	}
	s := serveAt(t, 1, "", "", service.Socket)
	const uses = "org/edamame-posture@v1"
	out := folder(t)
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	rig.Sudo(t, "nobody", "beside", "/bin/true", "/usr/bin/true", installed(s.runs, 1))
	by := s.play(1, fmt.Sprintf(`on: push
jobs:
  a:
    runs-on: self-hosted
    steps:
      - {uses: %s, with: {out: %s/posture, upload-evidence: "false"}}
      - {id: one, run: "for i in $(seq 100); do /bin/true mark=a=one; done; sudo -n /bin/true mark=a=root"}
`, uses, out), uses, release(t))
	id := s.await(1)[0]
	log := by["a"].Log
	if by["a"].Conclusion != "Succeeded" || strings.Count(log, "the service of this machine records this job too, as "+id) != 1 ||
		!strings.Contains(log, "edamame-posture watches this job") || !strings.Contains(log, "recording "+id) {
		t.Errorf("%s:\n%s", by["a"].Conclusion, log)
	}
	for whose, dir := range map[string]string{"the action's": filepath.Join(out, "posture", "evidence"), "the service's": filepath.Join(jobsDir, id, "evidence")} {
		if err := rig.Verify(dir); err != nil {
			t.Errorf("%s: %v", whose, err)
			continue
		}
		events, err := rig.Events(dir)
		if err != nil {
			t.Fatal(err)
		}
		if m := marks(events); m["a=one"] != 100 || m["a=root"] != 1 {
			t.Errorf("%s: processes %v", whose, m)
		}
		j, err := rig.Judge(dir)
		if err != nil {
			t.Fatal(err)
		}
		v := j.Verdict()
		if c := v.Coverage; c.State != "complete" || c.Witness != "agree" {
			t.Errorf("%s: coverage %+v", whose, c)
		}
		// What the action's monitor does as root is the job's doing for the service;
		// and users of sudo are made and removed by tests on this machine.
		ours := false
		for _, f := range v.Findings {
			mine := strings.HasPrefix(f.Actor.Exe, "/memfd:edamame-") || f.Actor.Exe == "/memfd:posture-canary"
			if ours = ours || mine; whose == "the action's" || !mine && f.Rule != "posture-drift" {
				t.Errorf("%s: %s: %s %q by %s", whose, f.Rule, f.Title, f.Object, f.Actor.Exe)
			}
		}
		if !ours && whose == "the service's" {
			t.Errorf("the service does not tell of the action's monitor: %+v", v.Findings)
		}
	}
}

// A job outlives itself, by taking the runner's mark from a process, and changes
// what the next job on the machine finds.
func TestWhatAJobLeavesIsToldInItAndInTheNext(t *testing.T) {
	s := serve(t, 1, "")
	home := folder(t)
	t.Setenv("HOME", home)
	if err := os.Chown(home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	stays := fmt.Sprintf("RUNNER_TRACKING_ID=0 setsid sh -c 'until [ -e %[1]s/second ]; do sleep 0.1; done; mkdir -p %[1]s/.ssh; /bin/true mark=left; sleep 600' > /dev/null 2>&1 < /dev/null & echo $! > %[1]s/pid", home)
	s.play(1, fmt.Sprintf("on: push\njobs:\n  first:\n    runs-on: self-hosted\n    steps:\n      - run: |\n          %s\n", stays))
	t.Cleanup(func() { killGroupOf(filepath.Join(home, "pid")) })
	first := s.await(1)[0]
	ended := s.events(first)
	end := ended[len(ended)-1]
	if end.Kind != event.End || len(end.Survivors) == 0 {
		t.Fatalf("the end of the first job does not tell what it left: %v", end)
	}
	left := end.Survivors[0].Actor
	// Between the jobs, as whoever stays on the machine can.
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh/authorized_keys"), []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKnown canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{".ssh", ".ssh/authorized_keys"} {
		if err := os.Chown(filepath.Join(home, f), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	// What is remembered of the machine outlives the service.
	s.stop()
	s.start()
	if err := os.RemoveAll(s.runs); err != nil {
		t.Fatal(err)
	}
	s.play(1, fmt.Sprintf("on: push\njobs:\n  second:\n    runs-on: self-hosted\n    steps:\n      - run: touch %[1]s/second; sleep 1; /bin/true mark=own\n", home))
	ids := s.await(2)
	second := s.events(ids[1])
	var drift, told bool
	for i := range second {
		ev := &second[i]
		if ev.Kind == event.Drift && ev.Path.HasSuffix("/.ssh/authorized_keys") && strings.Contains(ev.Detail.String(), "added since the job before this one ended") {
			drift = true
		}
		if ev.Kind == event.Existing && ev.Via == event.ViaOutside && ev.Actor.PID == left.PID {
			told = true
		}
		if ev.Kind == event.Exec && slices.ContainsFunc(ev.Argv, func(a redact.Text) bool { return a.Is("mark=left") }) && ev.Via != event.ViaHost {
			t.Errorf("what the first job left is told as %s of the second", ev.Via)
		}
	}
	if !drift || !told {
		t.Errorf("drift between the jobs told: %v; what was left told as foreign: %v\n%s", drift, told, s.all())
	}
	j, err := rig.Judge(filepath.Join(jobsDir, ids[1], "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	if fs := j.Verdict().Findings; !slices.ContainsFunc(fs, func(f judge.Finding) bool { return f.Rule == "posture-drift" }) {
		t.Errorf("no finding tells of the drift: %v", fs)
	}
	if n := marks(second); n["left"] != 1 || n["own"] != 1 {
		t.Errorf("processes told in the second job: %v", n)
	}
}

// A service that is killed leaves what it saw, ended by the next one, which
// takes up the job that still runs.
func TestAServiceThatIsKilledLosesNoJob(t *testing.T) {
	s := serve(t, 1, "")
	flag := filepath.Join(folder(t), "f")
	if err := os.Mkdir(flag, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(flag, 0o777); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.play(1, fmt.Sprintf("on: push\njobs:\n  a:\n    runs-on: self-hosted\n    steps:\n      - run: /bin/true mark=before; touch %[1]s/up; until [ -e %[1]s/go ]; do sleep 0.1; done; /bin/true mark=after\n", flag))
	}()
	for range 200 {
		if _, err := os.Stat(filepath.Join(flag, "up")); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	// The next round has it on the disk.
	first := s.each(`job ([0-9a-f]{16}) of runner`)
	if len(first) != 1 {
		t.Fatalf("no job began:\n%s", s.all())
	}
	awaitCheckpoint(t, filepath.Join(jobsDir, first[0], "evidence"))
	_ = s.cmd.Process.Kill()
	<-s.over
	s.start()
	if err := os.WriteFile(filepath.Join(flag, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	<-done
	second := s.await(1)[0]
	events, err := rig.Events(filepath.Join(jobsDir, first[0], "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	if n := marks(events); n["before"] != 1 || !strings.Contains(s.all(), "a monitor died while it recorded job "+first[0]) {
		t.Errorf("the first recording has %v\n%s", n, s.all())
	}
	if _, err := os.Stat(filepath.Join(jobsDir, first[0], "verdict.json")); err != nil {
		t.Error(err)
	}
	said := "the monitor died"
	var fs unix.Statfs_t
	if unix.Statfs("/sys/fs/bpf", &fs) == nil && fs.Type == unix.BPF_FS_MAGIC {
		said = "signal 9" // and who sent it
	}
	if !slices.ContainsFunc(events, func(ev event.Event) bool {
		return ev.Kind == event.SensorGap && strings.Contains(ev.Detail.String(), said)
	}) {
		t.Errorf("the first recording does not say %q", said)
	}
	late := s.events(second)
	if n := marks(late); n["after"] != 1 {
		t.Errorf("the recording that went on has %v", n)
	}
	j, err := rig.Judge(filepath.Join(jobsDir, second, "evidence"))
	if err != nil || j.Verdict().Coverage.State != "partial" {
		t.Errorf("a recording that began in the middle of its job: %v, %+v", err, j.Verdict().Coverage)
	}
}

// awaitCheckpoint returns when a log has grown by a checkpoint.
func awaitCheckpoint(t *testing.T, dir string) {
	t.Helper()
	for range 200 {
		e, err := evidence.OpenPartial(dir)
		if err == nil {
			n := 0
			_ = e.Each(func(_ []byte, ev *event.Event) error {
				for _, a := range ev.Argv {
					if a.Is("mark=before") {
						n++
					}
				}
				return nil
			})
			e.Close()
			if n > 0 {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("no checkpoint within 10 s in %s", dir)
}

// killGroupOf ends the group of a process whose number a file holds.
func killGroupOf(file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && pid > 1 {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
