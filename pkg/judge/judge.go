package judge

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/signature"
)

// Judge takes the events of one recording, in the order of its log, and says
// at any time what they come to. The same code serves the monitor while the
// job runs and whoever reads the log later; it holds no clock, no random
// number and no floating point, and looks at nothing but events, intent and
// signatures, so both come to the same bytes.
//
//	j := judge.New(in, pack)
//	for ev := range log {
//		j.Apply(ev)
//	}
//	os.Stdout.Write(j.Verdict().Encode())
//
// It is not safe for use by several goroutines at once.
type Judge struct {
	// OnHit, where it is set, is told of each match of a rule, which is folded
	// into a finding then. Both are valid until it returns.
	OnHit func(ev *event.Event, h *signature.Hit)
	// OnFinding, where it is set, is told of each finding when it is made. It is
	// valid until it returns.
	OnFinding func(f *Finding)

	in      *intent.Resolved
	pack    *signature.Pack
	weights *weights

	tree    *process.Tree
	names   *names.Table
	folder  *fact.Folder
	matcher *signature.Matcher
	input   signature.Input

	run      run
	coverage coverage
	barriers barriers
	agents   agents
	hits     findings
	hosts    map[netip.Addr]struct{}
	known    map[netip.Addr]bool // resolvers
	monitor  event.Actor
}

// New returns a judge of a recording that declared in, with the rules of pack.
// A nil intent is [intent.None]; a nil pack has no rules.
func New(in *intent.Resolved, pack *signature.Pack) *Judge {
	if in == nil {
		in = intent.None()
	}
	j := &Judge{in: in, pack: pack, weights: versions[len(versions)-1], tree: process.NewTree(maxImages), names: names.New(maxNames), hosts: make(map[netip.Addr]struct{}), known: make(map[netip.Addr]bool)}
	j.names.SetTree(j.tree)
	// One resolver is named from the start, so that an answer of one that is
	// not the machine's own is never believed.
	j.names.AddResolver(netip.AddrFrom4([4]byte{127, 0, 0, 53}))
	j.folder = fact.NewFolder(j.tree, j.names, fact.Folders{}, 0)
	j.folder.Explained = func(f *fact.Fact) bool {
		// What is held against a budget does not give way: its bytes count. Nor does
		// a destination where requests are limited: some may not have been read.
		return j.judge(f).status < undeclared && len(in.Budgeted(nil, f)) == 0 && !in.LimitsRequests(f)
	}
	if in.Requests() {
		j.folder.Requests, j.folder.Keys = in.LimitsRequests, in.KeysFor
	}
	if pack != nil {
		j.matcher = pack.Matcher()
		for _, e := range in.Entries() {
			if host, _, ok := strings.Cut(strings.TrimLeft(e.To, "*."), ":"); ok && !e.Deny && (e.Verb == fact.Connect || e.Verb == fact.Chain) {
				j.matcher.Grant(host)
			}
		}
	}
	j.hits.init()
	j.agents.init(j.tree)
	return j
}

// NewVersion is [New] with the tables of the version that evidence was judged
// by, such as "judge/1". It fails for one that this program does not have, as
// a later one: the verdict cannot be computed again, which says nothing of it.
func NewVersion(version string, in *intent.Resolved, pack *signature.Pack) (*Judge, error) {
	for _, w := range versions {
		if w.version == version {
			j := New(in, pack)
			j.weights = w
			return j, nil
		}
	}
	return nil, fmt.Errorf("the verdict is by %q, which this program does not have, so it cannot be computed again; use the program that made it, or a newer one than %s", version, Version)
}

