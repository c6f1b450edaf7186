package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/edamame-posture/pkg/gate"
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
	if g.policy == "" {
		return nil, fmt.Errorf("--policy says what must be so to release: name its FILE")
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
		in.Artifacts = append(in.Artifacts, gate.Artifact{Name: name, SHA256: hex.EncodeToString(h.Sum(nil))})
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
		return nil, fmt.Errorf("where are the statements? Name folders of results, or sources in the policy")
	}
	return in, nil
}

// find looks for statements at all places.
func (g *gating) find(_ context.Context, in *gate.Input, args []string) error {
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
