package runner

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what a Worker says of its job at its end.
type Result struct {
	Job        string
	Conclusion string // Succeeded, Failed or Canceled
	// Log is what the steps printed, masks hidden, and what the runner said.
	Log string
	// Annotations are errors, warnings and notices, with the kind before them.
	Annotations []string
	// Summaries is what the steps wrote to GITHUB_STEP_SUMMARY.
	Summaries string
	// Order names what ran, as STAGE NAME: the step's GITHUB_ACTION.
	Order []string
	// Orphans are the processes that were killed at the end.
	Orphans []string
}

// worker runs one job.
type worker struct {
	job                         Job
	root, work, temp, workspace string
	diag                        *os.File
	tracking                    string
	before                      map[string]bool // processes that were there, as PID_NAME
	container, network          string          // id and name of the job's; empty for none
	log                         bytes.Buffer
	result                      Result
	background                  sync.WaitGroup
	mu                          sync.Mutex // guards all below, and log and result
	out                         output
	env                         map[string]string
	path                        []string
	outputs                     map[string]map[string]string
	status                      status
	posts                       []*task
	running                     map[*exec.Cmd]bool
	names                       map[string]int
}

// task is one step, or one step of a composite action.
type task struct {
	step    Step
	name    string // GITHUB_ACTION
	display string
	action  *action // nil for a run step
	uses    string  // OWNER/REPO@REF of an action that is not local
	parent  *task   // of a step of a composite action
	state   map[string]string
	pushed  bool // its post is registered
	nested  []*task
	outputs map[string]map[string]string // of a composite action's steps
}

// cancelByte after the job cancels it.
const cancelByte = 'c'

