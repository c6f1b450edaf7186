package gate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge"
)

// Inode numbers of a machine's first namespaces, which Linux gives once for
// all: include/linux/proc_ns.h, PROC_PID_INIT_INO and PROC_USER_INIT_INO.
const (
	firstPID  = 0xEFFFFFFC
	firstUser = 0xEFFFFFFD
)

// start makes the checks of E3 and E4.
func (x *examined) start(ctx context.Context) {
	if c := x.commit; c == nil {
		x.refuse(E3, "commitment", NoCommitment, "what the monitor committed to before the job began", "none", "record with a monitor that makes one")
	} else {
		x.pass(E3, "commitment", "the log's start names it, and its key signed the first checkpoint")
		x.hold(c.Namespaces["pid"] == firstPID && c.Namespaces["user"] == firstUser, E3, "place of the monitor", NotHost, "the machine's first pid and user namespaces",
			fmt.Sprintf("pid %d, user %d", c.Namespaces["pid"], c.Namespaces["user"]), "in a container the monitor sees a part of the machine: record on the host")
		before := "nothing"
		if len(c.Before) > 0 {
			before = fmt.Sprintf("%d, the first is the %.20s %.100s", len(c.Before), c.Before[0].Kind, c.Before[0].Name)
		}
		x.hold(len(c.Before) == 0, E3, "what was there before", BeforeStart, "nothing that may act on the job", before, "make the monitor the first step, without container: and services:")
		x.hold(c.Barriers > 0, E3, "barrier", PowerTaken, "the way to root is sealed first", fmt.Sprintf("%d programs are held", c.Barriers), "seal the log (run with --key, --keyless, --witness or --seal); where it was, the kernel lacks fanotify permission events: 'edamame-posture doctor' tells")
	}
	if x.res != nil && x.res.Certificate != nil {
		x.hold(x.res.Certificate.RunnerEnvironment == "github-hosted", E3, "runner", WrongRunner, "github-hosted", x.res.Certificate.RunnerEnvironment, "a machine of one's own may have been changed before the job")
		x.outside(ctx)
		x.workflow(ctx)
	}
	if x.byService() {
		x.serviceOutside(ctx)
	}
	if x.ours != nil {
		v := x.ours.Coverage
		x.hold(v.State == "complete" && v.Lost == 0 && v.Witness == "agree" && x.power.Missed == 0, E3, "nothing lost", PartialCoverage, "complete, 0 lost, witnesses agree, no barrier missed",
			fmt.Sprintf("%s, %d lost, witness %s, %d barriers missed", v.State, v.Lost, v.Witness, x.power.Missed), "what was not seen may have been anything")
		x.hold(x.power.State != judge.PowerOpen, E3, "power", PowerTaken, "none, or by a grant of the gate's intent", powerText(x.power), "who has power over the machine can change what is recorded of it: drop sudo, or grant what needs it with root:")
	}
}

// outside holds what others said of the recording while it was made against
// it: the issuer of the job's identity, who signed the start, and the witness.
func (x *examined) outside(ctx context.Context) {
	if x.commit == nil {
		return // told before
	}
	if x.commit.Claims == nil {
		x.refuse(E3, "start token", OtherJob, "a commitment that says which job it is of", "none", "record with --keyless, in a job with id-token: write")
		return
	}
	issued, ok := x.startToken(ctx)
	if !ok {
		// Everything else would be held against a commitment that may be of any
		// job.
		return
	}
	x.endToken(ctx)
	x.startedJob(ctx, issued)
	begun := x.startStatement()
	record := x.firstRecord(ctx, issued)
	x.clocks(issued, begun, record)
	x.history(record)
}

