package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/report"
)

// maxAttestation bounds an attestation.json that is read, in bytes.
const maxAttestation = 4 << 20

// verifying says whose signature is wanted, and about what.
type verifying struct {
	key, root string
	identity  attest.Identity
	artifacts []string
	log, sct  bool
	json      bool

	trusted root.TrustedMaterial
}

func (v *verifying) flags(fl *pflag.FlagSet) {
	id := &v.identity
	fl.StringVar(&v.key, "key", "", "public key in `PUB` (PEM) that must have signed it")
	fl.StringVar(&v.root, "trusted-root", "", "whose certificates are believed: public, tuf or a `FILE`; with --key, whose dates of the log")
	fl.StringVar(&id.Issuer, "issuer", "", "`URL` of the identity provider, to the letter: https://token.actions.githubusercontent.com")
	fl.StringVar(&id.SAN, "identity", "", "who must have signed, to the letter: https://github.com/OWNER/REPO/.github/workflows/`FILE`@refs/heads/main")
	fl.StringVar(&id.Workflow, "workflow", "", "the same without @ and the ref")
	fl.StringArrayVar(&id.WorkflowRefs, "workflow-ref", nil, "what may stand after the @, as `PATTERN`: refs/tags/v*")
	fl.StringVar(&id.SignerDigest, "workflow-commit", "", "`COMMIT` of that workflow")
	fl.StringVar(&id.Repository, "repository", "", "`URL` of the repository: https://github.com/OWNER/REPO")
	fl.StringVar(&id.RepositoryID, "repository-id", "", "`NUMBER` of the repository, which one made anew under its name does not have")
	fl.StringVar(&id.OwnerID, "owner-id", "", "`NUMBER` of its owner")
	fl.StringArrayVar(&id.Refs, "ref", nil, "branches and tags that may be built, as `PATTERN`")
	fl.StringVar(&id.Commit, "commit", "", "`COMMIT` that was built")
	fl.StringVar(&id.Config, "caller", "", "`URL` of the workflow that called the one which signed")
	fl.StringArrayVar(&id.Triggers, "trigger", nil, "`EVENT` that may have started the run: push, release")
	fl.StringVar(&id.Run, "run", "", "`URL` of the run: https://github.com/OWNER/REPO/actions/runs/ID/attempts/N")
	fl.StringVar(&id.Runner, "runner", "", "github-hosted or self-hosted")
	fl.StringArrayVar(&v.artifacts, "artifact", nil, "`FILE` that the statement must be about")
	fl.BoolVar(&v.log, "log-optional", false, "let a signature pass that is in no transparency log, though the trusted root has one")
	fl.BoolVar(&v.sct, "sct-optional", false, "let a certificate pass that is in no certificate log, though the trusted root has one")
	fl.BoolVar(&v.json, "json", false, "one object in JSON, on stdout")
}

