package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/derive"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/intent/lint"
	"github.com/org/edamame-posture/pkg/signature"
)

func checkCommand() *cobra.Command {
	var evidence []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Tell every mistake in a policy, and what in it could be tighter",
		Long: `Tells every mistake in a policy with its line and column, grants that another one
makes needless, and suppressions that are over. With --evidence, once for each run, it also tells grants that
no run needed and grants that are wider than what used them, with the tighter
line. The job of a run is the one that it was judged as; JOB=DIR names another.

Exit code: 0 fine, 1 something to improve, 2 unreadable or not a policy.`,
		Example: "  edamame-posture intent check .github/posture.yml\n  edamame-posture intent check --evidence .posture --evidence build=.posture.1 .github/posture.yml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			p, err := readIntentFile(args[0])
			var wrong document.Errors
			if errors.As(err, &wrong) {
				if err := tellMistakes(out, wrong, asJSON); err != nil {
					return err
				}
				return exit(exitUsage, nil)
			}
			if err != nil {
				return exit(exitUsage, err)
			}
			var runs []lint.Run
			for _, e := range evidence {
				r, err := readRun(p, e)
				if err != nil {
					return exit(exitUsage, fmt.Errorf("--evidence %s: %w", e, err))
				}
				runs = append(runs, r)
			}
			report, err := lint.Check(p, runs)
			if err != nil {
				return exit(exitUsage, err)
			}
			ids, err := ruleIDs()
			if err != nil {
				return err
			}
			report.Problems = append(report.Problems, lint.Suppressions(p, time.Now().UnixNano(), ids)...)
			if err := tellCheck(out, report, asJSON); err != nil {
				return err
			}
			if len(report.Problems) > 0 {
				return exit(exitNo, nil)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&evidence, "evidence", nil, "hold the policy against the results in `DIR`, or JOB=DIR; may be given again")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// ruleIDs returns the ids of the rules whose findings can be suppressed.
func ruleIDs() ([]string, error) {
	pack, err := signature.Default()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range pack.Rules() {
		ids = append(ids, r.ID)
	}
	return ids, nil
}

// readIntentFile reads a policy, or derives that of a workflow.
func readIntentFile(path string) (*intent.Policy, error) {
	data, err := readBounded(path, document.MaxBytes)
	if err != nil {
		return nil, err
	}
	if !derive.IsWorkflow(data) {
		return intent.Parse(path, data)
	}
	d, err := deriveFrom(path)
	if err != nil {
		return nil, err
	}
	return d.Policy()
}

// readRun reads what was seen in a run from its evidence: DIR or JOB=DIR.
func readRun(p *intent.Policy, arg string) (lint.Run, error) {
	dir, job := arg, ""
	if before, after, ok := strings.Cut(arg, "="); ok && slices.Contains(p.Jobs(), before) {
		job, dir = before, after
	}
	j, in, err := replayDir(dir, nil)
	if err != nil {
		return lint.Run{}, err
	}
	if job == "" && in != nil {
		job = in.Job()
	}
	if job == "" {
		job = j.Verdict().Run.Job
	}
	// Requests are facts only where the policy that is checked limits them.
	asked := job
	if !slices.Contains(p.Jobs(), job) {
		asked = ""
	}
	if r, err := p.Resolve(asked); err == nil && r.Requests() {
		if j, _, err = replayDir(dir, r); err != nil {
			return lint.Run{}, err
		}
	}
	return lint.Run{Name: dir, Job: job, Facts: j.Facts()}, nil
}

func tellMistakes(w io.Writer, wrong document.Errors, asJSON bool) error {
	if asJSON {
		type mistake struct {
			File    string `json:"file"`
			Line    int    `json:"line"`
			Column  int    `json:"column"`
			Text    string `json:"text,omitempty"`
			Message string `json:"message"`
			Nearest string `json:"nearest,omitempty"`
		}
		list := make([]mistake, len(wrong))
		for i, e := range wrong {
			list[i] = mistake(e)
		}
		return writeJSON(w, map[string][]mistake{"mistakes": list})
	}
	_, err := fmt.Fprintln(w, wrong.Error())
	return err
}

func tellCheck(w io.Writer, r *lint.Report, asJSON bool) error {
	if asJSON {
		return writeJSON(w, struct {
			Grants   int            `json:"grants"`
			Jobs     int            `json:"jobs"`
			Problems []lint.Problem `json:"problems"`
			NotSeen  []string       `json:"jobs_without_a_run"`
		}{r.Grants, r.Jobs, append([]lint.Problem{}, r.Problems...), append([]string{}, r.NotSeen...)})
	}
	var b strings.Builder
	for i := range r.Problems {
		fmt.Fprintln(&b, r.Problems[i].String())
	}
	for _, j := range r.NotSeen {
		fmt.Fprintf(&b, "no run of the job %s was given: whether its grants are needed is not known\n", document.Quote(j))
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(&b, "ok: %s in %s\n", counted(r.Grants, "grant"), counted(r.Jobs, "job"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// writeJSON writes a value for programs: two spaces of indent, a final newline.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
