package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// Bounds of a transcript.
const (
	// MaxTranscript is how many bytes of one are read.
	MaxTranscript = 16 << 20
	// maxLine is how long a line may be that is read: a picture stands in one.
	maxLine = 1 << 20
	// maxWritten is how many calls of one are told.
	maxWritten = 1024
)

// Written is a tool call that an agent's own transcript tells of.
type Written struct {
	Call, Name string
	// Done: its result stands there, and is no error. Calls that were refused or
	// could not be understood are not, and such are not told to every hook.
	Done bool
}

// Transcript is what one file says of a session.
type Transcript struct {
	Calls []Written // in the order in which they were made
	// More counts calls beyond those that are told, Unread lines that are too
	// long or no JSON, Others lines of another session.
	More, Unread, Others uint64
	// Cut: it goes on beyond what is read.
	Cut bool
}

// HasTranscript reports whether an agent writes one whose calls have the ids that
// its hooks tell.
func HasTranscript(agent string) bool { return agent == "claude-code" || agent == "codex" }

// line is a line of any transcript, as far as it is of interest. Claude Code's
// are messages, in its stream-json output too; Codex's rollout has payloads.
type line struct {
	Type      string `json:"type"`
	SessionID string `json:"sessionId"`  // Claude Code's transcript
	Session   string `json:"session_id"` // Claude Code's stream-json
	Message   struct {
		Content json.RawMessage `json:"content"`
	} `json:"message"`
	Payload struct {
		Type   string          `json:"type"`
		ID     string          `json:"id"`
		Name   string          `json:"name"`
		CallID string          `json:"call_id"`
		Output json.RawMessage `json:"output"`
	} `json:"payload"`
}

// part is a part of one of Claude Code's messages.
type part struct {
	Type    string `json:"type"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Of      string `json:"tool_use_id"`
	IsError bool   `json:"is_error"`
}

// ReadTranscript reads what an agent wrote of a session, MaxTranscript bytes at
// most. The error is the reader's; what was read before it is told all the same.
func ReadTranscript(agent, session string, from io.Reader) (Transcript, error) {
	t := transcript{session: session, at: map[string]int{}}
	bounded := &io.LimitedReader{R: from, N: MaxTranscript}
	b := bufio.NewReaderSize(bounded, maxLine)
	for {
		text, err := b.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			t.Unread++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = b.ReadSlice('\n')
			}
			text = nil
		}
		if len(text) > 1 {
			t.take(agent, text)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return t.Transcript, err
		}
		if bounded.N <= 0 {
			var one [1]byte
			n, _ := from.Read(one[:])
			t.Cut = n > 0
		}
		return t.Transcript, nil
	}
}

type transcript struct {
	Transcript
	session string
	at      map[string]int // places of Calls by id
	foreign bool           // what follows is another session's
}

func (t *transcript) take(agent string, text []byte) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		var wrong *json.UnmarshalTypeError
		if !errors.As(err, &wrong) { // another shape is of no interest
			t.Unread++
		}
		return
	}
	if agent == "codex" {
		t.codex(&l)
		return
	}
	if of := l.SessionID + l.Session; of != "" && of != t.session {
		t.Others++
		return
	}
	if l.Type != "assistant" && l.Type != "user" {
		return
	}
	var parts []part
	if json.Unmarshal(l.Message.Content, &parts) != nil {
		return // a text
	}
	for _, p := range parts {
		switch {
		case p.Type == "tool_use" && l.Type == "assistant":
			t.call(p.ID, p.Name)
		case p.Type == "tool_result" && l.Type == "user" && !p.IsError:
			t.done(p.Of)
		}
	}
}

// hooked are the tools of Codex that its hooks tell of, as its rollout calls
// them: others, such as those that keep a plan or write to a process that runs,
// have none.
var hooked = map[string]bool{"exec_command": true, "shell": true, "shell_command": true, "local_shell": true, "apply_patch": true}

func (t *transcript) codex(l *line) {
	p := &l.Payload
	if l.Type == "session_meta" {
		t.foreign = p.ID != "" && p.ID != t.session
	}
	if t.foreign {
		t.Others++
		return
	}
	if l.Type != "response_item" {
		return
	}
	switch p.Type {
	case "function_call", "custom_tool_call", "local_shell_call":
		if p.Type == "local_shell_call" {
			p.Name = "local_shell"
		}
		if hooked[p.Name] || strings.HasPrefix(p.Name, "mcp__") {
			t.call(p.CallID, p.Name)
		}
	case "function_call_output", "custom_tool_call_output":
		var said struct {
			Success *bool `json:"success"`
		}
		_ = json.Unmarshal(p.Output, &said) // or a text
		if said.Success == nil || *said.Success {
			t.done(p.CallID)
		}
	}
}

func (t *transcript) call(id, name string) {
	if id == "" || len(id) > maxID {
		return
	}
	if _, again := t.at[id]; again {
		return // a message is written in pieces
	}
	if len(t.Calls) >= maxWritten {
		t.More++
		return
	}
	t.at[id] = len(t.Calls)
	t.Calls = append(t.Calls, Written{Call: id, Name: cut(name, maxName)})
}

func (t *transcript) done(id string) {
	if i, ok := t.at[id]; ok {
		t.Calls[i].Done = true
	}
}
