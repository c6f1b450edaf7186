package judge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/judge"
)

// talk is a log in which an agent speaks.
type talk struct {
	*facttest.Log
	agent event.Actor
}

func newTalk() *talk {
	l := facttest.New("claude", "-p", "do it")
	return &talk{l, l.Run(l.Root, "/usr/local/bin/claude", "claude", "-p", "do it")}
}

// says adds a declaration of the agent's, as a monitor writes it.
func (l *talk) says(what, call, command string, effects ...string) *event.Event {
	ev := event.Event{
		Kind: event.Agent, Via: event.ViaMonitor, Actor: l.agent, ToolAgent: facttest.Text("claude-code"), ToolSession: facttest.Text("s1"),
		Detail: facttest.Text(what), ToolCall: facttest.Text(call), ToolText: facttest.Text(command), Argv: facttest.Texts(effects...),
	}
	if call != "" {
		ev.Name = facttest.Text("Bash")
	}
	ev.OK = what == "result"
	return l.Add(ev)
}

// shell is the process that an agent starts for a command.
func (l *talk) shell(command string) event.Actor {
	return l.Run(l.agent, "/bin/bash", "bash", "-c", "shopt -u extglob && eval '"+strings.ReplaceAll(command, "'", `'"'"'`)+"' < /dev/null && pwd -P >| /tmp/cwd")
}

func found(v *judge.Verdict) (out []string) {
	for _, f := range v.Findings {
		out = append(out, f.Rule+" "+f.Object)
	}
	return out
}

func undeclared(v *judge.Verdict) (out []string) {
	for _, f := range v.Undeclared {
		out = append(out, f.Verb+" "+f.Object)
	}
	return out
}

const named = "version: 1\nuse: [agents]\nagents: {claude-code: {}}\nexec: [claude]\nwrite: [nothing]\n"

func TestACallExplainsWhatCameFromItsShellUntilItEnds(t *testing.T) {
	l := newTalk()
	l.says("session", "", "")
	l.says("call", "c1", "make 'a b'", "exec make")
	sh := l.shell("make 'a b'")
	mk := l.Run(sh, "/usr/bin/make", "make", "a b")
	l.Write(mk, facttest.Root+"/out.o")
	l.says("result", "c1", "make 'a b'")
	l.says("end", "", "")
	l.End(0)
	v := run(t, named, l.Log)
	if v.Score != 0 || len(v.Undeclared) != 0 || len(v.Findings) != 0 || len(v.Agents) != 1 || v.Agents[0].Coverage != 1000 {
		t.Errorf("score %d, %q, %q, %+v", v.Score, undeclared(v), found(v), v.Agents)
	}

	// The same, with one who goes on.
	l = newTalk()
	l.says("session", "", "")
	l.says("call", "c1", "make", "exec make")
	mk = l.Run(l.shell("make"), "/usr/bin/make", "make")
	l.says("result", "c1", "make")
	l.Write(mk, facttest.Root+"/late.o")
	l.End(0)
	v = run(t, named, l.Log)
	if got := fmt.Sprint(found(v), undeclared(v)); !strings.Contains(got, "agent-undeclared-effect write late.o") || !strings.Contains(got, "write late.o]") {
		t.Error(got)
	}

	// Where the call says that it goes on, it may.
	l = newTalk()
	l.says("session", "", "")
	l.says("background", "c1", "make", "exec make")
	mk = l.Run(l.shell("make"), "/usr/bin/make", "make")
	l.says("result", "c1", "make")
	l.Write(mk, facttest.Root+"/late.o")
	l.End(0)
	if v = run(t, named, l.Log); len(v.Undeclared) != 0 {
		t.Errorf("%q", undeclared(v))
	}
}

// Time alone explains nothing: what the agent starts beside a call is not the call.
func TestWhatRunsBesideACallIsUndeclared(t *testing.T) {
	for name, beside := range map[string]string{
		"another command": "curl http://203.0.113.9/", "the command with more behind it": "make; curl http://203.0.113.9/", "part of a word": "xmake",
	} {
		l := newTalk()
		l.says("session", "", "")
		l.says("call", "c1", "make", "exec make")
		l.shell("make")
		l.Write(l.shell(beside), facttest.Root+"/beside")
		l.says("result", "c1", "make")
		l.End(0)
		v := run(t, named, l.Log)
		if got := fmt.Sprint(undeclared(v)); !strings.Contains(got, "write beside") || v.Agents[0].Coverage != 500 {
			t.Errorf("%s: %s, coverage %d", name, got, v.Agents[0].Coverage)
		}
	}
}

