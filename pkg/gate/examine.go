package gate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

const (
	// defaultSilence is how long there may be no checkpoint: one is made each
	// second, also where nothing happens.
	defaultSilence = 2 * time.Second
	// ahead is how far another clock may be before the gate's.
	ahead       = 5 * time.Minute
	maxManifest = 4 << 20
	// maxPart bounds a text of a check, in bytes.
	maxPart = 500
)

// examined is a statement with all that was found out about it.
type examined struct {
	in   *Input
	c    Candidate
	pack *signature.Pack // the gate's
	s    *Statement

	res   *attest.Result // nil where no signature was good
	id    *Identity      // that it is by
	run   string         // of the certificate
	asked error          // why the jobs of the wanted run are not known

	verdict  *judge.Verdict // by the evidence's own inputs
	ours     *judge.Verdict // by the gate's
	power    judge.Power
	manifest evidence.Manifest
	claims   *evidence.Claims
	commit   *evidence.Commitment
	log      *evidence.Evidence // while it is examined
	noted    []noted            // the log's checkpoints
	opening  opening
	dated    []sighting // by timestamp authorities, and by GitHub
	listed   *Job       // at GitHub; nil where it is not known
}

func (x *examined) add(c Check) {
	for _, s := range []*string{&c.Want, &c.Got, &c.Do} {
		if len(*s) > maxPart {
			*s = strings.ToValidUTF8((*s)[:maxPart], "") + "…"
		}
	}
	x.s.Checks = append(x.s.Checks, c)
}

func (x *examined) pass(l Level, name, got string) {
	x.add(Check{Name: name, Level: l, Status: Passed, Got: got})
}

func (x *examined) refuse(l Level, name string, r Reason, want, got, do string) {
	x.add(Check{Name: name, Level: l, Status: Refused, Reason: r, Want: want, Got: got, Do: do})
}

// skip notes a check that is not made.
func (x *examined) skip(l Level, name, why string) {
	x.add(Check{Name: name, Level: l, Status: Unchecked, Reason: NotImplemented, Got: "not checked: " + why})
}

// unlessSilent is a refusal for an error, but for one of a service that did not
// answer: nothing is known then.
func (c Check) unlessSilent(err error) Check {
	c.Status, c.Got = Refused, err.Error()
	if silent(err) {
		c.Status, c.Reason, c.Do = Unknown, ServiceDown, "try again later"
	}
	return c
}

// named is the level of a check that somebody asked for by name: it counts,
// whatever level the policy wants.
func (x *examined) named(l Level) Level { return min(l, max(x.in.Policy.Require.Level, E0)) }

// hold is pass or refuse.
func (x *examined) hold(ok bool, l Level, name string, r Reason, want, got, do string) {
	if ok {
		x.pass(l, name, got)
	} else {
		x.refuse(l, name, r, want, got, do)
	}
}

// examine makes all checks that one statement alone allows.
func (x *examined) examine(ctx context.Context) {
	whole := x.evidence()
	// What was not checked must never count as if it had passed.
	if !whole && !slices.ContainsFunc(x.s.Checks, func(c Check) bool { return c.Status != Passed && c.Level <= E0 }) {
		x.incomputable(errors.New("the log could not be judged"))
	}
	x.signature()
	if x.res != nil {
		x.statement()
	}
	if whole {
		x.timestamps()
	}
	if x.byService() {
		x.service()
	}
	if whole {
		x.start(ctx)
		x.rules()
		x.writtenBy()
	}
	if x.log != nil {
		x.log.Close()
	}
}

