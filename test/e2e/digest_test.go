package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A tool that is granted by its digest may run; one of the same name with other
// bytes may not, and who asks why is told both digests and the line.
func TestTheToolOfThePolicyPassesAndAnotherOfItsNameFails(t *testing.T) {
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	sum := func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
	good, evil := append(sleep[:len(sleep):len(sleep)], "good"...), append(sleep[:len(sleep):len(sleep)], "evil"...)
	policy := filepath.Join(t.TempDir(), "posture.yml")
	text := "version: 1\nuse: [local]\nexec:\n  - \"*sh\"\n  - {to: \"tools/*\", sha256: " + sum(good) + "}\n"
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	job := func(content []byte) *watched {
		t.Helper()
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "tools"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tools", "gen"), content, 0o755); err != nil {
			t.Fatal(err)
		}
		w := run(t, options{in: dir, flags: []string{"--intent", policy}}, "/bin/sh", "-c", "tools/gen 0.1; tools/gen 0; :")
		w.complete()
		if out, err := exec.Command(binary, "replay", w.dir).CombinedOutput(); err != nil {
			t.Errorf("replay: %v\n%s", err, out)
		}
		return w
	}
	w := job(good)
	w.must(w.code == 0 && w.verdict.Verdict == "pass", "%s, %+v", w.verdict.Verdict, w.verdict.Undeclared)
	w = job(evil)
	w.must(w.code == 3 && w.verdict.Verdict == "fail" && len(w.verdict.Undeclared) == 1 && w.verdict.Undeclared[0].Object == "tools/gen",
		"%s, %+v", w.verdict.Verdict, w.verdict.Undeclared)
	out, err := exec.Command(binary, "explain", w.dir).CombinedOutput()
	for _, want := range []string{"the file had SHA-256 " + sum(evil), "it wants SHA-256 " + sum(good), "posture.yml:5:10", "- {to: gen, sha256:"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("explain: %v, without %q\n%s", err, want, out)
		}
	}
}
