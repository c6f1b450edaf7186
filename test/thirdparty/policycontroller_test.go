package thirdparty

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/gate"
	"github.com/org/edamame-posture/test/sigstore"
)

// The example's policy, by policy-controller's own tester, for an image in a
// registry: it is let through by the summary of a gate that passed it, signed as
// the gate's workflow, and by nothing else.
func TestPolicyControllerLetsThroughWhatTheGatePassedAndNothingElse(t *testing.T) {
	tester := program(t, "bin/policy-tester-v0.13.1", "make thirdparty")
	rig := sigstore.Start(t, sigstore.Options{})
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	example := string(read(t, "../../examples/gates/policy-controller.yml"))
	identity := san // who the rig says asks
	for old, now := range map[string]string{
		"ghcr.io/octo/**": host + "/octo/**",
		"        url: https://fulcio.sigstore.dev\n":                               "        trustRootRef: rig\n        insecureIgnoreSCT: true\n", // a log in a TrustRoot has no id (0.13.1)
		"https://token.actions.githubusercontent.com":                              rig.Issuer.URL,
		"https://github.com/octo/gates/.github/workflows/gate.yml@refs/heads/main": identity,
		"      attestations:\n":                                                    "      rfc3161timestamp:\n        trustRootRef: rig\n      attestations:\n",
	} {
		if strings.Count(example, old) != 1 {
			t.Fatalf("the example has %q %d times", old, strings.Count(example, old))
		}
		example = strings.Replace(example, old, now, 1)
	}
	dir := t.TempDir()
	policy, trust := filepath.Join(dir, "policy.yml"), filepath.Join(dir, "trust.json")
	write(t, policy, []byte(example))
	write(t, trust, trustRoot(t, read(t, rig.RootNoLog)))

	services, err := attest.LoadServices(read(t, rig.ConfigNoLog), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keyless := &attest.Keyless{Services: services, Token: func(_ context.Context, audience string) (string, error) { return rig.Issuer.Token(audience) }}
	about := gate.Summary{Verifier: gate.VerifierID, Resource: "pkg:oci/app@1", Version: "1.0.0"}
	vsa := func(change func(*gate.Decision, *gate.Summary)) func(string) []byte {
		return func(sum string) []byte {
			d, s := decided(gate.Passed), about
			d.Artifact = []gate.Artifact{{Name: "octo/app", SHA256: sum}}
			change(d, &s)
			statement, err := d.VSA(s)
			if err != nil {
				t.Fatal(err)
			}
			return statement
		}
	}
	for _, c := range []struct {
		name      string
		refusal   string // what it must say; empty where it lets through
		statement func(sum string) []byte
		other     bool // the bundle is of another identity
	}{
		{name: "passed", statement: vsa(func(*gate.Decision, *gate.Summary) {})},
		{name: "passed up to E4", statement: vsa(func(d *gate.Decision, _ *gate.Summary) { d.Level = gate.E4 })},
		{name: "passed up to E1 alone", refusal: "predicate.verifiedLevels: incompatible list lengths", statement: vsa(func(d *gate.Decision, _ *gate.Summary) { d.Level = gate.E1 })},
		{name: "refused", refusal: "predicate.verificationResult: conflicting values", statement: vsa(func(d *gate.Decision, _ *gate.Summary) { d.Outcome = gate.Refused })},
		{name: "by another verifier", refusal: "predicate.verifier.id: conflicting values", statement: vsa(func(_ *gate.Decision, s *gate.Summary) { s.Verifier = "https://example.com/gate" })},
		{name: "of another image", refusal: "does not match any digest in statement", statement: vsa(func(d *gate.Decision, _ *gate.Summary) { d.Artifact[0].SHA256 = releaseSum })},
		{name: "signed as another workflow", refusal: "no matching CertificateIdentity found", statement: vsa(func(*gate.Decision, *gate.Summary) {}), other: true},
		{name: "the job's own statement", refusal: "no matching attestations with type ", statement: func(sum string) []byte {
			return bytes.ReplaceAll(vsa(func(*gate.Decision, *gate.Summary) {})(sum), []byte(gate.VSAType), []byte(attest.PredicateType))
		}},
		{name: "nothing at all", refusal: "no valid bundles"},
	} {
		t.Run(c.name, func(t *testing.T) {
			image, err := random.Image(100, 1)
			if err != nil {
				t.Fatal(err)
			}
			sum, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			subject, err := name.NewDigest(host + "/octo/app@" + sum.String())
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(subject, image); err != nil {
				t.Fatal(err)
			}
			if c.statement != nil {
				bundle, err := attest.SignPayload(t.Context(), c.statement(sum.Hex), keyless)
				if err != nil {
					t.Fatal(err)
				}
				attach(t, subject, image, bundle)
			}
			file := policy
			if c.other {
				file = filepath.Join(dir, "other.yml")
				write(t, file, []byte(strings.Replace(example, identity, workflow+"@refs/heads/other", 1)))
			}
			var out, errs bytes.Buffer
			cmd := exec.CommandContext(t.Context(), tester, "-policy", file, "-trustroot", trust, "-image", subject.String(), "-log-level", "error")
			cmd.Stdout, cmd.Stderr = &out, &errs
			err = cmd.Run()
			if (err == nil) != (c.refusal == "") || !strings.Contains(out.String(), c.refusal) {
				t.Errorf("%v, want the refusal %q\n%s%s", err, c.refusal, out.String(), errs.String())
			}
		})
	}
}

// attach puts a bundle beside an image, as cosign does.
func attach(t *testing.T, subject name.Digest, image v1.Image, bundle []byte) {
	t.Helper()
	const kind types.MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), kind), static.NewLayer(bundle, kind))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, err := image.Size()
	if err != nil {
		t.Fatal(err)
	}
	about := mutate.Subject(img, v1.Descriptor{MediaType: types.DockerManifestSchema2, Digest: sum, Size: size}).(v1.Image)
	own, err := about.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(subject.Context().Digest(own.String()), about); err != nil {
		t.Fatal(err)
	}
}

