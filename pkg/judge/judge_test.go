package judge_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

var update = flag.Bool("update", false, "write testdata anew")

const policy = `version: 1
egress:
  - "*.example.com:443"
  - {to: "uploads.example.net:443", by: [gh]}
write: ["dist/**", "node_modules/**"]
credentials: [npm]
deny:
  egress: ["*.ngrok.app"]
`

var digestPolicy = "version: 1\nexec: [make, {to: /opt/tools/gen, sha256: " + facttest.Digest(1).String() + "}]\n"

func resolved(t testing.TB, yaml string) *intent.Resolved {
	t.Helper()
	if yaml == "" {
		return intent.None()
	}
	p, err := intent.Parse("posture.yml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func rules(t testing.TB) *signature.Pack {
	t.Helper()
	p, err := signature.Default()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t testing.TB, yaml string, l *facttest.Log) *judge.Verdict {
	t.Helper()
	j := judge.New(resolved(t, yaml), nil)
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	return j.Verdict()
}

// scenes are logs with the intent that they are judged by.
var scenes = []struct {
	name   string
	policy string
	tell   func(l *facttest.Log)
	want   judge.Outcome
	score  int
	why    []judge.Reason
}{
	{
		"a job that does what it said", policy,
		func(l *facttest.Log) {
			node := l.Run(l.Root, "/usr/bin/node", "node", "build.js")
			l.Write(node, facttest.Root+"/dist/main.js")
			l.Resolve(node, "api.example.com", "203.0.113.9")
			l.Send(node, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Pass, 0, []judge.Reason{},
	},
	{
		"one undeclared host", policy,
		func(l *facttest.Log) {
			node := l.Run(l.Root, "/usr/bin/node", "node", "build.js")
			l.Resolve(node, "evil.example", "203.0.113.9")
			l.Send(node, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Fail, 40, []judge.Reason{judge.Undeclared},
	},
	{
		"one undeclared destination on this machine", policy,
		func(l *facttest.Log) {
			l.Send(l.Run(l.Root, "/usr/bin/curl", "curl", "127.0.0.1:3128"), "127.0.0.1:3128", 120)
			l.End(0)
		}, judge.Fail, 40, []judge.Reason{judge.Undeclared},
	},
	{
		"a denied host", policy,
		func(l *facttest.Log) {
			l.Resolve(l.Root, "a.ngrok.app", "203.0.113.9")
			l.Send(l.Root, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Fail, 99, []judge.Reason{judge.Forbidden},
	},
	{
		"a write outside the listed folders", policy,
		func(l *facttest.Log) {
			l.Write(l.Root, facttest.Root+"/src/main.go")
			l.End(0)
		}, judge.Review, 12, []judge.Reason{judge.Undeclared},
	},
	{
		"a write outside the workspace needs a grant under any intent", "version: 1\negress: [\"a.example.com:443\"]\n",
		func(l *facttest.Log) {
			l.Write(l.Root, "/etc/cron.d/x")
			l.Write(l.Root, facttest.Root+"/anything")
			l.Write(l.Root, "/tmp/anything")
			l.End(0)
		}, judge.Fail, 40, []judge.Reason{judge.Undeclared},
	},
	{
		"a credential that is read and sent away", policy,
		func(l *facttest.Log) {
			sh := l.Run(l.Root, "/bin/sh", "sh", "-c", "cat ~/.npmrc | curl")
			l.Read(l.Run(sh, "/bin/cat", "cat", ".npmrc"), "npm", facttest.Home+"/.npmrc")
			curl := l.Run(sh, "/usr/bin/curl", "curl", "api.example.com")
			l.Resolve(curl, "api.example.com", "203.0.113.9")
			l.Send(curl, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Fail, 64, []judge.Reason{judge.Undeclared},
	},
	{
		"a credential that may be sent there",
		"version: 1\negress: [\"api.example.com:443\"]\ncredentials: [{class: npm, by: [cat, curl], to: [\"api.example.com:443\"]}]\n",
		func(l *facttest.Log) {
			sh := l.Run(l.Root, "/bin/sh", "sh", "-c", "cat ~/.npmrc | curl")
			l.Read(l.Run(sh, "/bin/cat", "cat", ".npmrc"), "npm", facttest.Home+"/.npmrc")
			curl := l.Run(sh, "/usr/bin/curl", "curl", "api.example.com")
			l.Resolve(curl, "api.example.com", "203.0.113.9")
			l.Send(curl, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Pass, 0, []judge.Reason{},
	},
	{
		"a credential that may be sent anywhere",
		"version: 1\negress: [\"api.example.com:443\"]\ncredentials: [{class: npm, by: [cat, curl], to: [\"*:*\"]}]\n",
		func(l *facttest.Log) {
			sh := l.Run(l.Root, "/bin/sh", "sh", "-c", "cat ~/.npmrc | curl")
			l.Read(l.Run(sh, "/bin/cat", "cat", ".npmrc"), "npm", facttest.Home+"/.npmrc")
			curl := l.Run(sh, "/usr/bin/curl", "curl", "api.example.com")
			l.Resolve(curl, "api.example.com", "203.0.113.9")
			l.Send(curl, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Review, 0, []judge.Reason{judge.LowTightness},
	},
	{
		"a program with the digest that the policy wants", digestPolicy,
		func(l *facttest.Log) {
			gen := l.Run(l.Root, "/opt/tools/gen", "gen")
			l.Run(l.Root, "/opt/tools/gen", "gen", "more")
			l.Holds(gen, 1)
			again := &l.Events[len(l.Events)-2]
			again.CTime, again.Size = l.Events[len(l.Events)-1].CTime, l.Events[len(l.Events)-1].Size
			l.End(0)
		}, judge.Pass, 0, []judge.Reason{},
	},
	{
		"a program with another digest", digestPolicy,
		func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, "/opt/tools/gen", "gen"), 2)
			l.End(0)
		}, judge.Fail, 40, []judge.Reason{judge.Undeclared},
	},
	{
		"a program whose digest is not known", digestPolicy,
		func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, "/opt/tools/gen", "gen"), 0)
			l.End(0)
		}, judge.Fail, 40, []judge.Reason{judge.Undeclared},
	},
	{
		"no intent", "",
		func(l *facttest.Log) {
			l.Resolve(l.Root, "anything.example", "203.0.113.9")
			l.Send(l.Root, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Review, 0, []judge.Reason{judge.NoIntent},
	},
	{
		"an intent that allows anything", "version: 1\negress: [\"*:*\"]\n",
		func(l *facttest.Log) {
			l.Resolve(l.Root, "anything.example", "203.0.113.9")
			l.Send(l.Root, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Review, 0, []judge.Reason{judge.LowTightness},
	},
	{
		"a log without end", policy,
		func(l *facttest.Log) {
			l.Write(l.Root, facttest.Root+"/dist/main.js")
		}, judge.Review, 0, []judge.Reason{judge.PartialCoverage},
	},
	{
		"lost records", policy,
		func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.SensorGap, Via: event.ViaMonitor, Sensor: facttest.Text("ebpf"), Detail: facttest.Text("records lost"), From: 1, To: 2, Lost: 17})
			l.End(0)
		}, judge.Review, 0, []judge.Reason{judge.PartialCoverage, judge.HasFinding},
	},
	{
		"a canary that was not seen", policy,
		func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.Canary, Via: event.ViaMonitor, Detail: facttest.Text("the monitor's own exec was not seen")})
			l.End(0)
		}, judge.Fail, 0, []judge.Reason{judge.PartialCoverage, judge.HasFinding},
	},
	{
		"witnesses that disagree", policy,
		func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.Witness, Via: event.ViaMonitor, Counts: []event.Count{{What: facttest.Text("exec"), EBPF: 3, Netlink: 300}}})
			l.End(0)
		}, judge.Fail, 0, []judge.Reason{judge.PartialCoverage, judge.HasFinding},
	},
	{
		"partial coverage fails where the policy says so", policy + "fail-on: {coverage: partial}\n",
		func(l *facttest.Log) {}, judge.Fail, 0, []judge.Reason{judge.PartialCoverage},
	},
	{
		"a program that takes the sensors off", "",
		func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.BPF, Op: event.OpDetach, Actor: l.Run(l.Root, "/usr/sbin/bpftool", "bpftool", "link", "detach", "id", "3")})
			l.End(0)
		}, judge.Fail, 90, []judge.Reason{judge.NoIntent, judge.HasFinding},
	},
	{
		"never only reports", policy + "fail-on: never\n",
		func(l *facttest.Log) {
			l.Send(l.Root, "203.0.113.9:443", 120)
			l.End(0)
		}, judge.Review, 40, []judge.Reason{judge.Undeclared},
	},
	{
		"what happens elsewhere on the machine is not the job's", policy,
		func(l *facttest.Log) {
			l.Send(l.Root, "203.0.113.9:443", 120)
			for i := len(l.Events) - 2; i < len(l.Events); i++ {
				l.Events[i].Via = event.ViaHost
			}
			l.End(0)
		}, judge.Pass, 0, []judge.Reason{},
	},
}