// evidence makes the checks of E0 and reports whether the log can be judged.
func (x *examined) evidence() bool {
	if x.c.Dir == "" {
		x.refuse(E0, "evidence", EvidenceMissing, "the folder of results", "the statement alone",
			"hand the gate the folder with evidence/ too, such as the job's artifact: what a statement says of itself proves nothing")
		return false
	}
	dir := filepath.Join(x.c.Dir, "evidence")
	e, err := evidence.Open(dir)
	if err == nil {
		x.log = e
		err = e.Verify()
	}
	if err == nil {
		err = x.begin(e)
	}
	if err != nil {
		reason, do := LogTampered, "it is not what was recorded: build anew, and look for who changed it"
		switch {
		case errors.Is(err, evidence.ErrNotClosed):
			reason, do = NotClosed, "the monitor was killed, or the end taken away: such a recording proves nothing of what came after. Build anew"
		case errors.Is(err, evidence.ErrChain):
			reason = ChainCut
		}
		x.refuse(E0, "evidence", reason, "a whole log", err.Error(), do)
		return false
	}
	x.manifest, x.commit = e.Manifest(), e.Commitment()
	x.pass(E0, "evidence", fmt.Sprintf("%d events, root %s", x.manifest.Tree.Size, x.manifest.Tree.Root))
	chain := e.Chain()
	x.hold(chain.Whole(), E0, "chain of checkpoints", ChainUnsigned, "every checkpoint signed, with a key that the one before names",
		fmt.Sprintf("%d signed, %d not", chain.Signed, chain.Unsigned), "seal the log (run with --key, --keyless, --witness or --seal); where it was to be, the monitor could not sign: look at its messages in the job, and build anew")
	x.silence(e)

	in, err := e.Inputs()
	if err != nil {
		x.incomputable(err)
		return false
	}
	return x.recompute(e, in)
}

// incomputable notes that the log cannot be judged here: with its own inputs,
// which this program may not know, or at all. Nothing that follows from a
// verdict is checked then, so that it must lower the level.
func (x *examined) incomputable(err error) {
	x.add(Check{Name: "verdict", Level: E0, Status: Unknown, Reason: CannotRecompute, Got: err.Error(), Do: "use the gate of the release that recorded it, or a newer one"})
}

// silence looks for a time without checkpoints.
func (x *examined) silence(e *evidence.Evidence) {
	var last, most int64
	var at uint64
	n := 0
	err := e.EachCheckpoint(func(c *evidence.Checkpoint) error {
		if gap := c.Boottime - last; n > 0 && gap > most {
			most, at = gap, c.Size
		}
		last = c.Boottime
		if n++; n > maxNoted || last > maxBoottime {
			return fmt.Errorf("checkpoint %d, boot time %d: a log of more than %d checkpoints, or of %d years", n, last, maxNoted, maxBoottime/(int64(time.Hour)*24*365))
		}
		x.noted = append(x.noted, noted{c.TextHash(), c.Boottime})
		return nil
	})
	limit := x.in.Policy.Require.MaxSilence
	got := fmt.Sprintf("%d checkpoints, at most %v apart, before event %d", n, time.Duration(most).Round(time.Millisecond), at)
	if err != nil {
		got = err.Error()
	}
	x.hold(err == nil && time.Duration(most) <= limit, E0, "heartbeat", Silence, fmt.Sprintf("a checkpoint at least each %v", limit), got,
		"the monitor was stopped, or the machine is too slow: allow more with max-silence")
}

// recompute judges the log twice: with what it was judged with, to hold it
// against what is said of it, and with what is the gate's.
func (x *examined) recompute(e *evidence.Evidence, in evidence.Inputs) bool {
	j, err := e.Replay(in)
	if err != nil {
		x.incomputable(err)
		return false
	}
	x.verdict = j.Verdict()
	text := x.verdict.Encode()
	want, err := evidence.ReadResult(filepath.Join(x.c.Dir, "verdict.json"), 64<<20)
	got := "the same"
	if err != nil {
		got = err.Error()
	} else if digest(want) != digest(text) {
		got = fmt.Sprintf("verdict.json says otherwise than the log: there it is sha256 %s, and computed %s", digest(want), digest(text))
	}
	x.hold(got == "the same", E0, "verdict of the log", VerdictDiffers, "verdict.json is what the log comes to", got, "somebody changed verdict.json: the log counts")

	own, err := x.intent(e, in)
	if err != nil {
		return false // which was told
	}
	// With the gate's own judge too: which one it was judged with is only the
	// manifest's word, and the first ones knew fewer findings.
	if j, err = e.ReplayNow(evidence.Inputs{Intent: own, Signatures: x.pack}); err != nil {
		x.incomputable(err)
		return false
	}
	x.ours, x.power = j.Verdict(), j.Power()
	x.s.Verdict, x.s.Score = string(x.ours.Verdict), x.ours.Score
	x.s.Job = x.verdict.Run.Job
	return true
}