// trustRoot says as policy-controller's TrustRoot what a trusted root of Sigstore
// says.
func trustRoot(t *testing.T, trusted []byte) []byte {
	t.Helper()
	type authority struct {
		Subject   map[string]string `json:"subject"`
		URI       string            `json:"uri"`
		CertChain json.RawMessage   `json:"certChain"`
	}
	var from struct {
		CertificateAuthorities, TimestampAuthorities []authority
		CTLogs                                       []struct {
			BaseURL   string
			PublicKey struct{ RawBytes []byte }
		} `json:"ctlogs"`
	}
	if err := json.Unmarshal(trusted, &from); err != nil {
		t.Fatal(err)
	}
	text := func(v []byte) json.RawMessage {
		return json.RawMessage(`"` + base64.StdEncoding.EncodeToString(v) + `"`)
	}
	for _, list := range [][]authority{from.CertificateAuthorities, from.TimestampAuthorities} {
		for i, a := range list {
			var chain struct {
				Certificates []struct{ RawBytes []byte }
			}
			if err := json.Unmarshal(a.CertChain, &chain); err != nil {
				t.Fatal(err)
			}
			var certificates []byte
			for _, c := range chain.Certificates {
				certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.RawBytes})...)
			}
			list[i].CertChain = text(certificates)
			list[i].Subject = map[string]string{"organization": "rig", "commonName": "rig"}
		}
	}
	var logs []map[string]any
	for _, l := range from.CTLogs {
		logs = append(logs, map[string]any{"baseURL": l.BaseURL, "hashAlgorithm": "sha-256", "publicKey": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: l.PublicKey.RawBytes})})
	}
	root, err := json.Marshal(map[string]any{
		"apiVersion": "policy.sigstore.dev/v1alpha1", "kind": "TrustRoot", "metadata": map[string]string{"name": "rig"},
		"spec": map[string]any{"sigstoreKeys": map[string]any{"certificateAuthorities": from.CertificateAuthorities, "timestampAuthorities": from.TimestampAuthorities, "ctLogs": logs}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}
