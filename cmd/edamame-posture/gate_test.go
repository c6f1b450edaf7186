package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheGateIsAskedInFullOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "gate.yml")
	if err := os.WriteFile(policy, []byte("version: 1\nrequire: {level: E0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sha := strings.Repeat("a", 40)
	for _, c := range []struct {
		args string
		code int
	}{
		{"", exitUsage},
		{"--policy " + dir + "/none.yml " + dir, exitUsage},
		{"--policy " + policy, exitUsage}, // no place to look at
		{"--policy " + policy + " " + dir + "/none", exitUsage},
		{"--policy " + policy + " --commit main " + dir, exitUsage},
		{"--policy " + policy + " --digest sha256:ab " + dir, exitUsage},
		{"--policy " + policy + " --check-run x --github o/r " + dir, exitUsage},
		{"--policy " + policy + " --check-run x --commit " + sha + " " + dir, exitUsage},
		{"--policy " + policy + " --deployment-callback http://x " + dir, exitUsage},
		{"--policy " + policy + " --sign-keyless " + dir, exitUsage},
		{"--policy " + policy + " --vsa-dsse x " + dir, exitUsage},
		{"--policy " + policy + " --sign-key x --sign-keyless --vsa x " + dir, exitUsage},
		{"--policy " + policy + " --commit " + sha + " " + dir, exitNo}, // nothing found
	} {
		if got := Main(append([]string{"gate"}, strings.Fields(c.args)...)); got != c.code {
			t.Errorf("%s: exit code %d, want %d", c.args, got, c.code)
		}
	}
}

// The policy's source is asked for each artifact, and what comes of it is told
// to GitHub; a source that is down is no answer, and no pass.
func TestTheGateAsksAndTellsGitHub(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "gate.yml")
	if err := os.WriteFile(policy, []byte("version: 1\nrequire: {level: E0}\nsources: [{github: octo/app}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := strings.Repeat("ab", 32)
	down := false
	var asked []string
	var check, review struct{ Conclusion, State string }
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer hush" {
			t.Errorf("%s without the token", r.URL.Path)
		}
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.HasSuffix(r.URL.Path, "/check-runs"):
			_ = json.Unmarshal(body, &check)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, "{}")
		case strings.HasSuffix(r.URL.Path, "/deployment_protection_rule"):
			_ = json.Unmarshal(body, &review)
			w.WriteHeader(http.StatusNoContent)
		case down:
			w.WriteHeader(http.StatusBadGateway)
		default:
			asked = append(asked, r.URL.Path)
			fmt.Fprint(w, `{"attestations":[]}`)
		}
	}))
	defer hub.Close()
	t.Setenv("HUB_TOKEN", "hush")
	args := func() []string {
		check.Conclusion, review.State = "", ""
		return []string{"gate", "--policy", policy, "--digest", sum, "--commit", strings.Repeat("c", 40), "--github", "octo/app", "--github-api", hub.URL, "--github-token-env", "HUB_TOKEN", "--budget", "1s",
			"--check-run", "posture", "--deployment-callback", hub.URL + "/repos/octo/app/actions/runs/9/deployment_protection_rule", "--environment", "production",
			"--run", "https://github.com/octo/app/actions/runs/9/attempts/1"}
	}
	for _, run := range []string{"", "https://github.com/octo/app/actions/runs/8/attempts/1"} {
		other := args()
		if other = other[:len(other)-2]; run != "" {
			other = append(other, "--run", run)
		}
		if code := Main(other); code != exitUsage || review.State != "" {
			t.Errorf("a callback that answers for another run than %q: exit code %d, deployment %q", run, code, review.State)
		}
	}
	if code := Main(args()); code != exitNo || check.Conclusion != "failure" || review.State != "rejected" {
		t.Errorf("nothing there: exit code %d, check run %q, deployment %q", code, check.Conclusion, review.State)
	}
	if len(asked) != 1 || asked[0] != "/repos/octo/app/attestations/sha256:"+sum {
		t.Errorf("asked: %q", asked)
	}
	down = true
	if code := Main(args()); code != exitNoAnswer || check.Conclusion != "action_required" || review.State != "" {
		t.Errorf("down: exit code %d, check run %q, deployment %q", code, check.Conclusion, review.State)
	}
}
