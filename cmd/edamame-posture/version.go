package main

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/monitor"
)

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of the command, its formats and its judge",
		Example: "  edamame-posture version --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if asJSON {
				return json.NewEncoder(out).Encode(map[string]any{
					"version": toolVersion(), "go": runtime.Version(), "evidence": event.Version,
					"judge": judge.Version, "protocol": monitor.ProtocolVersion,
				})
			}
			_, err := fmt.Fprintf(out, "edamame-posture %s\nevidence format %d, %s, control protocol %d, %s\n",
				toolVersion(), event.Version, judge.Version, monitor.ProtocolVersion, runtime.Version())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
