package attest

import (
	_ "embed" // the public root
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
)

//go:embed instances/public.trusted_root.json
var publicRoot []byte

// maxRoot bounds a trusted root, in bytes.
const maxRoot = 1 << 20

// LoadTrustedRoot reads a trusted root: the certificates and keys of the
// Sigstore whose signatures are believed.
func LoadTrustedRoot(data []byte) (root.TrustedMaterial, error) {
	if len(data) > maxRoot {
		return nil, fmt.Errorf("trusted root: it has %d bytes, %d are allowed", len(data), maxRoot)
	}
	r, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("trusted root: %w (one root in JSON is wanted; of several lines, as 'gh attestation trusted-root' prints them, give one)", err)
	}
	if len(r.FulcioCertificateAuthorities()) == 0 {
		return nil, errors.New("trusted root: it names no certificate authority")
	}
	return r, nil
}

// PublicRoot is that of the public good instance, as it was when this program
// was made.
func PublicRoot() root.TrustedMaterial {
	r, err := LoadTrustedRoot(publicRoot)
	if err != nil {
		panic("attest: the embedded " + err.Error())
	}
	return r
}

// ErrOffline is what would have to be fetched where no network may be used.
var ErrOffline = errors.New("it would have to be fetched, and nothing may be fetched unless asked")

// CachedRoot returns the trusted root of a TUF repository (The Update
// Framework), such as the public instance's, from the copy that an earlier
// client left in folder cache, and its signatures are checked. Only with fetch
// is the network used, to bring it up to date. first is the repository's
// root.json that is believed at the beginning; nil is the public instance's.
func CachedRoot(cache, mirror string, first []byte, fetch bool) (root.TrustedMaterial, error) {
	o := tuf.DefaultOptions().WithForceCache()
	if cache != "" {
		o = o.WithCachePath(cache)
	}
	if mirror != "" {
		o = o.WithRepositoryBaseURL(mirror)
	}
	if first != nil {
		o = o.WithRoot(first)
	}
	if !fetch {
		if _, err := os.Stat(filepath.Join(o.CachePath, tuf.URLToPath(o.RepositoryBaseURL))); err != nil {
			return nil, fmt.Errorf("there is no copy of %s in %s: %w", o.RepositoryBaseURL, o.CachePath, ErrOffline)
		}
		o = o.WithFetcher(offline{})
	}
	c, err := tuf.New(o)
	if err != nil {
		return nil, fmt.Errorf("the copy of %s in %s cannot be used: %w", o.RepositoryBaseURL, o.CachePath, err)
	}
	data, err := c.GetTarget("trusted_root.json")
	if err != nil {
		return nil, fmt.Errorf("the trusted root of %s: %w", o.RepositoryBaseURL, err)
	}
	return LoadTrustedRoot(data)
}

// offline is a fetcher that fetches nothing.
type offline struct{}

// DownloadFile implements the fetcher of go-tuf.
func (offline) DownloadFile(string, int64, time.Duration) ([]byte, error) { return nil, ErrOffline }
