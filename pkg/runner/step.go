// Package runner tells what the processes of GitHub's self-hosted and hosted
// runner (actions/runner) are of a job: which one is the worker, and which step
// a child of the worker was started for. It also reads the worker's log for the
// names that a person knows steps by.
//
// What a worker gives its child is the worker's word: it sets the GITHUB_*
// variables after all that a workflow or an earlier step asked for. What the
// child's own children have in their environment is theirs, and nothing is
// taken from it.
//
// All of it are pure functions over text and bytes.
package runner

import (
	"bytes"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// IsWorker reports whether a program is a runner's worker, by the path of the
// file that was executed. The name of a process would be its own choice.
func IsWorker(exe []byte) bool {
	exe = bytes.TrimSuffix(exe, []byte(" (deleted)")) // the runner updates itself
	return bytes.HasSuffix(exe, []byte("/bin/Runner.Worker"))
}

// Step is what a worker started a process for.
type Step struct {
	// Job is the job's key in the workflow, ID the step's id, or what the runner
	// calls a step without one: __run_2, __actions_checkout. Steps of a composite
	// action have its id.
	Job, ID redact.Text
	// Action is OWNER/REPO@REF, where the step is one's.
	Action redact.Text
	Kind   redact.Text
}

// The kinds of what a worker starts.
var (
	Run       = redact.Const("run")       // a script
	Action    = redact.Const("action")    // JavaScript
	Container = redact.Const("container") // the client of an engine
	Hook      = redact.Const("hook")      // of the machine, before or after a job
	Own       = redact.Const("runner")    // for itself: to unpack actions, to make a container
)

// The ids of job hooks. No step of a workflow can have them.
var (
	JobStarted   = redact.Const("hook:job-started")
	JobCompleted = redact.Const("hook:job-completed")
)

// HookOf returns the id of the job hook that a child of a worker runs, by the
// worker's environment and the child's arguments, both as the kernel has them:
// entries that end in a zero byte. It is zero for any other child.
func HookOf(environ, argv []byte) redact.Text {
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		name, path, _ := bytes.Cut(v, []byte{'='})
		var id redact.Text
		switch string(name) {
		case "ACTIONS_RUNNER_HOOK_JOB_STARTED":
			id = JobStarted
		case "ACTIONS_RUNNER_HOOK_JOB_COMPLETED":
			id = JobCompleted
		default:
			continue
		}
		for arg := range bytes.SplitSeq(argv, []byte{0}) {
			if len(path) > 0 && bytes.Equal(arg, path) {
				return id
			}
		}
	}
	return redact.Text{}
}

// StepOf tells what a worker started a process for, by the exec of its child.
// hook is what HookOf returned: a hook may have the environment of the last step.
func StepOf(exec *event.Event, hook redact.Text) Step {
	var s Step
	var path, repository, ref redact.Text
	for _, v := range exec.Env {
		switch v.Name.String() {
		case "GITHUB_JOB":
			s.Job = v.Value
		case "GITHUB_ACTION":
			s.ID = v.Value
		case "GITHUB_ACTION_PATH":
			path = v.Value
		case "GITHUB_ACTION_REPOSITORY":
			repository = v.Value
		case "GITHUB_ACTION_REF":
			ref = v.Value
		}
	}
	program := exec.Exe.String()
	program = program[strings.LastIndexByte(program, '/')+1:]
	switch {
	case !hook.IsZero():
		return Step{Job: s.Job, ID: hook, Kind: Hook}
	case s.ID.IsZero():
		return Step{Kind: Own}
	case program == "docker" || program == "podman":
		s.Kind = Container
		if !repository.IsZero() && !ref.IsZero() {
			s.Action = redact.Concat(repository, redact.Const("@"), ref)
		}
	case program == "node" && !inTemp(exec.Argv):
		s.Kind = Action
		for _, a := range exec.Argv[:min(len(exec.Argv), 2)] {
			if at, ok := ActionAt(a); ok {
				s.Action = at
			}
		}
	default:
		s.Kind = Run
		// Of a step that is a script itself the runner sets no such path, and an
		// earlier step can.
		if !strings.HasPrefix(s.ID.String(), "__run") {
			s.Action, _ = ActionAt(path)
		}
	}
	return s
}

// Asked is what a client of a container engine has it start: the first process
// of a new container, or another one in the container In.
type Asked struct {
	New bool
	In  string // 64 hex digits
}

// AskedOf reads the arguments of a client as the kernel has them, entries that
// end in a zero byte. It is zero where the client asks for no process, or not as
// the runner has it asked.
func AskedOf(argv []byte) (a Asked) {
	for i := 0; len(argv) > 0; i++ {
		var arg []byte
		arg, argv, _ = bytes.Cut(argv, []byte{0})
		switch {
		case i == 0:
		case i == 1 && string(arg) == "run":
			return Asked{New: true}
		case i == 1 && string(arg) != "exec":
			return a
		case len(arg) == 64 && len(bytes.Trim(arg, "0123456789abcdef")) == 0:
			return Asked{In: string(arg)}
		}
	}
	return a
}

// inTemp reports whether an argument is a script that the runner wrote.
func inTemp(argv []redact.Text) bool {
	for _, a := range argv {
		if strings.Contains(a.String(), "/_temp/") {
			return true
		}
	}
	return false
}

// ActionAt finds the action that a path belongs to: the runner unpacks actions
// to _actions/OWNER/REPO/REF.
func ActionAt(path redact.Text) (redact.Text, bool) {
	const dir = "/_actions/"
	i := strings.Index(path.String(), dir)
	if i < 0 {
		return redact.Text{}, false
	}
	owner, rest, _ := path.Slice(i+len(dir), path.Len()).Cut("/")
	repo, rest, _ := rest.Cut("/")
	ref, _, _ := rest.Cut("/")
	if owner.IsZero() || repo.IsZero() || ref.IsZero() {
		return redact.Text{}, false
	}
	return redact.Concat(owner, redact.Const("/"), repo, redact.Const("@"), ref), true
}
