package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/witness"
)

// askWitness asks the policy's witness what it holds of the job.
func (x *examined) askWitness(ctx context.Context) (*witness.Record, error) {
	var id witness.ID
	if err := id.UnmarshalText([]byte(x.commit.Slot)); err != nil {
		return nil, err
	}
	r, _, err := x.in.Policy.Trust.witness.Slot(ctx, id)
	return r, err
}

// firstRecord checks that the commitment was the first of its job, where no
// token of the job can take that back: with a witness. What the witness signed
// at the start is enough, for it gives one first record for a job and no other;
// what it says now may tell of a second commitment too. It returns the latter.
func (x *examined) firstRecord(ctx context.Context, issued time.Time) *witness.Record {
	const name = "first record"
	trust := &x.in.Policy.Trust
	if len(trust.WitnessKeys) == 0 {
		switch {
		case trust.Rekor != "":
			x.firstLogged(ctx, issued)
		case trust.Statuses:
			x.firstStatus(ctx, issued)
		default:
			x.skip(E3, name, "the policy names no place of first records under trust: witness-keys, rekor or commit-status")
		}
		x.skip(E4, "witness", "the policy names no witness under trust")
		return nil
	}
	var now *witness.Record
	where := "as it said at the start"
	if trust.witness == nil {
		x.skip(E4, "witness", "the policy does not say where the witness is (trust: witness)")
	} else {
		var err error
		now, err = x.askWitness(ctx)
		switch {
		case errors.Is(err, witness.ErrNone):
			const do = "record with --witness: the witness did not answer when the job began, or is another one"
			x.refuse(E3, name, NoFirstRecord, "a first record of the job at "+trust.Witness, "none", do)
			x.refuse(E4, "witness", NoFirstRecord, "what it was told of the log", "nothing", do)
			return nil
		case silent(err):
			x.add(Check{Name: "witness", Level: E4, Status: Unknown, Reason: ServiceDown, Want: "what the witness holds of the log", Got: err.Error(), Do: "try again later"})
			where += "; it does not answer now"
		case err != nil:
			x.refuse(E4, "witness", WrongRecord, "what the witness holds of the log, signed by it", err.Error(), "another server answers, or the key under witness-keys is not its own")
		default:
			where = "as it says now"
		}
	}
	r := now
	if x.opening.record != nil {
		kept, err := witness.OpenRecord(x.opening.record, trust.WitnessKeys...)
		switch {
		case err != nil:
			x.refuse(E3, name, WrongRecord, "a record by a witness that the policy names", err.Error(), "another witness was asked at the start: name its key under trust: witness-keys")
			return now
		case now != nil && kept.First.Commitment != now.First.Commitment:
			x.refuse(E3, name, OtherHistory, "one first record of the job", fmt.Sprintf("%s at the start, and %s now", kept.First.Commitment, now.First.Commitment), "the witness says two things: do not rely on it until it is known why")
			return now
		}
		r = cmp.Or(now, kept)
	}
	if r == nil {
		c := Check{Name: name, Level: E3, Status: Refused, Reason: NoFirstRecord, Want: "what a witness signed at the start", Got: "nothing", Do: "record with --witness"}
		if trust.witness != nil {
			// The witness could tell, and does not answer.
			c.Status, c.Reason, c.Got, c.Do = Unknown, ServiceDown, "no record beside the log, and the witness does not answer", "try again later"
		}
		x.add(c)
		return nil
	}
	x.holdFirst(name, r, issued, where)
	return now
}

