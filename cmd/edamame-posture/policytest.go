package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge/expect"
)

func policyTestCommand() *cobra.Command {
	var verbose, asJSON bool
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Run the unit tests of a policy: stored runs, and what it is to make of them",
		Long: `Judges stored runs by a policy, and compares what comes out with what the file
expects: the verdict, the score at most, what must and must not be undeclared.
docs/policy.md has the format of the file.

Exit code: 0 all as expected, 1 something was not, 2 unreadable.`,
		Example: "  edamame-posture intent test .github/posture_test.yml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readBounded(args[0], document.MaxBytes)
			if err != nil {
				return exit(exitUsage, err)
			}
			suite, err := expect.Parse(args[0], data)
			if err != nil {
				return exit(exitUsage, err)
			}
			dir := filepath.Dir(args[0])
			p, err := readIntentFile(beside(dir, suite.Policy))
			if err != nil {
				return exit(exitUsage, err)
			}
			results := runCases(suite, p, dir)
			return tellTests(cmd.OutOrStdout(), args[0], results, verbose, asJSON)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&verbose, "verbose", "v", false, "name the cases that are as expected too")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func beside(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// caseResult is one case and what was wrong with it.
type caseResult struct {
	Name  string   `json:"name"`
	Line  int      `json:"line"`
	OK    bool     `json:"ok"`
	Wrong []string `json:"wrong"`

	took time.Duration
}

func runCases(suite *expect.Suite, p *intent.Policy, dir string) []caseResult {
	var results []caseResult
	for i := range suite.Cases {
		c := &suite.Cases[i]
		began := time.Now()
		r := caseResult{Name: c.Name, Line: c.Line, Wrong: []string{}}
		// What cannot be judged is a failure of this case; the others go on.
		if in, err := p.Resolve(c.Job); err != nil {
			r.Wrong = append(r.Wrong, err.Error())
		} else if j, _, err := replayDir(beside(dir, c.Evidence), in); err != nil {
			r.Wrong = append(r.Wrong, fmt.Sprintf("evidence %s: %v", c.Evidence, err))
		} else {
			r.Wrong = append(r.Wrong, c.Check(j.Verdict())...)
		}
		r.OK = len(r.Wrong) == 0
		r.took = time.Since(began)
		results = append(results, r)
	}
	return results
}

// tellTests writes the results as go test does.
func tellTests(w io.Writer, file string, results []caseResult, verbose, asJSON bool) error {
	failed := 0
	var took time.Duration
	var b strings.Builder
	for i := range results {
		r := &results[i]
		took += r.took
		word := "PASS"
		if !r.OK {
			failed++
			word = "FAIL"
		}
		if r.OK && !verbose {
			continue
		}
		fmt.Fprintf(&b, "--- %s: %s (%.2fs)\n", word, document.Shown(r.Name), r.took.Seconds())
		for _, wrong := range r.Wrong {
			fmt.Fprintf(&b, "    %s:%d: %s\n", document.Shown(file), r.Line, document.Shown(wrong))
		}
	}
	if failed > 0 {
		fmt.Fprintf(&b, "FAIL\t%s\t%d of %s failed\n", document.Shown(file), failed, counted(len(results), "case"))
	} else {
		fmt.Fprintf(&b, "ok\t%s\t%s\t%.2fs\n", document.Shown(file), counted(len(results), "case"), took.Seconds())
	}
	var err error
	if asJSON {
		err = writeJSON(w, map[string]any{"ok": failed == 0, "cases": results})
	} else {
		_, err = io.WriteString(w, b.String())
	}
	if err == nil && failed > 0 {
		return exit(exitNo, nil)
	}
	return err
}