// Apply takes the next event of the log. It keeps no reference to ev.
func (j *Judge) Apply(ev *event.Event) {
	n := j.tree.Apply(ev)
	j.resolver(ev)
	j.names.Apply(ev)
	j.coverage.apply(ev)
	j.barriers.apply(ev)
	j.run.apply(ev)
	if ev.Kind == event.Start || j.run.moved {
		j.run.moved = false
		j.folder.SetFolders(j.run.workspace)
	}
	if j.weights.agents && n != nil {
		if ev.Kind == event.Agent && ev.Via == event.ViaMonitor {
			j.declare(ev, n)
		} else if ev.Via == event.ViaLineage {
			j.saw(ev, n)
		}
	}
	f := j.folder.Apply(ev, n)
	if j.weights.agents && f != nil {
		j.touched(ev, n, f)
	}
	if ev.Via == event.ViaMonitor {
		if ev.Kind == event.SensorUp && j.monitor.IsZero() {
			j.monitor = ev.Actor
		}
		switch {
		case ev.Kind == event.Key:
			j.folder.Declare(ev)
		case ev.Kind == event.Disclosure:
			j.disclosure(ev, n)
		case ev.Kind == event.Drift && j.weights.drift:
			j.drifted(ev, n)
		case ev.Kind == event.End && j.matcher != nil:
			j.matched(ev, j.matcher.End())
		}
		return
	}
	j.tamper(ev, n)
	if ev.Kind == event.Connect && !ev.Dst.Addr().IsLoopback() && len(j.hosts) < maxHosts {
		j.hosts[ev.Dst.Addr()] = struct{}{}
	}
	if j.matcher == nil {
		return
	}
	j.input = signature.Input{Event: ev, Node: n, Fact: f}
	if !ev.Target.IsZero() {
		j.input.Target = j.tree.Get(ev.Target)
	}
	switch ev.Kind {
	case event.DNS:
		j.input.Resolver = j.folder.Resolver(ev.Dst)
	case event.Connect, event.Send, event.TLS, event.HTTP:
		// Once decided, the destination's name is that of its fact.
		if f == nil || f.Verb != fact.Connect && f.Verb != fact.Resolve {
			j.input.Host = j.hostOf(ev)
		}
	}
	j.indicator(ev, n, f)
	j.matched(ev, j.matcher.Apply(&j.input))
}

func (j *Judge) matched(ev *event.Event, hits []signature.Hit) {
	for i := range hits {
		j.hit(&hits[i])
		if j.OnHit != nil {
			j.OnHit(ev, &hits[i])
		}
	}
}

// forgotten returns how many groups of events the rules had no room for.
func (j *Judge) forgotten() uint64 {
	if j.matcher == nil {
		return 0
	}
	return j.matcher.Evicted()
}

// resolver takes notice of a resolver that the machine is, or seems to be,
// configured with.
func (j *Judge) resolver(ev *event.Event) {
	if ev.Kind == event.Note && ev.Via == event.ViaMonitor && ev.Dst.IsValid() {
		j.folder.AddResolver(ev.Dst.Addr())
	}
	// An answer leaves before it comes: who answers itself is found out in time.
	if ev.Kind == event.Send && ev.Src.Port() == 53 && (ev.Via == event.ViaLineage || ev.Via == event.ViaRequest) {
		if j.folder.Distrust(ev.Src.Addr()) {
			j.names.DropResolver(ev.Src.Addr())
			delete(j.known, ev.Src.Addr())
		}
		return
	}
	if ev.Kind != event.DNS && ev.Kind != event.Note || len(j.known) >= maxResolvers || !j.folder.Resolver(ev.Dst) || j.known[ev.Dst.Addr()] {
		return
	}
	j.known[ev.Dst.Addr()] = true
	j.names.AddResolver(ev.Dst.Addr())
}

// hostOf returns the name of the event's peer, as far as it is known by now.
func (j *Judge) hostOf(ev *event.Event) string {
	return j.names.Lookup(ev.Actor, ev.Dst.Addr(), ev.Sock).Name.String()
}

const (
	// maxHosts bounds what [Judge.Live] counts.
	maxHosts     = 1 << 12
	maxNames     = 1 << 14 // claims of a name
	maxResolvers = 64
	// maxImages bounds the process tree: some 10 MiB when full.
	maxImages = 1 << 14
)

// Facts returns every fact that is known by now, sorted.
func (j *Judge) Facts() []*fact.Fact { return j.folder.Facts() }

// Tree returns the processes of the recording. It changes with the next Apply.
func (j *Judge) Tree() *process.Tree { return j.tree }

// Names returns the names of addresses. It changes with the next Apply.
func (j *Judge) Names() *names.Table { return j.names }

// Progress is a look at a recording that goes on.
type Progress struct {
	Destinations int // distinct addresses beyond loopback, 4096 at most
	Findings     int // distinct findings
}

// Live says how far a recording has come. It costs nothing, where
// [Judge.Verdict] weighs every fact.
func (j *Judge) Live() Progress {
	return Progress{Destinations: len(j.hosts), Findings: len(j.hits.byID) + j.coverage.findings()}
}

// status says what a fact is to the intent.
type status uint8

const (
	unjudged  status = iota // no intent, or not this job's doing
	explained               // a grant covers it, or it needs none
	undeclared
	overBudget // granted, but not so many bytes
	forbidden
)

// judgement is what the intent says of one fact.
type judgement struct {
	status      status
	grant       *intent.Grant // that explains or forbids it
	severity    Severity      // of an undeclared or forbidden fact
	specificity int           // of what explains it
	free        bool          // it needs no grant under any intent
}

