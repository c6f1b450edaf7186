package learn_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/learn"
	"github.com/org/edamame-posture/pkg/signature"
)

// recording is a run with its events, to be judged afterwards.
type recording struct {
	learn.Run
	events []event.Event
}

func record(t testing.TB, name string, events []event.Event) recording {
	t.Helper()
	r, err := learn.NewRecorder(evidence.Inputs{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		r.Apply(&events[i])
	}
	return recording{r.Run(name), events}
}

// scene records a run of make that does what tell says.
func scene(t testing.TB, name string, tell func(l *facttest.Log)) recording {
	t.Helper()
	l := facttest.New("make")
	tell(l)
	l.End(0)
	return record(t, name, l.Events)
}

// scenes records n runs; tell gets the number of each, from 0.
func scenes(t testing.TB, n int, tell func(l *facttest.Log, i int)) []recording {
	t.Helper()
	var out []recording
	for i := range n {
		out = append(out, scene(t, fmt.Sprintf("run-%02d", i), func(l *facttest.Log) { tell(l, i) }))
	}
	return out
}

// job is what every run does.
func job(l *facttest.Log) {
	node := l.Run(l.Root, "/usr/bin/node", "node", "build.js")
	l.Resolve(node, "api.example.com", "203.0.113.9")
	l.Send(node, "203.0.113.9:443", 120)
	l.Write(node, facttest.Root+"/dist/main.js")
}

// visit sends something to a host.
func visit(l *facttest.Log, host string) {
	a := fmt.Sprintf("203.0.113.%d", 10+len(l.Events)%200)
	curl := l.Run(l.Root, "/usr/bin/curl", "curl", host)
	l.Resolve(curl, host, a)
	l.Send(curl, a+":443", 120)
}

// connectOnly sends something from the command itself.
func connectOnly(l *facttest.Log, dst string) { l.Send(l.Root, dst, 10) }

func learnt(t testing.TB, list []recording, o learn.Options) string {
	t.Helper()
	runs := make([]learn.Run, len(list))
	for i := range list {
		runs[i] = list[i].Run
	}
	p, err := learn.Learn(runs, o)
	if err != nil {
		t.Fatal(err)
	}
	explains(t, p, list)
	return string(p.Text)
}

// explains checks that each run that was learnt from has nothing undeclared
// under what was learnt, but for what the policy names in a comment.
func explains(t testing.TB, p *learn.Policy, list []recording) {
	t.Helper()
	if p.Runs == 0 {
		return
	}
	parsed, err := intent.Parse("learned.yml", p.Text)
	if err != nil {
		t.Fatalf("what was learnt does not parse: %v\n%s", err, p.Text)
	}
	for _, r := range list {
		if slices.ContainsFunc(p.Left, func(l learn.Left) bool { return l.Name == r.Name }) {
			continue
		}
		name := ""
		if len(parsed.Jobs()) > 0 {
			name = r.Job
		}
		in, err := parsed.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		j := judge.New(in, nil)
		for i := range r.events {
			j.Apply(&r.events[i])
		}
		for _, f := range j.Verdict().Undeclared {
			if p.Rare+p.Open == 0 || !named(p.Text, f.Object, f.Who[0]) {
				t.Errorf("%s: %s %s by %q is undeclared under\n%s", r.Name, f.Verb, f.Object, f.Who, p.Text)
			}
		}
	}
}

// named reports whether a comment of what is not granted tells an object.
func named(text []byte, object, by string) bool {
	shown := func(s string) string { q := document.Quote(s); return q[1 : len(q)-1] }
	object, by = shown(object), shown(by)
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "# ") && (strings.Contains(l, object) || strings.Contains(l, " "+by) || strings.Contains(l, object[strings.LastIndexByte(object, '/')+1:])) {
			return true
		}
	}
	return false
}

// grants returns the policy without comments.
func grants(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		l, _, _ = strings.Cut(l, "# ")
		if strings.TrimSpace(l) != "" {
			b.WriteString(strings.TrimRight(l, " \n") + "\n")
		}
	}
	return b.String()
}