// policy returns what is wanted of the signature; nil where it is not to be
// checked.
func (v *verifying) policy() (*attest.Policy, error) {
	byIdentity := v.key == "" && v.root != "" || !reflect.ValueOf(v.identity).IsZero()
	if v.key == "" && !byIdentity {
		if len(v.artifacts) > 0 {
			return nil, errors.New("--artifact asks whether a signed statement is about a file: say who must have signed it, by --key PUB or by --trusted-root, --issuer and --identity")
		}
		return nil, nil
	}
	if v.key != "" && byIdentity {
		return nil, errors.New("--key and an identity are two ways to say who must have signed: choose one")
	}
	p := &attest.Policy{Identity: v.identity, LogOptional: v.log, SCTOptional: v.sct}
	if v.key != "" {
		pem, err := readBounded(v.key, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		if p.Key, err = attest.LoadPublicKey(pem); err != nil {
			return nil, fmt.Errorf("%s: %w", v.key, err)
		}
	} else if v.root == "" {
		return nil, errors.New("--trusted-root says whose certificates are believed: public, tuf or a FILE")
	}
	trusted, err := loadRoot(v.root)
	if err != nil {
		return nil, err
	}
	if v.trusted = trusted; v.key == "" {
		p.Root = trusted
	}
	for _, a := range v.artifacts {
		f, err := os.Open(a)
		if err != nil {
			return nil, fmt.Errorf("--artifact: %w", err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("--artifact: %w", err)
		}
		p.Subjects = append(p.Subjects, hex.EncodeToString(h.Sum(nil)))
	}
	return p, nil
}

// verified is what verify found, as --json gives it.
type verified struct {
	OK        bool               `json:"ok"`
	Level     string             `json:"level"` // none, E0, E1 or E2
	Next      string             `json:"next"`  // why not one more
	Error     string             `json:"error,omitempty"`
	Evidence  *verifiedEvidence  `json:"evidence,omitempty"`
	Signature *verifiedSignature `json:"signature,omitempty"`

	committed, start []byte // the commitment, and the statement about it
	dates            []evidence.Date
	trusted          root.TrustedMaterial // whose dates count
}

type verifiedEvidence struct {
	Events  uint64 `json:"events"`
	Root    string `json:"rootHash"`
	Verdict string `json:"verdict"`
	Score   int    `json:"score"`
	// Checkpoints are signed each with a key of its own, all of them or none.
	Checkpoints uint64       `json:"checkpoints"`
	Signed      uint64       `json:"signedCheckpoints"`
	Power       *judge.Power `json:"power,omitempty"`
	Commitment  string       `json:"commitmentSHA256,omitempty"`
	Slot        string       `json:"slot,omitempty"`
	// Start says what is known of the start statement: good, or why not.
	Start string `json:"start,omitempty"`
	// Dated says what timestamp authorities said of the log, where any did.
	Dated string `json:"dated,omitempty"`
}

type verifiedSignature struct {
	Key         string         `json:"key,omitempty"`
	Certificate any            `json:"certificate,omitempty"`
	Times       []time.Time    `json:"times,omitempty"`
	Logged      bool           `json:"logged"`
	Subjects    []attest.Named `json:"subjects"`
}

func verifyCommand() *cobra.Command {
	var v verifying
	cmd := &cobra.Command{
		Use:   "verify [--key PUB | --trusted-root ROOT --issuer URL --identity URL] DIR|BUNDLE",
		Short: "Check that evidence is whole, and who signed it",
		Long: `Checks the evidence in a folder of results: that every file is what the
manifest says, that the log and its checkpoints give the same tree, that the
verdict is what the log comes to; and with --key or an identity, that they
signed the statement about it. Of a bundle alone only the signature is checked.
Nothing is fetched.

It says how far the evidence can be relied on: E0 the files fit together, anyone
may have written them; E1 the holder of the key says so; E2 some code in the run
that the certificate names says so. More only a gate can check, from outside.

Exit code: 0 good, 1 refused, 2 unreadable, 5 there is no evidence.`,
		Example: `  edamame-posture verify .posture
  edamame-posture verify --key release.pub .posture
  edamame-posture verify --trusted-root public --issuer https://token.actions.githubusercontent.com \
    --workflow https://github.com/octo/app/.github/workflows/release.yml --workflow-ref 'refs/tags/v*' \
    --repository-id 4321 --artifact app.tgz .posture`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := v.policy()
			if err != nil {
				return err
			}
			got := verified{Level: "none", trusted: v.trusted}
			err = got.verify(args[0], p)
			if got.OK = err == nil; !got.OK {
				got.Error = err.Error()
			}
			out := cmd.OutOrStdout()
			if v.json {
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				if jerr := enc.Encode(got); jerr != nil {
					return jerr
				}
			} else {
				got.print(out)
			}
			return err
		},
	}
	v.flags(cmd.Flags())
	return cmd
}

// verify fills in what is found until the first refusal.
func (v *verified) verify(path string, p *attest.Policy) error {
	st, err := os.Stat(path)
	if err != nil {
		return exit(exitNothing, err)
	}
	bundle, dir := path, ""
	if st.IsDir() {
		bundle, dir = filepath.Join(path, attestationFile), path
		if err := v.verifyEvidence(dir); err != nil {
			return err
		}
		v.Level, v.Next = "E0", "anyone may have written these files: say who must have signed them, by --key PUB (E1), or by --trusted-root, --issuer and --identity (E2)"
	}
	if p == nil {
		if dir == "" {
			return errors.New("say who must have signed it: --key PUB, or --trusted-root, --issuer and --identity")
		}
		return nil
	}
	data, err := evidence.ReadResult(bundle, maxAttestation)
	if errors.Is(err, fs.ErrNotExist) {
		how := "it was not signed"
		if _, err := os.Lstat(filepath.Join(dir, statementFile)); err == nil {
			how = "signing failed, and 'edamame-posture sign' can finish it"
		}
		return exit(exitNothing, fmt.Errorf("there is no %s in %s: %s", attestationFile, dir, how))
	}
	if err != nil {
		return err
	}
	res, err := attest.VerifyBundle(data, p)
	if err != nil {
		return exit(exitNo, err)
	}
	v.Signature = &verifiedSignature{Key: res.KeyID, Logged: res.Logged, Subjects: res.Subjects}
	if res.Certificate != nil {
		v.Signature.Certificate = res.Certificate
	}
	for _, t := range res.Times {
		v.Signature.Times = append(v.Signature.Times, t.Timestamp.UTC())
	}
	if dir == "" {
		v.Next = "the evidence is not at hand: give the folder of results (E0), and the same of who signed"
		return nil
	}
	manifest, err := evidence.ReadResult(filepath.Join(dir, evidenceDir, "manifest.json"), maxAttestation)
	if err != nil {
		return err
	}
	if err := res.About(manifest); err != nil {
		return exit(exitNo, err)
	}
	if err := errors.Join(v.verifyStart(p), v.verifyDates()); err != nil {
		return exit(exitNo, err)
	}
	if p.Key != nil {
		v.Level, v.Next = "E1", "a key says only that its holder signed, and a job that can read it is the holder: a certificate of the run (--keyless) names repository, workflow and commit (E2)"
	} else {
		v.Level, v.Next = "E2", "any step of that run with id-token: write can sign so: only a gate, which asks from outside what was recorded first, can say more (E3)"
	}
	return nil
}

// verifyStart checks the statement about the start, where there is one: by the
// same signer, and about this commitment. That none was made before is for a
// gate to find out.
func (v *verified) verifyStart(p *attest.Policy) error {
	if len(v.start) == 0 {
		v.Evidence.Start = "not signed at the start"
		return nil
	}
	q := *p
	q.PredicateType, q.Subjects = attest.StartPredicateType, nil
	res, err := attest.VerifyBundle(v.start, &q)
	if err == nil {
		_, err = res.AboutStart(v.committed)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", evidence.StartBundleFile, err)
	}
	v.Evidence.Start = "signed at the start"
	if len(res.Times) > 0 {
		v.Evidence.Start += ", " + res.Times[0].Timestamp.UTC().Format(time.RFC3339)
	}
	return nil
}

// verifyDates checks what timestamp authorities said of checkpoints, where it is
// known whose word counts. Whether their clocks go with the log's is for a gate
// to say.
func (v *verified) verifyDates() error {
	if len(v.dates) == 0 || v.trusted == nil {
		return nil
	}
	var first, last time.Time
	for i := range v.dates {
		d := &v.dates[i]
		if d.Answer == nil {
			continue
		}
		at, err := attest.DatedAt(d.Answer, d.Checkpoint.Text(), v.trusted)
		if err != nil {
			return fmt.Errorf("%s: about the checkpoint of %d events: %w", d.Name, d.Checkpoint.Size, err)
		}
		if last = at; first.IsZero() {
			first = at
		}
	}
	v.Evidence.Dated = fmt.Sprintf("%d times by a timestamp authority of the root, from %s to %s", len(v.dates), first.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339))
	return nil
}

