package judge

import (
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// Bounds of what is kept of agents. What is beyond is counted.
const (
	maxSessions = 64
	maxCalls    = 1024 // of one session
	maxOpen     = 64   // calls of a session that have not ended
	maxRoots    = 1024 // processes that an agent started, of one session
	maxPrograms = 256  // processes that run an agent's program
	maxAncestry = 256  // processes between a speaker and its agent
)

// hookCall stands for the call of what an agent starts to tell us something.
var hookCall = redact.Const("hook")

// agents holds what coding agents declared against the processes that the
// kernel told of. A declaration is the agent's word; which process is the agent,
// and what came from the shell that it started for a call, is the log's.
type agents struct {
	tree     *process.Tree
	sessions []*session
	byID     map[string]*session
	byRoot   map[processKey]*session // the one that a process is in now
	programs []*program
	known    map[processKey]*program
	left     uint64 // declarations of sessions that found no room
}

// processKey names a process, whatever program it runs.
type processKey struct {
	pid   uint32
	start int64
}

func keyOf(a event.Actor) processKey { return processKey{a.PID, a.Start} }

// session is one conversation of an agent.
type session struct {
	agent, id redact.Text
	label     redact.Text // agent:id
	root      *process.Node
	leaf      uint64
	began     int64
	ended     int64 // 0 while it goes on
	last      int64 // the last declaration
	prompts   uint64
	subagents uint64
	compacted uint64
	permitted uint64 // permissions that were asked for or decided
	refused   uint64
	unread    uint64
	repeated  uint64 // declarations of a call that was declared, or had ended
	orphaned  uint64 // results without a call
	written   written
	calls     []*call
	byID      map[string]*call
	open      []*call
	leftCalls uint64
	roots     []*execRoot
	started   map[processKey]*execRoot
	leftRoots uint64
}

// written is what an agent's own transcripts tell, held against what its hooks
// declared. It explains nothing: what the hooks did not say stays undeclared.
type written struct {
	files  uint64 // transcripts that were read
	missed uint64 // transcripts that were not, and what is not told of the others
	calls  map[string]bool
	// beyond are calls that no hook told of, first the leaf of the first.
	beyond uint64
	first  uint64
	tool   redact.Text
	at     int64
}

// call is one use of a tool.
type call struct {
	id, tool, text redact.Text
	effects        []redact.Text
	more           bool
	opaque         redact.Text // why it says less than it does; empty where it does not
	began, ended   int64
	background, ok bool
	numbered       bool // the agent gave it no id
	code           int
	leaf           uint64
	shell          *process.Node // what the agent started for it
}

// execRoot is a process that an agent started.
type execRoot struct {
	child    *process.Node // the process
	node     *process.Node // the first image of it, or of what it started, that executed a program
	leaf     uint64
	declared bool
	hook     bool
}

// program is a process that runs an agent's program.
type program struct {
	node  *process.Node
	agent redact.Text
	leaf  uint64
	acts  bool // it started something, or connected
	bound bool
}

func (a *agents) init(t *process.Tree) {
	a.tree, a.byID, a.byRoot, a.known = t, make(map[string]*session), make(map[processKey]*session), make(map[processKey]*program)
}

// idOf is what a session is called in scopes: ids of two agents may be equal.
func idOf(agent, session string) string { return agent + ":" + session }

// clientName is what hooks call an agent that environments call otherwise.
func clientName(agent redact.Text) redact.Text { return agent.TrimSuffix("-cli") }

// of returns the session that an image is in, or nil.
func (a *agents) of(n *process.Node) *session {
	if n == nil || n.AgentSession.IsZero() {
		return nil
	}
	for range maxAncestry {
		if s := a.byRoot[keyOf(n.Actor)]; s != nil {
			// A process may have had several sessions, one after the other.
			if s.label == n.AgentSession {
				return s
			}
			return a.byID[n.AgentSession.String()]
		}
		if n = n.Parent; n == nil {
			break
		}
	}
	return nil
}

func (s *session) isRoot(n *process.Node) bool { return n.SameProcess(s.root) }

// isOwn reports whether a process is the session's agent, or the same program
// that it started itself: some agents are a launcher and what that runs.
func (s *session) isOwn(n *process.Node) bool {
	for ; n != nil && !s.isRoot(n); n = n.Parent {
		if n.Execed && !clientName(n.AgentProgram()).Is(s.agent.String()) {
			return false
		}
	}
	return n != nil
}

// Bind says which process a declaration of a peer's is of: the agent that started
// it, for a session that is its own. why is empty where it may declare that.
//
// It is asked before the declaration is in the log, with all that happened before
// read, and changes nothing.
func (j *Judge) Bind(peer event.Actor, agent, id string) (root event.Actor, why string) {
	n := j.tree.Get(peer)
	if n == nil || n.Via != event.ViaLineage {
		return root, "it is no process of the recording"
	}
	at, why := j.agents.speaker(n, agent)
	if at == nil || why != "" {
		return root, why
	}
	root = at.Actor
	s := j.agents.byID[idOf(agent, id)]
	switch {
	case s == nil && len(j.agents.sessions) >= maxSessions:
		return root, "there are too many sessions"
	case s != nil && !s.isRoot(at) && !s.root.Exited:
		return root, "the session is another agent's"
	case s != nil && s.isRoot(at) && s.ended != 0:
		return root, "the session has ended"
	}
	if now := j.agents.byRoot[keyOf(at.Actor)]; now != nil && now.agent.String() != agent {
		return root, "the process is another agent's"
	}
	return root, ""
}

// speaker returns the agent that a process speaks for.
func (a *agents) speaker(n *process.Node, agent string) (at *process.Node, why string) {
	var in redact.Text        // the call that the speaker is in
	var between *process.Node // neither a shell nor ours, nor known for an agent
	for m := n; m != nil && m.Via == event.ViaLineage; m = m.Parent {
		if !m.Execed {
			continue // it runs its parent's program
		}
		if s := a.byRoot[keyOf(m.Actor)]; s != nil && !s.root.Exited || clientName(m.AgentProgram()).Is(agent) {
			if !in.IsZero() && in != m.Call {
				break // a call of that agent's own
			}
			if between != nil {
				return nil, "what spoke was not started by the agent itself"
			}
			return a.claims(m, agent)
		}
		if in.IsZero() && m.Call != hookCall {
			in = m.Call
		}
		switch name := m.Name(); {
		case m.SameProcess(n), shellProgram(name), carriesHooks[name]:
		case between == nil:
			between = m
		}
	}
	switch {
	case !in.IsZero():
		return nil, "it is said from inside a tool call"
	case between == nil:
		return nil, "no agent led to it"
	}
	return between, ""
}

// claims returns the outermost of the processes that are one agent, such as a
// launcher and what it started, and whether it may speak at all.
func (a *agents) claims(m *process.Node, agent string) (*process.Node, string) {
	for m.Parent != nil && m.Parent.Via == event.ViaLineage && a.byRoot[keyOf(m.Actor)] == nil && clientName(m.Parent.AgentProgram()).Is(agent) {
		m = m.Parent
	}
	if m.Call.IsZero() || m.Call == hookCall {
		return m, ""
	}
	// An agent that another one started, by a call that says so.
	if s := a.byRoot[keyOf(m.Actor)]; s != nil {
		return m, ""
	}
	if outer := a.of(m); outer != nil {
		if c := outer.byID[m.Call.String()]; c != nil && c.names("exec "+m.Name()) {
			return m, ""
		}
	}
	return nil, "it is said from inside a tool call, which names no agent"
}

func (c *call) names(effect string) bool {
	for _, e := range c.effects {
		if e.Is(effect) {
			return true
		}
	}
	return false
}

func shellProgram(name string) bool {
	switch name {
	case "sh", "dash", "bash", "zsh", "ash", "ksh":
		return true
	}
	return false
}

// carriesHooks are programs that may stand between an agent and what speaks.
var carriesHooks = map[string]bool{"edamame-hook": true, "edamame-posture": true, "env": true, "timeout": true}

// declare takes what an agent said. n is the agent's own process, or of what was
// refused who spoke.
func (j *Judge) declare(ev *event.Event, n *process.Node) {
	a := &j.agents
	if n == nil {
		return
	}
	id := idOf(ev.ToolAgent.String(), ev.ToolSession.String())
	if ev.Detail == event.AgentRefused {
		if s := a.byRoot[keyOf(ev.Target)]; s != nil {
			s.refused++
		}
		j.find(&Finding{
			Rule: "forged-declaration", Title: "A process declared what only the agent itself may declare", Severity: High,
			Technique: []string{"T1036", "T1562"}, Object: ev.ToolAgent.String() + ", " + ev.Name.String(),
			First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
			Do: "Find out which program spoke, and who started it. It was not believed: what it did counts as undeclared.", counts: true,
		}, n)
		return
	}
	s := a.byID[id]
	if ev.Detail == event.AgentUnread {
		// It names no session: it is the one that its agent is in.
		if s = a.byRoot[keyOf(n.Actor)]; s != nil {
			s.unread += max(ev.Count, 1)
		}
		return
	}
	if ev.Detail == event.AgentTranscript || ev.Detail == event.AgentWritten {
		if s != nil {
			s.wrote(ev)
		}
		return
	}
	if s == nil || !s.isRoot(n) || a.byRoot[keyOf(n.Actor)] != s && s.ended == 0 {
		if s = a.begin(ev, n, s); s == nil {
			return
		}
	}
	s.last = ev.Time
	switch ev.Detail {
	case event.AgentPrompt:
		s.prompts++
	case event.AgentSub:
		if !ev.OK {
			s.subagents++
		}
	case event.AgentCompact:
		s.compacted++
	case event.AgentPermission:
		s.permitted++
	case event.AgentEnd:
		s.ended = ev.Time
	case event.AgentCall, event.AgentBackground:
		j.called(s, ev)
	case event.AgentResult:
		s.result(ev)
	}
}

// wrote takes what a transcript tells.
func (s *session) wrote(ev *event.Event) {
	w := &s.written
	if ev.Detail == event.AgentTranscript {
		if ev.Name.IsZero() {
			w.files++
		} else {
			w.missed++
		}
		w.missed += ev.Lost
		return
	}
	id := ev.ToolCall.String()
	if w.calls == nil {
		w.calls = make(map[string]bool)
	}
	if w.calls[id] || len(w.calls) >= maxCalls {
		return
	}
	w.calls[id] = true
	if s.byID[id] == nil && ev.OK {
		if w.beyond++; w.beyond == 1 {
			w.first, w.tool, w.at = ev.Seq, ev.Name, ev.Time
		}
	}
}

// unhooked returns how many calls stand in a transcript that no hook declared,
// those aside for which there was no room.
func (s *session) unhooked() uint64 { return s.written.beyond - min(s.written.beyond, s.leftCalls) }

// unwritten returns how many calls were declared that stand in no transcript, and
// the first. It knows only where all transcripts were read whole.
func (s *session) unwritten() (n uint64, first *call) {
	if s.written.files == 0 || s.written.missed > 0 || len(s.written.calls) >= maxCalls {
		return 0, nil
	}
	for _, c := range s.calls {
		if !c.numbered && !s.written.calls[c.id.String()] {
			if n++; first == nil {
				first = c
			}
		}
	}
	return n, first
}

// begin makes n the process of a session, which may have been another's before
// that has ended.
func (a *agents) begin(ev *event.Event, n *process.Node, before *session) *session {
	s := before
	if s == nil {
		if len(a.sessions) >= maxSessions {
			a.left++
			return nil
		}
		s = &session{agent: ev.ToolAgent, id: ev.ToolSession, label: redact.Concat(ev.ToolAgent, redact.Const(":"), ev.ToolSession), leaf: ev.Seq, began: ev.Time, byID: make(map[string]*call), started: make(map[processKey]*execRoot)}
		a.sessions = append(a.sessions, s)
		a.byID[idOf(ev.ToolAgent.String(), ev.ToolSession.String())] = s
	}
	s.root, s.ended = n, 0
	a.byRoot[keyOf(n.Actor)] = s
	a.tree.Pin(n)
	a.tree.Bind(n, s.label)
	// A launcher, and what it started, are one agent.
	for m := n; m != nil; m = m.Parent {
		if p := a.known[keyOf(m.Actor)]; p != nil {
			p.bound = true
		}
	}
	for _, p := range a.programs {
		for m := p.node; m != nil && !p.bound; m = m.Parent {
			p.bound = m.SameProcess(n) && clientName(p.agent) == s.agent
		}
	}
	return s
}

// called takes a call.
func (j *Judge) called(s *session, ev *event.Event) {
	if may, _ := j.in.UsesTool(s.agent.String(), ev.Name.String()); !may {
		j.find(&Finding{
			Rule: "agent-tool-not-listed", Title: "An agent used a tool that the intent does not list", Severity: Medium, Technique: []string{"T1204"},
			Object: s.agent.String() + " " + ev.Name.String(), First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
			Do: "Look at what it did with it, and list the tool under agents: where that is meant.", counts: true,
		}, s.root)
	}
	if len(s.calls) >= maxCalls {
		s.leftCalls++
		return
	}
	c := &call{
		id: ev.ToolCall, tool: ev.Name, text: ev.ToolText, effects: append([]redact.Text(nil), ev.Argv...), more: ev.ArgvCut,
		began: ev.Time, leaf: ev.Seq, background: ev.Detail == event.AgentBackground, code: -1,
	}
	if c.id.IsZero() {
		c.numbered = true
		c.id = redact.Concat(redact.Const("#"), redact.Uint(uint64(len(s.calls)+1)))
	}
	if s.byID[c.id.String()] != nil || c.id == hookCall {
		s.repeated++ // the first word counts: a second one would explain what was done meanwhile
		return
	}
	for _, e := range c.effects {
		if why := e.TrimPrefix("opaque "); why != e && c.opaque.IsZero() {
			c.opaque = why
		}
	}
	s.calls, s.byID[c.id.String()] = append(s.calls, c), c
	if s.open = append(s.open, c); len(s.open) > maxOpen {
		s.open = s.open[1:]
	}
	for _, r := range s.roots {
		if r.declared || r.hook || !c.runs(r.node.Argv) {
			continue
		}
		// The declaration may have waited while its process began.
		if ev.From != 0 && r.node.Born > ev.From {
			c.shell, r.declared = r.node, true
			j.tree.Label(r.node, c.id)
			break
		}
		if !r.node.Exited {
			// What was started before it was declared was not declared.
			j.find(&Finding{
				Rule: "forged-declaration", Title: "A tool call was declared after it had begun", Severity: High,
				Technique: []string{"T1562"}, Object: s.agent.String() + ", late " + c.tool.String(),
				First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq, r.leaf},
				Do: "Look at what the call did: it counts as undeclared, since what says so came after it.", counts: true,
			}, r.node)
			break
		}
	}
}

