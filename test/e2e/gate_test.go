package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/test/sigstore"
)

// gated is what the gate says, as --json gives it.
type gated struct {
	Outcome, Level, Next string
	Reasons              []string
	Statements           []struct {
		Checks []struct{ Check, Status string }
	}
	code int
	text string
}

func askGate(t *testing.T, args ...string) gated {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"gate", "--json"}, args...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	g := gated{code: cmd.ProcessState.ExitCode(), text: string(out)}
	if json.Unmarshal(out, &g) != nil {
		t.Fatalf("%v: %s%s", err, out, &said)
	}
	return g
}

func place(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A real run, signed with the job's identity by real servers, is let through
// at E2; what was done to it since, or in it, is refused.
func TestARealRunPassesTheGateAndATamperedOneDoesNot(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	rig.Setenv(t)
	for name, value := range map[string]string{
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_SHA": sigstore.Job()["sha"].(string), "GITHUB_JOB": "build", "GITHUB_RUN_ATTEMPT": "1",
	} {
		t.Setenv(name, value)
	}
	files := t.TempDir()
	intent := filepath.Join(files, "posture.yml")
	place(t, intent, "version: 1\negress: []\nroot: [sh]\n")
	policy := func(require string) string {
		name := filepath.Join(files, "gate.yml")
		place(t, name, fmt.Sprintf(`version: 1
require:
  max-silence: 60s # this machine is shared
%s
identities:
  - issuer: %s
    repository: octo/app
    repository-id: 4321
    owner-id: 77
    workflow: .github/workflows/release.yml@refs/heads/*
trust: {root: %s}
`, require, rig.Issuer.URL, rig.RootNoLog))
		return name
	}
	servers := []string{"--keyless", "--signing-config", rig.ConfigNoLog, "--trusted-root", rig.RootNoLog, "--subject", "dist/*"}
	record := func(t *testing.T, script string) (dir, made string) {
		t.Helper()
		work := t.TempDir()
		w := run(t, options{in: work, flags: slices.Clone(servers)}, "sh", "-c", script)
		w.complete()
		return w.dir, filepath.Join(work, "dist", "app.tgz")
	}
	dir, made := record(t, "mkdir dist; echo release > dist/app.tgz")
	const runURL = "https://github.com/octo/app/actions/runs/9001/attempts/1"

	vsa := filepath.Join(files, "vsa.json")
	key, _ := keyPair(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
	got := askGate(t, "--policy", policy("  level: E2\n  coverage: complete\n  no-findings: high\n  max-age: 1h\n  intent: {file: posture.yml}"), "--artifact", made, "--run", runURL,
		"--commit", sigstore.Job()["sha"].(string), "--vsa", vsa, "--sign-key", key, "--vsa-dsse", vsa+".dsse", "--resource", "pkg:generic/app@1", dir)
	if got.code != 0 || got.Level != "E2" || got.Outcome != "pass" || len(got.Reasons) > 0 {
		t.Fatalf("exit code %d: %s", got.code, got.text)
	}
	for _, f := range []string{vsa, vsa + ".dsse"} {
		if b, err := os.ReadFile(f); err != nil || !json.Valid(b) {
			t.Errorf("%s: %v", f, err)
		}
	}
	// Who reads a terminal is told the same.
	cmd := exec.Command(binary, "gate", "--policy", filepath.Join(files, "gate.yml"), "--artifact", made, dir)
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "PASS  level E2") {
		t.Errorf("%v: %s", err, out)
	}

	refused := func(name, reason, require string, args ...string) {
		t.Helper()
		got := askGate(t, append([]string{"--policy", policy(require)}, args...)...)
		if got.code != 1 || got.Outcome != "refused" || !slices.Contains(got.Reasons, reason) {
			t.Errorf("%s: exit code %d, %v:\n%s", name, got.code, got.Reasons, got.text)
		}
	}
	other := filepath.Join(files, "other.tgz")
	place(t, other, "other")
	refused("another file", "wrong-subject", "  level: E2", "--artifact", other, dir)
	refused("another run", "other-run", "  level: E2", "--artifact", made, "--run", strings.Replace(runURL, "9001", "9002", 1), dir)
	refused("another commit", "other-commit", "  level: E2", "--artifact", made, "--commit", strings.Repeat("a", 40), dir)
	refused("more than can be checked", "level", "  level: E3", "--artifact", made, dir)
	refused("no evidence", "evidence-missing", "  level: E2", "--artifact", made, filepath.Join(dir, "attestation.json"))
	refused("nothing", "nothing-found", "  level: E2", "--artifact", made, t.TempDir())

	// The build writes where the gate's intent does not say, whatever it was
	// recorded with.
	diverged, artifact := record(t, "mkdir dist; echo release > dist/app.tgz; echo x > /etc/edamame-posture-gate-test; rm /etc/edamame-posture-gate-test")
	refused("a build that diverged", "verdict", "  level: E2\n  verdict: pass\n  intent: {file: posture.yml}", "--artifact", artifact, diverged)
	// Two runs of the monitor in one run of the workflow, for one job.
	refused("two statements", "two-statements", "  level: E2", "--commit", sigstore.Job()["sha"].(string), dir, diverged)

	segment := filepath.Join(dir, "evidence", "000000.jsonl.zst")
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a changed log", "log-tampered", "  level: E2", "--artifact", made, dir)
	if err := os.Remove(filepath.Join(dir, "evidence", "manifest.json")); err != nil {
		t.Fatal(err)
	}
	refused("a log that was not closed", "not-closed", "  level: E2", "--artifact", made, dir)
}
