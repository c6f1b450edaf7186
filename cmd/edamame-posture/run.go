package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/derive"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/pkg/signature"
)

// policyFile is where a repository keeps its policy. run does not read it
// unasked: whoever changed the tree would choose the policy.
const policyFile = ".github/posture.yml"

type runFlags struct {
	signing
	witnessing
	dating
	intent, out, job, sensor string
	indicators               []string
	indicatorsKey            string
	signatures               []string
	lenient                  bool
	host, quiet, scan, live  bool
	seal, noTLS              bool
	// reports: the policy says fail-on: never.
	reports bool
}

func runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG...]",
		Short: "Run a command, watch it from the kernel, and say what it did",
		Long: `Runs a command and watches it and everything it starts from the kernel. The
command keeps its terminal, input, output, signals and exit code. When it has
ended, stderr tells what it did, and a folder (.posture) holds the evidence and
the verdict.

Watching needs root: typed under sudo, the command runs as the caller; typed
without, only the monitor is started through sudo.

Exit code: the command's own (128+n for a signal, 126 not executable, 127 not
found); 3 where it gave 0 and the verdict is fail; 125 where the monitor could
not start, and then the command was not started either.`,
		Example: `  sudo edamame-posture run -- npm install esbuild
  sudo edamame-posture run --intent .github/posture.yml --job build -- make
  edamame-posture run --keyless --subject 'dist/*' -- make dist`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no command to run is given: edamame-posture run -- COMMAND [ARG...]")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return run(&f, args) },
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.StringVar(&f.intent, "intent", "", "policy `FILE` that says what the command may do, or a GitHub workflow to derive it from")
	fl.StringVar(&f.job, "job", "", "name of the job in the policy that this is")
	fl.StringVar(&f.out, "out", ".posture", "folder for the results; an earlier one becomes DIR.1")
	fl.StringVar(&f.sensor, "sensor", "auto", "auto, ebpf or netlink")
	f.signing.flags(fl)
	f.witnessing.flags(fl)
	f.dating.flags(fl)
	fl.BoolVar(&f.seal, "seal", false, "sign the log each second, and before sudo and container runtimes, with keys that are gone then; --key, --keyless, --witness and --tsa do it too")
	fl.BoolVar(&f.host, "host", false, "watch everything on the machine, not the command alone")
	fl.StringArrayVar(&f.indicators, "indicators", nil, "list of hosts, addresses, packages and files of known attacks, besides ours: `FILE`, as often as needed")
	fl.StringVar(&f.indicatorsKey, "indicators-key", "", "public key in `FILE` (PEM) that must have signed each list: its bundle is LIST.sigstore.json")
	fl.StringArrayVar(&f.signatures, "signatures", nil, "Sigma rules besides ours: `FILE` or folder, as often as needed")
	fl.BoolVar(&f.lenient, "lenient", false, "leave out rules of --signatures that are wrong, and say which")
	fl.BoolVar(&f.live, "live", false, "tell each finding on stderr when it is made, not at the end alone")
	fl.BoolVar(&f.scan, "scan-output", false, "look for the caller's secrets in what the command prints: its output goes through a pipe, or a terminal of its own")
	fl.BoolVar(&f.noTLS, "no-tls", false, "do not read requests inside TLS where programs give them to their TLS library")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no summary on stderr")
	return cmd
}

