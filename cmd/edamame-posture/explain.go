package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge"
)

func explainCommand() *cobra.Command {
	var intentFile, job string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain DIR",
		Short: "Say for every point of the score what cost it, and what would explain it",
		Long: `Says for every point of a run's score what cost it: the fact or finding, the grant
that is missing or the deny that was hit, with its place, the events of the log that
show it, the smallest line of policy that would have explained it, and what the
score would be without it. All is computed again from the evidence; what
verdict.json says is not looked at.

Exit code: 0 told, 2 unreadable, 5 there is no evidence.`,
		Example: "  edamame-posture explain .posture\n  edamame-posture explain --intent stricter.yml .posture",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := readPolicy(intentFile, job, false)
			if err != nil {
				return exit(exitUsage, err)
			}
			j, _, err := replayDir(args[0], in.Resolved)
			if errors.Is(err, errNoEvidence) {
				return exit(exitNothing, err)
			}
			if err != nil {
				return exit(exitUsage, err)
			}
			e := explain(j)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), e)
			}
			return e.write(cmd.OutOrStdout())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&intentFile, "intent", "", "judge with the policy in `FILE` instead")
	fl.StringVar(&job, "job", "", "name of the job in that policy")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// explanation is what explain tells, and its JSON.
type explanation struct {
	Verdict judge.Outcome    `json:"verdict"`
	Score   int              `json:"score"`
	Job     string           `json:"job,omitempty"`
	Causes  []explainedCause `json:"causes"`
	More    int              `json:"more,omitempty"` // causes that are not listed
}

type explainedCause struct {
	Points   int            `json:"points"`
	Severity judge.Severity `json:"severity"`
	Capped   bool           `json:"capped,omitempty"`
	What     string         `json:"what"`
	Facts    []seen         `json:"facts,omitempty"`
	Finding  *judge.Finding `json:"finding,omitempty"`
	// Grant says which grant is missing, or which deny was hit.
	Grant  string   `json:"grant"`
	Leaves []uint64 `json:"leaves"`
	Key    string   `json:"key,omitempty"`
	Line   string   `json:"line,omitempty"`
	// Without is the score without this cause.
	Without int `json:"without"`
}

type seen struct {
	Verb     string   `json:"verb"`
	Object   string   `json:"object"`
	Who      []string `json:"who"`
	Step     string   `json:"step,omitempty"`
	Count    uint64   `json:"count"`
	Sent     uint64   `json:"sent,omitempty"`
	Received uint64   `json:"received,omitempty"`
	Leaf     uint64   `json:"leaf"`
}

func explain(j *judge.Judge) *explanation {
	v, causes, more := j.Explain()
	e := &explanation{Verdict: v.Verdict, Score: v.Score, Job: j.Intent().Job(), Causes: []explainedCause{}, More: more}
	for i := range causes {
		c := &causes[i]
		x := explainedCause{
			Points: c.Points, Severity: c.Severity, Capped: c.Capped, What: c.What, Finding: c.Finding,
			Leaves: append([]uint64{}, c.Leaves...), Key: c.Key, Line: c.Line, Without: c.Without, Grant: grantWords(c),
		}
		for _, f := range c.Facts {
			x.Facts = append(x.Facts, seenFact(f))
		}
		e.Causes = append(e.Causes, x)
	}
	return e
}

func seenFact(f *fact.Fact) seen {
	s := seen{Verb: f.Verb.String(), Object: f.Object.String(), Step: f.Step.String(), Count: f.Count, Sent: f.Sent, Received: f.Received, Leaf: f.Leaf, Who: []string{}}
	for _, w := range f.Who {
		s.Who = append(s.Who, w.String())
	}
	return s
}

// grantWords says what of the policy is behind a cause.
func grantWords(c *judge.Cause) string {
	switch {
	case c.Finding != nil:
		return "a finding: no grant explains it"
	case c.Deny != nil:
		return "forbidden by " + grantAt(c.Deny)
	case c.Near != nil:
		return fmt.Sprintf("no grant covers it; the nearest is %s: %s", grantAt(c.Near), c.Misses)
	case len(c.Facts) == 0:
		return "too many to be held against single grants"
	}
	return "no grant speaks of it"
}

func grantAt(g *intent.Grant) string {
	if g.Origin.File == "" {
		return g.Text
	}
	return fmt.Sprintf("%s (%s:%d:%d)", g.Text, g.Origin.File, g.Origin.Line, g.Origin.Column)
}

func (e *explanation) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, score %d\n", e.Verdict, e.Score)
	if len(e.Causes) == 0 {
		b.WriteString("nothing cost a point\n")
	}
	for i := range e.Causes {
		c := &e.Causes[i]
		capped := ""
		if c.Capped {
			capped = ", at the most that its severity can cost"
		}
		fmt.Fprintf(&b, "\n%s (%s%s): %s\n", counted(c.Points, "point"), c.Severity, capped, document.Shown(c.What))
		for k := range c.Facts {
			fmt.Fprintf(&b, "  seen      %s\n", c.Facts[k].words())
		}
		if f := c.Finding; f != nil {
			fmt.Fprintf(&b, "  finding   %s: %s, %s\n", document.Shown(f.Rule), document.Shown(f.Title), counted(int(f.Count), "time"))
			fmt.Fprintf(&b, "  do        %s\n", document.Shown(f.Do))
		}
		fmt.Fprintf(&b, "  policy    %s\n", document.Shown(c.Grant))
		if len(c.Leaves) > 0 {
			fmt.Fprintf(&b, "  evidence  %s of the log\n", eventNumbers(c.Leaves))
		}
		if c.Line != "" {
			where := c.Key + ":"
			if e.Job != "" {
				where = "jobs: " + document.Shown(e.Job) + ": " + where
			}
			fmt.Fprintf(&b, "  to allow  %s %s\n", where, c.Line)
		}
		fmt.Fprintf(&b, "  without   score %d\n", c.Without)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more\n", e.More)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// words is a fact in one line: what, by whom from the doer up, how often.
func (s *seen) words() string {
	var b strings.Builder
	b.WriteString(s.Verb + " " + s.Object)
	if len(s.Who) > 0 {
		b.WriteString(" by " + strings.Join(s.Who, " < "))
	}
	if s.Step != "" {
		b.WriteString(" in step " + s.Step)
	}
	if s.Count != 1 {
		fmt.Fprintf(&b, ", %s", counted(int(s.Count), "time"))
	}
	if s.Sent > 0 || s.Received > 0 {
		fmt.Fprintf(&b, ", %d bytes sent and %d received", s.Sent, s.Received)
	}
	return document.Shown(b.String())
}

func eventNumbers(leaves []uint64) string {
	words := make([]string, len(leaves))
	for i, l := range leaves {
		words[i] = fmt.Sprint(l)
	}
	s := "event "
	if len(words) > 1 {
		s = "events "
	}
	return s + strings.Join(words, ", ")
}
