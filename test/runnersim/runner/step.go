package runner

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// orphanedOutput is how long the runner waits for who still holds the output of
// a process that has ended (ProcessInvoker.cs).
const orphanedOutput = 5 * time.Second

// shell returns where a program is, by the places that a runner's machine has.
func shell(name string) string {
	for _, dir := range []string{"/usr/bin/", "/bin/"} {
		if _, err := os.Stat(dir + name); err == nil {
			return dir + name
		}
	}
	return name
}

func (w *worker) node(using string) string {
	return filepath.Join(w.root, "externals", using, "bin", "node")
}

// script runs a run step: its text as a file, by its shell.
func (w *worker) script(t *task) error {
	text, err := fill(t.step.Run, w.look(t))
	if err != nil {
		return err
	}
	ext, args := ".sh", []string{shell("bash"), "-e"}
	switch t.step.Shell {
	case "":
		if w.container != "" {
			args = []string{"sh", "-e"} // not every image has another
		}
	case "bash":
		args = []string{shell("bash"), "--noprofile", "--norc", "-e", "-o", "pipefail"}
	case "sh":
		args = []string{shell("sh"), "-e"}
	case "python":
		ext, args = ".py", []string{shell("python3")}
	default:
		return fmt.Errorf("shell: %s is not known here", t.step.Shell)
	}
	file := filepath.Join(w.temp, guid()+ext)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	args, dir := append(args, file), filepath.Join(w.workspace, t.step.Directory)
	if w.container != "" {
		return w.inContainer(t, "main", args, nil, dir)
	}
	return w.process(t, "main", args, nil, dir)
}

// part runs one part of an action: a script, or a program of an image.
func (w *worker) part(t *task, stage, what string) error {
	env := map[string]string{
		"ACTIONS_RUNTIME_URL": "http://127.0.0.1:9/", "ACTIONS_RUNTIME_TOKEN": "runtime-token",
		"ACTIONS_RESULTS_URL": "http://127.0.0.1:9/", "ACTIONS_CACHE_URL": "http://127.0.0.1:9/",
	}
	for name, in := range t.action.Inputs {
		value, given := t.step.With[name]
		if !given {
			value = in.Default
		}
		value, err := fill(value, w.look(t))
		if err != nil {
			return err
		}
		env["INPUT_"+strings.ToUpper(strings.ReplaceAll(name, " ", "_"))] = value
	}
	for k, v := range t.state {
		env["STATE_"+k] = v
	}
	if t.action.Runs.Using == "docker" {
		return w.ownContainer(t, stage, what, env)
	}
	args := []string{w.node(t.action.Runs.Using), filepath.Join(t.action.dir, what)}
	if w.container != "" {
		return w.inContainer(t, stage, args, env, w.workspace)
	}
	return w.process(t, stage, args, env, w.workspace)
}

// look returns what the names of expressions stand for in a step.
func (w *worker) look(t *task) func(string) (string, bool) {
	return func(name string) (string, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		of, rest, _ := strings.Cut(name, ".")
		switch of {
		case "env":
			v, ok := w.env[rest]
			if !ok {
				v = w.job.Env[rest]
			}
			return v, true
		case "matrix":
			return w.job.Matrix[rest], true
		case "strategy":
			return strconv.Itoa(w.job.Index), rest == "job-index"
		case "runner":
			return map[string]string{"temp": w.temp, "os": "Linux"}[rest], rest == "temp" || rest == "os"
		case "github":
			if rest == "token" {
				return w.job.Env["GITHUB_TOKEN"], true // none is made
			}
			v, ok := w.context(t)["GITHUB_"+strings.ToUpper(rest)]
			return v, ok
		case "inputs":
			if t.parent == nil {
				return "", false
			}
			if v, ok := t.parent.step.With[rest]; ok {
				return v, true
			}
			return t.parent.action.Inputs[rest].Default, true
		case "steps":
			id, out, ok := strings.Cut(rest, ".outputs.")
			outputs := w.outputs
			if t.parent != nil {
				outputs = t.parent.outputs
			}
			return outputs[id][out], ok
		}
		return "", false
	}
}

// repositoryID is GitHub's number of the repository, in all jobs.
const repositoryID = "4321"

// context returns the variables of the github and runner contexts, which no
// env: of a workflow and no GITHUB_ENV takes the place of.
func (w *worker) context(t *task) map[string]string {
	owner, _, _ := strings.Cut(w.job.Repository, "/")
	const sha = "0123456789abcdef0123456789abcdef01234567"
	env := map[string]string{
		"GITHUB_ACTIONS": "true", "CI": "true",
		"GITHUB_ACTION": t.name, "GITHUB_ACTOR": "octocat", "GITHUB_API_URL": w.job.API,
		"GITHUB_BASE_REF": "", "GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": filepath.Join(w.temp, "_github_workflow", "event.json"),
		"GITHUB_GRAPHQL_URL": "https://api.github.com/graphql", "GITHUB_HEAD_REF": "", "GITHUB_JOB": w.job.ID,
		"GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch",
		"GITHUB_REPOSITORY": w.job.Repository, "GITHUB_REPOSITORY_ID": repositoryID, "GITHUB_REPOSITORY_OWNER": owner, "GITHUB_RETENTION_DAYS": "90",
		"GITHUB_RUN_ATTEMPT": "1", "GITHUB_RUN_ID": w.job.RunID, "GITHUB_RUN_NUMBER": "1",
		"GITHUB_SERVER_URL": "https://github.com", "GITHUB_SHA": sha, "GITHUB_TRIGGERING_ACTOR": "octocat",
		"GITHUB_WORKFLOW": w.job.Workflow, "GITHUB_WORKFLOW_REF": w.job.Repository + "/.github/workflows/ci.yml@refs/heads/main",
		"GITHUB_WORKFLOW_SHA": sha, "GITHUB_WORKSPACE": w.workspace,
		"RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "RUNNER_NAME": filepath.Base(w.root), "RUNNER_ENVIRONMENT": "self-hosted",
		"RUNNER_TOOL_CACHE": filepath.Join(w.work, "_tool"), "RUNNER_TEMP": w.temp, "RUNNER_WORKSPACE": filepath.Dir(w.workspace),
	}
	switch {
	case t.name == "":
		delete(env, "GITHUB_ACTION") // a hook
	case t.uses != "":
		env["GITHUB_ACTION_REPOSITORY"], env["GITHUB_ACTION_REF"], _ = strings.Cut(t.uses, "@")
	case t.parent != nil:
		env["GITHUB_ACTION_REPOSITORY"], env["GITHUB_ACTION_REF"] = "", ""
		env["GITHUB_ACTION_PATH"] = t.parent.action.dir
	}
	return env
}

