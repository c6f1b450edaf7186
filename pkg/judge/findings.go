package judge

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/signature"
)

const (
	maxLeaves   = 16
	maxFindings = 200 // of each severity that are kept
	maxArgv     = 64  // arguments of an actor that a finding shows
	maxArg      = 512 // bytes of each
)

// findings holds what rules found, by id. Each severity has room of its own, so
// that many small ones do not keep a grave one out.
type findings struct {
	byID  map[string]*Finding
	count [len(bySeverity)]int
	// rules are those of which a finding is kept.
	rules map[string]bool
	// left counts, by severity, hits that found no room. One that comes again
	// is counted again.
	left [len(bySeverity)]uint64
}

func (f *findings) init() { f.byID, f.rules = make(map[string]*Finding), make(map[string]bool) }

// hit takes a match of a rule.
func (j *Judge) hit(h *signature.Hit) {
	r := h.Rule
	object := j.folder.Canonical(h.Object)
	j.find(&Finding{
		Rule: r.ID, Title: r.Title, Severity: levelOf(r.Level), Technique: append([]string{}, r.Technique...),
		Object: object.String(), First: h.First, Last: h.Last, Count: 1, Leaves: capped(h.Leaves), Do: r.Do, byRule: true,
	}, h.Node)
}

func levelOf(level string) Severity {
	if level == "informational" {
		return Info
	}
	if s := Severity(level); order[s] > 0 {
		return s
	}
	// A rule without a level is a rule of ours that forgot it.
	return Medium
}

func capped(leaves []uint64) []uint64 {
	return append([]uint64{}, leaves[:min(len(leaves), maxLeaves)]...)
}

// find takes a finding whose actor is n, or adds it to the one that it is.
func (j *Judge) find(f *Finding, n *process.Node) {
	lineage := j.lineage(n)
	f.lineage = lineage
	f.ID = findingID(f.Rule, lineage, f.Object)
	if have := j.hits.byID[f.ID]; have != nil {
		have.Count += f.Count
		have.First, have.Last = min(have.First, f.First), max(have.Last, f.Last)
		for _, leaf := range f.Leaves {
			if len(have.Leaves) == maxLeaves {
				break
			}
			if !slices.Contains(have.Leaves, leaf) {
				have.Leaves = append(have.Leaves, leaf)
			}
		}
		return
	}
	o := order[f.Severity]
	// The first of each rule always has room: a flood of one does not hide another.
	if j.hits.count[o] >= maxFindings && (!j.weights.everyRule || j.hits.rules[f.Rule]) {
		j.hits.left[o]++
		return
	}
	j.hits.count[o]++
	f.Actor, f.Scope = actorOf(n, lineage), scopeOf(n)
	if n != nil {
		f.container = n.Container
	}
	j.hits.byID[f.ID], j.hits.rules[f.Rule] = f, true
	if j.OnFinding != nil {
		j.OnFinding(f)
	}
}

// findingID is the same for the same rule, lineage and object, in this run and
// in the next.
func findingID(rule string, lineage []string, object string) string {
	sum := sha256.Sum256([]byte(rule + "\x00" + strings.Join(lineage, "\x01") + "\x00" + object))
	return hex.EncodeToString(sum[:8])
}

// lineage returns the names of n's program and of those that led to it.
func (j *Judge) lineage(n *process.Node) []string {
	if n == nil {
		return nil
	}
	return texts(j.folder.Lineage(n))
}

func actorOf(n *process.Node, lineage []string) Actor {
	a := Actor{Argv: []string{}, Lineage: []string{}}
	if n == nil {
		return a
	}
	a.PID, a.Start, a.Image = n.Actor.PID, n.Actor.Start, n.Actor.Image
	if len(lineage) > 1 {
		a.Lineage = append(a.Lineage, lineage[1:]...)
	}
	for m := n; m != nil; m = m.Parent {
		if !m.Exe.IsZero() {
			a.Exe, a.Argv = m.Exe.String(), argvOf(m.Argv)
			break
		}
	}
	return a
}

