package judge

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/signature"
)

// Bounds of the lists of a verdict. What is beyond is counted.
const (
	maxListed        = 500 // facts of each list
	maxListedFinding = 200
)

// leastTightness is how tight the grants for egress and credentials must be
// for a pass, in thousandths.
const leastTightness = 300

// Verdict weighs what was seen so far. It changes nothing, so it may be called
// at any time and as often as wanted.
func (j *Judge) Verdict() *Verdict {
	v, _ := j.weigh()
	return v
}

// weigh returns the verdict and what its ledger is made of.
func (j *Judge) weigh() (*Verdict, []item) {
	v := &Verdict{
		Version: 1, Run: j.run.describe(), Inputs: j.inputs(),
		Coverage:   j.coverage.verdict(j.run.last, j.forgotten()),
		Undeclared: []Fact{}, Forbidden: []Fact{},
	}
	var items []item
	var tight [4]tightness
	facts := j.folder.Facts()
	v.Findings = j.list(facts)
	if j.weights.agents {
		v.Agents = j.agentSessions(facts)
	}
	v.Facts.Total = uint64(len(facts))
	worst := -1
	spent := map[string]string{} // groups of uploads, by destination and doer
	budgets := j.budgets(facts)
	j.unread(facts, &v.Coverage)
	for _, f := range facts {
		g := j.judge(f)
		if g.status == explained && budgets.over(j.in, f) {
			g = judgement{status: overBudget, grant: g.grant, severity: uploadOver}
		}
		if t := tightnessOf(f); t >= 0 && g.status == explained && !g.free {
			tight[t].add(f.Object.String(), g.specificity)
		}
		switch g.status {
		case explained:
			v.Facts.Explained++
			continue
		case unjudged:
			continue
		}
		worst = max(worst, order[g.severity])
		v.Facts.Undeclared++
		word, cost, list := "undeclared", j.weights.points[order[g.severity]], &v.Undeclared
		if g.status == forbidden {
			word, cost, list = "forbidden", j.weights.denied[order[g.severity]], &v.Forbidden
		}
		verb := f.Verb.String()
		if g.status == overBudget {
			verb = "upload"
		}
		shown := j.fact(f, g)
		shown.Verb = verb
		if g.status == overBudget {
			shown.Grant = intent.LineWithUpload(f, budgets.least(j.in, f))
		}
		*list = append(*list, shown)
		by := ""
		if len(f.Who) > 0 {
			by = f.Who[0].String()
		}
		what := fmt.Sprintf("%s %s %s", word, verb, f.Object)
		it := item{
			severity: g.severity, points: cost,
			what:  withDoer(what, by),
			group: fmt.Sprintf("%s\x00%s\x00%s", g.severity, what, by),
			fact:  f, judged: g, line: shown.Grant,
		}
		if f.Verb == fact.Request {
			// They cost what the connection would without the grant, together with
			// what was too much on it: one more grant never raises the score.
			to := f.To.String() + "\x00" + by
			it.group = cmp.Or(spent[to], "request\x00"+to)
		}
		if g.status == overBudget {
			// One budget that is used up is one thing, whoever had a part in it.
			it.what = fmt.Sprintf("upload to %s over its budget: %s", f.Object, budgets.told(j.in, f))
			it.group = "upload\x00" + g.grant.Text
			spent[f.Object.String()+"\x00"+by] = it.group
		}
		items = append(items, it)
	}
	for _, l := range j.folder.LeftOut() {
		v.Facts.Total += l.Count + l.Explained
		v.Facts.Explained += l.Explained
		v.Facts.Undeclared += l.Count
		v.Facts.LeftOut += l.Count + l.Explained
		if l.Count == 0 {
			continue
		}
		s := j.weights.severityOf(&fact.Fact{Verb: l.Verb, Fresh: l.Fresh, Place: placeOf(l)}, j.in.Limits(l.Verb))
		worst = max(worst, order[s])
		if l.Verb == fact.Request {
			continue // those that are kept, which are many, cost what one connection does
		}
		items = append(items, item{
			severity: s, points: j.weights.points[order[s]],
			what:  fmt.Sprintf("%d more undeclared %s, too many to keep", l.Count, l.Verb),
			group: fmt.Sprintf("left\x00%s\x00%t%t%t", l.Verb, l.Outside, l.Fresh, l.Local),
		})
	}
	for i := range v.Findings {
		if f := v.Findings[i]; (f.Severity == Critical || f.counts) && f.Suppressed == nil {
			items = append(items, item{
				severity: f.Severity, points: j.weights.points[order[f.Severity]],
				what: withDoer("finding "+f.Rule+" "+f.Object, f.Actor.Exe), group: "finding\x00" + f.ID,
				finding: &f,
			})
		}
	}
	v.Ledger, v.Score = j.weights.ledger(items)
	if j.weights.power {
		p := j.Power()
		v.Power = &p
	}
	v.Tightness = Tightness{
		Egress: tight[tightEgress].mean(), Exec: tight[tightExec].mean(),
		Write: tight[tightWrite].mean(), Credentials: tight[tightCredentials].mean(),
	}
	v.Undeclared = cut(v.Undeclared, &v.Facts.LeftOut)
	v.Forbidden = cut(v.Forbidden, &v.Facts.LeftOut)
	j.decide(v, worst, tight[tightEgress].loose() || tight[tightCredentials].loose())
	v.Findings = j.cutFindings(v.Findings)
	return v, items
}

