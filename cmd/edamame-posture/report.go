package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/github"
	"github.com/org/edamame-posture/pkg/report"
)

func reportCommand() *cobra.Command {
	var toGitHub bool
	var format string
	cmd := &cobra.Command{
		Use:   "report DIR",
		Short: "Show a folder of results again",
		Long: `Shows a folder of results as text (as run does), markdown, html or sarif on
stdout. With --github it is told to the runner: job summary, outputs and
annotations.`,
		Example: "  edamame-posture report .posture\n  edamame-posture report --format html .posture > report.html",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := report.Load(args[0])
			if err != nil {
				return err
			}
			if toGitHub {
				return github.Tell(data, args[0])
			}
			out := cmd.OutOrStdout()
			switch format {
			case "text":
				return report.Terminal(out, data, report.TerminalOptions{Color: isTerminal(1) && os.Getenv("NO_COLOR") == "", Dir: args[0]})
			case "markdown":
				return report.Markdown(out, data)
			case "html":
				return report.HTML(out, data)
			case "sarif":
				return report.SARIF(out, data)
			}
			return fmt.Errorf("--format is text, markdown, html or sarif, not %q", format)
		},
	}
	cmd.Flags().BoolVar(&toGitHub, "github", false, "tell the GitHub runner")
	cmd.Flags().StringVar(&format, "format", "text", "text, markdown, html or sarif")
	return cmd
}
