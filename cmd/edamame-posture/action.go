package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/github"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/learn"
	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/pkg/posture"
	"github.com/org/edamame-posture/pkg/report"
	"github.com/org/edamame-posture/pkg/service"
	"github.com/org/edamame-posture/pkg/signature"
)

const (
	// sudoPath is where sudo is. A PATH that an earlier step changed does not
	// choose it.
	sudoPath = "/usr/bin/sudo"
	// beginWithin bounds how long a job's start may take.
	beginWithin = 30 * time.Second
	// ringWithin is how long the last step tries to reach the monitor.
	ringWithin = 10 * time.Second
	// uploadWithin bounds the upload of the results, fetchWithin that they are
	// fetched again.
	uploadWithin = 2 * time.Minute
	// commentWithin bounds the comparison with the base branch, and the comment.
	commentWithin = 45 * time.Second
	fetchWithin   = 5 * time.Minute
	// stateName is the runner's name for what the first step leaves the last.
	stateName = "watch"
	// learnedFile is the policy that a run alone would need.
	learnedFile = "learned.yml"
)

// watch is what the first step leaves the last one, in the runner's memory.
// What the last one finds in its inputs does not count: later steps can set
// its environment.
type watch struct {
	began
	Keyless  bool         `json:"keyless,omitempty"`
	Config   string       `json:"config,omitempty"`
	Root     string       `json:"root,omitempty"`
	Store    bool         `json:"store,omitempty"`
	Subjects []string     `json:"subjects,omitempty"`
	Witness  string       `json:"witness,omitempty"`
	Keys     []string     `json:"keys,omitempty"` // of the witness
	FailOn   string       `json:"fail_on,omitempty"`
	Upload   bool         `json:"upload,omitempty"`
	Name     string       `json:"name,omitempty"` // of the artifact
	Learn    bool         `json:"learn,omitempty"`
	FailOpen bool         `json:"fail_open,omitempty"`
	Origin   string       `json:"origin,omitempty"` // of the intent, in words
	Job      string       `json:"job,omitempty"`    // in the policy
	Pull     *github.Pull `json:"pull,omitempty"`   // to be commented on
	Not      bool         `json:"not,omitempty"`    // nothing is watched, which was told
	Refused  bool         `json:"-"`                // the job does not go on
	Named    bool         `json:"named,omitempty"`  // a policy was
	// Start is the SHA-256 of the commitment, which no other recording has.
	Start evidence.Hash `json:"start"`

	gone bool // the monitor ended before its time
}

func actionCommand() *cobra.Command {
	var parent uint32
	var script string
	var files []string
	cmd := &cobra.Command{
		Use:    "action pre|main|post",
		Short:  "A step of the GitHub Action; started by action/shim.js",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a := &action{runner: github.Runner{Stdout: cmd.OutOrStdout(), Getenv: os.Getenv}, parent: parent, script: script, files: files}
			if err := a.runner.Check(); err != nil {
				return err
			}
			state := os.Getenv("STATE_" + stateName)
			switch args[0] {
			case "pre":
				return a.begin(cmd.Context())
			case "main":
				if state != "" {
					return nil // pre did it
				}
				return a.begin(cmd.Context())
			case "post":
				if state == "" {
					return nil // neither pre nor main came so far
				}
				var w watch
				if err := json.Unmarshal([]byte(state), &w); err != nil {
					return fmt.Errorf("what the first step left: %w", err)
				}
				return a.end(cmd.Context(), &w)
			}
			return fmt.Errorf("action %q: want pre, main or post", args[0])
		},
	}
	cmd.AddCommand(fetchCommand())
	fl := cmd.Flags()
	fl.Uint32Var(&parent, "parent", 0, "`PID` of the runner's process that starts the steps")
	fl.StringVar(&script, "bell", "", "`FILE` that the runner starts the last step with")
	fl.StringArrayVar(&files, "bell-file", nil, "`FILE` that it loads")
	return cmd
}

