package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// folders holds payloads that the agents gave their hooks, reduced by hand to
// what a short session with one call says.
var folders = map[string]string{"claude-code": "claude", "codex": "codex", "copilot": "copilot", "gemini": "gemini", "openclaw": "openclaw"}

func recorded(t testing.TB, agent, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", folders[agent], name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordedPayloadsAreRead(t *testing.T) {
	call := func(port string) []string {
		return []string{"exec probe.sh", "read /home/runner/work/probe.sh", "exec curl", "connect 127.0.0.1:" + port, "exec echo"}
	}
	for _, c := range []struct {
		agent, file string
		what        What
		name, id    string
		effects     []string
	}{
		{"claude-code", "SessionStart", Session, "startup", "", nil},
		{"claude-code", "UserPromptSubmit", Prompt, "", "", nil},
		{"claude-code", "PreToolUse", Call, "Bash", "toolu_fake00100000000000000", call("18080")},
		{"claude-code", "PostToolUse", Result, "Bash", "toolu_fake00100000000000000", nil},
		{"claude-code", "PostToolUseFailure", Result, "Bash", "toolu_fake02000000000000002", nil},
		{"claude-code", "PermissionRequest", Permission, "Bash", "", nil},
		{"claude-code", "PostToolBatch", Other, "", "", nil},
		{"claude-code", "SubagentStart", Subagent, "general-purpose", "", nil},
		{"claude-code", "SubagentStop", Subagent, "general-purpose", "", nil},
		{"claude-code", "Stop", Turn, "", "", nil},
		{"claude-code", "SessionEnd", End, "other", "", nil},
		{"codex", "SessionStart", Session, "startup", "", nil},
		{"codex", "UserPromptSubmit", Prompt, "", "", nil},
		{"codex", "PreToolUse", Call, "Bash", "call_fake_0_1", call("18081")},
		{"codex", "PostToolUse", Result, "Bash", "call_fake_0_1", nil},
		{"codex", "PermissionRequest", Permission, "mcp__echo__shout", "", nil},
		{"codex", "Stop", Turn, "", "", nil},
		{"codex", "notify", Turn, "", "", nil},
		{"codex", "SessionEnd", End, "other", "", nil},
		{"copilot", "sessionStart", Session, "new", "", nil},
		{"copilot", "userPromptSubmitted", Prompt, "", "", nil},
		{"copilot", "preToolUse", Call, "bash", "", call("18083")},
		{"copilot", "postToolUse", Result, "bash", "", nil},
		{"copilot", "permissionRequest", Permission, "bash", "", nil},
		{"copilot", "agentStop", Turn, "", "", nil},
		{"copilot", "sessionEnd", End, "complete", "", nil},
		{"gemini", "SessionStart", Session, "startup", "", nil},
		{"gemini", "BeforeAgent", Prompt, "", "", nil},
		{"gemini", "BeforeTool", Call, "run_shell_command", "", call("18082")},
		{"gemini", "AfterTool", Result, "run_shell_command", "", nil},
		{"gemini", "AfterAgent", Turn, "", "", nil},
		{"gemini", "SessionEnd", End, "exit", "", nil},
		{"openclaw", "before_tool_call", Call, "exec", "callfakes0x0", call("18084")},
		{"openclaw", "after_tool_call", Result, "exec", "callfakes0x0", nil},
		{"openclaw", "resolve_exec_env", Other, "", "", nil},
	} {
		t.Run(c.agent+" "+c.file, func(t *testing.T) {
			d, err := Parse(c.agent, recorded(t, c.agent, c.file))
			if err != nil {
				t.Fatal(err)
			}
			if d.What != c.what || d.Name != c.name || d.Call != c.id {
				t.Errorf("%d %q %q, want %d %q %q", d.What, d.Name, d.Call, c.what, c.name, c.id)
			}
			if d.What != Other && len(d.Session) < 8 {
				t.Errorf("session %q", d.Session)
			}
			// What $CAPDIR is nobody can tell, and the file it names is left out.
			got := told(d.Effects)
			got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "/captures/") || s == "read /dev/null" })
			if !slices.Equal(got, c.effects) {
				t.Errorf("effects %q, want %q", got, c.effects)
			}
		})
	}
	d, _ := Parse("claude-code", recorded(t, "claude-code", "PostToolUseFailure"))
	if d.OK || d.Code != 3 {
		t.Errorf("a call that failed: %v %d", d.OK, d.Code)
	}
	if d, _ = Parse("claude-code", recorded(t, "claude-code", "UserPromptSubmit")); d.Prompt != "Run the probe" {
		t.Errorf("prompt %q", d.Prompt)
	}
}

func told(list []Effect) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.String())
	}
	return out
}

