package posture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge"
)

// runner reads the settings of GitHub's runner, wherever one is installed.
func (c *collector) runner() {
	hosted := c.env("RUNNER_ENVIRONMENT") == "github-hosted"
	for _, root := range c.runnerRoots() {
		f := c.usersFile(Runner, path.Join(root, ".runner"))
		if f == nil {
			continue
		}
		s, err := parseRunner(f.data)
		if err != nil {
			c.unread(f.path, err)
			continue
		}
		if !hosted && !s.ephemeral {
			c.item("runner-kept", judge.Medium, f.path, 0, "not registered as ephemeral")
		}
		if v := c.runnerVersion(root); v != "" {
			c.item("runner-version", judge.Info, root, 0, v)
		}
		for _, name := range []string{".credentials", ".credentials_rsaparams", ".credentials_migrated"} {
			cred, err := c.stat(path.Join(root, name))
			if err != nil {
				c.unread(path.Join(root, name), err)
				continue
			}
			c.keep(Runner, cred, "")
			if c.User.may(cred, 4) && !hosted {
				sev := judge.High
				if s.ephemeral {
					sev = judge.Low
				}
				c.item("runner-credentials", sev, cred.path, 0, fmt.Sprintf("mode %04o, user %d", cred.mode, cred.uid))
			}
		}
		c.runnerStart(root, hosted || s.ephemeral)
		if work := c.repositories(path.Join(root, s.work)); len(work) > 1 && !hosted {
			c.item("runner-shared", judge.Medium, path.Join(root, s.work), 0, strings.Join(work[:min(len(work), 8)], ", "))
		}
	}
}

// runnerStart looks at what the runner starts with: its variables and hooks.
func (c *collector) runnerStart(root string, fresh bool) {
	for _, name := range []string{".env", ".path", "runsvc.sh", "run.sh", "bin/runsvc.sh"} {
		f := c.usersFile(Runner, path.Join(root, name))
		if f == nil {
			continue
		}
		if c.User.UID != 0 && c.User.mayWrite(f) && !fresh {
			c.item("runner-settings", judge.High, f.path, 0, fmt.Sprintf("mode %04o, user %d", f.mode, f.uid))
		}
		if name != ".env" {
			continue
		}
		number := 0
		for line := range bytes.Lines(f.data) {
			number++
			key, script, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
			if key != "ACTIONS_RUNNER_HOOK_JOB_STARTED" && key != "ACTIONS_RUNNER_HOOK_JOB_COMPLETED" {
				continue
			}
			sev := judge.Info
			if hook := c.usersFile(Runner, script); hook != nil && c.User.UID != 0 && c.User.mayWrite(hook) {
				sev = judge.High
			}
			c.item("runner-hook", sev, f.path, number, key+" = "+script)
		}
	}
}

func (c *collector) env(name string) string {
	if c.Getenv == nil {
		return ""
	}
	return c.Getenv(name)
}

// runnerRoots returns folders where a runner may be installed: where the job
// says that it works, and where people put it.
func (c *collector) runnerRoots() []string {
	roots := []string{"/actions-runner", "/opt/actions-runner", "/home/runner/actions-runner", "/home/runner"}
	// _work/_temp of the runner, _work being a setting.
	if t := c.env("RUNNER_TEMP"); path.IsAbs(t) {
		roots = append(roots, path.Dir(path.Dir(path.Clean(t))))
	}
	roots = append(roots, c.homeFiles("actions-runner", "runner")...)
	slices.Sort(roots)
	return slices.Compact(roots)
}

// runnerSettings is what matters here of the file .runner.
type runnerSettings struct {
	ephemeral bool
	work      string
}

