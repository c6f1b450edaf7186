package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"
	"github.com/klauspost/compress/s2"

	"github.com/org/edamame-posture/pkg/attest"
)

// ErrNotStored is an attestation that GitHub took and does not give back.
var ErrNotStored = errors.New("GitHub took the attestation, and does not have it when asked")

// maxStored bounds what is read of a stored attestation, in bytes.
const maxStored = 16 << 20

// Attestations is the store of a repository at GitHub:
// https://docs.github.com/rest/repos/attestations. Whoever has the job's token
// with attestations: write can delete from it, so that it is a place to find
// attestations, and proves nothing by what it does not have.
type Attestations struct {
	API        string // base URL, GITHUB_API_URL; empty is api.github.com
	Repository string // OWNER/REPO
	Token      string
}

// client asks until ctx ends.
func (a *Attestations) client(ctx context.Context) (*github.Client, error) {
	owner, repo, ok := strings.Cut(a.Repository, "/")
	if !ok || owner == "" || repo == "" || strings.Contains(repo, "/") {
		return nil, fmt.Errorf("the repository is %.200q, want OWNER/REPO", a.Repository)
	}
	c := github.NewClient(&http.Client{Transport: attest.Transport(ctx, "GitHub's API", nil)}).WithAuthToken(a.Token)
	if a.API != "" {
		base, err := url.Parse(strings.TrimRight(a.API, "/") + "/")
		if err != nil {
			return nil, fmt.Errorf("the API's URL: %w", err)
		}
		c.BaseURL = base
	}
	return c, nil
}

// Store puts a bundle into the store and reads it back by the digest of its
// first subject. It returns the attestation's number. ctx should have a
// deadline: until then a server that is down is asked again.
func (a *Attestations) Store(ctx context.Context, bundle []byte) (int64, error) {
	c, err := a.client(ctx)
	if err != nil {
		return 0, err
	}
	digest, payload, err := subject(bundle)
	if err != nil {
		return 0, err
	}
	req, err := c.NewRequest(http.MethodPost, "repos/"+a.Repository+"/attestations", map[string]json.RawMessage{"bundle": bundle})
	if err != nil {
		return 0, err
	}
	var made struct{ ID json.Number }
	if _, err := c.Do(ctx, req, &made); err != nil {
		return 0, permission(err)
	}
	id, err := made.ID.Int64()
	if err != nil {
		return 0, fmt.Errorf("GitHub answered without the attestation's number: %w", err)
	}
	return id, a.readBack(ctx, c, digest, payload)
}

// lookAgain is how long between two looks for what was just stored.
const lookAgain = 500 * time.Millisecond

// readBack looks for the statement among what the store has for a digest. The
// store may need a moment.
func (a *Attestations) readBack(ctx context.Context, c *github.Client, digest string, payload []byte) error {
	for {
		found, err := a.has(ctx, c, digest, payload)
		if found || err != nil {
			return err
		}
		timer := time.NewTimer(lookAgain)
		if deadline, limited := ctx.Deadline(); limited && time.Until(deadline) < lookAgain {
			timer.Stop()
			return ErrNotStored
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return ErrNotStored
		case <-timer.C:
		}
	}
}

func (a *Attestations) has(ctx context.Context, c *github.Client, digest string, payload []byte) (bool, error) {
	req, err := c.NewRequest(http.MethodGet, "repos/"+a.Repository+"/attestations/sha256:"+digest+"?per_page=100&predicate_type="+url.QueryEscape(attest.PredicateType), nil)
	if err != nil {
		return false, err
	}
	var list struct {
		Attestations []struct {
			Bundle    json.RawMessage
			BundleURL string `json:"bundle_url"`
		}
	}
	resp, err := c.Do(ctx, req, &list)
	if resp != nil && resp.StatusCode == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, permission(err)
	}
	for _, at := range list.Attestations {
		stored := []byte(at.Bundle)
		if len(stored) == 0 || string(stored) == "null" {
			if stored, err = fetch(ctx, at.BundleURL); err != nil {
				return false, err
			}
		}
		if _, theirs, err := subject(stored); err == nil && bytes.Equal(theirs, payload) {
			return true, nil
		}
	}
	return false, nil
}

// fetch reads a bundle that the API names by URL: JSON, compressed by Snappy.
// The token is not sent there.
func fetch(ctx context.Context, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("GitHub names no place of the stored bundle")
	}
	resp, err := (&http.Client{Transport: attest.Transport(ctx, "GitHub's store of attestations", nil)}).Do(req)
	if err != nil {
		return nil, permission(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxStored))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GitHub's store of attestations answered %s", resp.Status)
	}
	if n, err := s2.DecodedLen(data); err != nil || n > maxStored {
		return nil, fmt.Errorf("the stored bundle is not compressed by Snappy, or has more than %d bytes", maxStored)
	}
	return s2.Decode(nil, data)
}

// permission says what to do where the token may not store.
func permission(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var e *attest.ServiceError
	if errors.As(err, &e) && (e.Status == http.StatusForbidden || e.Status == http.StatusUnauthorized) {
		return fmt.Errorf("%w: the job needs 'permissions: attestations: write' (a private repository needs a plan that has attestations, and one that belongs to a user has none)", err)
	}
	return err
}

// subject returns the digest by which a bundle is found, and its statement.
func subject(bundle []byte) (digest string, payload []byte, err error) {
	var b struct {
		DsseEnvelope struct{ Payload []byte }
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return "", nil, fmt.Errorf("the bundle cannot be read: %w", err)
	}
	var s struct {
		Subject []struct{ Digest attest.Digest }
	}
	if err := json.Unmarshal(b.DsseEnvelope.Payload, &s); err != nil {
		return "", nil, fmt.Errorf("the bundle's statement cannot be read: %w", err)
	}
	for _, sub := range s.Subject {
		if raw, err := hex.DecodeString(sub.Digest.SHA256); err == nil && len(raw) == sha256.Size {
			return sub.Digest.SHA256, b.DsseEnvelope.Payload, nil
		}
	}
	return "", nil, errors.New("the bundle's statement has no subject with a SHA-256, by which it could be found")
}
