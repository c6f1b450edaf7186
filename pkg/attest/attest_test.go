package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
)

func fixture(t *testing.T, change func(*judge.Verdict)) (manifest, verdict []byte) {
	t.Helper()
	m := evidence.Manifest{
		Version: 1, Run: "boot-1:412", Judge: "1", Lost: 2,
		Tree:  evidence.Tree{Size: 1324, Root: sha256.Sum256([]byte("root"))},
		Files: []evidence.File{{Name: "000000.jsonl.zst", Size: 9, SHA256: strings.Repeat("0a", 32)}},
	}
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	v := judge.Verdict{
		Version: 1, Verdict: judge.Fail, Reasons: []judge.Reason{judge.Forbidden}, Score: 92,
		Run: judge.Run{Host: "runner-7", Command: judge.Command{Argv: []string{"npm", "install", "esbuild"}},
			Started: "2026-11-23T10:00:00Z", Ended: "2026-11-23T10:00:07Z"},
		Inputs: judge.Inputs{Judge: judge.Input{Version: "1"}, Intent: judge.Input{Name: "posture.yml", SHA256: strings.Repeat("ab", 32)}},
		Coverage: judge.Coverage{
			State: "partial", Sensor: "ebpf", Witness: "agree", Events: 1324, Lost: 2, Gaps: []judge.Gap{{What: "ring full"}},
		},
		Findings: []judge.Finding{
			{Rule: "d02", Severity: judge.Critical}, {Rule: "d01", Severity: judge.High}, {Rule: "d02", Severity: judge.Critical},
		},
		Undeclared: []judge.Fact{
			{Verb: "exec", Object: "/usr/bin/x"},
			{Verb: "connect", Object: "few.example.com:443/tcp", Sent: 1, Who: []string{"node"}},
			{Verb: "connect", Object: "many.example.com:443/tcp", Sent: 1 << 60, Who: []string{"node", "npm"}, Leaf: 7},
		},
		Forbidden: []judge.Fact{{Verb: "connect", Object: "no.example.com:443/tcp", Who: []string{"curl"}}},
		Facts:     judge.Totals{Total: 30, Undeclared: 3},
	}
	if change != nil {
		change(&v)
	}
	verdict, err = json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return manifest, verdict
}

func statement(t *testing.T) (*Statement, []byte) {
	t.Helper()
	manifest, verdict := fixture(t, nil)
	s, err := Make(manifest, verdict, "0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	return s, manifest
}

func keys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"ECDSA": ec, "Ed25519": ed}
}

func TestWhatWasSignedVerifiesWithItsKeyAndManifest(t *testing.T) {
	for name, key := range keys(t) {
		t.Run(name, func(t *testing.T) {
			s, manifest := statement(t)
			if err := s.AddSubject(Subject{Name: "dist/app.tgz", Digest: Digest{SHA256: strings.Repeat("cd", 32)}}); err != nil {
				t.Fatal(err)
			}
			b, err := Sign(t.Context(), s, &Key{Signer: key})
			if err != nil {
				t.Fatal(err)
			}
			res, err := Verify(b, key.Public(), manifest)
			if err != nil {
				t.Fatal(err)
			}
			p := res.Statement.Predicate
			if p.Verdict.Verdict != "fail" || p.Verdict.Critical != 2 || p.Verdict.High != 1 || len(p.Verdict.Rules) != 2 {
				t.Errorf("verdict is %+v", p.Verdict)
			}
			if p.Coverage.Lost != 2 || p.Coverage.Gaps != 1 || p.EventLog.Size != 1324 {
				t.Errorf("coverage %+v, log %+v", p.Coverage, p.EventLog)
			}
			var order []string
			for _, n := range p.MonitorLog.Network {
				order = append(order, n.Destination)
			}
			if got := strings.Join(order, " "); got != "no.example.com:443/tcp many.example.com:443/tcp few.example.com:443/tcp" {
				t.Errorf("network is %s", got)
			}
			if p.MonitorLog.Network[1].Sent != 1<<60 {
				t.Errorf("bytes sent came back as %d", p.MonitorLog.Network[1].Sent)
			}
			if len(res.Statement.Subject) != 2 {
				t.Errorf("subjects are %v", res.Statement.Subject)
			}
		})
	}
}