// workerMain is the process Runner.Worker: its job comes as one JSON value from
// the first pipe, and the result goes to the second.
func workerMain(in, out *os.File) int {
	root := filepath.Dir(filepath.Dir(os.Args[0]))
	d := json.NewDecoder(in)
	w := &worker{root: root, env: map[string]string{}, outputs: map[string]map[string]string{},
		running: map[*exec.Cmd]bool{}, names: map[string]int{}}
	if err := d.Decode(&w.job); err != nil {
		fmt.Fprintln(os.Stderr, "Runner.Worker: the job:", err)
		return 1
	}
	go func() {
		r := bufio.NewReader(io.MultiReader(d.Buffered(), in))
		if _, err := r.ReadString(cancelByte); err == nil {
			w.cancel()
		}
	}()
	w.result.Job = w.job.Name
	w.out.w = &w.log
	if err := w.run(); err != nil {
		w.fail(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.Conclusion, w.result.Log, w.result.Annotations = w.status.String(), w.log.String(), w.out.notes
	w.tracef("JobRunner", "Job result after all job steps finish: %s", w.status)
	if err := json.NewEncoder(out).Encode(&w.result); err != nil {
		return 1
	}
	return 0
}

func (w *worker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(&w.log, "##[error]%v\n", err)
	w.status = max(w.status, failed)
}

// guid returns a random UUID.
func guid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// tracef writes a line of the Worker's log, unbuffered as the real one
// (HostTraceListener.cs).
func (w *worker) tracef(from, format string, args ...any) {
	fmt.Fprintf(w.diag, "[%s INFO %s] %s\n", time.Now().UTC().Format("2006-01-02 15:04:05Z"), from, fmt.Sprintf(format, args...))
}

func (w *worker) run() error {
	repo := filepath.Base(w.job.Repository)
	w.work = filepath.Join(w.root, w.job.Work)
	w.temp, w.workspace = filepath.Join(w.work, "_temp"), filepath.Join(w.work, repo, repo)
	diag := filepath.Join(w.root, "_diag")
	if err := os.RemoveAll(w.temp); err != nil {
		return err
	}
	for _, dir := range []string{w.temp, w.workspace, diag, filepath.Join(w.work, "_tool"), filepath.Join(w.temp, "_github_workflow"), filepath.Join(w.temp, "_github_home")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	var err error
	name := "Worker_" + time.Now().UTC().Format("20060102-150405") + "-utc"
	for i := 0; w.diag == nil; i++ { // two may start in one second
		file := filepath.Join(diag, name+strings.Repeat("_", i)+".log")
		if w.diag, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	message, err := json.MarshalIndent(w.job, "", "  ")
	if err != nil {
		return err
	}
	w.tracef("Worker", "Job message:\n %s", message)
	if err := os.WriteFile(filepath.Join(w.temp, "_github_workflow", "event.json"), []byte("{}"), 0o644); err != nil {
		return err
	}
	w.tracking = "github_" + guid()
	if err := os.Setenv("RUNNER_TRACKING_ID", w.tracking); err != nil {
		return err
	}
	w.before = processes()
	defer w.cleanUp()
	tasks, err := w.prepare(w.job.Steps, nil)
	if err != nil {
		return err
	}
	defer w.hook("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", "Complete runner")
	w.hook("ACTIONS_RUNNER_HOOK_JOB_STARTED", "Set up runner")
	defer w.stopContainer()
	if err := w.startContainer(tasks); err != nil {
		return err
	}
	w.pre(tasks)
	for _, t := range tasks {
		switch {
		case t.step.WaitAll:
			w.background.Wait()
		case t.step.Background:
			w.background.Go(func() { w.main(t) })
		default:
			w.main(t)
		}
	}
	w.background.Wait()
	for i := len(w.posts) - 1; i >= 0; i-- {
		w.stage(w.posts[i], "post")
	}
	return nil
}

// prepare names the steps and lays their actions out, as the runner does before
// anything runs.
func (w *worker) prepare(steps []Step, parent *task) ([]*task, error) {
	var tasks []*task
	for _, s := range steps {
		t := &task{step: s, parent: parent, state: map[string]string{}, outputs: map[string]map[string]string{}}
		name := "__run"
		first, _, _ := strings.Cut(strings.TrimSpace(s.Run), "\n")
		t.display = "Run " + first
		if s.Uses != "" {
			t.display = "Run " + s.Uses
			var err error
			if t.action, t.uses, err = w.fetch(s.Uses); err != nil {
				return nil, err
			}
			name = "__self"
			if t.uses != "" {
				at, _, _ := strings.Cut(t.uses, "@")
				name = "__" + strings.ReplaceAll(at, "/", "_")
			}
		}
		t.display = cmp.Or(s.Name, t.display)
		switch {
		case parent != nil:
			t.name = parent.name // as the real one does
		case s.ID != "":
			t.name = s.ID
		default:
			if w.names[name]++; w.names[name] > 1 {
				name = fmt.Sprintf("%s_%d", name, w.names[name])
			}
			t.name = name
		}
		// An action in the workspace is read when its turn comes: a checkout may
		// have to bring it.
		if t.action != nil && t.action.Runs.Using == "composite" {
			var err error
			if t.nested, err = w.prepare(t.action.Runs.Steps, t); err != nil {
				return nil, err
			}
		}
		tasks = append(tasks, t)
	}
	return tasks, nil
}

// checkout is the action that has no folder: its effect is a copy.
const checkout = "actions/checkout@"

func (w *worker) fetch(uses string) (*action, string, error) {
	if strings.HasPrefix(uses, "./") {
		return &action{local: true, dir: filepath.Join(w.workspace, uses)}, "", nil
	}
	repo, ref, ok := strings.Cut(uses, "@")
	from := w.job.Actions[uses]
	to := filepath.Join(w.work, "_actions", repo, ref)
	switch {
	case !ok:
		return nil, "", fmt.Errorf("uses: %s has no @REF", uses)
	case from == "" && strings.HasPrefix(uses, checkout):
		return &action{dir: to}, uses, nil
	case from == "":
		return nil, "", fmt.Errorf("uses: %s: no folder was given for it", uses)
	}
	if _, err := os.Stat(to); err != nil {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, "", err
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			return nil, "", err
		}
	}
	a, err := readAction(to)
	return a, uses, err
}

// pre runs the first part of all actions, those inside composite ones too.
func (w *worker) pre(tasks []*task) {
	for _, t := range tasks {
		w.pre(t.nested)
		if t.action == nil || t.action.local || t.action.pre() == "" {
			continue
		}
		w.push(t)
		w.stage(t, "pre")
	}
}

// push registers the last part of an action, once.
func (w *worker) push(t *task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.action != nil && t.action.post() != "" && !t.pushed {
		t.pushed = true
		w.posts = append(w.posts, t)
	}
}

// stage runs the pre or the post of an action, unless its condition says no.
func (w *worker) stage(t *task, stage string) {
	script, condition, display := t.action.pre(), t.action.Runs.PreIf, "Pre "
	if stage == "post" {
		script, condition, display = t.action.post(), t.action.Runs.PostIf, "Post "
	}
	w.mu.Lock()
	ok, err := w.status.holds(cmp.Or(condition, "always()"))
	w.mu.Unlock()
	if err != nil {
		w.fail(err)
	}
	if !ok {
		return
	}
	w.tracef("StepsRunner", "Processing step: DisplayName='%s%s'", display, t.display)
	w.note(stage, t)
	if err := w.part(t, stage, script); err != nil {
		w.fail(fmt.Errorf("%s%s: %w", display, t.display, err))
	}
}

func (w *worker) note(stage string, t *task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.Order = append(w.result.Order, stage+" "+t.name)
}

// main runs one step of the job.
func (w *worker) main(t *task) {
	w.mu.Lock()
	ok, err := w.status.holds(t.step.If)
	w.mu.Unlock()
	if err != nil {
		w.fail(err)
		return
	}
	if !ok {
		return
	}
	w.tracef("StepsRunner", "Processing step: DisplayName='%s'", t.display)
	w.note("main", t)
	if err := w.perform(t); err != nil {
		if t.step.Continue {
			w.mu.Lock()
			fmt.Fprintf(&w.log, "##[error]%v\n", err)
			w.mu.Unlock()
			return
		}
		w.fail(fmt.Errorf("%s: %w", t.display, err))
	}
}

// perform runs the process, or the steps, of a step.
func (w *worker) perform(t *task) error {
	switch {
	case t.action == nil:
		return w.script(t)
	case strings.HasPrefix(t.uses, checkout) && w.job.Actions[t.uses] == "":
		return copyOver(w.workspace, w.job.Source)
	case t.action.local:
		a, err := readAction(t.action.dir)
		if err != nil {
			return err
		}
		a.local = true
		t.action = a
		if a.Runs.Using == "composite" {
			if t.nested, err = w.prepare(a.Runs.Steps, t); err != nil {
				return err
			}
		}
	}
	if t.action.Runs.Using != "composite" {
		w.push(t)
		return w.part(t, "main", cmp.Or(t.action.Runs.Main, t.action.Runs.Entrypoint))
	}
	for _, n := range t.nested {
		w.tracef("CompositeActionHandler", "Processing embedded step: DisplayName='%s'", n.display)
		if err := w.perform(n); err != nil && !n.step.Continue {
			return err
		}
	}
	return nil
}

func copyOver(to, from string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		at, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, at), 0o755)
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, at), data, info.Mode().Perm())
	})
}

