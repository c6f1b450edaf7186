package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
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
	"github.com/klauspost/compress/snappy"

	"github.com/org/edamame-posture/pkg/attest"
)

// hub answers as GitHub's API does, and keeps what it was sent.
type hub struct {
	server *httptest.Server
	answer map[string]func(w http.ResponseWriter, r *http.Request)
	got    []string // method, path and body of what was posted
	tokens []string // by path
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{answer: map[string]func(http.ResponseWriter, *http.Request){}}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.tokens = append(h.tokens, r.URL.Path+" "+r.Header.Get("Authorization"))
		if r.Method == http.MethodPost {
			b, _ := io.ReadAll(r.Body)
			h.got = append(h.got, r.Method+" "+r.URL.Path+" "+string(b))
		}
		if f := h.answer[r.URL.Path]; f != nil {
			f(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(h.server.Close)
	return h
}

func (h *hub) client(t *testing.T, ctx context.Context) *GitHub {
	t.Helper()
	g, err := NewGitHub(ctx, h.server.URL, "octo/app", "secret")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAttestationsAreFoundAtGitHubInlineAndElsewhere(t *testing.T) {
	by, public := newKey(t)
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir))
	bundle := get(t, filepath.Join(dir, "attestation.json"))
	second := recorded(t, nil)
	sign(t, second, by, statement(t, second))
	h := newHub(t)
	at := "/repos/octo/app/attestations/sha256:" + artifact.SHA256
	h.answer[at] = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "" {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?per_page=100&after=x>; rel="next"`, h.server.URL, at))
			fmt.Fprintf(w, `{"attestations":[{"bundle":%s,"repository_id":4321}]}`, bundle)
			return
		}
		fmt.Fprintf(w, `{"attestations":[{"bundle":null,"bundle_url":"%s/blob?sig=x"}]}`, h.server.URL)
	}
	h.answer["/blob"] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(snappy.Encode(nil, get(t, filepath.Join(second, "attestation.json"))))
	}
	found, err := h.client(t, t.Context()).Attestations(t.Context(), artifact.SHA256)
	if err != nil || len(found) != 2 {
		t.Fatalf("%v, %d", err, len(found))
	}
	if i := slices.IndexFunc(h.tokens, func(s string) bool { return strings.HasPrefix(s, "/blob") }); i < 0 || strings.Contains(h.tokens[i], "secret") {
		t.Errorf("the token was sent to where the bundle lies: %v", h.tokens)
	}
	// The store has the statement, the job's artifact the evidence.
	policy := keyPolicy(t, public, "")
	evidence, err := ReadPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	one := func(in *Input) {
		in.Add(found[:1], nil)
		in.AddEvidence(evidence)
	}
	passes(t, decide(t, policy, one), E1)
	refuses(t, decide(t, policy, func(in *Input) { in.Add(found[:1], nil) }), EvidenceMissing)

	h.answer["/blob"] = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\xff\xff\xff\xff\x0f")) }
	if _, err := h.client(t, t.Context()).Attestations(t.Context(), artifact.SHA256); err == nil {
		t.Error("a bundle of 4 GiB was unpacked")
	}
	// No attestation is nothing, and no error.
	if found, err := h.client(t, t.Context()).Attestations(t.Context(), sum("other")); err != nil || len(found) != 0 {
		t.Errorf("of another artifact: %v, %d", err, len(found))
	}
	// A page that is said to be on another host gets neither us nor our token.
	h.answer["/repos/octo/app/attestations/sha256:"+sum("led away")] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", `<https://mallory.example/next>; rel="next"`)
		fmt.Fprint(w, `{"attestations":[]}`)
	}
	if _, err := h.client(t, t.Context()).Attestations(t.Context(), sum("led away")); err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("led away: %v", err)
	}
	// Down is not nothing.
	h.answer[at] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := h.client(t, ctx).Attestations(ctx, artifact.SHA256); !silent(err) {
		t.Errorf("503: %v", err)
	}
	// As GitHub limits who asks too often: nothing is left until then.
	h.answer[at] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
		w.WriteHeader(http.StatusForbidden)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := h.client(t, ctx).Attestations(ctx, artifact.SHA256); !silent(err) || strings.Contains(err.Error(), "attestations: read") {
		t.Errorf("limited: %v", err)
	}
	// Once more: it said so before, with an answer that was good.
	h.answer[at] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "60")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
		fmt.Fprint(w, `{"attestations":[]}`)
	}
	g := h.client(t, t.Context())
	if _, err := g.Attestations(t.Context(), artifact.SHA256); err != nil {
		t.Error(err)
	}
	if _, err := g.Attestations(t.Context(), artifact.SHA256); !errors.Is(err, attest.ErrUnavailable) {
		t.Errorf("known to be limited: %v", err)
	}
	h.answer[at] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Remaining", "59")
		w.WriteHeader(http.StatusForbidden)
	}
	if _, err := h.client(t, t.Context()).Attestations(t.Context(), artifact.SHA256); err == nil || errors.Is(err, attest.ErrUnavailable) || !strings.Contains(err.Error(), "attestations: read") {
		t.Errorf("403: %v", err)
	}
}