func (v *verified) verifyEvidence(dir string) error {
	ev := filepath.Join(dir, evidenceDir)
	if _, err := os.Stat(ev); errors.Is(err, fs.ErrNotExist) {
		return exit(exitNothing, fmt.Errorf("there is no evidence in %s", dir))
	}
	e, err := evidence.Open(ev)
	if err != nil {
		return exit(exitNo, err)
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		return exit(exitNo, err)
	}
	m := e.Manifest()
	got, err := recompute(ev)
	if err != nil {
		return exit(exitNo, err)
	}
	want, err := evidence.ReadResult(filepath.Join(dir, verdictFile), maxVerdict)
	if err != nil {
		return exit(exitNo, err)
	}
	if encoded := got.Encode(); string(encoded) != string(want) {
		return exit(exitNo, fmt.Errorf("the verdict is not what the log comes to: %s", firstDifference(want, encoded)))
	}
	chain := e.Chain()
	if chain.Signed > 0 && chain.Unsigned > 0 {
		return exit(exitNo, fmt.Errorf("%d of %d checkpoints are signed: after them anybody may have gone on. The monitor could not sign, and said so, or somebody else wrote the rest", chain.Signed, chain.Signed+chain.Unsigned))
	}
	v.Evidence = &verifiedEvidence{
		Events: m.Tree.Size, Root: m.Tree.Root.String(), Verdict: string(got.Verdict), Score: got.Score,
		Checkpoints: chain.Signed + chain.Unsigned, Signed: chain.Signed, Power: got.Power,
	}
	if c := e.Commitment(); c != nil {
		raw, err := e.Attached(evidence.CommitmentFile)
		if err != nil {
			return exit(exitNo, err)
		}
		sum := sha256.Sum256(raw)
		v.Evidence.Commitment, v.Evidence.Slot = hex.EncodeToString(sum[:]), c.Slot
		v.committed = raw
	}
	if v.start, err = e.Attached(evidence.StartBundleFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return exit(exitNo, err)
	}
	if v.dates, err = e.Dates(); err != nil {
		return exit(exitNo, err)
	}
	if n := len(v.dates); n > 0 {
		v.Evidence.Dated = fmt.Sprintf("%d times; by whom was not checked: say whose word counts, by --trusted-root", n)
	}
	return nil
}

