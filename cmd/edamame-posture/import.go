package main

import (
	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/intent/foreign"
)

func importCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Write the policy that settings of another program come to",
		Long: `Writes the policy that settings of another program come to: a workflow with
harden-runner or bullfrog, a gh-aw workflow in Markdown, or settings of Anthropic's
sandbox-runtime. The format is known by the content. Each line says where it comes
from; what a policy has no equal for is told in comments and grants nothing.

Exit code: 0 written, 2 unreadable.`,
		Example: `  edamame-posture intent import .github/workflows/ci.yml > .github/posture.yml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readBounded(args[0], document.MaxBytes)
			if err != nil {
				return exit(exitUsage, err)
			}
			p, err := foreign.Read(args[0], data)
			if err != nil {
				return exit(exitUsage, err)
			}
			_, err = cmd.OutOrStdout().Write(p.Text())
			return err
		},
	}
}