func withDoer(what, by string) string {
	if by == "" {
		return what
	}
	return what + " by " + by
}

func placeOf(l fact.Left) fact.Place {
	if l.Outside {
		return fact.System
	}
	return fact.Workspace
}

// cut bounds a list, gravest first, and counts what goes.
func cut(list []Fact, left *uint64) []Fact {
	slices.SortStableFunc(list, func(a, b Fact) int { return cmp.Compare(order[b.Severity], order[a.Severity]) })
	if len(list) > maxListed {
		*left += uint64(len(list) - maxListed)
		list = list[:maxListed]
	}
	return list
}

// cutFindings bounds the findings, the gravest first, with one in the place of
// those that are not listed.
func (j *Judge) cutFindings(list []Finding) []Finding {
	var more uint64
	s := Info
	for o, n := range j.hits.left {
		if n > 0 {
			more, s = more+n, bySeverity[o]
		}
	}
	if len(list) > maxListedFinding {
		if j.weights.everyRule {
			list = topOfEachFirst(list, maxListedFinding)
		}
		more += uint64(len(list) - maxListedFinding)
		for i := maxListedFinding; i < len(list); i++ {
			if o := list[i].Severity; order[o] > order[s] {
				s = o
			}
		}
		list = list[:maxListedFinding]
	}
	if more == 0 {
		return list
	}
	return append(list, Finding{
		ID: findingID("left-out", nil, ""), Rule: "left-out", Title: "More findings than are listed", Severity: s,
		Technique: []string{}, Actor: actorOf(nil, nil), Object: "findings", First: j.run.began, Last: j.run.last,
		Count: more, Leaves: []uint64{}, Do: "Work through the findings above; the log has the rest.",
	})
}

// topOfEachFirst puts n findings before the others: the first of each rule, and
// what then is first. Those before and those after keep their order.
func topOfEachFirst(list []Finding, n int) []Finding {
	chosen, count := make([]bool, len(list)), 0
	seen := make(map[string]bool)
	for i := range list {
		if count < n && !seen[list[i].Rule] {
			seen[list[i].Rule], chosen[i] = true, true
			count++
		}
	}
	for i := 0; count < n && i < len(list); i++ {
		if !chosen[i] {
			chosen[i] = true
			count++
		}
	}
	out := make([]Finding, 0, len(list))
	for _, want := range []bool{true, false} {
		for i := range list {
			if chosen[i] == want {
				out = append(out, list[i])
			}
		}
	}
	return out
}

// decide sets the outcome and its reasons. worst is the order of the gravest
// fact that is undeclared or forbidden, -1 for none.
func (j *Judge) decide(v *Verdict, worst int, loose bool) {
	v.Reasons = []Reason{}
	because := func(when bool, r Reason) {
		if when {
			v.Reasons = append(v.Reasons, r)
		}
	}
	found := -1
	for i := range v.Findings {
		if v.Findings[i].Suppressed == nil {
			found = max(found, order[v.Findings[i].Severity])
		}
	}
	for o, n := range j.hits.left {
		if n > 0 {
			found = max(found, o)
		}
	}
	partial := v.Coverage.State != "complete"
	because(!j.in.Present(), NoIntent)
	because(partial, PartialCoverage)
	because(v.Facts.Undeclared > uint64(len(v.Forbidden)), Undeclared)
	because(len(v.Forbidden) > 0, Forbidden)
	because(found >= order[Medium], HasFinding)
	because(j.in.Present() && loose, LowTightness)

	v.Verdict = Pass
	if len(v.Reasons) > 0 {
		v.Verdict = Review
	}
	on := j.in.FailOn()
	if on.Never {
		return
	}
	threshold, ok := order[Severity(on.Severity)]
	switch {
	case ok && on.Severity != "" && max(worst, found) >= threshold,
		on.Score > 0 && v.Score >= on.Score,
		on.Coverage && partial:
		v.Verdict = Fail
	}
}

