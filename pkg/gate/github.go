package gate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"
	"github.com/klauspost/compress/snappy"

	"github.com/org/edamame-posture/pkg/attest"
)

// GitHub asks one repository of GitHub's API.
type GitHub struct {
	client      *github.Client
	owner, repo string
}

// Bounds of what is asked for.
const (
	maxPages   = 10
	maxRunJobs = 1000
)

// NewGitHub returns a client. base is the API's URL, such as
// https://api.github.com; repository is OWNER/REPO; token may be empty. A
// service that is down is asked until ctx ends.
func NewGitHub(ctx context.Context, base, repository, token string) (*GitHub, error) {
	u, err := url.Parse(strings.TrimRight(base, "/") + "/")
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%.200q is not the URL of an API", base)
	}
	owner, repo, ok := strings.Cut(repository, "/")
	if !ok || owner == "" || repo == "" || strings.Contains(repo, "/") {
		return nil, fmt.Errorf("repository %.200q: want OWNER/REPO", repository)
	}
	c := github.NewClient(&http.Client{Transport: attest.Transport(ctx, "GitHub", nil)})
	c.BaseURL = u
	if token != "" {
		c = c.WithAuthToken(token)
	}
	return &GitHub{c, owner, repo}, nil
}

// Attestations returns what the repository's store has about an artifact.
func (g *GitHub) Attestations(ctx context.Context, sha256 string) ([]Candidate, error) {
	var out []Candidate
	at := fmt.Sprintf("repos/%s/%s/attestations/sha256:%s?per_page=100", url.PathEscape(g.owner), url.PathEscape(g.repo), sha256)
	for page := 0; at != ""; page++ {
		if page == maxPages {
			return nil, fmt.Errorf("GitHub holds more than %d attestations of %s: name the one that counts as a file", maxPages*100, sha256)
		}
		var answer struct {
			Attestations []struct {
				Bundle    json.RawMessage `json:"bundle"`
				BundleURL string          `json:"bundle_url"`
			} `json:"attestations"`
		}
		resp, err := g.do(ctx, http.MethodGet, at, nil, &answer)
		if resp != nil && resp.StatusCode == http.StatusNotFound {
			return out, nil // it has none
		}
		if err != nil {
			return nil, fmt.Errorf("attestations of %s: %w", sha256, err)
		}
		for _, a := range answer.Attestations {
			c := Candidate{Where: fmt.Sprintf("GitHub, %s/%s, number %d", g.owner, g.repo, len(out)+1), Bundle: a.Bundle}
			if len(a.Bundle) == 0 || string(a.Bundle) == "null" {
				if c.Bundle, err = fetchBundle(ctx, a.BundleURL); err != nil {
					return nil, err
				}
			}
			if out = append(out, c); len(out) > maxCandidates {
				return nil, fmt.Errorf("GitHub holds more than %d attestations of %s", maxCandidates, sha256)
			}
		}
		at = nextPage(resp)
	}
	return out, nil
}

// nextPage returns the link to the next page, which has a cursor.
func nextPage(resp *github.Response) string {
	for _, link := range strings.Split(resp.Header.Get("Link"), ",") {
		target, rel, ok := strings.Cut(link, ";")
		if ok && strings.TrimSpace(rel) == `rel="next"` {
			return strings.Trim(strings.TrimSpace(target), "<>")
		}
	}
	return ""
}

// fetchBundle gets a bundle that stands elsewhere, compressed with snappy. Its
// URL has its own right of access, so no token goes there.
func fetchBundle(ctx context.Context, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("bundle_url is not a URL")
	}
	resp, err := (&http.Client{Transport: attest.Transport(ctx, "GitHub", nil)}).Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is a secret
		}
		return nil, fmt.Errorf("bundle_url: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("bundle_url: %s", resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxStatement+1))
	if err != nil {
		return nil, fmt.Errorf("bundle_url: %w", err)
	}
	if n, err := snappy.DecodedLen(b); err != nil || n > maxStatement || len(b) > maxStatement {
		return nil, fmt.Errorf("bundle_url: not a bundle in snappy of %d bytes at most", maxStatement)
	}
	return snappy.Decode(nil, b)
}

// Jobs lists the jobs of an attempt of a run; with those that were kept from an
// earlier one.
func (g *GitHub) Jobs(ctx context.Context, run string) ([]Job, error) {
	base, attempt, ok := parseRun(run)
	_, id, _ := strings.Cut(base, "/actions/runs/")
	if !ok || !strings.HasSuffix(strings.TrimSuffix(base, "/actions/runs/"+id), "/"+g.owner+"/"+g.repo) {
		return nil, fmt.Errorf("%.300q is not a run of %s/%s", run, g.owner, g.repo)
	}
	var out []Job
	for page := 1; page <= maxPages; page++ {
		var answer struct {
			Total int `json:"total_count"`
			Jobs  []struct {
				ID         int64     `json:"id"`
				Name       string    `json:"name"`
				RunID      int64     `json:"run_id"`
				Attempt    int64     `json:"run_attempt"`
				Status     string    `json:"status"`
				Conclusion string    `json:"conclusion"`
				Started    time.Time `json:"started_at"`
			} `json:"jobs"`
		}
		at := fmt.Sprintf("repos/%s/%s/actions/runs/%s/attempts/%s/jobs?per_page=100&page=%d", url.PathEscape(g.owner), url.PathEscape(g.repo), id, attempt, page)
		if _, err := g.do(ctx, http.MethodGet, at, nil, &answer); err != nil {
			return nil, fmt.Errorf("jobs of %s: %w", run, err)
		}
		for _, j := range answer.Jobs {
			if strconv.FormatInt(j.RunID, 10) != id {
				return nil, fmt.Errorf("jobs of %s: the answer is of another run", run)
			}
			out = append(out, Job{j.ID, j.Name, j.Attempt, j.Status, j.Conclusion, j.Started})
		}
		if len(out) >= answer.Total {
			return out, nil
		}
		if len(answer.Jobs) == 0 {
			break
		}
	}
	return nil, fmt.Errorf("jobs of %s: the list is not whole, or has more than %d", run, maxRunJobs)
}

