package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/gate"
	"github.com/org/edamame-posture/pkg/witness"
)

// gating says what is to be released, and where statements are looked for.
type gating struct {
	policy             string
	artifacts, digests []string
	commit, run        string
	evidence           []string
	budget             time.Duration
	json               bool
	markdown           string

	vsa, envelope, verifier, resource string
	sign                              signing

	github, api, checkRun string
	callback, environment string
	tokenEnv              string
	fetchKeys             bool
}

func (g *gating) flags(fl *pflag.FlagSet) {
	fl.StringVar(&g.policy, "policy", "", "release policy: `FILE`")
	fl.StringArrayVar(&g.artifacts, "artifact", nil, "`FILE` that is to be released, as often as needed")
	fl.StringArrayVar(&g.digests, "digest", nil, "its `SHA256` in hex, where it is not at hand; of an image, that of its manifest")
	fl.StringVar(&g.commit, "commit", "", "`SHA` of the commit that is released")
	fl.StringVar(&g.run, "run", "", "`URL` of the run that built it: https://github.com/OWNER/REPO/actions/runs/ID/attempts/N")
	fl.StringArrayVar(&g.evidence, "evidence", nil, "`DIR` of results that statements from elsewhere may be about, or many below it")
	fl.DurationVar(&g.budget, "budget", 2*time.Minute, "how long services may be asked, if they are down or slow")
	fl.BoolVar(&g.json, "json", false, "the decision in JSON, on stdout")
	fl.StringVar(&g.markdown, "markdown", "", "write the decision as Markdown to `FILE`, at its end if it is there")
	fl.StringVar(&g.vsa, "vsa", "", "write a verification summary (SLSA VSA) to the new `FILE`: a signed bundle with --sign-key or --sign-keyless, else the bare statement")
	fl.StringVar(&g.envelope, "vsa-dsse", "", "the same as a bare DSSE envelope to the new `FILE`, signed with --sign-key: for slsa-verifier")
	fl.StringVar(&g.verifier, "verifier", gate.VerifierID, "`URI` of who verifies, in the summary")
	fl.StringVar(&g.resource, "resource", "", "`URI` of what is released, in the summary: pkg:npm/app@1.0.0")
	fl.StringVar(&g.sign.key, "sign-key", "", "sign the summary with the private key in `FILE` (PEM), or of a plug-in as NAME://KEY")
	fl.StringVar(&g.sign.passwordEnv, "sign-key-password-env", "", "`NAME` of the variable that holds its password")
	fl.BoolVar(&g.sign.keyless, "sign-keyless", false, "sign the summary with the gate job's own identity")
	fl.StringVar(&g.sign.config, "signing-config", "", "the servers to sign with: public, github or a `FILE`")
	fl.StringVar(&g.sign.root, "trusted-root", "", "check that signature against public, tuf or a `FILE`")
	fl.StringVar(&g.github, "github", "", "ask GitHub about the jobs of the run, and for --check-run and --deployment-callback: `OWNER/REPO`")
	fl.StringVar(&g.api, "github-api", "", "`URL` of its API; left out, GITHUB_API_URL or https://api.github.com")
	fl.StringVar(&g.tokenEnv, "github-token-env", "GITHUB_TOKEN", "`NAME` of the variable that holds its token")
	fl.BoolVar(&g.fetchKeys, "fetch-keys", false, "ask the issuer of the job's identity for its keys, where those that the policy names do not have the one that is needed")
	fl.StringVar(&g.checkRun, "check-run", "", "put the decision on --commit as a check run of that `NAME`")
	fl.StringVar(&g.callback, "deployment-callback", "", "answer a custom deployment protection rule at this `URL`")
	fl.StringVar(&g.environment, "environment", "", "`NAME` of the environment that it protects")
}