// result ends a call: by its id, or the oldest of the same tool and command.
func (s *session) result(ev *event.Event) {
	at := -1
	for i, c := range s.open {
		if !ev.ToolCall.IsZero() && c.id == ev.ToolCall || ev.ToolCall.IsZero() && c.tool == ev.Name && c.text == ev.ToolText {
			at = i
			break
		}
	}
	if at < 0 {
		if !ev.ToolCall.IsZero() && s.byID[ev.ToolCall.String()] != nil {
			s.repeated++
		} else {
			s.orphaned++
		}
		return
	}
	c := s.open[at]
	c.ended, c.ok, c.code = ev.Time, ev.OK, ev.Code
	s.open = append(s.open[:at:at], s.open[at+1:]...)
}

// runs reports whether arguments are of the shell that runs the call's command:
// one is the command, or hands it to eval, or has it on lines of its own.
func (c *call) runs(argv []redact.Text) bool {
	want := strings.TrimSpace(c.text.String())
	if want == "" {
		return false
	}
	want, cut := uncut(want)
	for _, a := range argv[min(1, len(argv)):] {
		have, haveCut := uncut(strings.TrimSpace(a.String()))
		if cut || haveCut {
			// Both begin alike, as far as they are there.
			if n := min(len(have), len(want)); n >= 256 && have[:n] == want[:n] {
				return true
			}
		}
		if have == want || strings.Contains(have, "␊"+want+"␊") {
			return true
		}
		for _, quote := range []string{`'"'"'`, `'\''`} {
			quoted := strings.ReplaceAll(want, "'", quote)
			if strings.Contains(have, "eval '"+quoted+"'") || cut && strings.Contains(have, "eval '"+quoted) {
				return true
			}
			if !strings.Contains(want, "'") {
				break
			}
		}
	}
	return false
}