func TestVerdictsOfScenes(t *testing.T) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			l := facttest.New("make", "build")
			s.tell(l)
			v := run(t, s.policy, l)
			if v.Verdict != s.want || v.Score != s.score || !slices.Equal(v.Reasons, s.why) {
				t.Errorf("%s, score %d, because of %v; want %s, %d, %v\n%s", v.Verdict, v.Score, v.Reasons, s.want, s.score, s.why, v.Encode())
			}
			sum := 0
			for _, e := range v.Ledger {
				sum += e.Points
			}
			if (sum == 0) != (v.Score == 0) {
				t.Errorf("ledger of %d points and score %d", sum, v.Score)
			}
		})
	}
}

// Each scene's log and verdict are kept: the bytes of a verdict are a promise.
func TestGoldenVerdicts(t *testing.T) {
	for _, s := range scenes {
		name := filepath.Join("testdata", strings.ReplaceAll(s.name, " ", "-"))
		t.Run(s.name, func(t *testing.T) {
			if *update {
				l := facttest.New("make", "build")
				s.tell(l)
				var log []byte
				for i := range l.Events {
					log = append(l.Events[i].AppendJSON(log), '\n')
				}
				write(t, name+".jsonl", log)
				write(t, name+".json", run(t, s.policy, l).Encode())
			}
			log, err := os.ReadFile(name + ".jsonl")
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if diff := cmp.Diff(string(want), string(replay(t, s.policy, log).Encode())); diff != "" {
					t.Fatalf("-kept +now\n%s", diff)
				}
			}
		})
	}
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// replay judges a log as it stands on the disk, with one event used again for
// every line as a reader does.
func replay(t *testing.T, yaml string, log []byte) *judge.Verdict {
	t.Helper()
	j := judge.New(resolved(t, yaml), nil)
	var ev event.Event
	for line := range bytes.Lines(log) {
		if err := event.Decode(bytes.TrimSuffix(line, []byte("\n")), &ev); err != nil {
			t.Fatal(err)
		}
		j.Apply(&ev)
	}
	return j.Verdict()
}

