package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/signature"
	"github.com/org/edamame-posture/pkg/witness"
)

// Input is what a decision is made of.
type Input struct {
	Policy    *Policy
	Artifacts []Artifact
	// Run is that of which the statements must be,
	// https://github.com/OWNER/REPO/actions/runs/ID/attempts/N, and Commit what
	// was built; where they are empty the statements must agree on one.
	Run, Commit string
	Now         time.Time
	// Jobs lists the jobs of a run; nil where nobody can be asked.
	Jobs func(ctx context.Context, run string) ([]Job, error)
	// File returns a file of a repository, OWNER/REPO, at a commit; nil where
	// nobody can be asked.
	File func(ctx context.Context, repository, path, commit string) ([]byte, error)
	// Statuses lists the statuses of a commit of a repository, OWNER/REPO; nil
	// where nobody can be asked.
	Statuses func(ctx context.Context, repository, commit string) ([]CommitStatus, error)
	// Keys returns the keys that an OIDC issuer has now; nil where it may not
	// be asked.
	Keys func(ctx context.Context, issuer string) (*jose.JSONWebKeySet, error)

	found   []Candidate
	sources []Check
}

// Add takes what a source gave. A source that could not be read counts: it may
// hold what would make the gate refuse.
func (in *Input) Add(list []Candidate, err error) {
	in.found = append(in.found, list...)
	if err == nil {
		return
	}
	c := Check{Name: "source", Status: Refused, Reason: SourceUnreadable, Got: err.Error(), Do: "point the gate at what it can read"}
	if silent(err) {
		c.Status, c.Reason, c.Do = Unknown, ServiceDown, "nothing is known to be wrong: try again later"
	}
	in.sources = append(in.sources, c)
}

// Decide holds what was found against the policy.
func Decide(ctx context.Context, in *Input) *Decision {
	once := *in
	in = &once
	if in.Jobs != nil {
		in.Jobs = remembered(in.Jobs)
	}
	if in.Keys != nil {
		in.Keys = remembered(in.Keys)
	}
	d := &Decision{
		Version: 1, Time: in.Now.UTC(), Artifact: append([]Artifact{}, in.Artifacts...), Policy: PolicyName{in.Policy.File, in.Policy.SHA256},
		Checks: append([]Check{}, in.sources...), Statements: []*Statement{}, Reasons: []Reason{},
	}
	pack, err := signature.Default()
	if err != nil {
		d.add(Check{Name: "signature pack", Status: Unknown, Reason: CannotRecompute, Got: err.Error()})
	}
	var all []*examined
	seen := map[string]bool{}
	// Of two copies the one with its evidence counts.
	found := slices.SortedStableFunc(slices.Values(in.found), func(a, b Candidate) int { return cmp.Compare(b2i(a.Dir == ""), b2i(b.Dir == "")) })
	for _, c := range found {
		if kind, is := peek(c.Bundle); is && kind != attest.PredicateType && !c.Named {
			d.SetAside = append(d.SetAside, Aside{c.Where, fmt.Sprintf("it is of another kind: %.200q", kind)})
			continue
		}
		if c.Bundle != nil {
			if sum := digest(c.Bundle); seen[sum] {
				continue
			} else {
				seen[sum] = true
			}
		}
		x := &examined{in: in, c: c, pack: pack, s: &Statement{Where: c.Where, About: []string{}, Checks: []Check{}}}
		x.examine(ctx)
		all = append(all, x)
	}
	all = d.ofThisRun(ctx, in, all)
	for _, x := range all {
		d.Statements = append(d.Statements, x.s)
	}
	d.coverArtifacts(in, all)
	onePerSlot(all)
	onePerArtifact(in, all)
	d.jobs(ctx, in, all)
	d.conclude(in.Policy.Require.Level)
	return d
}

// remembered asks once for each name.
func remembered[T any](ask func(context.Context, string) (T, error)) func(context.Context, string) (T, error) {
	type answer struct {
		value T
		err   error
	}
	known := map[string]answer{}
	return func(ctx context.Context, name string) (T, error) {
		a, ok := known[name]
		if !ok {
			a.value, a.err = ask(ctx, name)
			known[name] = a
		}
		return a.value, a.err
	}
}

