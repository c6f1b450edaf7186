package gate

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
)

const (
	// VSAType is the predicate type of a verification summary,
	// https://slsa.dev/spec/v1.1/verification_summary.
	VSAType = "https://slsa.dev/verification_summary/v1"
	// VerifierID names this gate as a verifier, unless another name is given.
	VerifierID = "https://github.com/org/edamame-posture/gate"

	levelPrefix = "EDAMAME_POSTURE_"
)

// Summary says for whom a verification summary is.
type Summary struct {
	Verifier string // URI of who verifies; empty: VerifierID
	Resource string // URI of what is released, such as pkg:npm/app@1.0.0
	Version  string // of this program
}

type resource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"`
}

type vsa struct {
	Verifier struct {
		ID      string            `json:"id"`
		Version map[string]string `json:"version,omitempty"`
	} `json:"verifier"`
	TimeVerified       time.Time  `json:"timeVerified"`
	ResourceURI        string     `json:"resourceUri"`
	Policy             resource   `json:"policy"`
	InputAttestations  []resource `json:"inputAttestations"`
	VerificationResult string     `json:"verificationResult"`
	VerifiedLevels     []string   `json:"verifiedLevels"`
	SLSAVersion        string     `json:"slsaVersion"`
}

// VSA returns the decision as an in-toto statement, to be signed by the gate:
// who deploys needs to check no more than that. There is none for what could
// not be checked.
func (d *Decision) VSA(s Summary) ([]byte, error) {
	if d.Outcome == Unknown {
		return nil, errors.New("what could not be checked has no verification summary")
	}
	v := vsa{
		TimeVerified: d.Time.Truncate(time.Second), ResourceURI: s.Resource, SLSAVersion: "1.1",
		Policy:             resource{d.Policy.File, map[string]string{"sha256": d.Policy.SHA256}},
		VerificationResult: "FAILED", VerifiedLevels: []string{"FAILED"}, InputAttestations: []resource{},
	}
	if v.Verifier.ID = s.Verifier; v.Verifier.ID == "" {
		v.Verifier.ID = VerifierID
	}
	if s.Version != "" {
		v.Verifier.Version = map[string]string{"edamame-posture": s.Version}
	}
	if d.Outcome == Passed {
		v.VerificationResult, v.VerifiedLevels = "PASSED", nil
		for l := E0; l <= d.Level; l++ {
			v.VerifiedLevels = append(v.VerifiedLevels, levelPrefix+l.String())
		}
	}
	for _, st := range d.Statements {
		if st.bundle != nil {
			v.InputAttestations = append(v.InputAttestations, resource{"attestation.json", map[string]string{"sha256": digest(st.bundle)}})
		}
	}
	var subjects []attest.Subject
	for _, a := range d.Artifact {
		subjects = append(subjects, attest.Subject{Name: a.Name, Digest: attest.Digest{SHA256: a.SHA256, GitCommit: a.Commit}})
	}
	if len(subjects) == 0 {
		return nil, errors.New("a verification summary is about an artifact: name it")
	}
	return json.Marshal(map[string]any{"_type": attest.StatementType, "subject": subjects, "predicateType": VSAType, "predicate": v})
}

// Envelope takes the DSSE envelope out of a Sigstore bundle, for programs that
// know no more than that, with the key's id in it: the SHA-256 of its DER form
// in hex, as slsa-verifier wants it.
func Envelope(bundle []byte, keyID string) ([]byte, error) {
	var b struct {
		Envelope struct {
			Payload     string `json:"payload"`
			PayloadType string `json:"payloadType"`
			Signatures  []struct {
				Sig   string `json:"sig"`
				KeyID string `json:"keyid"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return nil, err
	}
	if len(b.Envelope.Signatures) != 1 {
		return nil, fmt.Errorf("the bundle has %d signatures, want 1", len(b.Envelope.Signatures))
	}
	b.Envelope.Signatures[0].KeyID = keyID
	return json.Marshal(b.Envelope)
}
