package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/org/edamame-posture/pkg/attest"
)

// Pull is a pull request whose job is compared with those of its base branch.
// It is read before the job's first step, since later ones can change the file
// that it stands in.
type Pull struct {
	Number   int    `json:"number"`
	Base     string `json:"base"`     // branch
	Workflow string `json:"workflow"` // file name
}

// ErrNoPull is a run that no pull request has started.
var ErrNoPull = errors.New("this run is of no pull request")

// Pull returns the pull request that the job is of.
func (r *Runner) Pull() (*Pull, error) {
	if !strings.HasPrefix(r.Getenv("GITHUB_EVENT_NAME"), "pull_request") {
		return nil, ErrNoPull
	}
	var payload struct {
		PullRequest struct {
			Number int `json:"number"`
			Base   struct {
				Ref string `json:"ref"`
			} `json:"base"`
		} `json:"pull_request"`
	}
	b, err := readUpTo(r.Getenv("GITHUB_EVENT_PATH"), maxEvent)
	if err == nil {
		err = json.Unmarshal(b, &payload)
	}
	p := &Pull{Number: payload.PullRequest.Number, Base: payload.PullRequest.Base.Ref}
	file, ok := r.workflowFile()
	switch {
	case err != nil:
		return nil, fmt.Errorf("the run's event: %w", err)
	case p.Number <= 0 || p.Base == "":
		return nil, errors.New("the run's event names no pull request")
	case !ok:
		return nil, errors.New("the runner does not say which workflow this is (GITHUB_WORKFLOW_REF)")
	}
	p.Workflow = path.Base(file)
	return p, nil
}

// Bounds of what is asked about a pull request.
const (
	maxBaseRuns     = 3
	maxRunsLooked   = 30
	maxCommentPages = 20
)

// BaseRun is the results of a run of the base branch.
type BaseRun struct {
	URL string
	Dir string // folder of results
}

// BaseRuns fetches the results of one job in the newest runs of the base branch
// that went well, into folders below dir. A run that a pull request has started
// is none of them, whatever its branch is called: a fork chooses that name.
func (p *Pull) BaseRuns(ctx context.Context, of *Run, artifact, dir string) ([]BaseRun, error) {
	c, err := (&Attestations{API: of.API, Repository: of.Repository, Token: of.Token}).client(ctx)
	if err != nil {
		return nil, err
	}
	owner, repo, _ := strings.Cut(of.Repository, "/")
	list, _, err := c.Actions.ListWorkflowRunsByFileName(ctx, owner, repo, p.Workflow, &github.ListWorkflowRunsOptions{
		Branch: p.Base, Status: "success", ExcludePullRequests: true, ListOptions: github.ListOptions{PerPage: maxRunsLooked},
	})
	if err != nil {
		return nil, fmt.Errorf("the runs of %s: %w", p.Base, wants(err, "actions: read"))
	}
	var out []BaseRun
	var last error
	for _, run := range list.WorkflowRuns {
		if len(out) == maxBaseRuns {
			break
		}
		if strings.HasPrefix(run.GetEvent(), "pull_request") || run.GetHeadRepository().GetFullName() != of.Repository {
			continue
		}
		to := filepath.Join(dir, strconv.FormatInt(run.GetID(), 10))
		one := *of
		one.ID, one.Name = run.GetID(), artifact
		if _, err := one.Fetch(ctx, to); err != nil {
			if last = err; !errors.Is(err, ErrNoResults) {
				return out, err
			}
			continue
		}
		out = append(out, BaseRun{run.GetHTMLURL(), filepath.Join(to, artifact)})
	}
	if len(out) == 0 {
		if last == nil {
			last = errors.New("none of this workflow went well there")
		}
		return nil, fmt.Errorf("no run of %s has results of this job: %w", p.Base, last)
	}
	return out, nil
}

// Comment writes a comment on the pull request, over the one that begins with
// the same line where a bot has made that: anybody can write the line.
func (p *Pull) Comment(ctx context.Context, of *Run, body string) error {
	c, err := (&Attestations{API: of.API, Repository: of.Repository, Token: of.Token}).client(ctx)
	if err != nil {
		return err
	}
	owner, repo, _ := strings.Cut(of.Repository, "/")
	marker, _, _ := strings.Cut(body, "\n")
	opt := &github.IssueListCommentsOptions{ListOptions: github.ListOptions{PerPage: 100}}
	for page := 0; page < maxCommentPages; page++ {
		list, resp, err := c.Issues.ListComments(ctx, owner, repo, p.Number, opt)
		if err != nil {
			return wants(err, "pull-requests: write")
		}
		for _, have := range list {
			first, _, _ := strings.Cut(have.GetBody(), "\n")
			if strings.TrimSuffix(first, "\r") != marker || have.GetUser().GetType() != "Bot" {
				continue
			}
			if have.GetBody() == body {
				return nil
			}
			_, _, err := c.Issues.EditComment(ctx, owner, repo, have.GetID(), &github.IssueComment{Body: &body})
			return wants(err, "pull-requests: write")
		}
		if opt.Page = resp.NextPage; opt.Page == 0 {
			break
		}
	}
	_, _, err = c.Issues.CreateComment(ctx, owner, repo, p.Number, &github.IssueComment{Body: &body})
	return wants(err, "pull-requests: write")
}

// wants adds the permission that is missing, and takes off the URL.
func wants(err error, permission string) error {
	err = bare(err)
	var e *attest.ServiceError
	if errors.As(err, &e) && !e.Is(attest.ErrUnavailable) && (e.Status == 401 || e.Status == 403) {
		return fmt.Errorf("%w: the job needs 'permissions: %s' (a pull request of a fork never has it)", err, permission)
	}
	return err
}