// silent reports whether an error is that of a service that did not answer.
func silent(err error) bool {
	return errors.Is(err, attest.ErrUnavailable) || errors.Is(err, witness.ErrDown) || errors.Is(err, context.DeadlineExceeded)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (d *Decision) add(c Check) { d.Checks = append(d.Checks, c) }

// ofThisRun sets aside the statements of other runs, where one of the run that
// is wanted is there; and finds out which run that is where nobody says.
func (d *Decision) ofThisRun(ctx context.Context, in *Input, all []*examined) []*examined {
	if in.Run == "" {
		runs := map[string]bool{}
		for _, x := range all {
			if x.run != "" && len(x.s.About) > 0 {
				runs[x.run] = true
			}
		}
		if len(runs) > 1 {
			names := make([]string, 0, len(runs))
			for r := range runs {
				names = append(names, r)
			}
			slices.Sort(names)
			d.add(Check{Name: "run", Status: Refused, Reason: OtherRun, Want: "statements of one run", Got: strings.Join(names, " and "),
				Do: "say which run is released, with --run URL"})
		}
		return all
	}
	right := func(x *examined) bool { return x.run == in.Run || x.run == "" || x.keptFrom(ctx, in.Run) }
	var keep []*examined
	for _, x := range all {
		if right(x) {
			keep = append(keep, x)
		}
	}
	if slices.ContainsFunc(keep, func(x *examined) bool { return len(x.s.About) > 0 && x.run != "" }) {
		for _, x := range all {
			if !right(x) {
				d.SetAside = append(d.SetAside, Aside{x.c.Where, fmt.Sprintf("it is of the run %.300q", x.run)})
			}
		}
	} else {
		keep = all
	}
	for _, x := range keep {
		switch {
		case x.run == "":
			if x.res != nil {
				x.refuse(x.named(E1), "run", OtherRun, in.Run, "none: a key signed it", "a key says nothing of a run: leave --run out, or want an identity")
			}
		case right(x):
			x.pass(E2, "run", x.run)
		case silent(x.asked):
			x.add(Check{Name: "run", Level: x.named(E2), Status: Unknown, Reason: ServiceDown, Want: in.Run, Got: x.run + ": whether its job was kept is not known", Do: "try again later"})
		default:
			x.refuse(x.named(E2), "run", OtherRun, in.Run, x.run, "it is the statement of another run, or of another attempt: release what this run made")
		}
	}
	return keep
}

// coverArtifacts asks for a statement about each artifact.
func (d *Decision) coverArtifacts(in *Input, all []*examined) {
	if len(all) == 0 {
		status, reason := Refused, NothingFound
		for _, c := range in.sources {
			if c.Status == Unknown {
				status, reason = Unknown, ServiceDown
			}
		}
		do := "record the job that builds it, sign, and hand the gate the folder of results"
		d.add(Check{Name: "statement", Status: status, Reason: reason, Want: "a statement about the artifact", Got: "nothing", Do: do})
		return
	}
	if in.Policy.Require.Level < E1 && len(in.Artifacts) == 0 {
		return
	}
	if len(in.Artifacts) == 0 {
		d.add(Check{Name: "artifact", Level: E1, Status: Refused, Reason: WrongSubject, Want: "what is released", Got: "nothing", Do: "name it: --artifact FILE, --digest SHA256 or --commit SHA"})
	}
	good := slices.ContainsFunc(all, func(x *examined) bool { return x.res != nil })
	for _, a := range in.Artifacts {
		if !good && in.Policy.Require.Level < E1 {
			d.add(Check{Name: "artifact", Status: Refused, Reason: WrongSubject, Want: a.String(), Got: "no statement: at E0 nothing ties a file to a recording",
				Do: "require E1 or more, or ask the gate about the recording alone"})
			continue
		}
		if !good {
			d.add(Check{Name: "artifact", Level: E1, Status: Unchecked, Reason: WrongSubject, Want: a.String(), Got: "not checked: there is no statement by who is believed"})
			continue
		}
		c := Check{Name: "artifact", Level: min(E1, max(in.Policy.Require.Level, E0)), Want: a.String(), Status: Refused, Reason: WrongSubject, Got: "no statement about it",
			Do: "it was changed after it was attested, or is another one: release the file that the watched job made"}
		for _, x := range all {
			if x.res != nil && x.about(a) {
				c.Status, c.Reason, c.Do, c.Got = Passed, "", "", x.c.Where
			}
		}
		d.add(c)
	}
	// A statement about something else may be by another job that is asked for.
	for _, x := range all {
		if x.res != nil && len(x.s.About) == 0 && !in.Policy.Require.EveryJob && len(in.Policy.Require.Jobs) == 0 {
			x.refuse(x.named(E1), "subject", WrongSubject, artifactNames(in.Artifacts), subjects(x.res), "the file was changed after it was attested, or is another one")
		}
	}
}

// onePerSlot refuses two statements for one recorded job: one of them is not
// true, and nobody can tell which.
func onePerSlot(all []*examined) {
	slots := map[string][]*examined{}
	for _, x := range all {
		if slot := x.slot(); slot != "" {
			slots[slot] = append(slots[slot], x)
		}
	}
	const do = "some step signed a statement of its own: look for who asked for an identity token in that run, and build anew"
	for _, list := range slots {
		refuseAll(list, do)
	}
	// One that leaves out whose it is stands for any job of that name.
	jobs := map[string][]*examined{}
	for _, x := range all {
		if x.res != nil && x.run != "" && x.verdict != nil {
			name := x.run + " " + x.verdict.Run.Job
			jobs[name] = append(jobs[name], x)
		}
	}
	for _, list := range jobs {
		claimed := slices.ContainsFunc(list, func(x *examined) bool { return x.claims != nil })
		if claimed && slices.ContainsFunc(list, func(x *examined) bool { return x.claims == nil }) {
			refuseAll(list, do)
		}
	}
}

// onePerArtifact refuses two statements of one run about one file, whatever
// jobs they call themselves: the name of a job is the recording's own word, but
// for those that the policy names or GitHub lists.
func onePerArtifact(in *Input, all []*examined) {
	if in.Policy.Require.EveryJob {
		return // GitHub's list says which jobs there are
	}
	for _, a := range in.Artifacts {
		if a.SHA256 == "" {
			continue
		}
		runs := map[string][]*examined{}
		for _, x := range all {
			if x.res != nil && x.run != "" && x.about(a) && !slices.Contains(in.Policy.Require.Jobs, x.s.Job) {
				runs[x.run] = append(runs[x.run], x)
			}
		}
		for _, list := range runs {
			refuseAll(list, "name the jobs that make it under jobs; where only one does, some step signed a statement of its own")
		}
	}
}

// refuseAll refuses each of several statements of which there should be one.
func refuseAll(list []*examined, do string) {
	for _, x := range list {
		var others []string
		for _, o := range list {
			if o != x {
				others = append(others, o.c.Where)
			}
		}
		if len(others) > 0 {
			x.refuse(E1, "one statement", TwoStatements, "one statement for one job of a run", "another in "+strings.Join(others, " and "), do)
		}
	}
}

// conclude computes level and outcome.
func (d *Decision) conclude(want Level) {
	d.Outcome = Passed
	worse := func(s Status) {
		if s == Refused || s == Unknown && d.Outcome == Passed {
			d.Outcome = s
		}
	}
	count := func(c *Check) {
		if c.Level > want || c.Status != Refused && c.Status != Unknown {
			return
		}
		worse(c.Status)
		if !slices.Contains(d.Reasons, c.Reason) {
			d.Reasons = append(d.Reasons, c.Reason)
		}
	}
	// What is wrong with a statement comes first: the rest follows from it.
	for _, s := range d.Statements {
		for i := range s.Checks {
			count(&s.Checks[i])
		}
	}
	d.Level = E4
	lower := func(c *Check, l *Level, next *string) {
		if c.Status != Passed && c.Level != None && c.Level <= *l {
			*l, *next = c.Level-1, c.why()
		}
	}
	for _, s := range d.Statements {
		s.Level = E4
		next := ""
		for i := range s.Checks {
			lower(&s.Checks[i], &s.Level, &next)
		}
		if s.Level < d.Level {
			d.Level, d.Next = s.Level, next
		}
	}
	for i := range d.Checks {
		count(&d.Checks[i])
		lower(&d.Checks[i], &d.Level, &d.Next)
	}
	if len(d.Statements) == 0 {
		d.Level, d.Next = None, "there is no statement"
	}
	level := Check{Name: "level", Status: Passed, Want: want.String(), Got: d.Level.String()}
	if d.Level < want {
		level.Status, level.Reason, level.Got = Refused, LowLevel, d.Level.String()+": "+d.Next
		level.Do = "give the gate what the missing check needs"
		if d.Outcome == Unknown && !d.unchecked(want) {
			// All that is missing is what did not answer.
			level.Status = Unknown
		}
		worse(level.Status)
		if level.Status == Refused {
			d.Reasons = append(d.Reasons, LowLevel)
		}
	}
	d.add(level)
}

// unchecked reports whether a check up to a level was not made at all.
func (d *Decision) unchecked(want Level) bool {
	is := func(c Check) bool { return c.Status == Unchecked && c.Level != None && c.Level <= want }
	return slices.ContainsFunc(d.Statements, func(s *Statement) bool { return slices.ContainsFunc(s.Checks, is) })
}

func (c *Check) why() string {
	if c.Got != "" {
		return c.Name + ": " + c.Got
	}
	return c.Name
}

// String names the artifact.
func (a Artifact) String() string {
	if a.Commit != "" {
		return "commit " + a.Commit
	}
	return fmt.Sprintf("%s sha256 %s", a.Name, a.SHA256)
}

func artifactNames(list []Artifact) string {
	var out []string
	for _, a := range list[:min(len(list), 3)] {
		out = append(out, a.String())
	}
	return strings.Join(out, " or ")
}

func subjects(r *attest.Result) string {
	var out []string
	for _, s := range r.Subjects[:min(len(r.Subjects), 3)] {
		sum := s.Digest["sha256"]
		if sum == "" {
			sum = s.Digest["gitCommit"]
		}
		out = append(out, fmt.Sprintf("%.80s %.64s", s.Name, sum))
	}
	if n := len(r.Subjects) - 3; n > 0 {
		out = append(out, fmt.Sprintf("%d more", n))
	}
	return strings.Join(out, ", ")
}
