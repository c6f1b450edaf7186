package sigstore

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// write asks the servers for their certificates and writes the files that tell
// clients whom to trust and whom to ask.
func (r *Rig) write(dir string, ctKey crypto.PublicKey, log ed25519.PublicKey) error {
	// A bit before now, since the certificates are a moment older.
	from := time.Now().Add(-time.Hour)
	answer, err := get(r.Fulcio + "/api/v2/trustBundle")
	if err != nil {
		return err
	}
	var bundle struct {
		Chains []struct{ Certificates []string }
	}
	if err := json.Unmarshal(answer, &bundle); err != nil {
		return fmt.Errorf("reading Fulcio's trust bundle: %w", err)
	}
	if len(bundle.Chains) != 1 {
		return fmt.Errorf("the trust bundle of Fulcio has %d chains", len(bundle.Chains))
	}
	var text []byte
	for _, c := range bundle.Chains[0].Certificates {
		text = append(text, c...)
		text = append(text, '\n')
	}
	cas, err := certificates(text)
	if err != nil {
		return fmt.Errorf("reading Fulcio's trust bundle: %w", err)
	}
	if text, err = Certificates(r.TSA); err != nil {
		return err
	}
	tsas, err := certificates(text)
	if err != nil {
		return fmt.Errorf("the timestamp authority's certificates: %w", err)
	}
	if len(tsas) < 2 {
		return errors.New("the timestamp authority has no certificate of its own")
	}
	der, err := x509.MarshalPKIXPublicKey(ctKey)
	if err != nil {
		return err
	}
	ctID := sha256.Sum256(der)
	ctLogs := map[string]*root.TransparencyLog{hex.EncodeToString(ctID[:]): {
		BaseURL: "http://127.0.0.1/log", ID: ctID[:], ValidityPeriodStart: from,
		HashFunc: crypto.SHA256, PublicKey: ctKey, SignatureHashFunc: crypto.SHA256,
	}}
	fulcio := []root.CertificateAuthority{&root.FulcioCertificateAuthority{
		Root: cas[len(cas)-1], Intermediates: cas[:len(cas)-1], ValidityPeriodStart: from, URI: r.Fulcio,
	}}
	tsa := []root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
		Leaf: tsas[0], Intermediates: tsas[1 : len(tsas)-1], Root: tsas[len(tsas)-1], ValidityPeriodStart: from, URI: r.TSA,
	}}
	service := func(url string, version uint32) root.Service {
		return root.Service{URL: url, MajorAPIVersion: version, ValidityPeriodStart: from, Operator: "rig"}
	}
	logs := map[string]*root.TransparencyLog{}
	var logServices []root.Service
	if log != nil {
		_, id, err := note.KeyHash(rekorOrigin, log)
		if err != nil {
			return err
		}
		logs[hex.EncodeToString(id)] = &root.TransparencyLog{
			BaseURL: r.Rekor, ID: id, ValidityPeriodStart: from,
			HashFunc: crypto.SHA256, PublicKey: log, SignatureHashFunc: crypto.SHA512,
		}
		logServices = []root.Service{service(r.Rekor, 2)}
	}
	if r.LogV1 != nil {
		id, log := r.LogV1.Trusted()
		logs[id] = log
		logServices = []root.Service{service(r.LogV1.URL, 1)}
	}
	save := func(name string, v json.Marshaler, err error) (string, error) {
		if err != nil {
			return "", err
		}
		b, err := v.MarshalJSON()
		if err != nil {
			return "", err
		}
		path := filepath.Join(dir, name)
		return path, os.WriteFile(path, b, 0o600)
	}
	trusted := func(name string, logs map[string]*root.TransparencyLog) (string, error) {
		tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, fulcio, ctLogs, tsa, logs)
		return save(name, tr, err)
	}
	config := func(name string, logs []root.Service) (string, error) {
		any := root.ServiceConfiguration{Selector: prototrustroot.ServiceSelector_ANY}
		c, err := root.NewSigningConfig(root.SigningConfigMediaType02, []root.Service{service(r.Fulcio, 1)}, nil, logs, any,
			[]root.Service{service(r.TSA+"/api/v1/timestamp", 1)}, any)
		return save(name, c, err)
	}
	if r.TrustedRoot, err = trusted("trusted_root.json", logs); err != nil {
		return err
	}
	if r.RootNoLog, err = trusted("trusted_root_no_log.json", nil); err != nil {
		return err
	}
	if r.SigningConfig, err = config("signing_config.json", logServices); err != nil {
		return err
	}
	r.ConfigNoLog, err = config("signing_config_no_log.json", nil)
	return err
}

// Certificates returns the chain of a timestamp authority, in PEM.
func Certificates(tsa string) ([]byte, error) { return get(tsa + "/api/v1/timestamp/certchain") }

// certificates reads a chain in PEM, the leaf first.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("there are none")
	}
	return out, nil
}
