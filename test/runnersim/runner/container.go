package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// label is what the runner's containers have in common: six digits of its own
// (DockerCommandManager.cs).
func (w *worker) label() string {
	sum := sha256.Sum256([]byte(w.root))
	return hex.EncodeToString(sum[:3])
}

// mount is a folder of the runner's and where a container has it.
type mount struct{ from, to string }

// mounts of a job's container, of which the first that holds a path counts.
func (w *worker) mounts() []mount {
	return []mount{
		{filepath.Join(w.root, "externals"), "/__e"}, {filepath.Join(w.work, "_tool"), "/__t"},
		{filepath.Join(w.temp, "_github_home"), "/github/home"}, {filepath.Join(w.temp, "_github_workflow"), "/github/workflow"},
		{w.work, "/__w"},
	}
}

// actionMounts are those of a docker action.
func (w *worker) actionMounts() []mount {
	return []mount{
		{filepath.Join(w.temp, "_github_home"), "/github/home"}, {filepath.Join(w.temp, "_github_workflow"), "/github/workflow"},
		{filepath.Join(w.temp, "_runner_file_commands"), "/github/file_commands"}, {w.temp, "/github/runner_temp"},
		{w.workspace, "/github/workspace"},
	}
}

// inside returns where a container has a path of the machine.
func inside(ms []mount, path string) string {
	for _, m := range ms {
		if rest, ok := strings.CutPrefix(path, m.from); ok && (rest == "" || rest[0] == '/') {
			return m.to + rest
		}
	}
	return path
}

// docker runs the engine's client for the runner itself, and returns what it
// printed.
func (w *worker) docker(args ...string) (string, error) {
	client, err := exec.LookPath("docker")
	if err != nil {
		return "", err
	}
	env, _, err := w.environment(&task{}, "hook", nil)
	if err != nil {
		return "", err
	}
	for k := range w.context(&task{}) {
		delete(env, k) // not for a step
	}
	var out []string
	err = w.start(append([]string{client}, args...), env, w.workspace, func(l string) { out = append(out, l) })
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, strings.Join(out, "\n"))
	}
	return strings.Join(out, "\n"), nil
}

// startContainer gets the images of docker actions, and makes and starts the
// container of the job.
func (w *worker) startContainer(tasks []*task) error {
	for _, t := range tasks {
		if err := w.startContainerOf(t); err != nil {
			return err
		}
	}
	if w.job.Container == "" {
		return nil
	}
	network := w.job.Network
	if network == "" {
		network = "github_network_" + strings.ReplaceAll(guid(), "-", "")
		if _, err := w.docker("network", "create", "--label", w.label(), network); err != nil {
			return err
		}
		w.network = network
	}
	args := []string{"create", "--name", strings.ReplaceAll(guid(), "-", "") + "_" + sanitized(w.job.Container) + "_" + guid()[:6], "--label", w.label(),
		"--workdir", inside(w.mounts(), w.workspace), "--network", network, "-e", "HOME", "-e", "GITHUB_ACTIONS=true", "-e", "CI=true"}
	for _, m := range w.mounts() {
		args = append(args, "-v", m.from+":"+m.to)
	}
	id, err := w.docker(append(args, "--entrypoint", "tail", w.job.Container, "-f", "/dev/null")...)
	if err != nil {
		return err
	}
	w.container = id[strings.LastIndexByte(id, '\n')+1:] // after its warnings
	_, err = w.docker("start", w.container)
	return err
}

func (w *worker) startContainerOf(t *task) (err error) {
	for _, n := range t.nested {
		if err := w.startContainerOf(n); err != nil {
			return err
		}
	}
	if t.action == nil || t.action.Runs.Using != "docker" || t.action.image != "" {
		return nil
	}
	image, is := strings.CutPrefix(t.action.Runs.Image, "docker://")
	if is {
		// The real one pulls it; here it is there.
		_, err = w.docker("image", "inspect", "--format", "{{.Id}}", image)
	} else {
		image = w.label() + ":" + strings.ReplaceAll(guid(), "-", "")
		_, err = w.docker("build", "-t", image, "-f", filepath.Join(t.action.dir, t.action.Runs.Image), t.action.dir)
	}
	t.action.image = image
	return err
}

// stopContainer removes the container and the network of the job.
func (w *worker) stopContainer() {
	var errs []error
	if w.container != "" {
		_, err := w.docker("rm", "--force", w.container)
		errs = append(errs, err)
	}
	if w.network != "" {
		_, err := w.docker("network", "rm", w.network)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		w.fail(err)
	}
}

// inContainer runs a process of a step in the job's container.
func (w *worker) inContainer(t *task, stage string, args []string, extra map[string]string, dir string) error {
	ms := w.mounts()
	given := []string{"exec", "-i", "--workdir", inside(ms, dir)}
	var command []string
	for _, a := range args {
		command = append(command, inside(ms, a))
	}
	return w.engine(t, stage, extra, ms, given, append([]string{w.container}, command...))
}

// ownContainer runs one part of a docker action in a container of its own.
func (w *worker) ownContainer(t *task, stage, entrypoint string, extra map[string]string) error {
	ms := w.actionMounts()
	given := []string{"run", "--name", sanitized(t.action.image) + "_" + guid()[:6], "--label", w.label(), "--workdir", "/github/workspace", "--rm"}
	if entrypoint != "" {
		given = append(given, "--entrypoint", entrypoint)
	}
	if w.job.Network != "" {
		given = append(given, "--network", w.job.Network)
	} else if w.network != "" {
		given = append(given, "--network", w.network)
	}
	for _, m := range ms {
		given = append(given, "-v", m.from+":"+m.to)
	}
	var args []string
	for _, a := range t.action.Runs.Args {
		a, err := fill(a, w.actionInputs(t, extra))
		if err != nil {
			return err
		}
		args = append(args, a)
	}
	return w.engine(t, stage, extra, ms, given, append([]string{t.action.image}, args...))
}

// actionInputs returns what expressions stand for in the manifest of an action.
func (w *worker) actionInputs(t *task, env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		if in, ok := strings.CutPrefix(name, "inputs."); ok {
			return env["INPUT_"+strings.ToUpper(strings.ReplaceAll(in, " ", "_"))], true
		}
		return w.look(t)(name)
	}
}

// engine runs the engine's client for a step: the variables that the runner
// sets are passed on by name, and the client has their values.
func (w *worker) engine(t *task, stage string, extra map[string]string, ms []mount, options, rest []string) error {
	client, err := exec.LookPath("docker")
	if err != nil {
		return err
	}
	env, files, err := w.environment(t, stage, extra)
	if err != nil {
		return err
	}
	pass := map[string]string{}
	w.mu.Lock()
	for _, more := range []map[string]string{extra, w.job.Env, w.env, t.step.Env, w.context(t), files} {
		maps.Copy(pass, more)
	}
	w.mu.Unlock()
	args := append([]string{client}, options...)
	for _, k := range slices.Sorted(maps.Keys(pass)) {
		env[k] = inside(ms, env[k])
		args = append(args, "-e", k)
	}
	return errors.Join(w.start(append(args, rest...), env, w.workspace, w.out.line), w.take(t, files))
}

var unfit = regexp.MustCompile(`[^a-zA-Z0-9]`)

// sanitized is an image's name without what a container's name may not have.
func sanitized(image string) string { return unfit.ReplaceAllString(image, "") }