func TestTheJobsOfARunAreListedWhole(t *testing.T) {
	h := newHub(t)
	const run = "https://github.com/octo/app/actions/runs/9001/attempts/2"
	list := func(jobs string, total int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("page") != "1" {
				jobs = ""
			}
			fmt.Fprintf(w, `{"total_count":%d,"jobs":[%s]}`, total, jobs)
		}
	}
	at := "/repos/octo/app/actions/runs/9001/attempts/2/jobs"
	const build = `{"id":5,"name":"build","run_id":9001,"run_attempt":1,"status":"completed","conclusion":"success","started_at":"2026-11-28T09:00:00Z"}`
	h.answer[at] = list(build, 1)
	jobs, err := h.client(t, t.Context()).Jobs(t.Context(), run)
	if err != nil || !slices.Equal(jobs, []Job{{5, "build", 1, "completed", "success", time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)}}) {
		t.Fatalf("%v, %v", jobs, err)
	}
	h.answer[at] = list(build, 2)
	if _, err := h.client(t, t.Context()).Jobs(t.Context(), run); err == nil {
		t.Error("a list that lacks a job was taken")
	}
	h.answer[at] = list(strings.Replace(build, "9001", "9002", 1), 1)
	if _, err := h.client(t, t.Context()).Jobs(t.Context(), run); err == nil {
		t.Error("the jobs of another run were taken")
	}
	for _, run := range []string{"", "https://github.com/mallory/app/actions/runs/9001/attempts/2", "https://github.com/octo/app/actions/runs/9001", "https://github.com/octo/app/actions/runs/../9001/attempts/2"} {
		if _, err := h.client(t, t.Context()).Jobs(t.Context(), run); err == nil {
			t.Errorf("%q was asked for", run)
		}
	}
}

// hostile is what a job may call things.
const hostile = "</summary><img src=x>@octo www.example.com [a](b) | x\n::set-output\x1b[2J\u202e"

func decided(outcome Status) *Decision {
	d := &Decision{
		Version: 1, Outcome: outcome, Level: E2, Policy: PolicyName{"gate.yml", sum("p")}, Time: time.Date(2026, 11, 28, 9, 0, 0, 1, time.UTC),
		Artifact: []Artifact{artifact}, Statements: []*Statement{{Where: hostile, Level: E2, Job: hostile, bundle: []byte("b"), Checks: []Check{{Name: "identity", Level: E2, Status: Passed, Got: hostile}}}},
	}
	if outcome != Passed {
		d.Reasons = []Reason{HasFinding}
		d.Checks = []Check{{Name: hostile, Status: outcome, Reason: HasFinding, Want: hostile, Got: hostile, Do: hostile}}
	}
	return d
}