// argvOf returns the arguments, cut where they are long; the log has them whole.
func argvOf(argv []redact.Text) []string {
	out := make([]string, 0, min(len(argv), maxArgv))
	for i, t := range argv {
		if i == maxArgv {
			out = append(out, "…")
			break
		}
		if t.Len() > maxArg {
			out = append(out, t.Slice(0, maxArg).String()+"…")
			continue
		}
		out = append(out, t.String())
	}
	return out
}

func scopeOf(n *process.Node) Scope {
	if n == nil {
		return Scope{}
	}
	return Scope{
		Job: n.Job.String(), Step: n.Step.String(), Action: n.Action.String(),
		Container: n.Container.String(), Agent: n.Agent.String(), Via: viaOf(n.Via),
		Session: n.AgentSession.String(), Call: n.Call.String(),
	}
}

// nameContainer fills in what a container is called, which is known after some
// of what it did.
func (j *Judge) nameContainer(s *Scope, id redact.Text) {
	if c := j.tree.ContainerOf(id); c != nil {
		s.ContainerName, s.ContainerImage = c.Name.String(), c.Image.String()
	}
}

func viaOf(v event.Via) string {
	switch v {
	case event.ViaRequest, event.ViaHost, event.ViaOutside:
		return v.String()
	}
	return ""
}

// tamper finds what is done to the sensors themselves. No rule file is needed
// for these, and no policy allows them.
func (j *Judge) tamper(ev *event.Event, n *process.Node) {
	if !j.monitor.IsZero() && ev.Target.PID == j.monitor.PID && ev.Target.Start == j.monitor.Start && j.attack(ev, n) {
		return
	}
	if ev.Kind != event.BPF || ev.Via != event.ViaLineage && ev.Via != event.ViaRequest {
		return
	}
	switch ev.Op {
	case event.OpDetach:
		j.find(&Finding{
			Rule: "monitor-detach", Title: "The job detached a BPF program", Severity: Critical,
			Technique: []string{"T1562.001"}, Object: "bpf detach",
			First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
			Do: "Hold what this job made back: from here on it could act unseen. Find out which program did it.",
		}, n)
	case event.OpObject, event.OpMapUpdate:
		j.find(&Finding{
			Rule: "monitor-object", Title: "The job took hold of BPF objects", Severity: High,
			Technique: []string{"T1562.001"}, Object: "bpf " + ev.Op.String(),
			First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
			Do: "Find out why a job reads or writes BPF objects that it did not make; the sensors' own are among them.",
		}, n)
	}
}

// sigcont is SIGCONT, on every machine that Linux runs on but MIPS.
const sigcont = 18

// attack tells of an act upon the monitor itself, its files or its programs in
// the kernel. It returns false where that is none.
func (j *Judge) attack(ev *event.Event, n *process.Node) bool {
	what, severity := "", Critical
	switch ev.Kind {
	case event.Kill:
		// To ask whether it lives, or to let it go on, does it no harm.
		if ev.Signal == 0 || ev.Signal == sigcont {
			return false
		}
		what = fmt.Sprintf("signal %d", ev.Signal)
	case event.Ptrace, event.MemAccess:
		// ps opens the environment of every process, and ours holds nothing.
		if ev.Op == event.OpRead && ev.Path.HasSuffix("/environ") {
			return false
		}
		what = ev.Kind.String() + " " + ev.Op.String()
	case event.BPF:
		what = "bpf " + ev.Op.String()
		if ev.Op == event.OpObject {
			// It changes nothing yet: an agent that lists what there is does so too.
			severity = High
			if ev.Via == event.ViaOutside {
				severity = Medium
			}
		}
	case event.Open:
		what = "read of its files"
		switch {
		case ev.Access == event.Read && ev.Path.Is(fmt.Sprintf("/proc/%d/maps", j.monitor.PID)):
			return false // lsof(8) and fuser(1) read the maps of every process
		case ev.Err != 0:
			what, severity = "refused open of its files", Medium
		case ev.Access&^event.Read != 0:
			what = "write to its files"
		default:
			severity = High
		}
	case event.Rename, event.Unlink, event.Link, event.Chmod:
		what = ev.Kind.String() + " of its files"
	case event.Unix:
		// It was refused. Our own step may be meant, and come by another way.
		what, severity = "a request to end", Medium
	default:
		return false
	}
	j.find(&Finding{
		Rule: "monitor-attack", Title: "The monitor itself was acted upon", Severity: severity,
		Technique: []string{"T1562.001"}, Object: what,
		First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
		Do: "Hold what this job made back: from here on it could act unseen. Find out which program did it.",
	}, n)
	return true
}

