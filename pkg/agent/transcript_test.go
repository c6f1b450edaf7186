package agent

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// The lines are of the two agents' own files, with all left out that is not read.
const (
	claudeWrote = `{"type":"user","sessionId":"s1","message":{"role":"user","content":"Build it."}}
{"type":"assistant","sessionId":"s1","message":{"role":"assistant","content":[{"type":"text","text":"I shall."},{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"make"}}]}}
{"type":"user","sessionId":"s1","message":{"role":"user","content":[{"tool_use_id":"t1","type":"tool_result","content":"done","is_error":false}]}}
{"type":"assistant","sessionId":"s1","message":{"content":[{"type":"tool_use","id":"t2","name":"Edit","input":{}}]}}
{"type":"user","sessionId":"s1","message":{"content":[{"type":"tool_result","content":"not found","is_error":true,"tool_use_id":"t2"}]}}
{"type":"assistant","session_id":"s1","message":{"content":[{"type":"tool_use","id":"t3","name":"Read","input":{}}]}}
{"type":"summary","summary":"x","leafUuid":"y"}
`
	codexWrote = `{"timestamp":"2026-11-22T21:48:11Z","type":"session_meta","payload":{"id":"s1","cwd":"/w"}}
{"type":"turn_context","payload":{"cwd":"/w"}}
{"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"Build it."}]}}
{"type":"response_item","payload":{"type":"function_call","name":"exec_command","arguments":"{\"cmd\":\"make\"}","call_id":"t1"}}
{"type":"response_item","payload":{"type":"function_call_output","call_id":"t1","output":"done"}}
{"type":"response_item","payload":{"type":"custom_tool_call","name":"apply_patch","call_id":"t2","input":"*** Begin Patch"}}
{"type":"response_item","payload":{"type":"custom_tool_call_output","call_id":"t2","output":{"content":"no","success":false}}}
{"type":"response_item","payload":{"type":"function_call","name":"mcp__echo__shout","arguments":"{}","call_id":"t3"}}
{"type":"response_item","payload":{"type":"function_call","name":"update_plan","arguments":"{}","call_id":"t4"}}
{"type":"event_msg","payload":{"type":"task_complete"}}
`
)