func TestReplayOfTheLinesGivesTheVerdictOfTheEvents(t *testing.T) {
	l := crowd(200)
	var log []byte
	for i := range l.Events {
		log = append(l.Events[i].AppendJSON(log), '\n')
	}
	live := string(run(t, policy, l).Encode())
	if diff := cmp.Diff(live, string(replay(t, policy, log).Encode())); diff != "" {
		t.Errorf("-live +replay\n%s", diff)
	}
}

// A verdict in between changes nothing.
func TestLookingChangesNothing(t *testing.T) {
	l := crowd(50)
	in, pack := resolved(t, policy), rules(t)
	quiet, looked := judge.New(in, pack), judge.New(in, pack)
	for i := range l.Events {
		quiet.Apply(&l.Events[i])
		looked.Apply(&l.Events[i])
		if i%7 == 0 {
			looked.Verdict()
			looked.Facts()
			looked.Live()
		}
	}
	want := string(quiet.Verdict().Encode())
	if got := string(looked.Verdict().Encode()); got != want {
		t.Errorf("-quiet +looked\n%s", cmp.Diff(want, got))
	}
	if again := string(quiet.Verdict().Encode()); again != want {
		t.Error("the second verdict differs from the first")
	}
}

// crowd is a log with many programs, hosts, files and a finding or two.
func crowd(n int) *facttest.Log {
	l := facttest.New("make", "build")
	for i := range n {
		p := l.Run(l.Root, "/usr/bin/node", "node", fmt.Sprintf("/srv/x%d.js", i%5))
		l.Resolve(p, fmt.Sprintf("h%d.example", i%40), fmt.Sprintf("203.0.113.%d", i%40))
		l.Send(p, fmt.Sprintf("203.0.113.%d:443", i%40), uint64(i))
		l.Write(p, fmt.Sprintf("%s/src/f%d.go", facttest.Root, i))
		l.Write(p, fmt.Sprintf("/etc/x%d", i))
		l.Read(p, "aws", facttest.Home+"/.aws/credentials")
		l.Connect(p, "198.51.100.7:80")
		l.Unlink(p, fmt.Sprintf("%s/old%d", facttest.Root, i))
		if i%10 == 0 {
			l.Add(event.Event{Kind: event.BPF, Op: event.OpObject, Actor: p})
			l.Add(event.Event{Kind: event.MemAccess, Op: event.OpRead, Actor: p, Target: event.Actor{PID: 900, Start: 70_000_000_000}, Path: facttest.Text("/proc/900/mem"), Class: facttest.Text("process-memory")})
		}
		l.Exit(p, 0)
	}
	l.End(0)
	return l
}

func TestVerdictsMatchTheirSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/verdict.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, v *judge.Verdict) {
		t.Helper()
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(v.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %#v\n%s", name, err, v.Encode())
		}
	}
	for _, s := range scenes {
		l := facttest.New("make", "build")
		s.tell(l)
		check(s.name, run(t, s.policy, l))
	}
	check("a crowd", run(t, policy, crowd(700)))
	check("an empty log", judge.New(nil, nil).Verdict())
	j := judge.New(resolved(t, policy), rules(t))
	for _, l := range []*facttest.Log{crowd(30)} {
		for i := range l.Events {
			j.Apply(&l.Events[i])
		}
	}
	check("with rules", j.Verdict())
}

// The schema is strict: what is not in it is refused.
func TestTheSchemaRefusesWhatItDoesNotName(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/verdict.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	good := run(t, policy, crowd(3)).Encode()
	for _, edit := range []struct{ name, from, to string }{
		{"an unknown member", `"version": 1,`, `"version": 1, "extra": 1,`},
		{"an unknown outcome", `"verdict": "fail"`, `"verdict": "ok"`},
		{"a score over 100", `"score": `, `"score": 9`},
		{"a severity of no kind", `"severity": "high"`, `"severity": "scary"`},
	} {
		bad := strings.Replace(string(good), edit.from, edit.to, 1)
		if bad == string(good) {
			t.Fatalf("%s: nothing to edit", edit.name)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(doc) == nil {
			t.Errorf("%s is not refused", edit.name)
		}
	}
}

func TestAVerdictIsBoundedAndSaysWhatItLeftOut(t *testing.T) {
	l := facttest.New("make")
	for i := range 3000 {
		l.Connect(l.Root, fmt.Sprintf("203.%d.%d.9:443", i/250, i%250))
	}
	l.End(0)
	v := run(t, policy, l)
	if len(v.Undeclared) != 500 || v.Facts.Undeclared != 3000 || v.Facts.LeftOut != 2500 {
		t.Errorf("%d listed, %+v", len(v.Undeclared), v.Facts)
	}
	if len(v.Ledger) > 10 {
		t.Errorf("a ledger of %d lines", len(v.Ledger))
	}
	if n := len(v.Encode()); n > 1<<20 {
		t.Errorf("%d bytes", n)
	}
}

func TestTheCommandsEnd(t *testing.T) {
	l := facttest.New("make")
	l.End(3)
	if v := run(t, policy, l); v.Run.Command.Exit != 3 {
		t.Errorf("exit %d, want 3", v.Run.Command.Exit)
	}
	l = facttest.New("make")
	l.End(0)
	l.Events[len(l.Events)-1].Signal = 9
	if v := run(t, policy, l); v.Run.Command.Exit != 137 {
		t.Errorf("exit %d, want 137", v.Run.Command.Exit)
	}
	l = facttest.New("make")
	if v := run(t, policy, l); v.Run.Command.Exit != -1 || v.Run.Ended == "" {
		t.Errorf("exit %d, ended %q; want -1 and the last event's time", v.Run.Command.Exit, v.Run.Ended)
	}
}

func TestALogThatMissesALineIsPartial(t *testing.T) {
	l := crowd(3)
	l.Events = slices.Delete(l.Events, 20, 22)
	v := run(t, policy, l)
	if v.Coverage.State != "partial" || v.Coverage.Lost != 2 {
		t.Errorf("%s, lost %d", v.Coverage.State, v.Coverage.Lost)
	}
}

func TestWhatATerminalObeysIsEscaped(t *testing.T) {
	l := facttest.New("make")
	l.Write(l.Root, "/etc/\u009b31m\u202etxt.\x1b]0;<&>\x7f")
	l.End(0)
	b := run(t, policy, l).Encode()
	for _, r := range string(b) {
		if r < 0x20 && r != '\n' || r >= 0x7f && r <= 0x9f || r == 0x202e {
			t.Errorf("%U stands in the output", r)
		}
	}
	if !bytes.Contains(b, []byte(`<&>`)) || !json.Valid(b) {
		t.Errorf("%s", b)
	}
}

// Adding what a policy allows never raises the score, and adding what a job
// does never lowers it.
func TestScoreIsMonotone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	hosts := []string{"a.example", "b.example", "c.example", "d.ngrok.app", "e.example.com"}
	type act struct{ kind, n int }
	tell := func(acts []act) *facttest.Log {
		l := facttest.New("make")
		for _, a := range acts {
			switch a.kind {
			case 0:
				l.Resolve(l.Root, hosts[a.n%len(hosts)], fmt.Sprintf("203.0.113.%d", a.n%len(hosts)))
				l.Send(l.Root, fmt.Sprintf("203.0.113.%d:443", a.n%len(hosts)), 1)
			case 1:
				l.Write(l.Root, fmt.Sprintf("/etc/x%d", a.n))
			case 2:
				l.Write(l.Root, fmt.Sprintf("%s/src/%d", facttest.Root, a.n))
			case 3:
				l.Unlink(l.Root, fmt.Sprintf("%s/src/%d", facttest.Root, a.n))
			case 4:
				l.Read(l.Root, "aws", fmt.Sprintf("/x/%d", a.n))
			}
		}
		l.End(0)
		return l
	}
	allow := policy
	for range 60 {
		acts := make([]act, 1+r.IntN(12))
		for i := range acts {
			acts[i] = act{r.IntN(5), r.IntN(9)}
		}
		whole := run(t, policy, tell(acts)).Score
		if whole < 0 || whole > 100 {
			t.Fatalf("score %d", whole)
		}
		if less := run(t, policy, tell(acts[:len(acts)-1])).Score; less > whole {
			t.Errorf("%v: %d without the last act, %d with it", acts, less, whole)
		}
		twice := append(slices.Clone(acts), acts...)
		if got := run(t, policy, tell(twice)).Score; got != whole && !slices.ContainsFunc(acts, func(a act) bool { return a.kind == 4 }) {
			t.Errorf("%v: %d once, %d twice", acts, whole, got)
		}
		allow = policy + "" // the same policy with one more grant
		wider := strings.Replace(allow, "egress:\n  - ", "egress:\n  - \"a.example:443\"\n  - ", 1)
		if got := run(t, wider, tell(acts)).Score; got > whole {
			t.Errorf("%v: %d, and %d with another grant", acts, whole, got)
		}
	}
}

