package github

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/report"
)

const (
	workflowText = `on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: curl -sSf https://declared.example/x
      - run: ./more.sh
`
	policyText = "version: 1\negress: [\"api.example:443\"]\n"
	policyPath = ".github/posture.yml"
	flowPath   = ".github/workflows/ci.yml"
	headSHA    = "1111111111111111111111111111111111111111"
	baseSHA    = "2222222222222222222222222222222222222222"
)

// api stands for GitHub's contents API: files by REF:PATH.
type api struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	status int // of each answer; 0 for what is there
	hang   bool
}

func newAPI(t *testing.T, files map[string]string) *api {
	t.Helper()
	a := &api{}
	over := make(chan struct{})
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name, ok := strings.CutPrefix(req.URL.Path, "/repos/octo/app/contents/")
		if !ok || req.Header.Get("Authorization") != "Bearer t0ken" {
			http.Error(w, `{"message":"Bad credentials"}`, http.StatusUnauthorized)
			return
		}
		key := req.URL.Query().Get("ref") + ":" + name
		a.mu.Lock()
		a.asked = append(a.asked, key)
		a.mu.Unlock()
		if a.hang {
			select {
			case <-over:
			case <-req.Context().Done():
			}
			return
		}
		if a.status != 0 {
			http.Error(w, `{"message":"no"}`, a.status)
			return
		}
		text, ok := files[key]
		if !ok {
			http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"type": "file", "encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(text))})
	}))
	t.Cleanup(func() { close(over); a.Close() })
	return a
}

// job is a step of a job whose repository stands at the API.
func (a *api) job(t *testing.T) *step {
	t.Helper()
	s := newStep(t)
	for k, v := range map[string]string{
		"GITHUB_API_URL": a.URL, "GITHUB_EVENT_NAME": "push", "GITHUB_SHA": headSHA, "GITHUB_WORKFLOW_SHA": headSHA,
		"GITHUB_WORKFLOW_REF": "octo/app/" + flowPath + "@refs/heads/main", "GITHUB_WORKSPACE": t.TempDir(),
	} {
		s.env[k] = v
	}
	return s
}

func (s *step) declared(t *testing.T, in Inputs) (*Declared, error) {
	t.Helper()
	in.Token, in.Job = "t0ken", "build"
	return s.runner().Declared(t.Context(), &in)
}

func TestWhatAJobDeclaresIsReadWhereNoStepCanChangeIt(t *testing.T) {
	a := newAPI(t, map[string]string{
		headSHA + ":" + flowPath: workflowText, headSHA + ":more.sh": "curl -sSf https://from-the-script.example/y\n",
		baseSHA + ":" + flowPath:   strings.Replace(workflowText, "declared.example", "base.example", 1),
		headSHA + ":" + policyPath: policyText, baseSHA + ":" + policyPath: strings.Replace(policyText, "api.", "base.", 1),
	})
	for _, c := range []struct {
		name, policy string
		pull         bool
		want, origin string
	}{
		{"the workflow, and a script that it runs", "", false, "from-the-script.example", "the workflow, " + flowPath + " at 111111111111"},
		{"the workflow of the base branch", "", true, "base.example", "the workflow, " + flowPath + " at 222222222222"},
		{"a policy by its path", policyPath, false, "api.example", policyPath + " at 111111111111"},
		{"a policy by its path, of the base branch", policyPath, true, "base.example", policyPath + " at 222222222222"},
		{"a policy's text", policyText, true, "api.example", "the input policy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := a.job(t)
			if c.pull {
				event := filepath.Join(t.TempDir(), "event.json")
				if err := os.WriteFile(event, []byte(`{"pull_request":{"base":{"sha":"`+baseSHA+`"}}}`), 0o644); err != nil {
					t.Fatal(err)
				}
				s.env["GITHUB_EVENT_NAME"], s.env["GITHUB_EVENT_PATH"] = "pull_request", event
			}
			d, err := s.declared(t, Inputs{Policy: c.policy})
			if err != nil || len(d.Problems) > 0 {
				t.Fatal(err, d)
			}
			if d.Resolved == nil || !strings.Contains(string(d.Canonical()), c.want) || d.Origin != c.origin || d.File != "" {
				t.Errorf("from %q: %s", d.Origin, d.Canonical())
			}
		})
	}
}

