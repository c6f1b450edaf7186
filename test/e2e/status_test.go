package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/witness"
	"github.com/org/edamame-posture/test/sigstore"
)

// A run without a witness puts its start on the commit, and the gate finds it
// there: alone, or beside that of a later step.
func TestAStartOnTheCommitIsTheFirstRecord(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	sha := sigstore.Job()["sha"].(string)
	var mu sync.Mutex
	var list []map[string]string
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.Method + " " + r.URL.Path {
		case "POST /repos/octo/app/statuses/" + sha:
			var st map[string]string
			if err := json.NewDecoder(r.Body).Decode(&st); err != nil {
				t.Error(err)
			}
			st["created_at"] = time.Now().UTC().Format(time.RFC3339)
			list = append([]map[string]string{st}, list...)
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(st)
		case "GET /repos/octo/app/commits/" + sha + "/statuses":
			_ = json.NewEncoder(w).Encode(list)
		case "GET /repos/octo/app/actions/runs/9001/attempts/1/jobs":
			fmt.Fprintf(w, `{"total_count":1,"jobs":[{"id":555,"run_id":9001,"run_attempt":1,"name":"build","status":"completed","conclusion":"success","started_at":%q}]}`, time.Now().UTC().Format(time.RFC3339))
		default:
			http.NotFound(w, r)
		}
	}))
	defer hub.Close()
	for name, value := range map[string]string{
		"GITHUB_API_URL": hub.URL, "GITHUB_TOKEN": "job-token",
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_SHA": sha, "GITHUB_JOB": "build", "GITHUB_RUN_ATTEMPT": "1",
	} {
		t.Setenv(name, value)
	}
	rig.Setenv(t)
	files := t.TempDir()
	jwks := filepath.Join(files, "jwks.json")
	if err := witness.SaveJWKS(t.Context(), rig.Issuer.URL, jwks); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(files, "gate.yml")
	place(t, policy, fmt.Sprintf(`version: 1
require: {level: E2, max-silence: 60s}
identities:
  - issuer: %s
    repository: octo/app
    repository-id: 4321
    owner-id: 77
    workflow: .github/workflows/release.yml@refs/heads/*
trust: {root: %s, jwks: %s, commit-status: true}
`, rig.Issuer.URL, rig.RootNoLog, jwks))
	record := func() string {
		w := run(t, options{flags: []string{"--keyless", "--signing-config", rig.ConfigNoLog, "--trusted-root", rig.RootNoLog, "--commit-status"}}, "true")
		w.complete()
		return w.dir
	}
	ask := func(dir string) (status, text string) {
		got := askGate(t, "--policy", policy, "--commit", sha, "--github", "octo/app", "--github-api", hub.URL, dir)
		for _, s := range got.Statements {
			for _, c := range s.Checks {
				if c.Check == "first record" {
					status = c.Status
				}
			}
		}
		return status, got.text
	}
	first := record()
	if status, text := ask(first); status != "pass" {
		t.Fatalf("%s: %s", status, text)
	}
	// A later step of the job does all that the monitor does.
	second := record()
	for name, dir := range map[string]string{"the first": first, "the second": second} {
		if status, text := ask(dir); status != "refused" || !strings.Contains(text, "second-commitment") {
			t.Errorf("%s: %s: %s", name, status, text)
		}
	}
}
