package derive

import (
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// workflow is what is read of a GitHub workflow or of a composite action: what
// runs, and where it is written. GitHub checks the rest itself.
type workflow struct {
	file string
	jobs []job
}

type job struct {
	id     string
	at     place
	uses   string // a reusable workflow
	runsOn string // the labels, as they stand there
	images []image
	steps  []step
	grants map[string]string // permissions: the job's own, else the workflow's
	// Environment values that are plain text, of the workflow and the job.
	env map[string]string
}

type image struct {
	name string
	at   place
	what string
}

type step struct {
	id, name, uses, run, shell string
	at, runAt                  place
	block                      bool // run is a block: its lines follow runAt
	with                       map[string]string
	env                        map[string]string
	dir                        string
}

type place struct{ line, column int }

func at(n *yaml.Node) place { return place{n.Line, n.Column} }

// readWorkflow reads the jobs of a workflow. Its errors carry the place.
func readWorkflow(file string, data []byte) (*workflow, error) {
	src, docs := document.Parse(file, data)
	w := &workflow{file: file}
	switch {
	case src.Failed():
	case len(docs) != 1:
		return nil, document.Errors{{File: file, Line: 1, Column: 1, Message: "want one document, a GitHub workflow"}}
	default:
		w.read(src, docs[0])
	}
	if err := src.Err(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *workflow) read(src *document.Source, n *yaml.Node) {
	var jobs *yaml.Node
	env := map[string]string{}
	var shell, dir string
	var permissions map[string]string
	for _, p := range src.Any(n) {
		switch p.Key {
		case "jobs":
			jobs = p.Value
		case "env":
			texts(p.Value, env)
		case "defaults":
			shell, dir = defaults(p.Value)
		case "permissions":
			permissions = texts(p.Value, map[string]string{})
		}
	}
	if jobs == nil {
		if !src.Failed() {
			src.Fail(n, `no "jobs" stand here: this is no GitHub workflow`)
		}
		return
	}
	for _, p := range src.Any(jobs) {
		j := job{id: p.Key, at: at(p.At), env: clone(env), grants: permissions}
		shell, dir := shell, dir
		var steps *yaml.Node
		for _, k := range src.Any(p.Value) {
			switch k.Key {
			case "uses":
				j.uses, _ = src.String(k.Value)
				j.at = at(k.Value)
			case "runs-on":
				for _, n := range append(k.Value.Content, k.Value) {
					j.runsOn += " " + n.Value
				}
			case "env":
				texts(k.Value, j.env)
			case "defaults":
				if s, d := defaults(k.Value); true {
					shell, dir = first(s, shell), first(d, dir)
				}
			case "permissions":
				j.grants = texts(k.Value, map[string]string{})
			case "container":
				j.image(k.Value, "the job's container")
			case "services":
				if k.Value.Kind == yaml.MappingNode {
					for i := 0; i+1 < len(k.Value.Content); i += 2 {
						j.image(k.Value.Content[i+1], "service "+k.Value.Content[i].Value)
					}
				}
			case "steps":
				steps = k.Value
			}
		}
		if steps != nil {
			if shell == "" && strings.Contains(j.runsOn, "windows") {
				shell = "pwsh"
			}
			j.steps = readSteps(src, steps, shell, dir)
		}
		w.jobs = append(w.jobs, j)
	}
}

// image notes a container image, of a text or of a mapping with image.
func (j *job) image(n *yaml.Node, what string) {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "image" {
				j.image(n.Content[i+1], what)
			}
		}
		return
	}
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		j.images = append(j.images, image{n.Value, at(n), what})
	}
}

func readSteps(src *document.Source, list *yaml.Node, shell, dir string) []step {
	var steps []step
	for _, n := range src.List(list) {
		s := step{at: at(n), shell: shell, dir: dir, with: map[string]string{}, env: map[string]string{}}
		for _, p := range src.Any(n) {
			switch p.Key {
			case "id":
				s.id = p.Value.Value
			case "uses":
				s.uses, _ = src.String(p.Value)
				s.at = at(p.Value)
			case "run":
				s.run, _ = src.String(p.Value)
				s.runAt = at(p.Value)
				s.block = p.Value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
			case "shell":
				s.shell, _ = src.String(p.Value)
			case "working-directory":
				s.dir, _ = src.String(p.Value)
			case "name":
				s.name = p.Value.Value
			case "with":
				texts(p.Value, s.with)
			case "env":
				texts(p.Value, s.env)
			}
		}
		steps = append(steps, s)
	}
	return steps
}

// readAction reads an action.yml: the steps of a composite one, else what it
// is made of.
func readAction(file string, data []byte) (steps []step, using string, err error) {
	src, docs := document.Parse(file, data)
	if len(docs) == 1 {
		for _, p := range src.Any(docs[0]) {
			if p.Key != "runs" {
				continue
			}
			for _, r := range src.Any(p.Value) {
				switch r.Key {
				case "using":
					using, _ = src.String(r.Value)
				case "steps":
					steps = readSteps(src, r.Value, "", "")
				}
			}
		}
	}
	return steps, using, src.Err()
}

// texts reads the plain texts of a mapping into m; other values are left out.
func texts(n *yaml.Node, m map[string]string) map[string]string {
	if n.Kind != yaml.MappingNode {
		return m
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if v := n.Content[i+1]; v.Kind == yaml.ScalarNode {
			m[n.Content[i].Value] = v.Value
		}
	}
	return m
}

func defaults(n *yaml.Node) (shell, dir string) {
	if n.Kind != yaml.MappingNode {
		return "", ""
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "run" {
			m := texts(n.Content[i+1], map[string]string{})
			return m["shell"], m["working-directory"]
		}
	}
	return "", ""
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func clone(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// isExpression reports whether a text holds a ${{ }} of GitHub's.
func isExpression(s string) bool { return strings.Contains(s, "${{") }