// An attack among once, ten and a hundred times its volume of explained noise
// keeps its score, its findings and what it is told to have done, whether the
// noise comes before it, with it or after.
func TestNoiseDilutesNothing(t *testing.T) {
	in, pack := resolved(t, policy), rules(t)
	tell := func(factor int, when string) *judge.Verdict {
		l := facttest.New("make")
		// What the shell below reads is held against all below it, not against its sister.
		sh, node := l.Run(l.Root, "/bin/sh", "sh", "x.sh"), l.Run(l.Root, "/usr/bin/node", "node", "build.js")
		n := 0
		noise := func(events int) {
			for until := len(l.Events) + events; len(l.Events) < until; n++ {
				l.Write(node, fmt.Sprintf("%s/dist/%d/%d.js", facttest.Root, n/50, n))
				l.Resolve(node, fmt.Sprintf("h%d.example.com", n), fmt.Sprintf("198.51.%d.%d", n/250, n%250))
				l.Send(node, fmt.Sprintf("198.51.%d.%d:443", n/250, n%250), 1)
			}
		}
		worker := l.Run(l.Root, "/home/runner/runners/2.330.0/bin/Runner.Worker", "Runner.Worker", "spawnclient")
		// The steps of the attack.
		steps := []func(){
			func() {
				python := l.Run(sh, "/usr/bin/python3", "python3", "memdump.py")
				l.Add(event.Event{Kind: event.MemAccess, Actor: python, Target: worker, Op: event.OpRead})
			},
			func() {
				l.Read(l.Run(sh, "/bin/cat", "cat", "credentials"), "aws", facttest.Home+"/.aws/credentials")
			},
			func() { l.Send(l.Run(sh, "/usr/bin/curl", "curl", "203.0.113.9"), "203.0.113.9:443", 512) },
			func() { l.Write(l.Run(sh, "/usr/bin/tee", "tee", "/etc/profile"), "/etc/profile") },
		}
		const volume = 13 // events of the four
		if when == "before" {
			noise(factor * volume)
		}
		began := len(l.Events)
		for _, step := range steps {
			step()
			if when == "among" {
				noise(factor * volume / len(steps))
			}
		}
		if factor == 0 && len(l.Events)-began != volume {
			t.Fatalf("the attack is of %d events, not %d", len(l.Events)-began, volume)
		}
		if when == "after" {
			noise(factor * volume)
		}
		l.End(0)
		j := judge.New(in, pack)
		for i := range l.Events {
			j.Apply(&l.Events[i])
		}
		return j.Verdict()
	}
	objects := func(v *judge.Verdict) (list []string) {
		for _, u := range v.Undeclared {
			list = append(list, u.Verb+" "+u.Object)
		}
		for _, f := range v.Findings {
			list = append(list, f.Rule+" "+f.Object)
		}
		return list
	}
	alone := tell(0, "")
	if alone.Score < 90 || alone.Verdict != judge.Fail || len(alone.Findings) == 0 {
		t.Fatalf("the attack alone: %s, score %d, %v", alone.Verdict, alone.Score, objects(alone))
	}
	for _, factor := range []int{1, 10, 100, 1000} {
		for _, when := range []string{"before", "among", "after"} {
			v := tell(factor, when)
			if v.Score != alone.Score || v.Verdict != alone.Verdict || !slices.Equal(objects(v), objects(alone)) {
				t.Errorf("%d times its volume of noise %s: %s, score %d, %v; alone %d, %v", factor, when, v.Verdict, v.Score, objects(v), alone.Score, objects(alone))
			}
			if v.Facts.Explained < uint64(factor) {
				t.Errorf("%d times its volume of noise: only %d facts are explained", factor, v.Facts.Explained)
			}
		}
	}
}