func has(t testing.TB, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

func hasNot(t testing.TB, text string, unwanted ...string) {
	t.Helper()
	for _, w := range unwanted {
		if strings.Contains(text, w) {
			t.Errorf("%q is in\n%s", w, text)
		}
	}
}

func TestOneRunIsLearntAsItWas(t *testing.T) {
	got := learnt(t, scenes(t, 1, func(l *facttest.Log, _ int) { job(l) }), learn.Options{})
	want := `# Learned from 1 run: what was done, which need not be what is right. Read it before you use it.
version: 1
egress:
  - {to: "api.example.com:443", by: [build.js]}
listen: [] # there was none
exec: [make, node]
write:
  - dist/main.js
`
	if got != want {
		t.Errorf("learnt:\n%s\nwant:\n%s", got, want)
	}
}

func TestWhatOneOfTwentyRunsDidIsNamedAndNotGranted(t *testing.T) {
	hostile := func(l *facttest.Log, i int) {
		job(l)
		if i != 7 {
			return
		}
		visit(l, "evil.example")
		sh := l.Run(l.Root, "/opt/x/implant", "implant")
		l.Write(sh, "/etc/cron.d/x")
		l.Write(sh, facttest.Root+"/dist/extra.js")
		l.Listen(sh, "0.0.0.0:4444")
		// The host that all use, by a program that no other run had.
		l.Send(sh, "203.0.113.9:443", 9000)
		l.Read(sh, "ssh", facttest.Home+"/.ssh/id_ed25519")
	}
	twenty := scenes(t, 20, hostile)
	for i := range twenty {
		twenty[i].Finding = "" // that no rule finds it is the point
	}
	clean := scenes(t, 20, func(l *facttest.Log, _ int) { job(l) })
	text := learnt(t, twenty, learn.Options{})
	if a, b := grants(text), grants(learnt(t, clean, learn.Options{})); a != b {
		t.Errorf("one run of twenty changed what is granted:\n%s\nwithout it:\n%s", a, b)
	}
	for _, what := range []string{
		`egress {to: "evil.example:443", by: [curl]}`, `write /etc/cron.d/x`, `write dist/extra.js`, "exec implant", "exec curl",
		`listen {to: "0.0.0.0:4444", by: [implant]}`, `egress {to: "api.example.com:443", by: [implant]}`, "credentials {class: ssh, by: [implant]",
	} {
		has(t, text, "# seen in 1 of 20 runs only: "+what)
	}
	has(t, text, "(run-07)")

	all := learnt(t, twenty, learn.Options{Rare: true})
	hasNot(t, all, "runs only")
	has(t, grants(all), "evil.example", "/etc/cron.d/x")
	has(t, all, "in 1 of 20 runs (run-07)")
}

// A line that is there for others may cover what a hostile run did. It is named
// all the same.
func TestWhereOneOfTwentyRunsWentIsNamedAlsoUnderAPreset(t *testing.T) {
	text := learnt(t, scenes(t, 20, func(l *facttest.Log, i int) {
		visit(l, "github.com")
		visit(l, "codeload.github.com")
		if i == 4 {
			visit(l, "uploads.github.com")
		}
	}), learn.Options{})
	has(t, text, "use:\n  - github-runner", `# seen in 1 of 20 runs only: egress {to: "uploads.github.com:443", by: [curl]} (run-04), and a line covers it`)
}

func TestARunDoesNotHideWhatAnotherDidBehindMuchOfItsOwn(t *testing.T) {
	var runs []learn.Run
	for _, r := range scenes(t, 20, func(l *facttest.Log, i int) {
		job(l)
		switch i {
		case 2:
			for n := range 90 {
				visit(l, fmt.Sprintf("%c%c.example", 'a'+n/26, 'a'+n%26))
			}
		case 3:
			visit(l, "zz.example")
		}
	}) {
		runs = append(runs, r.Run)
	}
	p, err := learn.Learn(runs, learn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	has(t, string(p.Text), `{to: "zz.example:443", by: [curl]} (run-03)`, "# seen in few runs only: 50 more of egress (run-02)")
}

func TestHowManyRunsAreFew(t *testing.T) {
	for _, test := range []struct {
		runs, with int
		granted    bool
	}{{1, 1, true}, {9, 1, true}, {10, 1, false}, {10, 2, true}, {20, 2, false}, {20, 3, true}, {60, 6, false}, {60, 7, true}} {
		text := learnt(t, scenes(t, test.runs, func(l *facttest.Log, i int) {
			job(l)
			if i < test.with {
				visit(l, "more.example")
			}
		}), learn.Options{})
		if got := strings.Contains(grants(text), "more.example"); got != test.granted {
			t.Errorf("what %d of %d runs did is granted: %v, want %v", test.with, test.runs, got, test.granted)
		}
		if !strings.Contains(text, "more.example") {
			t.Errorf("%d of %d: it is not even named", test.with, test.runs)
		}
	}
}

// A hostile run widens nothing by making a thing look as if it varied.
func TestAFewRunsDoNotMakeAnythingVary(t *testing.T) {
	base := func(l *facttest.Log, i int) {
		job(l)
		visit(l, "host1.example.org")
		l.Write(l.Root, "/opt/tool/1.2.3/state")
		l.Write(l.Root, "/opt/two/1.2/state")
		l.Write(l.Root, "/opt/two/1.3/state")
		l.Write(l.Root, facttest.Root+"/out/1.0/log")
	}
	got := learnt(t, scenes(t, 20, func(l *facttest.Log, i int) {
		base(l, i)
		if i > 1 {
			return
		}
		for n := range 12 {
			visit(l, fmt.Sprintf("host%d.example.org", 2+n+i*100))
			l.Write(l.Root, fmt.Sprintf("/opt/tool/1.2.%d/state", 10+n+i*100))
			l.Write(l.Root, fmt.Sprintf(facttest.Root+"/out/1.%d/log", 10+n+i*100))
			l.Write(l.Root, fmt.Sprintf("/opt/two/1.%d/state", 10+n+i*100))
			l.Write(l.Root, fmt.Sprintf("/opt/tool/1.2.3/more-%c", 'a'+n%15))
			l.Write(l.Root, fmt.Sprintf(facttest.Root+"/dist/more-%c.js", 'a'+n%15))
		}
	}), learn.Options{})
	if want := grants(learnt(t, scenes(t, 20, base), learn.Options{})); grants(got) != want {
		t.Errorf("two runs of twenty changed what is granted:\n%s\nwithout them:\n%s", grants(got), want)
	}
}

func TestTheTextDoesNotDependOnTheOrderOfTheRuns(t *testing.T) {
	runs := scenes(t, 14, func(l *facttest.Log, i int) {
		job(l)
		visit(l, fmt.Sprintf("host%d.example.org", i))
		visit(l, "github.com")
		visit(l, "codeload.github.com")
		l.Write(l.Root, fmt.Sprintf("/opt/tool/1.%d.0/lib/a.so", i%4))
		l.Write(l.Root, fmt.Sprintf(facttest.Root+"/out/part-%d.txt", i%5))
		connectOnly(l, fmt.Sprintf("127.0.0.1:%d", 40000+i))
		if i%7 == 0 {
			l.Read(l.Root, "npm", facttest.Home+"/.npmrc")
			visit(l, "odd.example")
		}
	})
	want := learnt(t, runs, learn.Options{})
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		r.Shuffle(len(runs), func(i, k int) { runs[i], runs[k] = runs[k], runs[i] })
		if got := learnt(t, runs, learn.Options{}); got != want {
			t.Fatalf("in another order:\n%s\nwant:\n%s", got, want)
		}
	}
}

func TestItGeneralisesWhereAPersonWould(t *testing.T) {
	root := facttest.Root
	tests := []struct {
		name string
		runs int
		tell func(l *facttest.Log, i int)
		want []string
		not  []string
	}{
		{
			"numbered hosts", 3, func(l *facttest.Log, i int) { visit(l, fmt.Sprintf("host%d.example.com", 11+i)) },
			[]string{`{to: "host*.example.com:443", by: [curl]} # for host11.example.com:443, host12.example.com:443, host13.example.com:443; in 3 of 3 runs`},
			[]string{`"host11.example.com:443"`},
		},
		{
			"two numbers are not enough", 2, func(l *facttest.Log, i int) { visit(l, fmt.Sprintf("host%d.example.com", 11+i)) },
			[]string{"host11.example.com:443", "host12.example.com:443"}, []string{"host*"},
		},
		{
			"numbers of names that others can register", 5, func(l *facttest.Log, i int) {
				visit(l, fmt.Sprintf("app%d.herokuapp.com", i))
				visit(l, fmt.Sprintf("shop%d.com", i))
			},
			[]string{"app1.herokuapp.com:443", "shop1.com:443"}, []string{"app*", "shop*"},
		},
		{
			"labels that are no number", 5, func(l *facttest.Log, i int) { visit(l, fmt.Sprintf("%c.example.com", 'a'+i)) },
			[]string{"a.example.com:443"}, []string{"*"},
		},
		{
			"a number that is not at the label's end", 5, func(l *facttest.Log, i int) { visit(l, fmt.Sprintf("%d-eu.example.com", i)) },
			[]string{"1-eu.example.com:443"}, []string{"*"},
		},
		{
			"the files of a tool's version", 3, func(l *facttest.Log, i int) {
				for n := range 8 {
					l.Write(l.Root, fmt.Sprintf("/opt/tool/1.2.%d/lib/%c.so", i, 'a'+n))
				}
			},
			[]string{`"/opt/tool/*/**" # for 1.2.0, 1.2.1, 1.2.2; in 3 of 3 runs`}, []string{"1.2.0/"},
		},
		{
			"one file of a tool's version", 2, func(l *facttest.Log, i int) { l.Write(l.Root, fmt.Sprintf("/opt/tool/v1.%d/state", i)) },
			[]string{`"/opt/tool/v*/state"`}, []string{"**"},
		},
		{
			"the same versions in every run do not vary", 3, func(l *facttest.Log, i int) {
				l.Write(l.Root, "/opt/tool/1.2/state")
				l.Write(l.Root, "/opt/tool/1.3/state")
			},
			[]string{"/opt/tool/1.2/state", "/opt/tool/1.3/state"}, []string{"*"},
		},
		{
			"files of settings count one by one", 6, func(l *facttest.Log, i int) {
				l.Write(l.Root, fmt.Sprintf("/etc/logrotate.d/job%d", i))
				l.Write(l.Root, fmt.Sprintf(root+"/.github/workflows/w%d.yml", i))
				for n := range 8 {
					l.Write(l.Root, fmt.Sprintf("/etc/php/8.1/%c.ini", 'a'+n))
				}
			},
			[]string{"/etc/logrotate.d/job1", "/etc/php/8.1/a.ini", ".github/workflows/w1.yml"}, []string{"*"},
		},
		{
			"numbers of files in the workspace", 4, func(l *facttest.Log, i int) { l.Write(l.Root, fmt.Sprintf(root+"/out/report-%d.txt", 41+i)) },
			[]string{`"out/report-*.txt" # for report-41.txt, report-42.txt, report-43.txt, report-44.txt; in 4 of 4 runs`}, []string{"out/report-41"},
		},
		{
			"names of chance", 2, func(l *facttest.Log, i int) {
				l.Write(l.Root, root+"/out/.lock")
				l.Write(l.Root, root+"/out/build.tmp-"+[]string{"Ab3xY9", "Qw8eR2"}[i]+"/log")
			},
			[]string{"out/build.tmp-*/log", "out/.lock"}, []string{"Ab3xY9/"},
		},
		{
			"words are not chance", 2, func(l *facttest.Log, i int) {
				l.Write(l.Root, root+"/out/template-"+[]string{"header", "footer"}[i]+"/log")
			},
			[]string{"out/template-footer/log", "out/template-header/log"}, []string{"*"},
		},
		{
			"programs named for a version", 2, func(l *facttest.Log, i int) {
				p := fmt.Sprintf("python3.%d", 11+i)
				l.Run(l.Root, "/usr/bin/"+p, p)
			},
			[]string{`"python3.*", # for python3.11, python3.12`}, []string{`"python*"`},
		},
		{
			"ports that the kernel chose", 2, func(l *facttest.Log, i int) {
				l.Listen(l.Root, fmt.Sprintf("127.0.0.1:%d", 40000+i))
				l.Listen(l.Root, fmt.Sprintf("0.0.0.0:%d", 40000+i))
			},
			[]string{"127.0.0.1:*", "0.0.0.0:40000", "0.0.0.0:40001"}, []string{"0.0.0.0:*"},
		},
		{
			"ports that somebody chose", 3, func(l *facttest.Log, i int) { l.Listen(l.Root, fmt.Sprintf("127.0.0.1:%d", 8000+i)) },
			[]string{"127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1:8002"}, []string{"*"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := learnt(t, scenes(t, test.runs, test.tell), learn.Options{})
			has(t, text, test.want...)
			hasNot(t, grants(text), test.not...)
		})
	}
}

func TestNoLineOfALearntPolicyIsNeedless(t *testing.T) {
	runs := scenes(t, 4, func(l *facttest.Log, i int) {
		job(l)
		for n := range 9 {
			l.Write(l.Root, fmt.Sprintf(facttest.Root+"/dist/%c%d/file", 'a'+n, i))
			visit(l, fmt.Sprintf("host%d.example.org", i))
		}
		visit(l, "github.com")
		visit(l, "api.github.com")
		visit(l, "codeload.github.com")
		l.Read(l.Run(l.Root, "/bin/cat", "cat"), "npm", facttest.Home+"/.npmrc")
		l.Listen(l.Root, fmt.Sprintf("127.0.0.1:%d", 40000+i))
		l.Listen(l.Root, "127.0.0.1:39999")
	})
	text := learnt(t, runs, learn.Options{})
	lines := strings.SplitAfter(text, "\n")
	tried := 0
	for i, l := range lines {
		if !strings.HasPrefix(l, "  - ") {
			continue
		}
		tried++
		less := strings.Join(slices.Concat(lines[:i], lines[i+1:]), "")
		for _, key := range []string{"use", "egress", "listen", "credentials", "write"} {
			less = strings.Replace(less, "\n"+key+":\n"+key, "\n"+key+": []\n"+key, 1)
		}
		if undeclared(t, less, runs) == 0 {
			t.Errorf("%q is needless in\n%s", l, text)
		}
	}
	if tried < 5 {
		t.Errorf("%d lines were tried:\n%s", tried, text)
	}
}

func undeclared(t *testing.T, text string, runs []recording) int {
	t.Helper()
	p, err := intent.Parse("less.yml", []byte(emptied(text)))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range runs {
		j := judge.New(in, nil)
		for i := range r.events {
			j.Apply(&r.events[i])
		}
		n += len(j.Verdict().Undeclared)
	}
	return n
}

// emptied gives a list that has lost its last line its brackets.
func emptied(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		if strings.HasSuffix(l, ":\n") && (i+1 == len(lines) || !strings.HasPrefix(lines[i+1], "  ")) {
			lines[i] = strings.TrimSuffix(l, "\n") + " []\n"
		}
	}
	return strings.Join(lines, "")
}

