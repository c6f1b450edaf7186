package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
)

// outcome is what one run of a case gave.
type outcome struct {
	line int64 // when run told the first finding of high or above
	// told is how long after the event that decided it that was.
	told    time.Duration
	verdict *judge.Verdict
	log     []byte   // of the job
	missing []string // effects that are not there: the case did not do what it says
	after   time.Duration
	found   bool // a finding of high or above; after is then its time since the first step
	state   string
}

// machine is where cases run: programs that were built once, and a world.
type machine struct {
	dir, posture, tools, worker string
	world                       *world
	cache                       string   // Go's build cache, which the jobs share with this machine's user
	flags                       []string // of run, besides the corpus' own
}

func newMachine() (*machine, error) {
	dir, err := os.MkdirTemp("/var/tmp", "posture-corpus-")
	if err != nil {
		return nil, err
	}
	m := &machine{dir: dir, posture: filepath.Join(dir, "edamame-posture"), tools: filepath.Join(dir, "tools"), worker: filepath.Join(dir, "Runner.Worker")}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return m, fmt.Errorf("go env GOCACHE: %w", err)
	}
	m.cache = strings.TrimSpace(string(cache))
	if err := os.Chmod(dir, 0o755); err != nil {
		return m, err
	}
	for to, pkg := range map[string]string{m.posture: "./cmd/edamame-posture", m.worker: "./test/corpus/worker", filepath.Join(m.tools, "tool"): "./test/corpus/tool"} {
		build := exec.Command("go", "build", "-o", to, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return m, fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	for _, name := range toolNames {
		if err := os.Link(filepath.Join(m.tools, "tool"), filepath.Join(m.tools, name)); err != nil {
			return m, err
		}
	}
	m.world, err = newWorld(m.tools)
	return m, err
}

// toolNames are the stand-ins of ./tool.
var toolNames = []string{"gh", "gcloud", "az", "azd", "aws", "bun", "claude", "gemini", "q", "codex", "trufflehog", "gitleaks", "trivy",
	"kubectl", "docker", "terraform", "systemctl", "xmrig", "jsextension", "ultralytics_runner", "pglog", "Runner.Listener", "config.sh", "daemon", "beacon"}

func (m *machine) close() {
	if m.world != nil {
		m.world.close()
	}
	_ = os.RemoveAll(m.dir)
}

// mounts makes the job's view of the machine: a runner's folders at the places
// where GitHub has them, and copies of what must not be changed.
const mounts = `set -e
d=$1; shift
mount -t tmpfs tmpfs /home
mkdir /home/runner
mount --bind "$d/home" /home/runner
mount --bind "$d/tmp" /tmp
mount -t tmpfs tmpfs /opt
mkdir -p /opt/hostedtoolcache/bin
mount --bind "$d/tools" /opt/hostedtoolcache/bin
for p in /etc/sudoers.d /etc/cron.d /etc/systemd/system /var/spool/cron; do
  if [ -d "$p" ]; then mkdir -p "$d/etc$p"; mount --bind "$d/etc$p" "$p"; fi
done
cp /etc/hosts "$d/hosts"; mount --bind "$d/hosts" /etc/hosts
mount --bind "$d/resolv.conf" /etc/resolv.conf
mount --bind "$d/ca.pem" /etc/ssl/certs/ca-certificates.crt
exec "$@"`

const workspace = "/home/runner/work/app/app"

// run does a case once under a sensor.
func (m *machine) run(ctx context.Context, c *scenario, sensor string) (*outcome, error) {
	d, err := os.MkdirTemp(m.dir, "case-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(d)
	if err := m.prepare(c, d); err != nil {
		return nil, err
	}
	if err := m.world.begin(c); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	args := slices.Concat([]string{
		"--mount", "--propagation", "private", "sh", "-c", mounts, "sh", d,
		m.posture, "run", "--quiet", "--live", "--sensor", sensor, "--out", filepath.Join(d, "posture"),
	}, m.flags, []string{
		"--", "nsenter", "--net=/run/netns/" + m.world.name, "/home/runner/runners/2.336.0/bin/Runner.Worker", "/home/runner/job.json",
	})
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Dir = d
	cmd.Env = environment()
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	var stderr liveLines
	cmd.Stdout, cmd.Stderr = &out, &stderr
	runErr := cmd.Run()
	if err := m.world.end(); err != nil {
		return nil, err
	}
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) && !errors.Is(runErr, exec.ErrWaitDelay) {
		return nil, runErr
	}
	o := &outcome{log: out.Bytes(), state: cmd.ProcessState.String(), line: stderr.first}
	if err := o.read(filepath.Join(d, "posture")); err != nil {
		return nil, fmt.Errorf("%w; %s\n%s%s", err, o.state, &out, &stderr.all)
	}
	if *keep != "" {
		if err := os.CopyFS(filepath.Join(*keep, c.ID+"-"+sensor), os.DirFS(filepath.Join(d, "posture"))); err != nil {
			return nil, err
		}
	}
	if failed := o.verdict.Run.Command.Exit != 0; failed != c.Fails {
		o.missing = append(o.missing, fmt.Sprintf("the job ended with %d: %s", o.verdict.Run.Command.Exit, tail(o.log)))
	}
	for _, e := range c.Effect {
		if s := m.missing(e, d, o.log); s != "" {
			o.missing = append(o.missing, s)
		}
	}
	return o, nil
}

func tail(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[max(len(b)-400, 0):])
}