// uncut takes the mark off a text that was cut.
func uncut(s string) (string, bool) {
	i := strings.LastIndex(s, "[cut ")
	if i < 0 || !strings.HasSuffix(s, "]") {
		return s, false
	}
	return s[:i], true
}

// saw takes what a process did: whose call it is, before the folder folds it.
func (j *Judge) saw(ev *event.Event, n *process.Node) {
	a := &j.agents
	if ev.Kind == event.Exec {
		j.agentProgram(ev, n)
		if n.Call.IsZero() && isHook(ev) {
			n.Call = hookCall // also before it says of whose session it is
		}
	}
	if len(a.programs) > 0 && (ev.Kind == event.Fork || ev.Kind == event.Connect) {
		m := n
		if ev.Kind == event.Fork {
			m = n.Parent
		}
		if m != nil {
			if p := a.known[keyOf(m.Actor)]; p != nil {
				p.acts = true
			}
		}
	}
	if n.AgentSession.IsZero() {
		return
	}
	s := a.of(n)
	if s == nil {
		return
	}
	if ev.Kind == event.Exec && !s.isRoot(n) && (n.Call.IsZero() || n.Call == hookCall) {
		s.match(ev, n)
	}
	if n.Late || n.Call.IsZero() || !acts(ev) {
		return
	}
	if c := s.byID[n.Call.String()]; c != nil && c.ended != 0 && !c.background && ev.Time > c.ended {
		n.Late = true
	}
}

