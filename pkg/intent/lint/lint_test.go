package lint_test

import (
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/lint"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/process"
)

// facts folds a scene as the judge does.
func facts(t *testing.T, tell func(l *facttest.Log)) []*fact.Fact {
	t.Helper()
	return factsUnder(t, intent.None(), tell)
}

// factsUnder is facts where an intent may limit requests.
func factsUnder(t *testing.T, in *intent.Resolved, tell func(l *facttest.Log)) []*fact.Fact {
	t.Helper()
	l := facttest.New("make", "all")
	tell(l)
	l.End(0)
	tree, table := process.NewTree(1000), names.New(1000)
	table.SetTree(tree)
	table.AddResolver(facttest.Resolver.Addr())
	folder := fact.NewFolder(tree, table, fact.Folders{Root: facttest.Root, Home: facttest.Home}, 0)
	folder.Requests = in.LimitsRequests
	for i := range l.Events {
		n := tree.Apply(&l.Events[i])
		table.Apply(&l.Events[i])
		folder.Apply(&l.Events[i], n)
	}
	return folder.Facts()
}

func build(l *facttest.Log) {
	npm := l.Run(l.Root, "/usr/bin/npm", "npm", "ci")
	l.Resolve(npm, "api.example.com", "203.0.113.9")
	l.Send(npm, "203.0.113.9:443", 120)
	l.Write(npm, facttest.Root+"/dist/main.js")
}

