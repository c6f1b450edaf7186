package witness

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// An issuer changes its key: an archive has both, and a token of before is
// still checked, where a witness's file has the new one alone.
func TestAnArchiveKeepsTheKeysThatAnIssuerGaveUp(t *testing.T) {
	keys := jose.JSONWebKeySet{}
	var at *httptest.Server
	at = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_ = json.NewEncoder(w).Encode(keys)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": at.URL, "jwks_uri": at.URL + "/keys"})
	}))
	defer at.Close()
	old := newIssuer()
	token := old.token(t, claimsOf(1, "a"))
	first := jose.JSONWebKey{Key: old.key.Public(), KeyID: old.id}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	archive, now := filepath.Join(t.TempDir(), "archive.json"), filepath.Join(t.TempDir(), "now.json")
	for _, k := range []jose.JSONWebKey{first, first, {Key: other, KeyID: "k2"}, {Key: other, KeyID: old.id}} {
		keys.Keys = []jose.JSONWebKey{k}
		if err := errors.Join(KeepJWKS(t.Context(), at.URL, archive), SaveJWKS(t.Context(), at.URL, now)); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := readJWKS(archive)
	if err != nil || len(kept.Keys) != 3 {
		t.Fatalf("%v, %+v", err, kept)
	}
	// Also where another key has its name by now.
	if got, err := OpenToken(token, &kept); err != nil || got.Issuer != issuerURL {
		t.Errorf("a token of before: %v", err)
	}
	if kept, err = readJWKS(now); err != nil || len(kept.Keys) != 1 {
		t.Fatalf("%v, %+v", err, kept)
	}
	if _, err := OpenToken(token, &kept); err == nil {
		t.Error("a witness takes what a key signs that was given up")
	}
	kept.Keys[0].KeyID = "k2"
	if _, err := OpenToken(token, &kept); !errors.Is(err, ErrNoKey) {
		t.Errorf("a key that is not there: %v", err)
	}
	// Where it fails the archive stays as it is.
	before, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	at.Close()
	if err := KeepJWKS(t.Context(), at.URL, archive); !errors.Is(err, ErrDown) {
		t.Errorf("nobody answers: %v", err)
	}
	if after, err := os.ReadFile(archive); err != nil || string(after) != string(before) {
		t.Errorf("the archive was changed: %v", err)
	}
}
