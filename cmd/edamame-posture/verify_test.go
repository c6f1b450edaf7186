package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
)

// failing are keys of which no more can be made after some checkpoints.
type failing struct {
	keys [8]ed25519.PrivateKey
	used int
	left int
}

func (f *failing) public(n int) (k [ed25519.PublicKeySize]byte) {
	if f.keys[n] == nil {
		_, f.keys[n], _ = ed25519.GenerateKey(nil)
	}
	copy(k[:], f.keys[n].Public().(ed25519.PublicKey))
	return k
}

func (f *failing) Keys(context.Context) (now, next [ed25519.PublicKeySize]byte, err error) {
	return f.public(f.used), f.public(f.used + 1), nil
}

func (f *failing) Sign(_ context.Context, text []byte) (sig [ed25519.SignatureSize]byte, err error) {
	if f.used == f.left {
		return sig, errors.New("no more keys")
	}
	copy(sig[:], ed25519.Sign(f.keys[f.used], text))
	f.used++
	return sig, nil
}

func (f *failing) Close() {}

// sealed makes a folder of results whose log has four checkpoints, of which so
// many are signed.
func sealed(t *testing.T, signed int) string {
	t.Helper()
	dir := t.TempDir()
	ev := filepath.Join(dir, evidenceDir)
	l, err := evidence.Create(ev, evidence.Options{Run: "r", Keys: &failing{left: signed}, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range []string{
		`"kind":"start","actor":{"pid":10,"start":5},"via":"monitor","argv":["make"],"argv_bytes":4,"cwd":"/w","version":1,"boot":"b","wall":1,"host":"h"}`,
		`"kind":"sensor","actor":{"pid":11,"start":6},"via":"monitor","sensor":"ebpf","detail":"primary"}`,
		`"kind":"end","actor":{"pid":20,"start":90},"via":"monitor","wall":2}`,
	} {
		var e event.Event
		if err := event.Decode([]byte(fmt.Sprintf(`{"seq":%d,"time":%d,`, i, i+1)+line), &e); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(&e); err != nil {
			t.Fatal(err)
		}
		_ = l.Checkpoint(int64(i + 1)) // without a key it says so, and goes on
	}
	if _, err := l.Close(evidence.Closing{Boottime: 9, Judge: judge.Version}); err != nil && l.Unsigned() == nil {
		t.Fatal(err)
	}
	v, err := recompute(ev)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, verdictFile), v.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// After the last checkpoint that is signed anybody may have gone on.
func TestALogThatIsSignedInPartIsRefused(t *testing.T) {
	if code, out := command(t, "verify", sealed(t, 8)); code != 0 || !strings.Contains(out, "in a whole chain") {
		t.Errorf("all of it: exit code %d: %s", code, out)
	}
	if code, out := command(t, "verify", sealed(t, 0)); code != 0 || !strings.Contains(out, "not signed") {
		t.Errorf("none of it: exit code %d: %s", code, out)
	}
	if code, out := command(t, "verify", sealed(t, 2)); code != exitNo || !strings.Contains(out, "anybody may have gone on") || strings.Contains(out, "level:     E") {
		t.Errorf("a part of it: exit code %d: %s", code, out)
	}
}

// The log alone, as a monitor that was killed left it.
func TestEvidenceOfAMonitorThatWasKilledIsEvidence(t *testing.T) {
	ev := filepath.Join(sealed(t, 8), evidenceDir)
	if err := os.Remove(filepath.Join(ev, "manifest.json")); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, "explain", ev); code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, _ := command(t, "explain", t.TempDir()); code != exitNothing {
		t.Errorf("an empty folder: exit code %d", code)
	}
}

// --trusted-root public is the public instance, whatever lies there.
func TestAWordIsNoFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"public", "github", "tuf", "key"} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []signing{{keyless: true, root: "public", config: "github"}, {keyless: true, root: "tuf", config: "public"}, {}} {
		if err := s.rereadable(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	for _, s := range []signing{{key: "key"}, {root: "key"}, {config: "tuf"}, {root: "github"}} {
		if err := s.rereadable(); err == nil {
			t.Errorf("%+v is read twice", s)
		}
	}
}
