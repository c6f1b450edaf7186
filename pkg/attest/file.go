package attest

import (
	"bytes"
	"crypto"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// VerifyFile checks that data is a Sigstore bundle in which the holder of pub
// signed content itself, as `cosign sign-blob --bundle` writes it. It uses no
// network and no clock.
func VerifyFile(data []byte, pub crypto.PublicKey, content []byte) error {
	if len(data) > maxBundle {
		return fmt.Errorf("%w: it has %d bytes, %d are allowed", ErrBundle, len(data), maxBundle)
	}
	b := new(bundle.Bundle)
	if err := b.UnmarshalJSON(data); err != nil {
		return fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if b.GetMessageSignature() == nil {
		return fmt.Errorf("%w: it signs a statement, and not the file itself", ErrBundle)
	}
	if err := supported(pub); err != nil {
		return err
	}
	trusted, err := trust(pub)
	if err != nil {
		return err
	}
	v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	if err != nil {
		return err
	}
	if _, err := v.Verify(b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(content)), verify.WithKey())); err != nil {
		return fmt.Errorf("%w: the file was changed after it was signed, or another key signed it (%w)", ErrSignature, err)
	}
	return nil
}