// disclosure finds a secret in what the job printed. In another form than its
// own it is there on purpose: a runner masks what it knows.
func (j *Judge) disclosure(ev *event.Event, n *process.Node) {
	f := Finding{
		Rule: "secret-in-log", Title: "The job printed a secret, in a form that no mask hides", Severity: Critical,
		Technique: []string{"T1552", "T1567"}, Object: ev.Name.String() + ", " + ev.Detail.String(),
		First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
		Do: "Revoke this secret now, delete the log, and look for who read it. Find the program whose output it was.",
	}
	if ev.Detail.Is("plain") {
		f.Title, f.Severity = "The job printed a secret", High
	}
	j.find(&f, n)
}

// coverageFindings are what a person should look at of how it was seen.
func (c *coverage) coverageFindings() []Finding {
	var out []Finding
	add := func(e *event64, f Finding) {
		if e.n == 0 {
			return
		}
		f.ID = findingID(f.Rule, nil, f.Object)
		f.Actor = actorOf(nil, nil)
		f.First, f.Last, f.Count, f.Leaves = e.first, e.last, e.n, append([]uint64{}, e.leaves...)
		out = append(out, f)
	}
	add(&c.disagree, Finding{
		Rule: "sensor-disagreement", Title: "Two sensors counted different numbers of processes or sockets", Severity: High,
		Technique: []string{"T1562.001"}, Object: "fork, exec, exit and socket counts",
		Do: "Take this record as incomplete: a program may have been detached, or records stolen. Run the job again on a machine you trust.",
	})
	severity := Medium
	if c.missed > 0 {
		severity = High
	}
	add(&c.gapped, Finding{
		Rule: "coverage-lost", Title: "Something was not seen", Severity: severity,
		Technique: []string{"T1562"}, Object: "coverage",
		Do: "Look at coverage.gaps for what and when. What the job did then is in no record.",
	})
	return out
}

// list returns all findings, gravest first, then by first time and id.
func (j *Judge) list(facts []*fact.Fact) []Finding {
	out := append([]Finding{}, j.coverage.coverageFindings()...)
	out = append(out, j.agentFindings(facts)...)
	for _, f := range j.hits.byID {
		c := *f
		j.nameContainer(&c.Scope, c.container)
		c.Leaves = append([]uint64{}, f.Leaves...)
		slices.Sort(c.Leaves)
		c.Suppressed = j.suppressed(&c)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(order[b.Severity], order[a.Severity]), cmp.Compare(a.First, b.First),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.ID, b.ID),
		)
	})
	return out
}

// suppressed returns the suppression that holds for a finding at the time of
// the last event, or nil. What was done to the monitor, and gaps, cannot be
// suppressed.
func (j *Judge) suppressed(f *Finding) *Suppressed {
	if !f.byRule {
		return nil
	}
	list := j.in.Suppressions()
	for i := range list {
		s := &list[i]
		if s.Covers(f.Rule, f.lineage) && s.Holds(j.run.wallAt(j.run.last)) {
			return &Suppressed{Reason: s.Reason, Owner: s.Owner, Until: s.Until}
		}
	}
	return nil
}