// environment is what the runner gives to all steps.
func environment() []string {
	return []string{
		"PATH=/opt/hostedtoolcache/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin",
		"HOME=/home/runner", "USER=root", "LANG=C.UTF-8",
		"GITHUB_ACTIONS=true", "CI=true", "GITHUB_JOB=build", "GITHUB_REPOSITORY=app/app", "GITHUB_RUN_ID=7", "GITHUB_RUN_ATTEMPT=1",
		"GITHUB_WORKSPACE=" + workspace, "RUNNER_TEMP=/home/runner/work/_temp", "RUNNER_TRACKING_ID=github_5f2b7c1e-0a4d-4e6b-9c3f-1d2e3f4a5b6c",
		"NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
		"npm_config_audit=false", "npm_config_fund=false", "npm_config_update_notifier=false",
		"PIP_INDEX_URL=http://pypi.test/simple", "PIP_TRUSTED_HOST=pypi.test", "PIP_BREAK_SYSTEM_PACKAGES=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_USER=1",
		"GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=-mod=mod", "GOCACHE=/home/runner/.cache/go-build", "GOPATH=/home/runner/go", "CGO_ENABLED=0",
	}
}

// variable is written as the runner's own messages have it.
type variable struct {
	Value    string `json:"value"`
	IsSecret bool   `json:"isSecret"`
}

