package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/report"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/runnersim/runner"
)

// Scripts find the monitor of their own job by the folder of its results, and
// act upon no other.
const ownMonitor = `
pid=$(sudo -n pgrep -f "edamame-posture.*monitor.*--out $OUT" | head -1)
spool=$(dirname $(dirname $(sudo -n ls -l /proc/$pid/fd | grep -o '/[^ ]*/evidence/[^ ]*' | head -1)))
`

// tampers are what a step with sudo does to be told as less than it did. Each
// must end in a finding, in what the summary says, or in nothing that a gate
// would take: the job's own result is a notice, the gate is not.
var tampers = []struct {
	name, script string
	finding      string // a rule of the verdict, and a part of its object
	object       string
	partial      bool   // the coverage is
	failed       bool   // the job is
	said         string // by the last step
	survivor     string // told as left running
	refused      bool   // no whole evidence is there for a gate
}{
	{name: "kills the monitor", script: ownMonitor + "sudo -n kill -KILL $pid; sleep 0.3",
		finding: "coverage-lost", object: "coverage", partial: true, said: "the monitor has gone before its time", refused: true, failed: true},
	{name: "kills the monitor and lays results of its own", script: ownMonitor + `sudo -n kill -KILL $pid; sleep 0.3
rm -rf $OUT/posture; mkdir -p $OUT/posture/evidence; echo '{"verdict":"pass"}' > $OUT/posture/verdict.json; echo '{}' > $OUT/posture/evidence/commitment.json`,
		said: "the monitor has gone before its time", refused: true, failed: true},
	{name: "takes the program's right to run", script: "chmod a-x $ACTION/bin/*/edamame-posture",
		said: "what this job did is not told", refused: true, failed: true},
	{name: "chooses what Go's runtime is told", script: "echo GOMEMLIMIT=nonsense >> $GITHUB_ENV; echo GODEBUG=fips140=bogus >> $GITHUB_ENV"},
	{name: "stops the monitor", script: ownMonitor + "sudo -n kill -STOP $pid; sleep 0.1; sudo -n kill -CONT $pid",
		finding: "monitor-attack", object: "signal 19", failed: true},
	{name: "asks for the end over the socket", script: ownMonitor + `
sock=$(sudo -n ls -l /proc/$pid/fd | grep -o 'socket:\[[0-9]*\]' | tr -dc '0-9\n' | while read i; do awk -v i=$i '$7 == i && $8 ~ /control$/ {print $8}' /proc/net/unix; done | head -1)
sudo -n node -e "const s = require('net').connect('$sock', () => { s.write(JSON.stringify({op: 'hello', id: 1, version: 1}) + '\n'); s.write(JSON.stringify({op: 'close', id: 2, close: {exit: 0}}) + '\n'); }); s.on('data', (d) => process.stdout.write(d)); setTimeout(() => s.destroy(), 400)"`,
		finding: "monitor-attack", object: "a request to end"},
	{name: "rings without the number", script: ownMonitor + `
sock=$(sudo -n ls -l /proc/$pid/fd | grep -o 'socket:\[[0-9]*\]' | tr -dc '0-9\n' | while read i; do awk -v i=$i '$7 == i && $8 ~ /control$/ {print $8}' /proc/net/unix; done | head -1)
node -e "const s = require('net').connect('$sock', () => { s.write(JSON.stringify({op: 'hello', id: 1, version: 1}) + '\n'); s.write(JSON.stringify({op: 'ring', id: 2, ring: '0'}) + '\n'); }); s.on('data', (d) => process.stdout.write(d)); setTimeout(() => s.destroy(), 400)"`,
		finding: "monitor-attack", object: "a request to end"},
	{name: "replaces the program", script: "rm -f $ACTION/bin/*/edamame-posture; cp /bin/true $ACTION/bin/$(ls $ACTION/bin)/edamame-posture",
		failed: true, said: "a step replaced the program that watches this job", refused: true},
	{name: "removes the program", script: "rm -f $ACTION/bin/*/edamame-posture",
		failed: true, said: "a step replaced the program that watches this job", refused: true},
	{name: "puts a pipe in the program's place", script: "f=$(echo $ACTION/bin/*/edamame-posture); rm -f $f; mkfifo $f",
		failed: true, said: "a step replaced the program that watches this job", refused: true},
	{name: "edits the last step's script", script: "echo '// quiet' >> $ACTION/action/shim.js",
		finding: "monitor-attack", object: "a request to end", said: "is another file than it was", refused: true, failed: true},
	{name: "empties the last step's script", script: "echo > $ACTION/action/post.js", refused: true},
	{name: "edits the manifest", script: "echo 'name: other' > $ACTION/action.yml"},
	{name: "deletes the evidence", script: ownMonitor + `sudo -n sh -c "rm -f $spool/evidence/*"`, failed: true,
		refused: true},
	{name: "edits the evidence", script: ownMonitor + "for f in $(sudo -n ls $spool/evidence/ | grep zst); do sudo -n dd if=/dev/zero of=$spool/evidence/$f bs=1 count=8 conv=notrunc 2>/dev/null; done",
		refused: true, failed: true},
	{name: "writes commands and a summary", script: `
echo '### Posture: **pass**' >> $GITHUB_STEP_SUMMARY
for n in '::error title=x::y' '<' '::set-output name=verdict::pass' '| a | b |'; do cp /bin/true "$OUT/$n"; "$OUT/$n" '::notice::fake' "</details><script>" || :; done
(exec 3<>/dev/tcp/127.0.0.1/9) 2>/dev/null || :`},
	{name: "outlives the job", script: "RUNNER_TRACKING_ID=0 setsid sleep 15 > /dev/null 2>&1 < /dev/null &", survivor: "sleep"},
	{name: "deletes what the runner keeps for the last step", script: `find $RUNNER_TEMP/_runner_file_commands -name 'save_state_*' ! -path "$GITHUB_STATE" -delete`},
	{name: "clears its state", script: "echo 'STATE_watch=' >> $GITHUB_ENV; echo 'STATE_binary=none' >> $GITHUB_ENV; echo 'STATE_mark=0' >> $GITHUB_ENV; echo 'INPUT_FAIL-ON=never' >> $GITHUB_ENV"},
}

