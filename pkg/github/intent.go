package github

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/gate"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/derive"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// Declared is what a job said it would do, and by whose word.
type Declared struct {
	*intent.Resolved        // nil where nothing was declared
	Origin           string // in words, for a person
	// File is where it was read on this machine, and Data what stood there;
	// empty where it came from elsewhere.
	File string
	Data []byte
	// Later is the file in the workspace that would count and is not there yet;
	// empty where there is none to wait for.
	Later string
	// Problems are what kept a better source away, each worth a warning.
	Problems []error
}

// ErrPolicy is a policy that somebody named and that cannot be used.
var ErrPolicy = errors.New("the policy cannot be used")

const (
	// askWithin is how long GitHub's API may keep a job from starting.
	askWithin = 4 * time.Second
	// maxTreeFiles is how many files of a repository are asked for: each is a
	// request of the job's share.
	maxTreeFiles = 20
	// maxEvent bounds the payload of a run's event, in bytes.
	maxEvent = 8 << 20
	origin   = "workspace"
)

// Declared finds what the job declared: the policy input, as text or a file of
// the repository; else the workflow itself. Files are read through GitHub's
// API, of a pull request as its base branch has them, so that nobody declares
// in the same change what the change does; else of the commit that the workflow
// is of. Where the API cannot be asked, the workflow in the workspace is taken,
// if it is there, and Origin says so: a step may have written that.
//
// An error is a policy that was named and cannot be used. What cannot be had
// otherwise is in Problems, and no reason not to watch.
func (r *Runner) Declared(ctx context.Context, in *Inputs) (*Declared, error) {
	d := &Declared{}
	ref := r.ref()
	if text := in.Policy; strings.Contains(text, "\n") || strings.Contains(text, ": ") {
		if err := d.parse("the input policy", []byte(text), in.Job, nil); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
		}
		d.Origin = "the input policy"
		return d, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	tree, err := r.tree(ctx, in.Token, ref)
	if in.Policy != "" {
		return d, d.named(r, in, tree, err, ref)
	}
	file, ok := r.workflowFile()
	if !ok {
		d.Problems = append(d.Problems, errors.New("the runner does not say which workflow this is (GITHUB_WORKFLOW_REF): nothing is declared; name a policy"))
		return d, nil
	}
	if err == nil {
		var data []byte
		if data, err = fs.ReadFile(tree, file); err == nil {
			if err = d.parse(file, data, in.Job, tree); err == nil {
				d.Origin = fmt.Sprintf("the workflow, %s at %s", file, short(ref))
				return d, nil
			}
		}
	}
	d.Problems = append(d.Problems, fmt.Errorf("what the workflow declares is not known from GitHub: %w", err))
	d.workspace(r, file, in.Job)
	return d, nil
}