// Of an image there is only the word of whatever wrote the runner's list.
func TestAnImageIsNoFileAtHand(t *testing.T) {
	sum := strings.Repeat("cd", 32)
	for _, key := range keys(t) {
		for _, c := range []struct {
			kind string
			good bool
		}{{"", true}, {ImageType, false}} {
			s, _ := statement(t)
			if err := s.AddSubject(Subject{Name: "app", Digest: Digest{SHA256: sum}, MediaType: c.kind}); err != nil {
				t.Fatal(err)
			}
			b, err := Sign(t.Context(), s, &Key{Signer: key})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := VerifyBundle(b, &Policy{Key: key.Public(), Subjects: []string{sum}}); (err == nil) != c.good || err != nil && !errors.Is(err, ErrSubject) {
				t.Errorf("media type %q: %v", c.kind, err)
			}
		}
	}
}

// A reader that shares no code with the signer: the bundle as plain JSON, the
// pre-authentication encoding of DSSE as its specification words it.
func TestTheBundleCanBeCheckedByHand(t *testing.T) {
	for name, key := range keys(t) {
		t.Run(name, func(t *testing.T) {
			s, _ := statement(t)
			raw, err := Sign(t.Context(), s, &Key{Signer: key})
			if err != nil {
				t.Fatal(err)
			}
			var b struct {
				MediaType            string
				VerificationMaterial struct {
					PublicKey struct{ Hint string }
				}
				DsseEnvelope struct {
					Payload, PayloadType string
					Signatures           []struct{ Sig string }
				}
			}
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&b); err != nil {
				t.Fatalf("%v in %s", err, raw)
			}
			if b.MediaType != "application/vnd.dev.sigstore.bundle.v0.3+json" {
				t.Errorf("media type is %q", b.MediaType)
			}
			if id, _ := KeyID(key.Public()); b.VerificationMaterial.PublicKey.Hint != id {
				t.Errorf("hint is %q, want %q", b.VerificationMaterial.PublicKey.Hint, id)
			}
			payload, err := base64.StdEncoding.DecodeString(b.DsseEnvelope.Payload)
			if err != nil {
				t.Fatal(err)
			}
			sig, err := base64.StdEncoding.DecodeString(b.DsseEnvelope.Signatures[0].Sig)
			if err != nil {
				t.Fatal(err)
			}
			pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(b.DsseEnvelope.PayloadType), b.DsseEnvelope.PayloadType, len(payload), payload)
			sum := sha256.Sum256(pae)
			ok := false
			switch pub := key.Public().(type) {
			case *ecdsa.PublicKey:
				ok = ecdsa.VerifyASN1(pub, sum[:], sig)
			case ed25519.PublicKey:
				ok = ed25519.Verify(pub, pae, sig)
			}
			if !ok {
				t.Error("the signature does not fit the PAE of the payload")
			}
			// And by sigstore-go as any client reads it.
			var again bundle.Bundle
			if err := again.UnmarshalJSON(raw); err != nil {
				t.Fatal(err)
			}
			if v, err := again.Version(); err != nil || v != "v0.3" {
				t.Errorf("version %q, %v", v, err)
			}
		})
	}
}

