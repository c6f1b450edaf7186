package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pulls stands for GitHub with a pull request that has comments, and the runs
// of its base branch.
type pulls struct {
	comments []map[string]any
	runs     string
	fault    func(method, path string) (status int, header http.Header)
	asked    []string
}

func (p *pulls) serve(t *testing.T) *Run {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p.asked = append(p.asked, req.Method+" "+req.URL.Path)
		if p.fault != nil {
			if status, header := p.fault(req.Method, req.URL.Path); status != 0 {
				for k := range header {
					w.Header().Set(k, header.Get(k))
				}
				http.Error(w, `{"message":"no"}`, status)
				return
			}
		}
		var id int
		_, isArtifact := fmt.Sscanf(req.URL.Path, "/repos/octo/app/actions/artifacts/%d/zip", &id)
		switch {
		case req.Method == http.MethodGet && req.URL.Path == "/repos/octo/app/issues/7/comments":
			_ = json.NewEncoder(w).Encode(p.comments)
		case req.Method == http.MethodPost && req.URL.Path == "/repos/octo/app/issues/7/comments":
			var c map[string]any
			_ = json.NewDecoder(req.Body).Decode(&c)
			c["id"], c["user"] = 100+len(p.comments), map[string]any{"type": "Bot"}
			p.comments = append(p.comments, c)
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(c)
		case req.Method == http.MethodPatch && strings.HasPrefix(req.URL.Path, "/repos/octo/app/issues/comments/"):
			var c map[string]any
			_ = json.NewDecoder(req.Body).Decode(&c)
			for _, have := range p.comments {
				if strings.HasSuffix(req.URL.Path, fmt.Sprintf("/%v", have["id"])) {
					have["body"] = c["body"]
					_ = json.NewEncoder(w).Encode(have)
				}
			}
		case req.URL.Path == "/repos/octo/app/actions/workflows/ci.yml/runs" && req.URL.Query().Get("branch") == "main" && req.URL.Query().Get("status") == "success":
			fmt.Fprint(w, p.runs)
		case strings.HasSuffix(req.URL.Path, "/artifacts"):
			fmt.Fprint(w, `{"artifacts":[{"id":1,"name":"posture-build-0"},{"id":2,"name":"posture-other-0"}]}`)
		case isArtifact == nil:
			http.Redirect(w, req, s.URL+"/blob", http.StatusFound)
		case req.URL.Path == "/blob":
			_, _ = w.Write(packed(t, "verdict.json"))
		default:
			http.NotFound(w, req)
		}
	}))
	t.Cleanup(s.Close)
	return &Run{API: s.URL, Repository: "octo/app", Token: "t0ken"}
}

