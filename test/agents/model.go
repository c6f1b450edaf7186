package agents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// model stands for the servers of model makers: it speaks the four ways in which
// agents ask, and answers by a session's turns. Which turn it is stands in what
// is asked, so it remembers nothing and an agent may ask again.
type model struct {
	turns  [][]Call
	prompt string        // of the session; whoever asks something else is told that all is done
	work   string        // the working folder
	after  time.Duration // how long it takes for an answer

	mu   sync.Mutex
	asks int      // how often it was asked
	keys []string // what it was asked with, in order: the key of each request
	odd  []string // requests that it does not know
}

const lastWord = "All done."

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
	var body map[string]any
	_ = json.Unmarshal(raw, &body)
	if !bytes.Contains(raw, []byte(m.prompt)) {
		delete(body, "tools")
	}
	path := r.URL.Path
	if m.after > 0 && toolsOf(body) {
		time.Sleep(m.after)
	}
	m.mu.Lock()
	key := r.Header.Get("X-Api-Key") + r.Header.Get("X-Goog-Api-Key") + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	m.keys = append(m.keys, key)
	m.mu.Unlock()
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/v1/messages"):
		m.anthropic(w, body)
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/responses"):
		m.responses(w, body)
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/chat/completions"):
		m.chat(w, body)
	case strings.HasSuffix(path, ":streamGenerateContent"), strings.HasSuffix(path, ":generateContent"):
		m.gemini(w, body, strings.HasSuffix(path, ":streamGenerateContent"))
	case strings.HasSuffix(path, ":countTokens"):
		answer(w, map[string]any{"totalTokens": 10})
	case strings.HasSuffix(path, "/models"):
		answer(w, map[string]any{"object": "list", "data": []any{map[string]any{"id": "gpt-4.1", "object": "model"}}})
	default:
		m.mu.Lock()
		m.odd = append(m.odd, r.Method+" "+path)
		m.mu.Unlock()
		w.WriteHeader(http.StatusNotFound)
	}
}

// calls are what the model calls in a turn, nil after the last.
func (m *model) calls(turn int) []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asks++
	if turn < len(m.turns) {
		return m.turns[turn]
	}
	return nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// stream writes server-sent events.
type stream struct{ w http.ResponseWriter }

func newStream(w http.ResponseWriter) stream {
	w.Header().Set("Content-Type", "text/event-stream")
	return stream{w}
}

func (s stream) send(event string, v map[string]any) {
	if event != "" {
		v["type"] = event
		fmt.Fprintf(s.w, "event: %s\n", event)
	}
	data, _ := json.Marshal(v)
	fmt.Fprintf(s.w, "data: %s\n\n", data)
	if f, ok := s.w.(http.Flusher); ok {
		f.Flush()
	}
}

// list returns a list of objects in a request.
func list(body map[string]any, key string) (all []map[string]any) {
	items, _ := body[key].([]any)
	for _, it := range items {
		if o, ok := it.(map[string]any); ok {
			all = append(all, o)
		}
	}
	return all
}

// count counts what has a value in a field.
func count(all []map[string]any, key, value string) (n int) {
	for _, o := range all {
		if o[key] == value {
			n++
		}
	}
	return n
}

// toolsOf reports whether a request offers tools. Agents also ask models for
// titles and the like, without.
func toolsOf(body map[string]any) bool {
	tools, _ := body["tools"].([]any)
	return len(tools) > 0
}

type object = map[string]any