const budgeted = `version: 1
egress:
  - {to: "uploads.example.com:443", by: [gh], upload: 1000B}
  - {to: "*.example.com:443", by: [curl], upload: 500B}
`

// uploads tells a job whose programs send bytes to one host.
func uploads(sent map[string]uint64) *facttest.Log {
	l := facttest.New("make")
	for _, program := range slices.Sorted(maps.Keys(sent)) {
		n := l.Run(l.Root, "/usr/bin/"+program, program)
		l.Resolve(n, "uploads.example.com", "203.0.113.7")
		l.Send(n, "203.0.113.7:443", sent[program])
	}
	l.End(0)
	return l
}

func TestABudgetOfBytesHoldsForAllThatWasSentUnderIt(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sent  map[string]uint64
		score int
		grant string
	}{
		{"as much as was granted", map[string]uint64{"gh": 1000}, 0, ""},
		{"one byte more", map[string]uint64{"gh": 1001}, 40, `- {to: "uploads.example.com:443", by: [gh], upload: 1100B}`},
		{"each by its own budget", map[string]uint64{"gh": 900, "curl": 400}, 0, ""},
		{"one over, the other not", map[string]uint64{"gh": 900, "curl": 501}, 40, `- {to: "uploads.example.com:443", by: [curl], upload: 510B}`},
		{"both over", map[string]uint64{"gh": 2000, "curl": 501}, 64, ""},
	} {
		v := run(t, budgeted, uploads(tt.sent))
		if v.Score != tt.score || (tt.score > 0) != (v.Verdict == judge.Fail) {
			t.Errorf("%s: score %d, %s; want %d: %+v", tt.name, v.Score, v.Verdict, tt.score, v.Undeclared)
		}
		if tt.grant != "" && (len(v.Undeclared) != 1 || v.Undeclared[0].Verb != "upload" || v.Undeclared[0].Grant != tt.grant) {
			t.Errorf("%s: undeclared is %+v, want an upload that %s covers", tt.name, v.Undeclared, tt.grant)
		}
	}
	// What suggests itself as the line makes it right.
	more := strings.Replace(budgeted, "1000B", "1100B", 1)
	if v := run(t, more, uploads(map[string]uint64{"gh": 1001})); v.Score != 0 {
		t.Errorf("with the line that was told the score is %d", v.Score)
	}
}

func TestOneMoreGrantNeverCostsABudget(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	extra := []string{
		`{to: "uploads.example.com:443", upload: 1B}`, `{to: "uploads.example.com:443", by: [gh], upload: 700B}`,
		`"*.example.com:443"`, `{to: "*.example.com:443", by: [gh, curl], upload: 2KB}`,
	}
	for range 200 {
		sent := map[string]uint64{"gh": uint64(r.IntN(2500)), "curl": uint64(r.IntN(1500)), "scp": uint64(r.IntN(2))}
		policy := budgeted
		before := run(t, policy, uploads(sent)).Score
		for _, i := range r.Perm(len(extra)) {
			policy += "  - " + extra[i] + "\n"
			after := run(t, policy, uploads(sent)).Score
			if after > before {
				t.Fatalf("%v: %d before, %d with %s:\n%s", sent, before, after, extra[i], policy)
			}
			before = after
		}
		more := maps.Clone(sent)
		more["gh"] += 10
		if a, b := run(t, budgeted, uploads(sent)).Score, run(t, budgeted, uploads(more)).Score; b < a {
			t.Fatalf("%v: %d, and %d with more bytes", sent, a, b)
		}
	}
}