func (v *verified) print(out io.Writer) {
	if e := v.Evidence; e != nil {
		fmt.Fprintf(out, "evidence:  whole, %d events, tree root %s\n", e.Events, e.Root)
		switch e.Signed {
		case 0:
			fmt.Fprintf(out, "sealing:   %d checkpoints, not signed\n", e.Checkpoints)
		default:
			fmt.Fprintf(out, "sealing:   %d checkpoints, each signed with a key of its own, in a whole chain\n", e.Checkpoints)
		}
		if e.Commitment != "" {
			fmt.Fprintf(out, "start:     commitment %s\n", strings.TrimSuffix(e.Commitment+", "+e.Start, ", "))
		}
		if e.Dated != "" {
			fmt.Fprintf(out, "dated:     %s\n", e.Dated)
		}
		fmt.Fprintf(out, "verdict:   %s, score %d, computed again from the log\n", e.Verdict, e.Score)
		if p := e.Power; p != nil {
			fmt.Fprintf(out, "power:     %s\n", describePower(p))
		}
	}
	if s := v.Signature; s != nil {
		who := "the key " + s.Key
		if s.Key == "" {
			who = "the identity that was asked for"
		}
		fmt.Fprintf(out, "signature: good, by %s, about %d subjects\n", who, len(s.Subjects))
		for _, t := range s.Times {
			fmt.Fprintf(out, "signed at: %s\n", t.Format(time.RFC3339))
		}
	} else if v.OK {
		fmt.Fprintln(out, "signature: not checked")
	}
	if v.OK {
		fmt.Fprintf(out, "level:     %s; %s\n", v.Level, v.Next)
	}
}

// describePower says in a line who took power over the machine.
func describePower(p *judge.Power) string {
	out := map[judge.PowerState]string{
		judge.PowerNone: "nobody took power over the machine", judge.PowerGranted: "only who the intent lets took it",
		judge.PowerOpen: "taken without a grant",
	}[p.State]
	if len(p.Ways) > 0 {
		out += ": " + report.Visible(strings.Join(p.Ways, ", "))
	}
	if p.Missed > 0 {
		out += fmt.Sprintf("; %d ways to it were not sealed before", p.Missed)
	}
	return out
}