// environment returns the variables of a step's process, and the files by which
// it asks for something.
func (w *worker) environment(t *task, stage string, extra map[string]string) (env, files map[string]string, err error) {
	if files, err = makeFiles(w.temp, guid()); err != nil {
		return nil, nil, err
	}
	env = make(map[string]string)
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	if stage != "hook" {
		w.mu.Lock()
		set := maps.Clone(w.env)
		path := strings.Join(append(slices.Clone(w.path), env["PATH"]), ":")
		w.mu.Unlock()
		maps.Copy(env, w.job.Env)
		maps.Copy(env, set)
		env["PATH"] = path
		for k, v := range t.step.Env {
			if env[k], err = fill(v, w.look(t)); err != nil {
				return nil, nil, err
			}
		}
	}
	maps.Copy(env, extra)
	maps.Copy(env, w.context(t))
	maps.Copy(env, files)
	return env, files, nil
}

// process runs a direct child of the Worker for a step and does what it asks for
// by its files.
func (w *worker) process(t *task, stage string, args []string, extra map[string]string, dir string) error {
	env, files, err := w.environment(t, stage, extra)
	if err != nil {
		return err
	}
	return errors.Join(w.start(args, env, dir, w.out.line), w.take(t, files))
}

// start runs a direct child of the Worker; say is given each line of its output,
// with the job's lock held.
func (w *worker) start(args []string, env map[string]string, dir string, say func(string)) error {
	cmd := &exec.Cmd{Path: args[0], Args: args, Dir: dir, WaitDelay: orphanedOutput}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, k+"="+env[k])
	}
	obey := func(line string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		say(line)
	}
	stdout, stderr := &liner{f: obey}, &liner{f: obey}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// One log for all steps that run at once: the four lines of a start stand
	// together.
	w.mu.Lock()
	w.tracef("ProcessInvokerWrapper", "Starting process:")
	w.tracef("ProcessInvokerWrapper", "  File name: '%s'", args[0])
	w.tracef("ProcessInvokerWrapper", "  Arguments: '%s'", strings.Join(args[1:], " "))
	err := cmd.Start()
	if err == nil {
		w.running[cmd] = true
		w.tracef("ProcessInvokerWrapper", "Process started with process id %d, waiting for process exit.", cmd.Process.Pid)
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte("500"), 0o644) // it may have ended
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	err = cmd.Wait()
	w.mu.Lock()
	delete(w.running, cmd)
	w.tracef("ProcessInvokerWrapper", "Finished process %d with exit code %d, and elapsed time %v.", cmd.Process.Pid, cmd.ProcessState.ExitCode(), time.Duration(0))
	w.mu.Unlock()
	stdout.flush()
	stderr.flush()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return err
}

// take reads what a process wrote to its files.
func (w *worker) take(t *task, files map[string]string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	outputs := w.outputs
	if t.parent != nil {
		outputs = t.parent.outputs
	}
	for _, c := range []struct {
		name string
		to   func(k, v string) error
	}{
		{"GITHUB_ENV", func(k, v string) error {
			if strings.EqualFold(k, "NODE_OPTIONS") {
				return errors.New("NODE_OPTIONS cannot be set by GITHUB_ENV")
			}
			w.env[k] = v
			return nil
		}},
		{"GITHUB_OUTPUT", func(k, v string) error {
			if t.step.ID != "" {
				if outputs[t.step.ID] == nil {
					outputs[t.step.ID] = map[string]string{}
				}
				outputs[t.step.ID][k] = v
			}
			return nil
		}},
		{"GITHUB_STATE", func(k, v string) error {
			if t.state != nil {
				t.state[k] = v
			}
			return nil
		}},
	} {
		pairs, err := readPairs(files[c.name])
		if err != nil {
			return err
		}
		for _, p := range pairs {
			if err := c.to(p[0], p[1]); err != nil {
				return err
			}
		}
	}
	paths, err := os.ReadFile(files["GITHUB_PATH"])
	if err != nil {
		return err
	}
	for p := range strings.Lines(string(paths)) {
		if p = strings.TrimSpace(p); p != "" {
			w.path = append([]string{p}, w.path...)
		}
	}
	summary, err := os.ReadFile(files["GITHUB_STEP_SUMMARY"])
	w.result.Summaries += w.out.hide(string(summary))
	return err
}