// Some agents are a launcher and what that runs: who speaks is the launcher, who
// writes is the other. Another program that it starts writes for itself.
func TestWhatAnAgentsLauncherRunsWritesForIt(t *testing.T) {
	for name, c := range map[string]struct {
		argv []string
		want string
	}{
		"the same agent":  {[]string{"/usr/local/bin/claude", "claude", "--worker"}, "[]"},
		"another program": {[]string{"/usr/bin/python3", "python3", "x.py"}, "[exec /usr/bin/python3 write made.txt write made.txt.tmp]"},
	} {
		l := newTalk()
		worker := l.Run(l.agent, c.argv[0], c.argv[1:]...)
		l.says("session", "", "")
		call := l.says("call", "c1", "", "write "+facttest.Root+"/made.txt")
		call.Name = facttest.Text("Write")
		l.Write(worker, facttest.Root+"/made.txt")
		l.Write(worker, facttest.Root+"/made.txt.tmp")
		l.says("result", "c1", "")
		l.End(0)
		v := run(t, named, l.Log)
		if got := fmt.Sprint(undeclared(v)); got != c.want {
			t.Errorf("%s: undeclared %s, want %s", name, got, c.want)
		}
	}
}

// Two calls with the same command each have a shell, and one call has one.
func TestACallHasOneShell(t *testing.T) {
	l := newTalk()
	l.says("session", "", "")
	for _, id := range []string{"c1", "c2"} {
		l.says("call", id, "true", "exec true")
	}
	for range 3 {
		l.shell("true")
	}
	l.End(0)
	v := run(t, named, l.Log)
	if s := v.Agents[0]; s.Started != 3 || s.Declared != 2 || s.Coverage != 666 || s.Calls[0].PID == s.Calls[1].PID {
		t.Errorf("%+v", s)
	}
}

// A host needs a grant, whoever says its name: the words of a call may be a
// stranger's.
func TestACallDoesNotExplainWhatLeavesTheMachine(t *testing.T) {
	talked := func() *facttest.Log {
		l := newTalk()
		l.says("session", "", "")
		l.says("call", "c1", "curl http://203.0.113.9/", "exec curl", "connect 203.0.113.9")
		l.Send(l.Run(l.shell("curl http://203.0.113.9/"), "/usr/bin/curl", "curl", "http://203.0.113.9/"), "203.0.113.9:80", 100)
		l.says("result", "c1", "curl http://203.0.113.9/")
		l.End(0)
		return l.Log
	}
	v := run(t, named, talked())
	if got := undeclared(v); len(got) != 1 || got[0] != "connect 203.0.113.9:80" {
		t.Errorf("%q", got)
	}
	if got := found(v); len(got) != 0 {
		t.Errorf("it did what it said, and is found: %q", got)
	}
	// A grant of the agent's own section covers it, and another agent's does not.
	for section, want := range map[string]int{"claude-code": 0, "codex": 1} {
		v = run(t, "version: 1\nagents:\n  "+section+": {egress: [\"203.0.113.9:80\"]}\n", talked())
		if n := strings.Count(fmt.Sprint(undeclared(v)), "connect"); n != want {
			t.Errorf("%s: %q", section, undeclared(v))
		}
	}
	// More grants never raise the score.
	if bare := run(t, "version: 1\nexec: [claude]\n", talked()); bare.Score < v.Score {
		t.Errorf("%d without the agent's section, %d with one", bare.Score, v.Score)
	}
}

// The grants of the agents' makers are for their programs, not for what these
// start for a call.
func TestThePresetsGrantsAreForTheAgentsOwnProgram(t *testing.T) {
	l := newTalk()
	l.says("session", "", "")
	l.Resolve(l.agent, "api.anthropic.com", "203.0.113.10")
	l.Send(l.agent, "203.0.113.10:443", 100)
	l.says("call", "c1", "./x", "exec x")
	sh := l.shell("./x")
	l.Resolve(sh, "api.anthropic.com", "203.0.113.10")
	l.Send(sh, "203.0.113.10:443", 100)
	l.says("result", "c1", "./x")
	l.End(0)
	v := run(t, "version: 1\nuse: [agents]\n", l.Log)
	if len(v.Undeclared) != 1 || v.Undeclared[0].Scope.Call != "c1" || v.Undeclared[0].Scope.Session != "claude-code:s1" {
		t.Errorf("%+v", v.Undeclared)
	}
}

