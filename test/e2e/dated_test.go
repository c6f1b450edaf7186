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

// A real timestamp authority dates the log of a real run, and openssl, which
// shares no code with this project, takes what it said.
func TestATimestampAuthorityDatesARunAsItGrows(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	key, public := keyPair(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
	w := run(t, options{flags: []string{"--key", key, "--tsa", rig.TSA + "/api/v1/timestamp", "--tsa-every", "1s"}}, "sleep", "2.5")
	w.complete()
	verify := func(t *testing.T, args ...string) (dated, wrong string) {
		t.Helper()
		cmd := exec.Command(binary, slices.Concat([]string{"verify", "--json", "--key", public}, args, []string{w.dir})...)
		out, _ := cmd.Output()
		var got struct {
			Error    string
			Evidence struct{ Dated string }
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return got.Evidence.Dated, got.Error
	}
	if dated, wrong := verify(t, "--trusted-root", rig.RootNoLog); wrong != "" || !strings.HasPrefix(dated, "3 times by a timestamp authority") {
		t.Errorf("%q %q\nrun said: %s", dated, wrong, w.stderr)
	}
	if dated, wrong := verify(t); wrong != "" || !strings.Contains(dated, "not checked") {
		t.Errorf("without a root: %q %q", dated, wrong)
	}
	if _, wrong := verify(t, "--trusted-root", "public"); !strings.Contains(wrong, "000000.tsr") {
		t.Errorf("with another root: %q", wrong)
	}
	openssl(t, rig, filepath.Join(w.dir, "evidence"))
}

// openssl has the first answer checked by openssl ts, against the checkpoint
// of its time.
func openssl(t *testing.T, rig *sigstore.Rig, dir string) {
	t.Helper()
	chain, err := sigstore.Certificates(rig.TSA)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := os.ReadFile(filepath.Join(dir, "checkpoints"))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "chain.pem")
	text := filepath.Join(t.TempDir(), "text")
	place(t, name, string(chain))
	good := 0
	for _, note := range strings.SplitAfter(string(notes), "\n\n") {
		// What signed the note before it stands first.
		if i := strings.Index(note, "edamame-posture/"); i > 0 && strings.HasPrefix(note, "— ") {
			note = note[strings.IndexByte(note, '\n')+1:]
		}
		place(t, text, strings.TrimSuffix(note, "\n"))
		out, _ := exec.Command("openssl", "ts", "-verify", "-data", text, "-in", filepath.Join(dir, "000000.tsr"), "-CAfile", name, "-untrusted", name).CombinedOutput()
		if strings.Contains(string(out), "Verification: OK") {
			good++
		}
	}
	if good != 1 {
		t.Errorf("openssl holds it for an answer about %d checkpoints, want 1", good)
	}
}

// An authority that does not answer holds up nothing, and the log says that it
// was not dated.
func TestARunGoesOnWhereATimestampAuthorityIsDown(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "http://" + nobody.Addr().String()
	nobody.Close()
	w := run(t, options{flags: []string{"--seal", "--tsa", at, "--tsa-every", "1s"}}, "true")
	if w.code != 0 || !strings.Contains(w.stderr, "the log was not dated: timestamp authority ("+at) {
		t.Errorf("exit code %d: %s", w.code, w.stderr)
	}
	unseen := strings.Join(w.verdict.Coverage.Unseen, "\n")
	if !strings.Contains(unseen, "a timestamp authority did not answer") || w.verdict.Coverage.State != "complete" {
		t.Errorf("%s: %s", w.verdict.Coverage.State, unseen)
	}
}