func TestAPolicyThatWasNamedAndCannotBeUsedIsAnError(t *testing.T) {
	a := newAPI(t, map[string]string{headSHA + ":broken.yml": "version: 1\negres: []\n"})
	for _, c := range []struct{ policy, want string }{
		{"version: 1\negres: []\n", "the input policy:2:1"},
		{"broken.yml", "broken.yml:2:1"},
		{"missing.yml", "missing.yml is not in the repository at 111111111111"},
		{"../outside.yml", "is no path in the repository"},
	} {
		if _, err := a.job(t).declared(t, Inputs{Policy: c.policy}); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.policy, err, c.want)
		}
	}
}

// What cannot be had is told, and the job goes on with what its workspace has.
func TestWithoutTheAPITheWorkspaceIsReadAndSaysSo(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(*testing.T, *api, *step)
		want string
	}{
		{"the right is missing", func(_ *testing.T, a *api, _ *step) { a.status = 403 }, "contents: read"},
		{"the rate is limited", func(_ *testing.T, a *api, _ *step) { a.status = 429 }, "429"},
		{"it is down", func(_ *testing.T, a *api, _ *step) { a.status = 502 }, "502"},
		{"it hangs", func(_ *testing.T, a *api, _ *step) { a.hang = true }, "deadline"},
		{"nobody listens", func(_ *testing.T, _ *api, s *step) { s.env["GITHUB_API_URL"] = "http://127.0.0.1:1" }, "refused"},
		{"the file is not there", func(*testing.T, *api, *step) {}, "does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, nil)
			for _, there := range []bool{true, false} {
				s := a.job(t)
				c.make(t, a, s)
				file := filepath.Join(s.env["GITHUB_WORKSPACE"], flowPath)
				if there {
					if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(workflowText), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
				defer cancel()
				d, err := s.runner().Declared(ctx, &Inputs{Token: "t0ken", Job: "build"})
				if err != nil || len(d.Problems) != 1 || !strings.Contains(d.Problems[0].Error(), c.want) {
					t.Fatalf("%v, %v, want %q", err, d.Problems, c.want)
				}
				if there && (d.File != file || d.Origin != flowPath+", origin: workspace" || !strings.Contains(string(d.Canonical()), "declared.example")) {
					t.Errorf("%q from %q", d.File, d.Origin)
				}
				if !there && (d.Resolved != nil || d.File != "") {
					t.Errorf("nothing is there, and it declares %q", d.Origin)
				}
			}
		})
	}
}

// Whatever lies in the workspace, reading it ends.
func TestAWorkspaceThatIsATrapIsNotWaitedFor(t *testing.T) {
	a := newAPI(t, nil)
	a.status = 403
	for _, c := range []struct {
		name string
		make func(t *testing.T, file string) error
	}{
		{"a pipe", func(_ *testing.T, file string) error { return unix.Mkfifo(file, 0o644) }},
		{"a link out of it", func(_ *testing.T, file string) error { return os.Symlink("/etc/passwd", file) }},
		{"a folder", func(_ *testing.T, file string) error { return os.Mkdir(file, 0o755) }},
		{"a huge file", func(_ *testing.T, file string) error {
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(file, 1<<40)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := a.job(t)
			file := filepath.Join(s.env["GITHUB_WORKSPACE"], flowPath)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.make(t, file); err != nil {
				t.Fatal(err)
			}
			d, err := s.declared(t, Inputs{})
			if err != nil || d.Resolved != nil || len(d.Problems) != 2 {
				t.Errorf("%v, %v, %q", err, d.Problems, d.Origin)
			}
		})
	}
}