// named reads the policy that the input names.
func (d *Declared) named(r *Runner, in *Inputs, tree fs.FS, err error, ref string) error {
	name := path.Clean(in.Policy)
	if !fs.ValidPath(name) {
		return fmt.Errorf("%w: %.200q is no path in the repository", ErrPolicy, in.Policy)
	}
	var data []byte
	if err == nil {
		data, err = fs.ReadFile(tree, name)
	}
	switch {
	case err == nil:
		d.Origin = fmt.Sprintf("%s at %s", name, short(ref))
		if err := d.parse(name, data, in.Job, tree); err != nil {
			return fmt.Errorf("%w: %w", ErrPolicy, err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is not in the repository at %s (of a pull request the base branch counts)", ErrPolicy, name, short(ref))
	}
	d.Problems = append(d.Problems, fmt.Errorf("%s could not be read from GitHub: %w", name, err))
	d.workspace(r, name, in.Job)
	return nil
}

// workspace reads a file that lies in the job's workspace now.
func (d *Declared) workspace(r *Runner, name, job string) {
	dir := r.Getenv("GITHUB_WORKSPACE")
	if dir == "" {
		return
	}
	d.Later = filepath.Join(dir, filepath.FromSlash(name))
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	data, err := fs.ReadFile(plain{root.FS()}, name)
	if errors.Is(err, fs.ErrNotExist) {
		return // nothing was checked out yet
	}
	d.Later = ""
	if err == nil {
		err = d.parse(name, data, job, plain{root.FS()})
	}
	if err != nil {
		d.Problems = append(d.Problems, fmt.Errorf("%s in the workspace: %w", name, err))
		return
	}
	d.File, d.Data = filepath.Join(dir, filepath.FromSlash(name)), data
	d.Origin = WorkspaceOrigin(name)
}

// WorkspaceOrigin is what is said of a file that was read in the workspace.
func WorkspaceOrigin(name string) string { return name + ", origin: " + origin }

// ParseLater reads the policy or workflow that a checkout has brought. What it
// runs of the repository is not looked at: by now a step may have written that.
func ParseLater(name string, data []byte, job string) (*intent.Resolved, error) {
	var d Declared
	if err := d.parse(name, data, job, nil); err != nil {
		return nil, err
	}
	return d.Resolved, nil
}

// parse makes the intent of a job out of a policy's or a workflow's text. A
// job that it does not have gets what stands at its top: the name is most often
// the workflow's own.
func (d *Declared) parse(name string, data []byte, job string, tree fs.FS) error {
	var p *intent.Policy
	var err error
	workflow := derive.IsWorkflow(data)
	if workflow {
		var derived *derive.Derivation
		if derived, err = derive.Workflow(name, data, tree); err == nil {
			p, err = derived.Policy()
		}
	} else {
		p, err = intent.Parse(name, data)
	}
	if err != nil {
		return err
	}
	if !slices.Contains(p.Jobs(), job) {
		// A workflow declares nothing at its top: whatever the job does would be
		// held against it.
		if workflow {
			return fmt.Errorf("%s has no job %s, which a workflow that it calls may have: name a policy", name, document.Quote(job))
		}
		job = ""
	}
	if d.Resolved, err = p.Resolve(job); err != nil {
		return err
	}
	return nil
}

// ref returns the commit at which what is declared is read.
func (r *Runner) ref() string {
	if strings.HasPrefix(r.Getenv("GITHUB_EVENT_NAME"), "pull_request") {
		var payload struct {
			PullRequest struct {
				Base struct {
					SHA string `json:"sha"`
				} `json:"base"`
			} `json:"pull_request"`
		}
		if b, err := readUpTo(r.Getenv("GITHUB_EVENT_PATH"), maxEvent); err == nil && json.Unmarshal(b, &payload) == nil && payload.PullRequest.Base.SHA != "" {
			return payload.PullRequest.Base.SHA
		}
		if base := r.Getenv("GITHUB_BASE_REF"); base != "" {
			return base
		}
	}
	return r.commit()
}

// commit returns the commit that the workflow is of.
func (r *Runner) commit() string {
	return cmp.Or(r.Getenv("GITHUB_WORKFLOW_SHA"), r.Getenv("GITHUB_SHA"))
}

// workflowFile returns the path of the workflow in the repository, which
// GITHUB_WORKFLOW_REF names as OWNER/REPO/PATH@REF.
func (r *Runner) workflowFile() (string, bool) {
	whole, _, ok := strings.Cut(r.Getenv("GITHUB_WORKFLOW_REF"), "@")
	file, ours := strings.CutPrefix(whole, r.Getenv("GITHUB_REPOSITORY")+"/")
	return file, ok && ours && fs.ValidPath(file)
}

func short(ref string) string {
	if len(ref) == 40 {
		return ref[:12]
	}
	return ref
}

func readUpTo(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}

// tree returns the files of the repository at a commit, as GitHub's API has
// them.
func (r *Runner) tree(ctx context.Context, token, ref string) (fs.FS, error) {
	repository := r.Getenv("GITHUB_REPOSITORY")
	switch {
	case token == "":
		return nil, errors.New("there is no token: leave the input token as it is, and give the job 'permissions: contents: read'")
	case ref == "":
		return nil, errors.New("the runner does not say which commit this is (GITHUB_SHA)")
	}
	hub, err := gate.NewGitHub(ctx, cmp.Or(r.Getenv("GITHUB_API_URL"), "https://api.github.com"), repository, token)
	if err != nil {
		return nil, err
	}
	return &remote{ctx: ctx, ask: hub.File, repository: repository, ref: ref, have: map[string][]byte{}}, nil
}

// remote is a repository at a commit. A file is asked for once.
type remote struct {
	ctx context.Context
	// ask is a function since this type is an interface's: with the client in it
	// the linker would keep all that GitHub's API has, 2 MB.
	ask             func(ctx context.Context, repository, name, ref string) ([]byte, error)
	repository, ref string
	have            map[string][]byte
	asked           int
}

// Open implements [fs.FS] for files; folders are not listed.
func (t *remote) Open(name string) (fs.File, error) {
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	data, ok := t.have[name]
	if !ok {
		if t.asked++; t.asked > maxTreeFiles {
			return fail(fmt.Errorf("more than %d files of the repository would be asked for", maxTreeFiles))
		}
		var err error
		// The hub ends with ctx, and then knows what the answer was.
		data, err = t.ask(context.WithoutCancel(t.ctx), t.repository, name, t.ref)
		var service *attest.ServiceError
		switch {
		case notFound(err):
			data = nil
		case errors.As(err, &service) && (service.Status == http.StatusUnauthorized || service.Status == http.StatusForbidden):
			return fail(fmt.Errorf("%w: the job needs 'permissions: contents: read'", err))
		case err != nil:
			return fail(err)
		}
		t.have[name] = data
	}
	if data == nil {
		return fail(fs.ErrNotExist)
	}
	return &memory{name: path.Base(name), size: int64(len(data)), Reader: bytes.NewReader(data)}, nil
}

func notFound(err error) bool {
	var answer *github.ErrorResponse
	return errors.As(err, &answer) && answer.Response != nil && answer.Response.StatusCode == http.StatusNotFound
}

// memory is a file that was read already.
type memory struct {
	*bytes.Reader
	name string
	size int64
}

// Stat implements [fs.File]; the rest is [fs.FileInfo].
func (m *memory) Stat() (fs.FileInfo, error) { return m, nil }
func (m *memory) Close() error               { return nil }
func (m *memory) Name() string               { return m.name }
func (m *memory) Size() int64                { return m.size }
func (m *memory) Mode() fs.FileMode          { return 0o444 }
func (m *memory) ModTime() time.Time         { return time.Time{} }
func (m *memory) IsDir() bool                { return false }
func (m *memory) Sys() any                   { return nil }

// plain is a tree of which regular files of a bearable size are read, and
// nothing else is opened: a FIFO would never end.
type plain struct{ fs.FS }

// Open implements [fs.FS].
func (p plain) Open(name string) (fs.File, error) {
	st, err := fs.Stat(p.FS, name)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > document.MaxBytes) {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file, or too large")}
	}
	if err != nil {
		return nil, err
	}
	return p.FS.Open(name)
}