func TestAPresetIsUsedForSeveralHostsThatItNames(t *testing.T) {
	hub := func(l *facttest.Log, _ int) {
		job(l)
		visit(l, "github.com")
		visit(l, "codeload.github.com")
	}
	text := learnt(t, scenes(t, 2, hub), learn.Options{})
	has(t, text, "use:\n  - github-runner # for codeload.github.com:443, github.com:443; 2 of its ", " grants were used; in 2 of 2 runs")
	hasNot(t, grants(text), "github.com")

	text = learnt(t, scenes(t, 2, hub), learn.Options{NoPresets: true})
	has(t, grants(text), "codeload.github.com:443", `"github.com:443"`)
	hasNot(t, text, "use:")

	text = learnt(t, scenes(t, 2, func(l *facttest.Log, _ int) { job(l); visit(l, "github.com") }), learn.Options{})
	hasNot(t, text, "use:") // one host is as short
	text = learnt(t, scenes(t, 2, func(l *facttest.Log, _ int) {
		visit(l, "one.s3.amazonaws.com")
		visit(l, "sts.amazonaws.com")
		connectOnly(l, "127.0.0.1:80")
		connectOnly(l, "127.0.0.1:81")
	}), learn.Options{})
	hasNot(t, text, "use:") // anyone gets a name there, and an address is no name
}

