// Package derive reads a GitHub workflow as a declaration of intent: what its
// actions are known to need, and what its own commands say that they do.
//
//	d, err := derive.Workflow(".github/workflows/ci.yml", data, os.DirFS("."))
//	policy, err := d.Policy()
//	fmt.Print(d.Text())
//
// Nothing is guessed. What cannot be understood, an unknown action, a Makefile,
// a host that is put together at run time, is listed with its place, and
// grants nothing. What a derived intent leaves open is said in docs/policy.md.
package derive

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// Bounds of what is followed from a workflow.
const (
	maxDepth     = 8 // actions in actions, scripts in scripts, workflows in workflows
	maxScript    = 256 << 10
	maxLeft      = 200
	maxText      = 120
	workflowKind = "workflow"
)

// Derivation is the intent of a workflow, job by job.
type Derivation struct {
	File string
	Jobs []Job
}

// Job is what one job of the workflow declares.
type Job struct {
	Name   string
	Grants []intent.Declared
	// Left is what was not understood, in the order of the file.
	Left []Left
	// Omitted counts what Left has no room for.
	Omitted int
}

// Left is a part of a workflow that was not understood, and grants nothing.
type Left struct {
	File         string
	Line, Column int
	Text, Why    string
}

// Workflow derives the intent of each job of a workflow. Scripts, composite
// actions and reusable workflows of the repository are read through tree,
// which may be nil: they are then listed as not looked at. Errors are of type
// [document.Errors] and carry the place.
func Workflow(file string, data []byte, tree fs.FS) (*Derivation, error) {
	cat, err := known()
	if err != nil {
		return nil, err
	}
	w, err := readWorkflow(file, data)
	if err != nil {
		return nil, err
	}
	d := &Derivation{File: file}
	for i := range w.jobs {
		b := &builder{cat: cat, tree: tree, following: []string{file}}
		b.use("github-runner", "every job", file, w.jobs[i].at)
		b.use("local", "every job", file, w.jobs[i].at)
		if err := b.job(w, &w.jobs[i]); err != nil {
			return nil, err
		}
		slices.SortStableFunc(b.left, func(x, y Left) int { return strings.Compare(x.File, y.File) })
		d.Jobs = append(d.Jobs, Job{Name: w.jobs[i].id, Grants: b.grants, Left: b.left, Omitted: b.omitted})
	}
	return d, nil
}

// IsWorkflow reports whether a YAML text is a GitHub workflow rather than a
// policy: it has on and jobs, and no version.
func IsWorkflow(data []byte) bool {
	_, docs := document.Parse("", data)
	if len(docs) != 1 {
		return false
	}
	have := map[string]bool{}
	for i := 0; i+1 < len(docs[0].Content); i += 2 {
		have[docs[0].Content[i].Value] = true
	}
	return have["jobs"] && have["on"] && !have["version"]
}

// Policy is the derived intent as a policy.
func (d *Derivation) Policy() (*intent.Policy, error) {
	jobs := make([]intent.DeclaredJob, len(d.Jobs))
	for i := range d.Jobs {
		jobs[i] = intent.DeclaredJob{Name: d.Jobs[i].Name, Grants: d.Jobs[i].Grants}
	}
	return intent.New(d.File, jobs)
}

// builder gathers what one job declares.
type builder struct {
	cat       *catalogue
	tree      fs.FS
	following []string // files that lead here, against circles
	grants    []intent.Declared
	have      map[string]bool
	left      []Left
	omitted   int
}

func (b *builder) add(g intent.Declared) {
	if g.Check() != nil {
		b.not(g.Origin, g.Object, "no grant of a policy can say it")
		return
	}
	key := g.Key + "\x00" + g.Object + "\x00" + strings.Join(g.By, "\x00")
	if b.have == nil {
		b.have = map[string]bool{}
	}
	if !b.have[key] {
		b.have[key] = true
		b.grants = append(b.grants, g)
	}
}

