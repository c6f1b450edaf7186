package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/witness"
)

const (
	// clockLeeway is how far two clocks may be apart which nobody set against
	// each other: the machine's, the issuer's, GitHub's.
	clockLeeway = time.Minute
	// recordWithin is how long after the token the first record may be: the
	// start waits 5 s for all of it.
	recordWithin = time.Minute
)

// startToken checks what the issuer of the job's identity said of the
// commitment: which job made it, and when. Any step can ask for such a token,
// so that it was the first to do so is another check.
func (x *examined) startToken(ctx context.Context) (issued time.Time, ok bool) {
	const name = "start token"
	refuse := func(r Reason, want, got, do string) (time.Time, bool) {
		x.refuse(E3, name, r, want, got, do)
		return time.Time{}, false
	}
	if x.opening.token == nil {
		return refuse(NoStartToken, "a token of the issuer for the commitment", "none", "record with --keyless, in a job with id-token: write: the issuer did not answer, or was not asked")
	}
	t, check := x.openToken(ctx, x.opening.token)
	if check != nil {
		check.Name, check.Level = name, E3
		x.add(*check)
		return time.Time{}, false
	}
	if want := evidence.Audience(x.opening.committed); len(t.Audiences) != 1 || t.Audiences[0] != want {
		return refuse(WrongAudience, want+" alone", strings.Join(t.Audiences, ", "), "the issuer says nothing of this commitment: the token was made for something else")
	}
	got, wrong := x.job(t)
	if wrong != nil {
		return refuse(wrong.Reason, wrong.Want, wrong.Got, "the token is of another job than the one that signed: a commitment of one job proves nothing of another")
	}
	if t.Issued.IsZero() {
		return refuse(LateStart, "when it was issued", "it does not say", "the issuer's tokens have no time (iat)")
	}
	o := &x.opening
	if !o.before(evidence.StartTokenFile) {
		return refuse(LateStart, "that the log names the token before anything of the job", "it does not", "something of the job ran before its issuer knew of the commitment")
	}
	from, to := time.Unix(0, o.wall), time.Unix(0, o.wall+o.told[evidence.StartTokenFile]-o.time)
	if t.Issued.Before(from.Add(-clockLeeway)) || t.Issued.After(to.Add(clockLeeway)) {
		return refuse(LateStart, fmt.Sprintf("issued from %s to %s, by the machine's clock and %v either way", clock(from), clock(to), clockLeeway), clock(t.Issued), "the token was not made when the log began, or the machine's clock was wrong")
	}
	x.pass(E3, name, fmt.Sprintf("%s made the commitment, says %s at %s", jobText(got), t.Issuer, clock(t.Issued)))
	return t.Issued, true
}

// job returns the job that a token of the issuer's names, and what is wrong
// where that is not the one which the commitment names and the certificate is of.
func (x *examined) job(t *witness.Token) (*evidence.Claims, *Check) {
	c := x.res.Certificate
	got := evidence.Claims{
		Issuer: t.Issuer, RepositoryID: t.Claims["repository_id"], RunID: t.Claims["run_id"],
		RunAttempt: t.Claims["run_attempt"], CheckRunID: t.Claims["check_run_id"],
	}
	server := x.id.Server + "/"
	for _, f := range []struct {
		what, want, got string
		reason          Reason
	}{
		{"issuer", c.Issuer, t.Issuer, WrongIdentity},
		{"job", jobText(x.commit.Claims), jobText(&got), OtherJob},
		{"run", c.RunInvocationURI, fmt.Sprintf("%s%s/actions/runs/%s/attempts/%s", server, t.Claims["repository"], got.RunID, got.RunAttempt), OtherRun},
		{"repository", c.SourceRepositoryIdentifier, got.RepositoryID, WrongRepository},
		{"owner", c.SourceRepositoryOwnerIdentifier, t.Claims["repository_owner_id"], WrongRepository},
		{"commit", c.SourceRepositoryDigest, t.Claims["sha"], OtherCommit},
		{"ref", c.SourceRepositoryRef, t.Claims["ref"], WrongIdentity},
		{"workflow", c.BuildConfigURI, server + t.Claims["workflow_ref"], WrongIdentity},
		{"signing workflow", c.SubjectAlternativeName, server + t.Claims["job_workflow_ref"], WrongIdentity},
		{"trigger", c.BuildTrigger, t.Claims["event_name"], WrongTrigger},
		{"runner", c.RunnerEnvironment, t.Claims["runner_environment"], WrongRunner},
	} {
		if f.want != f.got {
			return &got, &Check{Reason: f.reason, Want: f.what + " " + f.want, Got: f.got}
		}
	}
	return &got, nil
}

