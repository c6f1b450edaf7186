package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/agent/client"
	"github.com/org/edamame-posture/pkg/agent/program"
	"github.com/org/edamame-posture/pkg/agent/settings"
)

// hookOf does what edamame-hook does where the command line is that of a hook,
// before anything else is set up, and reports whether it was.
func hookOf(args []string) bool {
	if len(args) < 2 || args[0] != "hook" || !client.Known(args[1]) {
		return false
	}
	client.Main(args[1:], os.Stdin, os.Stdout)
	return true
}

func hookCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hook AGENT [PAYLOAD]",
		Short: "Hand what a coding agent says in a hook to the monitor; hook install sets agents up",
		Long: `Hands what a coding agent says in a hook to the monitors of this machine. The
payload is read from standard input, or is the last argument. It says nothing
that an agent need not read, never waits long, and its exit code is always 0.

Agents: ` + strings.Join(client.Agents(), ", ") + `. "hook install" writes their settings.`,
		Example: "  edamame-posture hook install claude-code\n  edamame-posture hook claude-code < payload.json",
		// An agent that runs this would take another exit code for a word on its
		// tool call, so a mistake is told and no more.
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "no agent"
			if len(args) > 0 {
				name = fmt.Sprintf("%q", args[0])
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "edamame-posture hook: %s: want one of %s\n", name, strings.Join(client.Agents(), ", "))
			return nil
		},
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		Args:               cobra.ArbitraryArgs,
	}
	cmd.AddCommand(hookInstallCommand())
	return cmd
}

func hookInstallCommand() *cobra.Command {
	var project, user, managed, uninstall, check bool
	var at, workspace string
	cmd := &cobra.Command{
		Use:   "install AGENT",
		Short: "Write an agent's settings so that it tells the monitor what it is about to do",
		Long: `Puts the hook into an agent's settings and keeps what else stands there. --user
(the default) is for all of your sessions, --project for all sessions in this
checkout, --managed for the whole machine, as root. A second time changes
nothing; --uninstall gives the files back as they were; --check says what is
missing and exits 1 where something is.

The settings of --user and --managed call edamame-hook, which is written too:
to ~/.local/bin, and as root to /usr/local/bin. Those of --project go to other
machines, look for edamame-hook in PATH, and do without where it is not there.`,
		Example: `  edamame-posture hook install claude-code
  edamame-posture hook install codex --check
  sudo edamame-posture hook install claude-code --managed
  edamame-posture hook install gemini --project --uninstall`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := installation(args[0], project, managed, at, workspace)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case check:
				missing, err := in.Check()
				if err != nil {
					return err
				}
				if data, err := os.ReadFile(in.Program); at == "" && in.Scope != settings.Project {
					if want, wrong := program.Hook(); err != nil {
						missing = append(missing, err.Error())
					} else if wrong == nil && !bytes.Equal(data, want) {
						missing = append(missing, in.Program+" is not the one of this version: install again")
					}
				} else if _, err := exec.LookPath("edamame-hook"); err != nil && in.Scope == settings.Project {
					missing = append(missing, "edamame-hook is not in PATH here: hook install --user writes it")
				}
				for _, m := range missing {
					fmt.Fprintln(out, m)
				}
				if len(missing) > 0 {
					return exit(exitNo, nil)
				}
				fmt.Fprintf(out, "%s: installed (%s)\n", in.Agent, in.Scope)
				return nil
			case uninstall:
				changes, err := in.Uninstall()
				tellChanges(cmd, changes)
				if err != nil || at != "" || in.Scope == settings.Project {
					return err
				}
				return dropProgram(cmd, in)
			}
			if at == "" && in.Scope != settings.Project {
				if err := writeProgram(cmd, in.Program); err != nil {
					return err
				}
			}
			changes, err := in.Install()
			tellChanges(cmd, changes)
			if err == nil && in.Agent == "codex" && in.Scope != settings.Managed {
				fmt.Fprintln(out, "Codex runs hooks only when it was told to trust them: start codex, open /hooks and trust them; until then it passes them over without a word")
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&user, "user", false, "for all of your sessions (the default)")
	f.BoolVar(&project, "project", false, "for all sessions in this checkout")
	f.BoolVar(&managed, "managed", false, "for the whole machine, which users cannot take out; as root")
	f.BoolVar(&uninstall, "uninstall", false, "take the hook out again")
	f.BoolVar(&check, "check", false, "say what is missing; exit 1 where something is")
	f.StringVar(&at, "program", "", "where edamame-hook is, if it is not to be written: `FILE`")
	f.StringVar(&workspace, "workspace", ".", "the checkout of --project: `DIR`")
	cmd.MarkFlagsMutuallyExclusive("user", "project", "managed")
	cmd.MarkFlagsMutuallyExclusive("uninstall", "check")
	return cmd
}