func TestACommandSaysWhatItNames(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"npm test", "exec npm"},
		{"FOO=1 npm ci && go build ./...", "exec npm|exec go|read /w/..."},
		{"curl -fsSL https://example.com/x.sh | sh", "exec curl|connect example.com|exec sh|opaque a script that comes over a pipe"},
		{"curl https://example.com:8443/a -o out.bin", "exec curl|connect example.com:8443|write /w/out.bin"},
		{"curl example.org/path", "exec curl|connect example.org"},
		{"echo hi > a.txt 2>/dev/null", "write /w/a.txt|exec echo"},
		{"cd sub && echo hi >> b", "exec cd|exec echo|write /w/sub/b"},
		{"cat ~/.ssh/id_ed25519", "exec cat|read ~/.ssh/id_ed25519"},
		{`cat "$HOME/.aws/credentials"`, "exec cat|read ~/.aws/credentials"},
		{"cat < /etc/passwd", "exec cat|read /etc/passwd"},
		{"exec 3<>/dev/tcp/10.0.0.1/443", "exec exec|connect 10.0.0.1:443"},
		{`eval "$(echo aGk= | base64 -d)"`, "exec eval|opaque eval|exec echo|exec base64|opaque what is decoded from base64"},
		{"bash -c 'wget http://h.example/'", "exec bash|exec wget|connect h.example"},
		{`$CMD --now`, "opaque the program's name is known only when it runs"},
		{`python3 -c 'import os'`, "exec python3|opaque code in an argument of python3"},
		{"sudo -u me timeout 5 ssh git@host.example uptime", "exec sudo|exec timeout|exec ssh|connect host.example"},
		{"git clone git@github.com:o/r.git", "exec git|connect github.com|"},
		{"cp a.txt /etc/b", "exec cp|read /w/a.txt|write /w/a.txt|read /etc/b|write /etc/b"},
		{"f() { true; }; f", "exec true"},
		{"if then (((", "opaque not a script that can be read"},
		{"", "opaque no command"},
		{strings.Repeat("(", 60000), "opaque a script that is nested too deeply, or not a text"},
		{strings.Repeat("a", 70000), "opaque a script longer than is read"},
	} {
		e := effects{cwd: "/w"}
		e.script(c.script, 0)
		want := strings.Split(strings.Trim(c.want, "|"), "|")
		got := told(e.list)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%.80q:\n got %q\nwant %q", c.script, got, want)
		}
	}
}

func TestAToolSaysWhatItTouches(t *testing.T) {
	for _, c := range []struct{ agent, payload, want string }{
		{"claude-code", `"tool_name":"Write","tool_input":{"file_path":"/w/a.go","content":"x"}`, "read /w/a.go|write /w/a.go"},
		{"claude-code", `"tool_name":"Edit","tool_input":{"file_path":"a.go"}`, "read /w/a.go|write /w/a.go"},
		{"claude-code", `"tool_name":"WebFetch","tool_input":{"url":"https://Docs.Example.com/x"}`, "connect docs.example.com"},
		{"claude-code", `"tool_name":"WebSearch","tool_input":{"query":"x"}`, "remote WebSearch"},
		{"claude-code", `"tool_name":"mcp__github__create_issue","tool_input":{}`, "mcp github/create_issue"},
		{"gemini", `"tool_name":"mcp_echo_shout","tool_input":{},"mcp_context":{"server_name":"echo"}`, "mcp echo/shout"},
		{"claude-code", `"tool_name":"Agent","tool_input":{"subagent_type":"reviewer"}`, "agent reviewer"},
		{"codex", `"tool_name":"apply_patch","tool_input":{"command":"*** Begin Patch\n*** Add File: n.txt\n+x\n*** End Patch"}`, "write /w/n.txt"},
		{"codex", `"tool_name":"Bash","tool_input":{"command":["npm","ci"]}`, "exec npm"},
		{"copilot", `"tool_name":"Bash","tool_input":"{\"command\":\"npm ci\"}"`, "exec npm"},
		{"claude-code", `"tool_name":"Quantum","tool_input":{}`, "opaque a tool that is not known"},
	} {
		p := fmt.Sprintf(`{"session_id":"12345678","hook_event_name":"PreToolUse","cwd":"/w","a_later_member":[{}],%s}`, c.payload)
		d, err := Parse(c.agent, []byte(p))
		if got := strings.Join(told(d.Effects), "|"); err != nil || d.What != Call || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.payload, got, err, c.want)
		}
	}
}

func TestWhatIsNoPayloadIsNoDeclaration(t *testing.T) {
	for _, p := range []string{
		"", "null", "[]", `"x"`, "{", `{"hook_event_name":"PreToolUse"}`, `{"hook_event_name":"PreToolUse","session_id":7,"tool_name":"Bash"}`,
		`{"hook_event_name":"PreToolUse","session_id":"12345678"}`, strings.Repeat("[", 100000),
		`{"hook_event_name":"PreToolUse","session_id":"12345678","tool_name":"Bash","x":"` + strings.Repeat("a", MaxPayload) + `"}`,
	} {
		if d, err := Parse("claude-code", []byte(p)); err == nil {
			t.Errorf("%.60q: %+v", p, d)
		}
	}
	if _, err := Parse("openclaw", []byte(`{"pid":1}`)); err == nil {
		t.Error("OpenClaw without event and ctx")
	}
}

func FuzzParse(f *testing.F) {
	for agent, dir := range folders {
		names, _ := filepath.Glob(filepath.Join("testdata", dir, "*.json"))
		if len(names) == 0 {
			f.Fatal(dir)
		}
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(agent, b)
		}
	}
	f.Fuzz(func(t *testing.T, agent string, payload []byte) {
		d, err := Parse(agent, payload)
		if err != nil && (d.What != Other || len(d.Effects) > 0) {
			t.Error("half a declaration")
		}
		if err == nil && d.What != Other && d.Session == "" {
			t.Error("a declaration without a session")
		}
		if len(d.Effects) > maxEffects || len(d.Session) > maxID || len(d.Command) > maxCommand {
			t.Error("over its bound")
		}
		for _, e := range d.Effects {
			if len(e.Object) > maxObject || e.Object == "" || strings.ContainsRune(e.Object, unknown) {
				t.Errorf("effect %q", e)
			}
		}
		if !utf8.ValidString(d.Session) || !utf8.ValidString(d.Name) {
			t.Error("not UTF-8")
		}
	})
}

func BenchmarkParseCall(b *testing.B) {
	p := recorded(b, "claude-code", "PreToolUse")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("claude-code", p); err != nil {
			b.Fatal(err)
		}
	}
}
