package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The policy that the README shows passes the command that it shows.
func TestThePolicyOfTheReadmePassesItsCommand(t *testing.T) {
	need(t, "npm", "node")
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```yaml\n# posture.yml\n")
	policy, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatal("the README shows no posture.yml")
	}
	in := t.TempDir()
	file := filepath.Join(in, "posture.yml")
	if err := os.WriteFile(file, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	w := run(t, options{in: in, flags: []string{"--intent", file}, env: []string{"npm_config_cache=" + t.TempDir()}},
		"npm", "install", "--no-audit", "--no-fund", "esbuild@0.25.0")
	w.complete()
	w.must(w.code == 0 && w.verdict.Verdict == "pass" && w.verdict.Score == 0, "exit code %d, verdict %s, score %d", w.code, w.verdict.Verdict, w.verdict.Score)
}

// The commands that the README shows after its first run do what it says, as
// they are typed there.
func TestTheCommandsOfTheReadmeRun(t *testing.T) {
	need(t, "make", "openssl")
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	in, home := t.TempDir(), t.TempDir()
	private, public := keyPair(t, "-algorithm", "ED25519")
	key, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	_, gate, _ := strings.Cut(string(readme), "```yaml\n# release-gate.yml\n")
	gate, _, ok := strings.Cut(gate, "```")
	if !ok {
		t.Fatal("the README shows no release-gate.yml")
	}
	if err := os.MkdirAll(filepath.Join(in, ".github", "workflows"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Makefile":                 "all:\n\t@echo made\ndist: all\n\t@mkdir -p dist; echo release > dist/app.tgz\n.PHONY: dist\n",
		".github/workflows/ci.yml": "on: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make\n",
		"release.pub":              string(key),
		"release.key":              string(secret),
		// This machine is shared.
		"release-gate.yml": strings.Replace(gate, "level: E1,", "level: E1, max-silence: 60s,", 1),
		"rule.yml":         "title: make was run\nname: made\nlogsource: {product: linux, category: process_creation}\ndetection:\n  selection: {Image|endswith: /make}\n  condition: selection\n",
	} {
		place(t, filepath.Join(in, name), text)
	}
	if err := os.Symlink(binary, filepath.Join(in, "edamame-posture")); err != nil {
		t.Fatal(err)
	}
	// Events enough for a line 17, and a signature by the key.
	signed := func() {
		t.Helper()
		w := run(t, options{in: in, flags: []string{"--key", private}}, "sh", "-c", "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done")
		w.must(w.code == 0 && len(w.events) > 1300, "exit code %d, %d events", w.code, len(w.events))
	}
	says := map[string]string{ // what its comment promises
		"intent": "jobs:", "run": "made", "replay": "the same", "verify": "signature: good", "prove": "index 17\n", "signatures": "make", "posture": "", "hook": ".claude/settings.json", "doctor": "ebpf", "gate": "pass  level e1",
	}
	typed := regexp.MustCompile(`(?m)^    ((?:sudo )?\./edamame-posture ([a-z]+) .*?)(?: +#.*)?$`)
	seen := map[string]bool{}
	for _, m := range typed.FindAllStringSubmatch(string(readme), -1) {
		line, name := m[1], m[2]
		if strings.Contains(line, "esbuild") || strings.Contains(line, "claude -p") {
			continue // the test above does it; test/agents has real agents
		}
		if name == "replay" {
			signed()
		}
		seen[name] = true
		// The tests are root, and a machine need not have the runner's user.
		line = strings.ReplaceAll(strings.TrimPrefix(line, "sudo "), "--user runner", "--user nobody")
		cmd := exec.Command("bash", "-c", line)
		cmd.Dir = in
		cmd.Env = append(os.Environ(), "HOME="+home)
		out, err := cmd.CombinedOutput()
		// These two end with 1 where something is lost, or weak.
		if err != nil && !((name == "doctor" || name == "posture") && cmd.ProcessState.ExitCode() == 1) || !strings.Contains(strings.ToLower(string(out)), says[name]) {
			t.Errorf("%s: %v, want %q in\n%.2000s", line, err, says[name], out)
		}
	}
	for name := range says {
		if !seen[name] {
			t.Errorf("the README shows no %s", name)
		}
	}
}
