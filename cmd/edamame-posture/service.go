package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/pkg/report"
	"github.com/org/edamame-posture/pkg/service"
)

func serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Record every job of the self-hosted runners of this machine",
		Long: `Installs, upgrades, removes, enrols and shows the service that records every job
of the self-hosted runners of this machine, whatever their workflows say. See
docs/self-hosted.md.`,
		Example: `  sudo edamame-posture service install --runner /opt/actions-runner
  sudo edamame-posture service status`,
		Args: subcommands,
		RunE: help,
	}
	cmd.AddCommand(serviceInstallCommand(), serviceUpgradeCommand(), serviceUninstallCommand(), serviceStatusCommand(), serviceEnrolCommand(), serviceRunCommand(), serviceHookCommand(), serviceSignCommand())
	return cmd
}

// systemctl runs it where systemd runs the machine that is meant, and says what
// to do where not.
func systemctl(w io.Writer, root string, commands ...[]string) error {
	_, err := os.Stat("/run/systemd/system") // sd_booted(3)
	for _, args := range commands {
		if root != "" || err != nil {
			fmt.Fprintf(w, "not done here: systemctl %s\n", strings.Join(args, " "))
			continue
		}
		out, err := exec.Command("systemctl", args...).CombinedOutput()
		if err != nil {
			return exit(exitNo, fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out)))
		}
	}
	return nil
}

func placeFlags(cmd *cobra.Command, p *service.Place) {
	p.Program = "/proc/self/exe"
	cmd.Args = cobra.NoArgs
	cmd.Flags().StringVar(&p.Root, "root", "", "the folder that holds the machine's files, such as an image's; / if left out: `DIR`")
}

func needRoot(cmd *cobra.Command, root string) error {
	if os.Geteuid() != 0 && root == "" {
		return fmt.Errorf("service %[1]s needs root: sudo edamame-posture service %[1]s", cmd.Name())
	}
	return nil
}

func tellNotes(w io.Writer, notes []string) {
	for _, n := range notes {
		fmt.Fprintln(w, n)
	}
}

func serviceInstallCommand() *cobra.Command {
	var p service.Place
	cmd := &cobra.Command{
		Use:   "install [--runner DIR]...",
		Short: "Install the service: program, unit, settings, hooks",
		Long: `Copies this program to /usr/local/lib/edamame-posture, writes the unit, the
hooks of jobs, and /etc/edamame-posture/service.yml with every setting
explained, and starts it. With --runner the hooks are written into the .env of a
runner. Without hooks jobs are recorded as well; they are not told.`,
		Example: "  sudo edamame-posture service install --runner /opt/actions-runner",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(cmd, p.Root); err != nil {
				return err
			}
			notes, err := p.Install()
			tellNotes(cmd.OutOrStdout(), notes)
			if err != nil {
				return exit(exitNo, err)
			}
			return systemctl(cmd.OutOrStdout(), p.Root, []string{"daemon-reload"}, []string{"enable", "--now", service.Unit})
		},
	}
	placeFlags(cmd, &p)
	cmd.Flags().StringArrayVar(&p.Runners, "runner", nil, "the folder of a runner that gets the hooks, `DIR`; may be given more than once")
	return cmd
}

func serviceUpgradeCommand() *cobra.Command {
	var p service.Place
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Put this version in the place of the installed one; settings stay",
		Long: `Renews program, unit and hooks, and starts the service again. Settings that
this version cannot read are an error, and nothing is changed. Recordings of
jobs that run are closed, and go on in a second one, which says so.`,
		Example: "  sudo ./edamame-posture service upgrade",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(cmd, p.Root); err != nil {
				return err
			}
			if err := p.Upgrade(); err != nil {
				return exit(exitNo, err)
			}
			return systemctl(cmd.OutOrStdout(), p.Root, []string{"daemon-reload"}, []string{"restart", service.Unit})
		},
	}
	placeFlags(cmd, &p)
	return cmd
}