// intent returns the gate's own.
func (x *examined) intent(e *evidence.Evidence, in evidence.Inputs) (*intent.Resolved, error) {
	want := x.in.Policy.Require.Intent
	switch {
	case want.SHA256 != "":
		got := "none"
		if b, err := e.Input(evidence.IntentInput); err == nil {
			got = digest(b)
		}
		x.hold(got == want.SHA256, None, "intent", WrongIntent, "sha256 "+want.SHA256, "sha256 "+got, "the job was recorded with another intent than the one that was reviewed: pin the new one, or look for who changed it")
		if got == want.SHA256 {
			return in.Intent, nil
		}
		return nil, errors.New("another intent")
	case want.File != "":
		job := want.Job
		if job == "" && len(x.in.Policy.intent.Jobs()) > 0 {
			job = x.verdict.Run.Job
		}
		own, err := x.in.Policy.intent.Resolve(job)
		if err != nil {
			x.refuse(None, "intent", WrongIntent, "a section for the job", err.Error(), "say which one holds, with job: in the release policy")
			return nil, err
		}
		if want.Job != "" && x.verdict.Run.Job != "" && x.verdict.Run.Job != want.Job {
			x.refuse(None, "intent", WrongIntent, "the job "+want.Job, x.verdict.Run.Job, "the intent is that of another job")
			return nil, errors.New("another job")
		}
		x.pass(None, "intent", "judged with "+want.File)
		return own, nil
	}
	return nil, nil
}

// signature checks who signed.
func (x *examined) signature() {
	if x.c.Bundle == nil {
		x.refuse(E1, "signature", Unsigned, "a signed statement", "none in "+x.c.Dir, "sign it: run --keyless or --key, or 'edamame-posture sign'")
		return
	}
	var first *Check
	for i := range x.in.Policy.Identities {
		id := &x.in.Policy.Identities[i]
		res, err := attest.VerifyBundle(x.c.Bundle, id.policy(&x.in.Policy.Trust))
		if err == nil {
			x.res, x.id = res, id
			break
		}
		c := refusal(err)
		if first == nil || rank(c.Reason) > rank(first.Reason) {
			first = &c
		}
	}
	if x.res == nil {
		if first == nil {
			first = &Check{Name: "signature", Status: Unchecked, Reason: Unsigned, Got: "not checked: the policy names no identity"}
		}
		first.Level = E1
		x.add(*first)
		return
	}
	x.s.SHA256, x.s.bundle = digest(x.res.Payload), x.c.Bundle
	for _, t := range x.res.Times {
		at := t.Timestamp.UTC()
		if x.s.SignedAt == nil || at.Before(*x.s.SignedAt) {
			x.s.SignedAt = &at
		}
	}
	if x.byService() {
		x.s.Signer = "service " + x.id.Service + ", key " + x.res.KeyID
		x.pass(E1, "signature", x.s.Signer)
		return
	}
	if x.res.Certificate == nil {
		x.s.Signer = "key " + x.res.KeyID
		x.pass(E1, "signature", x.s.Signer)
		x.skip(E2, "identity", "a key signed it, which says nothing of repository, workflow or run")
		return
	}
	c := x.res.Certificate
	x.run, x.s.Run, x.s.Signer = c.RunInvocationURI, c.RunInvocationURI, c.SubjectAlternativeName
	x.pass(E1, "signature", "by "+x.s.Signer)
	x.identity(c)
}

