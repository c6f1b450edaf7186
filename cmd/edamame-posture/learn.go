package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/learn"
)

func learnCommand() *cobra.Command {
	var o learn.Options
	cmd := &cobra.Command{
		Use:   "learn DIR...",
		Short: "Write the policy that explains what recorded runs did",
		Long: `Write the tightest readable policy that explains what recorded runs did, of one
or many folders of results (as run leaves them) or of evidence.

It stands for what was done, which need not be what is right: read it. From ten
runs on, what a tenth of them or fewer did is named in a comment and grants
nothing. Runs with a finding, runs of which not everything was seen and pull
requests are left out, which is told on stderr and in the policy. What it
generalises (versions, numbers of hosts, names of chance) it says on the line.

Exit code: 0 a policy was written, 2 unreadable, 5 there was no run to learn from.`,
		Example: "  edamame-posture intent learn runs/* > .github/posture.yml\n  edamame-posture intent learn --no-presets .posture .posture.1",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var runs []learn.Run
			for _, dir := range args {
				r, err := readLearnt(dir)
				if err != nil {
					return err
				}
				runs = append(runs, r)
			}
			p, err := learn.Learn(runs, o)
			if err != nil {
				return err
			}
			tell := cmd.ErrOrStderr()
			for _, l := range p.Left {
				fmt.Fprintf(tell, "left out: %s\n", l.Shown())
			}
			if p.Runs == 0 {
				return exit(exitNothing, errors.New("no run was left to learn from"))
			}
			if p.Rare > 0 {
				fmt.Fprintf(tell, "not granted, since few of the runs did it: %d; they stand in the policy's comments, --rare grants them\n", p.Rare)
			}
			if p.Open > 0 {
				fmt.Fprintf(tell, "no line of policy covers: %d; they stand in the policy's comments\n", p.Open)
			}
			_, err = cmd.OutOrStdout().Write(p.Text)
			return err
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&o.Findings, "with-findings", false, "learn from runs with a finding too, and from those that their policy forbade something")
	fl.BoolVar(&o.Partial, "partial", false, "learn from runs of which not everything was seen too")
	fl.BoolVar(&o.Forks, "forks", false, "learn from pull requests too; one of a fork runs what a stranger wrote")
	fl.BoolVar(&o.Rare, "rare", false, "grant what only few of many runs did too")
	fl.BoolVar(&o.NoPresets, "no-presets", false, "name every host, also where a preset is shorter")
	return cmd
}

// readLearnt reads the evidence of one run: of a folder of results, or of the
// folder of evidence in it.
func readLearnt(dir string) (learn.Run, error) {
	name := filepath.Clean(dir)
	ev := filepath.Join(name, evidenceDir)
	if _, err := os.Stat(ev); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(name, "000000.jsonl.zst")); err != nil {
			return learn.Run{}, exit(exitNothing, fmt.Errorf("there is no evidence in %s: name a folder that edamame-posture run has left", dir))
		}
		ev = name
		if filepath.Base(name) == evidenceDir {
			name = filepath.Dir(name)
		}
	}
	e, err := openAny(ev)
	if err != nil {
		return learn.Run{}, err
	}
	defer e.Close()
	return learn.Read(name, e)
}
