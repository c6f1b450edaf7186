package gate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
	"github.com/org/edamame-posture/test/sigstore"
)

// ring is a chain of checkpoint keys in this process, which a thief keeps.
type ring struct {
	keys []ed25519.PrivateKey
	used int
}

func (r *ring) key(n int) (k [32]byte) {
	for len(r.keys) <= n {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			panic(err)
		}
		r.keys = append(r.keys, private)
	}
	copy(k[:], r.keys[n].Public().(ed25519.PublicKey))
	return k
}

func (r *ring) Keys(context.Context) (now, next [32]byte, err error) {
	return r.key(r.used), r.key(r.used + 1), nil
}

func (r *ring) Sign(_ context.Context, text []byte) (sig [64]byte, err error) {
	copy(sig[:], ed25519.Sign(r.keys[r.used], text))
	r.used++
	return sig, nil
}

func (r *ring) Close() {}

const commit = "3f786850e387550fdab836ed7e6dc881de23001b"

const second = int64(time.Second)

// job is a recorded job, as the rig's tokens name it unless a test changes it.
type job struct {
	env     map[string]string
	uid     int
	more    []string // lines of what it does, between its start and its end
	intent  string   // policy that it is recorded with
	silence int64    // added before the last checkpoint, in nanoseconds
	open    bool     // the monitor is killed: nothing is closed
	run     string
	began   time.Time
	keys    evidence.Keys
	pack    *signature.Pack
	// commit changes the commitment of the start; nil: there is none.
	commit func(*evidence.Commitment)
	// outside tells others of the start; nil: nobody hears of it.
	outside *outside
	// date has the log dated, after each line of it; nil: nobody does.
	date   func(t testing.TB, l *evidence.Log, line, lines int, add func(string))
	pace   int64 // of the log's clock from one checkpoint to the next; 0: half a second
	growth *evidence.Growth
}

// recorded makes a folder of results, as a monitor does.
func recorded(t testing.TB, change func(*job)) string {
	t.Helper()
	j := &job{uid: 1001, run: "r" + strings.ToLower(rand.Text()[:12]), began: time.Now().Add(-10 * time.Second), keys: new(ring), env: map[string]string{
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_SHA": commit, "GITHUB_JOB": "build", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_WORKFLOW": "release",
	}}
	var err error
	if j.pack, err = signature.Default(); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(j)
	}
	dir := t.TempDir()
	in := resolve(t, j.intent)
	if j.outside != nil {
		j.growth = evidence.NewGrowth()
	}
	if j.pace == 0 {
		j.pace = second / 2
	}
	l, err := evidence.Create(filepath.Join(dir, "evidence"), evidence.Options{Run: j.run, Keys: j.keys, NoSync: true, Growth: j.growth})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{evidence.IntentInput: in.Canonical(), evidence.SignaturesInput: j.pack.Canonical()} {
		if err := l.Input(name, data); err != nil {
			t.Fatal(err)
		}
	}
	named := ""
	var committed []byte
	if j.commit != nil {
		committed = j.attach(t, l, in)
		named = fmt.Sprintf(`,"sha256":%q`, digest(committed))
	}
	jd := judge.New(in, j.pack)
	lines := slices.Concat([]string{
		fmt.Sprintf(`{"kind":"start","actor":{"pid":10,"start":5},"via":"monitor","argv":["make","dist"],"argv_bytes":8,"cwd":"/w","version":1,"boot":"b-1","wall":%d,"host":"runner"%s}`, j.began.UnixNano(), named),
		`{"kind":"sensor","actor":{"pid":11,"start":6},"via":"monitor","sensor":"ebpf","detail":"primary"}`,
		`{"kind":"sensor","actor":{"pid":11,"start":6},"via":"monitor","sensor":"netlink","detail":"witness"}`,
		`{"kind":"fork","actor":{"pid":20,"start":90},"parent":{"pid":10,"start":5}}`,
		j.exec(t),
	}, j.more, []string{
		`{"kind":"exit","actor":{"pid":20,"start":90,"image":1}}`,
		`{"kind":"canary","via":"monitor","ok":true,"sensor":"ebpf","from":1,"to":2}`,
		`{"kind":"witness","via":"monitor","ok":true,"counts":[{"what":"fork","ebpf":1,"netlink":1}]}`,
		fmt.Sprintf(`{"kind":"end","actor":{"pid":20,"start":90},"via":"monitor","wall":%d}`, j.began.Add(5*time.Second).UnixNano()),
	})
	now := 1000 * second
	i := 0
	add := func(line string) {
		var ev event.Event
		// Seq and time come first in a line.
		line = fmt.Sprintf(`{"seq":%d,"time":%d,`, i, now) + strings.TrimPrefix(line, "{")
		if err := event.Decode([]byte(line), &ev); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
		jd.Apply(&ev)
		if i%3 == 0 {
			if err := l.Checkpoint(now); err != nil {
				t.Fatal(err)
			}
			now += j.pace
		}
		i++
	}
	for n, line := range lines {
		add(line)
		if j.date != nil {
			j.date(t, l, n, len(lines), add)
		}
		if j.outside == nil {
			continue
		}
		if n == j.outside.after {
			j.outside.begin(t, l, j.growth, committed, add)
		}
		if n == len(lines)-3 && j.outside.during != nil {
			j.outside.during(t, j.growth, add)
		}
	}
	if j.open {
		l.Abort()
		return dir
	}
	if _, err := l.Close(evidence.Closing{Boottime: now + j.silence, Judge: judge.Version}); err != nil {
		t.Fatal(err)
	}
	if j.outside != nil && j.outside.end != nil {
		j.outside.end(t, j.growth)
	}
	put(t, filepath.Join(dir, "verdict.json"), jd.Verdict().Encode())
	return dir
}

