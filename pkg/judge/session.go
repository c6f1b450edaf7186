package judge

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// AgentSession is a coding agent's session: what it declared, and what it did.
type AgentSession struct {
	Agent   string `json:"agent"`
	Session string `json:"session"`
	Actor   Actor  `json:"actor"` // the agent's own process
	First   int64  `json:"first"` // boot time in nanoseconds
	Last    int64  `json:"last"`  // of the last declaration
	Ended   bool   `json:"ended"`
	Leaf    uint64 `json:"leaf"`
	Prompts uint64 `json:"prompts"`
	// Started counts the processes that the agent itself started, but for those
	// that tell us something; Declared those of them that were a tool call's.
	Started  uint64 `json:"started"`
	Declared uint64 `json:"declared"`
	// Coverage is Declared of Started in thousandths; -1 where nothing was started.
	Coverage  int    `json:"coverage"`
	Subagents uint64 `json:"subagents,omitempty"`
	Compacted uint64 `json:"compacted,omitempty"`
	Asked     uint64 `json:"permissions,omitempty"`
	Refused   uint64 `json:"refused,omitempty"`  // declarations that were not believed
	Unread    uint64 `json:"unread,omitempty"`   // payloads that could not be read
	Repeated  uint64 `json:"repeated,omitempty"` // calls or results that came again
	Orphaned  uint64 `json:"orphaned,omitempty"` // results without a call
	// Written counts the calls that the agent's own transcripts tell of, Unhooked
	// those of them that no hook declared, and Unwritten those that hooks declared
	// and no transcript tells of. Unwritten is 0 where one was not read whole:
	// Untold counts what of them was not.
	Written   uint64      `json:"written,omitempty"`
	Unhooked  uint64      `json:"unhooked,omitempty"`
	Unwritten uint64      `json:"unwritten,omitempty"`
	Untold    uint64      `json:"untold,omitempty"`
	Calls     []AgentCall `json:"calls"`
	LeftOut   uint64      `json:"left_out,omitempty"` // calls that are not listed
}

// AgentCall is one use of a tool.
type AgentCall struct {
	Call     string   `json:"call"`
	Tool     string   `json:"tool"`
	Command  string   `json:"command,omitempty"`
	Declared []string `json:"declared"`           // what is to be expected of it
	Opaque   string   `json:"opaque,omitempty"`   // why it says less than it does
	Outlives bool     `json:"outlives,omitempty"` // declared to go on after its end
	First    int64    `json:"first"`
	Last     int64    `json:"last,omitempty"` // 0 where no result was told
	OK       bool     `json:"ok"`
	Exit     int      `json:"exit"`          // as the agent says; -1 where it does not
	PID      uint32   `json:"pid,omitempty"` // of what the agent started for it
	Leaf     uint64   `json:"leaf"`
	Seen     []string `json:"seen"`           // what it did: "connect host:443/tcp"
	More     uint64   `json:"more,omitempty"` // of what it did, beyond those
}

const (
	maxListedCalls = 256
	maxSeen        = 24
)

// callOf returns the call that a fact is of: also where its declaration waited
// while its first process began.
func callOf(f *fact.Fact) redact.Text {
	if f.Call.IsZero() {
		return f.Node.Call
	}
	return f.Call
}

// sessionOf returns the agent's session that a fact is of, or nil.
func (j *Judge) sessionOf(f *fact.Fact) *session {
	if !j.weights.agents || f.Node == nil || f.Node.AgentSession.IsZero() || f.Via != event.ViaLineage {
		return nil
	}
	return j.agents.of(f.Node)
}