// judge holds a fact against the intent. It depends on the fact and the
// intent alone.
func (j *Judge) judge(f *fact.Fact) judgement {
	if f.Via == event.ViaHost || f.Via == event.ViaOutside {
		return judgement{}
	}
	listed := j.in.Limits(f.Verb)
	if g := j.in.Denied(f); g != nil {
		return judgement{status: forbidden, grant: g, severity: raise(j.weights.severityOf(f, listed))}
	}
	if !j.in.Present() {
		return judgement{}
	}
	if g := j.in.Explain(f); g != nil {
		return judgement{status: explained, grant: g, specificity: g.Specificity}
	}
	// What packages and DHCP change at any time would have to stand in every policy.
	if f.Scratch() || f.Verb == fact.Drift && DriftOf(f.Class.String()).Severity == Low {
		return judgement{status: explained, free: true}
	}
	if s := j.sessionOf(f); s != nil {
		switch covered := j.explains(s, f); {
		case !covered:
			return judgement{status: undeclared, severity: j.weights.severityOf(f, listed)}
		case j.in.Expects(s.agent.String()):
			return judgement{status: explained, free: true}
		}
	}
	if !listed && !always(f) {
		return judgement{status: explained}
	}
	return judgement{status: undeclared, severity: j.weights.severityOf(f, listed)}
}

// always reports whether a fact needs a grant under any intent, also one that
// lists nothing of its verb.
func always(f *fact.Fact) bool {
	switch f.Verb {
	case fact.Write:
		return f.Outside()
	case fact.Listen:
		return !f.Loopback()
	case fact.Drift:
		return true
	}
	return false
}

// run is what the verdict says of the recording itself.
type run struct {
	boot, host, job string
	argv            []string
	wall, began     int64 // at the start
	ended           int64 // wall time, from the end event
	last            int64
	root            event.Actor
	rooted          bool
	exit            int
	closed          bool
	labels          map[string]string
	workspace       fact.Folders
	moved           bool // the workspace became known
}

// labels are variables that name the run. A job can set them: they label.
var labels = []string{"GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_WORKFLOW", "GITHUB_JOB", "GITHUB_RUN_ATTEMPT"}

func (r *run) apply(ev *event.Event) {
	r.last = max(r.last, ev.Time)
	switch ev.Kind {
	case event.Start:
		if r.began != 0 {
			return
		}
		r.began, r.wall = ev.Time, ev.Wall
		r.boot, r.host, r.job = ev.Boot.String(), ev.Host.String(), ev.Job.String()
		r.argv = texts(ev.Argv)
		r.workspace = fact.Folders{Root: trimSlash(ev.Cwd.String()), Home: trimSlash(ev.Path.String())}
		r.label(ev)
	case event.Fork, event.Exec:
		if ev.Via != event.ViaLineage {
			return
		}
		if !r.rooted {
			r.rooted, r.root = true, ev.Actor
		}
		if ev.Kind == event.Fork {
			return
		}
		if len(r.argv) == 0 {
			r.argv = texts(ev.Argv)
		}
		if r.workspace.Root == "" && !ev.Cwd.IsZero() {
			r.workspace.Root, r.moved = trimSlash(ev.Cwd.String()), true
		}
		r.label(ev)
	case event.End:
		r.closed, r.ended, r.exit = true, ev.Wall, ev.Code
		if ev.Signal != 0 {
			r.exit = 128 + ev.Signal
		}
		if !ev.Actor.IsZero() {
			r.root = ev.Actor
		}
	}
}

// wallAt is the wall time of a moment of the recording, both in nanoseconds.
func (r *run) wallAt(t int64) int64 { return r.wall + (t - r.began) }

func (r *run) label(ev *event.Event) {
	for i := range ev.Env {
		name := ev.Env[i].Name.String()
		if name == "RUNNER_TEMP" && r.workspace.Temp == "" {
			r.workspace.Temp, r.moved = trimSlash(ev.Env[i].Value.String()), true
		}
		for _, l := range labels {
			if l != name {
				continue
			}
			if r.labels == nil {
				r.labels = make(map[string]string)
			}
			if _, ok := r.labels[l]; !ok {
				r.labels[l] = ev.Env[i].Value.String()
			}
		}
	}
}

func trimSlash(s string) string {
	for len(s) > 1 && s[len(s)-1] == '/' {
		s = s[:len(s)-1]
	}
	return s
}

func texts(list []redact.Text) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.String()
	}
	return out
}
