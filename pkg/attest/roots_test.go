package attest

import (
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// repository is a TUF repository with one target; it returns its first root.
func repository(t *testing.T, target []byte, expires time.Time) (files map[string][]byte, first []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := metadata.KeyFromPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signature.LoadSigner(private, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	root, targets, snapshot, stamp := metadata.Root(expires), metadata.Targets(expires), metadata.Snapshot(expires), metadata.Timestamp(expires)
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		if err := root.Signed.AddKey(key, role); err != nil {
			t.Fatal(err)
		}
	}
	info, err := metadata.TargetFile().FromBytes("trusted_root.json", target, "sha256")
	if err != nil {
		t.Fatal(err)
	}
	targets.Signed.Targets["trusted_root.json"] = info
	files = map[string][]byte{"/targets/" + hex.EncodeToString(info.Hashes["sha256"]) + ".trusted_root.json": target}
	for name, m := range map[string]interface {
		Sign(signature.Signer) (*metadata.Signature, error)
		ToBytes(bool) ([]byte, error)
	}{"/1.root.json": root, "/1.targets.json": targets, "/1.snapshot.json": snapshot, "/timestamp.json": stamp} {
		if _, err := m.Sign(signer); err != nil {
			t.Fatal(err)
		}
		if files[name], err = m.ToBytes(false); err != nil {
			t.Fatal(err)
		}
	}
	return files, files["/1.root.json"]
}

func TestTheCopyOfARootIsUsedWithoutNetworkAndItsSignaturesChecked(t *testing.T) {
	files, first := repository(t, publicRoot, time.Now().Add(time.Hour))
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		data, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	defer srv.Close()
	cache := t.TempDir()
	if _, err := CachedRoot(cache, srv.URL, first, false); !errors.Is(err, ErrOffline) || asked != 0 {
		t.Fatalf("unasked, %d requests: %v", asked, err)
	}
	if _, err := CachedRoot(cache, srv.URL, first, true); err != nil || asked == 0 {
		t.Fatalf("asked for, %d requests: %v", asked, err)
	}
	asked = 0
	r, err := CachedRoot(cache, srv.URL, first, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.RekorLogs()) != len(PublicRoot().RekorLogs()) || asked != 0 {
		t.Errorf("%d logs, %d requests", len(r.RekorLogs()), asked)
	}
	// Whoever can write the copy cannot make a root of their own of it.
	changed := 0
	err = filepath.WalkDir(cache, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Base(filepath.Dir(path)) == "targets" {
			changed++
			return os.WriteFile(path, []byte("{}"), 0o600)
		}
		return err
	})
	if err != nil || changed == 0 {
		t.Fatalf("%d targets changed, %v", changed, err)
	}
	if _, err := CachedRoot(cache, srv.URL, first, false); err == nil {
		t.Error("a changed copy is believed")
	}
	if _, other := repository(t, publicRoot, time.Now().Add(time.Hour)); other != nil {
		if _, err := CachedRoot(cache, srv.URL, other, false); err == nil {
			t.Error("a copy that another root signed is believed")
		}
	}
	if asked != 0 {
		t.Errorf("%d requests were made unasked", asked)
	}
}

func FuzzVerifyIdentity(f *testing.F) {
	private, _, err := GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	key, err := LoadKey(private, nil)
	if err != nil {
		f.Fatal(err)
	}
	b, err := SignPayload(f.Context(), []byte(`{"_type":"`+StatementType+`","subject":[{"name":"a","digest":{"sha256":"00"}}],"predicateType":"x","predicate":{}}`), &Key{Signer: key})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"AA=="}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AA=="}]}}`))
	p := &Policy{Root: PublicRoot(), Identity: Identity{Issuer: "https://token.actions.githubusercontent.com", Workflow: "https://github.com/octo/app/.github/workflows/release.yml"}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := VerifyBundle(b, p); err == nil {
			t.Errorf("accepted: %s", r.Payload)
		}
	})
}
