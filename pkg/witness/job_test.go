package witness

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// The step of examples/gates/witness.yml, as it stands there, with a stand-in
// of gh that gives what the watched job left as artifacts.
func TestTheWitnessJobGivesWhatItPolledToAWitness(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "jq", "unzip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed, and the runner has it", tool)
		}
	}
	b, err := os.ReadFile("../../examples/gates/witness.yml")
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				Name string
				Run  string
				Uses string
			}
		}
	}
	if err := yaml.Unmarshal(b, &workflow); err != nil {
		t.Fatal(err)
	}
	script := ""
	for _, s := range workflow.Jobs["witness"].Steps {
		if s.Name == "witness" {
			script = s.Run
		}
	}
	if script == "" {
		t.Fatal("the workflow has no step named witness")
	}

	dir, mail := t.TempDir(), t.TempDir()
	command, err := built()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(command, filepath.Join(bin, "edamame-posture")); err != nil {
		t.Fatal(err)
	}
	gh := `#!/bin/bash
set -euo pipefail
[ "$1" = api ]
case $2 in
*/jobs\?*) exec jq -r "$4" "$MAIL/jobs.json" ;;
*/runs/7/artifacts\?*) exec jq -r "$4" "$MAIL/artifacts.json" ;;
*/artifacts/*/zip) id=${2%/zip}; exec cat "$MAIL/${id##*/}.zip" ;;
esac
exit 1
`
	if err := os.WriteFile(filepath.Join(bin, "gh"), []byte(gh), 0o700); err != nil {
		t.Fatal(err)
	}

	issuer := newIssuer()
	mux := http.NewServeMux()
	provider := httptest.NewServer(mux)
	defer provider.Close()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": provider.URL, "jwks_uri": provider.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { w.Write(issuer.jwks(t)) })
	id := Slot{provider.URL, "42", "7", "1", "1001"}.ID()

	var list []map[string]any
	put := func(name string, files map[string][]byte) {
		t.Helper()
		n := len(list) + 100
		var z bytes.Buffer
		w := zip.NewWriter(&z)
		for file, data := range files {
			f, err := w.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(mail, fmt.Sprint(n, ".zip")), z.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		// GitHub lists the newest first.
		list = append([]map[string]any{{"id": n, "name": name}}, list...)
	}
	first := func(l *testLog) map[string][]byte {
		c := l.commitment(id)
		l.append(t, string(c))
		claims := claimsOf(1, Audience(c))
		claims["iss"] = provider.URL
		return map[string][]byte{
			"first-record.json": marshal(t, FirstRecord{Commitment: c, Checkpoint: string(l.checkpoint(t))}),
			"token":             []byte(issuer.token(t, claims)),
		}
	}
	l := newLog("run-1")
	put("posture-witness-0", first(l))
	accept(t, l)
	for i := range 3 {
		l.grow(t, 4)
		q := request{old: l.growth.Old(), notes: [][]byte{l.checkpoint(t)}}
		for _, h := range proofOf(t, l) {
			q.proof = append(q.proof, h[:])
		}
		put(fmt.Sprintf("posture-witness-%d", i+1), map[string][]byte{"add-checkpoint": q.append(nil)})
		accept(t, l)
	}
	put("posture-witness-9", first(newLog("run-2"))) // of a later step
	put("posture-witness-10", map[string][]byte{"something": []byte("else")})
	put("posture-witness-11", map[string][]byte{"add-checkpoint": bytes.Repeat([]byte("a"), 4<<20)})
	put("dist", map[string][]byte{"add-checkpoint": []byte("not ours")})
	for name, v := range map[string]any{
		"artifacts.json": map[string]any{"artifacts": list},
		"jobs.json":      map[string]any{"jobs": []any{map[string]string{"name": "build", "status": "completed"}, map[string]string{"name": "witness", "status": "in_progress"}}},
	} {
		if err := os.WriteFile(filepath.Join(mail, name), marshal(t, v), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "MAIL=" + mail, "JOB=build", "ISSUER=" + provider.URL, "REPOSITORY_ID=42", "POLL=0.1",
		"GITHUB_REPOSITORY=o/r", "GITHUB_RUN_ID=7", "GITHUB_RUN_ATTEMPT=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err = os.ReadFile(filepath.Join(dir, "predicate.json"))
	if err != nil {
		t.Fatal(err)
	}
	var predicate struct{ Key, Job string }
	if err := json.Unmarshal(b, &predicate); err != nil || predicate.Job != "build" {
		t.Fatalf("predicate %s: %v", b, err)
	}
	signed, err := os.ReadFile(filepath.Join(dir, "told", id.String()+".note"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rec, err := OpenRecord(signed, predicate.Key)
	if err != nil {
		t.Fatal(err)
	}
	if rec.First.Origin != l.origin || len(rec.Cosigned) != 4 || len(rec.Conflicts) != 1 || rec.Conflicts[0].Kind != SecondFirst {
		t.Errorf("record: %+v\n%s", rec, out)
	}
	for _, gone := range []string{"witness.key", "token"} {
		if _, err := os.Stat(filepath.Join(dir, gone)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", gone, err)
		}
	}
	if strings.Contains(string(out), string(first(newLog("x"))["token"][:20])) {
		t.Error("a token is in the output")
	}
}