func TestWhatAJobNamedIsInertInAllOutput(t *testing.T) {
	for _, outcome := range []Status{Passed, Refused, Unknown} {
		d := decided(outcome)
		var md strings.Builder
		if err := d.Markdown(&md); err != nil {
			t.Fatal(err)
		}
		for name, out := range map[string]string{"Markdown": md.String(), "text": text(t, d)} {
			for _, bad := range []string{"\x1b", "\u202e", "\n::"} {
				if strings.Contains(out, bad) {
					t.Errorf("%s has %q:\n%s", name, bad, out)
				}
			}
		}
		for _, bad := range []string{"<img", "</summary", "@octo", "www.", "[a]", "b) |"} {
			if strings.Contains(md.String(), bad) {
				t.Errorf("Markdown has %q:\n%s", bad, &md)
			}
		}
	}
	d := decided(Refused)
	for range 1000 {
		d.Checks = append(d.Checks, d.Checks[0])
	}
	var md strings.Builder
	if err := d.Markdown(&md); err != nil || md.Len() > maxMarkdown || !strings.Contains(md.String(), "more are not shown") {
		t.Errorf("%v, %d bytes", err, md.Len())
	}
}

func TestADecisionIsACheckRunAndAnswersADeployment(t *testing.T) {
	h := newHub(t)
	created := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":1}`)
	}
	h.answer["/repos/octo/app/check-runs"] = created
	h.answer["/repos/octo/app/actions/runs/9001/deployment_protection_rule"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	callback := h.server.URL + "/repos/octo/app/actions/runs/9001/deployment_protection_rule"
	for outcome, want := range map[Status]struct{ conclusion, state string }{
		Passed: {"success", "approved"}, Refused: {"failure", "rejected"}, Unknown: {"action_required", ""},
	} {
		h.got = nil
		g := h.client(t, t.Context())
		if err := g.CheckRun(t.Context(), "posture", commit, decided(outcome)); err != nil {
			t.Fatal(err)
		}
		if err := g.ReviewDeployment(t.Context(), callback, "production", decided(outcome)); err != nil {
			t.Fatal(err)
		}
		if len(h.got) != 2 {
			t.Fatalf("posted: %v", h.got)
		}
		var check struct {
			Name, Conclusion, Status string
			Head                     string `json:"head_sha"`
			Output                   struct{ Title, Summary string }
		}
		_, body, _ := strings.Cut(h.got[0], "check-runs ")
		if err := json.Unmarshal([]byte(body), &check); err != nil {
			t.Fatal(err)
		}
		if check.Name != "posture" || check.Conclusion != want.conclusion || check.Status != "completed" || check.Head != commit || !strings.HasPrefix(check.Output.Title, string(outcome)) || check.Output.Summary == "" {
			t.Errorf("check run: %+v", check)
		}
		var review struct {
			State, Comment string
			Environment    string `json:"environment_name"`
		}
		_, body, _ = strings.Cut(h.got[1], "deployment_protection_rule ")
		if err := json.Unmarshal([]byte(body), &review); err != nil {
			t.Fatal(err)
		}
		if review.State != want.state || review.Environment != "production" || strings.Contains(review.Comment, "@octo") || len(review.Comment) > maxComment {
			t.Errorf("review: %+v", review)
		}
	}
	// The callback comes from outside: the token goes to our API alone.
	for _, bad := range []string{"https://mallory.example/repos/octo/app/actions/runs/1/deployment_protection_rule", h.server.URL + "/repos/mallory/app/actions/runs/1/deployment_protection_rule", h.server.URL + "/repos/octo/app/actions/runs/../../x/deployment_protection_rule"} {
		if err := h.client(t, t.Context()).ReviewDeployment(t.Context(), bad, "production", decided(Passed)); err == nil {
			t.Errorf("%s was answered", bad)
		}
	}
}

