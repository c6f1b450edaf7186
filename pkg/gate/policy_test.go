package gate

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

const full = "../../examples/gates/release-gate.yml"

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(get(t, "../../docs/gate.schema.json")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("gate.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("gate.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fits(t testing.TB, s *jsonschema.Schema, policy []byte) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(policy, &v); err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestThePoliciesThatWeShowAreRightAndTheFullOneHasEveryKey(t *testing.T) {
	s := schema(t)
	text := string(get(t, "../../docs/gate.md"))
	_, block, found := strings.Cut(text, "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	if !found {
		t.Fatal("docs/gate.md has no example")
	}
	for name, data := range map[string][]byte{"docs/gate.md": []byte(block), full: get(t, full)} {
		if _, err := ParsePolicy(name, data); err != nil {
			t.Error(err)
		}
		if err := fits(t, s, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// With the files that it names.
	dir := t.TempDir()
	_, public := newKey(t)
	put(t, filepath.Join(dir, "release.pub"), public)
	put(t, filepath.Join(dir, "issuer-keys.json"), []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	put(t, filepath.Join(dir, "posture.yml"), get(t, "../../examples/gates/posture.yml"))
	p := load(t, dir, string(get(t, full)))
	want := Require{
		Level: E2, Verdict: "pass", MaxScore: 10, MinTightness: map[string]int{"egress": 500, "exec": 0, "write": 0, "credentials": 0},
		NoFindings: "high", Coverage: true, MaxAge: 7 * 24 * time.Hour, MaxSilence: 2 * time.Second, EveryJob: true, Power: "granted",
	}
	got := p.Require
	if got.Level != want.Level || got.Verdict != want.Verdict || got.MaxScore != want.MaxScore || got.NoFindings != want.NoFindings || !got.Coverage || got.MaxAge != want.MaxAge ||
		got.MaxSilence != want.MaxSilence || !got.EveryJob || !slices.Equal(got.Except, []string{"gate", "publish"}) || !slices.Equal(got.Jobs, []string{"build"}) || got.Power != want.Power || got.MinTightness["egress"] != 500 ||
		got.MaxStart != 2*time.Minute || got.MaxUnwitnessed != time.Minute || !slices.Equal(got.WrittenBy, []string{"npm", "/usr/bin/tar"}) {
		t.Errorf("%+v", got)
	}
	if len(p.Identities) != 4 || p.Identities[2].Service != "build-7.example" || p.Identities[2].Until.IsZero() || p.Identities[0].Runner != "github-hosted" || p.Identities[1].Signer != "octo/flows/.github/workflows/build.yml" || p.Identities[3].key == nil || len(p.Sources) != 3 || p.Trust.root == nil || len(p.Trust.keys.Keys) != 1 || p.Trust.witness == nil || len(p.Trust.WitnessKeys) != 1 {
		t.Errorf("%+v", p.Identities)
	}
	for _, key := range []string{"level", "verdict", "max-score", "min-tightness", "no-findings", "coverage", "max-age", "max-silence", "intent", "signatures", "every-job", "jobs", "power", "max-start", "max-unwitnessed", "max-undated", "subjects", "written-by", "jwks", "witness", "witness-keys", "rekor", "commit-status",
		"issuer", "server", "repository", "repository-id", "owner-id", "workflow", "signer", "ref", "triggers", "runner", "key", "service", "runs", "until", "root", "log", "certificate-log", "actions", "directory", "github", "registry"} {
		if !strings.Contains(string(get(t, full)), key+":") {
			t.Errorf("the full example does not show %s", key)
		}
		if !strings.Contains(string(get(t, "../../docs/gate.schema.json")), `"`+key+`"`) {
			t.Errorf("the schema does not have %s", key)
		}
	}
}

func TestMistakesInAPolicyAreToldWithTheirPlace(t *testing.T) {
	const who = "identities: [{repository: o/r, repository-id: 1, owner-id: 2, workflow: .github/workflows/r.yml@main}]\ntrust: {root: public}\n"
	if _, err := ParsePolicy("g.yml", []byte("version: 1\n"+who)); err != nil {
		t.Fatal(err)
	}
	for policy, want := range map[string]string{
		"":                         "want one document",
		"version: 2\n" + who:       `g.yml:1:10: this program reads version 1: "2"`,
		who:                        `"version: 1" is missing`,
		"version: 1\nrequired: {}": `g.yml:2:1: unknown key`,
		"version: 1\nrequire: {levl: E2}\n" + who:                                                           `did you mean "level"`,
		"version: 1\nrequire: {level: E5}\n" + who:                                                          `g.yml:2:18: want E0, E1, E2, E3, E4`,
		"version: 1\nrequire: {jobs: []}\n" + who:                                                           `names no job`,
		"version: 1\nrequire: {subjects: {}}\n" + who:                                                       `g.yml:2:21: asks for nothing`,
		"version: 1\nrequire: {signatures: {}}\n" + who:                                                     `g.yml:2:23: asks for nothing`,
		"version: 1\nrequire: {subjects: {written-by: []}}\n" + who:                                         `names no program`,
		"version: 1\nrequire: {subjects: {made-by: [tar]}}\n" + who:                                         `unknown key`,
		"version: 1\nrequire: {max-unwitnessed: 0s}\n" + who:                                                `want a time`,
		"version: 1\n" + strings.Replace(who, "public", "public, witness: https://w.example", 1):            `witness-keys is missing`,
		"version: 1\n" + strings.Replace(who, "public", "public, witness: w.example, witness-keys: [x]", 1): `want a URL`,
		"version: 1\n" + strings.Replace(who, "public", "public, witness-keys: [w+00000000+AAAA]", 1):       `as 'witness keygen' prints it`,
		"version: 1\n" + strings.Replace(strings.Replace(who, "main}]", "main}, {issuer: https://i.example, repository: o/r, repository-id: 1, owner-id: 2, workflow: .github/workflows/r.yml@main}]", 1), "public", "public, jwks: k.json", 1): `keys of one issuer, and identities name 2`,
		"version: 1\nrequire: {verdict: pass}\n" + who:                                  `needs an intent of the gate's own`,
		"version: 1\nrequire: {max-score: 3}\n" + who:                                   `needs an intent`,
		"version: 1\nrequire: {power: granted}\n" + who:                                 `needs an intent`,
		"version: 1\nrequire: {max-score: 101, intent: {file: x}}\n" + who:              `from 0 to 100`,
		"version: 1\nrequire: {max-age: 7}\n" + who:                                     `want a time`,
		"version: 1\nrequire: {max-age: 0d}\n" + who:                                    `want a time`,
		"version: 1\nrequire: {intent: {}}\n" + who:                                     `want either`,
		"version: 1\nrequire: {intent: {sha256: AB}}\n" + who:                           `64 hexadecimal`,
		"version: 1\nrequire: {coverage: partial}\n" + who:                              `want complete`,
		"version: 1\ntrust: {root: public}\n":                                           `"identities" is missing`,
		"version: 1\nidentities: [{key: k.pem}]\n":                                      `out of reach of keys`,
		"version: 1\n" + strings.Replace(who, "root: public", "", 1):                    `"trust" is missing`,
		"version: 1\n" + strings.Replace(who, "repository-id: 1, ", "", 1):              `"repository-id" is missing`,
		"version: 1\n" + strings.Replace(who, "owner-id: 2, ", "", 1):                   `"owner-id" is missing`,
		"version: 1\n" + strings.Replace(who, "o/r", "o/*", 1):                          `to the letter`,
		"version: 1\n" + strings.Replace(who, "r.yml@", "*.yml@", 1):                    `to the letter`,
		"version: 1\n" + strings.Replace(who, "r.yml@main", "r.yml", 1):                 `FILE@REF`,
		"version: 1\n" + strings.Replace(who, ".github/workflows/", "x", 1):             `.github/workflows/`,
		"version: 1\n" + strings.Replace(who, "owner-id", "key: k, x", 1):               `unknown key`,
		"version: 1\n" + strings.Replace(who, "public", "public, actions: [o/r@v1]", 1): `40 digits`,
		"version: 1\n" + who + "sources: [{github: o/r, registry: x}]\n":                `one of directory, github and registry`,
		"version: 1\n" + strings.Repeat("a: ", 40) + "1\n":                              `not YAML`,
		"version: 1\nversion: 1\n" + who:                                                `stands already`,
	} {
		_, err := ParsePolicy("g.yml", []byte(policy))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", policy, err, want)
		}
	}
}

// A policy that is taken says whose word counts.
func FuzzParsePolicy(f *testing.F) {
	f.Add(get(f, full))
	f.Add([]byte("version: 1\nrequire: {level: E0, max-age: 1h30m}\n"))
	f.Add([]byte("version: 1\nrequire: {min-tightness: 5, intent: {file: x}, level: E0}\nsources: [{registry: a/b}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("g.yml", data)
		if err != nil {
			if p != nil {
				t.Error("a policy and an error")
			}
			return
		}
		if p.Require.Level < E0 || p.Require.MaxSilence <= 0 || p.Require.Level > E0 && len(p.Identities) == 0 {
			t.Errorf("%+v", p)
		}
		for i := range p.Identities {
			if id := &p.Identities[i]; id.KeyFile == "" && (id.RepositoryID == "" || id.OwnerID == "" || id.Workflow == "" || len(id.WorkflowRefs) == 0 || len(id.Triggers) == 0 || id.Issuer == "") {
				t.Errorf("an identity that says nothing: %+v", id)
			}
		}
	})
}

// What comes from outside is refused or read, and never a pass.
func FuzzDecideOnABundle(f *testing.F) {
	by, public := newKey(f)
	dir := recorded(f, nil)
	sign(f, dir, by, statement(f, dir))
	good := get(f, filepath.Join(dir, "attestation.json"))
	_, other := newKey(f)
	policy := keyPolicy(f, other, "")
	passes(f, decide(f, keyPolicy(f, public, ""), nil, dir), E1)
	f.Add(good)
	f.Add([]byte(`{"dsseEnvelope":{"payload":"e30="}}`))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		if d := Decide(t.Context(), &Input{Policy: policy, Artifacts: []Artifact{artifact}, Now: time.Now(), found: []Candidate{{Where: "x", Bundle: bundle}}}); d.Outcome == Passed {
			t.Errorf("passed:\n%s", text(t, d))
		}
		manifests(bundle)
	})
}

func TestFoldersAreReadWithoutFollowingLinks(t *testing.T) {
	by, _ := newKey(t)
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir))
	many := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(many, "link")); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadPath(many); err != nil || len(list) != 0 {
		t.Errorf("a link was followed: %v, %d", err, len(list))
	}
	if _, err := ReadPath(filepath.Join(many, "link")); err == nil {
		t.Error("a link was read")
	}
	if err := os.CopyFS(filepath.Join(many, "a", "b"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadPath(many); err != nil || len(list) != 1 || list[0].Dir == "" || list[0].Named {
		t.Errorf("%v, %+v", err, list)
	}
	linked := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "attestation.json"), filepath.Join(linked, "attestation.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPath(linked); err == nil {
		t.Error("a linked bundle was read")
	}
}