// explains reports whether an agent's own word covers a fact that no grant does.
// It covers programs and files of the workspace by lineage from the shell that
// was started for a call, as long as that goes on, and what stays on this
// machine where the call names it. A host, a credential, a file elsewhere and
// power need a grant: who talks an agent into a call writes its words too.
func (j *Judge) explains(s *session, f *fact.Fact) bool {
	switch f.Verb {
	case fact.Chain, fact.Power, fact.Drift:
		return false
	}
	if f.Late {
		return false
	}
	if callOf(f) == hookCall {
		return f.Verb == fact.Exec
	}
	if callOf(f).IsZero() {
		switch {
		case s.isRoot(f.Node) && f.Verb == fact.Exec:
			return true // the agent itself
		case s.isOwn(f.Node) && (f.Verb == fact.Write || f.Verb == fact.Delete) && !f.Outside():
			return j.wrote(s, f)
		}
		return s.isOwn(f.Node) && f.Verb == fact.Connect && j.fetched(s, f)
	}
	c := s.byID[callOf(f).String()]
	if c == nil {
		return false
	}
	switch f.Verb {
	case fact.Exec:
		return true
	case fact.Write, fact.Delete:
		return !f.Outside()
	case fact.Connect, fact.Request:
		return f.Loopback() && j.named(c, f)
	case fact.Listen:
		return f.Loopback()
	}
	return false
}

// fetched reports whether a tool of the agent's own, which the intent lists, was
// to reach the host of a fact.
func (j *Judge) fetched(s *session, f *fact.Fact) bool {
	for _, c := range s.calls {
		_, listed := j.in.UsesTool(s.agent.String(), c.tool.String())
		if listed && c.text.IsZero() && c.began <= f.Last && j.named(c, f) {
			return true
		}
	}
	return false
}

// wrote reports whether a file tool of the session names the file of a fact,
// declared before. Editors write to a name beside it first.
func (j *Judge) wrote(s *session, f *fact.Fact) bool {
	for _, c := range s.calls {
		if !c.text.IsZero() || c.began > f.Last {
			continue
		}
		if j.namesFile(c, "write ", f) {
			return true
		}
	}
	return false
}

func (j *Judge) namesFile(c *call, verb string, f *fact.Fact) bool {
	for _, e := range c.effects {
		name := e.TrimPrefix(verb)
		if name == e {
			continue
		}
		if name.HasPrefix("~/") {
			name = redact.Concat(redact.Const("/"), name.Slice(1, name.Len()))
			if !f.Path.HasSuffix(name.String()) {
				continue
			}
			return true
		}
		p := j.folder.Canonical(name)
		if f.Path == p || f.Path.HasPrefix(p.String()+".") || f.Path.HasPrefix(p.String()+"/") {
			return true
		}
	}
	return false
}

// named reports whether the call's own words name what a fact is about.
func (j *Judge) named(c *call, f *fact.Fact) bool {
	switch f.Verb {
	case fact.Connect, fact.Resolve, fact.Request:
		for _, e := range c.effects {
			to := e.TrimPrefix("connect ").String()
			if to == e.String() {
				continue
			}
			host, port := to, ""
			if i := strings.LastIndexByte(to, ':'); i > strings.LastIndexByte(to, ']') {
				host, port = to[:i], to[i+1:]
			}
			host = strings.Trim(host, "[]")
			if port != "" && port != fmt.Sprint(f.Addr.Port()) {
				continue
			}
			if f.Host.Is(host) || f.Addr.Addr().Unmap().String() == host || host == "localhost" && f.Loopback() {
				return true
			}
		}
		return false
	case fact.Credential:
		return j.namesFile(c, "read ", f)
	case fact.Write, fact.Delete:
		return !f.Outside() || f.Scratch() || j.namesFile(c, "write ", f)
	case fact.Listen:
		return f.Loopback()
	case fact.Exec:
		return true
	}
	return false
}