// identity checks what of the certificate package attest does not compare.
func (x *examined) identity(c *certificate.Summary) {
	id := x.id
	x.pass(E2, "identity", fmt.Sprintf("repository %s (%s), trigger %s, ref %s", c.SourceRepositoryURI, c.SourceRepositoryIdentifier, c.BuildTrigger, c.SourceRepositoryRef))
	config, ref := c.BuildConfigURI, ""
	if i := strings.LastIndexByte(config, '@'); i >= 0 {
		config, ref = config[:i], config[i+1:]
	}
	want := id.Server + "/" + id.Repository + "/" + id.Workflow
	fits := config == want && slices.ContainsFunc(id.WorkflowRefs, func(p string) bool { ok, _ := path.Match(p, ref); return ok })
	x.hold(fits, max(x.named(E2), E1), "workflow", WrongIdentity, want+"@"+strings.Join(id.WorkflowRefs, " or "), c.BuildConfigURI, "another workflow of the repository was started")
	if x.in.Commit != "" {
		x.hold(c.SourceRepositoryDigest == x.in.Commit, x.named(E2), "commit", OtherCommit, x.in.Commit, c.SourceRepositoryDigest, "it was built from another commit: release what was built from this one")
	}
	if _, _, ok := parseRun(c.RunInvocationURI); !ok {
		x.refuse(E2, "run", OtherRun, "the URL of a run and attempt", c.RunInvocationURI, "the certificate names no run of GitHub's")
	}
}

// policy is what package attest must find.
func (id *Identity) policy(t *Trust) *attest.Policy {
	if id.key != nil {
		return &attest.Policy{Key: id.key}
	}
	signer, refs := id.Repository+"/"+id.Workflow, id.WorkflowRefs
	if id.Signer != "" {
		signer, refs = id.Signer, id.SignerRefs
	}
	return &attest.Policy{
		Root: t.root, LogOptional: t.LogOptional, SCTOptional: t.SCTOptional,
		Identity: attest.Identity{
			Issuer: id.Issuer, Workflow: id.Server + "/" + signer, WorkflowRefs: refs,
			Repository: id.Server + "/" + id.Repository, RepositoryID: id.RepositoryID, OwnerID: id.OwnerID,
			Refs: id.Refs, Triggers: id.Triggers, Runner: id.Runner,
		},
	}
}

// refusal gives an error of package attest its reason.
func refusal(err error) Check {
	c := Check{Name: "signature", Level: E1, Status: Refused, Reason: Malformed, Got: err.Error()}
	var e *attest.CheckError
	if errors.As(err, &e) {
		c.Name, c.Want, c.Got, c.Do = e.Check, e.Want, e.Got, e.Do
		if c.Got == "" {
			c.Got = fmt.Sprint(e.Cause)
		}
	}
	switch {
	case errors.Is(err, attest.ErrIdentity):
		switch c.Reason = WrongIdentity; c.Name {
		case "repository", "repository id", "owner id":
			c.Reason = WrongRepository
		case "trigger":
			c.Reason = WrongTrigger
		case "runner":
			c.Reason = WrongRunner
		}
	case errors.Is(err, attest.ErrTrust):
		if c.Reason = Untrusted; c.Name == "time of the signature" {
			c.Reason = Expired
		}
	case errors.Is(err, attest.ErrSignature):
		c.Reason = BadSignature
	case errors.Is(err, attest.ErrStatement):
		if c.Name == "predicate type" {
			c.Reason = PredicateType
		}
	case c.Name == "signer":
		c.Reason = WrongIdentity
	case c.Name == "verification":
		c.Reason = Untrusted
	}
	return c
}

// rank orders refusals by how far the check came, so that of several
// identities the nearest one's is told.
func rank(r Reason) int {
	return slices.Index([]Reason{WrongIdentity, Malformed, BadSignature, Untrusted, Expired, WrongRunner, WrongRepository, WrongTrigger, PredicateType}, r)
}

