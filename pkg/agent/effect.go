package agent

import (
	"encoding/json"
	"net/url"
	"path"
	"strings"
)

// effects are those of one call, as they are found.
type effects struct {
	cwd  string // where relative names lie; empty where that is not known
	list []Effect
	more bool
}

func (e *effects) add(verb, object string) {
	if object == "" || len(object) > maxObject || strings.ContainsRune(object, unknown) {
		return
	}
	for _, have := range e.list {
		if have.Verb == verb && have.Object == object {
			return
		}
	}
	if len(e.list) >= maxEffects {
		e.more = true
		return
	}
	e.list = append(e.list, Effect{verb, object})
}

// file adds a path, which may be relative to where the call is made.
func (e *effects) file(verb, name string) {
	switch {
	case name == "" || name == "-" || strings.ContainsRune(name, unknown):
		return
	case strings.HasPrefix(name, "~"):
	case !path.IsAbs(name):
		if e.cwd == "" {
			return
		}
		name = path.Join(e.cwd, name)
	}
	if name = path.Clean(name); strings.HasPrefix(name, "/dev/") && !strings.HasPrefix(name, "/dev/shm/") {
		return
	}
	e.add(verb, name)
}

// url adds the host of one.
func (e *effects) url(s string) bool {
	at := strings.Index(s, "://")
	if at < 1 {
		return false
	}
	begin := at
	for begin > 0 && (s[begin-1] >= 'a' && s[begin-1] <= 'z' || s[begin-1] == '+') {
		begin--
	}
	u, err := url.Parse(strings.TrimRight(s[begin:], `"'),;`))
	if err != nil || u.Hostname() == "" {
		return false
	}
	e.host(u.Hostname(), u.Port())
	return true
}

func (e *effects) host(host, port string) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case host == "" || strings.ContainsAny(host, unknownText+"/$* "):
		return
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	e.add("connect", host)
}

// Tools by what they do. An agent's own names, and those that it maps to
// another's.
var tools = map[string]string{
	"Bash": "shell", "bash": "shell", "shell": "shell", "Shell": "shell", "exec": "shell", "exec_command": "shell", "local_shell": "shell", "run_shell_command": "shell",
	"Read": "read", "read": "read", "read_file": "read", "view": "read", "NotebookRead": "read", "read_many_files": "read",
	"Write": "write", "write": "write", "write_file": "write", "create": "write", "Edit": "write", "edit": "write", "MultiEdit": "write", "replace": "write", "NotebookEdit": "write", "str_replace_editor": "write",
	"apply_patch": "patch", "WebFetch": "fetch", "web_fetch": "fetch",
	"WebSearch": "remote", "web_search": "remote", "google_web_search": "remote",
	"Agent": "agent", "Task": "agent",
	"Grep": "search", "grep_search": "search", "search_file_content": "search", "grep": "search",
	// These read or note what concerns the agent alone.
	"Glob": "none", "glob": "none", "LS": "none", "ls": "none", "list_directory": "none", "TodoWrite": "none", "TaskCreate": "none", "TaskUpdate": "none", "BashOutput": "none",
	"KillShell": "none", "process": "none", "ExitPlanMode": "none", "EnterPlanMode": "none", "AskUserQuestion": "none", "update_plan": "none", "ToolSearch": "none", "report_intent": "none",
}

// of adds what a tool does with what it is given.
func (e *effects) of(tool string, in, outer members) {
	name := in.text(maxObject, "file_path", "path", "notebook_path", "filePath", "absolute_path")
	switch tools[tool] {
	case "shell":
		if dir := in.text(maxObject, "cwd", "workdir", "directory", "dir_path"); dir != "" {
			e.cwd = path.Join(e.cwd, dir)
			if path.IsAbs(dir) {
				e.cwd = dir
			}
		}
		s := in.text(MaxPayload, "command", "cmd")
		if s == "" {
			s = in.command()
		}
		e.script(s, 0)
	case "read":
		e.file("read", name)
		e.files("read", in["paths"])
	case "write":
		e.file("read", name)
		e.file("write", name)
	case "patch":
		e.patch(in.text(MaxPayload, "command", "input", "patch"))
	case "fetch":
		if !e.url(in.text(maxObject, "url")) {
			e.add("remote", tool)
		}
	case "remote":
		e.add("remote", tool)
	case "agent":
		e.add("agent", or(in.text(maxName, "subagent_type", "agent_type"), "general"))
	case "search":
		e.add("exec", "rg")
	case "none":
	default:
		e.mcp(tool, outer)
	}
}

// mcp adds which server of the Model Context Protocol a tool is of. One that is
// not known at all may do anything.
func (e *effects) mcp(tool string, outer members) {
	server := or(outer.object("mcp_server").text(maxName, "name"), outer.object("mcp_context").text(maxName, "server_name"))
	if rest, ok := strings.CutPrefix(tool, "mcp_"+server+"_"); ok && server != "" {
		tool = rest
	} else if rest, ok := strings.CutPrefix(tool, "mcp__"); ok {
		s, t, _ := strings.Cut(rest, "__")
		server, tool = s, t
	} else if server == "" {
		if s, t, ok := strings.Cut(tool, "/"); ok {
			server, tool = s, t
		} else if rest, ok := strings.CutPrefix(tool, "mcp_"); ok {
			server, tool, _ = strings.Cut(rest, "_")
		}
	}
	if server == "" {
		e.add("opaque", "a tool that is not known")
		return
	}
	e.add("mcp", server+"/"+tool)
}

func (e *effects) files(verb string, raw json.RawMessage) {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		for _, name := range list {
			e.file(verb, name)
		}
	}
}

// patch adds the files of a patch in the format of apply_patch.
func (e *effects) patch(text string) {
	found := false
	for line := range strings.Lines(text) {
		for _, head := range []string{"*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "} {
			if name, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), head); ok {
				e.file("write", name)
				found = true
			}
		}
	}
	if !found {
		e.add("opaque", "a patch that names no file")
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
