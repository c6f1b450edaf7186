package gate

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sigstore/sigstore-go/pkg/root"
	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/witness"
)

// PolicyVersion is the version of the release policy that this package reads.
const PolicyVersion = 1

// What is asked unless the policy says otherwise.
const (
	defaultStart       = 2 * time.Minute
	defaultUnwitnessed = time.Minute
)

// Bounds of a policy.
const (
	maxIdentities = 64
	maxNames      = 256
)

// Policy is a release policy: what must be so, whose word counts, and what it
// is checked against. docs/gate.md is the reference.
type Policy struct {
	File       string
	SHA256     string // of the file, hex
	Require    Require
	Identities []Identity
	Trust      Trust
	Sources    []Source

	intent *intent.Policy // of Require.Intent.File
}

// Require is what must be so. A zero value asks for nothing, but for Level,
// MaxSilence, MaxStart and MaxUnwitnessed, which have defaults.
type Require struct {
	Level        Level
	Verdict      string // pass, or review: no worse than that
	MaxScore     int    // -1: any
	MinTightness map[string]int
	NoFindings   string // the lowest severity that refuses; empty: none does
	Coverage     bool   // complete
	MaxAge       time.Duration
	MaxSilence   time.Duration // between two checkpoints, by the time since boot
	Intent       Intent
	Signatures   Signatures
	EveryJob     bool
	Except       []string // jobs that every-job does not ask for
	Jobs         []string
	Power        string // none, or granted
	// MaxStart is how long after GitHub began the job its start token may be.
	MaxStart time.Duration
	// MaxUnwitnessed is how long the witness may have heard nothing of the log.
	MaxUnwitnessed time.Duration
	// MaxUndated is how long, by the log's clock, no timestamp authority may have
	// dated it; 0: any time.
	MaxUndated time.Duration
	// WrittenBy are the programs, by name or path, one of which must have
	// written what is released, or have led to who did.
	WrittenBy []string
}

// Intent says with what intent the gate judges: its own, never the evidence's.
type Intent struct {
	File   string // beside the policy
	Job    string // section of it; left out, that of the recorded job
	SHA256 string // of the resolved intent, which the evidence must hold then
}

// Signatures says which rules the recording must have been watched with. The
// gate judges with its own anyway.
type Signatures struct {
	NotOlderThan int
	SHA256       string
}

// Identity is one signer that is believed: a key, or a workflow.
type Identity struct {
	KeyFile string

	// Service is the name of an enrolled machine, whose key KeyFile holds then.
	Service string
	Runs    []string  // what the ids of its runs begin with
	Until   time.Time // when its enrolment ends; zero: never

	Issuer       string
	Server       string // https://github.com
	Repository   string // OWNER/REPO
	RepositoryID string
	OwnerID      string
	Workflow     string // path of the workflow that is started
	WorkflowRefs []string
	Signer       string // OWNER/REPO/PATH of a called workflow in which the job stands
	SignerRefs   []string
	Refs         []string
	Triggers     []string
	Runner       string

	key crypto.PublicKey
}

// Trust is what signatures are checked against.
type Trust struct {
	Root        string // public, tuf or a file
	LogOptional bool
	SCTOptional bool
	// Actions are releases of the action that are known, OWNER/REPO@COMMIT: one
	// of them must be the first step of the recorded job, for E3.
	Actions []string
	// JWKS are files with keys of the identities' issuer (RFC 7517), old ones
	// too: a token is checked with those of the time when it was made.
	JWKS []string
	// Witness is the URL of the witness that is asked, and WitnessKeys are the
	// verifier keys (C2SP signed-note) of those that are believed.
	Witness     string
	WitnessKeys []string
	// Rekor is the URL of a transparency log, Rekor v1, where first records are
	// looked up if no witness is named.
	Rekor string
	// Statuses says that first records are looked up among the statuses of the
	// commit at GitHub, if neither is named.
	Statuses bool

	root    root.TrustedMaterial
	keys    *jose.JSONWebKeySet
	witness *witness.Client
}

// Source is a place of statements, besides those that are given.
type Source struct {
	Directory string
	GitHub    string // OWNER/REPO
	Registry  string // HOST/NAME
}

// DefaultTriggers are those that only who may push to the repository can cause.
var DefaultTriggers = []string{"push", "release", "schedule", "workflow_dispatch", "merge_group"}

