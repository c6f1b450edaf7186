package e2e

import (
	"os"
	"path/filepath"
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
