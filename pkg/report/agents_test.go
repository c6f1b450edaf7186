package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/judge"
)

// What an agent says of itself is shown as text, with what was seen beside it.
func TestASessionShowsWhatWasSaidAndWhatWasSeen(t *testing.T) {
	d := install(t)
	v := *d.Verdict
	d.Verdict = &v
	v.Agents = []judge.AgentSession{{
		Agent: "claude-code", Session: "2ed26409-5016-4d73-8d17-0692fc67db0c", Prompts: 1, Started: 3, Declared: 2, Coverage: 666, Refused: 1,
		Calls: []judge.AgentCall{
			{Call: "toolu_1", Tool: "Bash", Command: "npm test\x1b[2J| <b>", Opaque: "eval", Seen: []string{"exec npm", "connect 198.51.100.7:443"}},
			{Call: "toolu_2", Tool: "Write", Declared: []string{"write /w/a"}, Seen: []string{}, More: 3},
		},
	}}
	got := terminalText(t, d, TerminalOptions{Dir: ".posture", Width: 160})
	for _, want := range []string{"agents        1 session", "1 prompt, 2 tool calls; 2 of 3 that it started were declared; 1 refused", "hides what it does: eval"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	var b bytes.Buffer
	if err := Markdown(&b, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"#### Session of claude", "| Call | Tool | Declared | Hidden | Seen |", "connect 198&#46;51", "and 3 more"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for _, bad := range []string{"\x1b", "<b>"} {
		if strings.Contains(got, "\x1b") || strings.Contains(b.String(), bad) {
			t.Errorf("%q goes through", bad)
		}
	}
}
