package e2e

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/witness"
	"github.com/org/edamame-posture/test/sigstore"
)

var update = flag.Bool("update", false, "write the table of levels in docs/threat-model.md anew")

// hub stands for GitHub, as far as the gate and a start on the commit ask it:
// one run with one job, whose first step is a release of the action.
func hub(t *testing.T, action string) string {
	t.Helper()
	sha := sigstore.Job()["sha"].(string)
	workflow := "name: release\non: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: " + action + "\n      - run: make dist\n"
	var mu sync.Mutex
	statuses := []map[string]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now().UTC().Format(time.RFC3339)
		switch r.Method + " " + r.URL.Path {
		case "POST /repos/octo/app/statuses/" + sha:
			var st map[string]string
			if err := json.NewDecoder(r.Body).Decode(&st); err != nil {
				t.Error(err)
			}
			st["created_at"] = now
			statuses = append([]map[string]string{st}, statuses...)
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(st)
		case "GET /repos/octo/app/commits/" + sha + "/statuses":
			_ = json.NewEncoder(w).Encode(statuses)
		case "GET /repos/octo/app/actions/runs/9001/attempts/1/jobs":
			fmt.Fprintf(w, `{"total_count":1,"jobs":[{"id":555,"run_id":9001,"run_attempt":1,"name":"build","status":"completed","conclusion":"success","started_at":%q}]}`, now)
		case "GET /repos/octo/app/contents/.github/workflows/release.yml":
			_ = json.NewEncoder(w).Encode(map[string]string{"type": "file", "encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(workflow))})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// numbers are how many checkpoints were not signed: as many as seconds went by.
var numbers = regexp.MustCompile(`\d+ not`)

// inCell takes out what a cell of a table cannot hold.
var inCell = strings.NewReplacer("`", "'", "|", "/")

// One real run for each level, and what the gate says keeps it from the next
// one: the table in docs/threat-model.md.
func TestOneRealRunOfEachLevel(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	sha := sigstore.Job()["sha"].(string)
	const action = "org/edamame-posture@0123456789abcdef0123456789abcdef01234567"
	github := hub(t, action)
	for name, value := range map[string]string{
		"ACTIONS_ID_TOKEN_REQUEST_URL": rig.TokenURL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": rig.RequestToken, "GITHUB_API_URL": github, "GITHUB_TOKEN": "job-token",
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_SHA": sha, "GITHUB_JOB": "build", "GITHUB_RUN_ATTEMPT": "1",
	} {
		t.Setenv(name, value)
	}
	files := t.TempDir()
	jwks := filepath.Join(files, "jwks.json")
	if err := witness.SaveJWKS(t.Context(), rig.Issuer.URL, jwks); err != nil {
		t.Fatal(err)
	}
	signer, witnessKey, _, err := witness.NewKey("witness.example")
	if err != nil {
		t.Fatal(err)
	}
	server, err := witness.Open(witness.Config{
		Dir: filepath.Join(files, "records"), Key: signer, Issuers: []witness.Issuer{{URL: rig.Issuer.URL, JWKS: jwks, Repositories: []string{"4321"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	at := httptest.NewServer(server)
	defer at.Close()
	private, public := keyPair(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")

	u := person(t)
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	allow := filepath.Join("/etc/sudoers.d", "posture-e2e-levels")
	if err := os.WriteFile(allow, []byte(u.Username+" ALL=(ALL) NOPASSWD: ALL\n"), 0o440); err != nil {
		t.Skipf("sudo cannot be allowed for the test: %v", err)
	}
	t.Cleanup(func() { os.Remove(allow) })
	open(t, filepath.Dir(rig.ConfigNoLog))
	for _, f := range []string{rig.ConfigNoLog, rig.RootNoLog} {
		if err := os.Chmod(f, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	workflow := fmt.Sprintf("issuer: %s\n    repository: octo/app\n    repository-id: 4321\n    owner-id: 77\n    workflow: .github/workflows/release.yml@refs/heads/*", rig.Issuer.URL)
	trust := fmt.Sprintf("root: %s, jwks: %s, actions: [%q], ", rig.RootNoLog, jwks, action)
	keyless := []string{"--keyless", "--signing-config", rig.ConfigNoLog, "--trusted-root", rig.RootNoLog}
	var rows strings.Builder
	for _, c := range []struct {
		shown    string
		flags    []string
		identity string
		trust    string
		level    string
	}{
		{"", nil, "key: " + public, "", "none"},
		{"--seal", []string{"--seal"}, "key: " + public, "", "E0"},
		{"--key release.key", []string{"--key", private}, "key: " + public, "", "E1"},
		{"--keyless", keyless, workflow, trust, "E2"},
		{"--keyless --commit-status", append(keyless, "--commit-status"), workflow, trust + "commit-status: true, ", "E3"},
		{"--keyless --witness URL --witness-key KEY", append(keyless, "--witness", at.URL, "--witness-key", witnessKey), workflow, trust + fmt.Sprintf("witness: %s, witness-keys: [%q], ", at.URL, witnessKey), "E4"},
	} {
		o := options{flags: c.flags}
		if c.trust != "" {
			// As in a job: who was root from the start has all power.
			o.in, o.argv0 = t.TempDir(), []string{"runuser", "-u", u.Username, "--"}
			open(t, o.in)
			if err := os.Chown(o.in, uid, -1); err != nil {
				t.Fatal(err)
			}
		}
		w := run(t, o, "sh", "-c", "for i in 1 2; do sleep 1; /bin/true; done")
		w.complete()
		policy := filepath.Join(files, "gate.yml")
		text := "version: 1\nrequire: {level: E0, max-silence: 60s}\nidentities:\n  - " + c.identity + "\n"
		if c.trust != "" {
			text += "trust: {" + strings.TrimSuffix(c.trust, ", ") + "}\n"
		}
		place(t, policy, text)
		got := askGate(t, "--policy", policy, "--commit", sha, "--github", "octo/app", "--github-api", github, w.dir)
		// What is the monitor's own must never stand there.
		if strings.HasPrefix(got.Next, "what was there before") && strings.Contains(got.Next, "the first is the container") {
			t.Skipf("SKIP: %s: no recording of this machine comes to E3 now", got.Next)
		}
		if got.Level != c.level {
			t.Errorf("run %s: level %s, want %s: %s\n%s\n%s", c.shown, got.Level, c.level, got.Next, got.text, w.stderr)
		}
		why := "–"
		if got.Next != "" {
			why = "`" + inCell.Replace(numbers.ReplaceAllString(strings.ReplaceAll(got.Next, w.dir, ".posture"), "N not")) + "`"
		}
		fmt.Fprintf(&rows, "| %s | `%s` | %s |\n", c.level, strings.Join(strings.Fields("run "+c.shown+" -- make"), " "), why)
	}
	const page = "../../docs/threat-model.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`(?s)(\| level \| recorded with \| what keeps it from the next one \|\n\|---\|---\|---\|\n)(.*?)\n\n`)
	m := table.FindSubmatchIndex(b)
	if m == nil {
		t.Fatal("docs/threat-model.md has no table of levels")
	}
	if string(b[m[4]:m[5]])+"\n" == rows.String() {
		return
	}
	if !*update {
		t.Errorf("docs/threat-model.md has\n%s\nand it is\n%s", b[m[4]:m[5]], rows.String())
		return
	}
	if err := os.WriteFile(page, []byte(string(b[:m[4]])+strings.TrimSuffix(rows.String(), "\n")+string(b[m[5]:])), 0o644); err != nil {
		t.Fatal(err)
	}
}