// What is held against a budget stays, however many connections there are.
func TestNoiseTakesNothingOffABudget(t *testing.T) {
	tell := func(noise int) int {
		l := facttest.New("make")
		gh := l.Run(l.Root, "/usr/bin/gh", "gh")
		l.Resolve(gh, "uploads.example.com", "203.0.113.7")
		l.Send(gh, "203.0.113.7:443", 600)
		for i := range noise {
			n := l.Run(l.Root, "/usr/bin/curl", "curl")
			l.Resolve(n, fmt.Sprintf("h%d.example.com", i), fmt.Sprintf("198.51.%d.%d", i/250, i%250))
			l.Send(n, fmt.Sprintf("198.51.%d.%d:443", i/250, i%250), 0)
		}
		l.Send(gh, "203.0.113.7:443", 600)
		l.End(0)
		return run(t, budgeted, l).Score
	}
	if alone, among := tell(0), tell(3000); alone != 40 || among < alone {
		t.Errorf("score %d alone, %d among noise", alone, among)
	}
}

func TestASuppressedFindingIsListedAndDoesNotCount(t *testing.T) {
	const rule = "version: 1\negress: [\"*.example.com:443\"]\n"
	pack := rules(t)
	found := func(policy string) *judge.Verdict {
		j := judge.New(resolved(t, policy), pack)
		for _, ev := range attack().Events {
			j.Apply(&ev)
		}
		return j.Verdict()
	}
	plain := found(rule)
	if len(plain.Findings) == 0 {
		t.Fatal("the scene has no finding")
	}
	f := plain.Findings[0]
	line := "  - {rule: " + f.Rule + ", reason: known, owner: me, until: %s}\n"
	quiet := found(rule + "suppress:\n" + fmt.Sprintf(line, "2999-01-01"))
	if len(quiet.Findings) != len(plain.Findings) || quiet.Findings[0].Suppressed == nil || quiet.Findings[0].Suppressed.Owner != "me" {
		t.Errorf("the finding is %+v, want it listed as suppressed", quiet.Findings)
	}
	if slices.Contains(quiet.Reasons, judge.HasFinding) || quiet.Score > plain.Score {
		t.Errorf("reasons %v, score %d; the finding counts", quiet.Reasons, quiet.Score)
	}
	over := found(rule + "suppress:\n" + fmt.Sprintf(line, "1999-01-01"))
	if over.Findings[0].Suppressed != nil || over.Score != plain.Score || over.Verdict != plain.Verdict {
		t.Errorf("a suppression that is over: %+v, score %d, %s", over.Findings[0].Suppressed, over.Score, over.Verdict)
	}
	other := found(rule + "suppress:\n" + fmt.Sprintf(strings.Replace(line, "reason", "by: [nobody], reason", 1), "2999-01-01"))
	if other.Findings[0].Suppressed != nil {
		t.Error("a suppression for another program was taken")
	}
}

// What a job does again costs no memory, whatever it is, with intent and rules.
func TestWhatIsKnownIsJudgedWithoutAllocating(t *testing.T) {
	l := facttest.New("make")
	npm := l.Run(l.Root, "/usr/bin/node", "npm", "ci")
	known := len(l.Events)
	l.Exec(event.Actor{PID: npm.PID, Start: npm.Start}, "/usr/bin/node", "npm", "ci")
	l.Resolve(npm, "api.example.com", "203.0.113.9")
	l.Send(npm, "203.0.113.9:443", 100)
	l.Resolve(npm, "evil.example", "203.0.113.10")
	l.Send(npm, "203.0.113.10:443", 100)
	l.Hello(npm, "203.0.113.9:443", 7, "api.example.com")
	l.Flow(npm, "203.0.113.9:443", 7, 10, 10, true)
	l.Write(npm, facttest.Root+"/dist/a.js")
	l.Write(npm, "/etc/profile")
	l.Write(npm, facttest.Root+"/dist/ab12cd34ef56.js")
	l.Read(npm, "npm", facttest.Home+"/.npmrc")
	l.Read(npm, "aws", facttest.Home+"/.aws/credentials")
	l.Unlink(npm, "/tmp/npm-1/x")
	l.Listen(npm, "127.0.0.1:4873")
	j := judge.New(resolved(t, policy), rules(t))
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	seq := uint64(len(l.Events))
	again := func() {
		for i := known; i < len(l.Events); i++ {
			ev := &l.Events[i]
			ev.Seq, ev.Time = seq, int64(seq)*1_000_000
			seq++
			j.Apply(ev)
		}
	}
	again() // what was read before is now sent on
	before := len(j.Facts())
	if n := testing.AllocsPerRun(200, again); n != 0 {
		t.Errorf("%v allocations for %d events", n, len(l.Events)-known)
	}
	if after := len(j.Facts()); before < 10 || after != before {
		t.Errorf("%d facts, then %d", before, after)
	}
}