// Who may declare is found out by lineage alone.
func TestWhoMayDeclare(t *testing.T) {
	l := newTalk()
	l.says("session", "", "")
	l.says("call", "c1", "./x", "exec x")
	inside := l.Run(l.shell("./x"), "/usr/local/bin/edamame-hook", "edamame-hook", "claude-code")
	l.says("call", "c2", "./y", "exec y")
	copied := l.Run(l.Run(l.shell("./y"), "/tmp/claude", "claude"), "/usr/local/bin/edamame-hook", "edamame-hook", "claude-code")
	l.says("call", "c3", "claude -p sub", "exec claude")
	nested := l.Run(l.Run(l.shell("claude -p sub"), "/usr/local/bin/claude", "claude"), "/usr/local/bin/edamame-hook", "edamame-hook", "claude-code")
	hook := l.Run(l.Run(l.agent, "/bin/sh", "sh", "-c", "edamame-hook claude-code"), "/usr/local/bin/edamame-hook", "edamame-hook", "claude-code")
	direct := l.Run(l.agent, "/usr/local/bin/edamame-hook", "edamame-hook", "claude-code")
	server := l.Run(l.Run(l.agent, "/usr/bin/node", "node", "server.js"), "/usr/local/bin/edamame-hook", "edamame-hook", "claude-code")
	other := l.Run(l.Run(l.Root, "/usr/local/bin/codex", "codex"), "/usr/local/bin/edamame-hook", "edamame-hook", "codex")
	second := l.Run(l.Run(l.Root, "/usr/local/bin/claude", "claude"), "/usr/local/bin/edamame-hook", "edamame-hook", "claude-code")
	j := judge.New(nil, nil)
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	for _, c := range []struct {
		name           string
		who            event.Actor
		agent, session string
		root           event.Actor
		why            string
	}{
		{"a hook in a shell", hook, "claude-code", "s1", l.agent, ""},
		{"a hook without one", direct, "claude-code", "s1", l.agent, ""},
		{"the agent itself", l.agent, "claude-code", "s1", l.agent, ""},
		{"a second session of the agent", hook, "claude-code", "s2", l.agent, ""},
		{"a child of a call", inside, "claude-code", "s1", event.Actor{}, "inside a tool call"},
		{"a child of a call, as another agent", inside, "codex", "s9", event.Actor{}, "inside a tool call"},
		{"a program that calls itself an agent, in a call", copied, "claude-code", "s9", event.Actor{}, "names no agent"},
		{"an agent that a call says to start", nested, "claude-code", "s9", event.Actor{}, ""},
		{"an agent that a call says to start, for this session", nested, "claude-code", "s1", event.Actor{}, "another agent's"},
		{"a server of the agent", server, "claude-code", "s1", event.Actor{}, "not started by the agent itself"},
		{"an agent under another name", hook, "codex", "s1", l.agent, "another agent's"},
		{"another agent", other, "codex", "s3", event.Actor{}, ""},
		{"another agent, for this session", second, "claude-code", "s1", event.Actor{}, "the session is another agent's"},
		{"a process that nobody heard of", event.Actor{PID: 9, Start: 9}, "claude-code", "s1", event.Actor{}, "no process of the recording"},
	} {
		root, why := j.Bind(c.who, c.agent, c.session)
		if (c.why == "") != (why == "") || !strings.Contains(why, c.why) || c.root != (event.Actor{}) && root != c.root {
			t.Errorf("%s: %+v %q, want %+v %q", c.name, root, why, c.root, c.why)
		}
	}
}

// writes adds what a monitor read in the agent's transcript.
func (l *talk) writes(call, tool string, done bool) {
	l.Add(event.Event{
		Kind: event.Agent, Via: event.ViaMonitor, Actor: l.agent, ToolAgent: facttest.Text("claude-code"), ToolSession: facttest.Text("s1"),
		Detail: event.AgentWritten, ToolCall: facttest.Text(call), Name: facttest.Text(tool), OK: done,
	})
}

func (l *talk) transcript(why string, lost uint64) {
	ev := event.Event{
		Kind: event.Agent, Via: event.ViaMonitor, Actor: l.agent, ToolAgent: facttest.Text("claude-code"), ToolSession: facttest.Text("s1"),
		Detail: event.AgentTranscript, Path: facttest.Text("/home/runner/.claude/s1.jsonl"), Lost: lost,
	}
	if why != "" {
		ev.Name = facttest.Text(why)
	}
	l.Add(ev)
}

