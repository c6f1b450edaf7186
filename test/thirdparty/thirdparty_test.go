// Package thirdparty shows that what this project signs is good for other
// programs, and what they sign for this one.
package thirdparty

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/test/sigstore"
)

const (
	tools    = "../../.tools/"
	workflow = "https://github.com/octo/app/.github/workflows/release.yml"
	san      = workflow + "@refs/heads/main"
	runTrace = attest.PredicateType
)

// signed is a bundle of ours and what it is about.
type signed struct {
	bundle, artifact, root string
}

// sign makes a statement of ours about an artifact and signs it by the rig.
func sign(t *testing.T, rig *sigstore.Rig, config, root string) signed {
	t.Helper()
	dir := t.TempDir()
	artifact := filepath.Join(dir, "app.tgz")
	write(t, artifact, []byte("a release\n"))
	manifest := []byte(`{"version":1,"run":"boot:1","tree":{"size":0,"root":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}}`)
	s, err := attest.Make(manifest, []byte(`{"version":1,"verdict":"pass"}`), "test")
	if err != nil {
		t.Fatal(err)
	}
	subjects, err := attest.Files(dir, []string{"app.tgz"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddSubject(subjects[0]); err != nil {
		t.Fatal(err)
	}
	services, err := attest.LoadServices(read(t, config), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := attest.Sign(ctx, s, &attest.Keyless{Services: services, Token: func(_ context.Context, audience string) (string, error) {
		return rig.Issuer.Token(audience)
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "attestation.json")
	write(t, file, b)
	return signed{file, artifact, root}
}

// tampered is the same bundle with another verdict in its statement.
func (s signed) tampered(t *testing.T) string {
	t.Helper()
	b := read(t, s.bundle)
	var m struct {
		DsseEnvelope struct{ Payload []byte }
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	changed := bytes.Replace(m.DsseEnvelope.Payload, []byte(`"verdict":"pass"`), []byte(`"verdict":"fail"`), 1)
	out := bytes.Replace(b, []byte(b64(m.DsseEnvelope.Payload)), []byte(b64(changed)), 1)
	if bytes.Equal(out, b) {
		t.Fatal("nothing was changed")
	}
	file := filepath.Join(t.TempDir(), "tampered.json")
	write(t, file, out)
	return file
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// program returns the path of a tool, or skips.
func program(t *testing.T, name, how string) string {
	t.Helper()
	path, err := filepath.Abs(tools + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not built: run %s", name, how)
	}
	return path
}

func TestTheNpmPackageAcceptsOurBundles(t *testing.T) {
	modules := program(t, "npm-sigstore/node_modules", "make tools")
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	rig := sigstore.Start(t, sigstore.Options{Rekor: true})
	for name, c := range map[string]struct{ config, root, entries string }{
		"time by a timestamp authority": {rig.ConfigNoLog, rig.RootNoLog, "0"},
		"and logged by Rekor v2":        {rig.SigningConfig, rig.TrustedRoot, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sign(t, rig, c.config, c.root)
			verify := func(bundle, who string) (string, error) {
				out, err := exec.Command(node, "verify.mjs", modules, c.root, bundle, who, rig.Issuer.URL, c.entries).CombinedOutput()
				return string(out), err
			}
			if out, err := verify(s.bundle, san); err != nil || !strings.Contains(out, "verified") {
				t.Errorf("%v: %s", err, out)
			}
			if out, err := verify(s.tampered(t), san); err == nil {
				t.Errorf("a changed statement is good for it: %s", out)
			}
			if out, err := verify(s.bundle, san+"x"); err == nil {
				t.Errorf("another identity is good for it: %s", out)
			}
		})
	}
}

func TestCosignAcceptsOurBundlesAndWeItsOnes(t *testing.T) {
	cosign := program(t, "bin/cosign-v3.1.3", "make thirdparty")
	rig := sigstore.Start(t, sigstore.Options{Rekor: true})
	run := func(args ...string) (string, error) {
		cmd := exec.Command(cosign, args...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for name, c := range map[string]struct {
		config, root string
		more         []string
	}{
		"time by a timestamp authority": {rig.ConfigNoLog, rig.RootNoLog, []string{"--use-signed-timestamps", "--insecure-ignore-tlog"}},
		"and logged by Rekor v2":        {rig.SigningConfig, rig.TrustedRoot, []string{"--use-signed-timestamps"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := sign(t, rig, c.config, c.root)
			verify := func(bundle, who, kind string) (string, error) {
				return run(append([]string{"verify-blob-attestation", "--bundle", bundle, "--trusted-root", c.root,
					"--certificate-identity", who, "--certificate-oidc-issuer", rig.Issuer.URL, "--type", kind, s.artifact}, c.more...)...)
			}
			if out, err := verify(s.bundle, san, runTrace); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if out, err := verify(s.tampered(t), san, runTrace); err == nil {
				t.Errorf("a changed statement is good for it: %s", out)
			}
			if out, err := verify(s.bundle, san+"x", runTrace); err == nil {
				t.Errorf("another identity is good for it: %s", out)
			}
			if out, err := verify(s.bundle, san, "https://slsa.dev/provenance/v1"); err == nil {
				t.Errorf("another predicate type is good for it: %s", out)
			}
		})
	}

	s := sign(t, rig, rig.ConfigNoLog, rig.RootNoLog)
	token, err := rig.Issuer.Token(attest.Audience)
	if err != nil {
		t.Fatal(err)
	}
	predicate, theirs := filepath.Join(t.TempDir(), "predicate.json"), filepath.Join(t.TempDir(), "cosign.json")
	write(t, predicate, []byte(`{"result":"ok"}`))
	if out, err := run("attest-blob", "--yes", "--signing-config", rig.SigningConfig, "--trusted-root", rig.TrustedRoot, "--identity-token", token,
		"--predicate", predicate, "--type", foreignType, "--bundle", theirs, s.artifact); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if *keep != "" {
		write(t, filepath.Join(*keep, "cosign-v3.1.3.bundle.json"), read(t, theirs))
		write(t, filepath.Join(*keep, "cosign-v3.1.3.trusted_root.json"), read(t, rig.TrustedRoot))
		write(t, filepath.Join(*keep, "cosign-v3.1.3.issuer"), []byte(rig.Issuer.URL))
	}
	acceptCosign(t, read(t, theirs), read(t, rig.TrustedRoot), rig.Issuer.URL)
}

func TestGhAcceptsOurBundles(t *testing.T) {
	gh := program(t, "bin/gh-v2.95.0", "make thirdparty")
	rig := sigstore.Start(t, sigstore.Options{Rekor: true})
	for name, c := range map[string]struct{ config, root string }{
		"time by a timestamp authority": {rig.ConfigNoLog, rig.RootNoLog},
		"and logged by Rekor v2":        {rig.SigningConfig, rig.TrustedRoot},
	} {
		t.Run(name, func(t *testing.T) {
			s := sign(t, rig, c.config, c.root)
			// It wants one root a line, and the last line to end.
			lines := filepath.Join(t.TempDir(), "root.jsonl")
			var line bytes.Buffer
			if err := json.Compact(&line, read(t, c.root)); err != nil {
				t.Fatal(err)
			}
			write(t, lines, append(line.Bytes(), '\n'))
			verify := func(bundle, signer, kind string) (string, error) {
				cmd := exec.Command(gh, "attestation", "verify", s.artifact, "-R", "octo/app", "--bundle", bundle,
					"--custom-trusted-root", lines, "--predicate-type", kind, "--cert-oidc-issuer", rig.Issuer.URL,
					"--signer-workflow", signer, "--source-ref", "refs/heads/main", "--deny-self-hosted-runners")
				cmd.Env = append(os.Environ(), "GH_TOKEN=x", "HOME="+t.TempDir())
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			const signer = "octo/app/.github/workflows/release.yml"
			if out, err := verify(s.bundle, signer, runTrace); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if out, err := verify(s.tampered(t), signer, runTrace); err == nil {
				t.Errorf("a changed statement is good for it: %s", out)
			}
			if out, err := verify(s.bundle, "octo/app/.github/workflows/lint.yml", runTrace); err == nil {
				t.Errorf("another workflow is good for it: %s", out)
			}
			if out, err := verify(s.bundle, signer, "https://slsa.dev/provenance/v1"); err == nil {
				t.Errorf("another predicate type is good for it: %s", out)
			}
		})
	}
}

const (
	foreignType = "https://example.com/predicate/v1"
	// releaseSum is the SHA-256 of the artifact.
	releaseSum = "7a423edf0c29ef8ded113e9bd5407f4ce6db1ee558630bc7ce56fd3ca2273d5a"
)

// keep stores what cosign made, for the test that runs without it.
var keep = flag.String("keep", "", "folder to store bundles of other programs in")

// What cosign made is stored, since building it takes minutes.
func TestABundleOfCosignIsAccepted(t *testing.T) {
	stored := "testdata/cosign-v3.1.3."
	acceptCosign(t, read(t, stored+"bundle.json"), read(t, stored+"trusted_root.json"), string(read(t, stored+"issuer")))
}

// acceptCosign checks a bundle of `cosign attest-blob` about the artifact "a
// release".
func acceptCosign(t *testing.T, bundle, rootJSON []byte, issuer string) {
	t.Helper()
	trusted, err := attest.LoadTrustedRoot(rootJSON)
	if err != nil {
		t.Fatal(err)
	}
	p := &attest.Policy{Root: trusted, PredicateType: foreignType, Subjects: []string{releaseSum},
		Identity: attest.Identity{Issuer: issuer, SAN: san, RepositoryID: "4321"}}
	res, err := attest.VerifyBundle(bundle, p)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Logged || res.Statement != nil || !bytes.Contains(res.Payload, []byte(`"result":"ok"`)) {
		t.Errorf("logged %v, statement %v: %s", res.Logged, res.Statement, res.Payload)
	}
	p.PredicateType = ""
	if _, err := attest.VerifyBundle(bundle, p); !errors.Is(err, attest.ErrStatement) {
		t.Errorf("as a statement about a recording: %v", err)
	}
}