func BenchmarkApply(b *testing.B) {
	l := crowd(1000)
	in, pack := resolved(b, policy), rules(b)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += len(l.Events) {
		j := judge.New(in, pack)
		for k := range l.Events {
			if i+k == b.N {
				break
			}
			j.Apply(&l.Events[k])
		}
	}
}

func BenchmarkVerdict(b *testing.B) {
	l := crowd(1000)
	j := judge.New(resolved(b, policy), rules(b))
	for k := range l.Events {
		j.Apply(&l.Events[k])
	}
	b.ResetTimer()
	for b.Loop() {
		j.Verdict()
	}
}

func TestActsUponTheMonitorAreFindings(t *testing.T) {
	monitor := event.Actor{PID: 900, Start: 9, Image: 1}
	for _, c := range []struct {
		name string
		act  event.Event
		want string
	}{
		{"its program is detached", event.Event{Kind: event.BPF, Op: event.OpDetach}, "bpf detach"},
		{"its program is detached by another", event.Event{Kind: event.BPF, Op: event.OpDetach, Via: event.ViaOutside}, "bpf detach"},
		{"its map is written", event.Event{Kind: event.BPF, Op: event.OpMapUpdate}, "bpf map-update"},
		{"its log is written", event.Event{Kind: event.Open, Path: facttest.Text("/var/lib/x/checkpoints"), Access: event.Write}, "write to its files"},
		{"its log is removed", event.Event{Kind: event.Unlink, Path: facttest.Text("/var/lib/x/checkpoints")}, "unlink of its files"},
		{"it is killed", event.Event{Kind: event.Kill, Signal: 9}, "signal 9"},
		{"it is stopped", event.Event{Kind: event.Kill, Signal: 19}, "signal 19"},
		{"it is traced", event.Event{Kind: event.Ptrace, Op: event.OpAttach}, "ptrace attach"},
		{"its memory is read", event.Event{Kind: event.MemAccess, Op: event.OpRead}, "memory read"},
		{"its environment is read, as ps does", event.Event{Kind: event.MemAccess, Op: event.OpRead, Path: facttest.Text("/proc/900/environ")}, ""},
		{"it is asked whether it lives", event.Event{Kind: event.Kill}, ""},
		{"it is told to go on", event.Event{Kind: event.Kill, Signal: 18}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := facttest.New("make")
			l.Add(event.Event{Kind: event.SensorUp, Via: event.ViaMonitor, Actor: monitor, Sensor: facttest.Text("ebpf")})
			c.act.Actor, c.act.Target = l.Root, event.Actor{PID: monitor.PID, Start: monitor.Start}
			l.Add(c.act)
			l.End(0)
			v := run(t, "", l)
			var got string
			for _, f := range v.Findings {
				if f.Rule == "monitor-attack" {
					got = f.Object
					if f.Severity != judge.Critical || v.Score < 90 || v.Verdict != judge.Fail {
						t.Errorf("severity %s, score %d, verdict %s", f.Severity, v.Score, v.Verdict)
					}
				}
			}
			if got != c.want {
				t.Errorf("finding about %q, want %q", got, c.want)
			}
		})
	}
}

// attack tells a job that reads the memory of the runner.
func attack() *facttest.Log {
	l := facttest.New("make")
	worker := l.Run(l.Root, "/home/runner/runners/2.330.0/bin/Runner.Worker", "Runner.Worker", "spawnclient")
	python := l.Run(l.Root, "/usr/bin/python3", "python3", "memdump.py")
	l.Add(event.Event{Kind: event.MemAccess, Actor: python, Target: worker, Op: event.OpRead})
	l.End(0)
	return l
}
