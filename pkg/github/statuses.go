package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
)

// Statuses are the statuses of a commit at GitHub, as a place of first records:
// https://docs.github.com/rest/commits/statuses. GitHub dates each, keeps all
// that were ever made for one context, up to 1,000, and has no call that takes
// one back. Whoever has a token with statuses: write can add one, other steps
// and jobs of the run too.
type Statuses struct {
	API        string // base URL, GITHUB_API_URL; empty is api.github.com
	Repository string // OWNER/REPO
	Commit     string // that the run was started for, GITHUB_SHA
	Token      string
}

// ErrRecordedBefore is a status of the same job that names another commitment.
var ErrRecordedBefore = errors.New("a commit status of this job names another start")

// maxStatuses bounds how many statuses of a commit are looked at.
const maxStatuses = 1000

// Record puts the commitment of a job's start on the commit, reads it back, and
// returns GitHub's answer. It is asked until ctx ends.
func (s *Statuses) Record(ctx context.Context, commitment []byte) ([]byte, error) {
	parsed, err := evidence.ParseCommitment(commitment)
	if err != nil {
		return nil, err
	}
	if parsed.Claims == nil {
		return nil, errors.New("the commitment names no job: nobody said which one this is")
	}
	owner, repo, ok := strings.Cut(s.Repository, "/")
	if !ok || owner == "" || repo == "" || strings.Contains(repo, "/") {
		return nil, fmt.Errorf("the repository is %.200q, want OWNER/REPO", s.Repository)
	}
	c := github.NewClient(&http.Client{Transport: attest.Transport(ctx, "GitHub's API", nil)}).WithAuthToken(s.Token)
	if s.API != "" {
		if c.BaseURL, err = url.Parse(strings.TrimRight(s.API, "/") + "/"); err != nil {
			return nil, fmt.Errorf("the API's URL: %w", err)
		}
	}
	name, text := evidence.StatusContext(parsed.Claims), evidence.Audience(commitment)
	made, _, err := c.Repositories.CreateStatus(ctx, owner, repo, s.Commit, &github.RepoStatus{
		State: github.String("success"), Context: &name, Description: &text,
	})
	if err != nil {
		return nil, mayRecord(err)
	}
	for {
		ours := false
		err := s.each(ctx, c, owner, repo, func(st *github.RepoStatus) error {
			if strings.EqualFold(st.GetContext(), name) {
				if st.GetDescription() != text {
					return fmt.Errorf("%w: %.100q", ErrRecordedBefore, st.GetDescription())
				}
				ours = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if ours {
			return json.Marshal(made)
		}
		// The list may need a moment.
		timer := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.New("GitHub took the commit status, and does not list it")
		case <-timer.C:
		}
	}
}

// each gives every status of the commit, the newest first.
func (s *Statuses) each(ctx context.Context, c *github.Client, owner, repo string, f func(*github.RepoStatus) error) error {
	opt := &github.ListOptions{PerPage: 100}
	for seen := 0; ; {
		list, resp, err := c.Repositories.ListStatuses(ctx, owner, repo, s.Commit, opt)
		if err != nil {
			return mayRecord(err)
		}
		for _, st := range list {
			if err := f(st); err != nil {
				return err
			}
		}
		if seen += len(list); seen > maxStatuses {
			return fmt.Errorf("commit %s has more than %d statuses", s.Commit, maxStatuses)
		}
		if resp.NextPage == 0 {
			return nil
		}
		opt.Page = resp.NextPage
	}
}

// mayRecord says what to do where the token may not.
func mayRecord(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var e *attest.ServiceError
	if errors.As(err, &e) && (e.Status == http.StatusForbidden || e.Status == http.StatusUnauthorized) {
		return fmt.Errorf("%w: the job needs 'permissions: statuses: write'", err)
	}
	return fmt.Errorf("commit status: %w", err)
}