func (m *model) anthropic(w http.ResponseWriter, body object) {
	var calls []Call
	turn := count(list(body, "messages"), "role", "assistant")
	if toolsOf(body) {
		calls = m.calls(turn)
	}
	s := newStream(w)
	name, _ := body["model"].(string)
	s.send("message_start", object{"message": object{"id": fmt.Sprintf("msg_%d", turn), "type": "message", "role": "assistant", "model": name, "content": []any{},
		"stop_reason": nil, "stop_sequence": nil, "usage": object{"input_tokens": 10, "output_tokens": 1}}})
	reason := "end_turn"
	if calls == nil {
		s.send("content_block_start", object{"index": 0, "content_block": object{"type": "text", "text": ""}})
		s.send("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": lastWord}})
		s.send("content_block_stop", object{"index": 0})
	}
	for i, c := range calls {
		reason = "tool_use"
		tool, input := m.claude(c)
		args, _ := json.Marshal(input)
		s.send("content_block_start", object{"index": i, "content_block": object{"type": "tool_use", "id": fmt.Sprintf("toolu_%02d%02d", turn, i), "name": tool, "input": object{}}})
		s.send("content_block_delta", object{"index": i, "delta": object{"type": "input_json_delta", "partial_json": string(args)}})
		s.send("content_block_stop", object{"index": i})
	}
	s.send("message_delta", object{"delta": object{"stop_reason": reason, "stop_sequence": nil}, "usage": object{"output_tokens": 5}})
	s.send("message_stop", object{})
}

func (m *model) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(m.work, path)
}

func (m *model) claude(c Call) (string, object) {
	switch {
	case c.Write != nil:
		return "Write", object{"file_path": m.abs(c.Write.Path), "content": c.Write.Text}
	case c.Edit != nil:
		return "Edit", object{"file_path": m.abs(c.Edit.Path), "old_string": c.Edit.Old, "new_string": c.Edit.New}
	case c.Read != "":
		return "Read", object{"file_path": m.abs(c.Read)}
	}
	in := object{"command": c.Shell, "description": "As asked"}
	if c.Background {
		in["run_in_background"] = true
	}
	return "Bash", in
}

func (m *model) responses(w http.ResponseWriter, body object) {
	// A turn's calls are answered together, so the last answered call's id says it.
	turn := 0
	for _, it := range list(body, "input") {
		if id, ok := it["call_id"].(string); ok {
			var t, i int
			if n, _ := fmt.Sscanf(id, "call%dx%d", &t, &i); n == 2 {
				turn = max(turn, t+1)
			}
		}
	}
	s := newStream(w)
	id := fmt.Sprintf("resp_%d", turn)
	s.send("response.created", object{"response": object{"id": id}})
	var output []any
	send := func(item object) {
		i := len(output)
		output = append(output, item)
		s.send("response.output_item.added", object{"output_index": i, "item": item})
		s.send("response.output_item.done", object{"output_index": i, "item": item})
	}
	var calls []Call
	if toolsOf(body) {
		calls = m.calls(turn)
	}
	for i, c := range calls {
		call := fmt.Sprintf("call%dx%d", turn, i)
		if patch := m.patch(c); patch != "" {
			send(object{"type": "custom_tool_call", "id": "ctc_" + call, "call_id": call, "name": "apply_patch", "input": patch, "status": "completed"})
			continue
		}
		cmd := c.Shell
		if c.Read != "" {
			cmd = "cat " + m.abs(c.Read)
		}
		in := object{"cmd": cmd, "yield_time_ms": 120_000} // on a busy machine too the call waits for the command
		if c.Background {
			in["yield_time_ms"] = 300
		}
		args, _ := json.Marshal(in)
		send(object{"type": "function_call", "id": "fc_" + call, "call_id": call, "name": "exec_command", "arguments": string(args), "status": "completed"})
	}
	if calls == nil {
		send(object{"type": "message", "id": "msg_" + id, "role": "assistant", "status": "completed", "content": []any{object{"type": "output_text", "text": lastWord, "annotations": []any{}}}})
	}
	s.send("response.completed", object{"response": object{"id": id, "status": "completed", "output": output,
		"usage": object{"input_tokens": 10, "input_tokens_details": nil, "output_tokens": 5, "output_tokens_details": nil, "total_tokens": 15}}})
}

