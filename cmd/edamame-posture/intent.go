package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/intent/derive"
	"github.com/org/edamame-posture/pkg/intent/document"
)

func intentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "intent",
		Short: "Policies: derive, learn, check, compare, import and test them",
		Example: `  edamame-posture intent derive .github/workflows/ci.yml > .github/posture.yml
  edamame-posture intent check .github/posture.yml`,
		Args: subcommands,
		RunE: help,
	}
	cmd.AddCommand(deriveCommand(), learnCommand(), checkCommand(), diffCommand(), importCommand(), policyTestCommand())
	return cmd
}

func deriveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "derive WORKFLOW.yml",
		Short: "Write the policy that a GitHub workflow declares by what it runs",
		Long: `Write the policy that a GitHub workflow declares by what it runs: its actions, as
far as the catalogue knows them, and the commands of its run steps. Scripts,
composite actions and reusable workflows of the same repository are followed.
What is not understood is listed and grants nothing.`,
		Example: `  edamame-posture intent derive .github/workflows/ci.yml > .github/posture.yml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := deriveFrom(args[0])
			if err != nil {
				return exit(exitUsage, err)
			}
			_, err = cmd.OutOrStdout().Write(d.Text())
			return err
		},
	}
}

// deriveFrom reads a workflow, and what it names of its repository: the folder
// above .github, else that of the file.
func deriveFrom(path string) (*derive.Derivation, error) {
	data, err := readBounded(path, document.MaxBytes)
	if err != nil {
		return nil, err
	}
	root, file := repositoryOf(path)
	return derive.Workflow(file, data, root)
}

func repositoryOf(path string) (fs.FS, string) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, path
	}
	dir := filepath.Dir(abs)
	if before, _, ok := strings.Cut(abs, "/.github/workflows/"); ok {
		dir = before
	}
	file, err := filepath.Rel(dir, abs)
	if err != nil {
		return nil, path
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, file
	}
	return root.FS(), file
}
