package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/report"
)

// The files in the folder for the results.
const (
	evidenceDir     = "evidence"
	verdictFile     = "verdict.json"
	attestationFile = "attestation.json"
	// endTokenFile is the issuer's word on which job signed the attestation.
	endTokenFile = "attestation.jwt"
)

// deliverCommand writes the results of a recording as the caller. run and the
// monitor start it, so that neither root process ever writes where a job can.
func deliverCommand() *cobra.Command {
	var d delivery
	var prepare, try bool
	cmd := &cobra.Command{
		Use:    "deliver --out DIR FOLDER",
		Short:  "Write the results of a recording; started by run",
		Hidden: true,
		Args:   cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if prepare {
				return prepareOut(d.out)
			}
			if try {
				_, err := d.signer(cmd.Context())
				return err
			}
			if len(args) != 1 {
				return errors.New("no folder of a recording is given")
			}
			surviveBrokenPipe()
			endPreference()
			_, _, err := d.deliver(cmd.Context(), args[0])
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&d.out, "out", "", "folder for the results")
	d.signing.flags(fl)
	fl.StringVar(&d.workspace, "workspace", "", "folder that subjects are relative to")
	fl.StringVar(&d.hint, "hint-policy", "", "policy file that was there and not used")
	fl.BoolVar(&d.quiet, "quiet", false, "no summary")
	fl.BoolVar(&d.partial, "partial", false, "the monitor or its client died")
	fl.BoolVar(&prepare, "prepare", false, "make the folder and nothing else")
	fl.BoolVar(&try, "try-signing", false, "read what is signed with and nothing else")
	return cmd
}

type delivery struct {
	signing
	out, hint      string
	quiet, partial bool
	// steps says where the job's steps stand in its workflow; nil where nobody
	// knows. It is called once, when the reports are made.
	steps func() map[string]report.Place
}

// deliver returns what the reports were made of, and the folder that it has
// filled.
func (d delivery) deliver(ctx context.Context, spool string) (*report.Data, string, error) {
	folder, out, err := takeOut(d.out)
	if err != nil {
		return nil, "", err
	}
	defer folder.Close()
	if out != d.out {
		fmt.Fprintf(os.Stderr, "edamame-posture: %s is not the folder that was there at the start: the results are in %s\n", d.out, out)
	}
	// By the open folder: what a process that the job left running puts in its
	// place meanwhile is not written to.
	dir := fmt.Sprintf("/proc/self/fd/%d", folder.Fd())
	inOut := func(err error) error { return errors.New(strings.ReplaceAll(err.Error(), dir, out)) }
	if err := d.fill(spool, dir); err != nil {
		return nil, "", inOut(err)
	}
	signed := func() error { return nil }
	if d.wanted() {
		signed = d.attest(ctx, dir)
	}
	data, err := d.reports(dir)
	// The results are whole without a signature: what keeps it away is told, and
	// no reason to keep them back too.
	if serr := signed(); serr != nil {
		d.tellUnsigned(serr, dir, out)
	}
	if err != nil {
		return nil, "", inOut(err)
	}
	if d.quiet {
		return data, out, nil
	}
	// Nobody may be reading any more; the results are there all the same.
	_ = report.Terminal(os.Stderr, data, report.TerminalOptions{Color: colored(2), Dir: out})
	return data, out, nil
}

// fill writes what a recording is signed by into dir: its evidence and verdict.
func (d delivery) fill(spool, dir string) error {
	ev := filepath.Join(dir, evidenceDir)
	if err := copyEvidence(filepath.Join(spool, evidenceDir), ev); err != nil {
		return err
	}
	verdict, err := os.ReadFile(filepath.Join(spool, verdictFile))
	switch {
	case err == nil && json.Valid(verdict):
	case err == nil || errors.Is(err, fs.ErrNotExist):
		// The monitor died before it had judged, or could not write that down: what its
		// log tells is judged here.
		v, rerr := recompute(ev)
		if rerr != nil {
			return fmt.Errorf("judging what is left of the log: %w", rerr)
		}
		verdict = v.Encode()
	default:
		return err
	}
	return writeNew(filepath.Join(dir, verdictFile), verdict)
}

// reports writes what people and other programs read of it.
func (d delivery) reports(dir string) (*report.Data, error) {
	data, err := report.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the evidence for the reports: %w", err)
	}
	data.PolicyHint = d.hint
	if d.steps != nil {
		data.Steps = d.steps()
	}
	if err := report.WriteAll(dir, data); err != nil {
		return nil, fmt.Errorf("writing the reports: %w", err)
	}
	return data, nil
}

// tellUnsigned says why there is no signature, and what to do.
func (d delivery) tellUnsigned(err error, dir, out string) {
	if errors.Is(err, errNotStored) {
		fmt.Fprintf(os.Stderr, "edamame-posture: the evidence: %v\n", err)
		return
	}
	fmt.Fprintf(os.Stderr, "edamame-posture: the evidence was not signed: %s\n", strings.ReplaceAll(err.Error(), dir, out))
	how := "--keyless"
	if d.key != "" {
		how = "--key " + d.key
	}
	if errors.Is(err, attest.ErrUnavailable) {
		fmt.Fprintln(os.Stderr, "edamame-posture: nothing is wrong with the evidence; what was not signed in time cannot prove later that it was there first")
	}
	fmt.Fprintf(os.Stderr, "edamame-posture: to sign it later: edamame-posture sign %s %s\n", how, out)
}

func copyEvidence(from, to string) error {
	files, err := evidence.OpenSources(from)
	if err != nil {
		return err
	}
	return errors.Join(evidence.Copy(to, files), files.Close())
}

// recompute judges a folder of evidence with the inputs that it holds.
func recompute(dir string) (*judge.Verdict, error) {
	e, err := openAny(dir)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	in, err := e.Inputs()
	if err != nil {
		return nil, err
	}
	j, err := e.Replay(in)
	if err != nil {
		return nil, err
	}
	return j.Verdict(), nil
}

// openAny opens evidence that was closed, or what there is of it.
func openAny(dir string) (*evidence.Evidence, error) {
	e, err := evidence.Open(dir)
	if err == nil {
		return e, nil
	}
	if _, serr := os.Stat(filepath.Join(dir, "manifest.json")); serr == nil {
		return nil, err
	}
	return evidence.OpenPartial(dir)
}

// writeNew writes a file that must not be there, so that nothing of another
// run, and no link that a job planted, is written through.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // half of it would stand for the whole
	}
	return err
}
