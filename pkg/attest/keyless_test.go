package attest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/org/edamame-posture/test/sigstore"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func trustedRoot(t *testing.T, path string) root.TrustedMaterial {
	t.Helper()
	r, err := LoadTrustedRoot(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func services(t *testing.T, path string) *Services {
	t.Helper()
	s, err := LoadServices(read(t, path), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// jobEnv is the environment of a job with an identity.
func jobEnv(rig *sigstore.Rig) func(string) string {
	return func(name string) string {
		return map[string]string{
			"ACTIONS_ID_TOKEN_REQUEST_URL":   rig.TokenURL,
			"ACTIONS_ID_TOKEN_REQUEST_TOKEN": rig.RequestToken,
		}[name]
	}
}

func keyless(t *testing.T, rig *sigstore.Rig) *Keyless {
	return &Keyless{Token: JobToken(jobEnv(rig)), Services: services(t, rig.ConfigNoLog), Root: trustedRoot(t, rig.RootNoLog)}
}

// release is the identity of the rig's job.
func release(rig *sigstore.Rig) Identity {
	return Identity{
		Issuer:       rig.Issuer.URL,
		Workflow:     "https://github.com/octo/app/.github/workflows/release.yml",
		WorkflowRefs: []string{"refs/heads/main"},
		RepositoryID: "4321",
		OwnerID:      "77",
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAStatementIsSignedWithTheJobsIdentity(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{Rekor: true})
	for name, c := range map[string]struct {
		config, root string
		logged       bool
	}{
		"time by a timestamp authority": {rig.ConfigNoLog, rig.RootNoLog, false},
		"and logged by Rekor v2":        {rig.SigningConfig, rig.TrustedRoot, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, manifest := statement(t)
			trusted := trustedRoot(t, c.root)
			b, err := Sign(within(t, time.Minute), s, &Keyless{Token: JobToken(jobEnv(rig)), Services: services(t, c.config), Root: trusted})
			if err != nil {
				t.Fatal(err)
			}
			id := release(rig)
			id.SAN = id.Workflow + "@refs/heads/main"
			id.SignerDigest, id.Commit, id.ConfigDigest = sigstore.Job()["job_workflow_sha"].(string), sigstore.Job()["sha"].(string), sigstore.Job()["workflow_sha"].(string)
			id.Repository, id.Config = "https://github.com/octo/app", id.SAN
			id.Refs, id.Triggers = []string{"refs/tags/*", "refs/heads/main"}, []string{"release", "push"}
			id.Run, id.Runner, id.Visibility = "https://github.com/octo/app/actions/runs/9001/attempts/1", "github-hosted", "public"
			res, err := VerifyBundle(b, &Policy{Root: trusted, Identity: id})
			if err != nil {
				t.Fatal(err)
			}
			if err := res.About(manifest); err != nil {
				t.Error(err)
			}
			if res.Logged != c.logged || len(res.Times) == 0 || time.Since(res.Times[0].Timestamp).Abs() > time.Minute {
				t.Errorf("logged %v, times %v", res.Logged, res.Times)
			}
			if res.Certificate == nil || res.KeyID != "" {
				t.Errorf("certificate %v, key %q", res.Certificate, res.KeyID)
			}
			if c.logged {
				return
			}
			// Who has a log in the root wants the statement in it, unless told.
			_, err = VerifyBundle(b, &Policy{Root: trustedRoot(t, rig.TrustedRoot), Identity: id})
			if !errors.Is(err, ErrTrust) || !strings.Contains(err.Error(), "transparency log") {
				t.Errorf("without the log's entry: %v", err)
			}
			if _, err = VerifyBundle(b, &Policy{Root: trustedRoot(t, rig.TrustedRoot), Identity: id, LogOptional: true}); err != nil {
				t.Errorf("with the log optional: %v", err)
			}
		})
	}
	for _, a := range rig.Issuer.Audiences() {
		if a != Audience {
			t.Errorf("a token for %q was asked", a)
		}
	}
}

func TestEachFieldOfAnIdentityIsCompared(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	s, _ := statement(t)
	b, err := Sign(within(t, time.Minute), s, keyless(t, rig))
	if err != nil {
		t.Fatal(err)
	}
	trusted := trustedRoot(t, rig.RootNoLog)
	if _, err := VerifyBundle(b, &Policy{Root: trusted, Identity: release(rig)}); err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("0", 40)
	for name, c := range map[string]struct {
		change func(*Identity)
		check  string
	}{
		"an issuer with one letter more":    {func(i *Identity) { i.Issuer += "/" }, "issuer"},
		"an issuer that looks alike":        {func(i *Identity) { i.Issuer = strings.Replace(i.Issuer, "http", "һttp", 1) }, "issuer"},
		"another workflow of the same repo": {func(i *Identity) { i.Workflow = "https://github.com/octo/app/.github/workflows/test.yml" }, "signing workflow"},
		"the beginning of its name":         {func(i *Identity) { i.Workflow = "https://github.com/octo/app/.github/workflows/release" }, "signing workflow"},
		"another SAN":                       {func(i *Identity) { i.SAN = i.Workflow + "@refs/heads/mainn" }, "signing workflow"},
		"another branch of the workflow":    {func(i *Identity) { i.WorkflowRefs = []string{"refs/tags/*"} }, "signing workflow's ref"},
		"another commit of the workflow":    {func(i *Identity) { i.SignerDigest = other }, "signing workflow's commit"},
		"another repository":                {func(i *Identity) { i.Repository = "https://github.com/octo/app2" }, "repository"},
		"a new repository of that name":     {func(i *Identity) { i.RepositoryID = "4322" }, "repository id"},
		"another owner":                     {func(i *Identity) { i.OwnerID = "78" }, "owner id"},
		"another commit":                    {func(i *Identity) { i.Commit = other }, "commit"},
		"another branch":                    {func(i *Identity) { i.Refs = []string{"refs/heads/release/*"} }, "ref"},
		"a pattern that is a prefix":        {func(i *Identity) { i.Refs = []string{"refs/*"} }, "ref"},
		"another caller":                    {func(i *Identity) { i.Config = "https://github.com/octo/app/.github/workflows/ci.yml@refs/heads/main" }, "calling workflow"},
		"another commit of the caller":      {func(i *Identity) { i.ConfigDigest = other }, "calling workflow's commit"},
		"a run started by others":           {func(i *Identity) { i.Triggers = []string{"release"} }, "trigger"},
		"another attempt":                   {func(i *Identity) { i.Run = "https://github.com/octo/app/actions/runs/9001/attempts/2" }, "run"},
		"another runner":                    {func(i *Identity) { i.Runner = "self-hosted" }, "runner"},
		"a private repository":              {func(i *Identity) { i.Visibility = "private" }, "visibility"},
	} {
		t.Run(name, func(t *testing.T) {
			id := release(rig)
			c.change(&id)
			_, err := VerifyBundle(b, &Policy{Root: trusted, Identity: id})
			var e *CheckError
			if !errors.As(err, &e) || e.Kind != ErrIdentity || e.Check != c.check {
				t.Fatalf("error is %v, want one of the check %q", err, c.check)
			}
			if e.Want == "" || e.Got == "" || e.Do == "" {
				t.Errorf("it lacks what was expected, found or is to be done: %v", e)
			}
		})
	}
	for name, p := range map[string]*Policy{
		"nobody":                           {},
		"a root and nobody":                {Root: trusted},
		"an issuer only":                   {Root: trusted, Identity: Identity{Issuer: rig.Issuer.URL}},
		"a workflow only":                  {Root: trusted, Identity: Identity{Workflow: release(rig).Workflow}},
		"an identity, no root":             {Identity: release(rig)},
		"a key without a date, and a root": {Key: keys(t)["ECDSA"].Public(), Root: trusted},
		"a key to be dated by nobody":      {Key: keys(t)["ECDSA"].Public(), Dated: true},
		"a date alone":                     {Dated: true},
		"a key and an identity":            {Key: keys(t)["ECDSA"].Public(), Root: trusted, Identity: release(rig)},
	} {
		if _, err := VerifyBundle(b, p); !errors.Is(err, ErrPolicy) {
			t.Errorf("a policy with %s: %v", name, err)
		}
	}
}

// A fork's job has another repository id and a job of another workflow another
// SAN: the servers give them certificates as good as the right ones.
func TestJobsOfOthersAreRefused(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	trusted := trustedRoot(t, rig.RootNoLog)
	for name, c := range map[string]struct {
		claims sigstore.Claims
		check  string
	}{
		"a repository made anew under the name": {sigstore.Claims{"repository_id": "9999"}, "repository id"},
		"another workflow of the repository":    {sigstore.Claims{"job_workflow_ref": "octo/app/.github/workflows/lint.yml@refs/heads/main"}, "signing workflow"},
		"the workflow on another branch":        {sigstore.Claims{"job_workflow_ref": "octo/app/.github/workflows/release.yml@refs/heads/x"}, "signing workflow's ref"},
	} {
		t.Run(name, func(t *testing.T) {
			rig.Issuer.Set(sigstore.Job())
			rig.Issuer.Set(c.claims)
			s, _ := statement(t)
			b, err := Sign(within(t, time.Minute), s, keyless(t, rig))
			if err != nil {
				t.Fatal(err)
			}
			_, err = VerifyBundle(b, &Policy{Root: trusted, Identity: release(rig)})
			var e *CheckError
			if !errors.As(err, &e) || e.Check != c.check {
				t.Errorf("error is %v, want one of the check %q", err, c.check)
			}
		})
	}
	// The issuer of another rig, with the very same claims, is another issuer,
	// and its Fulcio is not in our root.
	foreign := sigstore.Start(t, sigstore.Options{})
	s, _ := statement(t)
	b, err := Sign(within(t, time.Minute), s, keyless(t, foreign))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyBundle(b, &Policy{Root: trusted, Identity: release(rig)}); !errors.Is(err, ErrTrust) {
		t.Errorf("another Sigstore's: %v", err)
	}
	_, err = VerifyBundle(b, &Policy{Root: trustedRoot(t, foreign.RootNoLog), Identity: release(rig)})
	if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), "issuer") {
		t.Errorf("another issuer with the same claims: %v", err)
	}
}

func TestACertificateIsNoProofWithoutATime(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	s, _ := statement(t)
	// Made first: its certificate was given when the other signature was made, too.
	before, err := Sign(within(t, time.Minute), s, keyless(t, rig))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Sign(within(t, time.Minute), s, keyless(t, rig))
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{Root: trustedRoot(t, rig.RootNoLog), Identity: release(rig)}
	alter := func(f func(m map[string]any)) []byte {
		t.Helper()
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	material := func(m map[string]any) map[string]any { return m["verificationMaterial"].(map[string]any) }
	envelope := func(m map[string]any) map[string]any { return m["dsseEnvelope"].(map[string]any) }
	payload, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var other map[string]any
	if err := json.Unmarshal(before, &other); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bundle []byte
		kind   error
		says   string
	}{
		"no time stamp": {alter(func(m map[string]any) { delete(material(m), "timestampVerificationData") }), ErrTrust, "time of the signature"},
		"the time stamp of another signature": {alter(func(m map[string]any) {
			material(m)["timestampVerificationData"] = material(other)["timestampVerificationData"]
		}), ErrTrust, "time of the signature"},
		"the certificate of another signature": {alter(func(m map[string]any) {
			material(m)["certificate"] = material(other)["certificate"]
		}), ErrSignature, "signature"},
		"a changed statement": {alter(func(m map[string]any) {
			envelope(m)["payload"] = base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(payload), `"fail"`, `"pass"`, 1)))
		}), ErrSignature, "changed after it was signed"},
		"two signatures": {alter(func(m map[string]any) {
			sig := envelope(m)["signatures"].([]any)[0]
			envelope(m)["signatures"] = []any{sig, sig}
		}), ErrBundle, "signatures in the envelope"},
		"a key in place of the certificate": {alter(func(m map[string]any) {
			material(m)["publicKey"] = map[string]any{"hint": "x"}
			delete(material(m), "certificate")
		}), ErrBundle, "want \"a certificate\""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := VerifyBundle(c.bundle, p)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error is %v, want one that is %q and says %q", err, c.kind, c.says)
			}
		})
	}
	if _, err := VerifyBundle(alter(func(map[string]any) {}), p); err != nil {
		t.Errorf("the unchanged bundle: %v", err)
	}
}

