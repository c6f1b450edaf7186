package attest

import (
	"crypto"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// Policy says whose statement is believed. Either Key, or Root and Identity.
type Policy struct {
	// Key must have signed.
	Key crypto.PublicKey
	// Root holds the certificate authorities, timestamp authorities and logs
	// that are believed.
	Root root.TrustedMaterial
	// Dated asks, with Key, for a time by Root's authorities too.
	Dated bool
	// LogOptional and SCTOptional let a bundle pass that is in no transparency
	// log, or whose certificate is in none, though Root has such logs.
	LogOptional, SCTOptional bool
	Identity                 Identity
	// PredicateType must be the statement's, to the letter; where it is empty
	// it is [PredicateType].
	PredicateType string
	// Subjects are the SHA-256, in hex, of files at hand: the statement must
	// be about each.
	Subjects []string
}

// Identity says what Fulcio's certificate must say: whose code signed. An
// empty field is not compared, but for the issuer and who signed (SAN or
// Workflow), which must be said. All are compared to the letter, but for refs,
// which are patterns of [path.Match]: refs/tags/v* is each tag with such a name.
// The numbers are those of Fulcio's extensions, 1.3.6.1.4.1.57264.1.N:
// https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md.
type Identity struct {
	Issuer string // 8, https://token.actions.githubusercontent.com

	// SAN is the certificate's subject alternative name. With GitHub it is the
	// workflow file in which the job stands, which is the called one where a
	// workflow calls another: https://github.com/OWNER/REPO/PATH@REF.
	SAN string
	// Workflow is the SAN up to its last @, and WorkflowRefs what may stand
	// after it.
	Workflow     string
	WorkflowRefs []string
	SignerDigest string // 10, commit of that workflow

	Repository   string   // 12, https://github.com/OWNER/REPO
	RepositoryID string   // 15, which a new repository of the same name does not have
	OwnerID      string   // 17
	Commit       string   // 13, in hex
	Refs         []string // 14

	Config       string   // 18, the calling workflow
	ConfigDigest string   // 19
	Triggers     []string // 20, one of them: push, release, workflow_dispatch
	Run          string   // 21, https://github.com/OWNER/REPO/actions/runs/ID/attempts/N
	Runner       string   // 11, github-hosted or self-hosted
	Visibility   string   // 22, public, private or internal
}

// ErrPolicy is a policy that would let anybody's statement pass.
var ErrPolicy = errors.New("the policy does not say whose signature is wanted")

func (p *Policy) check() error {
	switch {
	case p.Key == nil && p.Root == nil && p.Identity.empty():
		return fmt.Errorf("%w: give a key, or a trusted root with an identity", ErrPolicy)
	case p.Key == nil && p.Root == nil:
		return fmt.Errorf("%w: an identity needs a trusted root to check it against", ErrPolicy)
	case p.Key == nil:
		return p.Identity.check()
	case !p.Identity.empty():
		return fmt.Errorf("%w: a key and an identity are two ways to say it, choose one", ErrPolicy)
	case p.Dated != (p.Root != nil):
		return fmt.Errorf("%w: a trusted root beside a key is for the time of the signature, and that needs one", ErrPolicy)
	}
	return supported(p.Key)
}

func (id *Identity) empty() bool {
	return id.Issuer == "" && id.SAN == "" && id.Workflow == ""
}

func (id *Identity) check() error {
	switch {
	case id.Issuer == "":
		return fmt.Errorf("%w: an identity needs its issuer, such as https://token.actions.githubusercontent.com", ErrPolicy)
	case id.SAN == "" && id.Workflow == "":
		return fmt.Errorf("%w: an identity needs the workflow that signs, such as https://github.com/OWNER/REPO/.github/workflows/release.yml", ErrPolicy)
	}
	for _, list := range [][]string{id.WorkflowRefs, id.Refs} {
		for _, pattern := range list {
			if _, err := path.Match(pattern, ""); err != nil {
				return fmt.Errorf("the pattern %.200q cannot be read: %w", pattern, err)
			}
		}
	}
	return nil
}

// matches compares what a verified certificate says.
func (id *Identity) matches(c *certificate.Summary) error {
	san, workflow, ref := c.SubjectAlternativeName, "", ""
	if i := strings.LastIndexByte(san, '@'); i >= 0 {
		workflow, ref = san[:i], san[i+1:]
	}
	for _, f := range []struct {
		what, want, got, do string
	}{
		{"issuer", id.Issuer, c.Issuer, "the token came from another service, whatever it calls itself"},
		{"signing workflow", id.SAN, san, "another workflow signed it"},
		{"signing workflow", id.Workflow, workflow, "another workflow signed it"},
		{"signing workflow's commit", id.SignerDigest, c.BuildSignerDigest, "the workflow was changed: read it, and pin the new commit"},
		{"repository", id.Repository, c.SourceRepositoryURI, "it was built in another repository"},
		{"repository id", id.RepositoryID, c.SourceRepositoryIdentifier, "it is another repository, perhaps a new one under the old name"},
		{"owner id", id.OwnerID, c.SourceRepositoryOwnerIdentifier, "it is another owner, perhaps a new one under the old name"},
		{"commit", id.Commit, c.SourceRepositoryDigest, "it was built from another commit: attest the one that is released"},
		{"calling workflow", id.Config, c.BuildConfigURI, "another workflow called the one that signed"},
		{"calling workflow's commit", id.ConfigDigest, c.BuildConfigDigest, "the calling workflow was changed"},
		{"run", id.Run, c.RunInvocationURI, "it is the statement of another run, or of another attempt"},
		{"runner", id.Runner, c.RunnerEnvironment, "it ran on another kind of machine"},
		{"visibility", id.Visibility, c.SourceRepositoryVisibilityAtSigning, "the repository was seen by others than it should"},
	} {
		if f.want != "" && f.want != f.got {
			return &CheckError{Check: f.what, Want: f.want, Got: f.got, Do: f.do, Kind: ErrIdentity}
		}
	}
	for _, f := range []struct {
		what string
		want []string
		got  string
	}{
		{"signing workflow's ref", id.WorkflowRefs, ref},
		{"ref", id.Refs, c.SourceRepositoryRef},
	} {
		if len(f.want) > 0 && !slices.ContainsFunc(f.want, func(p string) bool { ok, _ := path.Match(p, f.got); return ok }) {
			return &CheckError{Check: f.what, Want: strings.Join(f.want, " or "), Got: f.got, Do: "build it from a branch or tag that may be released", Kind: ErrIdentity}
		}
	}
	if len(id.Triggers) > 0 && !slices.Contains(id.Triggers, c.BuildTrigger) {
		return &CheckError{Check: "trigger", Want: strings.Join(id.Triggers, " or "), Got: c.BuildTrigger,
			Do: "a run that others can start, such as by a pull request, proves nothing of a release", Kind: ErrIdentity}
	}
	return nil
}

// CheckError is a check that a bundle did not pass.
type CheckError struct {
	Check     string // what was compared
	Want, Got string // empty where there is nothing to compare
	Do        string // what it means, or what to do
	Kind      error  // one of the package's errors, such as ErrIdentity
	Cause     error  // in the words of the library
}

// Error says it in one line. What a bundle holds is quoted.
func (e *CheckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %s", e.Kind, e.Check)
	if e.Want != "" || e.Got != "" {
		fmt.Fprintf(&b, ": want %.300q, got %.300q", e.Want, e.Got)
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %.600s", e.Cause)
	}
	if e.Do != "" {
		fmt.Fprintf(&b, ": %s", e.Do)
	}
	return b.String()
}

// Unwrap returns the kind and the cause.
func (e *CheckError) Unwrap() []error { return []error{e.Kind, e.Cause} }