// What the transcript tells and the hooks did not is a finding, the other way
// round it is said, and neither explains anything.
func TestTheTranscriptIsHeldAgainstTheHooks(t *testing.T) {
	for _, c := range []struct {
		name                                 string
		tell                                 func(l *talk)
		written, unhooked, unwritten, untold uint64
		finding                              string
	}{
		{"the same", func(l *talk) { l.transcript("", 0); l.writes("c1", "Bash", true) }, 1, 0, 0, 0, ""},
		{"none", func(*talk) {}, 0, 0, 0, 0, ""},
		{"one call more", func(l *talk) { l.transcript("", 0); l.writes("c1", "Bash", true); l.writes("c2", "Bash", true) }, 2, 1, 0, 0, "transcript-hook-mismatch claude-code Bash"},
		{"one call more, twice", func(l *talk) {
			for range 2 {
				l.transcript("", 0)
				l.writes("c1", "Bash", true)
				l.writes("c2", "Bash", true)
			}
		}, 2, 1, 0, 0, "transcript-hook-mismatch claude-code Bash"},
		{"one that was refused", func(l *talk) { l.transcript("", 0); l.writes("c1", "Bash", true); l.writes("c2", "Edit", false) }, 2, 0, 0, 0, ""},
		{"nothing of it", func(l *talk) { l.transcript("", 0) }, 0, 0, 1, 0, "transcript-hook-mismatch claude-code unwritten Bash"},
		{"a part of it", func(l *talk) { l.transcript("", 2) }, 0, 0, 0, 2, ""},
		{"what cannot be read", func(l *talk) { l.transcript("permission denied", 0) }, 0, 0, 0, 1, ""},
		{"what cannot be read beside one that says more", func(l *talk) { l.transcript("", 0); l.writes("c2", "Bash", true); l.transcript("no", 0) }, 1, 1, 0, 1, "transcript-hook-mismatch claude-code Bash"},
	} {
		l := newTalk()
		l.says("session", "", "")
		l.says("call", "c1", "make", "exec make")
		l.shell("make")
		l.Write(l.shell("other"), facttest.Root+"/beside")
		l.says("result", "c1", "make")
		l.says("end", "", "")
		before := run(t, named, l.Log)
		c.tell(l)
		l.End(0)
		v := run(t, named, l.Log)
		s := v.Agents[0]
		if s.Written != c.written || s.Unhooked != c.unhooked || s.Unwritten != c.unwritten || s.Untold != c.untold {
			t.Errorf("%s: %+v", c.name, s)
		}
		if got := strings.Join(found(v), "|"); !strings.Contains(got, c.finding) || c.finding == "" && strings.Contains(got, "transcript") {
			t.Errorf("%s: %s", c.name, got)
		}
		// It may say what it likes: nothing is explained by it.
		if v.Score < before.Score || len(v.Undeclared) != len(before.Undeclared) || s.Declared != before.Agents[0].Declared || s.Started != before.Agents[0].Started || s.Last != before.Agents[0].Last {
			t.Errorf("%s: score %d after %d, %+v after %+v", c.name, v.Score, before.Score, s, before.Agents[0])
		}
	}
}

