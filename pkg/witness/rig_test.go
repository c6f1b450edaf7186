package witness

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/mod/sumdb/note"

	"github.com/org/edamame-posture/pkg/evidence"
)

// testLog is a log as the monitor makes it: lines, a key for each checkpoint.
// All keys are kept, so that a test can play their thief.
type testLog struct {
	origin string
	keys   []ed25519.PrivateKey
	seq    int
	growth *Growth
	lines  int
	tree   *evidenceTree
}

// evidenceTree gives the root of what was appended.
type evidenceTree struct{ g *Growth }

func (e *evidenceTree) root(t testing.TB) (h evidence.Hash) {
	t.Helper()
	if e.g.Size() == 0 {
		return sha256.Sum256(nil)
	}
	b, err := e.g.new.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Hash(b)
}

func newLog(run string) *testLog {
	return &testLog{origin: originPrefix + run, growth: NewGrowth(), tree: &evidenceTree{NewGrowth()}}
}

// fork returns a copy that has the same keys, but for those not made yet.
func (l *testLog) fork(t testing.TB, lines ...string) *testLog {
	t.Helper()
	f := newLog(strings.TrimPrefix(l.origin, originPrefix))
	l.key(l.seq + 20)
	f.keys, f.seq = l.keys, l.seq
	for _, line := range lines {
		f.append(t, line)
	}
	return f
}

func (l *testLog) append(t testing.TB, line string) {
	t.Helper()
	for _, g := range []*Growth{l.growth, l.tree.g} {
		if err := g.Append([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	l.lines++
}

// grow appends n lines.
func (l *testLog) grow(t testing.TB, n int) {
	t.Helper()
	for range n {
		l.append(t, fmt.Sprintf("line %d", l.lines))
	}
}

func (l *testLog) key(n int) ed25519.PrivateKey {
	for len(l.keys) <= n {
		_, k, err := ed25519.GenerateKey(nil)
		if err != nil {
			panic(err)
		}
		l.keys = append(l.keys, k)
	}
	return l.keys[n]
}

func public(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) }

// checkpoint signs the state of the log with the next key.
func (l *testLog) checkpoint(t testing.TB) []byte {
	t.Helper()
	n := l.note(t, l.seq, l.seq+1)
	l.seq++
	return n
}

// note makes checkpoint seq, signed with that key, which names key next; a
// negative next ends the chain.
func (l *testLog) note(t testing.TB, seq, next int) []byte {
	t.Helper()
	var named evidence.Hash
	if next >= 0 {
		named = sha256.Sum256(public(l.key(next)))
	}
	text := fmt.Sprintf("%s\n%d\n%s\nboottime %d\nlost 0\nseq %d\nnext %s\nkey %s\n",
		l.origin, l.lines, l.tree.root(t), 1000+seq, seq, named, base64.StdEncoding.EncodeToString(public(l.key(seq))))
	return signNote(t, l.origin, l.key(seq), text)
}

func signNote(t testing.TB, name string, key ed25519.PrivateKey, text string) []byte {
	t.Helper()
	s, err := note.NewSigner(signerKey(t, name, key))
	if err != nil {
		t.Fatal(err)
	}
	b, err := note.Sign(&note.Note{Text: text}, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func signerKey(t testing.TB, name string, key ed25519.PrivateKey) string {
	t.Helper()
	vkey, err := note.NewEd25519VerifierKey(name, public(key))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, v.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{1}, key.Seed()...)))
}

// commitment is the JSON that the log's first line would be made of.
func (l *testLog) commitment(slot ID) []byte {
	b, err := json.Marshal(map[string]any{
		"v": 1, "slot": slot, "origin": l.origin, "key": public(l.key(0)),
		"claims": map[string]any{"repository_id": 42, "run_id": "7", "run_attempt": "1", "check_run_id": "1000"},
		"tool":   "sha256:abc", "before": []string{},
	})
	if err != nil {
		panic(err)
	}
	return b
}

// issuerKey is the test issuer's key: making one for each test takes long.
var issuerKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

const issuerURL = "https://token.example.com"

// testIssuer signs tokens as a CI service does.
type testIssuer struct {
	key *rsa.PrivateKey
	id  string
}

func newIssuer() *testIssuer { return &testIssuer{issuerKey(), "k1"} }

func (i *testIssuer) jwks(t testing.TB) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: i.id, Algorithm: "RS256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// claimsOf are those of job n of the repository that the test witness serves.
func claimsOf(n int, audience string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": issuerURL, "aud": audience, "iat": now, "nbf": now - 5, "exp": now + 300, "sub": "repo:o/r:ref:refs/heads/main",
		"repository": "o/r", "repository_id": "42", "repository_owner_id": "9", "run_id": "7", "run_attempt": "1",
		"check_run_id": fmt.Sprint(1000 + n), "ref": "refs/heads/main", "sha": strings.Repeat("a", 40), "runner_environment": "github-hosted",
	}
}

