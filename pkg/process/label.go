package process

import (
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/runner"
)

// agents is a set of coding agents, each the bit of its place in agentNames.
type agents uint16

var agentNames = []redact.Text{
	redact.Const("claude-code"), redact.Const("codex"), redact.Const("gemini-cli"), redact.Const("copilot"),
	redact.Const("cursor"), redact.Const("openclaw"), redact.Const("opencode"), redact.Const("antigravity"),
	redact.Const("augment"), redact.Const("cline"),
}

// otherAgent is the bit of an agent that only AI_AGENT names.
const otherAgent agents = 1 << 15

// agentMarkers are the variables, or prefixes of them, that agents set for
// what they start, with the bit of the agent. Variables that a person sets for
// an agent (CODEX_HOME, COPILOT_MODEL) are no markers.
var agentMarkers = []struct {
	name string
	bit  agents
}{
	{"CLAUDECODE", 1 << 0}, {"CLAUDE_CODE_", 1 << 0},
	{"CODEX_THREAD_ID", 1 << 1}, {"CODEX_TOOL_CALL_ID", 1 << 1}, {"CODEX_SESSION_ID", 1 << 1}, {"CODEX_CI", 1 << 1}, {"CODEX_SANDBOX", 1 << 1},
	{"GEMINI_CLI", 1 << 2}, {"GEMINI_SESSION_ID", 1 << 2},
	{"COPILOT_CLI", 1 << 3}, {"COPILOT_AGENT_", 1 << 3},
	{"CURSOR_AGENT", 1 << 4}, {"CURSOR_TRACE_ID", 1 << 4}, {"CURSOR_INVOKED_AS", 1 << 4},
	{"OPENCLAW_", 1 << 5},
	{"OPENCODE", 1 << 6}, {"ANTIGRAVITY_AGENT", 1 << 7}, {"AUGMENT_AGENT", 1 << 8}, {"CLINE_ACTIVE", 1 << 9},
}

// agentPrograms are the programs of the agents themselves. What an agent
// starts with a clean environment is known by its lineage.
var agentPrograms = map[string]agents{
	"claude": 1 << 0, "claude.exe": 1 << 0, "codex": 1 << 1, "gemini": 1 << 2, "copilot": 1 << 3, "cursor-agent": 1 << 4, "openclaw": 1 << 5, "opencode": 1 << 6,
}

// agentFiles are further names of their programs, which are no labels.
var agentFiles = map[string]agents{"claude.exe": 1 << 0, "openclaw-agent": 1 << 5, "openclaw-gateway": 1 << 5}

// label reads where in a workflow, and in which agent's session, an image
// stands. What the environment does not say stays as the parent had it. Where
// steps are told, no environment says which one it is.
func (n *Node) label(env []event.Var, told bool) {
	var markers agents
	var other, repository, ref redact.Text
	script, pkg := n.script, n.scrPkg
	job, step := n.Job, n.Step
	for _, v := range env {
		value := v.Value.String()
		if value == "" {
			continue
		}
		switch name := v.Name.String(); name {
		case "GITHUB_JOB":
			job = v.Value
		case "GITHUB_ACTION":
			step = v.Value
		case "GITHUB_ACTION_REPOSITORY":
			repository = v.Value
		case "GITHUB_ACTION_REF":
			ref = v.Value
		case "npm_lifecycle_event":
			script = v.Value
		case "npm_package_name":
			pkg = v.Value
		case "AI_AGENT":
			bit, text := agentOf(v.Value)
			markers |= bit
			other = text
		default:
			if value != "0" && value != "false" { // a marker that says no
				markers |= marker(name)
			}
		}
	}
	n.script, n.scrPkg = script, pkg
	n.labelAgent(markers, other)
	if told {
		return
	}
	n.Job = job
	if step != n.Step {
		n.Step, n.Action = step, redact.Text{}
	}
	if !repository.IsZero() {
		n.Action = repository
		if !ref.IsZero() {
			n.Action = redact.Concat(repository, redact.Const("@"), ref)
		}
	}
	if a, ok := actionOf(n.Argv); ok {
		n.Action = a
	}
}

// labelAgent decides which agent an image works for. Environments pile up
// where one agent starts another, so the marker that is new decides.
func (n *Node) labelAgent(markers agents, other redact.Text) {
	fresh := markers &^ n.agents
	if fresh == 0 && markers == 0 {
		markers = n.agents // a clean environment does not leave the agent
	}
	own := agentPrograms[n.program.String()]
	switch {
	case own != 0:
		fresh = own
	case fresh == 0:
		n.agents = markers
		return
	}
	n.agents = markers | own
	for i, name := range agentNames {
		if fresh&(1<<i) != 0 {
			n.Agent = name
			return
		}
	}
	n.Agent = other
}

func marker(name string) agents {
	for _, m := range agentMarkers {
		if name == m.name || strings.HasSuffix(m.name, "_") && strings.HasPrefix(name, m.name) {
			return m.bit
		}
	}
	return 0
}

// agentOf reads the value of AI_AGENT, such as claude-code_2-1-330_agent.
func agentOf(value redact.Text) (agents, redact.Text) {
	name, _, _ := value.Cut("_")
	for i, known := range agentNames {
		if name == known {
			return 1 << i, known
		}
	}
	return otherAgent, name
}

// actionOf finds the action that a program belongs to in its first arguments.
func actionOf(argv []redact.Text) (redact.Text, bool) {
	for _, a := range argv[:min(len(argv), 4)] {
		if at, ok := runner.ActionAt(a); ok {
			return at, true
		}
	}
	return redact.Text{}, false
}