// maxToken bounds a token in bytes.
const maxToken = 64 << 10

// endToken checks which job the issuer says signed the statement: of a run all
// jobs have the same certificate, and another one could sign the true record
// about files of its own.
func (x *examined) endToken(ctx context.Context) {
	const name = "end token"
	refuse := func(r Reason, want, got, do string) { x.refuse(E3, name, r, want, got, do) }
	text, err := evidence.ReadResult(filepath.Join(x.c.Dir, endTokenName), maxToken)
	if errors.Is(err, fs.ErrNotExist) {
		refuse(NoEndToken, "a token of the issuer for the statement, "+endTokenName, "none", "the issuer did not answer when the statement was signed, or the file was left behind: hand the gate the whole folder of results")
		return
	}
	if err != nil {
		refuse(NoEndToken, "a token of the issuer for the statement", err.Error(), "hand the gate the folder of results as it was written")
		return
	}
	t, check := x.openToken(ctx, text)
	if check != nil {
		check.Name, check.Level = name, E3
		x.add(*check)
		return
	}
	if want := evidence.EndAudience(x.res.Payload); len(t.Audiences) != 1 || t.Audiences[0] != want {
		refuse(WrongAudience, want+" alone", strings.Join(t.Audiences, ", "), "the issuer says nothing of this statement: the token was made for another one")
		return
	}
	got, wrong := x.job(t)
	if wrong != nil {
		refuse(wrong.Reason, wrong.Want, wrong.Got, "another job than the one that was recorded signed the statement: look for which job of the run did that, and why")
		return
	}
	x.pass(E3, name, fmt.Sprintf("%s signed it, says %s at %s", jobText(got), t.Issuer, clock(t.Issued)))
}

