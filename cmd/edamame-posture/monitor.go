package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/monitor"
)

// monitorCommand is what run starts as root. It is not for people.
func monitorCommand() *cobra.Command {
	var (
		sensor, out        string
		uid, gid           int
		groups             []int
		seal, noTLS, leave bool
	)
	cmd := &cobra.Command{
		Use:    "monitor",
		Short:  "The monitor of one run; started by run",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			preferMonitor()
			if leave {
				return leaveSudo()
			}
			monitor.Isolate()
			// The terminal's signals are for the watched command.
			_, _ = unix.Setsid()
			signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGPIPE)
			ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
			defer stop()
			// stdout stays open: its end tells the client of ours.
			hello := struct {
				io.Writer
				io.Closer
			}{os.Stdout, io.NopCloser(nil)}
			err := monitor.Serve(ctx, monitor.ServeOptions{
				Options: monitor.Options{
					Sensor: sensor, NoTLS: noTLS, Tool: toolVersion(), Sealed: seal, Unsealed: unsealed,
					Logf: func(format string, args ...any) {
						fmt.Fprintf(os.Stderr, "edamame-posture monitor: "+format+"\n", args...)
					},
				},
				UID: uid, GID: gid, Groups: groups, Armed: saveMemory, Settled: settle,
				Deliver: []string{"deliver", "--partial", "--out", out},
				Date:    []string{"date"},
			}, hello)
			switch {
			case errors.Is(err, context.Canceled):
				return exit(exitNo, errors.New("told to stop by SIGTERM: the recording was closed early"))
			case err != nil:
				// A client that waits for hello has been told by it.
				return exit(exitNo, nil)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&sensor, "sensor", "auto", "auto, ebpf or netlink")
	fl.BoolVar(&noTLS, "no-tls", false, "do not read requests inside TLS")
	fl.BoolVar(&seal, "seal", false, "sign each checkpoint, as run's --seal says")
	fl.StringVar(&out, "out", "", "folder for the results, should the client die")
	fl.IntVar(&uid, "uid", 0, "the caller's user id")
	fl.IntVar(&gid, "gid", 0, "the caller's group id")
	fl.BoolVar(&leave, "leave", false, "start it out of sudo's reach and end")
	fl.IntSliceVar(&groups, "group", nil, "the caller's other groups")
	return cmd
}

// leaveSudo starts this command again in a session of its own, without
// --leave, so that sudo can end.
func leaveSudo() error {
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return a == "--leave" })
	self, err := os.Executable()
	if err != nil {
		return exit(exitNo, err)
	}
	cmd := exec.Command(self, args...) // under its own name, for who looks at ps
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return exit(exitNo, fmt.Errorf("starting the monitor: %w", err))
	}
	return nil
}

// recoverCommand hands over what a monitor that died has left.
func recoverCommand() *cobra.Command {
	var out, death string
	cmd := &cobra.Command{
		Use:     "recover --out DIR FOLDER",
		Short:   "Hand over the recording of a monitor that died",
		Hidden:  true,
		Example: "  sudo edamame-posture recover --out .posture /var/lib/edamame-posture/0123456789abcdef",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if os.Geteuid() != 0 {
				return errors.New("recover needs root: sudo edamame-posture recover")
			}
			caller, err := monitor.FindCaller()
			if err != nil {
				return err
			}
			var how monitor.Death
			if death == "" {
				how = monitor.Remembered(args[0])
			} else {
				var err error
				if how, err = monitor.ReadDeath([]byte(death)); err != nil {
					return err
				}
				how.Claimed = true // root has it from a process of the caller's
			}
			if err := hand(args[0], caller, how); err != nil {
				return err
			}
			abs, err := filepath.Abs(out)
			if err != nil {
				return err
			}
			if err := asCaller(caller, "deliver", "--partial", "--out", abs, args[0]); err != nil {
				return err
			}
			return monitor.Discard(args[0])
		},
	}
	cmd.Flags().StringVar(&out, "out", ".posture", "folder for the results")
	cmd.Flags().StringVar(&death, "death", "", "how the monitor ended, as run says")
	return cmd
}

// hand makes what a dead monitor left the caller's. That the log does not tell
// how it died is no reason to keep it back.
func hand(spool string, c monitor.Caller, how monitor.Death) error {
	err := monitor.Recover(spool, c.UID, c.GID, how)
	if errors.Is(err, monitor.ErrNotTold) {
		fmt.Fprintf(os.Stderr, "edamame-posture: %v\n", err)
		return nil
	}
	return err
}

// recoverSpool is run's way to recover: itself as root, else through sudo,
// which a moment ago let the monitor start.
func recoverSpool(c monitor.Caller, spool, out string, how monitor.Death, deliver []string) error {
	if os.Geteuid() == 0 {
		if err := hand(spool, c, how); err != nil {
			return err
		}
		if err := asCaller(c, append(deliver, spool)...); err != nil {
			return err
		}
		return monitor.Discard(spool)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	death, err := json.Marshal(how)
	if err != nil {
		return err
	}
	cmd := exec.Command("sudo", "-n", "--", self, "recover", "--out", out, "--death", string(death), spool)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}
