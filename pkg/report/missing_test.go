package report

import (
	"slices"
	"testing"

	"github.com/org/edamame-posture/pkg/judge"
)

func TestTheWorstFirstAndTheirLinesReadyToPaste(t *testing.T) {
	facts := []judge.Fact{
		{Severity: judge.Low, Verb: "chain", Object: "a", Grant: "- {class: npm, to: [\"a.example:443\"]}"},
		{Severity: judge.High, Verb: "exec", Object: "/usr/bin/cat", Grant: "- cat"},
		{Severity: judge.High, Verb: "exec", Object: "/bin/cat", Grant: "- cat"},
		{Severity: judge.High, Verb: "upload", Object: "b.example:443", Grant: "- {to: \"b.example:443\", upload: 2MB}"},
		{Severity: judge.High, Verb: "credential", Object: "npm /x/.npmrc", Grant: "- {class: npm, by: [cat]}"},
		{Severity: judge.High, Verb: "delete", Object: "/etc/x", Grant: "- /etc/x"},
		{Severity: judge.High, Verb: "later", Object: "x", Grant: "- x"},
		{Severity: judge.High, Verb: "write", Object: "x", Grant: "- a\nexec: [sh]"},
		{Severity: judge.High, Verb: "connect", Object: "c.example:443"},
	}
	var order []string
	for _, f := range worstFirst(facts) {
		order = append(order, f.Verb)
	}
	if want := []string{"later", "credential", "upload", "connect", "write", "delete", "exec", "exec", "chain"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
	want := []string{
		"credentials:", "  - {class: npm, by: [cat]}", "  - {class: npm, to: [\"a.example:443\"]}",
		"egress:", "  - {to: \"b.example:443\", upload: 2MB}",
		"write:", "  - /etc/x", "exec:", "  - cat",
	}
	if got := missing(worstFirst(facts)); !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}
