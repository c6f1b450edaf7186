package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/lint"
	"github.com/org/edamame-posture/pkg/judge/expect"
	"github.com/org/edamame-posture/pkg/signature"
)

// The logs of the judge's golden set.
const golden = "../../pkg/judge/testdata/"

const policyText = `version: 1
egress:
  - "*.example.com:443"
  - {to: "uploads.example.net:443", by: [gh]}
write: ["dist/**", "node_modules/**"]
credentials: [npm]
deny:
  egress: ["*.ngrok.app"]
`

// command runs a command line in this process and returns what it told.
func command(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&b)
	err := root.Execute()
	var e *exitError
	switch {
	case err == nil:
	case errors.As(err, &e):
		code = e.code
		if e.err != nil {
			b.WriteString(e.err.Error())
		}
	default:
		code = exitUsage
		b.WriteString(err.Error())
	}
	return code, b.String()
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// results makes a folder of results of a stored log, with the policy among the
// inputs.
func results(t *testing.T, log, policy string) string {
	t.Helper()
	p, err := intent.Parse("posture.yml", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	pack, err := signature.Default()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(golden + log + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := evidence.Create(filepath.Join(dir, evidenceDir), evidence.Options{Run: "test", NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Input(evidence.IntentInput, in.Canonical()), l.Input(evidence.SignaturesInput, pack.Canonical())); err != nil {
		t.Fatal(err)
	}
	var ev event.Event
	for line := range bytes.Lines(data) {
		if err := errors.Join(event.Decode(bytes.TrimSuffix(line, []byte("\n")), &ev), l.Append(&ev)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Close(evidence.Closing{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheckTellsMistakesAndWhatCouldBeTighter(t *testing.T) {
	good := file(t, "good.yml", policyText)
	if code, out := command(t, "intent", "check", good); code != 0 || out != "ok: 5 grants in 0 jobs\n" {
		t.Errorf("%d %s", code, out)
	}
	code, out := command(t, "intent", "check", file(t, "bad.yml", "version: 1\negres: []\nwrite: [~/x]\n"))
	if code != exitUsage || !strings.Contains(out, `bad.yml:2:1: unknown key: "egres" (did you mean "egress"?)`) || !strings.Contains(out, "bad.yml:3:9:") {
		t.Errorf("%d %s", code, out)
	}
	code, out = command(t, "intent", "check", "--evidence", results(t, "a-job-that-does-what-it-said", policyText), good)
	for _, want := range []string{
		`good.yml:3:5: wide: *.example.com:443: the runs needed no more than - {to: "api.example.com:443", by: [build.js]}`,
		`good.yml:4:10: unused: {to: "uploads.example.net:443", by: [gh]}`,
		"good.yml:5:9: wide: dist/**: the runs needed no more than - dist/main.js",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %s:\n%s", want, out)
		}
	}
	if code != exitNo {
		t.Errorf("exit code %d", code)
	}
	code, out = command(t, "intent", "check", file(t, "s.yml", "version: 1\nsuppress: [{rule: none, reason: r, owner: o, until: 2020-01-01}]\n"))
	if code != exitNo || !strings.Contains(out, "was over on 2020-01-01") {
		t.Errorf("%d %s", code, out)
	}
	code, out = command(t, "intent", "check", "--json", "--evidence", golden+"one-undeclared-host.jsonl", good)
	var told struct {
		Grants   int
		Problems []struct{ Kind, File string }
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil || code != exitNo || told.Grants != 5 || len(told.Problems) != 5 || told.Problems[0].Kind != "unused" {
		t.Errorf("%d %v %s", code, err, out)
	}
	if code, out = command(t, "intent", "check", "--evidence", t.TempDir(), good); code != exitUsage || !strings.Contains(out, "want the folder that run --out wrote") {
		t.Errorf("%d %s", code, out)
	}
}

// A file that is far too long for a policy is refused before more of it is read
// than a policy can have, wherever a policy is read.
func TestAPolicyOf100MegabytesIsRefusedUnread(t *testing.T) {
	huge := file(t, "huge.yml", policyText)
	if err := os.Truncate(huge, 100<<20); err != nil {
		t.Fatal(err)
	}
	log := results(t, "a-job-that-does-what-it-said", policyText)
	good := file(t, "good.yml", policyText)
	for _, args := range [][]string{
		{"intent", "check", huge}, {"intent", "diff", good, huge}, {"intent", "diff", huge, good}, {"intent", "test", huge},
		{"intent", "import", huge}, {"intent", "derive", huge}, {"replay", "--intent", huge, log}, {"run", "--intent", huge, "--", "true"},
	} {
		before := charsRead(t)
		code, out := command(t, args...)
		if read := charsRead(t) - before; read > 4<<20 {
			t.Errorf("%v read %d bytes", args, read)
		}
		if code == 0 || !strings.Contains(out, "huge.yml is longer than 1048576 bytes") {
			t.Errorf("%v: exit code %d, %s", args, code, out)
		}
	}
}

// charsRead is what this process has read so far, in bytes (proc(5), rchar).
func charsRead(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(b), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestARunIsHeldAgainstTheJobThatIsNamed(t *testing.T) {
	policy := file(t, "p.yml", "version: 1\njobs:\n  build: {egress: [\"never.example.com:443\"]}\n  deploy: {egress: [\"prod.example.com:443\"]}\n")
	log := golden + "a-job-that-does-what-it-said.jsonl"
	code, out := command(t, "intent", "check", "--evidence", "build="+log, policy)
	if code != exitNo || !strings.Contains(out, "unused: never.example.com:443") || strings.Contains(out, "unused: prod") || !strings.Contains(out, `no run of the job "deploy" was given`) {
		t.Errorf("%d %s", code, out)
	}
}

func TestDiffTellsInWordsAndByItsExitCode(t *testing.T) {
	a := file(t, "a.yml", "version: 1\njobs: {build: {egress: [{to: \"x.example:443\", by: [gh]}]}}\n")
	b := file(t, "b.yml", "version: 1\njobs: {build: {use: [go], egress: [\"x.example:443\"]}}\n")
	if code, out := command(t, "intent", "diff", a, a); code != 0 || !strings.HasPrefix(out, "the same") {
		t.Errorf("%d %s", code, out)
	}
	code, out := command(t, "intent", "diff", a, b)
	if code != exitNo || !strings.Contains(out, "+ job build may now connect to x.example:443 by any program (was: by gh only)\n    "+b+":2:") ||
		!strings.Contains(out, "+ job build, of the preset go:\n    may now connect to ") {
		t.Errorf("%d %s", code, out)
	}
	if code, out = command(t, "intent", "diff", "--json", b, a); code != exitNo || !json.Valid([]byte(out)) || !strings.Contains(out, `"effect": "forbids"`) {
		t.Errorf("%d %s", code, out)
	}
	if code, out = command(t, "intent", "diff", a, "none.yml"); code != exitUsage {
		t.Errorf("%d %s", code, out)
	}
	w := "../../pkg/intent/derive/testdata/repo/.github/workflows/"
	if code, out = command(t, "intent", "diff", w+"node.yml", w+"pnpm.yml"); code != exitNo || !strings.Contains(out, "job ") {
		t.Errorf("%d %s", code, out)
	}
	if code, out = command(t, "intent", "diff", w+"node.yml", w+"node.yml"); code != 0 {
		t.Errorf("%d %s", code, out)
	}
}

func TestImportWritesAPolicyThatCheckTakes(t *testing.T) {
	code, out := command(t, "intent", "import", "../../pkg/intent/foreign/testdata/in/harden-runner.yml")
	if code != 0 || !strings.Contains(out, `"api.github.com:443"`) {
		t.Fatalf("%d %s", code, out)
	}
	if code, out := command(t, "intent", "check", file(t, "p.yml", out)); code != 0 || out != "ok: 5 grants in 3 jobs\n" {
		t.Errorf("%d %s", code, out)
	}
	if code, out := command(t, "intent", "import", file(t, "x.json", "{}")); code != exitUsage {
		t.Errorf("%d %s", code, out)
	}
}

func TestAPolicysTestsSayWhatIsNotAsExpected(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	abs, err := filepath.Abs(golden)
	if err != nil {
		t.Fatal(err)
	}
	write("posture.yml", policyText)
	folder := results(t, "a-job-that-does-what-it-said", policyText)
	good := write("good.yml", `version: 1
policy: posture.yml
cases:
  - {name: does what it said, evidence: `+folder+`, verdict: pass, max-score: 0}
  - {evidence: `+abs+`/one-undeclared-host.jsonl, verdict: fail, undeclared: ["connect evil.example:443"], not-undeclared: ["write *"]}
  - {evidence: `+abs+`/a-denied-host.jsonl, forbidden: ["connect *.ngrok.app:443"]}
`)
	if code, out := command(t, "intent", "test", good); code != 0 || !strings.HasPrefix(out, "ok\t"+good+"\t3 cases\t") {
		t.Errorf("%d %s", code, out)
	}
	if code, out := command(t, "intent", "test", "-v", good); code != 0 || !strings.Contains(out, "--- PASS: does what it said (") {
		t.Errorf("%d %s", code, out)
	}
	bad := write("bad.yml", `version: 1
policy: posture.yml
cases:
  - {name: a host, evidence: `+abs+`/one-undeclared-host.jsonl, verdict: pass, max-score: 9}
  - {name: gone, evidence: nowhere, verdict: pass}
  - {name: other job, job: x, evidence: `+folder+`, verdict: pass}
`)
	code, out := command(t, "intent", "test", bad)
	for _, want := range []string{
		"--- FAIL: a host (", "    " + bad + ":4: verdict fail, want pass (score 40: undeclared)\n", bad + ":4: score 40, want 9 at most\n",
		"--- FAIL: gone (", "FAIL\t" + bad + "\t2 of 3 cases failed\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if code != exitNo {
		t.Errorf("exit code %d", code)
	}
	if code, out := command(t, "intent", "test", "--json", bad); code != exitNo || !json.Valid([]byte(out)) {
		t.Errorf("%d %s", code, out)
	}
	if code, out := command(t, "intent", "test", write("none.yml", "version: 1\npolicy: posture.yml\ncases: []\n")); code != exitUsage {
		t.Errorf("%d %s", code, out)
	}
}

// What verdict.json says is not looked at: there is none in these folders.
func TestExplainComputesEachPointFromTheEvidence(t *testing.T) {
	code, out := command(t, "explain", results(t, "a-credential-that-is-read-and-sent-away", policyText))
	want := `fail, score 64

511 points (high): undeclared chain npm -> api.example.com:443 by curl
  seen      chain npm -> api.example.com:443 by curl < sh < make
  policy    no grant speaks of it
  evidence  event 15 of the log
  to allow  credentials: - {class: npm, by: [curl], to: ["api.example.com:443"]}
  without   score 40

511 points (high): undeclared credential npm /home/runner/.npmrc by cat
  seen      credential npm /home/runner/.npmrc by cat < sh < make
  policy    no grant covers it; the nearest is npm (posture.yml:6:15): it is for the programs that own npm credentials only
  evidence  event 10 of the log
  to allow  credentials: - {class: npm, by: [cat]}
  without   score 40
`
	if code != 0 || out != want {
		t.Errorf("%d\n%s\nwant\n%s", code, out, want)
	}
	code, out = command(t, "explain", results(t, "a-denied-host", policyText))
	if code != 0 || !strings.Contains(out, "forbidden by *.ngrok.app:*/* (posture.yml:8:12)") || !strings.Contains(out, "without   score 0") {
		t.Errorf("%d %s", code, out)
	}
	code, out = command(t, "explain", "--json", golden+"no-intent.jsonl")
	if code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("%d %s", code, out)
	}
	if code, out = command(t, "explain", t.TempDir()); code != exitNothing || !strings.Contains(out, "there is no evidence in") {
		t.Errorf("%d %s", code, out)
	}
}

// A policy that was suggested for a real run has nothing that the run did not
// need, and nothing that is there twice.
func TestCheckHasLittleToSayOfAPolicySuggestedForTheRun(t *testing.T) {
	for _, log := range []string{"npm-install", "go-build"} {
		stored := "../../pkg/fact/testdata/" + log + ".jsonl.zst"
		j, _, err := replayDir(stored, nil)
		if err != nil {
			t.Fatal(err)
		}
		policy := file(t, "p.yml", string(intent.Suggest(j.Facts())))
		_, out := command(t, "intent", "check", "--evidence", stored, policy)
		if strings.Contains(out, ": unused: ") || strings.Contains(out, ": shadowed: ") {
			t.Errorf("%s:\n%s", log, out)
		}
		t.Log(out)
	}
}

// The tests of a policy that the documentation shows are ones that are read.
func TestTheTestsOfThePolicyReferenceAreRead(t *testing.T) {
	doc, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "\n## Test\n")
	_, rest, begins := strings.Cut(rest, "```yaml\n")
	text, _, ends := strings.Cut(rest, "```")
	if !ok || !begins || !ends {
		t.Fatal("docs/policy.md shows no tests")
	}
	s, err := expect.Parse("docs/policy.md", []byte(text))
	if err != nil || len(s.Cases) != 2 || len(s.Cases[1].Not) != 1 {
		t.Errorf("%+v %v", s, err)
	}
}

func TestTheExamplesHaveNothingToImprove(t *testing.T) {
	files, err := filepath.Glob("../../examples/intent/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p, err := intent.Parse(f, data)
		if err != nil {
			t.Fatal(err)
		}
		// Suppressions are over one day; that is not the example's fault.
		r, err := lint.Check(p, nil)
		if err != nil || len(r.Problems) > 0 {
			t.Errorf("%+v %v", r, err)
		}
	}
}
