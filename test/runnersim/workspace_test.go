package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/runnersim/runner"
)

// Without GitHub's API the policy that the checkout brings counts, as the
// checkout left it: who widens it afterwards widens nothing.
func TestThePolicyThatACheckoutBringsCountsAsItFirstWas(t *testing.T) {
	needRoot(t)
	const uses = "org/edamame-posture@v1"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	from := release(t)
	const file = ".github/posture.yml"
	source := lay(t, map[string]string{file: "version: 1\negress: []\n", "none.yml": "version: 9\n"})
	wider := fmt.Sprintf("printf 'version: 1\\negress: [\"127.0.0.1:%d\"]\\n'", port)
	for _, c := range []struct {
		name, checkout, after string
		policy                string
		used, changed         bool
	}{
		{name: "as it came", checkout: "cp -r $SOURCE/. .", policy: file, used: true},
		// Changed before the monitor has read it, a quarter of a second, it would not be used.
		{name: "changed by a later step", checkout: "cp -r $SOURCE/. .", after: "sleep 2; " + wider + " > " + file, policy: file, used: true, changed: true},
		{name: "renamed into its place", checkout: "mkdir .github; cp $SOURCE/" + file + " x; mv x " + file, policy: file, used: true},
		{name: "written by two at once", checkout: "mkdir .github; exec 3> " + file + "; sh -c '" + strings.ReplaceAll(wider, "'", `'"'"'`) + " > " + file + "'", policy: file},
		{name: "no policy at all", checkout: "mkdir .github; cp $SOURCE/none.yml " + file, policy: file},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, out := filepath.Join(folder(t), "r"), folder(t)
			if err := os.Chmod(out, 0o777); err != nil {
				t.Fatal(err)
			}
			rig.Sudo(t, "nobody", "workspace", installed(root, 1))
			text := fmt.Sprintf(`
on: push
jobs:
  a:
    runs-on: self-hosted
    steps:
      - {uses: %s, with: {out: %s/posture, policy: %s, upload-evidence: "false", fail-on: never}}
      - id: checkout
        run: |
%s
      - id: later
        run: |
%s
      - {id: goes, run: "exec 3<>/dev/tcp/127.0.0.1/%d"}
`, uses, out, c.policy, indent("SOURCE="+source+"\n"+c.checkout+"\n"), indent("true\n"+c.after+"\n"), port)
			workflow := filepath.Join(source, ".github", "workflows", "ci.yml")
			if err := errors.Join(os.MkdirAll(filepath.Dir(workflow), 0o755), os.WriteFile(workflow, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
			jobs, err := runner.Read(workflow)
			if err != nil {
				t.Fatal(err)
			}
			results, err := runner.Run(t.Context(), jobs, runner.Options{
				Root: root, User: "nobody", Stderr: os.Stderr, Actions: map[string]string{uses: from},
			})
			if err != nil {
				t.Fatal(err)
			}
			r := results[0]
			dir := filepath.Join(out, "posture")
			e, err := evidence.Open(filepath.Join(dir, "evidence"))
			if err == nil {
				defer e.Close()
				err = e.Verify()
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, r.Log)
			}
			v := verdictOf(t, dir)
			undeclared := slices.ContainsFunc(v.Verdict.Undeclared, func(f judge.Fact) bool { return f.Verb == "connect" })
			if undeclared != c.used || (v.Verdict.Verdict == judge.Fail) != c.used || v.Intent != c.used {
				t.Errorf("verdict %s, the connection undeclared: %v, an intent: %v; want %v\n%s", v.Verdict.Verdict, undeclared, v.Intent, c.used, r.Log)
			}
			if strings.Contains(r.Summaries, "origin&#58; workspace") != c.used {
				t.Errorf("the summary says of its origin:\n%.1500s", r.Summaries)
			}
			// The checkout brought the workflow too, so the result stands at its step.
			if strings.HasPrefix(c.checkout, "cp -r") {
				line := 1 + strings.Count(text[:strings.Index(text, "{id: goes")], "\n")
				sarif, err := os.ReadFile(filepath.Join(dir, "results.sarif"))
				if want := fmt.Sprintf(`"uri":".github/workflows/ci.yml"},"region":{"startLine":%d}`, line); err != nil || !strings.Contains(strings.Join(strings.Fields(string(sarif)), ""), want) {
					t.Errorf("no result stands at line %d: %v\n%s", line, err, sarif)
				}
				if want := fmt.Sprintf("file=.github/workflows/ci.yml,line=%d", line); !strings.Contains(r.Log, want) {
					t.Errorf("no annotation has %s\n%s", want, r.Log)
				}
			}
			if got := e.Commitment().Intent; got != evidence.IntentLater {
				t.Errorf("the start commits to intent %q", got)
			}
			stored, err := os.ReadFile(filepath.Join(dir, "verdict.json"))
			if err != nil || string(stored) != string(v.Verdict.Encode()) {
				t.Errorf("the verdict that was written is another than a replay gives (%v)", err)
			}
			events, err := rig.Events(filepath.Join(dir, "evidence"))
			if err != nil {
				t.Fatal(err)
			}
			said := map[string]int{}
			for i := range events {
				if ev := &events[i]; ev.Kind == event.Note && strings.Contains(ev.Detail.String(), "policy") {
					word, _, _ := strings.Cut(ev.Detail.String(), ":")
					said[word]++
					if word == "policy of the workspace" && ev.SHA256.IsZero() {
						t.Error("its digest is not told")
					}
				}
			}
			if (said["policy-changed"] == 1) != c.changed || c.used != (said["policy of the workspace"] == 1 && said["the policy of the workspace is not used"] == 0) {
				t.Errorf("told: %v", said)
			}
		})
	}
}
