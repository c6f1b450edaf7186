package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// subcommands are the arguments of a command that only has others below it: it
// answers a mistyped one with the nearest there is.
func subcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	meant := ""
	if best := document.Nearest(args[0], names); best != "" {
		meant = fmt.Sprintf(", did you mean %s?", best)
	}
	return fmt.Errorf("there is no command %q%s (see %s --help)", args[0], meant, cmd.CommandPath())
}

// emptyFlag refuses a flag that was given without a value, as by a variable that
// is not set: it would switch off what it stands for. What starts our hidden
// commands is ours.
func emptyFlag(cmd *cobra.Command) (err error) {
	for c := cmd; c != nil; c = c.Parent() {
		if c.Hidden {
			return nil
		}
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		switch list, isList := f.Value.(pflag.SliceValue); {
		case isList:
			values = list.GetSlice()
		case f.Value.Type() != "string":
			return
		}
		for _, v := range values {
			// The gate's action passes on an input that may be left out.
			if strings.TrimSpace(v) == "" && f.Name != "resource" {
				err = fmt.Errorf("--%s: nothing stands there: leave it out, or say what is meant", f.Name)
			}
		}
	})
	return err
}

// colored reports whether a descriptor is a terminal that shows colours, and
// whose user wants them (https://no-color.org).
func colored(fd int) bool {
	t := os.Getenv("TERM")
	return isTerminal(fd) && os.Getenv("NO_COLOR") == "" && t != "" && t != "dumb"
}

// help is what such a command does.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// helpCommand is cobra's, but that it answers a mistyped command as the others do.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			switch {
			case err != nil:
				return err
			case found.HasSubCommands() && len(rest) > 0:
				return subcommands(found, rest)
			}
			return found.Help()
		},
	}
}

// flagError answers a mistyped flag with the nearest one there is.
func flagError(cmd *cobra.Command, err error) error {
	msg := err.Error()
	name, found := strings.CutPrefix(msg, "unknown flag: --")
	if !found {
		return fmt.Errorf("%s (see %s --help)", msg, cmd.CommandPath())
	}
	var flags []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			flags = append(flags, f.Name)
		}
	})
	best := document.Nearest(name, flags)
	if best == "" {
		return fmt.Errorf("there is no flag --%s (see %s --help)", name, cmd.CommandPath())
	}
	return fmt.Errorf("there is no flag --%s, did you mean --%s? (see %s --help)", name, best, cmd.CommandPath())
}