// attach makes the commitment and returns it.
func (j *job) attach(t testing.TB, l *evidence.Log, in *intent.Resolved) []byte {
	t.Helper()
	key := j.keys.(*ring).key(0)
	c := &evidence.Commitment{
		Version: 1, Origin: evidence.Origin(j.run), Key: base64.StdEncoding.EncodeToString(key[:]), Barriers: 13,
		Intent: digest(in.Canonical()), Signatures: j.pack.SHA256(), Boot: "b-1", Namespaces: map[string]uint64{"pid": firstPID, "user": firstUser},
		Claims: &evidence.Claims{Issuer: "set below", RepositoryID: "4321", RunID: "9001", RunAttempt: "1", CheckRunID: "555"},
	}
	j.commit(c)
	if c.Claims != nil {
		c.Slot = c.Claims.Slot()
	}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Attach(evidence.CommitmentFile, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func (j *job) exec(t testing.TB) string {
	t.Helper()
	var env []string
	for name, value := range j.env {
		env = append(env, fmt.Sprintf(`{"name":%q,"value":%q}`, name, value))
	}
	slices.Sort(env)
	return fmt.Sprintf(`{"kind":"exec","actor":{"pid":20,"start":90,"image":1},"exe":"/usr/bin/make","filename":"/usr/bin/make","argv":["make","dist"],"argv_bytes":8,"cwd":"/w","uid":%d,"env":[%s]}`, j.uid, strings.Join(env, ","))
}

func resolve(t testing.TB, policy string) *intent.Resolved {
	t.Helper()
	if policy == "" {
		return intent.None()
	}
	p, err := intent.Parse("posture.yml", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var artifact = Artifact{Name: "app.tgz", SHA256: sum("app")}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// statement is the honest one about a folder, with the artifact as subject.
func statement(t testing.TB, dir string, subjects ...attest.Subject) *attest.Statement {
	t.Helper()
	s, err := attest.Describe(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	if subjects == nil {
		subjects = []attest.Subject{{Name: "dist/app.tgz", Digest: attest.Digest{SHA256: artifact.SHA256}}}
	}
	for _, sub := range subjects {
		if err := s.AddSubject(sub); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// sign signs what the statement says, and leaves it in the folder.
func sign(t testing.TB, dir string, by attest.Signer, s *attest.Statement) {
	t.Helper()
	payload, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	signPayload(t, dir, by, payload)
}

func signPayload(t testing.TB, dir string, by attest.Signer, payload []byte) {
	t.Helper()
	b, err := attest.SignPayload(t.Context(), payload, by)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "attestation.json"), b)
}

func newKey(t testing.TB) (*attest.Key, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &attest.Key{Signer: crypto.Signer(key)}, publicPEM(t, key.Public())
}

func publicPEM(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// keyPolicy loads a policy that believes one key; more is put under require.
func keyPolicy(t testing.TB, public []byte, more string) *Policy {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "pub.pem"), public)
	return load(t, dir, "version: 1\nrequire:\n  level: E1\n"+more+"identities: [{key: pub.pem}]\n")
}

func load(t testing.TB, dir, text string) *Policy {
	t.Helper()
	name := filepath.Join(dir, "gate.yml")
	put(t, name, []byte(text))
	p, err := LoadPolicy(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// workflowPolicy believes the rig's release workflow.
func workflowPolicy(t testing.TB, rig *sigstore.Rig, require, identity string) *Policy {
	t.Helper()
	return load(t, t.TempDir(), fmt.Sprintf(`version: 1
require:
  level: E2
%sidentities:
  - issuer: %s
    repository: octo/app
    repository-id: 4321
    owner-id: 77
    workflow: .github/workflows/release.yml@refs/heads/main
%strust: {root: %s}
`, require, rig.Issuer.URL, identity, rig.RootNoLog))
}

// keyless signs with the identity of the rig's job.
func keyless(t testing.TB, rig *sigstore.Rig) *attest.Keyless {
	t.Helper()
	trusted, err := attest.LoadTrustedRoot(get(t, rig.RootNoLog))
	if err != nil {
		t.Fatal(err)
	}
	servers, err := attest.LoadServices(get(t, rig.ConfigNoLog), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": rig.TokenURL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": rig.RequestToken}
	return &attest.Keyless{Token: attest.JobToken(func(n string) string { return env[n] }), Services: servers, Root: trusted}
}

// decide asks the gate about folders of results.
func decide(t testing.TB, p *Policy, change func(*Input), dirs ...string) *Decision {
	t.Helper()
	in := &Input{Policy: p, Artifacts: []Artifact{artifact}, Now: time.Now()}
	for _, d := range dirs {
		in.Add(ReadPath(d))
	}
	if change != nil {
		change(in)
	}
	return Decide(t.Context(), in)
}

// passes fails the test where the gate does not let it pass at the level.
func passes(t testing.TB, d *Decision, l Level) {
	t.Helper()
	if d.Outcome != Passed || d.Level != l || d.ExitCode() != 0 || len(d.Reasons) > 0 {
		t.Fatalf("want a pass at %s:\n%s", l, text(t, d))
	}
}

// refuses fails the test where the gate does not refuse it for the reason
// before all others.
func refuses(t testing.TB, d *Decision, r Reason) {
	t.Helper()
	if d.Outcome != Refused || d.ExitCode() != 1 || len(d.Reasons) == 0 || d.Reasons[0] != r {
		t.Errorf("want a refusal for %s:\n%s", r, text(t, d))
	}
}

func text(t testing.TB, d *Decision) string {
	t.Helper()
	var b strings.Builder
	if err := d.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