func gateCommand() *cobra.Command {
	var g gating
	cmd := &cobra.Command{
		Use:   "gate --policy FILE (--artifact FILE | --digest SHA256 | --commit SHA) [RESULTS...]",
		Short: "Decide whether an artifact may be released, by what its build did",
		Long: `Holds signed statements about an artifact, and the evidence behind them, against
a release policy (docs/gate.md). RESULTS are folders of results, folders of many,
or bundles; the policy may name more places. The verdict is computed again from
the log with the gate's own intent and signatures.

Every check is told: what was wanted, what was there, what to do. What is not
there, or cannot be checked, never passes.

Exit code: 0 pass, 1 refused, 2 bad usage or policy, 4 could not be checked
since a service did not answer: that is no pass either.`,
		Example: `  edamame-posture gate --policy release-gate.yml --artifact dist/app.tgz results
  edamame-posture gate --policy release-gate.yml --commit "$GITHUB_SHA" --json results`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := g.input(args)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), g.budget)
			defer cancel()
			if err := g.find(ctx, in, args); err != nil {
				return err
			}
			d := gate.Decide(ctx, in)
			if err := g.tell(cmd.OutOrStdout(), d); err != nil {
				return err
			}
			if err := g.publish(cmd.Context(), d); err != nil {
				return err
			}
			if code := d.ExitCode(); code != 0 {
				return exit(code, nil)
			}
			return nil
		},
	}
	g.flags(cmd.Flags())
	return cmd
}

// input reads the policy and what is to be released.
func (g *gating) input(args []string) (*gate.Input, error) {
	switch {
	case g.envelope != "" && g.sign.key == "":
		return nil, errors.New("--vsa-dsse is signed: add --sign-key FILE")
	case g.sign.wanted() && g.vsa == "" && g.envelope == "":
		return nil, errors.New("--sign-key and --sign-keyless sign a summary, and none is written: add --vsa FILE")
	case g.sign.key != "" && g.sign.keyless:
		return nil, errors.New("--sign-key and --sign-keyless are two ways to sign: choose one")
	case g.checkRun != "" && g.commit == "":
		return nil, errors.New("--check-run puts the decision on a commit: add --commit SHA")
	case (g.callback == "") != (g.environment == ""):
		return nil, errors.New("--deployment-callback and --environment go together")
	case g.callback != "" && g.run == "":
		return nil, errors.New("--deployment-callback answers for one run: say which was judged, with --run URL")
	case g.callback != "" && !sameRun(g.callback, g.run):
		return nil, fmt.Errorf("--deployment-callback %.200q is that of another run than --run %.200q", g.callback, g.run)
	case (g.checkRun != "" || g.callback != "") && g.github == "":
		return nil, errors.New("--check-run and --deployment-callback need --github OWNER/REPO")
	}
	if g.policy == "" {
		return nil, errors.New("--policy says what must be so to release: name its FILE")
	}
	p, err := gate.LoadPolicy(g.policy)
	if err != nil {
		return nil, err
	}
	in := &gate.Input{Policy: p, Run: g.run, Commit: strings.ToLower(g.commit), Now: time.Now()}
	for _, name := range g.artifacts {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--artifact: %w", err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("--artifact: %w", err)
		}
		in.Artifacts = append(in.Artifacts, gate.Artifact{Name: name, SHA256: hex.EncodeToString(h.Sum(nil)), File: true})
	}
	for _, d := range g.digests {
		d = strings.TrimPrefix(d, "sha256:")
		if raw, err := hex.DecodeString(d); err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("--digest %.100q: want 64 hexadecimal digits", d)
		}
		in.Artifacts = append(in.Artifacts, gate.Artifact{Name: "digest", SHA256: strings.ToLower(d)})
	}
	if g.commit != "" && len(in.Artifacts) == 0 {
		if raw, err := hex.DecodeString(g.commit); err != nil || len(raw) != 20 && len(raw) != 32 {
			return nil, fmt.Errorf("--commit %.100q: want 40 or 64 hexadecimal digits, and not a branch or tag, which can be moved", g.commit)
		}
		in.Artifacts = append(in.Artifacts, gate.Artifact{Name: "commit", Commit: in.Commit})
	}
	if len(args) == 0 && len(p.Sources) == 0 {
		return nil, errors.New("where are the statements? Name folders of results, or sources in the policy")
	}
	return in, nil
}

// sameRun reports whether a deployment's callback,
// …/actions/runs/ID/deployment_protection_rule, is about a run,
// …/actions/runs/ID/attempts/N.
func sameRun(callback, run string) bool {
	const runs = "/actions/runs/"
	_, a, found := strings.Cut(callback, runs)
	_, b, both := strings.Cut(run, runs)
	a, _, _ = strings.Cut(a, "/")
	b, _, _ = strings.Cut(b, "/")
	return found && both && a == b
}