// fetchCommand gets what the jobs of a run have stored, for the gate.
func fetchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fetch DIR",
		Short: "Get the results of this run's jobs; started by gate/action.yml",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(os.Getenv("GITHUB_RUN_ID"), 10, 64)
			if err != nil {
				return errors.New("GITHUB_RUN_ID does not say which run this is")
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), fetchWithin)
			defer cancel()
			run := github.Run{API: os.Getenv("GITHUB_API_URL"), Repository: os.Getenv("GITHUB_REPOSITORY"), ID: id, Token: os.Getenv("GITHUB_TOKEN")}
			names, err := run.Fetch(ctx, args[0])
			switch {
			case errors.Is(err, github.ErrNoResults):
				return exit(exitNothing, err)
			case errors.Is(err, attest.ErrUnavailable):
				return exit(exitNoAnswer, err)
			case err != nil:
				return exit(exitNo, err)
			}
			for _, n := range names {
				fmt.Fprintln(cmd.OutOrStdout(), n)
			}
			return nil
		},
	}
}

// action is one step of the action.
type action struct {
	runner github.Runner
	parent uint32
	script string
	files  []string
}

// begin starts the watch, and leaves the last step what it needs.
func (a *action) begin(ctx context.Context) error {
	in, err := a.runner.Inputs()
	if err != nil {
		a.runner.Say(github.Error, err.Error())
		return exit(exitNo, a.leave(&watch{Not: true}))
	}
	recorded := machineService()
	w, err := a.watch(ctx, in)
	if err == nil {
		refused := w.Refused
		a.runner.Mask(w.Ring)
		if id := recorded(); id != "" {
			fmt.Fprintf(a.runner.Stdout, "the service of this machine records this job too, as %s: that is another recording, with settings of its own, and this action's monitor is in it as what the job did\n", id)
		}
		if w.Joined {
			fmt.Fprintln(a.runner.Stdout, "edamame-posture watches this job already: this use of it joins that one, whose settings count")
		} else {
			fmt.Fprintf(a.runner.Stdout, "edamame-posture watches this job (sensor: %s; declared: %s)\n", w.Sensor, report.Visible(w.Origin))
		}
		if err := a.leave(w); err != nil || !refused {
			return err
		}
		return exit(exitNo, nil)
	}
	if in.FailOpen {
		a.runner.Say(github.Warning, "this job is not watched: "+err.Error())
		return a.leave(&watch{Not: true})
	}
	a.runner.Say(github.Error, "this job is not watched: "+err.Error())
	return exit(exitNo, a.leave(&watch{Not: true}))
}

// serviceWithin is how long the service of the machine may take to answer, which
// it does while the monitor arms.
const serviceWithin = time.Second

// machineService begins to ask whether this machine has a service that records
// this job. What it returns waits for the answer: the id of that recording, or
// nothing.
func machineService() func() string {
	answer := make(chan string, 1)
	go func() {
		job, err := monitor.AskJob(service.Socket)
		if err != nil {
			answer <- ""
			return
		}
		answer <- job.ID
	}()
	return func() string {
		select {
		case id := <-answer:
			return id
		case <-time.After(serviceWithin):
			return ""
		}
	}
}

// leave gives the last step its state.
func (a *action) leave(w *watch) error {
	if len(w.Commitment) > 0 {
		w.Start = sha256.Sum256(w.Commitment)
	}
	w.Commitment, w.Checkpoint = nil, ""
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return a.runner.SaveState(stateName, string(b))
}

