package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const ownRule = `title: The marker program ran
name: own-marker
logsource: {product: linux, category: process_creation}
detection:
  marker: {CommandLine|contains: own-marker-argument}
  condition: marker
level: high
`

// rulesFile writes rules into a folder of their own, and names the file.
func rulesFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "own.yml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRulesOfOnesOwnFindAndAreReplayed(t *testing.T) {
	rules := rulesFile(t, ownRule)
	for _, path := range []string{rules, filepath.Dir(rules)} {
		w := run(t, options{flags: []string{"--signatures", path}}, "sh", "-c", "/bin/echo own-marker-argument")
		w.must(w.finding("own-marker") != nil, "the rule in %s found nothing", path)
		// The rules are in the evidence: the files are not needed any more.
		if err := os.Rename(rules, rules+".away"); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(binary, "replay", w.dir).CombinedOutput(); err != nil {
			t.Errorf("replay: %v\n%s", err, out)
		}
		if err := os.Rename(rules+".away", rules); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(binary, "signatures", "test", path, "--evidence", w.dir).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "own-marker (high)") {
			t.Errorf("signatures test: %v\n%s", err, out)
		}
	}
}

func TestRulesOfOnesOwnThatAreWrongStartNothing(t *testing.T) {
	wrong := ownRule + "---\n" + strings.Replace(strings.Replace(ownRule, "own-marker\n", "own-wrong\n", 1), "CommandLine|", "NoSuchField|", 1)
	for _, c := range []struct{ rules, want string }{
		{wrong, "own.yml:13:"},
		{strings.Replace(ownRule, "name: own-marker", "name: d15-dns-tunnel", 1), "own.yml:2:"},
	} {
		in := t.TempDir()
		rules := rulesFile(t, c.rules)
		cmd := exec.Command(binary, "run", "--signatures", rules, "--", "touch", "started")
		cmd.Dir = in
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%v, want %s in\n%s", err, c.want, out)
		}
		if _, err := os.Stat(filepath.Join(in, "started")); err == nil {
			t.Error("the command was started")
		}
	}
	w := run(t, options{flags: []string{"--signatures", rulesFile(t, wrong), "--lenient"}}, "sh", "-c", "/bin/echo own-marker-argument")
	w.must(w.finding("own-marker") != nil, "the good rule of two is not used")
	w.must(strings.Contains(w.stderr, "own.yml:13:"), "it does not say what it left out")
}