// File returns a file of a repository, OWNER/REPO, at a commit.
func (g *GitHub) File(ctx context.Context, repository, path, commit string) ([]byte, error) {
	owner, repo, ok := strings.Cut(repository, "/")
	if !ok || strings.Contains(repo, "/") {
		return nil, fmt.Errorf("repository %.200q: want OWNER/REPO", repository)
	}
	var answer struct {
		Type     string `json:"type"`
		Encoding string `json:"encoding"`
		Content  string `json:"content"`
	}
	at := fmt.Sprintf("repos/%s/%s/contents/%s?ref=%s", url.PathEscape(owner), url.PathEscape(repo), (&url.URL{Path: path}).EscapedPath(), url.QueryEscape(commit))
	if _, err := g.do(ctx, http.MethodGet, at, nil, &answer); err != nil {
		return nil, fmt.Errorf("%s of %s: %w", path, repository, err)
	}
	if answer.Type != "file" || answer.Encoding != "base64" {
		return nil, fmt.Errorf("%s of %s is no file, or too large", path, repository)
	}
	return base64.StdEncoding.DecodeString(strings.ReplaceAll(answer.Content, "\n", ""))
}

// do makes one request. An error of the client is put in plain words.
func (g *GitHub) do(ctx context.Context, method, at string, body, answer any) (*github.Response, error) {
	req, err := g.client.NewRequest(method, at, body)
	if err != nil {
		return nil, err
	}
	if req.URL.Host != g.client.BaseURL.Host || req.URL.Scheme != g.client.BaseURL.Scheme {
		return nil, fmt.Errorf("GitHub sends us to another host: %.100q", req.URL.Host)
	}
	resp, err := g.client.Do(ctx, req, answer)
	var service *attest.ServiceError
	var limit *github.RateLimitError // without being asked: the answer before said so
	if errors.As(err, &limit) {
		return resp, fmt.Errorf("%w: %w", attest.ErrUnavailable, err)
	}
	if errors.As(err, &service) && !service.Limited && (service.Status == http.StatusForbidden || service.Status == http.StatusUnauthorized) {
		return resp, fmt.Errorf("%w (does the token have the right: attestations: read, actions: read, checks: write, deployments: write?)", err)
	}
	return resp, err
}

// CheckRun puts the decision on a commit, as a check run that a ruleset can
// require. name is the check's.
func (g *GitHub) CheckRun(ctx context.Context, name, commit string, d *Decision) error {
	conclusion := map[Status]string{Passed: "success", Refused: "failure", Unknown: "action_required"}[d.Outcome]
	var text strings.Builder
	if err := d.Markdown(&text); err != nil {
		return err
	}
	body := map[string]any{
		"name": name, "head_sha": commit, "status": "completed", "conclusion": conclusion,
		"completed_at": d.Time.Format("2006-01-02T15:04:05Z"),
		"output":       map[string]string{"title": d.title(), "summary": text.String()},
	}
	_, err := g.do(ctx, http.MethodPost, fmt.Sprintf("repos/%s/%s/check-runs", url.PathEscape(g.owner), url.PathEscape(g.repo)), body, nil)
	if err != nil {
		return fmt.Errorf("check run: %w", err)
	}
	return nil
}

// maxComment bounds the comment of a deployment's review, in bytes.
const maxComment = 1000

// ReviewDeployment answers a custom deployment protection rule. What could not
// be checked is not answered, so that the deployment waits: it gets a comment.
func (g *GitHub) ReviewDeployment(ctx context.Context, callback, environment string, d *Decision) error {
	want := g.client.BaseURL.JoinPath("repos", g.owner, g.repo, "actions", "runs").String() + "/"
	id, ok := strings.CutSuffix(strings.TrimPrefix(callback, want), "/deployment_protection_rule")
	if _, err := strconv.ParseUint(id, 10, 64); err != nil || !ok || !strings.HasPrefix(callback, want) {
		return fmt.Errorf("deployment callback %.200q: want %sID/deployment_protection_rule", callback, want)
	}
	comment := d.title()
	for _, list := range d.all() {
		for i := range list {
			if c := &list[i]; c.Status == Refused || c.Status == Unknown {
				comment += fmt.Sprintf("\n%s: %s (%s)", markup(c.Name), markup(c.Got), c.Reason)
			}
		}
	}
	if len(comment) > maxComment {
		comment = comment[:maxComment]
	}
	body := map[string]string{"environment_name": environment, "comment": comment}
	switch d.Outcome {
	case Passed:
		body["state"] = "approved"
	case Refused:
		body["state"] = "rejected"
	}
	if _, err := g.do(ctx, http.MethodPost, strings.TrimPrefix(callback, g.client.BaseURL.String()), body, nil); err != nil {
		return fmt.Errorf("deployment: %w", err)
	}
	return nil
}

// title is the decision in one line, without anything that a job wrote.
func (d *Decision) title() string {
	s := fmt.Sprintf("%s, level %s", d.Outcome, d.Level)
	for _, r := range d.Reasons {
		s += ", " + string(r)
	}
	return s
}

func (d *Decision) all() [][]Check {
	out := [][]Check{d.Checks}
	for _, s := range d.Statements {
		out = append(out, s.Checks)
	}
	return out
}
