package attest

import (
	"context"
	"crypto"
	"errors"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

func TestAFileIsCheckedAgainstTheKeyThatSignedIt(t *testing.T) {
	key := func() (crypto.Signer, crypto.PublicKey) {
		private, public, err := GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		signer, err := LoadKey(private, nil)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := LoadPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		return signer, pub
	}
	signer, pub := key()
	_, other := key()
	pair, err := newKeypair(signer)
	if err != nil {
		t.Fatal(err)
	}
	content := []byte("version: 1\nindicators: []\n")
	b, err := sign.Bundle(&sign.PlainData{Data: content}, pair, sign.BundleOptions{Context: context.Background()})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyFile(bundle, pub, content); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		bundle  []byte
		pub     crypto.PublicKey
		content string
		want    error
	}{
		"another key":      {bundle, other, string(content), ErrSignature},
		"a changed file":   {bundle, pub, string(content) + " ", ErrSignature},
		"no bundle":        {[]byte("{}"), pub, string(content), ErrBundle},
		"a huge bundle":    {make([]byte, maxBundle+1), pub, string(content), ErrBundle},
		"half of a bundle": {bundle[:len(bundle)/2], pub, string(content), ErrBundle},
	} {
		if err := VerifyFile(c.bundle, c.pub, []byte(c.content)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