// workflow looks at the workflow file as it was when it signed: the monitor is
// the first step of the job, and nothing of the job runs before it.
func (x *examined) workflow(ctx context.Context) {
	const name = "workflow file"
	trusted := x.in.Policy.Trust.Actions
	c := x.res.Certificate
	file, _, _ := strings.Cut(strings.TrimPrefix(c.SubjectAlternativeName, x.id.Server+"/"), "@")
	owner, rest, _ := strings.Cut(file, "/")
	repo, path, found := strings.Cut(rest, "/")
	switch {
	case len(trusted) == 0:
		x.skip(E3, name, "the policy names no release of the action under trust: actions")
		return
	case x.in.File == nil:
		x.skip(E3, name, "nobody can be asked for it: --github is not given")
		return
	case !found || c.BuildSignerDigest == "":
		x.refuse(E3, name, WrongWorkflow, "a workflow file and its commit", c.SubjectAlternativeName, "the certificate does not say which file")
		return
	}
	data, err := x.in.File(ctx, owner+"/"+repo, path, c.BuildSignerDigest)
	if err != nil {
		x.add(Check{Name: name, Level: E3, Reason: WrongWorkflow, Want: file + " at " + c.BuildSignerDigest, Do: "the token must be allowed to read it (contents: read)"}.unlessSilent(err))
		return
	}
	listed := ""
	if x.listed != nil {
		listed = x.listed.Name
	}
	got := firstStep(data, x.verdict.Run.Job, listed, x.id.Signer != "", trusted)
	x.hold(got == "", E3, name, WrongWorkflow, "the first step of the job "+x.verdict.Run.Job+" is "+strings.Join(trusted, " or ")+", without container and services", cmp.Or(got, "so it is"),
		"what runs before the monitor is not seen, and what is not pinned to a known release may be anything")
}

// firstStep says what is wrong with a job of a workflow file; empty where
// nothing is. listed is what GitHub calls the job that was recorded, empty
// where that is not known, and called says that the workflow is called by
// another one.
func firstStep(data []byte, job, listed string, called bool, trusted []string) string {
	src, docs := document.Parse("workflow", data)
	if len(docs) != 1 {
		return fmt.Sprintf("it cannot be read: %v", src.Err())
	}
	// A key that stands twice, as one of another meaning, is a mistake of src.
	entry := func(n *yaml.Node, key string) *yaml.Node {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		for _, p := range src.Any(n) {
			if p.Key == key {
				return p.Value
			}
		}
		return nil
	}
	at := entry(entry(docs[0], "jobs"), job)
	wrong := ""
	steps, uses := entry(at, "steps"), (*yaml.Node)(nil)
	if steps != nil && steps.Kind == yaml.SequenceNode && len(steps.Content) > 0 {
		uses = entry(steps.Content[0], "uses")
	}
	// The number of the check run is the issuer's word, the name of the job the
	// recording's: another job of the run must not pass for this one.
	display := job
	if n := entry(at, "name"); n != nil {
		display = n.Value
	}
	if i := strings.LastIndex(listed, " / "); called && i >= 0 {
		listed = listed[i+len(" / "):]
	}
	leg := entry(entry(at, "strategy"), "matrix") != nil && strings.HasPrefix(listed, display+" (") && strings.HasSuffix(listed, ")")
	switch {
	case strings.Contains(display, "${{"):
		wrong = "the name of the job is an expression, so nobody can tell which of the run's jobs it is"
	case listed != "" && listed != display && !leg:
		wrong = fmt.Sprintf("the job is called %.100q, and the recorded one %.100q", display, listed)
	case at == nil:
		wrong = fmt.Sprintf("it has no job %.100q", job)
	case entry(at, "container") != nil:
		wrong = "the job has a container"
	case entry(at, "services") != nil:
		wrong = "the job has services"
	case uses == nil:
		wrong = "the first step is none of an action"
	case !slices.Contains(trusted, uses.Value):
		wrong = fmt.Sprintf("the first step is %.200q", uses.Value)
	}
	if err := src.Err(); err != nil {
		return fmt.Sprintf("it cannot be read: %v", err)
	}
	return wrong
}