func run(f *runFlags, argv []string) error {
	if err := checkSensor(f.sensor); err != nil {
		return err
	}
	if err := errors.Join(f.signing.check(), f.witnessing.check(&f.signing), f.dating.check()); err != nil {
		return fmt.Errorf("%w (%s was not started)", err, argv[0])
	}
	surviveBrokenPipe()
	in, err := readPolicy(f.intent, f.job, false)
	if err != nil {
		return err
	}
	f.reports = in.Resolved != nil && in.FailOn().Never
	own, err := readIndicators(f.indicators, f.indicatorsKey)
	if err != nil {
		return err
	}
	rules, skipped, err := readOwnRules(f.signatures, f.lenient)
	if err != nil {
		return err
	}
	if len(skipped) > 0 {
		fmt.Fprintf(os.Stderr, "edamame-posture: --signatures: left out:\n%v\n", skipped)
	}
	caller, err := monitor.FindCaller()
	if err != nil {
		return err
	}
	command, code, err := monitor.FindCommand(argv, caller)
	if err != nil {
		return exit(code, err)
	}
	out, err := filepath.Abs(f.out)
	if err != nil {
		return fmt.Errorf("where the results go is not known, for this folder is gone: name one with --out (%s was not started): %w", argv[0], err)
	}
	if os.Geteuid() != 0 {
		if _, err := exec.LookPath("sudo"); err != nil {
			return fmt.Errorf("watching from the kernel needs root, and there is no sudo to get it: run it as root (%s was not started)", argv[0])
		}
	}
	// The results are prepared before anything runs: a folder that cannot be
	// written is told now, and not after an hour's job.
	if err := asCaller(caller, "deliver", "--prepare", "--out", out); err != nil {
		return exit(exitMonitor, quietly(err, "the folder for the results, %s, cannot be used (%s was not started)", out, argv[0]))
	}
	// As for the folder: a key that is none is told now.
	err = f.signing.rereadable()
	if err == nil {
		err = f.trySigning(caller)
	}
	if err != nil {
		return exit(exitMonitor, quietly(err, "what is to sign the evidence cannot (%s was not started)", argv[0]))
	}
	program := sealedProgram()
	client, err := monitor.Launch(monitor.LaunchOptions{
		Sensor: f.sensor, NoTLS: f.noTLS, Sealed: f.seal || f.signing.wanted() || f.witnessing.wanted() || f.tsa != "", Out: out, Caller: caller, Stderr: os.Stderr, Args: []string{"monitor"}, Program: program,
	})
	program.Close() // nil too
	if err != nil {
		return fmt.Errorf("the monitor could not start: %w (%s was not started)", err, argv[0])
	}
	stopLive := func() {}
	if f.live {
		if stopLive, err = client.Follow(tellLive); err != nil {
			client.Close()
			return fmt.Errorf("--live: %w (%s was not started)", err, argv[0])
		}
	}
	cwd, err := os.Getwd()
	if err != nil {
		cwd, _ = os.Readlink("/proc/self/cwd") // it was removed
	}
	who := f.identify(caller)
	opened, err := client.Open(monitor.Opening{
		Command: argv, Cwd: cwd, Home: caller.Home, Job: f.job, Intent: canonical(in.Resolved), Host: f.host, Scanned: f.scan, Indicators: own, Signatures: rules,
		PolicyFile: in.file, PolicySHA256: in.sha256, Claims: who.Claims, Witnessed: f.witnessing.wanted(), Keys: keyValues(in.Resolved),
	})
	if err != nil {
		client.Close()
		return fmt.Errorf("the monitor could not start: %w (%s was not started)", err, argv[0])
	}
	f.witnessing.begin(client, opened, f.commit(caller, client, opened))
	f.dating.begin(client, who.TSA, &f.witnessing)
	output, err := scanOutput(f.scan, caller, client, command)
	if err != nil {
		return errors.Join(fmt.Errorf("--scan-output: %w (%s was not started)", err, argv[0]), client.Close())
	}
	if code, err := command.Start(); err != nil {
		output.close()
		_, ferr := client.Finish(monitor.Closing{Exit: code})
		if ferr == nil {
			ferr = client.Discard() // nothing ran
		}
		return exit(code, errors.Join(err, ferr, client.Close()))
	}
	output.begin()
	stopStatus := statusLine(f, client)
	wcode, sig, err := command.Wait()
	stopStatus()
	output.close()
	if err != nil {
		return errors.Join(fmt.Errorf("waiting for %s: %w", argv[0], err), client.Close())
	}
	defer command.Release()
	defer stopLive()
	verdict := conclude(f, caller, client, opened, out, monitor.Closing{Exit: wcode, Signal: sig})
	if sig == int(unix.SIGINT) && command.Interrupted() {
		dieInterrupted()
	}
	code = monitor.ExitCode(wcode, sig)
	if code == 0 && verdict == string(judge.Fail) {
		code = exitFailed
	}
	if code != 0 {
		return exit(code, nil)
	}
	return nil
}

func checkSensor(name string) error {
	switch name {
	case "auto", "ebpf", "netlink":
		return nil
	}
	return fmt.Errorf("--sensor is auto, ebpf or netlink, not %q", name)
}

