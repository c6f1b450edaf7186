package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/intent/compare"
	"github.com/org/edamame-posture/pkg/intent/document"
)

func diffCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say in words what policy B allows that A does not, and the other way round",
		Long: `Says in words, job by job, what policy B newly allows or no longer allows beside
A: for the review of a change. Each may be a GitHub workflow; then what is derived
from it is compared. Presets are taken for what they hold. Order, comments and
other ways to write the same make no difference.

Exit code: 0 the same, 1 different, 2 unreadable.`,
		Example: "  git show main:.github/posture.yml > before.yml\n  edamame-posture intent diff before.yml .github/posture.yml",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := readIntentFile(args[0])
			if err != nil {
				return exit(exitUsage, err)
			}
			b, err := readIntentFile(args[1])
			if err != nil {
				return exit(exitUsage, err)
			}
			changes, err := compare.Policies(a, b)
			if err != nil {
				return exit(exitUsage, err)
			}
			if err := tellDiff(cmd.OutOrStdout(), changes, asJSON); err != nil {
				return err
			}
			if len(changes) > 0 {
				return exit(exitNo, nil)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// tellDiff writes a change a line, marked + where more is allowed, - where
// less is, ! for what comes or goes as a whole.
func tellDiff(w io.Writer, changes []compare.Change, asJSON bool) error {
	if asJSON {
		return writeJSON(w, map[string][]compare.Change{"changes": append([]compare.Change{}, changes...)})
	}
	var b strings.Builder
	if len(changes) == 0 {
		b.WriteString("the same: neither allows what the other does not\n")
	}
	for i := range changes {
		ch := &changes[i]
		mark := map[string]string{compare.Allows: "+", compare.Forbids: "-", compare.Changes: "!"}[ch.Effect]
		switch {
		case ch.Preset == "":
			fmt.Fprintf(&b, "%s %s\n", mark, ch.Text)
			if ch.Origin != "" {
				fmt.Fprintf(&b, "    %s\n", document.Shown(ch.Origin))
			}
		default:
			// What a preset brings stands together under its name.
			if i == 0 || changes[i-1].Preset != ch.Preset || changes[i-1].Job != ch.Job || changes[i-1].Effect != ch.Effect {
				fmt.Fprintf(&b, "%s %s, of the preset %s:\n", mark, compare.Subject(ch.Job), ch.Preset)
			}
			fmt.Fprintf(&b, "    %s\n", ch.Words)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