func TestThePredicateHasTheWordsOfTheSpecification(t *testing.T) {
	s, _ := statement(t)
	payload, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Type      string `json:"_type"`
		Predicate map[string]json.RawMessage
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		t.Fatal(err)
	}
	for key := range p.Predicate {
		switch key {
		case "monitor", "monitoredProcess", "monitorLog", "metadata":
		default:
			if !strings.HasPrefix(key, extension) {
				t.Errorf("key %q is neither the predicate's own nor under our prefix", key)
			}
		}
	}
	for _, key := range []string{"verdict", "coverage", "event-log", "inputs"} {
		if len(p.Predicate[extension+key+"/v1"]) == 0 {
			t.Errorf("%s is missing", key)
		}
	}
}

// resign signs any payload with the key, as its holder could.
func resign(t *testing.T, key crypto.Signer, payloadType string, payload []byte) []byte {
	t.Helper()
	pair, err := newKeypair(key)
	if err != nil {
		t.Fatal(err)
	}
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
	sig, _, err := pair.SignData(context.Background(), pae)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":%q}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		pair.hint, b64(payload), payloadType, b64(sig))
}

func TestVerifyRefusesAndSaysWhy(t *testing.T) {
	ks := keys(t)
	key, other := ks["ECDSA"], ks["Ed25519"]
	s, manifest := statement(t)
	good, err := Sign(t.Context(), s, &Key{Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := s.Encode()
	changed := func(old, new string) []byte {
		t.Helper()
		if !bytes.Contains(payload, []byte(old)) {
			t.Fatalf("the payload holds no %q", old)
		}
		return bytes.Replace(payload, []byte(old), []byte(new), 1)
	}
	replacePayload := func(p []byte) []byte {
		return bytes.Replace(good, []byte(base64.StdEncoding.EncodeToString(payload)), []byte(base64.StdEncoding.EncodeToString(p)), 1)
	}
	tests := []struct {
		name     string
		bundle   []byte
		key      crypto.Signer
		manifest []byte
		is       error
		says     string
	}{
		{"another key", good, other, manifest, ErrSignature, "it was made with the key"},
		{"another manifest", good, key, append(bytes.Clone(manifest), '\n'), ErrSubject, "the evidence was changed"},
		{"a changed verdict", replacePayload(changed(`"fail"`, `"pass"`)), key, manifest, ErrSignature, "was changed after it was signed"},
		{"another predicate type", resign(t, key, PayloadType, changed(PredicateType, "https://slsa.dev/provenance/v1")), key, manifest, ErrStatement, "predicate type: want"},
		{"a predicate type with the same begin", resign(t, key, PayloadType, changed(PredicateType, PredicateType+"5")), key, manifest, ErrStatement, "predicate type: want"},
		{"another monitor's trace", resign(t, key, PayloadType, changed(MonitorType, "https://example.com/other")), key, manifest, ErrStatement, "its monitor is"},
		{"another statement type", resign(t, key, PayloadType, changed(StatementType, "https://in-toto.io/Statement/v0.1")), key, manifest, nil, "Statement"},
		{"another payload type", resign(t, key, "text/plain", payload), key, manifest, ErrBundle, "its payload is"},
		{"a log size that is not the manifest's", resign(t, key, PayloadType, changed(`"treeSize":1324`, `"treeSize":1325`)), key, manifest, ErrSubject, "1325 events"},
		{"another run", resign(t, key, PayloadType, changed(`"boot-1:412"`, `"boot-1:413"`)), key, manifest, ErrSubject, "the run is"},
		{"no monitor log", resign(t, key, PayloadType, []byte(`{"_type":"`+StatementType+`","predicateType":"`+PredicateType+`","subject":[{"name":"x","digest":{"sha256":"`+strings.Repeat("00", 32)+`"}}],"predicate":{"monitor":{"type":"x"},"monitoredProcess":{"hostID":"a","type":"b","event":"c"}}}`)), key, manifest, ErrStatement, "no monitorLog"},
		{"nothing", nil, key, manifest, ErrBundle, ""},
		{"no bundle", []byte(`{"hello": 1}`), key, manifest, ErrBundle, ""},
		{"no signature", bytes.Replace(good, []byte(`"signatures":[`), []byte(`"signatures":[],"x":[`), 1), key, manifest, ErrBundle, ""},
		{"a huge one", bytes.Repeat([]byte(" "), maxBundle+1), key, manifest, ErrBundle, "are allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := Verify(tt.bundle, tt.key.Public(), tt.manifest)
			if err == nil {
				t.Fatalf("accepted: %+v", res)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error is %v, want one that is %q", err, tt.is)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %q, want it to say %q", err, tt.says)
			}
		})
	}
	// The hint is the signer's word: it must not choose the key.
	id, _ := KeyID(other.Public())
	mine, _ := KeyID(key.Public())
	if _, err := Verify(bytes.Replace(good, []byte(mine), []byte(id), 1), other.Public(), manifest); !errors.Is(err, ErrSignature) {
		t.Errorf("with a forged hint: %v", err)
	}
	if _, err := Verify(good, key.Public(), manifest); err != nil {
		t.Errorf("the unchanged bundle: %v", err)
	}
}

