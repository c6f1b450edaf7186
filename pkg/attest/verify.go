package attest

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/org/edamame-posture/pkg/evidence"
)

// Kinds of refusal, so that a program can tell them apart.
var (
	ErrBundle    = errors.New("not a bundle this program can check")
	ErrSignature = errors.New("the signature does not fit")
	ErrTrust     = errors.New("the signature is not by the trusted root")
	ErrIdentity  = errors.New("somebody else signed it")
	ErrStatement = errors.New("not a statement about a recording")
	ErrSubject   = errors.New("the statement is about other evidence")
)

// Result is what a verified bundle says.
type Result struct {
	// Statement is nil where the policy asks for another predicate type than
	// this package's.
	Statement     *Statement
	PredicateType string
	Subjects      []Named
	// Payload is the statement's JSON as it was signed.
	Payload []byte

	KeyID string // of the key; empty where a certificate signed
	// Certificate is what Fulcio says of who signed; nil where a key signed.
	Certificate *certificate.Summary
	// Times are when it was signed, as authorities say whom the root trusts.
	Times []verify.TimestampVerificationResult
	// Logged reports that a transparency log which the root trusts has it.
	Logged bool
}

// Named is a subject of any statement, with all its digests.
type Named struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
	// MediaType is [ImageType] of an image.
	MediaType string `json:"mediaType,omitempty"`
}

// maxBundle bounds what is read of a bundle, in bytes. A statement has 100,000
// at most, so another's bundle is refused before any work is done.
const maxBundle = 4 << 20

// VerifyBundle checks that a Sigstore bundle holds a statement by whom the
// policy names, about what it names. It uses no network and no clock: a
// certificate, which is good for minutes, must have been good at the time that
// an authority of the root gives. Each refusal is, or wraps, one of the
// package's errors, most as a [*CheckError]. Whether the statement is about the
// evidence at hand says [Result.About].
func VerifyBundle(data []byte, p *Policy) (*Result, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	r, err := inspect(data, p)
	if err != nil {
		return nil, err
	}
	if r.Certificate != nil {
		if err := p.Identity.matches(r.Certificate); err != nil {
			return nil, err
		}
	}
	want := p.PredicateType
	if want == "" {
		want = PredicateType
	}
	if r.PredicateType != want {
		return nil, &CheckError{Check: "predicate type", Want: want, Got: r.PredicateType, Do: "it says something of another kind", Kind: ErrStatement}
	}
	if want == PredicateType {
		if r.Statement, err = ParseStatement(r.Payload); err != nil {
			return nil, err
		}
	}
	for _, sum := range p.Subjects {
		if !slices.ContainsFunc(r.Subjects, func(s Named) bool { return s.Digest["sha256"] == sum && s.MediaType == "" }) {
			return nil, &CheckError{Check: "subject", Want: "sha256 " + sum, Got: list(r.Subjects), Do: "the file was changed after it was attested, or is another one", Kind: ErrSubject}
		}
	}
	return r, nil
}

// Verify checks that bundle is a statement about the evidence whose
// manifest.json is given, and that the holder of pub signed it.
func Verify(data []byte, pub crypto.PublicKey, manifest []byte) (*Result, error) {
	r, err := VerifyBundle(data, &Policy{Key: pub})
	if err != nil {
		return nil, err
	}
	return r, r.About(manifest)
}

// About checks that the statement is about the evidence whose manifest.json is
// given. What the manifest names is for package evidence to check.
func (r *Result) About(manifest []byte) error {
	if r.Statement == nil {
		return fmt.Errorf("%w: its predicate type is %.200q", ErrStatement, r.PredicateType)
	}
	sum := sha256.Sum256(manifest)
	return r.Statement.matches(manifest, hex.EncodeToString(sum[:]))
}

// inspect checks a bundle's shape, its signature, and what the root must say of
// it, and reads what every statement has. Who signed is not compared, and of a
// policy without key any certificate of the root's is good.
func inspect(data []byte, p *Policy) (*Result, error) {
	b, err := parse(data)
	if err != nil {
		return nil, err
	}
	r := &Result{Payload: b.GetDsseEnvelope().GetPayload()}
	var opts []verify.VerifierOption
	trusted := p.Root
	identity := verify.WithoutIdentitiesUnsafe()
	if p.Key != nil {
		if b.GetVerificationMaterial().GetPublicKey() == nil {
			return nil, &CheckError{Check: "signer", Want: "a key", Got: "a certificate", Do: "check it with a trusted root and an identity, a public key cannot", Kind: ErrBundle}
		}
		if r.KeyID, err = KeyID(p.Key); err != nil {
			return nil, err
		}
		key, err := trust(p.Key)
		if err != nil {
			return nil, err
		}
		trusted, identity = key, verify.WithKey()
		if p.Dated {
			trusted = root.TrustedMaterialCollection{key, p.Root}
		}
	} else if b.GetVerificationMaterial().GetPublicKey() != nil {
		return nil, &CheckError{Check: "signer", Want: "a certificate", Got: "a key", Do: "check it with the public key", Kind: ErrBundle}
	}
	switch {
	case p.Key != nil && !p.Dated:
		opts = append(opts, verify.WithNoObserverTimestamps())
	default:
		opts = append(opts, verify.WithObserverTimestamps(1))
		if r.Logged = len(p.Root.RekorLogs()) > 0 && (!p.LogOptional || len(b.GetVerificationMaterial().GetTlogEntries()) > 0); r.Logged {
			opts = append(opts, verify.WithTransparencyLog(1))
		}
		if p.Key == nil && len(p.Root.CTLogs()) > 0 && !p.SCTOptional {
			opts = append(opts, verify.WithSignedCertificateTimestamps(1))
		}
	}
	v, err := verify.NewVerifier(trusted, append(opts, verify.WithoutStatementPredicate())...)
	if err != nil {
		return nil, err
	}
	res, err := v.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), identity))
	if err != nil {
		return nil, explain(err, b, p, r)
	}
	r.Certificate, r.Times = res.Signature.Certificate, res.VerifiedTimestamps
	if r.Certificate != nil {
		if err := oneName(b); err != nil {
			return nil, err
		}
	}
	return r, r.read()
}