// kept reports whether the runner's machine serves other jobs after this one.
// Nothing of the job ran yet, so its environment is the runner's word.
func (a *action) kept() bool {
	if os.Getenv("RUNNER_ENVIRONMENT") == "github-hosted" {
		return false
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", a.parent))
	return err != nil || !posture.Ephemeral(filepath.Dir(filepath.Dir(exe)))
}

// watch begins to watch what the runner starts from now on. The monitor arms
// while the job's intent and identity are asked for.
func (a *action) watch(ctx context.Context, in *github.Inputs) (_ *watch, err error) {
	if a.parent == 0 || a.script == "" {
		return nil, errors.New("--parent and --bell say whose steps to watch and who ends it: this is started by action/shim.js")
	}
	out := in.Out
	if out == "" {
		temp := os.Getenv("RUNNER_TEMP")
		if temp == "" {
			temp = os.TempDir()
		}
		out = filepath.Join(temp, "posture-"+strconv.Itoa(os.Getpid()))
	}
	w := &watch{
		Keyless: in.Keyless(os.Getenv), Config: in.Config, Root: in.Root, Store: in.Store, Subjects: in.Subjects,
		FailOn: in.FailOn, Upload: in.Upload, Learn: in.Learn, FailOpen: in.FailOpen,
		Name: github.ArtifactName(in.Job, in.Index), Origin: "nothing", Named: in.Policy != "",
	}
	if in.Comment {
		if w.Pull, err = a.runner.Pull(); err != nil && !errors.Is(err, github.ErrNoPull) {
			a.runner.Say(github.Warning, "no comment will be made: "+err.Error())
		}
	}
	s := &signing{keyless: w.Keyless, config: w.Config, root: w.Root, budget: signBudget}
	by := witnessing{url: in.Witness, keys: in.WitnessKeys}
	if err := by.check(s); err != nil {
		// A pull request of a fork has no identity; that it is watched matters more.
		a.runner.Say(github.Warning, "no witness will have the start: "+err.Error())
		by = witnessing{}
	}
	w.Witness, w.Keys = by.url, by.keys
	ctx, cancel := context.WithTimeout(ctx, beginWithin)
	defer cancel()
	args := []string{"begin", "--parent", strconv.FormatUint(uint64(a.parent), 10), "--out", out, "--sensor", in.Sensor, "--bell", a.script}
	for _, f := range a.files {
		args = append(args, "--bell-file", f)
	}
	if by.wanted() {
		args = append(args, "--witnessed")
	}
	if in.NoTLS {
		args = append(args, "--no-tls")
	}
	root, err := askRoot(args)
	if err != nil {
		return nil, err
	}
	defer root.close()

	// Before anything runs: a folder that cannot be written is told now.
	if err := prepareOut(out); err != nil {
		return nil, fmt.Errorf("the folder for the results, %s, cannot be used: %w", out, err)
	}
	claims := make(chan startSaid, 1)
	go func() {
		var said startSaid
		if w.Keyless {
			said = s.start(ctx, startAsked{})
		}
		claims <- said
	}()
	declared, err := a.runner.Declared(ctx, in)
	if err != nil {
		// Whoever named a policy must learn that it does not hold.
		a.runner.Say(github.Error, err.Error())
		if !in.FailOpen {
			return nil, errors.New("its policy does not hold")
		}
		declared = &github.Declared{}
	}
	b := beginning{Job: in.Job, Cwd: os.Getenv("GITHUB_WORKSPACE"), Home: os.Getenv("HOME"), File: declared.File}
	b.Later, w.Job = declared.Later, in.Job
	if in.DropSudo {
		b.Drop = &monitor.Drop{Restore: a.kept()}
	}
	if declared.Resolved != nil {
		b.Intent, w.Origin = declared.Canonical(), declared.Origin
		b.Keys = keyValues(declared.Resolved)
		b.Job = declared.Job()
	}
	if b.Job == "" {
		b.Job = in.Job
	}
	if declared.File != "" {
		sum := sha256.Sum256(declared.Data)
		b.SHA256 = hex.EncodeToString(sum[:])
	}
	for _, name := range []string{"ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "INPUT_TOKEN"} {
		if v := os.Getenv(name); v != "" {
			b.Masked = append(b.Masked, v)
		}
	}
	said := <-claims
	b.Claims = said.Claims
	if in.TSA == "" && !by.wanted() {
		in.TSA = said.TSA
	}
	if in.TSA != "" && in.TSA != "never" {
		b.Dating = &monitor.Dating{URL: in.TSA, Every: in.TSAEvery}
	}
	if err := root.ask(ctx, b, &w.began); err != nil {
		return nil, err
	}
	if w.Joined && in.DropSudo {
		w.NotDropped = "the first use of the action in a job decides that"
	}
	if w.NotDropped != "" {
		a.runner.Say(github.Error, "sudo: drop did not take everything from the steps: "+w.NotDropped)
		w.Refused = !in.FailOpen
	}
	if w.Joined {
		return w, nil
	}
	// Only now: of a job that is not watched one notice is enough.
	for _, p := range declared.Problems {
		a.runner.Say(github.Warning, p.Error())
	}
	a.unheard(said.Errors)
	if !w.Keyless {
		return w, nil
	}
	said = s.start(ctx, startAsked{w.Commitment})
	a.unheard(said.Errors)
	others := heard{Files: map[string][]byte{evidence.StartTokenFile: said.Token, evidence.StartBundleFile: said.Bundle}}
	if by.wanted() && len(said.Token) > 0 {
		record, err := by.first(ctx, w.Commitment, w.Checkpoint, said.Token)
		if err == nil {
			others.Files[evidence.RecordFile], others.Kept = record, w.Size
		} else {
			a.unheard([]string{"no witness has it: " + err.Error()})
		}
	}
	if in.Status && others.Kept == 0 && len(said.Token) > 0 {
		ctx, cancel := context.WithTimeout(ctx, startBudget)
		record, err := jobStatuses(in.Token).Record(ctx, w.Commitment)
		cancel()
		if err == nil {
			others.Files[evidence.RecordFile] = record
		} else {
			a.unheard([]string{"it is not on the commit: " + err.Error()})
		}
	}
	if err := root.tell(ctx, others); err != nil {
		a.runner.Say(github.Warning, "what others say of the start is not in the evidence: "+err.Error())
	}
	return w, nil
}

func (a *action) unheard(errs []string) {
	for _, e := range errs {
		a.runner.Say(github.Warning, "nobody else heard of the start: "+e)
	}
}

// asked is a process of ours that runs as root and answers.
type asked struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  *bufio.Scanner
	said   bytes.Buffer // its stderr
	closed bool
}

