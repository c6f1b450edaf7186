// Command edamame-posture tells what a command, a CI job or a coding agent
// really did on its machine, and whether that is what it said it would do.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/report"
)

// Exit codes of every subcommand but run, which gives its command's own.
const (
	exitNo       = 1   // refused, differs, finding, expired
	exitUsage    = 2   // bad usage or unreadable input
	exitNoAnswer = 4   // a service or network did not answer
	exitNothing  = 5   // nothing found to judge
	exitFailed   = 3   // run: the command gave 0 and the verdict is fail
	exitMonitor  = 125 // run: the monitor could not start
)

// exitError carries an exit code up to main. A nil err has been told already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func exit(code int, err error) error { return &exitError{code, err} }

func main() {
	if hookOf(os.Args[1:]) {
		return
	}
	sealMonitor()
	os.Exit(Main(os.Args[1:]))
}

// Main runs the command line and returns its exit code.
func Main(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	out := &printed{w: os.Stdout}
	root.SetOut(out)
	cmd, err := root.ExecuteC()
	if err == nil {
		err = out.err // an answer that nobody got is none
	}
	if err == nil {
		return 0
	}
	code := exitUsage
	if cmd.Name() == "run" && cmd.Parent() == root {
		code = exitMonitor
	}
	var e *exitError
	if errors.As(err, &e) {
		code = e.code
		if e.err == nil {
			return code
		}
	}
	// What is wrong may be a name that somebody else has chosen.
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = report.Visible(lines[i])
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", cmd.CommandPath(), strings.Join(lines, "\n"))
	return code
}

// printed is standard output. It remembers what went wrong there.
type printed struct {
	w   io.Writer
	err error
}

func (p *printed) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err != nil && p.err == nil {
		p.err = err
	}
	return n, err
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "edamame-posture",
		Short: "Tells, with proof, what a command really did on this machine",
		Long: `Tells, with proof, what a command, a CI job or a coding agent really did on
its machine, and whether that is what it said it would do.`,
		Example:       "  sudo edamame-posture run -- npm install\n  edamame-posture replay .posture\n  edamame-posture doctor",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          subcommands,
		RunE:          help,
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return emptyFlag(cmd) }
	root.Version = toolVersion()
	root.SetVersionTemplate("edamame-posture {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(runCommand(), startCommand(), stopCommand(), replayCommand(), signCommand(), verifyCommand(), proveCommand(), reportCommand(), explainCommand(), intentCommand(), signaturesCommand(), doctorCommand(), postureCommand(), gateCommand(), versionCommand(), witnessCommand(), hookCommand(), watchCommand(), actionCommand(), serviceCommand(),
		monitorCommand(), beginCommand(), commitCommand(), dateCommand(), deliverCommand(), recoverCommand())
	root.SetHelpCommand(helpCommand())
	root.SetFlagErrorFunc(flagError)
	return root
}

// version is set by the linker for releases.
var version = ""

// toolVersion returns the release, or where there is none the commit.
func toolVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	v, dirty := "devel", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			v = "devel-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return v + dirty
}
