package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/github"
	"github.com/org/edamame-posture/pkg/intent/derive"
	"github.com/org/edamame-posture/pkg/report"
)

func reportCommand() *cobra.Command {
	var toGitHub bool
	var format, workflow string
	views := []string{"terminal", "markdown", "html", "sarif"}
	formats := strings.Join(append(slices.Clone(views), report.Formats...), ", ")
	cmd := &cobra.Command{
		Use:   "report DIR...",
		Short: "Show a folder of results again, or write it for another program",
		Long: `Shows a folder of results on stdout: as text (as run does), markdown or html,
or in a format of other programs: sarif, ocsf, csv, controls, cyclonedx or
otlp. controls takes several folders and writes a row for each job. With
--github it is told to the runner: job summary, outputs and annotations.`,
		Example: `  edamame-posture report .posture
  edamame-posture report --format html .posture > report.html
  edamame-posture report --format sarif --workflow .github/workflows/ci.yml .posture > results.sarif
  edamame-posture report --format ocsf .posture > events.jsonl`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, dir := cmd.OutOrStdout(), args[0]
			if len(args) > 1 && format != "controls" {
				return fmt.Errorf("--format %s takes one folder, not %d: only controls takes more", format, len(args))
			}
			if workflow != "" && format != "sarif" {
				return fmt.Errorf("--workflow is for --format sarif alone: it says on which lines the steps stand")
			}
			switch {
			case toGitHub:
			case format == "controls":
				return report.Controls(out, args...)
			case slices.Contains(report.Formats, format):
				return report.Export(out, dir, format)
			case format != "text" && !slices.Contains(views, format):
				return fmt.Errorf("--format is one of %s, not %q", formats, format)
			}
			data, err := report.Load(dir)
			if err != nil {
				return err
			}
			if toGitHub {
				return github.Tell(data, dir)
			}
			switch format {
			case "markdown":
				return report.Markdown(out, data)
			case "html":
				return report.HTML(out, data)
			case "sarif":
				if err := readSteps(data, workflow); err != nil {
					return err
				}
				return report.SARIF(out, data)
			}
			return report.Terminal(out, data, report.TerminalOptions{Color: colored(1), Dir: dir})
		},
	}
	cmd.Flags().BoolVar(&toGitHub, "github", false, "tell the GitHub runner")
	cmd.Flags().StringVar(&format, "format", "terminal", "one of "+formats)
	cmd.Flags().StringVar(&workflow, "workflow", "", "sarif: the workflow whose job it was, from the repository's root; results then stand at its steps")
	cmd.AddCommand(reportDiffCommand())
	return cmd
}

// readSteps has a workflow say on which lines the steps of the job stand.
func readSteps(data *report.Data, workflow string) error {
	if workflow == "" {
		return nil
	}
	b, err := os.ReadFile(workflow)
	if err != nil {
		return err
	}
	lines, err := derive.Steps(workflow, b, data.Verdict.Run.Job)
	if err != nil {
		return err
	}
	data.Steps = make(map[string]report.Place, len(lines))
	for id, line := range lines {
		data.Steps[id] = report.Place{File: workflow, Line: line}
	}
	return nil
}

func reportDiffCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "What one run did that the other did not",
		Long: `Compares two folders of results: facts by who did what to which object, with
what differs by chance left aside (process ids, ports that the kernel chose,
names of temporary files), findings, verdict, score and coverage. Exit code 0
says that they are the same, 1 that they differ, 2 that one cannot be read.`,
		Example: "  edamame-posture report diff .posture.1 .posture\n  edamame-posture report diff --format markdown main/ pr/",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			write := map[string]func(*report.Comparison, io.Writer) error{
				"terminal": (*report.Comparison).Text, "markdown": (*report.Comparison).Markdown, "json": (*report.Comparison).JSON,
			}[format]
			if write == nil {
				return fmt.Errorf("--format is terminal, markdown or json, not %q", format)
			}
			c, err := report.Compare(args[0], args[1])
			if err != nil {
				return err
			}
			if err := write(c, cmd.OutOrStdout()); err != nil {
				return err
			}
			if !c.Same {
				return exit(exitNo, nil)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "terminal", "terminal, markdown or json")
	return cmd
}
