package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/monitor"
)

// started is what start prints and stop needs.
type started struct {
	Socket string `json:"socket"`
	Spool  string `json:"spool"`
	ID     string `json:"id"`
	Sensor string `json:"sensor"`
	Out    string `json:"out"`
}

// recover ends what a monitor that is not there any more has begun: where it
// was killed its log is handed over, as far as it goes.
func (s started) recover(caller monitor.Caller, f runFlags, gone error) error {
	if _, err := os.Lstat(s.Spool); err != nil {
		return exit(exitNoAnswer, fmt.Errorf("the monitor is not there any more (%w): what it saw is in %s, if it could deliver it", gone, s.Out))
	}
	fmt.Fprintln(os.Stderr, "edamame-posture: the monitor has gone before its time: what it saw until then is kept; what was done after that was not seen")
	_ = monitor.Discard(filepath.Dir(s.Socket)) // it could not
	how := monitor.Remembered(s.Spool)
	if err := recoverSpool(caller, s.Spool, s.Out, how, deliverArgs(&f, s.Out, "--partial")); err != nil {
		return exit(exitNoAnswer, fmt.Errorf("the recording stays in %s: %w", s.Spool, err))
	}
	return exit(exitFailed, nil) // what was done after that is in no record
}

func startCommand() *cobra.Command {
	var (
		f      runFlags
		parent uint32
		orTop  bool
	)
	cmd := &cobra.Command{
		Use:   "start --parent PID",
		Short: "Begin to watch what a running process starts",
		Long: `Begins to watch what a running process starts from now on, and returns. The
process must be an ancestor of this command: a CI runner's worker, a shell. It
prints one line of JSON that stop needs. Needs root.`,
		Example: `  sudo edamame-posture start --parent $$ > /tmp/watch.json
  make
  sudo edamame-posture stop --state /tmp/watch.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("start needs root: sudo edamame-posture start")
			}
			if parent == 0 {
				return errors.New("--parent says which process's children to watch, such as $$ in a shell")
			}
			if err := checkSensor(f.sensor); err != nil {
				return err
			}
			in, err := readPolicy(f.intent, f.job, orTop)
			if err != nil {
				return err
			}
			caller, err := monitor.FindCaller()
			if err != nil {
				return err
			}
			out, err := filepath.Abs(f.out)
			if err != nil {
				return err
			}
			if err := asCaller(caller, "deliver", "--prepare", "--out", out); err != nil {
				return quietly(err, "the folder for the results, %s, cannot be used", out)
			}
			// Its messages would go to a pipe that is read no more once this
			// command has ended.
			program := sealedProgram()
			client, err := monitor.Launch(monitor.LaunchOptions{Sensor: f.sensor, NoTLS: f.noTLS, Sealed: true, Out: out, Caller: caller, Args: []string{"monitor"}, Program: program})
			program.Close() // nil too
			if err != nil {
				return exit(exitNo, fmt.Errorf("the monitor could not start: %w", err))
			}
			cwd, err := os.Getwd()
			if err != nil {
				cwd, _ = os.Readlink("/proc/self/cwd") // it was removed
			}
			opened, err := client.Open(monitor.Opening{
				Cwd: cwd, Home: caller.Home, Job: f.job, Intent: canonical(in.Resolved), Parent: parent, Detach: true,
				PolicyFile: in.file, PolicySHA256: in.sha256, Keys: keyValues(in.Resolved),
			})
			if err != nil {
				client.Close()
				return exit(exitNo, err)
			}
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(started{
				Socket: client.Socket(), Spool: opened.Spool, ID: opened.ID, Sensor: opened.Sensor, Out: out,
			})
			if err != nil {
				// Nobody could end it.
				_, ferr := client.Finish(monitor.Closing{Exit: -1})
				if ferr == nil {
					ferr = client.Discard()
				}
				return exit(exitNo, errors.Join(fmt.Errorf("telling what stop needs: %w", err), ferr, client.Close()))
			}
			client.HangUp()
			return nil
		},
	}
	fl := cmd.Flags()
	fl.Uint32Var(&parent, "parent", 0, "`PID` of the process whose children to watch")
	fl.BoolVar(&orTop, "job-or-top", false, "where the policy does not have the job, what stands at its top holds")
	fl.StringVar(&f.intent, "intent", "", "policy `FILE` that says what they may do")
	fl.StringVar(&f.job, "job", "", "name of the job in the policy that this is")
	fl.StringVar(&f.out, "out", ".posture", "folder for the results")
	fl.StringVar(&f.sensor, "sensor", "auto", "auto, ebpf or netlink")
	fl.BoolVar(&f.noTLS, "no-tls", false, "do not read requests inside TLS")
	return cmd
}

func stopCommand() *cobra.Command {
	var (
		state string
		f     runFlags
	)
	cmd := &cobra.Command{
		Use:   "stop --state FILE",
		Short: "End what start began, and say what was seen",
		Long: `Ends what start began, writes the results into the folder that start was
given, and says on stderr what was seen.

Exit code: 0, or 3 where the verdict is fail.`,
		Example: "  sudo edamame-posture stop --state /tmp/watch.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := f.signing.check(); err != nil {
				return err
			}
			data, err := os.ReadFile(state)
			if err != nil {
				return fmt.Errorf("--state: %w", err)
			}
			var s started
			if err := json.Unmarshal(data, &s); err != nil {
				return fmt.Errorf("%s is not what start printed: %w", state, err)
			}
			caller, err := monitor.FindCaller()
			if err != nil {
				return err
			}
			if s.Socket == "" || s.Spool == "" || s.Out == "" {
				return fmt.Errorf("%s is not what start printed: socket, spool or out is missing", state)
			}
			if f.rereadable() == nil {
				if err := f.trySigning(caller); err != nil {
					return exit(exitUsage, quietly(err, "what is to sign the evidence cannot (the recording goes on)"))
				}
			}
			surviveBrokenPipe()
			client, err := monitor.Dial(s.Socket)
			// One that dies just now resets the connection; gone it is when nobody listens.
			for end := time.Now().Add(2 * time.Second); errors.Is(err, monitor.ErrMonitorDied) && time.Now().Before(end); {
				time.Sleep(20 * time.Millisecond)
				client, err = monitor.Dial(s.Socket)
			}
			if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
				return s.recover(caller, f, err)
			}
			if errors.Is(err, monitor.ErrMonitorDied) && os.Geteuid() != 0 {
				return exit(exitNoAnswer, fmt.Errorf("the monitor answers only who began it: sudo edamame-posture stop (%w)", err))
			}
			if err != nil {
				return exit(exitNoAnswer, fmt.Errorf("%w: what it saw is in %s", err, s.Spool))
			}
			opened := &monitor.Opened{ID: s.ID, Spool: s.Spool, Sensor: s.Sensor}
			if verdict := conclude(&f, caller, client, opened, s.Out, monitor.Closing{Exit: -1}); verdict == "fail" {
				return exit(exitFailed, nil)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "`FILE` that holds what start printed")
	f.signing.flags(cmd.Flags())
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "no summary on stderr")
	return cmd
}