func TestTranscriptsTellTheCalls(t *testing.T) {
	for _, c := range []struct {
		name, agent, text string
		want              Transcript
	}{
		{"Claude Code's", "claude-code", claudeWrote, Transcript{Calls: []Written{{"t1", "Bash", true}, {"t2", "Edit", false}, {"t3", "Read", false}}}},
		{"Codex's", "codex", codexWrote, Transcript{Calls: []Written{{"t1", "exec_command", true}, {"t2", "apply_patch", false}, {"t3", "mcp__echo__shout", false}}}},
		{"one that says it twice", "claude-code", claudeWrote + claudeWrote, Transcript{Calls: []Written{{"t1", "Bash", true}, {"t2", "Edit", false}, {"t3", "Read", false}}}},
		{"another session's", "claude-code", strings.ReplaceAll(claudeWrote, `"s1"`, `"s2"`), Transcript{Others: 6}},
		{"another thread's", "codex", strings.ReplaceAll(codexWrote, `"s1"`, `"s2"`), Transcript{Others: 10}},
		{"an answer by the wrong side", "claude-code", `{"type":"user","message":{"content":[{"type":"tool_use","id":"t1","name":"Bash"}]}}`, Transcript{}},
		{"what is no JSON", "codex", "x\n" + codexWrote + "{\n", Transcript{Calls: []Written{{"t1", "exec_command", true}, {"t2", "apply_patch", false}, {"t3", "mcp__echo__shout", false}}, Unread: 2}},
		{"other shapes", "claude-code", `{"type":7}` + "\n" + `{"type":"assistant","message":[]}` + "\n" + `{"type":"assistant","message":{"content":[7]}}` + "\n[]\nnull\n", Transcript{}},
		{"an id of no sense", "claude-code", `{"type":"assistant","message":{"content":[{"type":"tool_use","id":"` + strings.Repeat("x", 2*maxID) + `","name":"Bash"},{"type":"tool_use","name":"Bash"}]}}`, Transcript{}},
		{"a line that is too long", "claude-code", `{"x":"` + strings.Repeat("x", 3*maxLine) + "\"}\n" + claudeWrote,
			Transcript{Calls: []Written{{"t1", "Bash", true}, {"t2", "Edit", false}, {"t3", "Read", false}}, Unread: 1}},
		{"nothing", "codex", "", Transcript{}},
		{"a last line without an end", "claude-code", strings.TrimSuffix(claudeWrote, "\n"), Transcript{Calls: []Written{{"t1", "Bash", true}, {"t2", "Edit", false}, {"t3", "Read", false}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadTranscript(c.agent, "s1", iotest.OneByteReader(strings.NewReader(c.text)))
			if err != nil || !slices.Equal(got.Calls, c.want.Calls) || got.More != c.want.More || got.Unread != c.want.Unread || got.Others != c.want.Others || got.Cut != c.want.Cut {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestATranscriptIsBounded(t *testing.T) {
	var many strings.Builder
	for i := range maxWritten + 5 {
		fmt.Fprintf(&many, `{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t%d","name":"Bash"}]}}`+"\n", i)
	}
	if got, err := ReadTranscript("claude-code", "s1", strings.NewReader(many.String())); err != nil || len(got.Calls) != maxWritten || got.More != 5 {
		t.Errorf("%d calls, %d more, %v", len(got.Calls), got.More, err)
	}
	endless := io.MultiReader(strings.NewReader(claudeWrote), &zeros{left: 2 * MaxTranscript})
	if got, err := ReadTranscript("claude-code", "s1", endless); err != nil || len(got.Calls) != 3 || !got.Cut {
		t.Errorf("%+v, %v", got, err)
	}
	broken := io.MultiReader(strings.NewReader(claudeWrote), iotest.ErrReader(io.ErrUnexpectedEOF))
	if got, err := ReadTranscript("claude-code", "s1", broken); !errors.Is(err, io.ErrUnexpectedEOF) || len(got.Calls) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// zeros gives spaces, as many as are left.
type zeros struct{ left int }

func (z *zeros) Read(b []byte) (int, error) {
	n := min(len(b), z.left)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range b[:n] {
		b[i] = ' '
	}
	z.left -= n
	return n, nil
}

func TestWhereTheTranscriptIsSaid(t *testing.T) {
	for _, c := range []struct {
		agent, members string
		want           []string
	}{
		{"claude-code", `"transcript_path":"/h/.claude/projects/w/s1.jsonl"`, []string{"/h/.claude/projects/w/s1.jsonl"}},
		{"claude-code", `"transcript_path":"/h/a/../b.jsonl","agent_transcript_path":"/h/s1/agent-1.jsonl"`, []string{"/h/b.jsonl", "/h/s1/agent-1.jsonl"}},
		{"codex", `"transcript_path":null`, nil},
		{"codex", `"transcript_path":"rollout.jsonl"`, nil},
		{"codex", `"transcript_path":["/x"]`, nil},
		{"gemini", `"transcript_path":"/h/.gemini/x"`, nil},
	} {
		d, err := Parse(c.agent, []byte(`{"session_id":"12345678","hook_event_name":"Stop",`+c.members+`}`))
		if err != nil || !slices.Equal(d.Transcripts, c.want) {
			t.Errorf("%s %s: %q, %v", c.agent, c.members, d.Transcripts, err)
		}
	}
}

func FuzzReadTranscript(f *testing.F) {
	f.Add(true, []byte(claudeWrote))
	f.Add(false, []byte(codexWrote))
	f.Add(true, []byte("{\n\n[]"))
	f.Fuzz(func(t *testing.T, claude bool, text []byte) {
		agent := "codex"
		if claude {
			agent = "claude-code"
		}
		got, err := ReadTranscript(agent, "s1", strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, c := range got.Calls {
			if c.Call == "" || seen[c.Call] || len(c.Call) > maxID || len(c.Name) > maxName {
				t.Errorf("call %+v", c)
			}
			seen[c.Call] = true
		}
		if len(got.Calls) > maxWritten || got.Cut {
			t.Errorf("%d calls, cut %v", len(got.Calls), got.Cut)
		}
	})
}
