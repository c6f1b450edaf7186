package sigstore

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-openapi/runtime"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1" // the kind of entry
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
)

// LogV1 is a transparency log with the API of Rekor v1. Rekor itself keeps its
// tree in Trillian, which keeps it in a database; this one keeps it in memory,
// and has Rekor's own code read, check, index and write each entry, and sign
// the checkpoints.
type LogV1 struct {
	URL string
	Key crypto.PublicKey

	key  *ecdsa.PrivateKey
	id   string // SHA-256 of its key, hex
	mu   sync.Mutex
	tree *testonly.Tree
	all  []logged
}

type logged struct {
	uuid string
	body []byte
	keys []string
	at   int64
}

// treeID is the number of the log's one tree.
const treeID = 1

// StartLogV1 starts a log that runs until the test ends.
func StartLogV1(t testing.TB) *LogV1 {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	l := &LogV1{Key: key.Public(), key: key, id: hex.EncodeToString(sum[:]), tree: testonly.New(rfc6962.DefaultHasher)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/log/entries", l.add)
	mux.HandleFunc("GET /api/v1/log/entries/{uuid}", l.get)
	mux.HandleFunc("POST /api/v1/index/retrieve", l.find)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	l.URL = s.URL
	return l
}

// Trusted is the log as a trusted root has it, by its id in hex.
func (l *LogV1) Trusted() (id string, log *root.TransparencyLog) {
	raw, _ := hex.DecodeString(l.id) // was encoded
	return l.id, &root.TransparencyLog{
		BaseURL: l.URL, ID: raw, ValidityPeriodStart: time.Now().Add(-time.Hour),
		HashFunc: crypto.SHA256, PublicKey: l.Key, SignatureHashFunc: crypto.SHA256,
	}
}

func (l *LogV1) add(w http.ResponseWriter, r *http.Request) {
	fail := func(err error) { http.Error(w, fmt.Sprintf(`{"code":400,"message":%q}`, err), http.StatusBadRequest) }
	proposed, err := models.UnmarshalProposedEntry(r.Body, runtime.JSONConsumer())
	if err != nil {
		fail(err)
		return
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		fail(err)
		return
	}
	body, err := types.CanonicalizeEntry(r.Context(), entry)
	if err != nil {
		fail(err)
		return
	}
	keys, err := entry.IndexKeys()
	if err != nil {
		fail(err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tree.AppendData(body)
	e := logged{
		uuid: fmt.Sprintf("%016x%x", treeID, l.tree.LeafHash(l.tree.Size()-1)),
		body: body, keys: keys, at: time.Now().Unix(),
	}
	l.all = append(l.all, e)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", e.uuid)
	w.Header().Set("Location", "/api/v1/log/entries/"+e.uuid)
	w.WriteHeader(http.StatusCreated)
	l.write(w, len(l.all)-1)
}

func (l *LogV1) get(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.all, func(e logged) bool { return e.uuid == r.PathValue("uuid") })
	if i < 0 {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	l.write(w, i)
}

func (l *LogV1) find(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Hash string }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := []string{}
	for _, e := range l.all {
		if slices.Contains(e.keys, asked.Hash) {
			ids = append(ids, e.uuid)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(ids)
}

// write writes an entry with the log's promise and proof.
func (l *LogV1) write(w http.ResponseWriter, i int) {
	e, size := &l.all[i], l.tree.Size()
	body := base64.StdEncoding.EncodeToString(e.body)
	// Canonical JSON (RFC 8785).
	promise := sha256.Sum256(fmt.Appendf(nil, `{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`, body, e.at, l.id, i))
	set, err := ecdsa.SignASN1(rand.Reader, l.key, promise[:])
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	path, err := l.tree.InclusionProof(uint64(i), size)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	hashes := []string{}
	for _, h := range path {
		hashes = append(hashes, hex.EncodeToString(h))
	}
	signer, err := signature.LoadECDSASigner(l.key, crypto.SHA256)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	note, err := util.CreateAndSignCheckpoint(context.Background(), "rekor.localhost", treeID, size, l.tree.Hash(), signer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{e.uuid: map[string]any{
		"body": body, "integratedTime": e.at, "logID": l.id, "logIndex": i,
		"verification": map[string]any{
			"signedEntryTimestamp": set,
			"inclusionProof":       map[string]any{"checkpoint": string(note), "hashes": hashes, "logIndex": i, "rootHash": hex.EncodeToString(l.tree.Hash()), "treeSize": size},
		},
	}})
}
