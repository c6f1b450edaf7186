package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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
	if x.commit == nil || x.commit.Claims == nil || x.ours == nil {
		refuse(NoCommitment, "a recording whose commitment says which job it is of", "none", "record with a service that was given its name")
		return
	}
	c, run := x.commit.Claims, strings.TrimPrefix(x.commit.Origin, evidence.Origin(""))
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
	if len(x.in.Policy.Trust.WitnessKeys) == 0 {
		x.skip(E3, "first record", "the policy names no witness under trust: witness-keys, and an enrolled service has no other place for it")
		x.skip(E4, "witness", "the policy names no witness under trust")
	} else {
		record = x.firstRecord(ctx, began)
	}
	x.clocks(began, begun, record)
	x.history(record)
}

// byService reports whether an enrolled machine's key signed.
func (x *examined) byService() bool { return x.id != nil && x.id.Service != "" }
