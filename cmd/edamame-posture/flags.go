package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// flagError answers a mistyped flag with the nearest one there is.
func flagError(cmd *cobra.Command, err error) error {
	msg := err.Error()
	name, found := strings.CutPrefix(msg, "unknown flag: --")
	if !found {
		return fmt.Errorf("%s (see edamame-posture %s --help)", msg, commandPath(cmd))
	}
	var flags []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			flags = append(flags, f.Name)
		}
	})
	best := document.Nearest(name, flags)
	if best == "" {
		return fmt.Errorf("there is no flag --%s (see edamame-posture %s --help)", name, commandPath(cmd))
	}
	return fmt.Errorf("there is no flag --%s, did you mean --%s? (see edamame-posture %s --help)", name, best, commandPath(cmd))
}