func TestAVerificationSummaryIsSignedAndOnlyOfWhatWasDecided(t *testing.T) {
	by, _ := newKey(t)
	for outcome, want := range map[Status]struct {
		result string
		levels []string
	}{
		Passed:  {"PASSED", []string{"EDAMAME_POSTURE_E0", "EDAMAME_POSTURE_E1", "EDAMAME_POSTURE_E2"}},
		Refused: {"FAILED", []string{"FAILED"}},
	} {
		payload, err := decided(outcome).VSA(Summary{Resource: "pkg:npm/app@1", Version: "1"})
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := attest.SignPayload(t.Context(), payload, by)
		if err != nil {
			t.Fatal(err)
		}
		res, err := attest.VerifyBundle(bundle, &attest.Policy{Key: by.Signer.Public(), PredicateType: VSAType, Subjects: []string{artifact.SHA256}})
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Predicate struct {
				Verifier           struct{ ID string }
				TimeVerified       time.Time
				ResourceURI        string
				Policy             resource
				InputAttestations  []resource
				VerificationResult string
				VerifiedLevels     []string
			}
		}
		if err := json.Unmarshal(res.Payload, &s); err != nil {
			t.Fatal(err)
		}
		p := s.Predicate
		if p.VerificationResult != want.result || !slices.Equal(p.VerifiedLevels, want.levels) || p.Verifier.ID != VerifierID || p.ResourceURI != "pkg:npm/app@1" ||
			p.Policy.Digest["sha256"] != sum("p") || len(p.InputAttestations) != 1 || p.InputAttestations[0].Digest["sha256"] != sum("b") || p.TimeVerified.IsZero() {
			t.Errorf("%+v", p)
		}
		env, err := Envelope(bundle, "ab")
		if err != nil || !strings.Contains(string(env), `"keyid":"ab"`) || !strings.Contains(string(env), `"payloadType":"application/vnd.in-toto+json"`) {
			t.Errorf("%v: %s", err, env)
		}
	}
	if _, err := decided(Unknown).VSA(Summary{}); err == nil {
		t.Error("what could not be checked has a summary")
	}
}

func TestBundlesAreFoundInARegistry(t *testing.T) {
	by, public := newKey(t)
	dir := recorded(t, nil)
	for api, enabled := range map[string]bool{"by the referrers API": true, "by its tag": false} {
		t.Run(api, func(t *testing.T) {
			server := httptest.NewServer(registry.New(registry.WithReferrersSupport(enabled), registry.Logger(log.New(io.Discard, "", 0))))
			repository := strings.TrimPrefix(server.URL, "http://") + "/octo/app"
			image, err := random.Image(100, 1)
			if err != nil {
				t.Fatal(err)
			}
			sum, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			subject, err := name.NewDigest(repository + "@" + sum.String())
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(subject, image); err != nil {
				t.Fatal(err)
			}
			if found, err := Referrers(t.Context(), repository, sum.Hex); err != nil || len(found) != 0 {
				t.Fatalf("before: %v, %d", err, len(found))
			}
			sign(t, dir, by, statement(t, dir, attest.Subject{Name: "octo/app", Digest: attest.Digest{SHA256: sum.Hex}}))
			attach(t, subject, image, get(t, filepath.Join(dir, "attestation.json")), "application/vnd.dev.sigstore.bundle.v0.3+json")
			attach(t, subject, image, []byte("an SBOM"), "application/spdx+json")
			found, err := Referrers(t.Context(), repository, sum.Hex)
			if err != nil || len(found) != 1 {
				t.Fatalf("%v, %d", err, len(found))
			}
			evidence, err := ReadPath(dir)
			if err != nil {
				t.Fatal(err)
			}
			d := decide(t, keyPolicy(t, public, ""), func(in *Input) {
				in.Artifacts = []Artifact{{Name: "octo/app", SHA256: sum.Hex}}
				in.Add(found, nil)
				in.AddEvidence(evidence)
			})
			passes(t, d, E1)
			server.Close()
			if _, err := Referrers(t.Context(), repository, sum.Hex); !errors.Is(err, attest.ErrUnavailable) {
				t.Errorf("the registry is down: %v", err)
			}
		})
	}
}

// attach puts a file beside an image, as cosign does.
func attach(t *testing.T, subject name.Digest, image v1.Image, content []byte, kind types.MediaType) {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), kind)
	img, err := mutate.AppendLayers(img, static.NewLayer(content, kind))
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
