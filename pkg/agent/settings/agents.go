package settings

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/org/edamame-posture/pkg/agent/client"
)

// Scope says for whom hooks are installed.
type Scope string

// The scopes: one user's sessions, all sessions in one checkout, and all
// sessions on the machine, which users cannot take out.
const (
	User    Scope = "user"
	Project Scope = "project"
	Managed Scope = "managed"
)

const (
	// hookName is the hook's file, pluginName that of OpenClaw's plugin.
	hookName   = "edamame-hook"
	pluginName = "edamame-posture"
)

// target is one file with what we want in it.
type target struct {
	path string
	// skeleton is what the file is begun with where there is none.
	skeleton string
	entries  []entry
	// toml, in place of entries: lines of ours.
	toml *lines
	// whole, in place of both: the file is ours alone.
	whole []byte
	mode  uint32 // of a file of ours
}

// What files that we make begin with. The space behind the first brace, which
// nobody writes, tells them from a person's when ours are out again.
const (
	emptyObject   = "{ \n}\n"
	versionObject = "{ \n  \"version\": 1\n}\n"
)

// events are the moments of which each agent tells us. Those that are called for
// each piece of a model's answer are left out for what they cost: BeforeModel and
// AfterModel of Gemini CLI, whose PreCompress comes with each request too.
var events = map[string][]string{
	"claude-code": {"SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest", "PermissionDenied", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "SubagentStart", "SubagentStop", "PreCompact", "ConfigChange", "Stop", "SessionEnd"},
	"codex":       {"SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest", "PostToolUse", "SubagentStart", "SubagentStop", "PreCompact", "Stop", "SessionEnd"},
	"gemini":      {"SessionStart", "BeforeAgent", "BeforeTool", "AfterTool", "AfterAgent", "Notification", "SessionEnd"},
	"copilot":     {"sessionStart", "userPromptSubmitted", "preToolUse", "permissionRequest", "postToolUse", "postToolUseFailure", "subagentStart", "subagentStop", "agentStop", "sessionEnd"},
	"cursor":      {"sessionStart", "beforeSubmitPrompt", "preToolUse", "beforeShellExecution", "afterShellExecution", "beforeMCPExecution", "afterMCPExecution", "beforeReadFile", "afterFileEdit", "postToolUse", "postToolUseFailure", "subagentStart", "subagentStop", "preCompact", "stop", "sessionEnd"},
}

// targets returns the files of an agent.
func (in *Installation) targets() ([]target, error) {
	home := func(variable, folder string) string {
		if dir := in.Getenv(variable); dir != "" {
			return dir
		}
		return filepath.Join(in.Home, folder)
	}
	hooks := func(path, skeleton string) []target {
		t := target{path: path, skeleton: skeleton}
		for _, event := range events[in.Agent] {
			t.entries = append(t.entries, entry{path: []string{"hooks", event}, value: in.handler(), list: true})
		}
		return []target{t}
	}
	switch in.Agent {
	case "claude-code":
		return hooks(in.in(home("CLAUDE_CONFIG_DIR", ".claude"), ".claude", "/etc/claude-code", "settings.json", "managed-settings.json"), emptyObject), nil
	case "codex":
		if in.Scope == Managed {
			return []target{{path: in.Root + "/etc/codex/requirements.toml", toml: &lines{text: in.codexTables(), atEnd: true, events: events["codex"]}}}, nil
		}
		dir := home("CODEX_HOME", ".codex")
		all := hooks(in.in(dir, ".codex", "", "hooks.json", ""), emptyObject)
		if in.Scope == User {
			program, _ := json.Marshal(in.Program) // a basic string of TOML is one of JSON
			all = append(all, target{path: filepath.Join(dir, "config.toml"), toml: &lines{text: "notify = [" + string(program) + `, "codex"]` + "\n", key: "notify"}})
		}
		return all, nil
	case "gemini":
		return hooks(in.in(filepath.Join(in.Home, ".gemini"), ".gemini", "/etc/gemini-cli", "settings.json", "settings.json"), emptyObject), nil
	case "copilot":
		if in.Scope == Managed {
			return nil, errNoManaged("Copilot CLI")
		}
		return hooks(in.in(filepath.Join(home("COPILOT_HOME", ".copilot"), "hooks"), ".github/hooks", "", pluginName+".json", ""), versionObject), nil
	case "cursor":
		return hooks(in.in(filepath.Join(in.Home, ".cursor"), ".cursor", "/etc/cursor", "hooks.json", "hooks.json"), versionObject), nil
	case "openclaw":
		if in.Scope != User {
			return nil, errNoManaged("OpenClaw")
		}
		dir := filepath.Join(in.Home, ".openclaw")
		plugin := filepath.Join(dir, pluginName)
		folder, _ := json.Marshal(plugin)
		all := []target{{path: filepath.Join(dir, "openclaw.json"), skeleton: emptyObject, entries: []entry{
			{path: []string{"plugins", "load", "paths"}, value: string(folder), list: true},
			{path: []string{"plugins", "allow"}, value: `"` + pluginName + `"`, list: true, ifThere: true},
			{path: []string{"plugins", "entries", pluginName}, value: `{"enabled": true, "hooks": {"allowConversationAccess": true}}`},
		}}}
		for name, data := range openclawPlugin(in.Program) {
			all = append(all, target{path: filepath.Join(plugin, name), whole: data, mode: 0o644})
		}
		return all, nil
	}
	return nil, errUnknownAgent(in.Agent)
}