// statement holds what was signed against the evidence and against what is to
// be released.
func (x *examined) statement() {
	for _, a := range x.in.Artifacts {
		if x.about(a) {
			x.s.About = append(x.s.About, a.String())
		}
	}
	if x.c.Dir != "" {
		manifest, err := evidence.ReadResult(filepath.Join(x.c.Dir, "evidence", "manifest.json"), maxManifest)
		if err == nil {
			err = x.res.About(manifest)
		}
		got := "the evidence's own"
		if err != nil {
			got = err.Error()
		}
		x.hold(err == nil, E1, "statement", WrongEvidence, "the statement about this evidence", got, "the evidence was changed after it was signed, or is that of another run")
	}
	if x.verdict != nil {
		x.sayings()
	}
	if commit := x.in.Commit; commit != "" && x.res.Certificate == nil {
		x.hold(x.about(Artifact{Commit: commit}), x.named(E1), "commit", OtherCommit, commit, "a statement that does not name it", "sign in a checkout of it: the statement is about the commit then")
	}
	x.age()
}

// about reports whether the statement is about the artifact. Names do not
// count.
func (x *examined) about(a Artifact) bool {
	return slices.ContainsFunc(x.res.Subjects, func(s attest.Named) bool { return a.is(s) })
}

// is reports whether a subject is the artifact. Of an image there is only the
// word of whatever of the job wrote the runner's list, so that it is no file.
func (a Artifact) is(s attest.Named) bool {
	if a.Commit != "" {
		return s.Digest["gitCommit"] == a.Commit
	}
	return a.SHA256 != "" && s.Digest["sha256"] == a.SHA256 && !(a.File && s.MediaType != "")
}

// sayings compares what the statement says, for those who read no more than
// it, with what the log comes to; and the run with the certificate's.
func (x *examined) sayings() {
	dir := filepath.Join(x.c.Dir, "evidence", "manifest.json")
	manifest, err := evidence.ReadResult(dir, maxManifest)
	if err != nil {
		return // told before
	}
	p := x.res.Statement.Predicate
	again, err := attest.Make(manifest, x.verdict.Encode(), p.Monitor.Version)
	if err != nil {
		x.refuse(E1, "what the statement says", VerdictDiffers, "what the log comes to", err.Error(), "")
		return
	}
	for _, f := range []struct {
		what      string
		got, want any
	}{
		{"verdict", p.Verdict, again.Predicate.Verdict}, {"coverage", p.Coverage, again.Predicate.Coverage},
		{"event log", p.EventLog, again.Predicate.EventLog}, {"inputs", p.Inputs, again.Predicate.Inputs},
	} {
		got, _ := json.Marshal(f.got)
		want, _ := json.Marshal(f.want)
		if string(got) != string(want) {
			x.refuse(E1, "what the statement says", VerdictDiffers, f.what+" "+string(want), string(got), "the signer says otherwise than the log")
			return
		}
	}
	x.pass(E1, "what the statement says", "verdict, coverage, event log and inputs are those of the log")
	c := x.res.Certificate
	if c == nil {
		return
	}
	repository, attempt, _ := parseRun(c.RunInvocationURI)
	run := x.verdict.Run
	type field struct{ what, want, got string }
	fields := []field{
		{"repository", strings.TrimPrefix(c.SourceRepositoryURI, x.id.Server+"/"), run.Repository},
		{"commit", c.SourceRepositoryDigest, run.Commit},
		{"attempt", attempt, run.Attempt},
	}
	if x.commit != nil && x.commit.Claims != nil {
		x.claims = x.commit.Claims
		fields = append(fields, field{"issuer", c.Issuer, x.claims.Issuer}, field{"repository id", c.SourceRepositoryIdentifier, x.claims.RepositoryID},
			field{"attempt", attempt, x.claims.RunAttempt}, field{"run", repository, x.claims.RunID})
	}
	for _, f := range fields {
		if f.want != f.got && !(f.what == "run" && strings.HasSuffix(f.want, "/"+f.got)) {
			reason := OtherRun
			if f.what == "commit" {
				reason = OtherCommit
			}
			x.refuse(E2, "recorded "+f.what, reason, f.want, f.got, "the recording says another one than the certificate: it is of another job than the one that signed")
			return
		}
	}
	x.pass(E2, "recorded run", "repository, commit and attempt are those of the certificate")
}

