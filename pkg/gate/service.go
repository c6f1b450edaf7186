package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/witness"
)

// service makes the checks of E2 of a statement that an enrolled machine's key
// signed. It says itself which job it recorded, since no issuer does: so what
// the policy says of the machine must fit, and its jobs must have been without
// power over it, or the key is theirs too.
func (x *examined) service() {
	const name = "enrolled service"
	id := x.id
	refuse := func(r Reason, want, got, do string) { x.refuse(E2, name, r, want, got, do) }
	const want = "a recording that says which job it is of, in its commitment or in the statement about that"
	if x.commit == nil || x.ours == nil {
		refuse(NoCommitment, want, "no commitment", "record with a service that was enrolled: 'service enrol'")
		return
	}
	c, err := x.commit.Claims, error(nil)
	if c == nil {
		c, err = x.vouched()
	}
	if err != nil {
		found := refusal(err)
		if errors.Is(err, attest.ErrSubject) {
			found.Reason = WrongEvidence
		}
		refuse(found.Reason, want, found.Name+": "+found.Got, "the statement about the start is another machine's, or of another recording")
		return
	}
	if c == nil {
		refuse(NoCommitment, want, "none", "record with a service that was enrolled: 'service enrol'. A job that ended before its first step has none")
		return
	}
	run := strings.TrimPrefix(x.commit.Origin, evidence.Origin(""))
	at := x.in.Now
	if n := len(x.dated); n > 0 {
		at = x.dated[n-1].at // of its time, not of the gate's
	}
	switch {
	case c.Issuer != witness.ServiceIssuer(id.Service):
		refuse(WrongIdentity, "a recording by the service "+id.Service, fmt.Sprintf("one whose job says %.200q", c.Issuer), "the key is that of another machine than the one that recorded")
	case !slices.ContainsFunc(id.Runs, func(p string) bool { return strings.HasPrefix(run, p) }):
		refuse(WrongIdentity, "a run whose name begins with "+strings.Join(id.Runs, " or "), run, "the run is another machine's than the key's: look for who has the key, and enrol the machine anew")
	case c.RepositoryID != id.RepositoryID:
		refuse(WrongRepository, id.RepositoryID, c.RepositoryID, "the job was one of another repository")
	case x.verdict.Run.Repository != id.Repository:
		refuse(WrongRepository, id.Repository, x.verdict.Run.Repository, "the job was one of another repository")
	case !id.Until.IsZero() && at.After(id.Until):
		refuse(Expired, "a recording until "+clock(id.Until), clock(at), "the machine's enrolment has ended: look at the machine, and enrol it anew. A recording of before needs a date by a timestamp authority")
	case x.power.State != judge.PowerNone:
		refuse(PowerTaken, "nobody took power over the machine", powerText(x.power), "who has it can use the machine's key: run jobs there without sudo and containers")
	default:
		x.claims = c
		x.run = fmt.Sprintf("%s/%s/actions/runs/%s/attempts/%s", id.Server, id.Repository, c.RunID, c.RunAttempt)
		x.s.Run = x.run
		x.pass(E2, name, fmt.Sprintf("%s recorded run %s of %s, attempt %s, and nobody took power over it", id.Service, c.RunID, id.Repository, c.RunAttempt))
	}
}

// vouched returns the job that the machine's statement about the commitment
// names: a service records a job before the runner has told anybody which it is.
func (x *examined) vouched() (*evidence.Claims, error) {
	if x.opening.bundle == nil {
		return nil, nil
	}
	p := x.id.policy(&x.in.Policy.Trust)
	p.PredicateType = attest.StartPredicateType
	res, err := attest.VerifyBundle(x.opening.bundle, p)
	if err != nil {
		return nil, err
	}
	return res.AboutStart(x.opening.committed)
}

// serviceOutside holds what others said of an enrolled machine's recording
// while it was made against it.
func (x *examined) serviceOutside(ctx context.Context) {
	if x.claims == nil {
		return // told before
	}
	x.pass(E3, "runner", "the enrolled service "+x.id.Service)
	// No issuer says when it began. What others say is held against the
	// machine's own clock.
	began := time.Unix(0, x.opening.wall)
	begun := x.startStatement()
	var record *witness.Record
	switch {
	case x.commit.Claims == nil:
		const why = "the commitment was made before the runner told which job it is, so that no witness knows it by its job"
		x.skip(E3, "first record", why)
		x.skip(E4, "witness", why)
	case len(x.in.Policy.Trust.WitnessKeys) == 0:
		x.skip(E3, "first record", "the policy names no witness under trust: witness-keys, and an enrolled service has no other place for it")
		x.skip(E4, "witness", "the policy names no witness under trust")
	default:
		record = x.firstRecord(ctx, began)
	}
	x.clocks(began, begun, record)
	x.history(record)
}

// byService reports whether an enrolled machine's key signed.
func (x *examined) byService() bool { return x.id != nil && x.id.Service != "" }
