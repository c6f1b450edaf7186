package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/posture"
)

func runPosture(t *testing.T, args ...string) (string, int) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append([]string{"posture"}, args...))
	err := root.Execute()
	var e *exitError
	switch {
	case err == nil:
		return out.String(), 0
	case errors.As(err, &e):
		return out.String(), e.code
	}
	return out.String() + err.Error(), exitUsage
}

// The machine is the real one; only the home is of the test's own.
func TestPostureTellsAStoredTokenAndWhatChangedSince(t *testing.T) {
	home, work := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SUDO_UID", "0")
	npmrc := filepath.Join(home, ".npmrc")
	if err := os.WriteFile(npmrc, []byte("//r.example/:_authToken=npm_abcdefghijklmnopqrstuvwxyz0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, code := runPosture(t, "--workspace", work, "--fail-on", "high")
	if code != exitNo || !strings.Contains(text, "(npm-token)") || !strings.Contains(text, npmrc+":1") || strings.Contains(text, "npm_abc") {
		t.Errorf("exit %d:\n%s", code, text)
	}
	stored, code := runPosture(t, "--workspace", work, "--json")
	var s posture.Snapshot
	if err := json.Unmarshal([]byte(stored), &s); err != nil || code != 0 || len(s.State) < 5 {
		t.Fatalf("exit %d, %v: %s", code, err, stored)
	}
	before := filepath.Join(work, "before.json")
	if err := os.WriteFile(before, []byte(stored), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, code := runPosture(t, "--workspace", work, "--compare", before); code != 0 || text != "nothing changed\n" {
		t.Errorf("exit %d: %s", code, text)
	}
	keys := filepath.Join(home, ".ssh", "authorized_keys")
	if err := errors.Join(os.Mkdir(filepath.Dir(keys), 0o700), os.WriteFile(keys, []byte("ssh-ed25519 AAAA x\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if text, code := runPosture(t, "--workspace", work, "--compare", before); code != exitNo || !strings.Contains(text, "high      "+keys+"  added (authorized-keys)") {
		t.Errorf("exit %d: %s", code, text)
	}
	if text, code := runPosture(t, "--workspace", work, "--compare", before, "--fail-on", "critical", "--json"); code != 0 || !strings.Contains(text, `"authorized-keys"`) {
		t.Errorf("exit %d: %s", code, text)
	}
	for _, args := range [][]string{{"--fail-on", "bad"}, {"--compare", npmrc}, {"--compare", "/none"}, {"--user", "no-such-user-here"}} {
		if text, code := runPosture(t, args...); code != exitUsage {
			t.Errorf("%v: exit %d: %s", args, code, text)
		}
	}
}