// GitHubIssuer is the issuer of GitHub's identity tokens.
const GitHubIssuer = "https://token.actions.githubusercontent.com"

// ParsePolicy reads a policy; name stands in errors, which are of type
// [document.Errors] and tell all that is wrong. No other file is read.
func ParsePolicy(name string, data []byte) (*Policy, error) {
	src, docs := document.Parse(name, data)
	p := &parser{Source: src, policy: &Policy{File: name}}
	p.policy.Require = Require{Level: E2, MaxScore: -1, MaxSilence: defaultSilence, MaxStart: defaultStart, MaxUnwitnessed: defaultUnwitnessed}
	switch {
	case p.Failed():
	case len(docs) != 1:
		return nil, document.Errors{{File: name, Line: 1, Column: 1, Message: `want one document, which begins with "version: 1"`}}
	default:
		p.file(docs[0])
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	p.policy.SHA256 = digest(data)
	return p.policy, nil
}

// LoadPolicy reads a policy file and the files that it names, which are found
// beside it.
func LoadPolicy(name string) (*Policy, error) {
	data, err := readAny(name, document.MaxBytes)
	if err != nil {
		return nil, err
	}
	p, err := ParsePolicy(name, data)
	if err != nil {
		return nil, err
	}
	beside := func(name string, max int64) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(p.File), name)
		}
		return readAny(name, max)
	}
	for i := range p.Identities {
		id := &p.Identities[i]
		if id.KeyFile == "" {
			continue
		}
		pem, err := beside(id.KeyFile, 1<<20)
		if err == nil {
			id.key, err = attest.LoadPublicKey(pem)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: key %s: %w", name, id.KeyFile, err)
		}
	}
	switch p.Trust.Root {
	case "":
	case "public":
		p.Trust.root = attest.PublicRoot()
	case "tuf":
		p.Trust.root, err = attest.CachedRoot("", "", nil, false)
	default:
		var data []byte
		if data, err = beside(p.Trust.Root, 1<<20); err == nil {
			p.Trust.root, err = attest.LoadTrustedRoot(data)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: trust: %w", name, err)
	}
	for _, f := range p.Trust.JWKS {
		data, err := beside(f, 1<<20)
		var keys jose.JSONWebKeySet
		if err == nil {
			keys, err = witness.ParseJWKS(data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: trust: jwks: %s: %w", name, f, err)
		}
		if p.Trust.keys == nil {
			p.Trust.keys = new(jose.JSONWebKeySet)
		}
		p.Trust.keys.Keys = append(p.Trust.keys.Keys, keys.Keys...)
	}
	if p.Trust.Witness != "" {
		if p.Trust.witness, err = witness.NewClient(p.Trust.Witness, p.Trust.WitnessKeys...); err != nil {
			return nil, fmt.Errorf("%s: trust: %w", name, err)
		}
	}
	if f := p.Require.Intent.File; f != "" {
		data, err := beside(f, document.MaxBytes)
		if err == nil {
			p.intent, err = intent.Parse(f, data)
		}
		if err == nil && p.Require.Intent.Job != "" {
			_, err = p.intent.Resolve(p.Require.Intent.Job)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: intent: %w", name, err)
		}
	}
	return p, nil
}

// readAny reads what the gate's own side names, which may be a pipe.
func readAny(name string, max int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%s is longer than %d bytes", name, max)
	}
	return b, err
}

var pinnedAction = regexp.MustCompile(`^[^@/\s]+/[^@\s]+@[0-9a-f]{40}$`)