// Files that tell an agent what it may do and whom it tells, and those that it
// reads as instructions the next time. ** stands for any folders before.
var (
	settings = []string{
		".claude/settings.json", ".claude/settings.local.json", ".claude/hooks/", ".mcp.json", ".codex/config.toml", ".codex/hooks.json",
		".gemini/settings.json", ".copilot/hooks/", ".copilot/mcp-config.json", ".copilot/config.json", ".github/hooks/", ".cursor/hooks.json", ".cursor/mcp.json",
		".cursor/cli.json", ".openclaw/openclaw.json", "edamame-hook", "/etc/claude-code/", "/etc/codex/", "/etc/gemini-cli/",
	}
	memories = []string{
		"CLAUDE.md", "CLAUDE.local.md", "AGENTS.md", "GEMINI.md", ".cursorrules", ".github/copilot-instructions.md", ".claude/commands/", ".claude/agents/",
		".claude/skills/", ".claude/memory/", ".claude/rules/", ".codex/memories/", ".codex/prompts/", ".codex/rules/", ".cursor/rules/", ".gemini/commands/", ".openclaw/workspace/",
		".vscode/tasks.json",
	}
)

// matchesAny reports whether a path is one of the files, or below one of the
// folders, in whatever folder these lie.
func matchesAny(list []string, p string) bool {
	p = "/" + strings.TrimPrefix(path.Clean(p), "/")
	for _, l := range list {
		at := "/" + strings.TrimPrefix(l, "/")
		switch {
		case strings.HasSuffix(l, "/") && (strings.Contains(p, at) && l[0] != '/' || strings.HasPrefix(p, l)):
			return true
		case strings.HasSuffix(p, at) && l[0] != '/':
			return true
		}
	}
	return strings.Contains(p, "/.claude/projects/") && strings.Contains(p, "/memory/")
}

// touched finds an agent, or what it started, that writes what it is itself led
// by.
func (j *Judge) touched(ev *event.Event, n *process.Node, f *fact.Fact) {
	if n == nil || n.AgentSession.IsZero() || f.Verb != fact.Write && f.Verb != fact.Delete {
		return
	}
	name := ev.Path
	if ev.Kind == event.Rename || ev.Kind == event.Link {
		name = ev.NewPath
	}
	found := Finding{First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq}, counts: true}
	switch {
	case matchesAny(settings, name.String()):
		found.Rule, found.Severity, found.Technique = "agent-config-changed", High, []string{"T1562.001", "T1546"}
		found.Title = "An agent's settings or hooks were changed from inside its session"
		found.Do = "Put the file back, and look at what it allows or runs now. A policy's write: list says where that is meant."
	case f.Verb == fact.Write && matchesAny(memories, name.String()):
		found.Rule, found.Severity, found.Technique = "agent-persistence", Medium, []string{"T1546", "T1547"}
		found.Title = "An agent wrote what it reads as instructions in its next session"
		found.Do = "Read the file as a stranger's words before an agent does. A policy's write: list says where that is meant."
	default:
		return
	}
	if j.in.Present() && j.in.Explain(f) != nil {
		return
	}
	found.Object = f.Object.String()
	j.find(&found, n)
}

// installers are programs whose work is to reach out, wherever to: of a call that
// names one nobody expects the hosts.
var installers = map[string]bool{
	"npm": true, "npx": true, "pnpm": true, "yarn": true, "bun": true, "pip": true, "pip3": true, "uv": true, "poetry": true, "go": true, "cargo": true, "git": true, "gh": true,
	"mvn": true, "gradle": true, "apt": true, "apt-get": true, "brew": true, "gem": true, "bundle": true, "docker": true, "composer": true, "dotnet": true,
}

