package gate

import (
	"fmt"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
)

// timestamps checks what timestamp authorities said of the log as it grew: each
// answer must be of an authority of the policy's root, about a checkpoint of
// this log, and their times must go with the log's clock. They say when the log
// was there, not that it is the only one: that takes a witness.
func (x *examined) timestamps() {
	const name = "timestamps"
	r, trust := &x.in.Policy.Require, &x.in.Policy.Trust
	level := E3
	if r.MaxUndated > 0 {
		level = None // a rule: it counts whatever level is asked for
	}
	dates, err := x.log.Dates()
	switch {
	case err != nil:
		x.refuse(E0, name, LogTampered, "the answers of timestamp authorities", err.Error(), "it is not what was recorded: build anew, and look for who changed it")
		return
	case len(dates) > 0 && trust.root == nil:
		x.skip(level, name, "the policy does not say whose answers count (trust: root)")
		return
	}
	if len(x.noted) == 0 {
		return // told before
	}
	end := x.noted[len(x.noted)-1].boottime
	at, widest := x.noted[0].boottime, int64(0)
	for i := range dates {
		d := &dates[i]
		if d.Answer == nil {
			continue // taken out: a time without a date
		}
		when, err := attest.DatedAt(d.Answer, d.Checkpoint.Text(), trust.root)
		if err != nil {
			x.refuse(level, name, WrongTimestamp, fmt.Sprintf("an answer about the checkpoint of %d events, by an authority of the trusted root", d.Checkpoint.Size), d.Name+": "+err.Error(),
				"it is about another log or another checkpoint, or by another authority: name the root that has it, or look for who changed it")
			return
		}
		x.dated = append(x.dated, sighting{"a timestamp authority", when, d.Checkpoint.Boottime, d.Told})
		widest = max(widest, d.Checkpoint.Boottime-at)
		at = d.Checkpoint.Boottime
	}
	widest = max(widest, end-at)
	got := fmt.Sprintf("%d, at most %v apart, the last one %v before the end", len(x.dated), time.Duration(widest).Round(time.Millisecond), time.Duration(end-at).Round(time.Millisecond))
	if len(x.dated) == 0 {
		got = "none"
	}
	if limit := r.MaxUndated; limit > 0 && (len(x.dated) == 0 || time.Duration(widest) > limit) {
		x.refuse(level, name, Undated, fmt.Sprintf("a date by a timestamp authority at least each %v, to the end", limit), got,
			"record with --tsa, or a signing configuration that has an authority; where it did not answer, coverage says so")
		return
	}
	if len(x.dated) == 0 {
		return
	}
	// The machine's own clock at the start, which the job may have set later.
	began := sighting{"the log's start", time.Unix(0, x.opening.wall), x.opening.time, x.opening.time}
	if by := apart(began, x.dated[0]); x.commit != nil && by > clockLeeway {
		x.refuse(level, name, ClockDiffers, fmt.Sprintf("the machine's clock at the start (%s) within %v of a timestamp authority's", clock(began.at), clockLeeway), fmt.Sprintf("%v off", by.Round(time.Millisecond)),
			"the machine's clock was wrong: what the log says of its time of day counts for nothing")
		return
	}
	if x.drift(level, name, x.dated) {
		x.pass(level, name, got)
	}
}
