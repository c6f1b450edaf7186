package monitor

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/posture"
	"github.com/org/edamame-posture/pkg/redact"
)

const (
	// lookWithin is how long the machine may take to be looked at. It is read
	// while the recording is being made, and a job waits for what is left of it.
	lookWithin = 500 * time.Millisecond
	// maxTold bounds the weaknesses that are told at the start, and the changes
	// at the end, of one recording.
	maxTold = 256
)

// look begins to look at the machine's own state, for jobs of the caller's. What
// the caller may not read is not read from a home folder that it has named.
func (r *recording) look(stateOnly bool) <-chan *posture.Snapshot {
	seen := make(chan *posture.Snapshot, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
		defer cancel()
		opt := posture.Options{Workspace: r.cwd, Redactor: r.red, StateOnly: stateOnly}
		if r.job != nil {
			opt.Redactor, opt.Getenv = r.job.of.red, r.job.getenv
		}
		opt.User.Home, opt.User.UID = r.home, r.uid
		seen <- posture.Take(ctx, opt)
	}()
	return seen
}

// tellPosture writes what the machine was: one event for all of it, and of the
// start one for each weakness.
func (r *recording) tellPosture(now int64, s *posture.Snapshot, when redact.Text) {
	ev := r.blank(event.Posture, now)
	ev.Actor, ev.Detail, ev.Count, ev.Lost = r.above(), when, uint64(len(s.State)), uint64(len(s.Unread))
	if b, err := json.Marshal(s.State); err == nil {
		ev.SHA256 = sha256.Sum256(b)
	}
	r.append(ev)
	for i := range s.Items {
		it := &s.Items[i]
		if i == maxTold || judge.Rank(it.Severity) < judge.Rank(judge.Medium) {
			return // the gravest stand first
		}
		ev := r.blank(event.Posture, now)
		ev.Actor, ev.Name, ev.Path, ev.Detail = r.above(), posture.CheckText(it.Check), it.Path, it.Found
		r.append(ev)
	}
}

// sinceLastJob is said of what changed between two jobs.
var sinceLastJob = redact.Const(" since the job before this one ended")

// tellDrift writes what changed from the start to the end.
func (r *recording) tellDrift(now int64, after *posture.Snapshot) {
	r.tellPosture(now, after, redact.Const("end"))
	r.tellChanges(now, r.before, after, redact.Text{})
}

// tellChanges writes what changed from one snapshot to a later one, and when
// that was where it was not in the recording.
func (r *recording) tellChanges(now int64, before, after *posture.Snapshot, when redact.Text) {
	changes := posture.Compare(before, after)
	for i := range changes {
		if i == maxTold {
			r.note(redact.Const("changes of the machine's own state beyond those that are told"), uint64(len(changes)-maxTold))
			return
		}
		c := &changes[i]
		ev := r.blank(event.Drift, now)
		ev.Actor, ev.Class, ev.Path, ev.Detail = r.above(), c.Kind.Text(), c.Path, redact.Concat(c.What, when)
		ev.File = c.File
		if d, err := event.ParseSHA256(c.SHA256); err == nil {
			ev.SHA256 = d
		}
		r.append(ev)
	}
}

// above is the recording's root: the command, or where its children are
// recorded the process itself.
func (r *recording) above() event.Actor {
	if r.root.IsZero() {
		return r.parent
	}
	return r.root
}