func origin(file string, p place) intent.Origin {
	return intent.Origin{File: file, Line: p.line, Column: p.column, Kind: workflowKind}
}

func (b *builder) use(preset, why, file string, p place) {
	b.add(intent.Declared{Key: "use", Object: preset, Why: why, Origin: origin(file, p)})
}

// not notes what was not understood.
func (b *builder) not(o intent.Origin, text, why string) {
	if len(b.left) >= maxLeft {
		b.omitted++
		return
	}
	l := Left{File: o.File, Line: o.Line, Column: o.Column, Text: short(text), Why: why}
	if !slices.Contains(b.left, l) {
		b.left = append(b.left, l)
	}
}

func short(s string) string {
	s, _, cut := strings.Cut(strings.TrimSpace(s), "\n")
	for i := range s {
		if i > maxText {
			s, cut = s[:i], true
			break
		}
	}
	if cut {
		s += " ..."
	}
	return s
}

// needs adds a catalogue's row; by are the programs its own grants are for.
func (b *builder) needs(r *need, why string, by []string, o intent.Origin) {
	grant := func(key, object string, by []string) {
		b.add(intent.Declared{Key: key, Object: object, By: by, Origin: o, Why: why})
	}
	for _, u := range r.use {
		grant("use", u, nil)
	}
	for _, e := range r.egress {
		grant("egress", e, by)
	}
	for _, c := range r.credentials {
		grant("credentials", c, by)
	}
	for _, w := range r.write {
		grant("write", w, by)
	}
	if r.root && !r.then {
		if len(by) > 0 {
			grant("root", by[0], nil)
		} else {
			// An action runs what it needs itself.
			for _, p := range []string{"docker", "sudo"} {
				grant("root", p, nil)
			}
		}
	}
}

func (b *builder) job(w *workflow, j *job) error {
	for _, i := range j.images {
		b.image(i.name, i.what, origin(w.file, i.at))
	}
	if j.grants["packages"] != "" {
		b.use("github-packages", "permissions: packages", w.file, j.at)
	}
	if j.uses != "" {
		return b.reusable(w.file, j)
	}
	b.sources(j.env, origin(w.file, j.at))
	return b.steps(w.file, j.steps, j.env)
}

// image notes where a container image comes from.
func (b *builder) image(name, what string, o intent.Origin) {
	if isExpression(name) {
		b.not(o, name, "the image is named at run time")
		return
	}
	b.add(intent.Declared{Key: "use", Object: "containers", Origin: o, Why: what})
	if host := registryOf(strings.TrimPrefix(name, "docker://")); host != "" {
		b.add(intent.Declared{Key: "egress", Object: host, Origin: o, Why: what})
	}
}

// registryOf is the registry that an image's name begins with, empty for
// Docker's own: distribution/reference, a first part with a dot or a port.
func registryOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") {
		return ""
	}
	if !strings.Contains(host, ":") {
		host += ":443"
	}
	return host
}

// follow reads a file of the repository, unless it leads here already.
func (b *builder) follow(name string) (data []byte, why string) {
	if b.tree == nil {
		return nil, "a file of the repository, which was not looked at"
	}
	name = path.Clean(name)
	if !fs.ValidPath(name) || name == "." {
		return nil, "it lies outside the repository"
	}
	if slices.Contains(b.following, name) {
		return nil, "it leads back to itself"
	}
	if len(b.following) > maxDepth {
		return nil, "more than 8 files deep"
	}
	info, err := fs.Stat(b.tree, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "the repository has no such file"
	case err != nil || !info.Mode().IsRegular():
		return nil, "it cannot be read"
	case info.Size() > maxScript:
		return nil, fmt.Sprintf("larger than %d KiB", maxScript>>10)
	}
	if data, err = fs.ReadFile(b.tree, name); err != nil {
		return nil, "it cannot be read"
	}
	return data, ""
}

