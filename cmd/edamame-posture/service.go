package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/pkg/service"
)

func serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Record every job of the self-hosted runners of this machine",
		Long: `Installs, upgrades, removes and shows the service that records every job of the
self-hosted runners of this machine, whatever their workflows say. See
docs/self-hosted.md.`,
		Example: `  sudo edamame-posture service install --runner /opt/actions-runner
  sudo edamame-posture service status`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(serviceRunCommand(), serviceHookCommand())
	return cmd
}

// serviceSettings reads the settings. Where the default file is not there the
// defaults hold: in a container there may be none.
func serviceSettings(path string) (*service.Settings, error) {
	data, err := readBounded(path, document.MaxBytes)
	if errors.Is(err, fs.ErrNotExist) && path == service.SettingsFile {
		path, data, err = "the defaults", service.Example, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the service's settings: %w", err)
	}
	return service.ParseSettings(path, data)
}

func serviceRunCommand() *cobra.Command {
	var config, socket string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Record jobs until SIGTERM; what systemd or a container starts",
		Long: `Records every job of the machine's runners until it gets SIGTERM. It is what
the unit of service install starts; in a container it is started by hand. What
it says goes to stderr, as systemd's journal takes it.`,
		Example: "  sudo edamame-posture service run --config /etc/edamame-posture/service.yml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("service run needs root: sudo edamame-posture service run")
			}
			s, err := serviceSettings(config)
			if err != nil {
				return err
			}
			in, err := readPolicy(s.Policy, "", false)
			if err != nil {
				return fmt.Errorf("%s: policy: %w", config, err)
			}
			preferMonitor()
			monitor.Isolate()
			signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			log := service.NewJournal(os.Stderr)
			defer log.Close()
			err = service.Run(ctx, service.RunOptions{
				Settings: s, Socket: socket, Log: log, Armed: settle,
				Monitor: monitor.Options{Tool: toolVersion(), Unsealed: unsealed},
				Opening: monitor.Opening{Intent: canonical(in.Resolved), PolicyFile: in.file, PolicySHA256: in.sha256},
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				return exit(exitNo, err)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&config, "config", service.SettingsFile, "the settings, `FILE`")
	fl.StringVar(&socket, "socket", service.Socket, "where jobs ask for their recording, `PATH`")
	return cmd
}

func serviceHookCommand() *cobra.Command {
	var config, socket string
	cmd := &cobra.Command{
		Use:       "hook started|completed",
		Short:     "What the runner's job hooks start",
		Hidden:    true,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"started", "completed"},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := serviceSettings(config)
			if err != nil {
				// Only root writes that file. A job is not to suffer for it.
				fmt.Fprintf(cmd.OutOrStdout(), "::warning::%s\n", service.Escape(err.Error()))
				return nil
			}
			job, err := monitor.AskJob(socket)
			if !service.Hook(cmd.OutOrStdout(), s, args[0] == "completed", job, err) {
				return exit(exitNo, nil)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&config, "config", service.SettingsFile, "the settings, `FILE`")
	fl.StringVar(&socket, "socket", service.Socket, "where the service listens, `PATH`")
	return cmd
}