func TestAStatementStaysSmallWhateverTheJobDid(t *testing.T) {
	long, escaped := strings.Repeat("é", 2000), strings.Repeat("\x01<", 100)
	for name, change := range map[string]func(*judge.Verdict){
		"long names": func(v *judge.Verdict) {
			v.Run.Host = long
			v.Run.Command.Argv = []string{"a", strings.Repeat("b", maxArgBytes), "c"}
			for i := range 300 {
				v.Undeclared = append(v.Undeclared, judge.Fact{Verb: "connect", Object: fmt.Sprint(i) + long, Who: []string{long, long, long, long, long}})
				v.Findings = append(v.Findings, judge.Finding{Rule: fmt.Sprintf("r%d", i), Severity: judge.Low})
			}
		},
		"a million events, each a fact and a finding of its own": func(v *judge.Verdict) {
			v.Coverage.Events, v.Facts = 1_000_000, judge.Totals{Total: 1_000_000, Undeclared: 1_000_000}
			for i := range 20_000 {
				v.Undeclared = append(v.Undeclared, judge.Fact{Verb: "connect", Object: fmt.Sprintf("h%d.example.com:443/tcp", i), Who: []string{"node", "npm", "sh", "make"}})
				v.Findings = append(v.Findings, judge.Finding{Rule: fmt.Sprintf("rule-%d", i), Severity: judge.Critical})
				v.Coverage.Gaps = append(v.Coverage.Gaps, judge.Gap{What: "ring full"})
			}
		},
		"rules with names as long as they may be": func(v *judge.Verdict) {
			for i := range 1000 {
				v.Findings = append(v.Findings, judge.Finding{Rule: fmt.Sprintf("%04d%s", i, long), Severity: judge.Low})
			}
		},
		"all that JSON makes longer": func(v *judge.Verdict) {
			v.Run.Host, v.Inputs.Intent.Name = escaped, escaped
			for range maxArgs {
				v.Run.Command.Argv = append(v.Run.Command.Argv, strings.Repeat("\x01", maxArgBytes/maxArgs-1))
			}
			for i := range 1000 {
				v.Findings = append(v.Findings, judge.Finding{Rule: fmt.Sprintf("%04d%s", i, escaped), Severity: judge.Low})
				v.Forbidden = append(v.Forbidden, judge.Fact{Verb: "connect", Object: escaped, Who: []string{escaped, escaped, escaped, escaped}})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var rules, facts int
			manifest, verdict := fixture(t, func(v *judge.Verdict) {
				change(v)
				each := map[string]bool{}
				for _, f := range v.Findings {
					each[short(f.Rule)] = true
				}
				rules = len(each)
				for _, f := range append(append([]judge.Fact{}, v.Undeclared...), v.Forbidden...) {
					if f.Verb == "connect" {
						facts++
					}
				}
			})
			s, err := Make(manifest, verdict, "0.1.0")
			if err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				if err := s.AddSubject(Subject{Name: fmt.Sprintf("dist/app-%d.tgz", i), Digest: Digest{SHA256: strings.Repeat("ab", 32)}}); err != nil {
					t.Fatal(err)
				}
			}
			b, err := s.Encode()
			if err != nil {
				t.Fatalf("the job made its own evidence impossible to sign: %v", err)
			}
			if len(b) >= 100<<10 {
				t.Errorf("%d bytes", len(b))
			}
			p := s.Predicate
			if got := len(p.MonitorLog.Network) + p.MonitorLog.NetworkOmitted; got != facts {
				t.Errorf("%d destinations listed or omitted, of %d", got, facts)
			}
			if got := len(p.Verdict.Rules) + p.Verdict.RulesOmitted; got != rules {
				t.Errorf("%d rules listed or omitted, of %d", got, rules)
			}
			if p.MonitorLog.Process[0].Cut != (name == "long names" || name == "all that JSON makes longer") {
				t.Errorf("arguments cut: %v", p.MonitorLog.Process[0].Cut)
			}
		})
	}
}