func TestAnIdentityTokenFromAFileSigns(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	token, err := rig.Issuer.Token(Audience)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := keyless(t, rig)
	k.Token = FileToken(file)
	s, _ := statement(t)
	if _, err := Sign(within(t, time.Minute), s, k); err != nil {
		t.Error(err)
	}
	// One for another audience is not taken.
	if token, err = rig.Issuer.Token("somebody"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(within(t, time.Minute), s, k); !errors.Is(err, ErrRefused) || errors.Is(err, ErrUnavailable) {
		t.Errorf("a token for another audience: %v", err)
	}
}

func TestALocalKeyCanBeDated(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{Rekor: true})
	key := keys(t)["ECDSA"]
	for config, rootFile := range map[string]string{rig.ConfigNoLog: rig.RootNoLog, rig.SigningConfig: rig.TrustedRoot} {
		s, _ := statement(t)
		trusted := trustedRoot(t, rootFile)
		b, err := Sign(within(t, time.Minute), s, &Key{Signer: key, Services: services(t, config), Root: trusted})
		if err != nil {
			t.Fatal(err)
		}
		res, err := VerifyBundle(b, &Policy{Key: key.Public(), Root: trusted, Dated: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Times) == 0 {
			t.Error("there is no time")
		}
		// And the key alone is enough for who has no root.
		if _, err := VerifyBundle(b, &Policy{Key: key.Public()}); err != nil {
			t.Error(err)
		}
	}
	s, _ := statement(t)
	bare, err := Sign(t.Context(), s, &Key{Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyBundle(bare, &Policy{Key: key.Public(), Root: trustedRoot(t, rig.RootNoLog), Dated: true}); !errors.Is(err, ErrTrust) {
		t.Errorf("without a time: %v", err)
	}
	if _, err := Sign(t.Context(), s, &Key{Signer: keys(t)["Ed25519"], Services: services(t, rig.SigningConfig)}); err == nil || !strings.Contains(err.Error(), "Ed25519") {
		t.Errorf("Rekor v2 with an Ed25519 key: %v", err)
	}
}

func TestAJobWithoutIdentityIsToldWhatItLacks(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	s, _ := statement(t)
	k := keyless(t, rig)
	k.Token = JobToken(func(string) string { return "" })
	if _, err := Sign(t.Context(), s, k); !errors.Is(err, ErrNoIdentity) || !strings.Contains(err.Error(), "id-token: write") {
		t.Errorf("without the right to ask: %v", err)
	}
	rig.RequestToken = "another"
	k.Token = JobToken(jobEnv(rig))
	_, err := Sign(within(t, time.Minute), s, k)
	var e *ServiceError
	if !errors.As(err, &e) || !errors.Is(err, ErrRefused) || e.Status != http.StatusUnauthorized || strings.Contains(err.Error(), "another") {
		t.Errorf("with another job's token: %v", err)
	}
	for _, token := range []string{"", "a.b", "a.!.c", "a.e30.c.d", "a.bm8.c"} {
		k.Token = func(context.Context, string) (string, error) { return token, nil }
		if _, err := Sign(t.Context(), s, k); err == nil || !strings.Contains(err.Error(), "not a JWT") {
			t.Errorf("with the token %q: %v", token, err)
		}
	}
}