// parseRun splits https://HOST/OWNER/REPO/actions/runs/ID/attempts/N.
func parseRun(s string) (run, attempt string, ok bool) {
	run, attempt, ok = strings.Cut(s, "/attempts/")
	_, err := strconv.ParseUint(attempt, 10, 32)
	_, id, found := strings.Cut(run, "/actions/runs/")
	_, err2 := strconv.ParseUint(id, 10, 64)
	return run, attempt, ok && found && err == nil && err2 == nil
}

// age holds the time of the signature, or, by a key, of the recording's end,
// against the policy.
func (x *examined) age() {
	var at time.Time
	if x.s.SignedAt != nil {
		at = *x.s.SignedAt
	} else if x.verdict != nil {
		at, _ = time.Parse(time.RFC3339Nano, x.verdict.Run.Ended)
	}
	if at.After(x.in.Now.Add(ahead)) {
		x.refuse(None, "age", TooOld, "a time that is past", at.Format(time.RFC3339), "a clock is wrong: the gate's, or that of who signed")
		return
	}
	if limit := x.in.Policy.Require.MaxAge; limit > 0 {
		x.hold(!at.IsZero() && x.in.Now.Sub(at) <= limit, None, "age", TooOld, "not older than "+limit.String(), at.Format(time.RFC3339), "build and record it anew")
	}
}

func powerText(p judge.Power) string {
	if p.State == judge.PowerNone {
		return "none"
	}
	return fmt.Sprintf("%s, first at event %d: %s", p.State, p.First, strings.Join(p.Ways, ", "))
}

// slot names the job that is recorded, as far as it is known.
func (x *examined) slot() string {
	switch {
	case x.res == nil:
		return ""
	case x.claims != nil:
		return "slot " + x.claims.Slot()
	case x.run != "" && x.verdict == nil:
		return "run " + x.run
	case x.run != "":
		return "run " + x.run + " job " + x.verdict.Run.Job
	}
	return "recording " + x.res.Statement.Predicate.MonitoredProcess.Event
}

// keptFrom reports whether the statement is of an earlier attempt of the run,
// by a job that was not done again.
func (x *examined) keptFrom(ctx context.Context, run string) bool {
	if x.in.Jobs == nil || x.verdict == nil {
		return false
	}
	want, _, ok := parseRun(run)
	got, attempt, ok2 := parseRun(x.run)
	if !ok || !ok2 || want != got {
		return false
	}
	var jobs []Job
	jobs, x.asked = x.in.Jobs(ctx, run)
	return slices.ContainsFunc(jobs, func(j Job) bool { return x.ofJob(&j) && strconv.FormatInt(j.Attempt, 10) == attempt })
}

// ofJob reports whether it is the recording of a job. The check run's number
// is the issuer's word; a name is the recording's.
func (x *examined) ofJob(j *Job) bool {
	if x.claims != nil && !x.byService() {
		return x.claims.CheckRunID == strconv.FormatInt(j.ID, 10)
	}
	return x.verdict != nil && x.verdict.Run.Job == j.Name
}

// payload reads the statement of a bundle without checking anything; nil where
// there is none.
func payload(bundle []byte) []byte {
	var b struct {
		Envelope struct{ Payload string } `json:"dsseEnvelope"`
	}
	if len(bundle) > maxStatement || json.Unmarshal(bundle, &b) != nil {
		return nil
	}
	text, err := base64.StdEncoding.DecodeString(b.Envelope.Payload)
	if err != nil {
		return nil
	}
	return text
}

// peek reads the predicate type of a bundle without checking anything.
func peek(bundle []byte) (string, bool) {
	var s struct {
		PredicateType string `json:"predicateType"`
	}
	if json.Unmarshal(payload(bundle), &s) != nil || s.PredicateType == "" {
		return "", false
	}
	return s.PredicateType, true
}

// manifests returns the digests that a bundle says it is about, of which
// nothing is checked.
func manifests(bundle []byte) map[string]bool {
	var s struct {
		Subject []attest.Named `json:"subject"`
	}
	out := map[string]bool{}
	if json.Unmarshal(payload(bundle), &s) != nil {
		return out
	}
	for _, sub := range s.Subject {
		out[sub.Digest["sha256"]] = true
	}
	return out
}
