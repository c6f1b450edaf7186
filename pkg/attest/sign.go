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
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// Sign signs a statement with a local key and returns a Sigstore bundle v0.3 in
// JSON. The bundle was verified before it is returned. Nothing is sent
// anywhere.
func Sign(ctx context.Context, s *Statement, key crypto.Signer) ([]byte, error) {
	payload, err := s.Encode()
	if err != nil {
		return nil, err
	}
	pair, err := newKeypair(key)
	if err != nil {
		return nil, err
	}
	trusted, err := trust(key.Public())
	if err != nil {
		return nil, err
	}
	b, err := sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: PayloadType}, pair,
		sign.BundleOptions{Context: ctx, TrustedRoot: trusted})
	if err != nil {
		return nil, fmt.Errorf("signing the statement: %w", err)
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