// trySigning reads as the caller what is to be signed with. A plug-in is not
// asked: who it answers may have to press a key for each time.
func (f *runFlags) trySigning(caller monitor.Caller) error {
	if !f.signing.wanted() || attest.IsKMS(f.signing.key) {
		return nil
	}
	return asCaller(caller, append([]string{"deliver", "--try-signing"}, f.signing.args()...)...)
}

// tellLive tells one finding.
func tellLive(f monitor.Found) {
	object := f.Object
	if f.Program != "" {
		object += " (" + filepath.Base(f.Program) + ")"
	}
	fmt.Fprintf(os.Stderr, "edamame-posture: %s: %s: %s [%s]\n", f.Severity, f.Title, object, f.Rule)
}

// dieInterrupted ends this process by SIGINT where Ctrl-C ended the command: a
// shell stops its loop or script only if it sees that its child did not handle
// the signal.
func dieInterrupted() {
	signal.Reset(unix.SIGINT)
	runtime.LockOSThread()
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGINT)
	runtime.UnlockOSThread()
}

// ending is what a run comes to whose monitor or results did not come to their
// end: what it did is in no record, and no verdict on the rest says otherwise.
func (f *runFlags) ending() string {
	if f.reports {
		return string(judge.Review)
	}
	return string(judge.Fail)
}

// conclude ends the recording, hands it to the caller and returns the verdict,
// as it was told by the monitor: what stands in the folder for the results may
// be the command's own. Whatever goes wrong here is told.
func conclude(f *runFlags, caller monitor.Caller, client *monitor.Client, opened *monitor.Opened, out string, end monitor.Closing) string {
	warn := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "edamame-posture: "+format+"\n", args...)
	}
	args := deliverArgs(f, out)
	if f.intent == "" {
		if _, err := os.Stat(policyFile); err == nil {
			args = append(args, "--hint-policy", policyFile)
		}
	}
	if f.witnessing.stop != nil {
		f.witnessing.stop()
	}
	f.dating.end(client)
	if !caller.Sudo {
		signature.Prepare() // for the reports, while the monitor closes the log
	}
	closed, err := client.Finish(end)
	if err == nil {
		f.witnessing.end(client)
	}
	leave := func() {
		if err := client.Close(); err != nil {
			warn("%v", err)
		}
	}
	if err != nil {
		warn("the monitor did not finish: %v", err)
		how := monitor.Death{Unknown: "it did not answer, and was given up"}
		if errors.Is(err, monitor.ErrMonitorDied) {
			how = client.Death() // before anything of ours ends it
			if how.Unknown != "" && os.Geteuid() == 0 {
				// Of start's monitor stop has no memory: it may have left one.
				if left := monitor.Remembered(opened.Spool); left.Unknown == "" {
					how = left
				}
			}
		}
		leave() // its log must not grow while it is copied
		if errors.Is(err, monitor.ErrMonitorDied) {
			warn("what it saw until then is kept; what the command did after that was not seen")
		}
		if err := recoverSpool(caller, opened.Spool, out, how, append(args, "--partial")); err != nil {
			warn("the recording stays in %s: %v", opened.Spool, err)
			warn("to get it: sudo edamame-posture recover --out %s %s", out, opened.Spool)
		}
		return f.ending()
	}
	if err := asCaller(caller, append(args, closed.Spool)...); err != nil {
		warn("the results are not whole: %v; the recording stays in %s", err, closed.Spool)
		warn("to get it: sudo edamame-posture recover --out %s %s", out, closed.Spool)
		leave()
		return f.ending()
	}
	if err := client.Discard(); err != nil {
		warn("removing the monitor's copy: %v", err)
	}
	leave()
	return closed.Verdict
}

func deliverArgs(f *runFlags, out string, more ...string) []string {
	args := append([]string{"deliver", "--out", out}, more...)
	args = append(args, f.signing.args()...)
	if f.quiet {
		args = append(args, "--quiet")
	}
	return args
}

