package witness

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// SaveJWKS asks an OIDC issuer for its keys and puts them in a file, which is
// the old or the new one at every moment. Where it fails it stays the old one.
func SaveJWKS(ctx context.Context, issuer, path string) error {
	b, _, err := fetchJWKS(ctx, issuer)
	if err != nil {
		return err
	}
	return replace(path, b)
}

// KeepJWKS is SaveJWKS for an archive: the keys that are in the file stay, so
// that tokens of then can still be checked. It is no file for a witness, which
// must not take a token that is signed with a key that was given up.
func KeepJWKS(ctx context.Context, issuer, path string) error {
	_, keys, err := fetchJWKS(ctx, issuer)
	if err != nil {
		return err
	}
	kept, err := readJWKS(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, k := range keys.Keys {
		sum, err := k.Thumbprint(crypto.SHA256)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(kept.Keys, func(o jose.JSONWebKey) bool {
			other, err := o.Thumbprint(crypto.SHA256)
			return err == nil && o.KeyID == k.KeyID && bytes.Equal(sum, other)
		}) {
			kept.Keys = append(kept.Keys, k)
		}
	}
	b, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return err
	}
	if _, err := ParseJWKS(b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return replace(path, append(b, '\n'))
}

// FetchJWKS asks an OIDC issuer for its keys. An error of who did not answer
// is [ErrDown].
func FetchJWKS(ctx context.Context, issuer string) (*jose.JSONWebKeySet, error) {
	_, keys, err := fetchJWKS(ctx, issuer)
	return keys, err
}

// replace puts a file in another's place in one step.
func replace(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".jwks-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// fetchJWKS finds the keys by the discovery document and checks that they can
// serve. Both are taken over TLS only, but on this machine.
func fetchJWKS(ctx context.Context, issuer string) ([]byte, *jose.JSONWebKeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	b, err := fetch(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, nil, err
	}
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(b, &discovery); err != nil {
		return nil, nil, fmt.Errorf("the discovery document of %s: %w", issuer, err)
	}
	if discovery.Issuer != issuer {
		return nil, nil, fmt.Errorf("the discovery document of %s is that of %.200q", issuer, discovery.Issuer)
	}
	if b, err = fetch(ctx, discovery.Keys); err != nil {
		return nil, nil, err
	}
	keys, err := ParseJWKS(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", discovery.Keys, err)
	}
	return b, &keys, nil
}

func fetch(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && (u.Scheme != "http" || ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%.200q: want https", address)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDown, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKS+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDown, address, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s answers %s", ErrDown, address, resp.Status)
	}
	return b, nil
}