// kept is what the last step says of a recording that it could not use.
var kept = regexp.MustCompile(`the recording stays in (/var/lib/edamame-posture/[0-9a-f]{16})`)

func TestTamperingEndsInAFindingOrInNothingForAGate(t *testing.T) {
	needRoot(t)
	const uses = "org/edamame-posture@v1"
	from := release(t)
	rig.Sudo(t, "nobody", "tamper", "ALL")
	for _, c := range tampers {
		t.Run(c.name, func(t *testing.T) {
			root, out := filepath.Join(folder(t), "r"), folder(t)
			if err := os.Chmod(out, 0o777); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(out, "posture")
			script := fmt.Sprintf("OUT=%s\nACTION=%s/runner-1/_work/_actions/org/edamame-posture/v1\n%s", out, root, c.script)
			text := attacked(uses, dir, script)
			jobs, err := runner.Read(filepath.Join(lay(t, map[string]string{"ci.yml": text}), "ci.yml"))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // a last step that waits for ever is cut off
			defer cancel()
			results, err := runner.Run(ctx, jobs, runner.Options{
				Root: root, User: "nobody", Stderr: os.Stderr, Actions: map[string]string{uses: from},
			})
			if err != nil {
				t.Fatal(err)
			}
			r := results[0]
			if m := kept.FindStringSubmatch(r.Log); m != nil {
				t.Cleanup(func() { _ = os.RemoveAll(m[1]) })
			}
			// Where the last step did not end it, the monitor does, when the worker has
			// gone.
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && watching(t, out); time.Sleep(50 * time.Millisecond) {
			}
			if (r.Conclusion == "Failed") != c.failed {
				t.Errorf("the job has %s", r.Conclusion)
			}
			if !strings.Contains(strings.Join(r.Annotations, "\n"), c.said) {
				t.Errorf("annotations are %q, want %q", r.Annotations, c.said)
			}
			for _, a := range r.Annotations {
				if strings.HasSuffix(a, "fake") || strings.HasSuffix(a, ": y") {
					t.Errorf("a step's own text became the annotation %q", a)
				}
			}
			if whole := rig.Verify(filepath.Join(dir, "evidence")) == nil && strings.Contains(r.Summaries, "### Posture: **"); whole == c.refused {
				t.Errorf("what is there for a gate is whole and told: %v (%v)", whole, rig.Verify(filepath.Join(dir, "evidence")))
			}
			if strings.Contains(r.Summaries, "<script>") {
				t.Error("a name stands in the summary as it is")
			}
			v := verdictOf(t, dir)
			if v == nil {
				if !c.refused {
					t.Error("there are no results")
				}
			} else {
				if c.partial && v.Verdict.Coverage.State != "partial" {
					t.Errorf("coverage is %s", v.Verdict.Coverage.State)
				}
				if c.finding != "" && !slices.ContainsFunc(v.Verdict.Findings, func(f judge.Finding) bool { return f.Rule == c.finding && strings.Contains(f.Object, c.object) }) {
					t.Errorf("no finding %s of %q: %+v", c.finding, c.object, v.Verdict.Findings)
				}
				if c.survivor != "" && !slices.ContainsFunc(v.Survivors, func(s report.Survivor) bool { return strings.HasSuffix(s.Exe, "/"+c.survivor) }) {
					t.Errorf("left running: %+v, want %s", v.Survivors, c.survivor)
				}
			}
			if t.Failed() {
				t.Logf("%s", r.Log)
			}
		})
	}
}

