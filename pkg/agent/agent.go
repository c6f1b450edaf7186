// Package agent reads what coding agents say of themselves: the payload that an
// agent gives its hooks becomes a [Declaration], with the effects that are to be
// expected of a tool call.
//
// Everything here is pure functions over bytes that nobody vouches for. Members
// that are not known are passed over, since each version of an agent brings new
// ones; what cannot be read is an error, and never half a declaration. The
// formats were measured with Claude Code 2.1.330, Codex 0.169.0, Gemini CLI
// 0.61.0, Copilot CLI 1.0.102 and OpenClaw 2026.9.6; Cursor's is that of its
// documentation.
package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxPayload is the greatest length of a payload in bytes.
const MaxPayload = 1 << 20

// Bounds of a declaration.
const (
	maxEffects = 64       // of one call
	maxObject  = 1024     // bytes of an effect's object
	maxID      = 128      // bytes of an id
	maxName    = 256      // bytes of a tool's name
	maxCommand = 16 << 10 // bytes of a command that is kept
)

// Names are the agents that are known, as the client names them.
var Names = []string{"claude-code", "codex", "gemini", "copilot", "openclaw", "cursor"}

// What says what a declaration is of.
type What uint8

// The declarations.
const (
	Other   What = iota // nothing that is followed
	Session             // began
	Prompt
	Call
	Result
	Permission
	Subagent
	Compaction
	Turn // it is done with a prompt
	End  // of the session
)

// Declaration is what one payload says.
type Declaration struct {
	What    What
	Session string // the agent's id of it
	Call    string // the agent's id of the call; empty where it gives none
	// Name is the tool of a call, a result or a permission, how a session began
	// or ended, or of what type a subagent is.
	Name string
	// Command is what a shell tool is to run, as it stands there.
	Command string
	// Prompt is the text itself, which goes no further than to be hashed.
	Prompt  string
	Effects []Effect
	// More: there are more effects than are told.
	More bool
	// Background: what the call starts may go on when it has ended.
	Background bool
	// Transcripts are the files in which the agent says that it writes down the
	// session: absolute paths, and no more than its word.
	Transcripts []string
	OK          bool // of a result; of a subagent: it ended
	Code        int  // exit code of a result, where it is known
}

// Effect is one thing that is to be expected of a call.
type Effect struct {
	// Verb is exec, read, write, connect, mcp, remote, agent or opaque.
	Verb string
	// Object is a program, an absolute path or one below ~, HOST or HOST:PORT,
	// SERVER/TOOL, what is done elsewhere, a type, or why nobody can tell.
	Object string
}

func (e Effect) String() string { return e.Verb + " " + e.Object }

// members are those of a JSON object.
type members map[string]json.RawMessage

// text returns the first of the members that is a text, cut to limit bytes.
func (m members) text(limit int, names ...string) string {
	for _, n := range names {
		var s string
		if raw, ok := m[n]; ok && json.Unmarshal(raw, &s) == nil && s != "" {
			return cut(s, limit)
		}
	}
	return ""
}

// object returns the first of the members that is an object, or a text that
// holds one.
func (m members) object(names ...string) members {
	for _, n := range names {
		raw, ok := m[n]
		if !ok {
			continue
		}
		var s string
		if json.Unmarshal(raw, &s) == nil {
			raw = json.RawMessage(s)
		}
		var o members
		if json.Unmarshal(raw, &o) == nil && o != nil {
			return o
		}
	}
	return nil
}

func (m members) has(names ...string) bool {
	for _, n := range names {
		if _, ok := m[n]; ok {
			return true
		}
	}
	return false
}

func (m members) number(name string) (int, bool) {
	var n int
	raw, ok := m[name]
	return n, ok && json.Unmarshal(raw, &n) == nil
}

func (m members) yes(name string) bool {
	var b bool
	return m[name] != nil && json.Unmarshal(m[name], &b) == nil && b
}

// cut keeps whole characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// words are the names of hooks, without case, dashes and underscores.
var words = map[string]What{
	"sessionstart": Session, "sessionend": End,
	"userpromptsubmit": Prompt, "userpromptsubmitted": Prompt, "beforeagent": Prompt, "beforesubmitprompt": Prompt, "beforeagentrun": Prompt,
	"pretooluse": Call, "beforetool": Call, "beforetoolcall": Call, "beforeshellexecution": Call, "beforemcpexecution": Call, "beforereadfile": Call,
	"posttooluse": Result, "posttoolusefailure": Result, "aftertool": Result, "aftertoolcall": Result, "aftershellexecution": Result, "aftermcpexecution": Result,
	"permissionrequest": Permission, "permissiondenied": Permission,
	"subagentstart": Subagent, "subagentstop": Subagent,
	"precompact": Compaction, "postcompact": Compaction, "precompress": Compaction,
	"stop": Turn, "agentstop": Turn, "afteragent": Turn, "agentturncomplete": Turn, "agentend": Turn, "interrupt": Turn,
}