func TestEachProblemOfAPolicyIsToldWithItsPlace(t *testing.T) {
	for _, c := range []struct {
		name, policy string
		run          bool
		want         []string
	}{
		{"nothing to improve", `
egress: [{to: "api.example.com:443", by: [npm]}]
write: [dist/main.js]`, true, nil},
		{"a wider one is there", `
egress: ["*.example.com:443", "api.example.com:443"]`, false, []string{
			`p:3:31: shadowed: api.example.com:443: line 3 (*.example.com:443) allows all of it; one of the two can go`}},
		{"the same twice", `
egress: ["a.example.com:443"]
jobs: {build: {egress: ["a.example.com:443"]}}`, false, []string{
			`p:4:25: shadowed: a.example.com:443: line 3 (a.example.com:443) allows all of it; one of the two can go`}},
		{"a preset has it", `
use: [node]
egress: ["*.npmjs.org:443"]`, false, []string{
			`p:4:10: shadowed: *.npmjs.org:443: the preset node (*.npmjs.org:443) allows all of it; one of the two can go`}},
		{"a budget beside a grant without one", `
egress: [{to: "a.example.com:443", upload: 5MB}, "*.example.com:443"]`, false, []string{
			`p:3:15: shadowed: {to: "a.example.com:443", upload: 5MB}: line 3 (*.example.com:443) allows all of it without a budget, so this one holds nothing back`}},
		{"requests beside a grant of any", `
egress: [{to: "a.example.com:80", http: GET}, "*.example.com:80"]`, false, []string{
			`p:3:15: shadowed: {to: "a.example.com:80", http: ["GET /**"]}: line 3 (*.example.com:80) allows any request there, so this one holds nothing back`}},
		{"requests that others do not allow", `
egress: [{to: "a.example.com:80", http: GET}, {to: "a.example.com:80", http: [POST, "GET /a"]}]`, false, nil},
		{"by a program is not all", `
egress: [{to: "*.example.com:443", by: [gh]}, "api.example.com:443"]`, false, nil},
		{"one agent's is not another's", `
jobs:
  build:
    agents:
      codex: {egress: ["*.example.com:443"]}
      gemini: {egress: ["api.example.com:443"]}
egress: ["b.example.com:443"]`, false, nil},
		{"an agent's beside everybody's", `
jobs:
  build:
    agents: {codex: {egress: ["api.example.com:443"]}}
egress: ["*.example.com:443"]`, false, []string{
			`p:5:31: shadowed: api.example.com:443: line 6 (*.example.com:443) allows all of it; one of the two can go`}},
		{"denies are held against denies", `
egress: ["*.example.com:443"]
deny: {egress: ["a.example.com", "**.example.com"]}`, false, []string{
			`p:4:17: shadowed: a.example.com:*/*: line 4 (**.example.com:*/*) forbids all of it; one of the two can go`}},
		{"nothing used it", `
use: [local]
egress: [{to: "api.example.com:443", by: [npm]}, "old.example.com:443"]
write: ["dist/**"]
credentials: [npm]`, true, []string{
			`p:3:7: unused: use: local: nothing that any of the runs did needed this preset`,
			`p:4:50: unused: old.example.com:443: nothing that any of the runs did needed it`,
			`p:5:9: wide: dist/**: the runs needed no more than - dist/main.js`,
			`p:6:15: unused: npm: nothing that any of the runs did needed it`}},
		{"wider than what used it", `
egress: ["*.example.com:*"]
write: [dist/main.js]`, true, []string{
			`p:3:10: wide: *.example.com:*: the runs needed no more than - {to: "api.example.com:443", by: [npm]}`}},
		{"another explains it more closely", `
egress: ["*.example.com:443", {to: "api.example.com:443", by: [npm]}]
write: [dist/main.js]`, true, []string{
			`p:3:10: unused: *.example.com:443: what it covers is explained more closely by line 3 ({to: "api.example.com:443", by: [npm]})`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := intent.Parse("p", []byte("version: 1\n"+c.policy+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			var runs []lint.Run
			if c.run {
				runs = []lint.Run{{Name: "r", Facts: facts(t, build)}}
			}
			r, err := lint.Check(p, runs)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range r.Problems {
				got = append(got, r.Problems[i].String())
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// Of several entries that allow requests at one destination each is needed that
// a request used; where these could not be read nobody knows.
func TestEntriesOfRequestsAreUsedByRequests(t *testing.T) {
	p, err := intent.Parse("p", []byte(`version: 1
egress:
  - {to: "203.0.113.9:80", http: ["GET /a"]}
  - {to: "203.0.113.9:80", http: ["GET /b"]}
  - {to: "203.0.113.9:80", http: ["GET /c"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tell func(l *facttest.Log)
		want []string
	}{
		"read": {func(l *facttest.Log) {
			l.Ask(l.Root, "203.0.113.9:80", "GET", "203.0.113.9", "/a")
			l.Ask(l.Root, "203.0.113.9:80", "GET", "203.0.113.9", "/c")
		}, []string{`p:4:10: unused: {to: "203.0.113.9:80", http: ["GET /b"]}: nothing that any of the runs did needed it`}},
		"not read": {func(l *facttest.Log) { l.Send(l.Root, "203.0.113.9:80", 90) }, nil},
	} {
		report, err := lint.Check(p, []lint.Run{{Name: "r", Facts: factsUnder(t, r, c.tell)}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range report.Problems {
			got = append(got, report.Problems[i].String())
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestAJobWithoutARunIsNamedAndItsGrantsAreLeftAlone(t *testing.T) {
	p, err := intent.Parse("p", []byte(`version: 1
jobs:
  build: {egress: [{to: "api.example.com:443", by: [npm]}]}
  deploy: {egress: ["prod.example.com:443"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := lint.Check(p, []lint.Run{{Name: "r", Job: "build", Facts: facts(t, build)}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) != 0 || len(r.NotSeen) != 1 || r.NotSeen[0] != "deploy" || r.Grants != 2 || r.Jobs != 2 {
		t.Errorf("%+v", r)
	}
}

// What a tighter line stands for explains all that the wide one explained.
func TestATighterLineExplainsTheSame(t *testing.T) {
	fs := facts(t, build)
	p, _ := intent.Parse("p", []byte("version: 1\negress: [\"*.example.com:*\"]\n"))
	r, err := lint.Check(p, []lint.Run{{Facts: fs}})
	if err != nil || len(r.Problems) != 1 {
		t.Fatal(err, r)
	}
	q, err := intent.Parse("q", []byte("version: 1\negress:\n  "+strings.Join(r.Problems[0].Instead, "\n  ")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	before, _ := p.Resolve("")
	after, _ := q.Resolve("")
	for _, f := range fs {
		if (before.Explain(f) == nil) != (after.Explain(f) == nil) {
			t.Errorf("%s %s is explained by one alone", f.Verb, f.Object)
		}
	}
}

func TestASuppressionThatIsOverOrOfNoRuleIsTold(t *testing.T) {
	p, err := intent.Parse("p", []byte(`version: 1
suppress:
  - {rule: a-rule, reason: r, owner: o, until: 2027-03-01}
  - {rule: a-rul, reason: r, owner: o, until: 2037-03-01}
`))
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2027, 3, 2, 0, 0, 0, 0, time.UTC)
	got := lint.Suppressions(p, day.UnixNano(), []string{"a-rule"})
	if len(got) != 2 || !strings.Contains(got[0].String(), "p:3:5: suppress: a-rule: the suppression was over on 2027-03-01") ||
		!strings.HasSuffix(got[1].String(), `there is no rule of this id (did you mean "a-rule"?)`) {
		t.Errorf("%+v", got)
	}
	if got := lint.Suppressions(p, day.Add(-time.Hour).UnixNano(), []string{"a-rule", "a-rul"}); got != nil {
		t.Errorf("on its last day it holds: %+v", got)
	}
}