// acts tells what a process that outlives its call may not do. That it goes on
// with what it has open is no act.
func acts(ev *event.Event) bool {
	switch ev.Kind {
	case event.Exec, event.Connect, event.Send, event.Listen, event.Rename, event.Link, event.Unlink, event.Chmod,
		event.Ptrace, event.MemAccess, event.Module, event.Mount, event.BPF:
		return true
	case event.Open:
		return ev.Err == 0 && (ev.Access&^event.Read != 0 || !ev.Class.IsZero())
	}
	return false
}

// match finds the call that the agent started a process for.
func (s *session) match(ev *event.Event, n *process.Node) {
	r := s.rootOf(ev, n)
	if n.Call == hookCall {
		if r != nil {
			r.hook = true
		}
		return
	}
	for _, c := range s.open {
		if c.shell != nil {
			continue
		}
		// A tool that names no command starts a program of its own.
		if c.runs(ev.Argv) || c.text.IsZero() && c.names("exec "+n.Name()) {
			c.shell, n.Call = n, c.id
			if r != nil {
				r.declared = true
			}
			return
		}
	}
}

// rootOf returns the process that the agent itself started, and that n is or
// came from.
func (s *session) rootOf(ev *event.Event, n *process.Node) *execRoot {
	m := n
	for range maxAncestry {
		if m.Parent == nil || s.isRoot(m.Parent) && !m.Parent.SameProcess(m) {
			break
		}
		m = m.Parent
	}
	if m.Parent == nil {
		return nil
	}
	key := keyOf(m.Actor)
	r := s.started[key]
	if r == nil {
		if len(s.roots) >= maxRoots {
			s.leftRoots++
			return nil
		}
		r = &execRoot{child: m, node: n, leaf: ev.Seq}
		s.roots, s.started[key] = append(s.roots, r), r
	}
	return r
}