// hub returns a client of GitHub's API.
func (g *gating) hub(ctx context.Context, repository string) (*gate.GitHub, error) {
	return gate.NewGitHub(ctx, cmp.Or(g.api, os.Getenv("GITHUB_API_URL"), "https://api.github.com"), repository, os.Getenv(g.tokenEnv))
}

// find looks for statements at all places.
func (g *gating) find(ctx context.Context, in *gate.Input, args []string) error {
	if g.github != "" {
		hub, err := g.hub(ctx, g.github)
		if err != nil {
			return fmt.Errorf("--github: %w", err)
		}
		in.Jobs, in.File, in.Statuses = hub.Jobs, hub.File, hub.Statuses
	}
	if g.fetchKeys {
		in.Keys = witness.FetchJWKS
	}
	for _, name := range args {
		if _, err := os.Lstat(name); err != nil {
			return err
		}
		in.Add(gate.ReadPath(name))
	}
	for _, s := range in.Policy.Sources {
		if s.Directory != "" {
			dir := s.Directory
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(filepath.Dir(g.policy), dir)
			}
			in.Add(gate.ReadPath(dir))
		}
		for _, a := range in.Artifacts {
			switch {
			case a.SHA256 == "":
			case s.GitHub != "":
				hub, err := g.hub(ctx, s.GitHub)
				if err != nil {
					return err
				}
				in.Add(hub.Attestations(ctx, a.SHA256))
			case s.Registry != "":
				in.Add(gate.Referrers(ctx, s.Registry, a.SHA256))
			}
		}
	}
	for _, name := range g.evidence {
		list, err := gate.ReadPath(name)
		if err != nil {
			return fmt.Errorf("--evidence: %w", err)
		}
		in.AddEvidence(list)
	}
	return nil
}

func (g *gating) tell(w io.Writer, d *gate.Decision) error {
	if g.markdown != "" {
		f, err := os.OpenFile(g.markdown, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("--markdown: %w", err)
		}
		if err := d.Markdown(f); err != nil {
			f.Close()
			return fmt.Errorf("--markdown: %w", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("--markdown: %w", err)
		}
	}
	if g.json {
		return writeJSON(w, d)
	}
	return d.Text(w)
}

// publish hands the decision to others. The budget for asking may be used up
// by now; this has one of its own.
func (g *gating) publish(ctx context.Context, d *gate.Decision) error {
	ctx, cancel := context.WithTimeout(ctx, g.budget)
	defer cancel()
	if err := g.summary(ctx, d); err != nil {
		return err
	}
	if g.checkRun == "" && g.callback == "" {
		return nil
	}
	hub, err := g.hub(ctx, g.github)
	if err != nil {
		return err
	}
	if g.checkRun != "" {
		err = hub.CheckRun(ctx, g.checkRun, strings.ToLower(g.commit), d)
	}
	if g.callback != "" {
		err = errors.Join(err, hub.ReviewDeployment(ctx, g.callback, g.environment, d))
	}
	if errors.Is(err, attest.ErrUnavailable) {
		return exit(exitNoAnswer, err)
	}
	return err
}

func (g *gating) summary(ctx context.Context, d *gate.Decision) error {
	if g.vsa == "" && g.envelope == "" || d.Outcome == gate.Unknown {
		return nil
	}
	out, err := d.VSA(gate.Summary{Verifier: g.verifier, Resource: g.resource, Version: toolVersion()})
	if err != nil {
		return fmt.Errorf("--vsa: %w", err)
	}
	if g.sign.wanted() {
		by, err := g.sign.signer(ctx)
		if err != nil {
			return err
		}
		if out, err = attest.SignPayload(ctx, out, by); err != nil {
			return signExit(err)
		}
		if key, is := by.(*attest.Key); is && g.envelope != "" {
			id, err := attest.KeyID(key.Signer.Public())
			if err != nil {
				return err
			}
			raw, err := base64.StdEncoding.DecodeString(id)
			if err != nil {
				return err
			}
			env, err := gate.Envelope(out, hex.EncodeToString(raw))
			if err != nil {
				return err
			}
			if err := writeNew(g.envelope, env); err != nil {
				return fmt.Errorf("--vsa-dsse: %w", err)
			}
		}
	}
	if g.vsa == "" {
		return nil
	}
	if err := writeNew(g.vsa, out); err != nil {
		return fmt.Errorf("--vsa: %w", err)
	}
	return nil
}