func jobText(c *evidence.Claims) string {
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("check run %s of run %s, attempt %s, repository %s, %s", c.CheckRunID, c.RunID, c.RunAttempt, c.RepositoryID, c.Issuer)
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// openToken checks the token's signature with the keys that the policy names,
// and where it may, with those that the issuer has now.
func (x *examined) openToken(ctx context.Context, text []byte) (*witness.Token, *Check) {
	keys, fetch := x.in.Policy.Trust.keys, x.in.Keys
	if keys == nil && fetch == nil {
		return nil, &Check{Status: Unchecked, Reason: NotImplemented, Got: "not checked: the policy names no keys of the issuer under trust: jwks, and the gate may not fetch them (--fetch-keys)"}
	}
	err := witness.ErrNoKey
	var t *witness.Token
	if keys != nil {
		t, err = witness.OpenToken(string(text), keys)
	}
	if errors.Is(err, witness.ErrNoKey) && fetch != nil {
		var now *jose.JSONWebKeySet
		if now, err = fetch(ctx, x.res.Certificate.Issuer); err != nil {
			c := Check{Reason: NoIssuerKey, Want: "the keys of " + x.res.Certificate.Issuer, Do: "put them in a file and name it under trust: jwks"}.unlessSilent(err)
			return nil, &c
		}
		t, err = witness.OpenToken(string(text), now)
	}
	switch {
	case errors.Is(err, witness.ErrNoKey):
		return nil, &Check{Status: Refused, Reason: NoIssuerKey, Want: "a key of " + x.res.Certificate.Issuer, Got: err.Error(),
			Do: "the issuer has other keys now: keep an archive of them ('edamame-posture witness jwks --keep'), and name it under trust: jwks"}
	case err != nil:
		return nil, &Check{Status: Refused, Reason: BadSignature, Want: "a token by a key of " + x.res.Certificate.Issuer, Got: err.Error(), Do: "somebody else made the token, or it was changed"}
	}
	return t, nil
}

// startedJob checks that GitHub lists the job that the issuer named, begun not
// long before, and notes what it is called there.
func (x *examined) startedJob(ctx context.Context, issued time.Time) {
	const name = "job of the run"
	if x.in.Jobs == nil {
		x.skip(E3, name, "nobody can be asked for the jobs of the run: --github is not given")
		return
	}
	jobs, err := x.in.Jobs(ctx, x.run)
	if err != nil {
		x.add(Check{Name: name, Level: E3, Reason: JobsUnknown, Want: "the list of the run's jobs", Do: mayReadJobs}.unlessSilent(err))
		return
	}
	for i := range jobs {
		j := &jobs[i]
		if !x.ofJob(j) {
			continue
		}
		limit := x.in.Policy.Require.MaxStart
		late := issued.Sub(j.Started)
		switch {
		case strconv.FormatInt(j.Attempt, 10) != x.claims.RunAttempt:
			x.refuse(E3, name, OtherRun, fmt.Sprintf("attempt %d, in which it ran", j.Attempt), "attempt "+x.claims.RunAttempt, "the job was done again: hand the gate the results of that")
		case j.Started.IsZero() || late > limit || late < -clockLeeway:
			x.refuse(E3, name, LateStart, fmt.Sprintf("a token not later than %v after GitHub began the job at %s", limit, clock(j.Started)), clock(issued),
				"what ran before the monitor was not seen, and may have made its own start: make the monitor the first step, or allow more with max-start")
		default:
			x.listed = j
			x.pass(E3, name, fmt.Sprintf("GitHub lists it as %.200s, begun %v before the token", j.Name, late))
		}
		return
	}
	x.refuse(E3, name, JobUnknown, "a job of the run", "check run "+x.claims.CheckRunID, "GitHub does not list such a job: some step signed a statement of its own")
}

// startStatement checks the statement about the commitment, by who signed the
// one about the recording.
func (x *examined) startStatement() *attest.Result {
	const name = "start statement"
	if x.opening.bundle == nil {
		x.refuse(E3, name, NoStartStatement, "a signed statement about the commitment", "none", "the signing service did not answer when the job began; what is signed later says nothing of the start")
		return nil
	}
	p := x.id.policy(&x.in.Policy.Trust)
	p.PredicateType = attest.StartPredicateType
	res, err := attest.VerifyBundle(x.opening.bundle, p)
	if err != nil {
		c := refusal(err)
		c.Name, c.Level, c.Got = name, E3, c.Name+": "+c.Got
		c.Want, c.Do = cmp.Or(c.Want, "a statement by "+x.s.Signer), cmp.Or(c.Do, "somebody else made it, or it was changed: build anew")
		x.add(c)
		return nil
	}
	if _, err := res.AboutStart(x.opening.committed); err != nil {
		x.refuse(E3, name, WrongEvidence, "a statement about this commitment", err.Error(), "it is that of another recording")
		return nil
	}
	if c := res.Certificate; c != nil && c.RunInvocationURI != x.run {
		got := c.RunInvocationURI
		x.refuse(E3, name, OtherRun, x.run, got, "another run signed it")
		return nil
	}
	if !x.opening.before(evidence.StartBundleFile) {
		x.refuse(E3, name, LateStart, "that the log names the statement before anything of the job", "it does not", "something of the job ran before the start was signed")
		return nil
	}
	got := "signed"
	if len(res.Times) > 0 {
		got += " at " + clock(res.Times[0].Timestamp)
	}
	if res.Logged {
		got += ", and in a transparency log"
	}
	x.pass(E3, name, got)
	return res
}