func (b *builder) reusable(file string, j *job) error {
	o := origin(file, j.at)
	local, ok := strings.CutPrefix(j.uses, "./")
	if !ok {
		b.not(o, j.uses, "a workflow of another repository, which was not looked at")
		return nil
	}
	data, why := b.follow(local)
	if why != "" {
		b.not(o, j.uses, why)
		return nil
	}
	w, err := readWorkflow(local, data)
	if err != nil {
		return err
	}
	b.following = append(b.following, path.Clean(local))
	defer func() { b.following = b.following[:len(b.following)-1] }()
	for i := range w.jobs {
		if err := b.job(w, &w.jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) steps(file string, steps []step, env map[string]string) error {
	for i := range steps {
		s := &steps[i]
		b.sources(s.env, origin(file, s.at))
		switch {
		case s.uses != "":
			if err := b.action(file, s, env); err != nil {
				return err
			}
		case s.run != "":
			b.run(file, s, env)
		}
	}
	return nil
}

// sourceVariables tell tools where their packages come from, or by which proxy
// they reach them: npm's and pip's configuration, uv, cmd/go (GOPROXY, a list),
// and what curl made common.
var sourceVariables = []string{
	"npm_config_registry", "NPM_CONFIG_REGISTRY", "YARN_NPM_REGISTRY_SERVER", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL",
	"UV_INDEX_URL", "UV_DEFAULT_INDEX", "GOPROXY", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY",
}

// sources grants the hosts that such variables name.
func (b *builder) sources(env map[string]string, o intent.Origin) {
	for _, name := range sourceVariables {
		for _, v := range strings.FieldsFunc(env[name], func(r rune) bool { return r == ',' || r == '|' || r == ' ' }) {
			if strings.Contains(v, "://") {
				b.destination(v, "", name, o)
			}
		}
	}
}

func (b *builder) action(file string, s *step, env map[string]string) error {
	o := origin(file, s.at)
	if isExpression(s.uses) {
		b.not(o, s.uses, "the action is named at run time")
		return nil
	}
	if strings.HasPrefix(s.uses, "docker://") {
		b.image(s.uses, s.uses, o)
		b.needs(&need{root: true}, s.uses, nil, o)
		b.not(o, s.uses, "what the image runs was not looked at")
		return nil
	}
	if local, ok := strings.CutPrefix(s.uses, "./"); ok {
		return b.local(path.Clean(local), s, env, o)
	}
	name, _, _ := strings.Cut(s.uses, "@")
	if name == "org/edamame-posture" {
		return nil
	}
	row, ok := b.cat.action(name)
	if !ok {
		b.not(o, s.uses, "an action that is not in the catalogue")
		return nil
	}
	b.needs(&row, name, nil, o)
	for _, input := range row.hostsOf {
		if v := s.with[input]; v != "" {
			b.destination(v, "", name, o)
		}
	}
	if row.opaque != "" {
		b.not(o, s.uses, "not looked at: "+row.opaque)
	}
	return nil
}

// local follows an action of the repository itself.
func (b *builder) local(dir string, s *step, env map[string]string, o intent.Origin) error {
	if b.tree == nil {
		b.not(o, s.uses, "an action of the repository, which was not looked at")
		return nil
	}
	for _, name := range []string{"action.yml", "action.yaml"} {
		file := path.Join(dir, name)
		data, why := b.follow(file)
		if why == "the repository has no such file" {
			continue
		}
		if why != "" {
			b.not(o, s.uses, why)
			return nil
		}
		steps, using, err := readAction(file, data)
		if err != nil {
			return err
		}
		if using != "composite" {
			b.not(o, s.uses, fmt.Sprintf("an action of the repository that is %s: what it runs was not looked at", using))
			return nil
		}
		b.following = append(b.following, file)
		defer func() { b.following = b.following[:len(b.following)-1] }()
		all := clone(env)
		for k, v := range s.env {
			all[k] = v
		}
		return b.steps(file, steps, all)
	}
	b.not(o, s.uses, "the repository has no action.yml there")
	return nil
}