// prepare writes what the machine of the case holds before the job.
func (m *machine) prepare(c *scenario, d string) error {
	at := func(p string) string { return filepath.Join(d, "home", p) }
	for _, dir := range []string{"tmp", "tools", "home/work/_temp", "home/work/app/app", "home/runners/2.336.0/bin", "home/.cache"} {
		if err := os.MkdirAll(filepath.Join(d, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(d, "tmp"), 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := giveHome(filepath.Join(d, "home")); err != nil {
		return err
	}
	for name, text := range map[string]string{"resolv.conf": "nameserver 127.0.0.53\n", "ca.pem": string(m.world.caPEM)} {
		if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Link(m.worker, at("runners/2.336.0/bin/Runner.Worker")); err != nil {
		return err
	}
	if err := os.Symlink(m.cache, at(".cache/go-build")); err != nil {
		return err
	}
	for _, tool := range c.Tools {
		if err := os.Link(filepath.Join(m.tools, tool), filepath.Join(d, "tools", tool)); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{"repo": "work/app/app", "home": ".", "actions": "work/_actions"} {
		if _, err := os.Stat(filepath.Join(c.Dir, from)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.CopyFS(at(to), os.DirFS(filepath.Join(c.Dir, from))); err != nil {
			return err
		}
	}
	if err := os.WriteFile(at("work/app/app/.env"), []byte("DATABASE_PASSWORD="+marker+"-env\n"), 0o600); err != nil {
		return err
	}
	job := struct {
		Variables map[string]variable `json:"variables"`
		Steps     []step              `json:"steps"`
	}{map[string]variable{}, c.Steps}
	for name, value := range secrets {
		job.Variables[name] = variable{value, true}
	}
	text, err := json.Marshal(job)
	if err != nil {
		return err
	}
	return os.WriteFile(at("job.json"), text, 0o600)
}

// missing says what of an effect is not there, or "".
func (m *machine) missing(e effect, d string, log []byte) string {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	// The job's paths are below folders of the case.
	real := func(p string) string {
		switch {
		case strings.HasPrefix(p, "/home/runner/"):
			return filepath.Join(d, "home", p[len("/home/runner/"):])
		case strings.HasPrefix(p, "/tmp/"):
			return filepath.Join(d, p)
		case strings.HasPrefix(p, "/etc/"), strings.HasPrefix(p, "/var/"):
			return filepath.Join(d, "etc", p)
		}
		return filepath.Join(d, "home/work/app/app", p)
	}
	switch {
	case e.Received != "":
		for _, r := range w.requests {
			if (r.host == e.Received || r.addr == e.Received) && (!e.Canary || holdsCanary(r.all)) {
				return ""
			}
		}
		var got []string
		for _, r := range w.requests {
			got = append(got, r.host)
		}
		return fmt.Sprintf("nothing such arrived at %s (canary: %v); requests were for %q", e.Received, e.Canary, got)
	case e.Connected != "":
		for _, a := range w.accepted {
			if strings.TrimPrefix(a, "[::ffff:") == e.Connected || strings.ReplaceAll(strings.TrimPrefix(a, "[::ffff:"), "]", "") == e.Connected {
				return ""
			}
		}
		return fmt.Sprintf("no connection to %s; there were %q", e.Connected, w.accepted)
	case e.Asked != "":
		var labels []byte
		for _, n := range w.asked {
			if strings.HasSuffix(n, e.Asked) {
				if !e.Canary {
					return ""
				}
				labels = append(labels, strings.ReplaceAll(strings.TrimSuffix(n, e.Asked), ".", "")...)
			}
		}
		if e.Canary && holdsCanary(labels) {
			return ""
		}
		return fmt.Sprintf("no such question for %s (canary: %v) among %d", e.Asked, e.Canary, len(w.asked))
	case e.File != "":
		if found, _ := filepath.Glob(real(e.File)); len(found) == 0 {
			return e.File + " is not there"
		}
	case e.Absent != "":
		if found, _ := filepath.Glob(real(e.Absent)); len(found) > 0 {
			return e.Absent + " is there still"
		}
	case e.LogCanary:
		if !holdsCanary(log) {
			return "no canary is in the job's log: " + tail(log)
		}
	case e.Log != "":
		if !bytes.Contains(log, []byte(e.Log)) {
			return fmt.Sprintf("the job's log does not say %q: %s", e.Log, tail(log))
		}
	}
	return ""
}

// read takes the verdict, and finds by replay when the first finding of high
// or above was there.
func (o *outcome) read(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "verdict.json"))
	if err != nil {
		return err
	}
	o.verdict = &judge.Verdict{}
	if err := json.Unmarshal(b, o.verdict); err != nil {
		return err
	}
	if worst(o.verdict.Findings) < severe["high"] {
		return nil
	}
	o.found = true
	e, err := evidence.OpenPartial(filepath.Join(dir, "evidence"))
	if err != nil {
		return err
	}
	defer e.Close()
	in, err := e.Inputs()
	if err != nil {
		return err
	}
	j := judge.New(in.Intent, in.Signatures)
	var began int64
	seen, done := 0, errors.New("found")
	err = e.Each(func(_ []byte, ev *event.Event) error {
		j.Apply(ev)
		if began == 0 && ev.Kind == event.Exec && ev.Exe.HasSuffix("/bash") {
			began = ev.Time
		}
		if n := j.Live().Findings; n != seen {
			seen = n
			if worst(j.Verdict().Findings) >= severe["high"] {
				o.after = time.Duration(ev.Time - began)
				if o.line > 0 {
					o.told = time.Duration(o.line - ev.Time)
				}
				return done
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, done) {
		return err
	}
	return nil
}

// liveLines is what run says, and when it first told a finding of high or above:
// CLOCK_BOOTTIME in nanoseconds, 0 for never.
type liveLines struct {
	all   bytes.Buffer // no embedded one: its ReadFrom would pass Write by
	first int64
}

var graveLine = regexp.MustCompile(`(?m)^edamame-posture: (high|critical): .*\[[a-z0-9-]+\]$`)

// Write is called by one goroutine alone.
func (l *liveLines) Write(b []byte) (int, error) {
	n, err := l.all.Write(b)
	if l.first == 0 && graveLine.Match(l.all.Bytes()) {
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
			l.first = ts.Nano()
		}
	}
	return n, err
}

var severe = map[string]int{"info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}

func worst(findings []judge.Finding) (most int) {
	for _, f := range findings {
		most = max(most, severe[string(f.Severity)])
	}
	return most
}
