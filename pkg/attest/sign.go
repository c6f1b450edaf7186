package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// A Signer makes a signature, and gets what says whose it is and when it was
// made: [Key] or [Keyless].
type Signer interface {
	material(context.Context) (sign.Keypair, sign.BundleOptions, error)
	// check verifies a bundle that was made so.
	check(bundle []byte) error
}

// Key signs with a key that is at hand, from [LoadKey] or [LoadKMS].
type Key struct {
	Signer crypto.Signer
	// Services, where there are any, say when it was signed and log it; its
	// certificate authority is not asked.
	Services *Services
	// Root is what their answers are checked against.
	Root root.TrustedMaterial
}

func (k *Key) material(ctx context.Context) (sign.Keypair, sign.BundleOptions, error) {
	var opts sign.BundleOptions
	pair, err := newKeypair(k.Signer)
	if err != nil || k.Services == nil {
		return pair, opts, err
	}
	if err := k.Services.supportedByLogs(k.Signer.Public()); err != nil {
		return nil, opts, err
	}
	opts.TimestampAuthorities, opts.TransparencyLogs = k.Services.timestampAuthorities(ctx), k.Services.logs(ctx)
	return pair, opts, nil
}

func (k *Key) check(bundle []byte) error {
	p := &Policy{Key: k.Signer.Public()}
	if k.Services != nil && k.Root != nil {
		p.Root, p.Dated = k.Root, true
	}
	_, err := inspect(bundle, p)
	return err
}

// Sign signs a statement and returns a Sigstore bundle v0.3 in JSON. The
// bundle was verified before it is returned. Servers are asked until ctx ends;
// a [*ServiceError] says that one of them was the reason why there is no
// signature.
func Sign(ctx context.Context, s *Statement, by Signer) ([]byte, error) {
	payload, err := s.Encode()
	if err != nil {
		return nil, err
	}
	return SignPayload(ctx, payload, by)
}

// SignPayload signs any in-toto statement, as [Sign] does. What it says is not
// looked at.
func SignPayload(ctx context.Context, payload []byte, by Signer) ([]byte, error) {
	out, err := signOnce(ctx, payload, by)
	if errors.Is(err, errLogged) {
		out, err = signOnce(ctx, payload, by)
	}
	if err != nil {
		return nil, fmt.Errorf("signing the statement: %w", err)
	}
	if err := by.check(out); err != nil {
		return nil, fmt.Errorf("the new signature was checked and is not good: is the trusted root that of the signing servers? %w", err)
	}
	return out, nil
}

func signOnce(ctx context.Context, payload []byte, by Signer) ([]byte, error) {
	pair, opts, err := by.material(ctx)
	if err != nil {
		return nil, err
	}
	opts.Context = ctx
	b, err := sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: PayloadType}, pair, opts)
	if err != nil {
		return nil, withoutURL(err)
	}
	raw, err := protojson.Marshal(b)
	if err != nil {
		return nil, err
	}
	// protojson varies its white space from build to build.
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// keypair is a local key as sigstore-go signs with it.
type keypair struct {
	key       crypto.Signer
	hint      string
	algorithm protocommon.PublicKeyDetails
	hash      protocommon.HashAlgorithm
	name      string
}

func newKeypair(key crypto.Signer) (*keypair, error) {
	if err := supported(key.Public()); err != nil {
		return nil, err
	}
	hint, err := KeyID(key.Public())
	if err != nil {
		return nil, err
	}
	k := &keypair{key: key, hint: hint}
	switch key.Public().(type) {
	case *ecdsa.PublicKey:
		k.algorithm, k.hash, k.name = protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, protocommon.HashAlgorithm_SHA2_256, "ECDSA"
	case ed25519.PublicKey:
		k.algorithm, k.hash, k.name = protocommon.PublicKeyDetails_PKIX_ED25519, protocommon.HashAlgorithm_SHA2_512, "ED25519"
	}
	return k, nil
}

func (k *keypair) GetHashAlgorithm() protocommon.HashAlgorithm       { return k.hash }
func (k *keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails { return k.algorithm }
func (k *keypair) GetHint() []byte                                   { return []byte(k.hint) }
func (k *keypair) GetKeyAlgorithm() string                           { return k.name }
func (k *keypair) GetPublicKey() crypto.PublicKey                    { return k.key.Public() }

func (k *keypair) GetPublicKeyPem() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k.key.Public())
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// SignData signs data; Ed25519 takes it whole (RFC 8032, PureEdDSA).
func (k *keypair) SignData(_ context.Context, data []byte) (signature, digest []byte, err error) {
	if _, ok := k.key.Public().(ed25519.PublicKey); ok {
		signature, err = k.key.Sign(rand.Reader, data, crypto.Hash(0))
		return signature, data, err
	}
	sum := sha256.Sum256(data)
	signature, err = k.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	return signature, sum[:], err
}