// isHook reports whether a program is run to tell us something. Nobody has to
// believe it: nothing but its own exec is explained by that.
func isHook(ev *event.Event) bool {
	if base := ev.Exe.Base(); base.Is("edamame-hook") {
		return true
	}
	for i, a := range ev.Argv {
		if i > 2 {
			break
		}
		if a.Contains("edamame-hook ") || a.HasSuffix("edamame-hook") || a.Contains("edamame-posture hook ") {
			return !a.Contains(";") && !a.Contains("&") && !a.Contains("|") && !a.Contains("$(")
		}
	}
	return len(ev.Argv) > 1 && ev.Argv[1].Is("hook") && ev.Exe.Base().Is("edamame-posture")
}

// bypasses are options by which an agent asks nobody before it acts.
var bypasses = []string{
	"--dangerously-skip-permissions", "--allow-dangerously-skip-permissions", "--dangerously-bypass-approvals-and-sandbox", "--yolo",
	"--allow-all-tools", "--allow-all", "--bare", "--trust-all-tools", "--approval-mode=yolo", "--permission-mode=bypassPermissions",
}

// agentProgram takes the exec of an agent's program.
func (j *Judge) agentProgram(ev *event.Event, n *process.Node) {
	agent := n.AgentProgram()
	if agent.IsZero() || ev.Via != event.ViaLineage {
		return
	}
	a := &j.agents
	key := keyOf(n.Actor)
	if a.known[key] == nil && len(a.programs) < maxPrograms {
		p := &program{node: n, agent: agent, leaf: ev.Seq, bound: a.of(n) != nil && clientName(agent) == a.of(n).agent && n.Call.IsZero()}
		a.programs, a.known[key] = append(a.programs, p), p
	}
	for i, arg := range ev.Argv {
		two := redact.Concat(arg, redact.Const("="), argAfter(ev, i))
		for _, b := range bypasses {
			if arg.Is(b) || two.Is(b) {
				j.find(&Finding{
					Rule: "agent-permission-bypass", Title: "An agent was started so that it asks nobody before it acts", Severity: Low,
					Technique: []string{"T1562.001"}, Object: agent.String() + " " + b, First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
					Do: "Let it ask, or list the tools that it may use, unless the machine is thrown away after the job.", counts: true,
				}, n)
				break
			}
		}
	}
	if script := n.LifecycleScript(); installs(script) {
		j.find(&Finding{
			Rule: "agent-from-install-script", Title: "The install script of a package started a coding agent", Severity: Critical,
			Technique: []string{"T1195.002", "T1059"}, Object: agent.String() + " by " + script.String(), First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
			Do: "Treat what the machine's user can read as read by a stranger: known worms let agents look for secrets. Find out which package it was.", counts: true,
		}, n)
	}
}

func argAfter(ev *event.Event, i int) redact.Text {
	if i+1 < len(ev.Argv) {
		return ev.Argv[i+1]
	}
	return redact.Text{}
}

func installs(script redact.Text) bool {
	switch script.String() {
	case "preinstall", "install", "postinstall", "prepare", "prepublish":
		return true
	}
	return false
}