// patch is a write or an edit in the form of Codex's apply_patch.
func (m *model) patch(c Call) string {
	var b strings.Builder
	lines := func(sign, text string) {
		for line := range strings.Lines(text) {
			b.WriteString(sign + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	switch {
	case c.Write != nil:
		b.WriteString("*** Begin Patch\n*** Add File: " + c.Write.Path + "\n")
		lines("+", c.Write.Text)
	case c.Edit != nil:
		b.WriteString("*** Begin Patch\n*** Update File: " + c.Edit.Path + "\n@@\n")
		lines("-", c.Edit.Old)
		lines("+", c.Edit.New)
	default:
		return ""
	}
	b.WriteString("*** End Patch\n")
	return b.String()
}

func (m *model) chat(w http.ResponseWriter, body object) {
	turn := count(list(body, "messages"), "role", "assistant")
	var calls []Call
	if toolsOf(body) {
		calls = m.calls(turn)
	}
	delta, reason := object{"role": "assistant", "content": lastWord}, "stop"
	if calls != nil {
		var all []any
		for i, c := range calls {
			tool, input := m.copilot(c)
			args, _ := json.Marshal(input)
			all = append(all, object{"index": i, "id": fmt.Sprintf("call%dx%d", turn, i), "type": "function", "function": object{"name": tool, "arguments": string(args)}})
		}
		delta, reason = object{"role": "assistant", "content": nil, "tool_calls": all}, "tool_calls"
	}
	usage := object{"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
	chunk := object{"id": fmt.Sprintf("chatcmpl-%d", turn), "created": 1, "model": body["model"]}
	if streamed, _ := body["stream"].(bool); !streamed {
		chunk["object"], chunk["usage"] = "chat.completion", usage
		chunk["choices"] = []any{object{"index": 0, "message": delta, "finish_reason": reason}}
		answer(w, chunk)
		return
	}
	s := newStream(w)
	chunk["object"] = "chat.completion.chunk"
	chunk["choices"] = []any{object{"index": 0, "delta": delta, "finish_reason": nil}}
	s.send("", chunk)
	chunk["choices"] = []any{object{"index": 0, "delta": object{}, "finish_reason": reason}}
	s.send("", chunk)
	chunk["choices"], chunk["usage"] = []any{}, usage
	s.send("", chunk)
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func (m *model) copilot(c Call) (string, object) {
	switch {
	case c.Write != nil:
		return "create", object{"path": m.abs(c.Write.Path), "file_text": c.Write.Text}
	case c.Edit != nil:
		return "edit", object{"path": m.abs(c.Edit.Path), "old_str": c.Edit.Old, "new_str": c.Edit.New}
	case c.Read != "":
		return "view", object{"path": m.abs(c.Read)}
	}
	return "bash", object{"command": c.Shell, "description": "As asked"}
}

func (m *model) gemini(w http.ResponseWriter, body object, streamed bool) {
	turn := count(list(body, "contents"), "role", "model")
	var calls []Call
	if toolsOf(body) {
		calls = m.calls(turn)
	}
	var parts []any
	for _, c := range calls {
		tool, input := m.geminiTool(c)
		parts = append(parts, object{"functionCall": object{"name": tool, "args": input}})
	}
	if calls == nil {
		text := lastWord
		if config, ok := body["generationConfig"].(object); ok && config["responseMimeType"] == "application/json" {
			text = "{}"
		}
		parts = []any{object{"text": text}}
	}
	reply := object{"candidates": []any{object{"index": 0, "finishReason": "STOP", "content": object{"role": "model", "parts": parts}}},
		"usageMetadata": object{"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}}
	if streamed {
		newStream(w).send("", reply)
	} else {
		answer(w, reply)
	}
}

func (m *model) geminiTool(c Call) (string, object) {
	switch {
	case c.Write != nil:
		return "write_file", object{"file_path": m.abs(c.Write.Path), "content": c.Write.Text}
	case c.Edit != nil:
		return "replace", object{"file_path": m.abs(c.Edit.Path), "old_string": c.Edit.Old, "new_string": c.Edit.New, "instruction": "As asked"}
	case c.Read != "":
		return "read_file", object{"file_path": m.abs(c.Read)}
	}
	return "run_shell_command", object{"command": c.Shell, "description": "As asked"}
}