// holdFirst holds the first record of a job against the commitment.
func (x *examined) holdFirst(name string, r *witness.Record, issued time.Time, where string) {
	f, o := &r.First, &x.opening
	at := time.Unix(f.Time, 0)
	who := f.Issuer
	if f.Service != "" {
		who = witness.ServiceIssuer(f.Service)
	}
	second := slices.IndexFunc(r.Conflicts, func(c witness.Conflict) bool { return c.Kind == witness.SecondFirst })
	switch {
	case r.Slot.String() != x.commit.Slot || who != x.commit.Claims.Issuer:
		x.refuse(E3, name, OtherJob, fmt.Sprintf("slot %s, by %q", x.commit.Slot, x.commit.Claims.Issuer), fmt.Sprintf("slot %s, %.200s%.200s", r.Slot, f.Issuer, f.Service), "the record is that of another job")
	case f.Commitment != o.sum():
		x.refuse(E3, name, SecondCommitment, o.sum().String(), fmt.Sprintf("%s, at %s", f.Commitment, clock(at)),
			"another commitment of the job was first, and this one was made later: some step made evidence of its own. Look for who asked for an identity token, and build anew")
	case second >= 0:
		x.refuse(E3, name, SecondCommitment, "one commitment of the job", "another at "+clock(time.Unix(r.Conflicts[second].Time, 0)),
			"two recordings of one job were begun: some step made evidence of its own, or the monitor was started twice. Look for who asked for an identity token, and build anew")
	case f.Origin != x.commit.Origin || len(x.noted) == 0 || r.Cosigned[0].Seq != 0 || r.Cosigned[0].Text != x.noted[0].text:
		x.refuse(E3, name, OtherHistory, "the log's first checkpoint", fmt.Sprintf("another one, of %.200s", f.Origin), "the log that began then is not the one shown")
	case !o.before(evidence.RecordFile):
		x.refuse(E3, name, LateStart, "that the log names the record before anything of the job", "it does not", "something of the job ran before the witness knew of the commitment")
	case at.Before(issued.Add(-clockLeeway)) || at.Sub(issued) > recordWithin:
		x.refuse(E3, name, LateStart, fmt.Sprintf("within %v of the token, %s", recordWithin, clock(issued)), clock(at), "the witness heard of the commitment when the job had long begun")
	default:
		x.pass(E3, name, fmt.Sprintf("the only commitment of the job, at %s, by %.100s, %s", clock(at), r.Witness, where))
	}
}

// history holds the log against what the witness was told of it while it grew.
func (x *examined) history(r *witness.Record) {
	if r == nil {
		return // told before
	}
	const name = "witness"
	limit := x.in.Policy.Require.MaxUnwitnessed
	h := witness.History{Origin: x.commit.Origin, Commitment: x.opening.sum(), Last: uint64(len(x.noted)) - 1, Text: func(seq uint64) (evidence.Hash, bool) {
		if seq >= uint64(len(x.noted)) {
			return evidence.Hash{}, false
		}
		return x.noted[seq].text, true
	}}
	err := r.Compare(h, limit)
	var d *witness.DivergenceError
	if !errors.As(err, &d) {
		x.pass(E4, name, fmt.Sprintf("it cosigned %d checkpoints as they were made, from the first to the last, at most %v apart", len(r.Cosigned), limit))
		return
	}
	c := map[witness.Divergence]struct {
		reason   Reason
		want, do string
	}{
		witness.OtherFirst:   {SecondCommitment, "this commitment, and no other", "some step made evidence of its own: build anew"},
		witness.OtherHistory: {OtherHistory, "the log that the witness was shown", "somebody wrote another log with the keys of this one: build anew, on another machine"},
		witness.Withheld:     {Withheld, "all of the log that the witness was shown", "the end was cut off, and the log closed by somebody else: build anew, on another machine"},
		witness.Silent:       {Unwitnessed, fmt.Sprintf("a checkpoint at the witness at least each %v", limit), "the witness could not be reached, or the machine stood still: allow more with max-unwitnessed"},
		witness.EndUnheard:   {EndUnwitnessed, "the log's last checkpoint at the witness", "the monitor could not reach the witness at the end, or the end was written by somebody else"},
	}[d.Kind]
	x.refuse(E4, name, c.reason, c.want, d.Why, c.do)
}
