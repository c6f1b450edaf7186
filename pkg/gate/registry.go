package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/org/edamame-posture/pkg/attest"
)

// bundleType is the media type of a Sigstore bundle in a registry, but for its
// version.
const bundleType = "application/vnd.dev.sigstore.bundle"

// Referrers returns the Sigstore bundles that a registry holds about a
// manifest, by the referrers API of OCI distribution 1.1 or its tag. repository
// is HOST/NAME. Anybody who may push there can put some beside it, so each is
// checked as any other.
func Referrers(ctx context.Context, repository, sha256 string) ([]Candidate, error) {
	ref, err := name.NewDigest(repository + "@sha256:" + sha256)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	opts := []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithJobs(1),
	}
	list, err := referrers(ref, opts)
	var answered *transport.Error
	switch {
	case err == nil:
		return list, nil
	case errors.As(err, &answered) && !answered.Temporary():
	case errors.As(err, &answered), isNetwork(err):
		err = fmt.Errorf("%w: %w", attest.ErrUnavailable, err)
	}
	return nil, fmt.Errorf("registry %s: %w", repository, err)
}

// isNetwork reports whether nobody answered.
func isNetwork(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

func referrers(ref name.Digest, opts []remote.Option) ([]Candidate, error) {
	index, err := remote.Referrers(ref, opts...)
	var te *transport.Error
	if errors.As(err, &te) && te.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var out []Candidate
	for _, d := range manifest.Manifests {
		kind := d.ArtifactType
		if kind != "" && !isBundle(kind) {
			continue
		}
		if len(out) == maxCandidates {
			return nil, fmt.Errorf("more than %d bundles", maxCandidates)
		}
		img, err := remote.Image(ref.Context().Digest(d.Digest.String()), opts...)
		if err != nil {
			return nil, err
		}
		m, err := img.Manifest()
		if err != nil {
			return nil, err
		}
		if len(m.Layers) != 1 || !isBundle(string(m.Layers[0].MediaType)) {
			continue
		}
		layers, err := img.Layers()
		if err != nil {
			return nil, err
		}
		// As it is: nothing is unpacked.
		r, err := layers[0].Compressed()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(r, maxStatement+1))
		r.Close()
		if err != nil {
			return nil, err
		}
		if len(b) > maxStatement {
			return nil, fmt.Errorf("%s is longer than %d bytes", d.Digest, maxStatement)
		}
		out = append(out, Candidate{Where: ref.Context().String() + "@" + d.Digest.String(), Bundle: b})
	}
	return out, nil
}

func isBundle(mediaType string) bool {
	return len(mediaType) >= len(bundleType) && mediaType[:len(bundleType)] == bundleType
}
