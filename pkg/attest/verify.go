package attest

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/org/edamame-posture/pkg/evidence"
)

// Errors that Verify wraps, so that a program can tell them apart.
var (
	ErrBundle    = errors.New("not a bundle this program can check")
	ErrSignature = errors.New("the signature does not fit")
	ErrStatement = errors.New("not a statement about a recording")
	ErrSubject   = errors.New("the statement is about other evidence")
)

// Result is what a verified bundle says.
type Result struct {
	Statement *Statement
	KeyID     string
	// Payload is the statement's JSON as it was signed.
	Payload []byte
}

// maxBundle bounds what is read of a bundle, in bytes. A statement has 100,000
// at most, so another's bundle is refused before any work is done.
const maxBundle = 4 << 20

// Verify checks that bundle is a statement about the evidence whose
// manifest.json is given, and that the holder of pub signed it. It uses no
// network and no clock. What the manifest names is for package evidence to
// check.
func Verify(data []byte, pub crypto.PublicKey, manifest []byte) (*Result, error) {
	b, err := parse(data)
	if err != nil {
		return nil, err
	}
	id, err := KeyID(pub)
	if err != nil {
		return nil, err
	}
	if err := supported(pub); err != nil {
		return nil, err
	}
	trusted, err := trust(pub)
	if err != nil {
		return nil, err
	}
	v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())
	if err != nil {
		return nil, err
	}
	// The signature alone first, so that an error can say which of the two is
	// wrong; the subject with the same verifier below.
	if _, err := v.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithKey())); err != nil {
		if hint := b.GetVerificationMaterial().GetPublicKey().GetHint(); hint != "" && hint != id {
			return nil, fmt.Errorf("%w: it was made with the key %.80q, and %q was given to check it", ErrSignature, hint, id)
		}
		return nil, fmt.Errorf("%w: the statement was changed after it was signed, or another key signed it (%w)", ErrSignature, err)
	}
	payload := b.GetDsseEnvelope().GetPayload()
	s, err := ParseStatement(payload)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(manifest)
	if _, err := v.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum[:]), verify.WithKey())); err != nil {
		return nil, fmt.Errorf("%w: %s here has the SHA-256 %s, the statement names %s", ErrSubject, ManifestName, hex.EncodeToString(sum[:]), subjects(s))
	}
	if err := s.matches(manifest, hex.EncodeToString(sum[:])); err != nil {
		return nil, err
	}
	return &Result{Statement: s, KeyID: id, Payload: payload}, nil
}

// parse reads a bundle as far as it can be read before its signature is
// checked.
func parse(data []byte) (*bundle.Bundle, error) {
	if len(data) > maxBundle {
		return nil, fmt.Errorf("%w: it has %d bytes, %d are allowed", ErrBundle, len(data), maxBundle)
	}
	b := new(bundle.Bundle)
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if b.GetVerificationMaterial().GetPublicKey() == nil {
		return nil, fmt.Errorf("%w: it was signed with a certificate, which a public key cannot check", ErrBundle)
	}
	env := b.GetDsseEnvelope()
	if env == nil {
		return nil, fmt.Errorf("%w: it signs a bare file, and not a statement", ErrBundle)
	}
	if env.GetPayloadType() != PayloadType {
		return nil, fmt.Errorf("%w: its payload is %.80q, want %q", ErrBundle, env.GetPayloadType(), PayloadType)
	}
	return b, nil
}

// ParseStatement reads a statement of this package. It refuses other
// predicate types: a signature under another statement of the same key proves
// nothing about a recording.
func ParseStatement(payload []byte) (*Statement, error) {
	var s Statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if s.Predicate.Monitor.Type != MonitorType {
		return nil, fmt.Errorf("%w: its monitor is %.200q, want %q", ErrStatement, s.Predicate.Monitor.Type, MonitorType)
	}
	return &s, nil
}

// matches compares what the statement says of the manifest with the manifest.
func (s *Statement) matches(manifest []byte, sum string) error {
	if got := s.Subject[0]; got.Name != ManifestName || got.Digest.SHA256 != sum {
		return fmt.Errorf("%w: its first subject is %.80q with %.80q, want %s with %s", ErrSubject, got.Name, got.Digest.SHA256, ManifestName, sum)
	}
	var m evidence.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return fmt.Errorf("%s: %w", ManifestName, err)
	}
	log := s.Predicate.EventLog
	if log.Size != m.Tree.Size || log.Root != m.Tree.Root.String() || log.Lost != m.Lost {
		return fmt.Errorf("%w: it says the log has %d events, root %.80s, %d lost; the manifest says %d, %s, %d",
			ErrSubject, log.Size, log.Root, log.Lost, m.Tree.Size, m.Tree.Root, m.Lost)
	}
	if s.Predicate.MonitoredProcess.Event != m.Run {
		return fmt.Errorf("%w: it says the run is %.200q, the manifest says %q", ErrSubject, s.Predicate.MonitoredProcess.Event, m.Run)
	}
	return nil
}

func subjects(s *Statement) string {
	out := ""
	for i, sub := range s.Subject[:min(len(s.Subject), 3)] {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%.80q with %.80s", sub.Name, sub.Digest.SHA256)
	}
	if n := len(s.Subject) - 3; n > 0 {
		out += fmt.Sprintf(" and %d more", n)
	}
	return out
}

// trust is trust in one public key, whatever a bundle says its key is.
func trust(pub crypto.PublicKey) (root.TrustedMaterial, error) {
	v, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	key := root.NewExpiringKey(v, time.Time{}, time.Time{})
	return root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil }), nil
}
