package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/evidence"

	"golang.org/x/sys/unix"
)

// keyPair makes a key as its users do, with openssl.
func keyPair(t *testing.T, algorithm ...string) (private, public string) {
	t.Helper()
	need(t, "openssl")
	dir := t.TempDir()
	private, public = filepath.Join(dir, "key.pem"), filepath.Join(dir, "key.pub")
	for _, args := range [][]string{
		append([]string{"genpkey", "-out", private}, algorithm...),
		{"pkey", "-in", private, "-pubout", "-out", public},
	} {
		if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	return private, public
}

func verify(args ...string) (int, string) {
	cmd := exec.Command(binary, append([]string{"verify"}, args...)...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestAnEditedVerdictIsNotSigned(t *testing.T) {
	private, _ := keyPair(t, "-algorithm", "ED25519")
	w := run(t, options{}, "true")
	file := filepath.Join(w.dir, "verdict.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(whole), `"review"`, `"pass"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "sign", "--key", private, w.dir)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "is not what the evidence comes to") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if _, err := os.Lstat(filepath.Join(w.dir, "attestation.json")); err == nil {
		t.Error("it was signed")
	}
}

// A key that comes by a pipe can be read once.
func TestAKeyFromAPipeSigns(t *testing.T) {
	private, public := keyPair(t, "-algorithm", "ED25519")
	cmd := exec.Command("bash", "-c", `"$0" run -q -- true && "$0" sign --key <(cat "$1") .posture`, binary, private)
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
	if code, out := verify("--key", public, filepath.Join(cmd.Dir, ".posture")); code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// What cannot sign is told before an hour's work, not after it.
func TestWhatCannotSignStopsARunBeforeItsCommand(t *testing.T) {
	private, public := keyPair(t, "-algorithm", "ED25519")
	pipe := filepath.Join(t.TempDir(), "key.pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{
		{"--key", "nope.key"},
		{"--key", pipe},
		{"--key", private, "--key-password-file", pipe},
		{"--key", public},
		{"--key", private, "--signing-config", "nope.json"},
		{"--key", private, "--trusted-root", "nope.json"},
		{"--key", private, "--key-password-file", "nope"},
		{"--keyless", "--signing-config", "nope.json"},
	} {
		in := t.TempDir()
		cmd := exec.Command(binary, append(append([]string{"run"}, flags...), "--", "touch", "ran")...)
		cmd.Dir = in
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 125 || !strings.Contains(string(out), "touch was not started") {
			t.Errorf("%q: exit code %d, says %s", flags, code, out)
		}
		if _, err := os.Lstat(filepath.Join(in, "ran")); err == nil {
			t.Errorf("%q: the command ran", flags)
		}
	}
}

func TestSignedEvidenceIsVerifiedAndTamperedEvidenceRefused(t *testing.T) {
	for name, algorithm := range map[string][]string{
		"P-256":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"Ed25519": {"-algorithm", "ED25519"},
	} {
		t.Run(name, func(t *testing.T) {
			private, public := keyPair(t, algorithm...)
			_, other := keyPair(t, algorithm...)
			w := run(t, options{flags: []string{"--key", private}}, "sh", "-c", "echo x > made")
			w.complete()
			if code, out := verify("--key", public, w.dir); code != 0 || !strings.Contains(out, "signature: good") {
				t.Fatalf("exit code %d: %s\nrun said: %s", code, out, w.stderr)
			}
			if code, out := verify("--key", other, w.dir); code != 1 {
				t.Errorf("another key: exit code %d, want 1: %s", code, out)
			}
			segment := filepath.Join(w.dir, "evidence", "000000.jsonl.zst")
			whole, err := os.ReadFile(segment)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				name string
				file string
			}{
				{"the log", segment},
				{"the manifest", filepath.Join(w.dir, "evidence", "manifest.json")},
				{"the verdict", filepath.Join(w.dir, "verdict.json")},
				{"the statement", filepath.Join(w.dir, "attestation.json")},
			} {
				b, err := os.ReadFile(c.file)
				if err != nil {
					t.Fatal(err)
				}
				bad := append([]byte{}, b...)
				bad[len(bad)/2] ^= 1
				if err := os.WriteFile(c.file, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				if code, out := verify("--key", public, w.dir); code == 0 {
					t.Errorf("%s was changed, and it verifies: %s", c.name, out)
				}
				if err := os.WriteFile(c.file, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Truncate(segment, int64(len(whole)-10)); err != nil {
				t.Fatal(err)
			}
			if code, _ := verify("--key", public, w.dir); code == 0 {
				t.Error("a cut log verifies")
			}
		})
	}
}

func TestAnUnsignedFolderIsNotTakenForASignedOne(t *testing.T) {
	_, public := keyPair(t, "-algorithm", "ED25519")
	w := run(t, options{flags: []string{"--quiet"}}, "true")
	if code, out := verify(w.dir); code != 0 || !strings.Contains(out, "not checked") {
		t.Errorf("without a key: exit code %d, %s", code, out)
	}
	if code, out := verify("--key", public, w.dir); code != 5 {
		t.Errorf("nothing was signed: exit code %d, want 5: %s", code, out)
	}
	if code, out := verify(t.TempDir()); code != 5 {
		t.Errorf("no evidence: exit code %d, want 5: %s", code, out)
	}
}

func TestAnEventHasAProofThatLeadsToTheRoot(t *testing.T) {
	w := run(t, options{flags: []string{"--quiet"}}, "true")
	e, err := evidence.Open(filepath.Join(w.dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	root := e.Manifest().Tree.Root
	for seq := range e.Manifest().Tree.Size {
		p, err := e.Prove(seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(root); err != nil {
			t.Errorf("event %d: %v", seq, err)
		}
	}
}