func serviceUninstallCommand() *cobra.Command {
	var p service.Place
	cmd := &cobra.Command{
		Use:     "uninstall [--keep-evidence|--delete-evidence]",
		Short:   "Remove the service and all that it has made",
		Example: "  sudo edamame-posture service uninstall --delete-evidence",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(cmd, p.Root); err != nil {
				return err
			}
			if err := p.Removable(); err != nil {
				return exit(exitNo, err) // before it is stopped
			}
			if err := systemctl(cmd.OutOrStdout(), p.Root, []string{"disable", "--now", service.Unit}); err != nil {
				return err
			}
			notes, err := p.Uninstall()
			tellNotes(cmd.OutOrStdout(), notes)
			if err != nil {
				return exit(exitNo, err)
			}
			return systemctl(cmd.OutOrStdout(), p.Root, []string{"daemon-reload"})
		},
	}
	placeFlags(cmd, &p)
	cmd.Flags().BoolVar(&p.KeepEvidence, "keep-evidence", false, "leave the recordings of jobs")
	cmd.Flags().BoolVar(&p.DeleteEvidence, "delete-evidence", false, "delete the recordings of jobs")
	return cmd
}

func serviceStatusCommand() *cobra.Command {
	var p service.Place
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether the service runs, whether its files are as installed, and which jobs it records",
		Long: `Says whether the service answers, which of its files are not as they were
installed, and which jobs it records now.

Exit code: 0; 1 where a file is another; 4 where the service does not answer.`,
		Example: "  sudo edamame-posture service status --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(cmd, p.Root); err != nil {
				return err
			}
			changed, ierr := p.Changed()
			if ierr != nil && !errors.Is(ierr, service.ErrNotInstalled) {
				return exit(exitNo, ierr)
			}
			jobs, err := monitor.AskJobs(socket)
			w := cmd.OutOrStdout()
			if asJSON {
				if jerr := writeJSON(w, map[string]any{
					"installed": ierr == nil, "changed": append([]string{}, changed...), "answers": err == nil, "jobs": append([]monitor.JobStatus{}, jobs...),
				}); jerr != nil {
					return jerr
				}
			} else {
				if ierr != nil {
					fmt.Fprintln(w, ierr)
				}
				for _, f := range changed {
					fmt.Fprintf(w, "%s is not as it was installed\n", f)
				}
				if err == nil {
					fmt.Fprintf(w, "recording %s\n", counted(len(jobs), "job"))
				}
				for i := range jobs {
					j := &jobs[i]
					fmt.Fprintf(w, "  %s  since %s  runner %s  %d events, %d lost, %s\n", j.ID, j.Begun.UTC().Format(time.RFC3339),
						report.Visible(j.Runner), j.Events, j.Lost, counted(len(j.Found), "finding"))
				}
			}
			switch {
			case err != nil:
				return exit(exitNoAnswer, fmt.Errorf("the service does not answer: %w", err))
			case len(changed) > 0:
				return exit(exitNo, nil)
			}
			return nil
		},
	}
	placeFlags(cmd, &p)
	cmd.Flags().StringVar(&socket, "socket", service.Socket, "where the service listens, `PATH`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
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
			if s.Sign != nil {
				// Now, and not when a job has ended.
				if _, err := readEnrolled(s.Sign.Key); err != nil {
					return fmt.Errorf("%s: sign: %w", config, err)
				}
			}
			preferMonitor()
			monitor.Isolate()
			signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			log := service.NewJournal(os.Stderr)
			defer log.Close()
			by := &enrolled{config, log}
			err = service.Run(ctx, service.RunOptions{
				Settings: s, Socket: socket, Log: log, Armed: func() { saveMemory(); settle() }, Vouch: by.vouch, Attest: by.attest,
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

// required finds that jobs must be recorded in settings that cannot be read
// otherwise.
var required = regexp.MustCompile(`(?m)^require:[ \t]*true\b`)

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
				// Only root writes that file. A job is not to suffer for it, unless
				// it must not go on unrecorded.
				text, rerr := readBounded(config, document.MaxBytes)
				if rerr == nil && required.Match(text) {
					fmt.Fprintf(cmd.OutOrStdout(), "::error::%s\n", service.Escape(err.Error()))
					return exit(exitNo, nil)
				}
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