// in returns the place of a file in the installation's scope.
func (in *Installation) in(user, project, managed, name, managedName string) string {
	switch in.Scope {
	case Project:
		return filepath.Join(in.Workspace, project, name)
	case Managed:
		return filepath.Join(in.Root, managed, managedName)
	}
	return filepath.Join(user, name)
}

var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`)

// command is the command line of a hook, for a shell. In a checkout, which goes
// to machines without the hook too, it is looked for, and missing is no fault.
func (in *Installation) command() string {
	if in.Scope == Project {
		absent := "exit 0"
		if client.Answers(in.Agent) {
			absent = "{ echo '{}'; exit 0; }"
		}
		return "command -v " + hookName + " >/dev/null || " + absent + "; exec " + hookName + " " + in.Agent
	}
	if plainPath.MatchString(in.Program) {
		return in.Program + " " + in.Agent
	}
	return "'" + strings.ReplaceAll(in.Program, "'", `'\''`) + "' " + in.Agent
}

// handler is what stands in the list of an event, in the agent's own form.
func (in *Installation) handler() string {
	quote := func(s string) string {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // > stays readable
		_ = e.Encode(s)
		return strings.TrimSuffix(b.String(), "\n")
	}
	command := quote(in.command())
	switch in.Agent {
	case "claude-code":
		if in.Scope != Project { // started by the agent itself, with no shell between
			return `{"hooks": [{"type": "command", "command": ` + quote(in.Program) + `, "args": ["claude-code"], "timeout": 5}]}`
		}
		return `{"hooks": [{"type": "command", "command": ` + command + `, "timeout": 5}]}`
	case "codex":
		return `{"hooks": [{"type": "command", "command": ` + command + `, "timeout": 3}]}`
	case "gemini":
		return `{"hooks": [{"type": "command", "name": "edamame-posture", "command": ` + command + `, "timeout": 5000}]}`
	case "copilot":
		return `{"type": "command", "bash": ` + command + `, "timeoutSec": 5}`
	}
	return `{"command": ` + command + `, "timeout": 5}` // cursor
}

// codexTables are Codex's hooks in TOML.
func (in *Installation) codexTables() string {
	command, _ := json.Marshal(in.command())
	var b strings.Builder
	for _, event := range events["codex"] {
		b.WriteString("[[hooks." + event + "]]\n[[hooks." + event + ".hooks]]\ntype = \"command\"\ncommand = " + string(command) + "\ntimeout = 3\n")
	}
	return b.String()
}