func slotOfJob(n int) ID {
	return Slot{issuerURL, "42", "7", "1", fmt.Sprint(1000 + n)}.ID()
}

func (i *testIssuer) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: i.id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// first is the first record of job n's log, with its checkpoint 0 made.
func (i *testIssuer) first(t testing.TB, l *testLog, n int) FirstRecord {
	t.Helper()
	c := l.commitment(slotOfJob(n))
	l.append(t, string(c))
	return FirstRecord{Commitment: c, Checkpoint: string(l.checkpoint(t)), Token: i.token(t, claimsOf(n, Audience(c)))}
}

// rig is a witness on loopback.
type rig struct {
	cfg    Config
	vkey   string
	issuer *testIssuer
	server *Server
	http   *httptest.Server
	client *Client
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{issuer: newIssuer()}
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwks, r.issuer.jwks(t), 0o600); err != nil {
		t.Fatal(err)
	}
	skey, vkey, _, err := NewKey("witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	r.vkey = vkey
	r.cfg = Config{Dir: filepath.Join(t.TempDir(), "records"), Key: skey,
		Issuers: []Issuer{{URL: issuerURL, JWKS: jwks, Owners: []string{"9"}}}}
	for _, c := range change {
		c(&r.cfg)
	}
	r.start(t)
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start(t testing.TB) {
	t.Helper()
	s, err := Open(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.server, r.http = s, httptest.NewServer(s)
	if r.client, err = NewClient(r.http.URL, r.vkey); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) stop() {
	if r.server != nil {
		r.http.Close()
		r.server.Close()
		r.server = nil
	}
}

func (r *rig) restart(t testing.TB) {
	t.Helper()
	r.stop()
	r.start(t)
}

// begin makes the log of job n known and returns it.
func (r *rig) begin(t testing.TB, n int) *testLog {
	t.Helper()
	l := newLog(fmt.Sprintf("run-%d", n))
	if _, err := r.client.FirstRecord(t.Context(), r.issuer.first(t, l, n)); err != nil {
		t.Fatal(err)
	}
	accept(t, l)
	return l
}

func accept(t testing.TB, l *testLog) {
	t.Helper()
	if err := l.growth.Accept(); err != nil {
		t.Fatal(err)
	}
}

func proofOf(t testing.TB, l *testLog) []evidence.Hash {
	t.Helper()
	p, err := l.growth.Proof()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// add grows the log and has it cosigned.
func (r *rig) add(t testing.TB, l *testLog, lines int) []byte {
	t.Helper()
	l.grow(t, lines)
	n := l.checkpoint(t)
	if _, _, err := r.client.AddCheckpoint(t.Context(), l.growth.Old(), proofOf(t, l), [][]byte{n}); err != nil {
		t.Fatal(err)
	}
	accept(t, l)
	return n
}

func (r *rig) record(t testing.TB, n int) *Record {
	t.Helper()
	rec, _, err := r.client.Slot(t.Context(), slotOfJob(n))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// post sends a body and returns the answer as it is.
func (r *rig) post(t testing.TB, path string, body []byte, token string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, r.http.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header.Get("Content-Type")
}

// postAdd sends an add-checkpoint as it is.
func (r *rig) postAdd(t testing.TB, old uint64, proof []evidence.Hash, notes ...[]byte) (int, string, string) {
	t.Helper()
	q := request{old: old, notes: notes}
	for i := range proof {
		q.proof = append(q.proof, proof[i][:])
	}
	return r.post(t, "/add-checkpoint", q.append(nil), "")
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
