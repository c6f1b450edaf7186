package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/probe"
)

func doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine allows, what is lost without it, and how to get it",
		Long: `Says what this machine allows: BPF, BTF, lockdown, cgroup v2, tracepoints,
fanotify, capabilities, netlink. For each thing that is not there it says what
is lost without it and how to get it.

Exit code: 0 where a sensor can be used, 1 where none can.`,
		Example: "  sudo edamame-posture doctor\n  sudo edamame-posture doctor --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			results := probe.All(cmd.Context())
			out := cmd.OutOrStdout()
			if asJSON {
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				if err := enc.Encode(results); err != nil {
					return err
				}
			} else {
				for _, r := range results {
					mark := "yes"
					if !r.OK {
						mark = "no "
					}
					fmt.Fprintf(out, "%s  %-34s %s\n", mark, r.Title, r.Detail)
					if !r.OK && r.Lost != "" {
						fmt.Fprintf(out, "       lost without it: %s\n", r.Lost)
					}
					if !r.OK && r.Get != "" {
						fmt.Fprintf(out, "       to get it: %s\n", r.Get)
					}
				}
			}
			ebpf, netlink := probe.CanEBPF(), probe.CanNetlink()
			if !asJSON {
				switch {
				case ebpf == nil && netlink == nil:
					fmt.Fprintln(out, "\nrun will watch with eBPF, with netlink as the second witness.")
				case ebpf == nil:
					fmt.Fprintf(out, "\nrun will watch with eBPF and no second witness: %v\n", netlink)
				case netlink == nil:
					fmt.Fprintf(out, "\nrun will watch with netlink and /proc, which see less: %v\n", ebpf)
				default:
					fmt.Fprintf(out, "\nrun cannot watch here: %v\n", ebpf)
				}
			}
			if ebpf != nil && netlink != nil {
				return exit(exitNo, nil)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