// agentFindings are those that come of what was declared and what was seen
// together.
func (j *Judge) agentFindings(facts []*fact.Fact) []Finding {
	if !j.weights.agents {
		return nil
	}
	var out []Finding
	byID := map[string]int{}
	add := func(f Finding, n *process.Node) {
		f.lineage = j.lineage(n)
		f.ID = findingID(f.Rule, f.lineage, f.Object)
		f.Actor, f.Scope = actorOf(n, f.lineage), scopeOf(n)
		if i, ok := byID[f.ID]; ok {
			have := &out[i]
			have.Count += f.Count
			have.First, have.Last = min(have.First, f.First), max(have.Last, f.Last)
			return
		}
		if len(out) >= maxFindings {
			return
		}
		byID[f.ID] = len(out)
		out = append(out, f)
	}
	for _, f := range facts {
		if s := j.sessionOf(f); s != nil {
			if found, ok := j.beyond(s, f); ok {
				add(found, f.Node)
			}
		}
	}
	for _, s := range j.agents.sessions {
		j.silences(s, add)
	}
	for _, p := range j.agents.programs {
		if p.bound || !p.acts || j.launched(p) {
			continue
		}
		add(Finding{
			Rule: "undeclared-agent", Title: "A coding agent ran, and declared nothing", Severity: Medium, Technique: []string{"T1562"},
			Object: p.agent.String(), First: p.node.Born, Last: max(p.node.Ended, p.node.Born), Count: 1, Leaves: []uint64{p.leaf}, counts: true,
			Do: "Install its hooks, so that what it does can be told from what others do: edamame-posture hook install.",
		}, p.node)
	}
	return out
}

// launched reports whether a program only started the agent that declared, or
// was started by it, and by no tool call.
func (j *Judge) launched(p *program) bool {
	for m := p.node.Parent; m != nil; m = m.Parent {
		if o := j.agents.known[keyOf(m.Actor)]; o != nil && o != p && o.agent == p.agent && o.node.Call == p.node.Call {
			return true
		}
	}
	for _, o := range j.agents.programs {
		if !o.bound || o.agent != p.agent {
			continue
		}
		for m := o.node; m != nil; m = m.Parent {
			if m.SameProcess(p.node) {
				return true
			}
		}
	}
	return false
}

// beyond returns what a fact of a session comes to that nobody said.
func (j *Judge) beyond(s *session, f *fact.Fact) (Finding, bool) {
	var found Finding
	severity := j.weights.severityOf(f, false)
	switch f.Verb {
	case fact.Connect, fact.Credential, fact.Chain, fact.Power, fact.Listen, fact.Resolve:
		if f.Verb != fact.Credential && f.Loopback() || f.Verb == fact.Resolve && j.folder.Resolver(f.Addr) {
			return found, false
		}
	case fact.Write, fact.Delete:
		if f.Scratch() || !f.Late && !f.Outside() {
			return found, false
		}
	case fact.Exec:
		if !f.Late {
			return found, false
		}
	default:
		return found, false
	}
	// What a grant covers was said, whoever did it.
	if j.in.Present() && (j.in.Explain(f) != nil || j.in.Denied(f) != nil) {
		return found, false
	}
	found = Finding{
		Severity: severity, Technique: []string{"T1204"}, Object: f.Verb.String() + " " + f.Object.String(),
		First: f.First, Last: f.Last, Count: f.Count, Leaves: []uint64{f.Leaf},
		// With an intent the fact itself counts.
		counts: j.judge(f).status < undeclared,
	}
	c := s.byID[callOf(f).String()]
	switch {
	case f.Late && f.Verb != fact.Credential && f.Verb != fact.Chain || callOf(f).IsZero() && !s.isRoot(f.Node):
		found.Rule, found.Title = "agent-undeclared-effect", "What an agent started did something that no tool call declares"
		if f.Late {
			found.Title = "A process went on after its tool call had ended"
		}
		found.Do = "Find out which program it was and who started it. It acts outside of every tool call."
	case callOf(f).IsZero():
		if f.Verb != fact.Connect && f.Verb != fact.Credential || !j.in.Expects(s.agent.String()) {
			return found, false // the agent's own servers are for an intent to say
		}
		found.Rule, found.Title = "agent-undeclared-effect", "An agent's own program did something that nothing declares"
		found.Do = "Look at whose server that is, and at what the agent was told to read before. A preset lists what the agent's maker runs."
	case c != nil:
		if j.named(c, f) || (f.Verb == fact.Connect || f.Verb == fact.Resolve) && !j.in.Present() && j.byInstaller(s, c, f) {
			return found, false
		}
		found.Rule, found.Title = "agent-beyond-declaration", "A tool call did more than it said"
		if !c.opaque.IsZero() {
			found.Title = "A tool call did more than it said, and hid what: " + c.opaque.String()
		}
		found.Do = "Read the script that the call ran, and find out who wrote it: what it did stands in no word of the call."
	default:
		return found, false
	}
	return found, true
}