// A job of a workflow that this one calls is not in its text.
func TestAJobThatTheWorkflowDoesNotHaveDeclaresNothing(t *testing.T) {
	a := newAPI(t, map[string]string{headSHA + ":" + flowPath: workflowText})
	d, err := a.job(t).runner().Declared(t.Context(), &Inputs{Token: "t0ken", Job: "called"})
	if err != nil || d.Resolved != nil || len(d.Problems) != 1 || !strings.Contains(d.Problems[0].Error(), `has no job "called"`) {
		t.Errorf("%v, %v", err, d)
	}
}

func TestARepositoryIsAskedForFewFiles(t *testing.T) {
	var flow strings.Builder
	flow.WriteString("on: push\njobs:\n  build:\n    runs-on: x\n    steps:\n")
	for range 3 {
		for c := 'a'; c <= 'z'; c++ {
			flow.WriteString("      - run: ./" + string(c) + ".sh\n")
		}
	}
	a := newAPI(t, map[string]string{headSHA + ":" + flowPath: flow.String()})
	if d, err := a.job(t).declared(t, Inputs{}); err != nil || d.Resolved == nil {
		t.Fatal(err, d)
	}
	if len(a.asked) != maxTreeFiles {
		t.Errorf("%d files were asked for, want %d", len(a.asked), maxTreeFiles)
	}
}

// The lines are those of the commit that runs: of a pull request not the base's,
// whose workflow is what counts as declared.
func TestTheStepsAreThoseOfTheCommitThatRuns(t *testing.T) {
	a := newAPI(t, map[string]string{headSHA + ":" + flowPath: workflowText, baseSHA + ":" + flowPath: "# longer\n" + workflowText})
	s := a.job(t)
	want := func(first int) {
		t.Helper()
		got := s.runner().Steps(t.Context(), "t0ken")
		for id, line := range map[string]int{"__run": first, "__run_2": first + 1} {
			if got[id] != (report.Place{File: flowPath, Line: line}) {
				t.Errorf("%s stands at %+v, want line %d", id, got[id], line)
			}
		}
	}
	want(6)
	event := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(event, []byte(`{"pull_request":{"base":{"sha":"`+baseSHA+`"}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	s.env["GITHUB_EVENT_NAME"], s.env["GITHUB_EVENT_PATH"] = "pull_request", event
	want(6)

	// Where the API does not answer, the workspace has it.
	a.status = http.StatusInternalServerError
	if got := s.runner().Steps(t.Context(), "t0ken"); len(got) > 0 {
		t.Errorf("nobody has the file, and it is %v", got)
	}
	file := filepath.Join(s.env["GITHUB_WORKSPACE"], flowPath)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("\n\n"+workflowText), 0o644)); err != nil {
		t.Fatal(err)
	}
	want(8)
	s.env["GITHUB_JOB"] = "other"
	if got := s.runner().Steps(t.Context(), ""); len(got) > 0 {
		t.Errorf("of a job that is not there: %v", got)
	}
	s.env["GITHUB_JOB"] = "build"
	for name, trap := range map[string]func() error{
		"a FIFO":          func() error { return unix.Mkfifo(file, 0o644) },
		"a link out":      func() error { return os.Symlink("/etc/passwd", file) },
		"no YAML":         func() error { return os.WriteFile(file, []byte("{"), 0o644) },
		"a huge file":     func() error { return errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 1<<30)) },
		"nothing at all":  func() error { return nil },
		"another's steps": func() error { s.env["GITHUB_WORKFLOW_REF"] = "evil/app/" + flowPath + "@x"; return nil },
	} {
		if err := errors.Join(os.Remove(file), trap()); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if got := s.runner().Steps(t.Context(), ""); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}