// A shell by which an agent looks around is no call. Where it stands says which
// one that is, not what is among its arguments: these a call can choose.
func TestAShellThatCallsItselfTheAgentsOwnCounts(t *testing.T) {
	snapshot := func(l *talk, by event.Actor) event.Actor {
		return l.Run(by, "/bin/bash", "bash", "-c", "-l", "SNAPSHOT_FILE=/home/runner/.claude/shell-snapshots/snapshot-bash-1-a.sh\nsource ~/.bashrc")
	}
	for _, c := range []struct {
		name              string
		act               func(l *talk)
		started, declared uint64
		silent            bool
	}{
		{"before the first call", func(l *talk) {
			snapshot(l, l.agent)
			l.says("call", "c1", "make", "exec make")
			l.shell("make")
		}, 1, 1, false},
		{"between the first call's declaration and its shell", func(l *talk) {
			l.says("call", "c1", "make", "exec make")
			snapshot(l, l.agent)
			l.shell("make")
		}, 1, 1, false},
		{"after a call's shell, with hooks that are silent", func(l *talk) {
			l.says("call", "c1", "make", "exec make")
			l.shell("make")
			snapshot(l, l.agent)
		}, 2, 1, true},
		{"a second one", func(l *talk) {
			l.says("call", "c1", "make", "exec make")
			snapshot(l, l.agent)
			snapshot(l, l.agent)
			l.shell("make")
		}, 2, 1, true},
		{"the words in the middle of a command", func(l *talk) {
			l.says("call", "c1", "make", "exec make")
			l.shell("SNAPSHOT_FILE=x; curl http://203.0.113.9/")
			l.shell("make")
		}, 2, 1, true},
		{"the environment, asked for when hooks are silent", func(l *talk) {
			l.says("call", "c1", "make", "exec make")
			l.shell("make")
			l.Run(l.agent, "/bin/bash", "bash", "-c", "env")
		}, 2, 1, true},
		{"by what another program of the agent's starts", func(l *talk) {
			server := l.Run(l.agent, "/usr/bin/python3", "python3", "server.py")
			l.says("call", "c1", "make", "exec make")
			snapshot(l, server)
			l.shell("make")
		}, 2, 1, false},
	} {
		l := newTalk()
		l.says("session", "", "")
		c.act(l)
		l.End(0)
		v := run(t, named, l.Log)
		if s := v.Agents[0]; s.Started != c.started || s.Declared != c.declared {
			t.Errorf("%s: %d of %d declared, want %d of %d", c.name, s.Declared, s.Started, c.declared, c.started)
		}
		if got := fmt.Sprint(found(v)); strings.Contains(got, "agent-hooks-silent") != c.silent {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

// An agent that a tool call of another one starts, and that says nothing, is one of
// its own; what an agent's launcher starts is not.
func TestAnAgentThatACallStartsAndThatIsSilentIsFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		act    func(l *talk)
		silent bool
	}{
		{"by a call", func(l *talk) {
			l.says("call", "c1", "npm ci", "exec npm")
			inner := l.Run(l.Run(l.shell("npm ci"), "/usr/bin/node", "node", "setup.js"), "/usr/local/bin/claude", "claude", "-p", "look")
			l.Send(inner, "127.0.0.1:8080", 10)
			l.says("result", "c1", "npm ci")
		}, true},
		{"by itself", func(l *talk) {
			worker := l.Run(l.agent, "/usr/local/bin/claude", "claude", "--worker")
			l.Send(worker, "127.0.0.1:8080", 10)
		}, false},
	} {
		l := newTalk()
		l.says("session", "", "")
		c.act(l)
		l.says("end", "", "")
		l.End(0)
		if got := fmt.Sprint(found(run(t, named, l.Log))); strings.Contains(got, "undeclared-agent claude-code") != c.silent {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

// Who puts something else where the hook's program lies changes what is told.
func TestAHookThatIsReplacedIsFound(t *testing.T) {
	l := newTalk()
	l.says("session", "", "")
	l.says("call", "c1", "./setup.sh", "exec setup.sh")
	l.Write(l.shell("./setup.sh"), facttest.Home+"/.local/bin/edamame-hook")
	l.says("result", "c1", "./setup.sh")
	l.End(0)
	if got := fmt.Sprint(found(run(t, named, l.Log))); !strings.Contains(got, "agent-config-changed /home/runner/.local/bin/edamame-hook") {
		t.Error(got)
	}
}

// A version of the judge that knew no agents says what it said.
func TestEarlierVersionsKnowNoAgents(t *testing.T) {
	l := newTalk()
	l.says("session", "", "")
	l.says("call", "c1", "true", "exec true")
	l.shell("other")
	l.End(0)
	j, err := judge.NewVersion("judge/3", resolved(t, named), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	v := j.Verdict()
	if v.Agents != nil || len(v.Findings) != 0 {
		t.Errorf("%+v %q", v.Agents, found(v))
	}
	for _, f := range v.Undeclared {
		if f.Scope.Session != "" || f.Scope.Call != "" {
			t.Errorf("%+v", f.Scope)
		}
	}
}

func TestAnAgentThatAnInstallScriptStartsIsCritical(t *testing.T) {
	l := facttest.New("npm", "ci")
	npm := l.Run(l.Root, "/usr/bin/node", "node", "/usr/bin/npm", "ci")
	sh := l.Fork(npm)
	sh.Image++
	l.Add(event.Event{Kind: event.Exec, Actor: sh, Exe: facttest.Text("/bin/sh"), Argv: facttest.Texts("sh", "-c", "claude"), Env: []event.Var{{Name: facttest.Text("npm_lifecycle_event"), Value: facttest.Text("postinstall")}}})
	l.Run(sh, "/usr/local/bin/claude", "claude", "--dangerously-skip-permissions", "-p", "find wallets")
	l.End(0)
	v := run(t, "", l)
	got := fmt.Sprint(found(v))
	if !strings.Contains(got, "agent-from-install-script claude-code by postinstall") || !strings.Contains(got, "agent-permission-bypass") || v.Score < 90 {
		t.Errorf("score %d: %s", v.Score, got)
	}
}
