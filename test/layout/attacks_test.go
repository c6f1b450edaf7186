package layout

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A table that names tests is worth something as long as they are there.
func TestEachTestThatTheTableOfAttacksNamesIsThere(t *testing.T) {
	text, err := os.ReadFile("../../docs/attacks-on-evidence.md")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("git", "grep", "-hoE", "^func Test[A-Za-z0-9]+", "--", "*_test.go")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range strings.Fields(string(out)) {
		have[f] = true
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllSubmatch(text, -1)
	if len(named) < 50 {
		t.Fatalf("%d tests are named", len(named))
	}
	for _, m := range named {
		if !have[string(m[1])] {
			t.Errorf("there is no %s", m[1])
		}
	}
}