// byInstaller reports whether a fact is the doing of a package manager that the
// call names. What that starts may be anybody's.
func (j *Judge) byInstaller(s *session, c *call, f *fact.Fact) bool {
	return len(f.Who) > 0 && installers[f.Who[0].String()] && c.names("exec "+f.Who[0].String())
}

// silences finds what is missing between the declarations of a session and what
// was seen.
func (j *Judge) silences(s *session, add func(Finding, *process.Node)) {
	var silent *execRoot
	var n uint64
	for _, r := range s.roots {
		if r.declared || r.hook || r.node.Born <= s.last || s.ended != 0 && r.node.Born > s.ended || !shellProgram(r.node.Name()) || s.inner(r) {
			continue
		}
		if silent == nil {
			silent = r
		}
		n++
	}
	if silent != nil && len(s.calls) > 0 {
		add(Finding{
			Rule: "agent-hooks-silent", Title: "An agent stopped declaring its tool calls, and went on", Severity: High, Technique: []string{"T1562.001"},
			Object: s.agent.String(), First: silent.node.Born, Last: silent.node.Born, Count: n, Leaves: []uint64{silent.leaf}, counts: true,
			Do: "Find out what switched its hooks off: its settings, or a call that changed them. All it did from here on is undeclared.",
		}, silent.node)
	}
	if n := s.unhooked(); n > 0 {
		add(Finding{
			Rule: "transcript-hook-mismatch", Title: "An agent's transcript tells of tool calls that its hooks did not declare", Severity: Medium, Technique: []string{"T1562.001"},
			Object: s.agent.String() + " " + s.written.tool.String(), First: s.written.at, Last: s.written.at, Count: n, Leaves: []uint64{s.written.first}, counts: true,
			Do: "Find out what kept its hooks from telling: its settings, a hook that did not end in time, or an agent that passes some tools over.",
		}, s.root)
	}
	if n, c := s.unwritten(); n > 0 {
		add(Finding{
			Rule: "transcript-hook-mismatch", Title: "Tool calls were declared that the agent's own transcript does not tell of", Severity: Info, Technique: []string{"T1036"},
			Object: s.agent.String() + " unwritten " + c.tool.String(), First: c.began, Last: max(c.ended, c.began), Count: n, Leaves: []uint64{c.leaf},
			Do: "Nothing, where the agent was broken off. Else look at who declared them: they explain what was seen meanwhile.",
		}, s.root)
	}
	var without *call
	n = 0
	for _, c := range s.calls {
		if c.ended != 0 && c.ok && !c.text.IsZero() && c.shell == nil {
			if without == nil {
				without = c
			}
			n++
		}
	}
	if without != nil {
		add(Finding{
			Rule: "agent-call-without-effect", Title: "A tool call says that it succeeded, and nothing was seen of it", Severity: Info, Technique: []string{},
			Object: s.agent.String() + " " + without.tool.String(), First: without.began, Last: without.ended, Count: n, Leaves: []uint64{without.leaf},
			Do: "Nothing, where it ran elsewhere. Else look at whether the hooks tell of what really runs.",
		}, s.root)
	}
}

// inner reports whether a process is a shell with which the agent finds out what
// the environment is, before it runs the first command. A call can choose what
// stands among the arguments of its shell, and a script how its own children
// begin: so it is the agent's own child that runs it, no call's shell came before,
// and there is one of a kind.
func (s *session) inner(r *execRoot) bool {
	kind := looks(r.node)
	if kind == 0 || !r.node.SameProcess(r.child) {
		return false
	}
	for _, c := range s.calls {
		if c.shell != nil && c.shell.Leaf < r.leaf {
			return false
		}
	}
	for _, o := range s.roots {
		if o == r {
			break
		}
		if looks(o.node) == kind {
			return false
		}
	}
	return true
}