// Parse reads a payload of the agent. The error says why it is none.
func Parse(agent string, payload []byte) (Declaration, error) {
	var d Declaration
	if len(payload) > MaxPayload {
		return d, fmt.Errorf("a payload of %d bytes; at most %d are read", len(payload), MaxPayload)
	}
	var m members
	if err := json.Unmarshal(payload, &m); err != nil {
		return d, errors.New("not a JSON object")
	}
	if m == nil {
		return d, errors.New("not a JSON object")
	}
	hook := m.text(maxName, "hook_event_name", "hookName", "hook", "type")
	if agent == "openclaw" {
		// {event, ctx}: what a call is told with, and where.
		flat := members{}
		for _, part := range []members{m.object("ctx"), m.object("event")} {
			for k, v := range part {
				flat[k] = v
			}
		}
		if len(flat) == 0 {
			return d, errors.New("an OpenClaw payload has event and ctx")
		}
		m = flat
	}
	word := strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(hook))
	what, known := words[word]
	if !known && hook == "" {
		what = byShape(m)
	}
	d.What = what
	d.Session = m.text(maxID, "session_id", "sessionId", "conversation_id", "thread-id", "sessionKey")
	if d.What == Other {
		return d, nil
	}
	if d.Session == "" {
		return Declaration{}, errors.New("it names no session")
	}
	if HasTranscript(agent) {
		for _, member := range []string{"transcript_path", "agent_transcript_path"} {
			if p := m.text(maxObject, member); path.IsAbs(p) {
				d.Transcripts = append(d.Transcripts, path.Clean(p))
			}
		}
	}
	switch d.What {
	case Session, End:
		d.Name = m.text(maxName, "source", "reason")
	case Prompt:
		d.Prompt = m.text(MaxPayload, "prompt", "cleanedBody")
	case Subagent:
		d.Name, d.OK = m.text(maxName, "agent_type", "agentType"), word == "subagentstop"
	case Call, Result, Permission:
		if err := d.tool(word, m); err != nil {
			return Declaration{}, err
		}
	}
	return d, nil
}

// byShape tells a payload without its hook's name by what it holds: Copilot's and
// OpenClaw's are such.
func byShape(m members) What {
	switch {
	case m.has("toolResult", "tool_result", "result", "durationMs"):
		return Result
	case m.has("toolArgs", "params"):
		return Call
	case m.has("stopReason"):
		return Turn
	case m.has("initialPrompt") || m.has("source") && !m.has("prompt"):
		return Session
	case m.has("prompt"):
		return Prompt
	case m.has("reason"):
		return End
	}
	return Other
}

// tool reads the tool of a call, what it was given, and how it ended.
func (d *Declaration) tool(word string, m members) error {
	d.Name = m.text(maxName, "tool_name", "toolName")
	d.Call = m.text(maxID, "tool_use_id", "toolCallId", "tool_call_id")
	in := m.object("tool_input", "toolArgs", "toolInput", "params")
	switch word {
	case "beforeshellexecution", "aftershellexecution":
		d.Name, in = "Shell", m
	case "beforereadfile":
		d.Name, in = "Read", m
	}
	if d.Name == "" {
		return errors.New("it names no tool")
	}
	if d.What == Permission {
		return nil
	}
	if tools[d.Name] != "patch" { // a patch is what is written, and no command
		d.Command = in.command()
	}
	if d.What == Result {
		d.result(word, m)
		return nil
	}
	d.Background = in.yes("run_in_background") || in.yes("background") || in.yes("is_background")
	e := effects{cwd: m.text(maxObject, "cwd")}
	e.of(d.Name, in, m)
	d.Effects, d.More = e.list, e.more
	return nil
}

// command returns what a shell tool is to run: a text, or a list of arguments.
func (m members) command() string {
	if s := m.text(maxCommand, "command", "cmd"); s != "" {
		return s
	}
	var argv []string
	if json.Unmarshal(m["command"], &argv) == nil {
		return cut(strings.Join(argv, " "), maxCommand)
	}
	return ""
}

// result reads how a call ended, as far as the agent says.
func (d *Declaration) result(word string, m members) {
	d.OK = word != "posttoolusefailure" && !m.has("error")
	for _, of := range []members{m.object("result").object("details"), m.object("tool_response")} {
		if n, ok := of.number("exitCode"); ok {
			d.Code = n
		}
	}
	said := m.text(maxCommand, "error") + m.object("toolResult", "tool_result").text(maxCommand, "textResultForLlm", "text_result_for_llm") + m.object("tool_response").text(maxCommand, "llmContent")
	for _, before := range []string{"Exit code ", "exit code ", "Exit Code: "} {
		if _, rest, ok := strings.Cut(said, before); ok {
			end := 0
			for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
				end++
			}
			if n, err := strconv.Atoi(rest[:end]); err == nil && n < 256 {
				d.Code = n
			}
			break
		}
	}
	d.OK = d.OK && d.Code == 0
}