// asCaller runs a subcommand of ours as the caller: in-process where that is
// who we are, else in a child with their ids, so that root never writes where
// the caller, or their job, can.
func asCaller(c monitor.Caller, args ...string) error {
	if !c.Sudo {
		root := newRoot()
		root.SetArgs(args)
		return root.Execute()
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	cmd.Env = c.Environ()
	cmd.SysProcAttr = c.Attr()
	if err := cmd.Run(); err != nil {
		return &exitError{exitNo, nil}
	}
	return nil
}

// quietly adds context to an error, or stands for one that a child has told.
func quietly(err error, format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	var e *exitError
	if errors.As(err, &e) && e.err == nil {
		return errors.New(msg)
	}
	return fmt.Errorf("%s: %w", msg, err)
}

// policyRead is what --intent names, and what stood there when it was read;
// all of it is empty without --intent.
type policyRead struct {
	*intent.Resolved
	file, sha256 string
}

// readPolicy reads the policy that --intent names. Its errors carry the place.
// With orTop a job that the policy does not have gets what stands at the top.
func readPolicy(path, job string, orTop bool) (in policyRead, err error) {
	if path == "" {
		return in, nil
	}
	data, err := readBounded(path, document.MaxBytes)
	if err != nil {
		return in, fmt.Errorf("--intent: %w", err)
	}
	var p *intent.Policy
	if derive.IsWorkflow(data) {
		p, job, err = workflowPolicy(path, job)
	} else {
		p, err = intent.Parse(path, data)
	}
	if err != nil {
		return in, fmt.Errorf("the policy cannot be used (nothing was started):\n%w", err)
	}
	if orTop && !slices.Contains(p.Jobs(), job) {
		job = ""
	}
	r, err := p.Resolve(job)
	if err != nil {
		return in, fmt.Errorf("the policy cannot be used (nothing was started): %w", err)
	}
	if in.file, err = filepath.Abs(path); err != nil {
		return in, fmt.Errorf("--intent: %w", err)
	}
	sum := sha256.Sum256(data)
	in.Resolved, in.sha256 = r, hex.EncodeToString(sum[:])
	return in, nil
}

// workflowPolicy derives the policy of a workflow that --intent names in place
// of one, and says which job's part is meant.
func workflowPolicy(path, job string) (*intent.Policy, string, error) {
	d, err := deriveFrom(path)
	if err != nil {
		return nil, "", err
	}
	p, err := d.Policy()
	if err != nil {
		return nil, "", err
	}
	if jobs := p.Jobs(); job == "" && len(jobs) == 1 {
		job = jobs[0]
	} else if job == "" {
		return nil, "", fmt.Errorf("%s is a workflow with the jobs %s: say which by --job", path, strings.Join(jobs, ", "))
	}
	return p, job, nil
}

func canonical(in *intent.Resolved) []byte {
	if in == nil {
		return nil
	}
	return in.Canonical()
}

// statusLine shows what goes on while the command runs, where that cannot
// spoil what the command itself writes: stderr is a terminal, and the
// command's output does not go to one.
func statusLine(f *runFlags, c *monitor.Client) (stop func()) {
	if f.quiet || !isTerminal(2) || isTerminal(1) {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-quit:
				fmt.Fprint(os.Stderr, "\r\x1b[K")
				return
			case <-c.Gone():
				fmt.Fprint(os.Stderr, "\r\x1b[K")
				return
			case <-t.C:
			}
			if !lineMode() {
				continue
			}
			if s, err := c.Status(); err == nil && s != nil {
				fmt.Fprintf(os.Stderr, "\r\x1b[Kwatching: %d processes, %d destinations, %d findings, %d events", s.Processes, s.Destinations, s.Findings, s.Events)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// lineMode reports whether the terminal behind stderr is as a shell leaves it.
// A pager, a menu or a password prompt sets it otherwise and draws there itself.
func lineMode() bool {
	t, err := unix.IoctlGetTermios(2, unix.TCGETS)
	return err == nil && t.Lflag&unix.ICANON != 0 && t.Lflag&unix.ECHO != 0
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// keyValues returns the values of the variables that an intent names as keys.
func keyValues(in *intent.Resolved) map[string]string {
	if in == nil {
		return nil
	}
	values := map[string]string{}
	for _, name := range in.KeyNames() {
		if v := os.Getenv(name); v != "" {
			values[name] = v
		}
	}
	return values
}
