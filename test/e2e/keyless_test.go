package e2e

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/test/sigstore"
)

func TestARunSignsWithTheJobsIdentityAndLaterWhereAServerWasDown(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	rig.Setenv(t)
	servers := []string{"--keyless", "--signing-config", rig.ConfigNoLog, "--trusted-root", rig.RootNoLog}
	who := []string{
		"--trusted-root", rig.RootNoLog, "--issuer", rig.Issuer.URL, "--repository-id", "4321",
		"--workflow", "https://github.com/octo/app/.github/workflows/release.yml", "--workflow-ref", "refs/heads/*",
	}
	level := func(t *testing.T, args ...string) string {
		t.Helper()
		cmd := exec.Command(binary, slices.Concat([]string{"verify", "--json"}, who, args)...)
		out, _ := cmd.Output()
		code := cmd.ProcessState.ExitCode()
		var got struct {
			OK    bool
			Level string
			Next  string
			Error string
		}
		if err := json.Unmarshal(out, &got); err != nil || got.OK != (code == 0) || got.OK && got.Next == "" {
			t.Fatalf("exit code %d, %v: %s", code, err, out)
		}
		if !got.OK {
			return got.Error
		}
		return got.Level
	}

	work := t.TempDir()
	w := run(t, options{in: work, flags: append(slices.Clone(servers), "--subject", "dist/*")}, "sh", "-c", "mkdir dist; echo release > dist/app.tgz")
	w.complete()
	made := filepath.Join(work, "dist", "app.tgz")
	if got := level(t, "--artifact", made, w.dir); got != "E2" {
		t.Fatalf("level %s\nrun said: %s", got, w.stderr)
	}
	// The bundle alone says who, and nothing of the evidence.
	if got := level(t, "--artifact", made, filepath.Join(w.dir, "attestation.json")); got != "none" {
		t.Errorf("of the bundle alone: %s", got)
	}
	if err := os.WriteFile(made, []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := level(t, "--artifact", made, w.dir); !strings.Contains(got, "the file was changed after it was attested") {
		t.Errorf("with another artifact: %s", got)
	}
	if got := level(t, "--run", "https://github.com/octo/app/actions/runs/9001/attempts/2", w.dir); !strings.Contains(got, "another attempt") {
		t.Errorf("with another attempt: %s", got)
	}

	// The timestamp authority is down: the run goes on, the statement is kept.
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(rig.ConfigNoLog)
	if err != nil {
		t.Fatal(err)
	}
	down := filepath.Join(t.TempDir(), "down.json")
	if err := os.WriteFile(down, []byte(strings.ReplaceAll(string(config), rig.TSA, "http://"+nobody.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	broken := []string{"--keyless", "--signing-config", down, "--trusted-root", rig.RootNoLog, "--sign-budget", "1s"}
	w = run(t, options{flags: broken}, "true")
	if w.code != 0 || !strings.Contains(w.stderr, "timestamp authority") || !strings.Contains(w.stderr, "edamame-posture sign --keyless") {
		t.Errorf("exit code %d: %s", w.code, w.stderr)
	}
	kept := filepath.Join(w.dir, "statement.json")
	if _, err := os.Stat(kept); err != nil {
		t.Fatalf("the statement is not kept: %v", err)
	}
	sign := func(args ...string) (int, string) {
		cmd := exec.Command(binary, append([]string{"sign"}, args...)...)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	if code, out := sign(append(slices.Clone(broken), w.dir)...); code != 4 {
		t.Errorf("with the server still down: exit code %d, want 4: %s", code, out)
	}
	whole, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, []byte(strings.Replace(string(whole), `"lostEvents":`, `"lostEvents":1`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := sign(append(slices.Clone(servers), w.dir)...); code != 1 || !strings.Contains(out, "not what the evidence here comes to") {
		t.Errorf("a changed statement: exit code %d: %s", code, out)
	}
	if err := os.WriteFile(kept, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	// What another subject stands there for, the signer is shown.
	planted := filepath.Join(t.TempDir(), "results")
	if err := os.CopyFS(planted, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	more := strings.Replace(string(whole), `],"predicateType"`, `,{"name":"planted.tgz","digest":{"sha256":"`+strings.Repeat("ab", 32)+`"}}],"predicateType"`, 1)
	if more == string(whole) {
		t.Fatalf("nothing was planted in %.500s", whole)
	}
	if err := os.WriteFile(filepath.Join(planted, "statement.json"), []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := sign(append(slices.Clone(servers), planted)...); code != 0 || !strings.Contains(out, "planted.tgz "+strings.Repeat("ab", 32)) {
		t.Errorf("a subject that was planted: exit code %d: %s", code, out)
	}
	if code, out := sign(append(slices.Clone(servers), w.dir)...); code != 0 || strings.Contains(out, "taken on its word") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	// Both say by the issuer's word which job signed them.
	for _, dir := range []string{planted, w.dir} {
		if jwt, err := os.ReadFile(filepath.Join(dir, "attestation.jwt")); err != nil || strings.Count(string(jwt), ".") != 2 {
			t.Errorf("%s: %q, %v", dir, jwt, err)
		}
	}
	if got := level(t, w.dir); got != "E2" {
		t.Errorf("signed later: %s", got)
	}
	if _, err := os.Stat(kept); err == nil {
		t.Error("the unsigned statement is still there")
	}
}
