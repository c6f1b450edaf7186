package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of levels in docs/threat-model.md anew")

// numbers are how many checkpoints were not signed: as many as seconds went by.
var numbers = regexp.MustCompile(`\d+ not`)

// inCell takes out what a cell of a table cannot hold.
var inCell = strings.NewReplacer("`", "'", "|", "/")

// One real run for each level that needs no server, and what the gate says keeps it from the next
// one: the table in docs/threat-model.md.
func TestARealRunOfEachLevelAndWhatKeepsItThere(t *testing.T) {
	const sha = "3f786850e387550fdab836ed7e6dc881de23001b"
	for name, value := range map[string]string{
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_SHA": sha, "GITHUB_JOB": "build", "GITHUB_RUN_ATTEMPT": "1",
	} {
		t.Setenv(name, value)
	}
	files := t.TempDir()
	private, public := keyPair(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")

	var rows strings.Builder
	for _, c := range []struct {
		shown    string
		flags    []string
		identity string
		level    string
	}{
		{"", nil, "key: " + public, "none"},
		{"--seal", []string{"--seal"}, "key: " + public, "E0"},
		{"--key release.key", []string{"--key", private}, "key: " + public, "E1"},
	} {
		w := run(t, options{flags: c.flags}, "sh", "-c", "for i in 1 2; do sleep 1; /bin/true; done")
		w.complete()
		policy := filepath.Join(files, "gate.yml")
		text := "version: 1\nrequire: {level: E0, max-silence: 60s}\nidentities:\n  - " + c.identity + "\n"
		place(t, policy, text)
		got := askGate(t, "--policy", policy, "--commit", sha, w.dir)
		if got.Level != c.level {
			t.Errorf("run %s: level %s, want %s: %s\n%s\n%s", c.shown, got.Level, c.level, got.Next, got.text, w.stderr)
		}
		why := "–"
		if got.Next != "" {
			why = "`" + inCell.Replace(numbers.ReplaceAllString(strings.ReplaceAll(got.Next, w.dir, ".posture"), "N not")) + "`"
		}
		fmt.Fprintf(&rows, "| %s | `%s` | %s |\n", c.level, strings.Join(strings.Fields("run "+c.shown+" -- make"), " "), why)
	}
	const page = "../../docs/threat-model.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`(?s)(\| level \| recorded with \| what keeps it from the next one \|\n\|---\|---\|---\|\n)(.*?)\n\n`)
	m := table.FindSubmatchIndex(b)
	if m == nil {
		t.Fatal("docs/threat-model.md has no table of levels")
	}
	if string(b[m[4]:m[5]])+"\n" == rows.String() {
		return
	}
	if !*update {
		t.Errorf("docs/threat-model.md has\n%s\nand it is\n%s", b[m[4]:m[5]], rows.String())
		return
	}
	if err := os.WriteFile(page, []byte(string(b[:m[4]])+strings.TrimSuffix(rows.String(), "\n")+string(b[m[5]:])), 0o644); err != nil {
		t.Fatal(err)
	}
}