func TestRunsThatNobodyShouldLearnFromAreLeftOut(t *testing.T) {
	bad := func(l *facttest.Log) { visit(l, "evil.example") }
	pull := func(name, value string) func(l *facttest.Log) {
		return func(l *facttest.Log) {
			sh := l.Run(l.Root, "/bin/sh", "sh", "step.sh")
			l.Events[len(l.Events)-1].Env = []event.Var{{Name: facttest.Text(name), Value: facttest.Text(value)}}
			bad(l)
			l.Exec(sh, "/bin/sh", "sh", "step.sh")
			l.Events[len(l.Events)-1].Env = []event.Var{{Name: facttest.Text(name), Value: facttest.Text("push")}}
		}
	}
	tests := []struct {
		name string
		tell func(l *facttest.Log)
		why  string
		with learn.Options
	}{
		{"a finding", func(l *facttest.Log) {
			bad(l)
			l.Add(event.Event{Kind: event.BPF, Op: event.OpDetach, Actor: l.Root})
		}, "it has a finding: monitor-detach (critical)", learn.Options{Findings: true}},
		{"lost records", func(l *facttest.Log) {
			bad(l)
			l.Add(event.Event{Kind: event.SensorGap, Via: event.ViaMonitor, Sensor: facttest.Text("ebpf"), Lost: 3})
		}, "not everything was seen: ", learn.Options{Partial: true}},
		{"a pull request", pull("GITHUB_EVENT_NAME", "pull_request"), "a pull request (pull_request)", learn.Options{Forks: true}},
		{"a pull request by its ref", pull("GITHUB_REF", "refs/pull/7/merge"), "a pull request (refs/pull/7/merge)", learn.Options{Forks: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			good := scene(t, "good", job)
			runs := []recording{scene(t, "bad", test.tell), good}
			text := learnt(t, runs, learn.Options{})
			if want := learnt(t, []recording{good}, learn.Options{}); grants(text) != grants(want) {
				t.Errorf("learnt:\n%s\nwant what the good run alone gives:\n%s", text, want)
			}
			has(t, text, "# Left out: bad: "+test.why)
			has(t, grants(learnt(t, runs, test.with)), "evil.example")
			p, err := learn.Learn([]learn.Run{runs[0].Run}, learn.Options{})
			if err != nil || p.Runs != 0 || p.Text != nil || len(p.Left) != 1 {
				t.Errorf("of the bad run alone %d runs are left, and this policy, %v:\n%s", p.Runs, err, p.Text)
			}
		})
	}
}

