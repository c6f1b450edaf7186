package thirdparty

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/gate"
)

// decided is what a gate says of the artifact.
func decided(outcome gate.Status) *gate.Decision {
	return &gate.Decision{
		Version: 1, Outcome: outcome, Level: gate.E2, Time: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		Policy: gate.PolicyName{File: "release-gate.yml", SHA256: strings.Repeat("ab", 32)}, Artifact: []gate.Artifact{{Name: "app.tgz", SHA256: releaseSum}},
	}
}

var about = gate.Summary{Verifier: "https://example.com/gate", Resource: "pkg:generic/app@1", Version: "1.0.0"}

// summary is the envelope that `gate --vsa-dsse` writes, and the public key.
func summary(t *testing.T, d *gate.Decision) (envelope, public []byte) {
	t.Helper()
	payload, err := d.VSA(about)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := attest.SignPayload(t.Context(), payload, &attest.Key{Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	id, err := attest.KeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	if envelope, err = gate.Envelope(bundle, hex.EncodeToString(raw)); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return envelope, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// payload is the statement in an envelope.
func payload(t *testing.T, envelope []byte) []byte {
	t.Helper()
	var e struct{ Payload []byte }
	if err := json.Unmarshal(envelope, &e); err != nil {
		t.Fatal(err)
	}
	return e.Payload
}

func TestSlsaVerifierTakesTheSummaryOfAGateThatPassed(t *testing.T) {
	slsa := program(t, "bin/slsa-verifier-v2.7.1", "make thirdparty")
	passed, key := summary(t, decided(gate.Passed))
	refused, otherKey := summary(t, decided(gate.Refused))
	verify := func(vsa, key []byte, change ...string) (string, error) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "vsa.json"), vsa)
		write(t, filepath.Join(dir, "key.pub"), key)
		block, _ := pem.Decode(key)
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		id, err := attest.KeyID(pub)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		args := map[string]string{
			"--attestation-path": filepath.Join(dir, "vsa.json"), "--public-key-path": filepath.Join(dir, "key.pub"), "--public-key-id": hex.EncodeToString(raw),
			"--resource-uri": about.Resource, "--verifier-id": about.Verifier, "--verified-level": "EDAMAME_POSTURE_E2", "--subject-digest": "sha256:" + releaseSum,
		}
		for i := 0; i+1 < len(change); i += 2 {
			args[change[i]] = change[i+1]
		}
		list := []string{"verify-vsa"}
		for name, value := range args {
			list = append(list, name, value)
		}
		cmd := exec.Command(slsa, list...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := verify(passed, key); err != nil || !strings.Contains(out, "PASSED") {
		t.Fatalf("%v: %s", err, out)
	}
	if *keep != "" {
		write(t, filepath.Join(*keep, "slsa-verifier-v2.7.1.vsa.json"), passed)
	}
	changed := bytes.Replace(passed, []byte(base64.StdEncoding.EncodeToString(payload(t, passed))),
		[]byte(base64.StdEncoding.EncodeToString(bytes.ReplaceAll(payload(t, passed), []byte("E2"), []byte("E4")))), 1)
	for what, out := range map[string]func() (string, error){
		"a gate that refused":     func() (string, error) { return verify(refused, otherKey) },
		"another key":             func() (string, error) { return verify(passed, otherKey) },
		"a changed summary":       func() (string, error) { return verify(changed, key) },
		"a level that is not met": func() (string, error) { return verify(passed, key, "--verified-level", "EDAMAME_POSTURE_E4") },
		"another artifact": func() (string, error) {
			return verify(passed, key, "--subject-digest", "sha256:"+strings.Repeat("0", 64))
		},
		"another release":  func() (string, error) { return verify(passed, key, "--resource-uri", "pkg:generic/app@2") },
		"another verifier": func() (string, error) { return verify(passed, key, "--verifier-id", "https://example.com/other") },
	} {
		if text, err := out(); err == nil {
			t.Errorf("%s is good for it: %s", what, text)
		}
	}
}

// What slsa-verifier took is stored, since building it takes minutes: a summary
// of the same decision says the same today.
func TestASummaryIsTheOneThatSlsaVerifierTook(t *testing.T) {
	now, _ := summary(t, decided(gate.Passed))
	if stored := payload(t, read(t, "testdata/slsa-verifier-v2.7.1.vsa.json")); !bytes.Equal(stored, payload(t, now)) {
		t.Errorf("the summary was\n%s\nand is\n%s\nrun make thirdparty, and go test ./test/thirdparty -run SlsaVerifier -keep testdata", stored, payload(t, now))
	}
}