// hook runs the script that a variable of the machine names. It may tell the
// runner something, as a step; no failure of it is forgiven.
func (w *worker) hook(variable, display string) {
	path := os.Getenv(variable)
	if path == "" {
		return
	}
	w.tracef("StepsRunner", "Processing step: DisplayName='%s'", display)
	t := &task{display: display}
	var args []string
	switch filepath.Ext(path) {
	case ".sh":
		args = []string{shell("bash"), "-e", path}
	case ".js":
		args = []string{w.node("node24"), path}
	default:
		w.fail(fmt.Errorf("%s: %s ends neither in .sh nor in .js", variable, path))
		return
	}
	if err := w.process(t, "hook", args, nil, w.workspace); err != nil {
		w.fail(fmt.Errorf("%s: %w", display, err))
	}
}

// cancel ends the step that runs as the real one does: the first process
// alone, politely at first.
func (w *worker) cancel() {
	w.mu.Lock()
	w.status = max(w.status, cancelled)
	commands := maps.Clone(w.running)
	w.mu.Unlock()
	for _, s := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGINT, 7500 * time.Millisecond}, {unix.SIGTERM, 2500 * time.Millisecond}, {unix.SIGKILL, 0}} {
		for c := range commands {
			w.mu.Lock()
			if w.running[c] {
				_ = c.Process.Signal(s.signal)
			}
			w.mu.Unlock()
		}
		for until := time.Now().Add(s.wait); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
			w.mu.Lock()
			left := false
			for c := range commands {
				left = left || w.running[c]
			}
			w.mu.Unlock()
			if !left {
				return
			}
		}
	}
}