func TestAPullRequestIsReadFromTheRunsEvent(t *testing.T) {
	s := newStep(t)
	file := filepath.Join(t.TempDir(), "event.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.env["GITHUB_EVENT_PATH"], s.env["GITHUB_REPOSITORY"] = file, "octo/app"
	s.env["GITHUB_WORKFLOW_REF"] = "octo/app/.github/workflows/ci.yml@refs/pull/7/merge"
	s.env["GITHUB_EVENT_NAME"] = "push"
	if _, err := s.runner().Pull(); !errors.Is(err, ErrNoPull) {
		t.Errorf("a push: %v", err)
	}
	s.env["GITHUB_EVENT_NAME"] = "pull_request"
	write(`{"pull_request":{"number":7,"base":{"ref":"main"}}}`)
	if p, err := s.runner().Pull(); err != nil || *p != (Pull{7, "main", "ci.yml"}) {
		t.Errorf("%+v %v", p, err)
	}
	for _, text := range []string{"", "{}", `{"pull_request":{"number":-1,"base":{"ref":"main"}}}`, `{"pull_request":{"number":7}}`} {
		write(text)
		if p, err := s.runner().Pull(); err == nil {
			t.Errorf("%s: %+v", text, p)
		}
	}
}

func TestACommentIsMadeOnceAndKeptUpToDate(t *testing.T) {
	p := &pulls{comments: []map[string]any{
		{"id": 1, "body": "<!-- edamame-posture a -->\nby somebody", "user": map[string]any{"type": "User"}},
		{"id": 2, "body": "<!-- edamame-posture ab -->\nof another job", "user": map[string]any{"type": "Bot"}},
	}}
	of := p.serve(t)
	pull := &Pull{7, "main", "ci.yml"}
	for _, body := range []string{"<!-- edamame-posture a -->\nfirst", "<!-- edamame-posture a -->\nsecond", "<!-- edamame-posture a -->\nsecond"} {
		if err := pull.Comment(t.Context(), of, body); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.comments) != 3 || p.comments[2]["body"] != "<!-- edamame-posture a -->\nsecond" || !strings.HasSuffix(p.comments[0]["body"].(string), "somebody") {
		t.Errorf("comments are %v", p.comments)
	}
	patches := 0
	for _, a := range p.asked {
		if strings.HasPrefix(a, http.MethodPatch) {
			patches++
		}
	}
	if patches != 1 {
		t.Errorf("it was written over %d times, want once: %q", patches, p.asked)
	}
}

func TestRunsThatAForkCanMakeAreNoneOfTheBases(t *testing.T) {
	p := &pulls{runs: `{"workflow_runs":[
		{"id":1,"event":"pull_request","head_repository":{"full_name":"octo/app"},"html_url":"u1"},
		{"id":2,"event":"push","head_repository":{"full_name":"evil/app"},"html_url":"u2"},
		{"id":3,"event":"push","head_repository":{"full_name":"octo/app"},"html_url":"u3"},
		{"id":4,"event":"schedule","head_repository":{"full_name":"octo/app"},"html_url":"u4"},
		{"id":5,"event":"push","head_repository":{"full_name":"octo/app"},"html_url":"u5"},
		{"id":6,"event":"push","head_repository":{"full_name":"octo/app"},"html_url":"u6"}]}`}
	dir := t.TempDir()
	got, err := (&Pull{7, "main", "ci.yml"}).BaseRuns(t.Context(), p.serve(t), "posture-build-0", dir)
	if err != nil || len(got) != maxBaseRuns {
		t.Fatal(got, err)
	}
	for i, want := range []string{"u3", "u4", "u5"} {
		if _, err := os.Stat(filepath.Join(got[i].Dir, "verdict.json")); got[i].URL != want || err != nil {
			t.Errorf("run %d is %+v, want %s: %v", i, got[i], want, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "3", "posture-other-0")); err == nil {
		t.Error("another job's results were fetched too")
	}
}

func TestWhatGitHubRefusesIsToldWithWhatItNeeds(t *testing.T) {
	pull := &Pull{7, "main", "ci.yml"}
	for _, c := range []struct {
		name, want string
		status     int
		header     http.Header
	}{
		{"a missing permission", "permissions: pull-requests: write", 403, nil},
		{"a rate limit", "asks to wait", 403, http.Header{"Retry-After": {"600"}}},
		{"a server that is down", "is not available", 503, nil},
		{"a comment that GitHub does not take", "refused", 422, nil},
	} {
		p := &pulls{fault: func(method, _ string) (int, http.Header) {
			if method == http.MethodPost {
				return c.status, c.header
			}
			return 0, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := pull.Comment(ctx, p.serve(t), "<!-- a -->\nb")
		cancel()
		if err == nil || !strings.Contains(err.Error(), c.want) || c.status == 403 && c.header == nil != strings.Contains(err.Error(), "pull-requests") {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(p.comments) != 0 {
			t.Errorf("%s: %v", c.name, p.comments)
		}
	}
	p := &pulls{fault: func(_, path string) (int, http.Header) {
		if strings.HasSuffix(path, "/runs") {
			return 403, nil
		}
		return 0, nil
	}}
	if _, err := pull.BaseRuns(t.Context(), p.serve(t), "posture-build-0", t.TempDir()); err == nil || !strings.Contains(err.Error(), "actions: read") {
		t.Errorf("no right to read runs: %v", err)
	}
	if _, err := pull.BaseRuns(t.Context(), (&pulls{runs: `{"workflow_runs":[]}`}).serve(t), "posture-build-0", t.TempDir()); err == nil || !strings.Contains(err.Error(), "no run of main") {
		t.Errorf("a base without runs: %v", err)
	}
}
