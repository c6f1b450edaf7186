package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/witness"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/sigstore"
)

// Before the command runs, its issuer has said which job made which
// commitment, and somebody has signed it.
func TestTheStartIsSignedBeforeAnythingRuns(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	rig.Setenv(t)
	w := run(t, options{flags: []string{"--keyless", "--signing-config", rig.ConfigNoLog, "--trusted-root", rig.RootNoLog}}, "/bin/true")
	w.complete()
	e, err := evidence.Open(filepath.Join(w.dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	c := e.Commitment()
	if c == nil || c.Claims == nil || c.Slot != c.Claims.Slot() || c.Barriers == 0 || c.Tool.SHA256 == "" {
		t.Fatalf("commitment: %+v", c)
	}
	raw, err := e.Attached(evidence.CommitmentFile)
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := e.Attached(evidence.StartTokenFile)
	if err != nil {
		t.Fatalf("%v: %s", err, w.stderr)
	}
	part, err := base64.RawURLEncoding.DecodeString(strings.Split(string(jwt), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Aud        string
		CheckRunID string `json:"check_run_id"`
	}
	if err := json.Unmarshal(part, &claims); err != nil || claims.Aud != evidence.Audience(raw) || claims.CheckRunID != c.Claims.CheckRunID {
		t.Errorf("the start token says %+v, %v", claims, err)
	}
	bundle, err := e.Attached(evidence.StartBundleFile)
	if err != nil {
		t.Fatalf("%v: %s", err, w.stderr)
	}
	pem, err := os.ReadFile(rig.RootNoLog)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := attest.LoadTrustedRoot(pem)
	if err != nil {
		t.Fatal(err)
	}
	r, err := attest.VerifyBundle(bundle, &attest.Policy{
		Root: trusted, PredicateType: attest.StartPredicateType,
		Identity: attest.Identity{Issuer: rig.Issuer.URL, RepositoryID: "4321", Workflow: "https://github.com/octo/app/.github/workflows/release.yml", WorkflowRefs: []string{"refs/heads/*"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.AboutStart(raw); err != nil {
		t.Error(err)
	}
	if len(r.Subjects) != 2 || r.Subjects[1].Digest["sha256"] != c.Slot {
		t.Errorf("subjects: %+v", r.Subjects)
	}
	// The log names what was attached, before the first thing that ran.
	var told []string
	for i := range w.events {
		ev := &w.events[i]
		if ev.Kind == event.Fork {
			break
		}
		// Where the signing took a while, the log was dated meanwhile.
		if ev.Kind == event.Note && strings.HasPrefix(ev.Detail.String(), "start ") {
			told = append(told, ev.Detail.String())
			if want := map[string][]byte{"start token": jwt, "start statement": bundle}[ev.Detail.String()]; ev.SHA256 != sha256.Sum256(want) {
				t.Errorf("the log names another %s", ev.Detail)
			}
		}
	}
	if !slices.Equal(told, []string{"start token", "start statement"}) {
		t.Errorf("before the first fork the log names %q", told)
	}
}

// Who signs the start hangs, as when somebody keeps it from answering: the
// command is started all the same, and nobody can say later that it was heard
// of before.
func TestAStartThatNobodySignedInTimeIsNeverMadeUpFor(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", rig.TokenURL)
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", rig.RequestToken)
	for name, value := range map[string]string{
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_SHA": sigstore.Job()["sha"].(string), "GITHUB_JOB": "build", "GITHUB_RUN_ATTEMPT": "1",
	} {
		t.Setenv(name, value)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	config, err := os.ReadFile(rig.ConfigNoLog)
	if err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	hanging, policy, jwks := filepath.Join(files, "hanging.json"), filepath.Join(files, "gate.yml"), filepath.Join(files, "jwks.json")
	place(t, hanging, strings.ReplaceAll(string(config), rig.Fulcio, "http://"+silent.Addr().String()))
	if err := witness.SaveJWKS(t.Context(), rig.Issuer.URL, jwks); err != nil {
		t.Fatal(err)
	}
	w := run(t, options{flags: []string{"--keyless", "--signing-config", hanging, "--trusted-root", rig.RootNoLog, "--sign-budget", "2s"}}, "true")
	if w.code != 0 || !strings.Contains(w.stderr, "nobody else heard of the start") || !strings.Contains(w.stderr, "the evidence was not signed") {
		t.Fatalf("exit code %d: %s", w.code, w.stderr)
	}
	if out, err := exec.Command(binary, "sign", "--keyless", "--signing-config", rig.ConfigNoLog, "--trusted-root", rig.RootNoLog, w.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for level, code := range map[string]int{"E2": 0, "E3": 1} {
		place(t, policy, fmt.Sprintf(`version: 1
require: {level: %s, max-silence: 60s}
identities:
  - issuer: %s
    repository: octo/app
    repository-id: 4321
    owner-id: 77
    workflow: .github/workflows/release.yml@refs/heads/*
trust: {root: %s, jwks: %s}
`, level, rig.Issuer.URL, rig.RootNoLog, jwks))
		got := askGate(t, "--policy", policy, "--commit", sigstore.Job()["sha"].(string), w.dir)
		if got.code != code || !strings.Contains(got.text, "no-start-statement") {
			t.Errorf("%s: exit code %d: %s", level, got.code, got.text)
		}
	}
}

// A witness on another machine holds the start, the way and the end of the
// log; what it holds is held against the evidence.
func TestAWitnessSeesTheLogGrow(t *testing.T) {
	servers := sigstore.Start(t, sigstore.Options{})
	servers.Setenv(t)
	at, key, jwks := rig.Witness(t, servers.Issuer.URL)
	for name, value := range map[string]string{
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_SHA": sigstore.Job()["sha"].(string), "GITHUB_JOB": "build", "GITHUB_RUN_ATTEMPT": "1",
	} {
		t.Setenv(name, value)
	}
	work := t.TempDir()
	w := run(t, options{in: work, flags: []string{
		"--keyless", "--signing-config", servers.ConfigNoLog, "--trusted-root", servers.RootNoLog, "--witness", at, "--witness-key", key, "--subject", "dist/*",
	}}, "bash", "-c", "mkdir dist; for i in 1 2 3; do sleep 1; /bin/true; done; echo release > dist/app.tgz")
	w.complete()
	e, err := evidence.Open(filepath.Join(w.dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	record, err := e.Attached(evidence.RecordFile)
	if err != nil {
		t.Fatalf("%v: %s", err, w.stderr)
	}
	r, err := witness.OpenRecord(record, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := e.Attached(evidence.CommitmentFile)
	if err != nil {
		t.Fatal(err)
	}
	if r.First.Commitment != evidence.Hash(sha256.Sum256(raw)) {
		t.Error("the first record is of another commitment")
	}
	// Asked after the end, it has the last checkpoint.
	c, err := witness.NewClient(at, key)
	if err != nil {
		t.Fatal(err)
	}
	var id witness.ID
	if err := id.UnmarshalText([]byte(e.Commitment().Slot)); err != nil {
		t.Fatal(err)
	}
	now, _, err := c.Slot(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if size := e.Manifest().Tree.Size; now.Last().Size != size {
		t.Errorf("the witness keeps a log of %d events, and it has %d: %s", now.Last().Size, size, w.stderr)
	}

	// The gate holds all of it against the evidence, as it is made by a true run.
	policy := filepath.Join(t.TempDir(), "gate.yml")
	place(t, policy, fmt.Sprintf(`version: 1
require:
  level: E2
  max-silence: 60s # this machine is shared
  subjects: {written-by: [bash]}
identities:
  - issuer: %s
    repository: octo/app
    repository-id: 4321
    owner-id: 77
    workflow: .github/workflows/release.yml@refs/heads/*
trust: {root: %s, jwks: %s, witness: %s, witness-keys: [%s]}
`, servers.Issuer.URL, servers.RootNoLog, jwks, at, key))
	got := askGate(t, "--policy", policy, "--artifact", filepath.Join(work, "dist", "app.tgz"), w.dir)
	if got.code != 0 || got.Level != "E2" {
		t.Fatalf("exit code %d: %s", got.code, got.text)
	}
	passed := map[string]bool{}
	for _, s := range got.Statements {
		for _, c := range s.Checks {
			passed[c.Check] = c.Status == "pass"
		}
	}
	for _, name := range []string{"start token", "start statement", "first record", "outside times", "witness", "writer of dist/app.tgz"} {
		if !passed[name] {
			t.Errorf("%s did not pass: %s", name, got.text)
		}
	}
}