// The verbs that tightness is told of.
const (
	tightEgress = iota
	tightExec
	tightWrite
	tightCredentials
)

// tightnessOf returns which tightness a fact counts for, or -1. What stays on
// this machine is no egress.
func tightnessOf(f *fact.Fact) int {
	switch f.Verb {
	case fact.Connect:
		if !f.Loopback() {
			return tightEgress
		}
	case fact.Exec:
		return tightExec
	case fact.Write:
		return tightWrite
	case fact.Credential, fact.Chain:
		return tightCredentials
	}
	return -1
}

// tightness is how specific the grants were that explained the objects of a
// verb. An object that several did counts once, by the loosest grant.
type tightness struct {
	of map[string]int
}

func (t *tightness) add(object string, specificity int) {
	if t.of == nil {
		t.of = make(map[string]int)
	}
	if have, ok := t.of[object]; !ok || specificity < have {
		t.of[object] = specificity
	}
}

// mean returns the mean in thousandths, rounded down; -1 where nothing counts.
func (t *tightness) mean() int {
	if len(t.of) == 0 {
		return -1
	}
	sum := 0
	for _, s := range t.of {
		sum += s
	}
	return sum / len(t.of)
}

// loose reports whether a pass is out of reach: the mean is too low, or a
// grant that names nothing was needed. A mean alone could be raised by doing
// more of what is granted exactly.
func (t *tightness) loose() bool {
	for _, s := range t.of {
		if s == 0 {
			return true
		}
	}
	return len(t.of) > 0 && t.mean() < leastTightness
}

// fact is how a verdict shows a fact.
func (j *Judge) fact(f *fact.Fact, g judgement) Fact {
	out := Fact{
		Verb: f.Verb.String(), Who: texts(f.Who), Object: f.Object.String(), Severity: g.severity,
		Scope: Scope{
			Job: f.Job.String(), Step: f.Step.String(), Action: f.Action.String(),
			Container: f.ContainerName.String(), Agent: f.Agent.String(), Via: viaOf(f.Via),
			Session: f.Session.String(), Call: f.Call.String(),
		},
		First: f.First, Last: f.Last, Count: f.Count, Sent: f.Sent, Received: f.Received, Leaf: f.Leaf,
	}
	j.nameContainer(&out.Scope, f.ContainerName)
	if g.status == forbidden {
		out.Grant = g.grant.Text
		if o := g.grant.Origin; o.File != "" {
			out.Grant = fmt.Sprintf("%s (%s:%d:%d)", g.grant.Text, o.File, o.Line, o.Column)
		}
	} else {
		out.Grant = j.in.Line(f)
	}
	return out
}

func (j *Judge) inputs() Inputs {
	sum := sha256.Sum256(j.in.Canonical())
	in := Inputs{
		Judge:      Input{Name: "judge", Version: strings.TrimPrefix(j.weights.version, "judge/")},
		Intent:     Input{Name: "none"},
		Signatures: Input{Name: "none"},
	}
	in.Intent.SHA256 = hex.EncodeToString(sum[:])
	if j.in.Present() {
		in.Intent.Name = "intent"
		if job := j.in.Job(); job != "" {
			in.Intent.Name = "intent of job " + job
		}
	}
	if j.pack != nil {
		in.Signatures = packInput(j.pack)
	}
	return in
}

func packInput(p *signature.Pack) Input {
	return Input{Name: p.Name(), Version: p.Version(), SHA256: p.SHA256()}
}

// describe says what was watched.
func (r *run) describe() Run {
	out := Run{
		Repository: r.labels["GITHUB_REPOSITORY"], Commit: r.labels["GITHUB_SHA"], Workflow: r.labels["GITHUB_WORKFLOW"],
		Job: cmp.Or(r.job, r.labels["GITHUB_JOB"]), Attempt: r.labels["GITHUB_RUN_ATTEMPT"],
		Host: r.host, Command: Command{Argv: append([]string{}, r.argv...), Exit: -1},
	}
	out.ID = fmt.Sprintf("%s/%d.%d", r.boot, r.root.PID, r.root.Start)
	if r.closed {
		out.Command.Exit = r.exit
	}
	if r.wall != 0 {
		out.Started = stamp(r.wall)
		ended := r.ended
		if ended == 0 {
			ended = r.wall + (r.last - r.began)
		}
		out.Ended = stamp(ended)
	}
	return out
}

func stamp(wall int64) string { return time.Unix(0, wall).UTC().Format(time.RFC3339Nano) }
