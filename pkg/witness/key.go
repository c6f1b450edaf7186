package witness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	cosign "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// ReadKey reads a signer key from a file that only its owner may read.
func ReadKey(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: others may read it (mode %04o): chmod 600", path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxNote))
	return strings.TrimSpace(string(b)), err
}

// NewKey makes a key of that name, the host name and path of a witness without
// scheme. It returns the signer key, and two forms of the verifier key: the one
// that this package's client and gate take, and that of C2SP cosignature/v1.
func NewKey(name string) (signer, verifier, cosigner string, err error) {
	if signer, verifier, err = note.GenerateKey(nil, name); err != nil {
		return "", "", "", err
	}
	if _, err := note.NewVerifier(verifier); err != nil {
		return "", "", "", fmt.Errorf("name %.160q: use no spaces and no plus", name)
	}
	cosigner, err = cosign.VKeyToCosignatureV1(verifier)
	return signer, verifier, cosigner, err
}

// WriteKey writes a signer key to a file that must not be there, for the user
// alone.
func WriteKey(path, key string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(key + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// CheckKey says what is wrong with a witness's verifier key.
func CheckKey(verifier string) error {
	_, _, err := verifiersOf(verifier)
	return err
}

// verifiersOf returns what checks a witness's records, and its cosignatures.
func verifiersOf(key string) (record, cosigner note.Verifier, err error) {
	if record, err = note.NewVerifier(key); err == nil {
		cosigner, err = cosign.NewVerifierForCosignatureV1(key)
	}
	if err != nil {
		err = fmt.Errorf("witness key %.200q: %w", key, err)
	}
	return record, cosigner, err
}