func TestSignNeverMakesAStatementThatItsTypeForbids(t *testing.T) {
	key := keys(t)["ECDSA"]
	for name, change := range map[string]func(*Statement){
		"host":        func(s *Statement) { s.Predicate.MonitoredProcess.HostID = "" },
		"monitor":     func(s *Statement) { s.Predicate.Monitor.Type = "" },
		"log":         func(s *Statement) { s.Predicate.MonitorLog = MonitorLog{} },
		"no subject":  func(s *Statement) { s.Subject = nil },
		"other type":  func(s *Statement) { s.PredicateType = "x" },
		"other frame": func(s *Statement) { s.Type = "x" },
	} {
		s, _ := statement(t)
		change(s)
		if _, err := Sign(t.Context(), s, &Key{Signer: key}); err == nil {
			t.Errorf("without %s it was signed", name)
		}
	}
}

func TestSubjectsAreHexDigests(t *testing.T) {
	s, _ := statement(t)
	for _, d := range []string{"", "xyz", strings.Repeat("AB", 32), strings.Repeat("ab", 20)} {
		if err := s.AddSubject(Subject{Name: "x", Digest: Digest{SHA256: d}}); err == nil {
			t.Errorf("%q was taken", d)
		}
	}
	if err := s.AddSubject(Subject{Name: "", Digest: Digest{SHA256: strings.Repeat("ab", 32)}}); err == nil {
		t.Error("a subject without name was taken")
	}
}

func TestKeysAreReadOrRefusedInWords(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	block := func(kind string, der []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	pkcs8 := func(k any) []byte { der, err := x509.MarshalPKCS8PrivateKey(k); return block("PRIVATE KEY", der, err) }
	sec1 := func() []byte { der, err := x509.MarshalECPrivateKey(p256); return block("EC PRIVATE KEY", der, err) }
	private, public, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		pem  []byte
		says string // empty where the key is good
	}{
		{"generated", private, ""},
		{"PKCS8 Ed25519", pkcs8(keys(t)["Ed25519"]), ""},
		{"EC key of openssl ecparam", append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), sec1()...), ""},
		{"empty", nil, "no PEM block"},
		{"text", []byte("hello"), "no PEM block"},
		{"public", public, "this is a public key"},
		{"encrypted PKCS8", block("ENCRYPTED PRIVATE KEY", []byte{1}, nil), "say where its password is"},
		{"cosign's", block("ENCRYPTED SIGSTORE PRIVATE KEY", []byte{1}, nil), "say where its password is"},
		{"encrypted as of old", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: []byte{1}}), "old way of openssl"},
		{"of ssh", block("OPENSSH PRIVATE KEY", []byte{1}, nil), "want PRIVATE KEY"},
		{"garbage inside", block("PRIVATE KEY", []byte{1, 2, 3}, nil), "cannot be read"},
		{"P-384", pkcs8(p384), "ECDSA on P-384"},
		{"RSA", pkcs8(r), "want ECDSA on P-256 or Ed25519"},
		{"two keys", append(bytes.Clone(private), private...), "more than one PEM block"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := LoadKey(tt.pem, nil)
			switch {
			case tt.says == "" && (err != nil || key == nil):
				t.Errorf("refused: %v", err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("error is %v, want it to say %q", err, tt.says)
			}
		})
	}
	if _, err := LoadPublicKey(public); err != nil {
		t.Error(err)
	}
	if _, err := LoadPublicKey(private); err == nil || !strings.Contains(err.Error(), "private key") {
		t.Errorf("a private key as public: %v", err)
	}
}

