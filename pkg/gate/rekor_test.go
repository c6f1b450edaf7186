package gate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/test/sigstore"
)

// logServer answers as Rekor v1 does, with entries of bundles that the real
// Fulcio gave certificates for: Rekor v1 itself needs a database.
type logServer struct {
	*httptest.Server
	slot    string
	entries []json.RawMessage
}

func newLogServer(t *testing.T) *logServer {
	t.Helper()
	l := new(logServer)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/index/retrieve", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Hash string }
		ids := []string{}
		if json.NewDecoder(r.Body).Decode(&asked) == nil && asked.Hash == "sha256:"+l.slot {
			for i := range l.entries {
				ids = append(ids, fmt.Sprint(i))
			}
		}
		_ = json.NewEncoder(w).Encode(ids)
	})
	mux.HandleFunc("GET /api/v1/log/entries/{id}", func(w http.ResponseWriter, r *http.Request) {
		var i int
		if _, err := fmt.Sscan(r.PathValue("id"), &i); err != nil || i >= len(l.entries) {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]json.RawMessage{r.PathValue("id"): l.entries[i]})
	})
	l.Server = httptest.NewServer(mux)
	t.Cleanup(l.Close)
	return l
}

// entry is what Rekor v1 keeps of a bundle.
func entry(t testing.TB, bundle []byte, at time.Time) json.RawMessage {
	t.Helper()
	var b struct {
		Material struct {
			Certificate struct {
				Raw []byte `json:"rawBytes"`
			} `json:"certificate"`
			PublicKey *struct{} `json:"publicKey"`
		} `json:"verificationMaterial"`
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "CERTIFICATE", Bytes: b.Material.Certificate.Raw}
	if b.Material.PublicKey != nil {
		block = &pem.Block{Type: "PUBLIC KEY", Bytes: []byte("a key")}
	}
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":{"algorithm":"sha256","value":"00"},"payloadHash":{"algorithm":"sha256","value":%q},"signatures":[{"signature":"AA==","verifier":%q}]}}`,
		digest(b.Envelope.Payload), base64.StdEncoding.EncodeToString(pem.EncodeToMemory(block)))
	return json.RawMessage(fmt.Sprintf(`{"body":%q,"integratedTime":%d,"logIndex":1,"logID":"00"}`, base64.StdEncoding.EncodeToString([]byte(body)), at.Unix()))
}

func aFirstRecordIsLookedUpInATransparencyLog(t *testing.T, w *world) {
	log := newLogServer(t)
	policy := w.policy(t, E3, "", fmt.Sprintf("  jwks: %s\n  rekor: %s\n", w.jwks, log.URL))
	dir := w.record(t, "9601", choices{noRecord: true})
	c, err := evidence.ParseCommitment(get(t, filepath.Join(dir, "evidence", evidence.CommitmentFile)))
	if err != nil {
		t.Fatal(err)
	}
	log.slot = c.Slot
	own := get(t, filepath.Join(dir, "evidence", evidence.StartBundleFile))
	// A later step's commitment of the same job, by the same identity.
	second := *c
	second.Boot = "another"
	b, err := second.Encode()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := attest.DescribeStart(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(run string, by attest.Signer) []byte {
		w.runs(run)
		defer w.rig.Issuer.Set(sigstore.Job())
		bundle, err := attest.SignPayload(t.Context(), payload, by)
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
	key, _ := newKey(t)
	now := time.Now()
	one := []json.RawMessage{entry(t, own, now)}
	for _, s := range []struct {
		name    string
		entries []json.RawMessage
		status  Status
		reason  Reason
	}{
		{"it alone", one, Passed, ""},
		{"it twice", append(one, one...), Passed, ""},
		{"beside what a key signed", append(one, entry(t, signed("9601", key), now)), Passed, ""},
		{"beside one of another run", append(one, entry(t, signed("9602", w.by), now)), Passed, ""},
		{"beside what is no entry", append(one, json.RawMessage(`{"body":"e30="}`), json.RawMessage(`{}`)), Passed, ""},
		{"beside a later step's", append(one, entry(t, signed("9601", w.by), now)), Refused, SecondCommitment},
		{"a later step's alone", []json.RawMessage{entry(t, signed("9601", w.by), now)}, Refused, SecondCommitment},
		{"nothing", nil, Refused, NoFirstRecord},
		{"long after the token", []json.RawMessage{entry(t, own, now.Add(5*time.Minute))}, Refused, LateStart},
		{"long before it", []json.RawMessage{entry(t, own, now.Add(-5*time.Minute))}, Refused, LateStart},
		{"a flood", make([]json.RawMessage, maxAboutJob+1), Refused, WrongRecord},
	} {
		t.Run(s.name, func(t *testing.T) {
			log.entries = s.entries
			d := decide(t, policy, asked(nil), dir)
			holds(t, d, "first record", E3, s.status, s.reason)
			if s.status == Passed {
				passes(t, d, E3)
			} else if d.ExitCode() != 1 || d.Level > E2 {
				t.Errorf("taken:\n%s", text(t, d))
			}
		})
	}
	log.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	in := &Input{Policy: policy, Artifacts: []Artifact{artifact}, Now: time.Now()}
	in.Add(ReadPath(dir))
	asked(nil)(in)
	d := Decide(ctx, in)
	holds(t, d, "first record", E3, Unknown, ServiceDown)
	if d.ExitCode() != 4 {
		t.Errorf("down: exit code %d:\n%s", d.ExitCode(), text(t, d))
	}
}

func FuzzLogEntry(f *testing.F) {
	id, known := sigstore.StartLogV1(f).Trusted()
	f.Add(fmt.Appendf(nil, `{"body":"eyJhcGlWZXJzaW9uIjoiMC4wLjEiLCJraW5kIjoiZHNzZSIsInNwZWMiOnsicGF5bG9hZEhhc2giOnsiYWxnb3JpdGhtIjoic2hhMjU2IiwidmFsdWUiOiJhYSJ9LCJzaWduYXR1cmVzIjpbeyJ2ZXJpZmllciI6IkFBPT0ifV19fQ==","integratedTime":1,"logID":%q,"verification":{"signedEntryTimestamp":"AA==","inclusionProof":{"checkpoint":"x","rootHash":"00","treeSize":1}}}`, id))
	f.Add([]byte(`{"body":"eyJraW5kIjoiZHNzZSJ9","integratedTime":1}`))
	f.Add([]byte(`{"body":"eyJraW5kIjoiZHNzZSIsInNwZWMiOnsicGF5bG9hZEhhc2giOnsiYWxnb3JpdGhtIjoic2hhMjU2IiwidmFsdWUiOiJhYSJ9LCJzaWduYXR1cmVzIjpbeyJ2ZXJpZmllciI6IkFBPT0ifV19fQ=="}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, ok := parseEntry(raw)
		if !ok && (e.cert != nil || e.payload != "") {
			t.Errorf("%q is refused, and read: %+v", raw, e)
		}
		if ok && e.raw.proven(map[string]*root.TransparencyLog{id: known}) == nil {
			t.Errorf("%q is proven to be in a log that signed nothing", raw)
		}
	})
}
