package main

import (
	"fmt"
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

// help is what such a command does.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

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