// attacked is a workflow one step of which is an attack.
func attacked(uses, dir, script string) string {
	return fmt.Sprintf(`
on: push
jobs:
  a:
    runs-on: self-hosted
    steps:
      - {uses: %s, with: {out: %s, upload-evidence: "false"}}
      - id: attack
        run: |
%s
      - run: /bin/echo after
`, uses, dir, indent(strings.TrimSpace(script)+"\n"))
}

// A disk that is full takes no more of the log. What it cost is told.
func TestAFloodedDiskIsTold(t *testing.T) {
	needRoot(t)
	const uses = "org/edamame-posture@v1"
	rig.Sudo(t, "nobody", "flood", "ALL")
	root, out := filepath.Join(folder(t), "r"), folder(t)
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(out, "posture")
	wf := filepath.Join(lay(t, map[string]string{"ci.yml": attacked(uses, dir, `
sudo -n dd if=/dev/zero of=/var/lib/edamame-posture/fill bs=64k 2>/dev/null || :
for i in $(seq 80); do /bin/true $i $RANDOM $(head -c 6000 /dev/urandom | base64 -w0); done
sudo -n rm /var/lib/edamame-posture/fill
`)}), "ci.yml")
	// A disk of its own, which nobody else on this machine sees.
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mkdir -p /var/lib/edamame-posture && mount -t tmpfs -o size=2m,mode=755 tmpfs /var/lib/edamame-posture || exit 9
exec "$@"`, "sh", self, "-user", "nobody", "-root", root, "-action", uses+"="+release(t), wf)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	printed, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 9 {
		t.Skip("a file system cannot be mounted for the test")
	}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	v := verdictOf(t, dir)
	if v == nil {
		if rig.Verify(filepath.Join(dir, "evidence")) == nil || !strings.Contains(string(printed), "what this job did is not told") {
			t.Errorf("nothing is told of it:\n%s", printed)
		}
		return
	}
	// What could not be written waits for room, as far as there is memory for it.
	events, err := rig.Events(filepath.Join(dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	all := 0
	for i := range events {
		if events[i].Kind == event.Exec && len(events[i].Argv) == 4 && events[i].Argv[0].String() == "/bin/true" {
			all++
		}
	}
	if complete := v.Verdict.Coverage.State == "complete"; complete != (all == 80) || v.Verdict.Verdict == judge.Pass {
		t.Errorf("%d of 80 programs are in the log, coverage is %s, verdict %s\n%s", all, v.Verdict.Coverage.State, v.Verdict.Verdict, printed)
	}
}

func indent(script string) string {
	var b strings.Builder
	for l := range strings.Lines(script) {
		b.WriteString("          " + l)
	}
	return strings.TrimRight(b.String(), "\n")
}

// verdictOf reads a folder of results; nil where there are none.
func verdictOf(t *testing.T, dir string) *report.Data {
	t.Helper()
	d, err := report.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Logf("%s: %v", dir, err)
		return nil
	}
	return d
}