// parseRunner reads .runner: JSON, with a byte order mark before it in some
// versions, in which a truth is a text or not.
func parseRunner(data []byte) (runnerSettings, error) {
	var raw struct {
		Ephemeral any    `json:"ephemeral"`
		Work      string `json:"workFolder"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &raw); err != nil {
		return runnerSettings{}, errNoSettings
	}
	s := runnerSettings{work: raw.Work}
	if s.work == "" {
		s.work = "_work"
	}
	s.ephemeral = strings.EqualFold(fmt.Sprint(raw.Ephemeral), "true")
	return s, nil
}

// Ephemeral reports whether the runner that is installed in a folder is
// registered for one job alone.
func Ephemeral(root string) bool {
	data, err := os.ReadFile(path.Join(root, ".runner"))
	if err != nil {
		return false
	}
	s, err := parseRunner(data)
	return err == nil && s.ephemeral
}

// runnerVersion finds it among the names of the runner's parts.
func (c *collector) runnerVersion(root string) string {
	f, err := c.readUsers(path.Join(root, "bin/Runner.Listener.deps.json"))
	if err != nil || c.StateOnly {
		return ""
	}
	_, after, ok := bytes.Cut(f.data, []byte(`"Runner.Listener/`))
	version, _, end := bytes.Cut(after, []byte(`"`))
	if !ok || !end || len(version) > 32 {
		return ""
	}
	return string(version)
}

// repositories lists the checkouts below a runner's work folder.
func (c *collector) repositories(work string) []string {
	if c.StateOnly {
		return nil
	}
	var out []string
	for _, p := range c.list(work) {
		if name := path.Base(p); !strings.HasPrefix(name, "_") {
			if st, err := c.stat(p); err == nil && !st.regular {
				out = append(out, name)
			}
		}
	}
	return out
}

// workflows reads those of the checkout: which actions they name, and what
// their token may do.
func (c *collector) workflows() {
	if c.StateOnly {
		return
	}
	if c.env("ACTIONS_ID_TOKEN_REQUEST_URL") != "" {
		c.item("token-permissions", judge.Info, "", 0, "id-token: write: the job can ask for tokens in its own name")
	}
	if c.Workspace == "" {
		return
	}
	for _, p := range c.list(path.Join(c.Workspace, ".github/workflows")) {
		if ext := path.Ext(p); ext != ".yml" && ext != ".yaml" {
			continue
		}
		f, err := c.readUsers(p)
		if err != nil {
			c.unread(p, err)
			continue
		}
		w := parseWorkflow(p, f.data)
		for _, u := range w.unpinned {
			// GitHub's own actions are changed by GitHub alone.
			sev := judge.Medium
			if strings.HasPrefix(u.value, "actions/") || strings.HasPrefix(u.value, "github/") {
				sev = judge.Low
			}
			c.item("unpinned-action", sev, p, u.line, u.value)
		}
		switch {
		case w.writeAll > 0:
			c.item("token-permissions", judge.High, p, w.writeAll, "permissions: write-all")
		case w.unlimited > 0:
			c.item("token-permissions", judge.Low, p, w.unlimited, "no permissions are set: what the repository's settings give holds")
		}
	}
}

// workflow is what matters here of a workflow's file.
type workflow struct {
	unpinned  []setting // each uses without a commit
	writeAll  int       // line of permissions: write-all
	unlimited int       // line of a job for which no permissions are set
}

// parseWorkflow reads a workflow; one that is none has nothing in it.
func parseWorkflow(name string, data []byte) workflow {
	var w workflow
	_, docs := document.Parse(name, data)
	if len(docs) == 0 {
		return w
	}
	limited := w.permissions(docs[0])
	jobs := member(docs[0], "jobs")
	if jobs == nil || jobs.Kind != yaml.MappingNode {
		return w
	}
	for i := 0; i+1 < len(jobs.Content); i += 2 {
		job := jobs.Content[i+1]
		if !w.permissions(job) && !limited && w.unlimited == 0 {
			w.unlimited = jobs.Content[i].Line
		}
		w.uses(member(job, "uses"))
		if steps := member(job, "steps"); steps != nil && steps.Kind == yaml.SequenceNode {
			for _, step := range steps.Content {
				w.uses(member(step, "uses"))
			}
		}
	}
	return w
}

// permissions reports whether permissions stand in a workflow or a job.
func (w *workflow) permissions(n *yaml.Node) bool {
	p := member(n, "permissions")
	if p != nil && p.Value == "write-all" {
		w.writeAll = p.Line
	}
	return p != nil
}

// uses takes the value of a uses: that names no commit and no digest.
func (w *workflow) uses(n *yaml.Node) {
	if n == nil || n.Kind != yaml.ScalarNode || strings.HasPrefix(n.Value, "./") || strings.HasPrefix(n.Value, "$/") {
		return
	}
	if _, ref, ok := strings.Cut(n.Value, "@"); ok && (commit(ref) || strings.HasPrefix(ref, "sha256:")) {
		return
	}
	w.unpinned = append(w.unpinned, setting{value: n.Value, line: n.Line})
}

// commit reports whether s is the whole name of a commit.
func commit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// member returns a member of a mapping, nil where there is none.
func member(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