func installation(agent string, project, managed bool, at, workspace string) (*settings.Installation, error) {
	if !client.Known(agent) {
		return nil, fmt.Errorf("there is no agent %q: want one of %s", agent, strings.Join(client.Agents(), ", "))
	}
	in := &settings.Installation{Agent: agent, Scope: settings.User, Getenv: os.Getenv}
	switch {
	case project:
		in.Scope = settings.Project
	case managed:
		in.Scope = settings.Managed
		if os.Geteuid() != 0 {
			return nil, errors.New("--managed is for the whole machine: run it as root")
		}
	case os.Geteuid() == 0 && os.Getenv("SUDO_UID") != "" && os.Getenv("SUDO_UID") != "0":
		return nil, errors.New("under sudo these would be root's sessions: run it without sudo, or with --managed for the whole machine")
	}
	var err error
	if in.Workspace, err = filepath.Abs(workspace); err != nil {
		return nil, err
	}
	if in.Home, err = os.UserHomeDir(); err != nil {
		return nil, fmt.Errorf("whose settings: %w", err)
	}
	if in.Home, err = filepath.Abs(in.Home); err != nil {
		return nil, err
	}
	in.Program = "/usr/local/bin/edamame-hook"
	if os.Geteuid() != 0 {
		in.Program = filepath.Join(in.Home, ".local/bin/edamame-hook")
	}
	if at != "" {
		if in.Program, err = filepath.Abs(at); err != nil {
			return nil, err
		}
		if _, err := os.Stat(in.Program); err != nil {
			return nil, fmt.Errorf("--program: %w", err)
		}
	}
	return in, nil
}

func writeProgram(cmd *cobra.Command, path string) error {
	want, err := program.Hook()
	if err != nil {
		return err
	}
	what := "made"
	if have, err := os.ReadFile(path); err == nil {
		if bytes.Equal(have, want) {
			return nil
		}
		what = "written"
	}
	if err := settings.Replace(path, want, 0o755, nil); err != nil {
		return err
	}
	tellChanges(cmd, []settings.Change{{Path: path, What: what}})
	return nil
}

// dropProgram deletes the hook where no agent's settings of this scope call it
// any more.
func dropProgram(cmd *cobra.Command, in *settings.Installation) error {
	for _, agent := range client.Agents() {
		for _, scope := range []settings.Scope{settings.User, settings.Managed} {
			other := *in
			other.Agent, other.Scope = agent, scope
			if used, err := other.Used(); err != nil || used {
				return nil // of settings that cannot be read nothing is known
			}
		}
	}
	err := os.Remove(in.Program)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		tellChanges(cmd, []settings.Change{{Path: in.Program, What: "deleted"}})
	}
	return err
}

func tellChanges(cmd *cobra.Command, changes []settings.Change) {
	width := 0
	for _, c := range changes {
		width = max(width, len(c.Path))
	}
	slices.SortStableFunc(changes, func(a, b settings.Change) int { return strings.Compare(a.Path, b.Path) })
	for _, c := range changes {
		fmt.Fprintf(cmd.OutOrStdout(), "%-*s  %s\n", width, c.Path, c.What)
	}
}