func TestARunIsLeftOutWhereItsOwnPolicyForbadeSomething(t *testing.T) {
	p, err := intent.Parse("own.yml", []byte("version: 1\ndeny: {egress: [\"*.ngrok.app\"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := learn.NewRecorder(evidence.Inputs{Intent: in})
	if err != nil {
		t.Fatal(err)
	}
	l := facttest.New("make")
	visit(l, "a.ngrok.app")
	l.End(0)
	for i := range l.Events {
		r.Apply(&l.Events[i])
	}
	if run := r.Run("x"); run.Finding != "its policy forbids what it did: connect a.ngrok.app:443" {
		t.Errorf("why it is left out: %q", run.Finding)
	}
}

func TestAFindingThatTheRunsOwnPolicySuppressesIsNone(t *testing.T) {
	worker := event.Actor{PID: 800, Start: 60_000_000_000}
	l := facttest.New("make")
	l.Add(event.Event{Kind: event.Existing, Via: event.ViaMonitor, Actor: worker, Exe: facttest.Text("/home/runner/bin/Runner.Worker")})
	l.Add(event.Event{Kind: event.MemAccess, Actor: l.Run(l.Root, "/usr/bin/python3", "python3"), Target: worker, Op: event.OpRead})
	l.End(0)
	found := ""
	j := judge.New(intent.None(), defaultRules(t))
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	var suppress strings.Builder
	for _, f := range j.Verdict().Findings {
		found = f.Rule
		fmt.Fprintf(&suppress, "  - {rule: %s, reason: r, owner: o, until: 2099-01-01}\n", f.Rule)
	}
	if found == "" {
		t.Fatal("no rule finds anything in the scene")
	}
	for policy, want := range map[string]bool{"version: 1\n": true, "version: 1\nsuppress:\n" + suppress.String(): false} {
		p, err := intent.Parse("own.yml", []byte(policy))
		if err != nil {
			t.Fatal(err)
		}
		in, err := p.Resolve("")
		if err != nil {
			t.Fatal(err)
		}
		r, err := learn.NewRecorder(evidence.Inputs{Intent: in, Signatures: defaultRules(t)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range l.Events {
			r.Apply(&l.Events[i])
		}
		if run := r.Run("x"); (run.Finding != "") != want {
			t.Errorf("under\n%s it is left out because %q", policy, run.Finding)
		}
	}
}

func defaultRules(t *testing.T) *signature.Pack {
	t.Helper()
	p, err := signature.Default()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestACopyOfARunCountsOnce(t *testing.T) {
	runs := scenes(t, 3, func(l *facttest.Log, i int) { job(l); visit(l, fmt.Sprintf("host%d.example.org", i)) })
	for i := range runs {
		runs[i].Digest = "same"
	}
	text := learnt(t, runs[:1], learn.Options{})
	if got := learnt(t, runs, learn.Options{}); grants(got) != grants(text) {
		t.Errorf("copies changed the policy:\n%s\nwant\n%s", got, text)
	}
	has(t, learnt(t, runs, learn.Options{}), "# Learned from 1 run:", "# Left out: run-01: the same recording as run-00, which counts once")
}

func TestRunsOfSeveralJobsGiveASectionEach(t *testing.T) {
	var runs []recording
	for i, name := range []string{"build", "build", "on", "on"} {
		r := scene(t, fmt.Sprint("run-", i), func(l *facttest.Log) {
			l.Events[0].Job = facttest.Text(name)
			job(l)
			visit(l, "only-"+name+".example.net")
		})
		runs = append(runs, r)
	}
	text := learnt(t, runs, learn.Options{})
	build, on, _ := strings.Cut(text, "\n  \"on\":")
	has(t, build, "\n  build: # 2 runs\n", "only-build.example.net")
	has(t, on, "only-on.example.net")
	hasNot(t, build, "only-on")
	hasNot(t, on, "only-build")
}

// What a job names itself, its hosts and its files comes from whoever wrote it.
func TestNoNameOfARecordingBecomesSyntax(t *testing.T) {
	evil := "x\nroot: [sudo] # \u202e\x1b[2J: \"*:*\""
	runs := scenes(t, 20, func(l *facttest.Log, i int) {
		job(l)
		l.Write(l.Root, facttest.Root+"/a: b # c/"+evil)
		l.Run(l.Root, "/usr/bin/"+evil, evil)
		if i == 3 {
			l.Write(l.Root, "/etc/"+evil)
			l.Add(event.Event{Kind: event.Connect, Actor: l.Run(l.Root, "/bin/"+evil+"2", evil), Via: event.ViaLineage})
		}
	})
	runs[3].Name = "r\nroot: [sudo]"
	runs[4].Finding = "f\nroot: [sudo]"
	text := learnt(t, runs, learn.Options{})
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && (r < 0x20 || r >= 0x7f) }); i >= 0 {
		t.Errorf("%q stands in the text", text[i:i+1])
	}
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "root:") {
			t.Errorf("a name became a line: %q", l)
		}
	}
}

// The logs are of real commands; see the tests of pkg/fact.
func TestRecordedCommandsAreLearnt(t *testing.T) {
	var runs []recording
	for _, name := range []string{"npm-install", "go-build"} {
		f, err := os.Open("../fact/testdata/" + name + ".jsonl.zst")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d, err := zstd.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		log, err := io.ReadAll(d)
		if err != nil {
			t.Fatal(err)
		}
		// They hold no start; where the job works is told by it.
		events := facttest.New("sh").Events[:1]
		for line := range bytes.Lines(log) {
			var ev event.Event
			if err := event.Decode(bytes.TrimSuffix(line, []byte("\n")), &ev); err != nil {
				t.Fatal(err)
			}
			events = append(events, ev)
		}
		runs = append(runs, record(t, name, events))
	}
	o := learn.Options{Partial: true, Findings: true}
	text := learnt(t, runs, o)
	if n := strings.Count(text, "\n"); n > 40 {
		t.Errorf("the policy of two commands has %d lines:\n%s", n, text)
	}
	has(t, text, "package-lock.json", "node_modules/")
	t.Logf("%s", text)
}

// Whatever runs did, what is learnt of them parses and explains them, which
// Learn checks for itself.
func FuzzLearn(f *testing.F) {
	f.Add("/opt/tool/1.2.3/x\n/opt/tool/1.2.4/x\n//out/part-1", "host1.example.com\nhost2.example.com\nhost3.example.com", uint8(2))
	f.Add("//a/**/b\n//a/*/b\n/etc/x y\n//.git/hooks/1", "github.com\ncodeload.github.com", uint8(12))
	f.Add("/opt/1.1/a\n/opt/1.1/b\n/opt/x/1.1/**", "*.example.com\n1.2.3.4", uint8(1))
	f.Fuzz(func(t *testing.T, paths, hosts string, n uint8) {
		if len(paths) > 400 || len(hosts) > 300 {
			return
		}
		var list []learn.Run
		for i := range 1 + int(n%12) {
			l := facttest.New("make")
			for k, p := range strings.Split(paths, "\n") {
				if (k+i)%3 == 0 || p == "" { // no kernel tells of a file without a name
					continue
				}
				if rest, ok := strings.CutPrefix(p, "//"); ok {
					p = facttest.Root + "/" + rest
				}
				l.Write(l.Root, p)
				l.Run(l.Root, p, "x")
			}
			for k, h := range strings.Split(hosts, "\n") {
				if (k+i)%4 == 0 {
					continue
				}
				l.Resolve(l.Root, h, fmt.Sprintf("203.0.113.%d", k%200))
				l.Send(l.Root, fmt.Sprintf("203.0.113.%d:443", k%200), 10)
				l.Listen(l.Root, fmt.Sprintf("127.0.0.1:%d", 32768+7*i+k%100))
			}
			l.End(0)
			list = append(list, record(t, fmt.Sprint(i), l.Events).Run)
		}
		a, err := learn.Learn(list, learn.Options{Partial: true, Findings: true, Rare: n&64 != 0})
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(list)
		b, err := learn.Learn(list, learn.Options{Partial: true, Findings: true, Rare: n&64 != 0})
		if err != nil || !bytes.Equal(a.Text, b.Text) {
			t.Errorf("in the other order, %v:\n%s\nwant:\n%s", err, b.Text, a.Text)
		}
	})
}
