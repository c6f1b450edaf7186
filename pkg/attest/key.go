package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/youmark/pkcs8"
)

// LoadKey reads a private key for signing from a PEM file's content: ECDSA on
// P-256 or Ed25519, in PKCS #8 (RFC 5958) or, for ECDSA, RFC 5915. One that is
// encrypted, by PBES2 (RFC 8018) or as cosign does it, needs its password;
// nil is no password.
func LoadKey(data, password []byte) (crypto.Signer, error) {
	block, err := onePEM(data)
	if err != nil {
		return nil, err
	}
	var key any
	switch {
	case block.Headers["DEK-Info"] != "":
		return nil, errors.New("the key is encrypted in the old way of openssl, which is weak: encrypt it anew with 'openssl pkcs8 -topk8 -in FILE -out NEW'")
	case strings.HasPrefix(block.Type, "ENCRYPTED"):
		if password == nil {
			return nil, ErrEncrypted
		}
		key, err = decrypt(block, password)
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case block.Type == "PUBLIC KEY":
		return nil, errors.New("this is a public key: the private one signs")
	case block.Type == "CERTIFICATE":
		return nil, errors.New("this is a certificate: the private key signs")
	default:
		return nil, fmt.Errorf("PEM block is %.40q, want PRIVATE KEY: convert it with 'openssl pkcs8 -topk8 -nocrypt -in FILE'", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("the key cannot be read: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign: want ECDSA on P-256 or Ed25519", key)
	}
	return signer, supported(signer.Public())
}

// ErrEncrypted is a key that needs a password, which was not given.
var ErrEncrypted = errors.New("the key is encrypted: say where its password is")

// decrypt opens the two kinds of encrypted keys.
func decrypt(block *pem.Block, password []byte) (any, error) {
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		key, _, err := pkcs8.ParsePrivateKey(block.Bytes, password)
		if err != nil {
			return nil, fmt.Errorf("the password is wrong, or the key damaged: %w", err)
		}
		return key, nil
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		der, err := encrypted.Decrypt(block.Bytes, password)
		if err != nil {
			return nil, fmt.Errorf("the password is wrong, or the key damaged: %w", err)
		}
		return x509.ParsePKCS8PrivateKey(der)
	}
	return nil, fmt.Errorf("PEM block is %.40q, want ENCRYPTED PRIVATE KEY: encrypt it anew with 'openssl pkcs8 -topk8 -in FILE -out NEW'", block.Type)
}

// LoadPublicKey reads a public key from a PEM file's content, in the form of
// RFC 5280 that openssl calls PUBLIC KEY.
func LoadPublicKey(data []byte) (crypto.PublicKey, error) {
	block, err := onePEM(data)
	if err != nil {
		return nil, err
	}
	switch {
	case block.Type == "PUBLIC KEY":
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("this is a private key: 'openssl pkey -in FILE -pubout' gives its public key, which is all that checking needs")
	default:
		return nil, fmt.Errorf("PEM block is %.40q, want PUBLIC KEY", block.Type)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the public key cannot be read: %w", err)
	}
	return pub, supported(pub)
}

// GenerateKey makes a key on P-256, which every Sigstore client can check, and
// returns both halves in PEM.
func GenerateKey() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), nil
}

// KeyID names a public key: the SHA-256 of its DER form in base64, as in the
// hint of a Sigstore bundle.
func KeyID(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

func onePEM(data []byte) (*pem.Block, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block: want a file that begins with -----BEGIN")
	}
	// openssl ecparam writes the curve's name before the key.
	if block.Type == "EC PARAMETERS" {
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("only EC PARAMETERS, and no key after them")
		}
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one PEM block: which of them is meant?")
	}
	return block, nil
}

func supported(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("ECDSA on %s: want P-256, or an Ed25519 key", k.Curve.Params().Name)
	}
	return fmt.Errorf("a key of type %T: want ECDSA on P-256 or Ed25519", pub)
}

func isEd25519(pub crypto.PublicKey) bool {
	_, is := pub.(ed25519.PublicKey)
	return is
}