// looks tells what a shell is to find out: 1 how it is set up, 2 the environment,
// 0 nothing of the kind.
func looks(n *process.Node) int {
	if !shellProgram(n.Name()) {
		return 0
	}
	for _, a := range n.Argv[min(1, len(n.Argv)):] {
		switch {
		case a.HasPrefix("SNAPSHOT_FILE="):
			return 1
		case a.Is("env") || a.Is("env -0"):
			return 2
		}
	}
	return 0
}

// agentSessions tells of each session what it said and did.
func (j *Judge) agentSessions(facts []*fact.Fact) []AgentSession {
	var out []AgentSession
	at := map[*call]*AgentCall{}
	for _, s := range j.agents.sessions {
		v := AgentSession{
			Agent: s.agent.String(), Session: s.id.String(), Actor: actorOf(s.root, j.lineage(s.root)), First: s.began, Last: s.last, Ended: s.ended != 0, Leaf: s.leaf,
			Prompts: s.prompts, Coverage: -1, Subagents: s.subagents, Compacted: s.compacted, Asked: s.permitted, Refused: s.refused, Unread: s.unread,
			Repeated: s.repeated, Orphaned: s.orphaned, LeftOut: s.leftCalls, Calls: []AgentCall{},
		}
		v.Written, v.Unhooked, v.Untold = uint64(len(s.written.calls)), s.unhooked(), s.written.missed
		v.Unwritten, _ = s.unwritten()
		for _, r := range s.roots {
			if r.hook || !r.declared && j.own(s, r) {
				continue
			}
			v.Started++
			if r.declared {
				v.Declared++
			}
		}
		if v.Started += s.leftRoots; v.Started > 0 {
			v.Coverage = int(v.Declared * 1000 / v.Started)
		}
		v.Calls = make([]AgentCall, 0, min(len(s.calls), maxListedCalls))
		for i, c := range s.calls {
			if i >= maxListedCalls {
				v.LeftOut += uint64(len(s.calls) - i)
				break
			}
			shown := AgentCall{
				Call: c.id.String(), Tool: c.tool.String(), Command: shortened(c.text), Declared: texts(c.effects), Opaque: c.opaque.String(), Outlives: c.background,
				First: c.began, Last: c.ended, OK: c.ok, Exit: c.code, Leaf: c.leaf, Seen: []string{},
			}
			if c.shell != nil {
				shown.PID = c.shell.Actor.PID
			}
			v.Calls = append(v.Calls, shown)
			at[c] = &v.Calls[len(v.Calls)-1]
		}
		out = append(out, v)
	}
	for _, f := range facts {
		if f.Node == nil || callOf(f).IsZero() {
			continue
		}
		s := j.agents.of(f.Node)
		if s == nil {
			continue
		}
		c := at[s.byID[callOf(f).String()]]
		what := f.Verb.String() + " " + f.Object.String()
		switch {
		case c == nil || slices.Contains(c.Seen, what):
		case len(c.Seen) >= maxSeen:
			c.More++
		default:
			c.Seen = append(c.Seen, what)
		}
	}
	return out
}

// own reports whether a process that an agent started is one of those by which
// its program works, as the intent says, or by which it looks around.
func (j *Judge) own(s *session, r *execRoot) bool {
	if s.inner(r) {
		return true
	}
	switch r.node.Name() {
	case "bash", "sh", "dash", "zsh":
		// Agents ask a shell how it is set up before they have a call to run.
		if len(s.calls) > 0 && r.leaf > s.calls[0].leaf {
			return false
		}
	}
	return j.in.Owns(s.agent.String(), r.node.Name())
}

func shortened(t redact.Text) string {
	if t.Len() > maxArg {
		return t.Slice(0, maxArg).String() + "…"
	}
	return t.String()
}
