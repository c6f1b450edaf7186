package attest

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// kmsRef is how Sigstore names a key that another program keeps.
var kmsRef = regexp.MustCompile(`^[a-z][a-z0-9-]*://.`)

// IsKMS reports whether a name is that of a key in a key management system,
// such as awskms:///alias/release, and not of a file.
func IsKMS(name string) bool { return kmsRef.MatchString(name) }

// LoadKMS returns a key that a plug-in program keeps, by Sigstore's protocol:
// for NAME://KEY it is sigstore-kms-NAME in PATH. No cloud's library is linked
// in. The program is asked for each signature, until ctx ends. Keys are ECDSA
// on P-256.
func LoadKMS(ctx context.Context, ref string) (key crypto.Signer, err error) {
	client, err := cliplugin.LoadSignerVerifier(ctx, ref, crypto.SHA256)
	if errors.Is(err, exec.ErrNotFound) {
		name, _, _ := bytes.Cut([]byte(ref), []byte(":"))
		return nil, fmt.Errorf("%.200q: there is no program sigstore-kms-%s in PATH: install that plug-in", ref, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%.200q: %w", ref, err)
	}
	k := &kmsKey{ctx: ctx, ref: ref, client: client}
	err = k.ask(func() (err error) {
		k.public, err = client.PublicKey(options.WithContext(ctx))
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := supported(k.public); err != nil || isEd25519(k.public) {
		return nil, fmt.Errorf("%.200q: want a key of ECDSA on P-256 (%T)", ref, k.public)
	}
	return k, nil
}

type kmsKey struct {
	ctx    context.Context
	ref    string
	client signature.Signer
	public crypto.PublicKey
}

// Public implements [crypto.Signer].
func (k *kmsKey) Public() crypto.PublicKey { return k.public }

// Sign implements [crypto.Signer].
func (k *kmsKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) (sig []byte, err error) {
	err = k.ask(func() (err error) {
		sig, err = k.client.SignMessage(bytes.NewReader(nil), options.WithContext(k.ctx), options.WithDigest(digest), options.WithCryptoSignerOpts(opts))
		return err
	})
	return sig, err
}

// ask tells which plug-in failed. The protocol's client dereferences an answer
// to another question than was asked.
func (k *kmsKey) ask(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%.200q: the plug-in's answer lacks what it was asked for", k.ref)
		}
	}()
	err = f()
	switch {
	case err == nil:
		return nil
	case k.ctx.Err() != nil:
		return &ServiceError{Service: "key plug-in", URL: k.ref, Tries: 1, Err: k.ctx.Err()}
	}
	return fmt.Errorf("%.200q: %w", k.ref, err)
}
