package gate

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/org/edamame-posture/pkg/evidence"
)

// CommitStatus is a status of a commit, as GitHub lists it.
type CommitStatus struct {
	Context, Description string
	Created              time.Time
}

// maxStatuses bounds how many statuses of a commit are looked at: GitHub keeps
// 1,000 of one context.
const maxStatuses = 2000

// Statuses lists the statuses of a commit of a repository, OWNER/REPO, all that
// were ever made.
func (g *GitHub) Statuses(ctx context.Context, repository, commit string) ([]CommitStatus, error) {
	owner, repo, ok := strings.Cut(repository, "/")
	if !ok || strings.Contains(repo, "/") {
		return nil, fmt.Errorf("repository %.200q: want OWNER/REPO", repository)
	}
	var out []CommitStatus
	at := fmt.Sprintf("repos/%s/%s/commits/%s/statuses?per_page=100", url.PathEscape(owner), url.PathEscape(repo), url.PathEscape(commit))
	for at != "" {
		var list []struct {
			Context     string    `json:"context"`
			Description string    `json:"description"`
			Created     time.Time `json:"created_at"`
		}
		resp, err := g.do(ctx, http.MethodGet, at, nil, &list)
		if err != nil {
			return nil, fmt.Errorf("statuses of %s: %w", commit, err)
		}
		for _, s := range list {
			out = append(out, CommitStatus{s.Context, s.Description, s.Created})
		}
		if len(out) > maxStatuses {
			return nil, fmt.Errorf("commit %s has more than %d statuses: nobody can tell what was first", commit, maxStatuses)
		}
		at = nextPage(resp)
	}
	return out, nil
}

// firstStatus checks that the commit which was built has one status about the
// job's start, which is this one. Who has the right statuses: write can add
// another and take none back: so another one refuses, whoever made it.
func (x *examined) firstStatus(ctx context.Context, issued time.Time) {
	const name = "first record"
	if x.in.Statuses == nil {
		x.skip(E3, name, "the policy looks for it among the commit's statuses, and nobody can be asked: --github is not given")
		return
	}
	commit := x.res.Certificate.SourceRepositoryDigest
	all, err := x.in.Statuses(ctx, x.id.Repository, commit)
	if err != nil {
		x.add(Check{Name: name, Level: E3, Reason: WrongRecord, Want: "the statuses of commit " + commit, Do: "the token must be allowed to read them (statuses: read)"}.unlessSilent(err))
		return
	}
	want := evidence.Audience(x.opening.committed)
	var at time.Time
	for _, s := range all {
		switch {
		case !strings.EqualFold(s.Context, evidence.StatusContext(x.commit.Claims)):
			continue
		case s.Description != want:
			x.refuse(E3, name, SecondCommitment, "one commitment of the job: "+want, fmt.Sprintf("another at %s: %.100q", clock(s.Created), s.Description),
				"two recordings of one job were begun, or somebody who may write statuses made it look so: look for who did, and build anew")
			return
		case at.IsZero() || s.Created.Before(at):
			at = s.Created
		}
	}
	switch {
	case at.IsZero():
		x.refuse(E3, name, NoFirstRecord, "a status of commit "+commit+" about the job's start", "none", "record with commit-status: true, in a job with statuses: write")
	case !x.opening.before(evidence.RecordFile):
		x.refuse(E3, name, LateStart, "that the log names the record before anything of the job", "it does not", "something of the job ran before GitHub knew of the commitment")
	case at.Before(issued.Add(-clockLeeway)) || at.Sub(issued) > recordWithin:
		x.refuse(E3, name, LateStart, fmt.Sprintf("within %v of the token, %s", recordWithin, clock(issued)), clock(at), "GitHub heard of the commitment when the job had long begun")
	default:
		x.dated = append(x.dated, sighting{"GitHub", at, x.opening.time, x.opening.told[evidence.RecordFile]})
		x.pass(E3, name, fmt.Sprintf("the only commitment of the job, at %s, as a status of commit %s", clock(at), commit))
	}
}