// oneName refuses a certificate with several subjects, of which a policy would
// be compared with one.
func oneName(b *bundle.Bundle) error {
	content, err := b.VerificationContent()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if n := len(cryptoutils.GetSubjectAlternateNames(content.Certificate())); n != 1 {
		return &CheckError{Check: "names in the certificate", Want: "1", Got: strconv.Itoa(n), Kind: ErrIdentity}
	}
	return nil
}

// explain says which of the library's checks failed, and what that means.
func explain(err error, b *bundle.Bundle, p *Policy, r *Result) error {
	e := &CheckError{Kind: ErrTrust, Cause: err}
	text := err.Error()
	step := func(begin string) bool {
		cut, is := strings.CutPrefix(text, begin+": ")
		if is {
			e.Cause = &shorter{cut, err}
		}
		return is
	}
	switch {
	case step("failed to verify log inclusion"):
		e.Check, e.Do = "transparency log", "the statement was changed after it was logged, or no log of the trusted root has it"
		if len(b.GetVerificationMaterial().GetTlogEntries()) == 0 {
			e.Do = "it was signed without a log, and the trusted root has one: sign with the log, or let bundles without one pass"
		}
	case step("failed to verify timestamps"):
		e.Check, e.Do = "time of the signature", "no authority of the trusted root says when it was made, and a certificate is good for minutes only: sign with a timestamp authority"
	case step("failed to verify leaf certificate"):
		e.Check, e.Do = "certificate", "no certificate authority of the trusted root gave it, or it was not valid when it signed"
	case step("failed to verify signed certificate timestamp"):
		e.Check, e.Do = "certificate transparency", "no log of the trusted root has the certificate"
	case step("failed to verify signature"), step("failed to get signature verifier"):
		e.Kind, e.Check, e.Do = ErrSignature, "signature", "the statement was changed after it was signed, or another key signed it"
		if hint := b.GetVerificationMaterial().GetPublicKey().GetHint(); p.Key != nil && hint != "" && hint != r.KeyID {
			e.Check, e.Want, e.Got = "key", r.KeyID, hint
			e.Do = "it was made with the key that it names, and another was given to check it"
		}
	default:
		e.Kind, e.Check = ErrBundle, "verification"
	}
	return e
}

// shorter is an error without the words that its check says already.
type shorter struct {
	text string
	err  error
}

func (s *shorter) Error() string { return s.text }
func (s *shorter) Unwrap() error { return s.err }

// read reads what every statement has.
func (r *Result) read() error {
	if err := checkJSON(r.Payload); err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	var s struct {
		Type          string  `json:"_type"`
		Subject       []Named `json:"subject"`
		PredicateType string  `json:"predicateType"`
	}
	if err := json.Unmarshal(r.Payload, &s); err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if s.Type != StatementType && s.Type != oldStatementType {
		return &CheckError{Check: "statement type", Want: StatementType, Got: s.Type, Kind: ErrStatement}
	}
	if n := len(s.Subject); n == 0 || n > maxSubjects {
		return &CheckError{Check: "number of subjects", Want: fmt.Sprintf("1 to %d", maxSubjects), Got: strconv.Itoa(n), Kind: ErrStatement}
	}
	for _, sub := range s.Subject {
		if len(sub.Digest) == 0 {
			return &CheckError{Check: "subject", Want: "a digest", Got: fmt.Sprintf("%.80q by its name only", sub.Name), Do: "a name proves nothing of a file", Kind: ErrStatement}
		}
	}
	r.PredicateType, r.Subjects = s.PredicateType, s.Subject
	return nil
}

// parse reads a bundle as far as it can be read before its signature is
// checked.
func parse(data []byte) (*bundle.Bundle, error) {
	if len(data) > maxBundle {
		return nil, fmt.Errorf("%w: it has %d bytes, %d are allowed", ErrBundle, len(data), maxBundle)
	}
	if err := checkJSON(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	b := new(bundle.Bundle)
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	env := b.GetDsseEnvelope()
	if env == nil {
		return nil, fmt.Errorf("%w: it signs a bare file, and not a statement", ErrBundle)
	}
	if n := len(env.GetSignatures()); n != 1 {
		return nil, &CheckError{Check: "signatures in the envelope", Want: "1", Got: strconv.Itoa(n), Do: "of several, two programs may check two different ones", Kind: ErrBundle}
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
	if err := checkJSON(payload); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
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
		return &CheckError{Check: "evidence", Want: ManifestName + " sha256 " + sum, Got: got.Name + " sha256 " + got.Digest.SHA256,
			Do: "the evidence was changed after it was signed, or is that of another run", Kind: ErrSubject}
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

func list(subjects []Named) string {
	out := ""
	for i, sub := range subjects[:min(len(subjects), 3)] {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%.80s sha256 %.80s", sub.Name, sub.Digest["sha256"])
	}
	if n := len(subjects) - 3; n > 0 {
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