var plainService = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,99}$`)

type parser struct {
	*document.Source
	policy *Policy
	// judged are the rules that mean nothing without an intent of the gate's.
	judged []document.Pair
}

func (p *parser) file(n *yaml.Node) {
	version := false
	for _, e := range p.Mapping(n, "version", "require", "identities", "trust", "sources") {
		switch e.Key {
		case "version":
			version = true
			if e.Value.Value != strconv.Itoa(PolicyVersion) {
				p.Fail(e.Value, "this program reads version %d", PolicyVersion)
			}
		case "require":
			p.require(e.Value)
		case "identities":
			items := p.List(e.Value)
			if len(items) > maxIdentities {
				p.Fail(e.Value, "more than %d identities", maxIdentities)
				return
			}
			for _, i := range items {
				p.identity(i)
			}
		case "trust":
			p.trust(e.Value)
		case "sources":
			for _, i := range p.List(e.Value) {
				p.source(i)
			}
		}
	}
	if n.Kind != yaml.MappingNode || p.Failed() {
		return
	}
	pol := p.policy
	keys := 0
	services := 0
	for _, id := range pol.Identities {
		switch {
		case id.Service != "":
			services++
		case id.KeyFile != "":
			keys++
		}
	}
	switch {
	case !version:
		p.Fail(n, `"version: %d" is missing`, PolicyVersion)
	case len(pol.Identities) == 0 && pol.Require.Level > E0:
		p.Fail(n, `"identities" is missing: whose word counts?`)
	case keys == len(pol.Identities) && pol.Require.Level > E1:
		p.Fail(n, "level %s is out of reach of keys alone: name a workflow in identities, or write level: E1", pol.Require.Level)
	case keys+services < len(pol.Identities) && pol.Trust.Root == "":
		p.Fail(n, `"trust" is missing: an identity is checked against a root, "trust: {root: public}" or a file`)
	case pol.Require.MaxUndated > 0 && pol.Trust.Root == "":
		p.Fail(n, `max-undated needs "trust: {root: …}": it says whose timestamp authorities are believed`)
	}
	issuers := map[string]bool{}
	for _, id := range pol.Identities {
		if id.KeyFile == "" {
			issuers[id.Issuer] = true
		}
	}
	if len(pol.Trust.JWKS) > 0 && len(issuers) > 1 {
		p.Fail(n, "trust: jwks are the keys of one issuer, and identities name %d: write a policy for each", len(issuers))
	}
	if pol.Require.Intent.File == "" && pol.Require.Intent.SHA256 == "" {
		for _, e := range p.judged {
			p.Fail(e.At, "needs an intent of the gate's own, for what the recording brings was written by who is judged: add intent: {file: …} or {sha256: …}")
		}
	}
}

func (p *parser) require(n *yaml.Node) {
	r := &p.policy.Require
	for _, e := range p.Mapping(n, "level", "verdict", "max-score", "min-tightness", "no-findings", "coverage", "max-age", "max-silence", "intent", "signatures", "every-job", "jobs", "power", "max-start", "max-unwitnessed", "max-undated", "subjects") {
		// Who wrote it believes that it asks for something.
		if e.Value.Kind == yaml.MappingNode && len(e.Value.Content) == 0 && e.Key != "intent" {
			p.Fail(e.Value, "asks for nothing: say what %s must be, or leave it out", e.Key)
			continue
		}
		switch e.Key {
		case "max-start":
			r.MaxStart = p.duration(e.Value)
		case "max-unwitnessed":
			r.MaxUnwitnessed = p.duration(e.Value)
		case "max-undated":
			r.MaxUndated = p.duration(e.Value)
		case "subjects":
			for _, s := range p.Mapping(e.Value, "written-by") {
				if r.WrittenBy = p.names(s.Value); len(r.WrittenBy) == 0 {
					p.Fail(s.Value, "names no program: leave it out for any")
				}
			}
		case "level":
			if w, ok := p.word(e.Value, "E0", "E1", "E2", "E3", "E4"); ok {
				r.Level = Level(w[1]-'0') + E0
			}
		case "verdict":
			r.Verdict, _ = p.word(e.Value, "pass", "review")
			p.judged = append(p.judged, e)
		case "max-score":
			r.MaxScore = p.number(e.Value, 0, 100)
			p.judged = append(p.judged, e)
		case "min-tightness":
			r.MinTightness = map[string]int{}
			p.judged = append(p.judged, e)
			if e.Value.Kind == yaml.ScalarNode {
				least := p.number(e.Value, 0, 1000)
				for _, v := range tightnessVerbs {
					r.MinTightness[v] = least
				}
				continue
			}
			for _, t := range p.Mapping(e.Value, tightnessVerbs...) {
				r.MinTightness[t.Key] = p.number(t.Value, 0, 1000)
			}
		case "no-findings":
			r.NoFindings, _ = p.word(e.Value, "info", "low", "medium", "high", "critical")
		case "coverage":
			_, r.Coverage = p.word(e.Value, "complete")
		case "max-age":
			r.MaxAge = p.duration(e.Value)
		case "max-silence":
			r.MaxSilence = p.duration(e.Value)
		case "intent":
			p.intent(e.Value)
		case "signatures":
			for _, s := range p.Mapping(e.Value, "not-older-than", "sha256") {
				if s.Key == "sha256" {
					r.Signatures.SHA256 = p.sum(s.Value)
				} else {
					r.Signatures.NotOlderThan = p.number(s.Value, 1, 1<<30)
				}
			}
		case "every-job":
			if e.Value.Kind == yaml.MappingNode {
				r.EveryJob = true
				for _, x := range p.Mapping(e.Value, "except") {
					r.Except = p.names(x.Value)
				}
				continue
			}
			if w, ok := p.word(e.Value, "true", "false"); ok {
				r.EveryJob = w == "true"
			}
		case "jobs":
			if r.Jobs = p.names(e.Value); len(r.Jobs) == 0 {
				p.Fail(e.Value, "names no job: leave it out, or ask for every-job")
			}
		case "power":
			if r.Power, _ = p.word(e.Value, "none", "granted"); r.Power == "granted" {
				p.judged = append(p.judged, e)
			}
		}
	}
}

var tightnessVerbs = []string{"egress", "exec", "write", "credentials"}

func (p *parser) intent(n *yaml.Node) {
	in := &p.policy.Require.Intent
	for _, e := range p.Mapping(n, "file", "job", "sha256") {
		switch e.Key {
		case "file":
			in.File, _ = p.String(e.Value)
		case "job":
			in.Job, _ = p.String(e.Value)
		case "sha256":
			in.SHA256 = p.sum(e.Value)
		}
	}
	if (in.File == "") == (in.SHA256 == "") {
		p.Fail(n, "want either the file of a policy, or the sha256 of a resolved one (the SHA-256 of evidence/inputs/intent.json)")
	} else if in.Job != "" && in.File == "" {
		p.Fail(n, "job goes with file: it says which section of it")
	}
}

func (p *parser) identity(n *yaml.Node) {
	id := Identity{Issuer: GitHubIssuer, Server: "https://github.com", Triggers: DefaultTriggers, Runner: ""}
	seen := map[string]*yaml.Node{}
	for _, e := range p.Mapping(n, "key", "service", "runs", "until", "issuer", "server", "repository", "repository-id", "owner-id", "workflow", "signer", "ref", "triggers", "runner") {
		seen[e.Key] = e.Value
		switch e.Key {
		case "key":
			id.KeyFile, _ = p.String(e.Value)
		case "service":
			if id.Service, _ = p.String(e.Value); !plainService.MatchString(id.Service) {
				p.Fail(e.Value, "want the machine's name, as the witness has it: letters, digits, dots and -")
			}
		case "runs":
			id.Runs = p.names(e.Value)
		case "until":
			day, _ := p.String(e.Value)
			at, err := time.Parse(time.DateOnly, day)
			if err != nil {
				p.Fail(e.Value, "want a day, such as 2027-03-31, at whose end the enrolment ends")
			}
			id.Until = at.AddDate(0, 0, 1)
		case "issuer", "server":
			s := p.url(e.Value)
			if e.Key == "issuer" {
				id.Issuer = s
			} else {
				id.Server = s
			}
		case "repository":
			id.Repository = p.repository(e.Value)
		case "repository-id":
			id.RepositoryID = strconv.Itoa(p.number(e.Value, 1, 1<<53))
		case "owner-id":
			id.OwnerID = strconv.Itoa(p.number(e.Value, 1, 1<<53))
		case "workflow":
			id.Workflow, id.WorkflowRefs = p.workflow(e.Value)
			if id.Workflow != "" && !strings.HasPrefix(id.Workflow, ".github/workflows/") {
				p.Fail(e.Value, "want a file of .github/workflows/, @ and the ref: .github/workflows/release.yml@refs/heads/main")
			}
		case "signer":
			id.Signer, id.SignerRefs = p.workflow(e.Value)
			if id.Signer != "" && !strings.Contains(id.Signer, "/.github/workflows/") {
				p.Fail(e.Value, "want a called workflow in full: OWNER/REPO/.github/workflows/build.yml@refs/tags/v1")
			}
		case "ref":
			id.Refs = p.patterns(e.Value)
		case "triggers":
			id.Triggers = p.names(e.Value)
		case "runner":
			id.Runner, _ = p.word(e.Value, "github-hosted", "self-hosted")
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	if seen["service"] != nil {
		p.service(n, &id, seen)
		return
	}
	for _, only := range []string{"runs", "until"} {
		if seen[only] != nil {
			p.Fail(seen[only], "goes with service: NAME")
		}
	}
	if seen["key"] != nil {
		if len(seen) > 1 {
			p.Fail(n, "a key stands alone: it says nothing of repository or workflow")
		}
		p.policy.Identities = append(p.policy.Identities, id)
		return
	}
	for _, need := range []struct{ key, why string }{
		{"repository", "OWNER/REPO"},
		{"repository-id", "a new repository of the same name has another one: gh api repos/OWNER/REPO --jq .id"},
		{"owner-id", "a new owner of the same name has another one: gh api repos/OWNER/REPO --jq .owner.id"},
		{"workflow", "the workflow file and its ref: .github/workflows/release.yml@refs/heads/main"},
	} {
		if seen[need.key] == nil {
			p.Fail(n, "%q is missing: %s", need.key, need.why)
		}
	}
	if len(id.Triggers) == 0 {
		p.Fail(n, "triggers names none: leave it out for %s", strings.Join(DefaultTriggers, ", "))
	}
	p.policy.Identities = append(p.policy.Identities, id)
}

// service takes an enrolled machine.
func (p *parser) service(n *yaml.Node, id *Identity, seen map[string]*yaml.Node) {
	may := []string{"service", "key", "runs", "until", "server", "repository", "repository-id"}
	for _, key := range slices.Sorted(maps.Keys(seen)) {
		at := seen[key]
		if !slices.Contains(may, key) {
			p.Fail(at, "%q says nothing of an enrolled machine: its key signs, and no certificate", key)
		}
	}
	for _, need := range []struct{ key, why string }{
		{"key", "the public key that its statements are signed with"},
		{"runs", "what the ids of its runs begin with, so that its key is good for no other machine's"},
		{"repository", "OWNER/REPO"},
		{"repository-id", "a new repository of the same name has another one: gh api repos/OWNER/REPO --jq .id"},
	} {
		if seen[need.key] == nil {
			p.Fail(n, "%q is missing: %s", need.key, need.why)
		}
	}
	p.policy.Identities = append(p.policy.Identities, *id)
}

// workflow splits FILE@REF; only the ref may be a pattern.
func (p *parser) workflow(n *yaml.Node) (file string, refs []string) {
	for _, m := range p.Strings(n) {
		name, ref, found := strings.Cut(m.Value, "@")
		switch {
		case !found || ref == "" || strings.Contains(ref, "@"):
			p.Fail(m, "want FILE@REF, such as .github/workflows/release.yml@refs/heads/main")
			return "", nil
		case strings.ContainsAny(name, `*?[\`) || path.Clean(name) != name || path.IsAbs(name) || strings.HasPrefix(name, "."+"./"):
			p.Fail(m, "the file is named to the letter; only what stands after @ may be a pattern")
			return "", nil
		case file != "" && name != file:
			p.Fail(m, "another file: write an identity of its own for it")
			return "", nil
		}
		if !p.pattern(m, ref) {
			return "", nil
		}
		file, refs = name, append(refs, ref)
	}
	return file, refs
}

func (p *parser) patterns(n *yaml.Node) []string {
	var out []string
	for _, m := range p.Strings(n) {
		if p.pattern(m, m.Value) {
			out = append(out, m.Value)
		}
	}
	if len(out) == 0 {
		p.Fail(n, "names no ref; leave ref out for any")
	}
	return out
}

func (p *parser) pattern(n *yaml.Node, s string) bool {
	if _, err := path.Match(s, ""); err != nil {
		p.Fail(n, "the pattern cannot be read: %s", err)
		return false
	}
	return true
}

func (p *parser) trust(n *yaml.Node) {
	t := &p.policy.Trust
	at := map[string]*yaml.Node{}
	for _, e := range p.Mapping(n, "root", "log", "certificate-log", "actions", "jwks", "witness", "witness-keys", "rekor", "commit-status") {
		at[e.Key] = e.Value
		switch e.Key {
		case "jwks":
			t.JWKS = p.names(e.Value)
		case "witness":
			t.Witness = p.url(e.Value)
		case "rekor":
			t.Rekor = p.url(e.Value)
		case "commit-status":
			w, _ := p.word(e.Value, "true", "false")
			t.Statuses = w == "true"
		case "witness-keys":
			for _, m := range p.Strings(e.Value) {
				if err := witness.CheckKey(m.Value); err != nil {
					p.Fail(m, "%s: want the key as 'witness keygen' prints it first", err)
				}
				t.WitnessKeys = append(t.WitnessKeys, m.Value)
			}
		case "root":
			t.Root, _ = p.String(e.Value)
		case "log":
			w, _ := p.word(e.Value, "required", "optional")
			t.LogOptional = w == "optional"
		case "certificate-log":
			w, _ := p.word(e.Value, "required", "optional")
			t.SCTOptional = w == "optional"
		case "actions":
			for _, m := range p.Strings(e.Value) {
				if _, commit, _ := strings.Cut(m.Value, "@"); !pinnedAction.MatchString(m.Value) {
					p.Fail(m, "want OWNER/REPO@ and the 40 digits of a release's commit, not %q, which can be moved", commit)
				}
				t.Actions = append(t.Actions, m.Value)
			}
		}
	}
	if t.Witness != "" && len(t.WitnessKeys) == 0 {
		p.Fail(at["witness"], "witness-keys is missing: without its key nothing a witness says counts")
	}
}

func (p *parser) url(n *yaml.Node) string {
	s, _ := p.String(n)
	if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.HasSuffix(s, "/") {
		p.Fail(n, "want a URL without a slash at its end")
	}
	return s
}

func (p *parser) source(n *yaml.Node) {
	var s Source
	for _, e := range p.Mapping(n, "directory", "github", "registry") {
		switch e.Key {
		case "directory":
			s.Directory, _ = p.String(e.Value)
		case "github":
			s.GitHub = p.repository(e.Value)
		case "registry":
			s.Registry, _ = p.String(e.Value)
		}
	}
	if n.Kind == yaml.MappingNode && len(n.Content) != 2 {
		p.Fail(n, "want one of directory, github and registry in each")
	}
	p.policy.Sources = append(p.policy.Sources, s)
}

func (p *parser) repository(n *yaml.Node) string {
	s, ok := p.String(n)
	owner, name, _ := strings.Cut(s, "/")
	if ok && (owner == "" || name == "" || strings.ContainsAny(name, "/*?@ ") || strings.ContainsAny(owner, "*?@: ")) {
		p.Fail(n, "want OWNER/REPO, to the letter")
	}
	return s
}

// word takes one of the words that are known.
func (p *parser) word(n *yaml.Node, known ...string) (string, bool) {
	s, ok := p.String(n)
	if !ok {
		return "", false
	}
	for _, k := range known {
		if s == k {
			return s, true
		}
	}
	p.FailNear(n, document.Nearest(s, known), "want %s", strings.Join(known, ", "))
	return "", false
}

func (p *parser) number(n *yaml.Node, from, to int) int {
	s, ok := p.String(n)
	if !ok {
		return 0
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < from || v > to || strconv.Itoa(v) != s {
		p.Fail(n, "want a number from %d to %d", from, to)
	}
	return v
}

func (p *parser) sum(n *yaml.Node) string {
	s, _ := p.String(n)
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		p.Fail(n, "want 64 hexadecimal digits in lower case")
	}
	return s
}

func (p *parser) names(n *yaml.Node) []string {
	var out []string
	for _, m := range p.Strings(n) {
		if m.Value == "" || len(out) == maxNames {
			p.Fail(m, "want a name, %d at most", maxNames)
			return nil
		}
		out = append(out, m.Value)
	}
	return out
}

// duration reads 7d, 36h or 90m.
func (p *parser) duration(n *yaml.Node) time.Duration {
	s, ok := p.String(n)
	if !ok {
		return 0
	}
	d, err := parseDuration(s)
	if err != nil {
		p.Fail(n, "%s", err)
	}
	return d
}

func parseDuration(s string) (time.Duration, error) {
	bad := errors.New("want a time, such as 7d, 36h, 90m or 2s")
	if days, is := strings.CutSuffix(s, "d"); is {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 36_500 {
			return 0, bad
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, bad
	}
	return d, nil
}