func TestKeysOfOpensslAreRead(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	for _, args := range [][]string{
		{"genpkey", "-algorithm", "ed25519"},
		{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
		{"ecparam", "-name", "prime256v1", "-genkey"},
	} {
		file := filepath.Join(t.TempDir(), "key.pem")
		if out, err := exec.Command("openssl", append(args, "-out", file)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key, err := LoadKey(data, nil)
		if err != nil {
			t.Errorf("%v: %v", args, err)
			continue
		}
		pub, err := exec.Command("openssl", "pkey", "-in", file, "-pubout").Output()
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := LoadPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		s, manifest := statement(t)
		b, err := Sign(t.Context(), s, &Key{Signer: key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(b, loaded, manifest); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestVerdictDigestIsThatOfTheFile(t *testing.T) {
	manifest, verdict := fixture(t, nil)
	s, err := Make(manifest, verdict, "x")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(verdict)
	if got := s.Predicate.Verdict.SHA256; got != hex.EncodeToString(sum[:]) {
		t.Errorf("got %s", got)
	}
}

func FuzzVerify(f *testing.F) {
	private, public, err := GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	key, _ := LoadKey(private, nil)
	pub, _ := LoadPublicKey(public)
	m := []byte(`{"version":1,"run":"r","tree":{"size":0,"root":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}}`)
	s, err := Make(m, []byte(`{"version":1,"verdict":"pass"}`), "x")
	if err != nil {
		f.Fatal(err)
	}
	good, err := Sign(context.Background(), s, &Key{Signer: key})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{}`))
	payload, _ := s.Encode()
	f.Fuzz(func(t *testing.T, b []byte) {
		res, err := Verify(b, pub, m)
		if err == nil && !bytes.Equal(res.Payload, payload) {
			t.Errorf("accepted another statement: %s", res.Payload)
		}
	})
}

func TestTheStatementHasTheShapeOfItsSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/attestation.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*judge.Verdict){
		"a command": nil,
		"a job":     func(v *judge.Verdict) { v.Run.Repository, v.Inputs.Intent = "octo/app", judge.Input{} },
		"much": func(v *judge.Verdict) {
			for i := range 300 {
				v.Undeclared = append(v.Undeclared, judge.Fact{Verb: "connect", Object: fmt.Sprint(i), Who: []string{"a"}})
				v.Findings = append(v.Findings, judge.Finding{Rule: fmt.Sprint(i)})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			manifest, verdict := fixture(t, change)
			s, err := Make(manifest, verdict, "0.1.0")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.AddSubject(Subject{Name: "https://github.com/octo/app", Digest: Digest{GitCommit: strings.Repeat("3f", 20)}}); err != nil {
				t.Fatal(err)
			}
			b, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%v\n%s", err, b)
			}
			// And the schema refuses what is not of it, such as a level that a
			// job gives itself.
			doc.(map[string]any)["predicate"].(map[string]any)["level"] = "E4"
			if err := schema.Validate(doc); err == nil {
				t.Error("the schema takes anything")
			}
		})
	}
}
