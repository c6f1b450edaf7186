package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/witness"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/runnersim/runner"
	"github.com/org/edamame-posture/test/sigstore"
)

// head is the commit of all jobs here.
const head = "0123456789abcdef0123456789abcdef01234567"

// hub stands for GitHub's API, as far as statuses and jobs go: what was put on
// the commit stays there.
type hub struct {
	*httptest.Server
	mu    sync.Mutex
	list  []map[string]string
	began time.Time
}

func newHub(t *testing.T) *hub {
	h := &hub{began: time.Now()}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch r.Method + " " + r.URL.Path {
		case "POST /repos/octo/app/statuses/" + head:
			if got := r.Header.Get("Authorization"); got != "Bearer job-token" {
				t.Errorf("authorization %q", got)
			}
			var st map[string]string
			if err := json.NewDecoder(r.Body).Decode(&st); err != nil {
				t.Error(err)
			}
			h.put(st)
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(h.list[0])
		case "GET /repos/octo/app/commits/" + head + "/statuses":
			_ = json.NewEncoder(w).Encode(h.list)
		case "GET /repos/octo/app/actions/runs/1000/attempts/1/jobs":
			fmt.Fprintf(w, `{"total_count":1,"jobs":[{"id":555,"run_id":1000,"run_attempt":1,"name":"build","status":"completed","conclusion":"success","started_at":%q}]}`, h.began.UTC().Format(time.RFC3339))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// put adds a status, the newest first. The lock is held.
func (h *hub) put(st map[string]string) {
	st["created_at"] = time.Now().UTC().Format(time.RFC3339)
	h.list = append([]map[string]string{st}, h.list...)
}

// The action has its start put on the commit before the first step, and its log
// dated while the job runs; the gate finds both. Another start on the commit
// afterwards, as a step with the job's token can put there, refuses.
func TestOthersHearOfAJobThatTheActionWatches(t *testing.T) {
	needRoot(t)
	const uses = "org/edamame-posture@v1"
	signing, h := sigstore.Start(t, sigstore.Options{}), newHub(t)
	signing.Issuer.Set(sigstore.Claims{"sha": head, "workflow_sha": head, "job_workflow_sha": head, "run_id": "1000"})
	root, out := filepath.Join(folder(t), "r"), folder(t)
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	rig.Sudo(t, "nobody", "outside", installed(root, 1))
	files := map[string]string{}
	for name, path := range map[string]string{"config.json": signing.ConfigNoLog, "root.json": signing.RootNoLog} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	at := lay(t, files)
	jobs, err := runner.Read(filepath.Join(lay(t, map[string]string{"ci.yml": fmt.Sprintf(`
on: push
jobs:
  build:
    runs-on: self-hosted
    env: {GITHUB_TOKEN: job-token}
    steps:
      - uses: %s
        with: {out: %s/posture, commit-status: "true", signing-config: %[3]s/config.json, trusted-root: %[3]s/root.json, tsa-every: 1s}
      - run: for i in 1 2 3 4 5 6 7; do sleep 0.5; done
`, uses, out, at)}), "ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := runner.Run(t.Context(), jobs, runner.Options{
		Root: root, User: "nobody", Stderr: os.Stderr, API: h.URL, Actions: map[string]string{uses: release(t)},
		Env: []string{"ACTIONS_ID_TOKEN_REQUEST_URL=" + signing.TokenURL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + signing.RequestToken},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := results[0].Log
	if results[0].Conclusion != "Succeeded" {
		t.Fatalf("%s\n%s", results[0].Conclusion, log)
	}
	jwks := filepath.Join(at, "jwks.json")
	if err := witness.SaveJWKS(t.Context(), signing.Issuer.URL, jwks); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(lay(t, map[string]string{"gate.yml": fmt.Sprintf(`version: 1
require: {level: E2, max-silence: 60s, max-undated: 30s}
identities:
  - issuer: %s
    repository: octo/app
    repository-id: 4321
    owner-id: 77
    workflow: .github/workflows/release.yml@refs/heads/*
trust: {root: %s/root.json, jwks: %s, commit-status: true}
`, signing.Issuer.URL, at, jwks)}), "gate.yml")
	dir := filepath.Join(out, "posture")
	type check struct{ Check, Status, Reason, Got string }
	ask := func() (d decision, checks map[string]check) {
		d = askGate(t, policy, "--commit", head, "--github", "octo/app", "--github-api", h.URL, dir)
		var more struct{ Statements []struct{ Checks []check } }
		if err := json.Unmarshal([]byte(d.text), &more); err != nil {
			t.Fatal(err)
		}
		checks = map[string]check{}
		for _, s := range more.Statements {
			for _, c := range s.Checks {
				checks[c.Check] = c
			}
		}
		return d, checks
	}
	d, checks := ask()
	if d.code != 0 || checks["first record"].Status != "pass" || checks["start token"].Status != "pass" {
		t.Errorf("exit code %d: %s\n%s", d.code, d.text, log)
	}
	// Each second but the first while the steps ran, and at the end.
	answers, err := filepath.Glob(filepath.Join(dir, "evidence", "*.tsr"))
	if err != nil || len(answers) < 3 {
		t.Errorf("%d times dated, %v\n%s", len(answers), err, log)
	}
	h.mu.Lock()
	statuses := len(h.list)
	h.put(map[string]string{"context": "posture/555", "description": "posture:v1:" + strings.Repeat("A", 43), "state": "success"})
	h.mu.Unlock()
	if statuses != 1 {
		t.Errorf("%d statuses of one start", statuses)
	}
	if _, checks := ask(); checks["first record"].Status != "refused" || checks["first record"].Reason != "second-commitment" {
		t.Errorf("beside another start: %+v", checks["first record"])
	}
}

// An authority that nobody answers at holds the job up nowhere, and the log
// says that it was not dated.
func TestTheActionGoesOnWhereATimestampAuthorityIsDown(t *testing.T) {
	needRoot(t)
	const uses = "org/edamame-posture@v1"
	root, out := filepath.Join(folder(t), "r"), folder(t)
	if err := os.Chmod(out, 0o777); err != nil {
		t.Fatal(err)
	}
	rig.Sudo(t, "nobody", "undated", installed(root, 1))
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	jobs, err := runner.Read(filepath.Join(lay(t, map[string]string{"ci.yml": fmt.Sprintf(`
on: push
jobs:
  build:
    runs-on: self-hosted
    steps:
      - {uses: %s, with: {out: %s/posture, tsa: "%s", tsa-every: 1s}}
      - run: sleep 1.5
`, uses, out, gone.URL)}), "ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := runner.Run(t.Context(), jobs, runner.Options{Root: root, User: "nobody", Stderr: os.Stderr, Actions: map[string]string{uses: release(t)}})
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := os.ReadFile(filepath.Join(out, "posture", "verdict.json"))
	if results[0].Conclusion != "Succeeded" || err != nil || !strings.Contains(string(verdict), "a timestamp authority did not answer") {
		t.Errorf("%s, %v: %s\n%s", results[0].Conclusion, err, verdict, results[0].Log)
	}
}