// asRoot makes a command of this program as root: through sudo where that is
// not who we are, never with a prompt, and with nothing of the job's
// environment.
func asRoot(args []string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append([]string{self}, args...)
	if os.Geteuid() != 0 {
		if _, err := os.Stat(sudoPath); err != nil {
			return nil, errors.New("watching needs root, and this runner has no sudo")
		}
		argv = append([]string{sudoPath, "-n", "--"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=" + os.Getenv("HOME"), "USER=" + os.Getenv("USER")}
	return cmd, nil
}

func askRoot(args []string) (*asked, error) {
	cmd, err := asRoot(args)
	if err != nil {
		return nil, err
	}
	r := &asked{cmd: cmd}
	cmd.Stderr = &r.said
	if r.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.lines = bufio.NewScanner(out)
	r.lines.Buffer(nil, maxBeginning)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting it as root: %w", err)
	}
	return r, nil
}

// ask sends a line and reads one. It waits until ctx ends: nobody but root can
// end the process before.
func (r *asked) ask(ctx context.Context, question, answer any) error {
	// One that has ended already has said why on its own stderr.
	_ = json.NewEncoder(r.in).Encode(question)
	got := make(chan error, 1)
	go func() { got <- nextLine(r.lines, answer) }()
	select {
	case err := <-got:
		if err != nil {
			return r.why(err)
		}
		return nil
	case <-ctx.Done():
		return errors.New("the monitor does not start in time")
	}
}

// tell sends a last line and waits for the end of the process.
func (r *asked) tell(ctx context.Context, last any) error {
	if err := json.NewEncoder(r.in).Encode(last); err != nil {
		return r.why(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.end() }()
	select {
	case err := <-ended:
		if err != nil {
			return r.why(err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// why is what the process said before it ended, or err.
func (r *asked) why(err error) error {
	_ = r.end()
	said := strings.TrimSpace(r.said.String())
	switch {
	case strings.Contains(said, "password") || strings.Contains(said, "authentication is required"):
		return errors.New("watching needs root, and sudo asks for a password here")
	case said != "":
		return errors.New(strings.TrimPrefix(said, "edamame-posture begin: "))
	}
	return err
}

func (r *asked) end() error {
	if r.closed {
		return nil
	}
	r.closed = true
	_ = r.in.Close()
	return r.cmd.Wait()
}

// close lets the process end, and does not wait for it for long.
func (r *asked) close() {
	ended := make(chan struct{})
	go func() { _ = r.end(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
	}
}

// end rings the bell, and tells the runner what was seen.
func (a *action) end(ctx context.Context, w *watch) error {
	switch {
	case w.Not:
		return nil
	case w.Joined:
		fmt.Fprintln(a.runner.Stdout, "edamame-posture: what this job did is told by the step that began to watch it")
		return nil
	}
	surviveBrokenPipe()
	data, out, err := a.collect(ctx, w)
	if err != nil {
		a.runner.Say(github.Error, "what this job did is not told: "+err.Error())
		if w.FailOn == "never" {
			return nil
		}
		return exit(exitNo, nil)
	}
	if w.Learn {
		if err := writeLearned(out); err != nil {
			a.runner.Say(github.Warning, "no policy was learned from this run: "+err.Error())
		}
	}
	data.Origin = w.Origin
	if err := a.runner.Tell(data, out); err != nil {
		a.runner.Say(github.Warning, err.Error())
	}
	if w.Upload {
		ctx, cancel := context.WithTimeout(ctx, uploadWithin)
		defer cancel()
		name, err := a.runner.RunArtifacts().Upload(ctx, w.Name, out)
		if err == nil {
			fmt.Fprintf(a.runner.Stdout, "evidence and reports are the run's artifact %s\n", name)
		} else {
			a.runner.Say(github.Warning, "evidence and reports were not uploaded: "+err.Error())
		}
	}
	if w.Pull != nil {
		if err := a.comment(ctx, w, data, out); err != nil {
			a.runner.Say(github.Warning, "the pull request has no comment: "+err.Error())
		}
	}
	if w.Named && slices.Contains(data.Verdict.Reasons, judge.NoIntent) {
		a.runner.Say(github.Error, "the policy that was named could not be read, or does not hold: nothing says what this job may do")
		if !w.FailOpen {
			return exit(exitNo, nil)
		}
	}
	// What was done after the monitor's end is in no record.
	if github.Fails(w.FailOn, data.Verdict) || w.gone && w.FailOn != "never" {
		return exit(exitNo, nil)
	}
	return nil
}

// collect ends the recording and writes the results, of a monitor that is not
// there any more too. It returns what they were made of, and their folder.
func (a *action) collect(ctx context.Context, w *watch) (*report.Data, string, error) {
	signature.Prepare() // for the reports, while the monitor closes the log
	client, closed, err := a.ring(w)
	if err != nil && (errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, monitor.ErrMonitorDied)) {
		// Its log is root's.
		w.gone = true
		out, err := a.recover(w, err)
		if err != nil {
			return nil, "", err
		}
		data, err := report.Load(out)
		return data, out, err
	}
	if err != nil {
		return nil, "", err
	}
	// Now that nothing of ours is recorded any more, and beside the signing.
	steps := make(chan map[string]report.Place, 1)
	go func() { steps <- a.runner.Steps(ctx, os.Getenv("INPUT_TOKEN")) }()
	defer func() { _ = client.Close() }()
	by := witnessing{url: w.Witness, keys: w.Keys, stop: func() {}}
	if err := by.check(&signing{keyless: w.Keyless}); err != nil {
		a.runner.Say(github.Warning, err.Error())
	} else {
		by.end(client)
	}
	if w.Store {
		if token := os.Getenv("INPUT_TOKEN"); token != "" {
			os.Setenv("GITHUB_TOKEN", token)
		}
	}
	d := delivery{out: w.Out, steps: func() map[string]report.Place { return <-steps }, signing: signing{
		keyless: w.Keyless, config: w.Config, root: w.Root, subjects: w.Subjects, upload: w.Store, budget: signBudget,
		workspace: os.Getenv("GITHUB_WORKSPACE"),
	}}
	data, out, err := d.deliver(ctx, closed.Spool)
	if err != nil {
		return nil, "", fmt.Errorf("%w; the recording stays in %s", err, closed.Spool)
	}
	if err := client.Discard(); err != nil {
		a.runner.Say(github.Warning, "removing the monitor's copy: "+err.Error())
	}
	return data, out, nil
}

// ring asks for the end. Others may be at the door, so it is tried again.
func (a *action) ring(w *watch) (*monitor.Client, *monitor.Closed, error) {
	for end := time.Now().Add(ringWithin); ; time.Sleep(50 * time.Millisecond) {
		client, err := monitor.Dial(w.Socket)
		var closed *monitor.Closed
		if err == nil {
			if closed, err = client.Ring(w.Ring, func(l *monitor.Later) []byte { return a.resolve(w, l) }); err == nil {
				return client, closed, nil
			}
			_ = client.Close()
		}
		if !errors.Is(err, monitor.ErrMonitorDied) || time.Now().After(end) {
			return nil, nil, err
		}
	}
}

// resolve says what the policy means that a checkout brought, as its monitor
// has read it.
func (a *action) resolve(w *watch, l *monitor.Later) []byte {
	name, err := filepath.Rel(os.Getenv("GITHUB_WORKSPACE"), l.File)
	if err != nil {
		name = filepath.Base(l.File)
	}
	in, err := github.ParseLater(name, l.Data, w.Job)
	if err != nil {
		a.runner.Say(github.Error, err.Error())
		return nil
	}
	w.Origin = github.WorkspaceOrigin(name)
	return in.Canonical()
}

// recover has root hand over what a monitor left that is not there any more, and
// returns the folder.
func (a *action) recover(w *watch, gone error) (string, error) {
	a.runner.Say(github.Warning, "the monitor has gone before its time: "+gone.Error())
	if out, ok := w.results(); ok {
		return out, nil // it has handed over itself
	}
	cmd, err := asRoot([]string{"stop", "--quiet", "--state", "/dev/stdin"})
	if err != nil {
		return "", err
	}
	state, err := json.Marshal(w.started)
	if err != nil {
		return "", err
	}
	cmd.Stdin, cmd.Stderr = bytes.NewReader(state), os.Stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() != exitFailed {
		return "", fmt.Errorf("and what it saw could not be handed over: %w", err)
	}
	out, ok := w.results()
	if !ok {
		return "", fmt.Errorf("and what it saw is not in %s: what lies there is of another recording", w.Out)
	}
	return out, nil
}

// results finds the folder that holds this recording: a job may have put another
// one's in its place, and then it was delivered beside it.
func (w *watch) results() (string, bool) {
	for i := range 20 {
		out := w.Out
		if i > 0 {
			out += "." + strconv.Itoa(i)
		}
		start, err := evidence.ReadResult(filepath.Join(out, evidenceDir, evidence.CommitmentFile), maxBeginning)
		if _, verr := os.Lstat(filepath.Join(out, verdictFile)); err == nil && verr == nil && evidence.Hash(sha256.Sum256(start)) == w.Start {
			return out, true
		}
	}
	return "", false
}

// writeLearned writes the policy that this run alone would need.
func writeLearned(out string) error {
	run, err := readLearnt(out)
	if err != nil {
		return err
	}
	p, err := learn.Learn([]learn.Run{run}, learn.Options{Findings: true, Partial: true, Forks: true})
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(out, learnedFile), p.Text)
}
