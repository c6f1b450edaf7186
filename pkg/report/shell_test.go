package report

import (
	"os/exec"
	"testing"
)

// What is shown to be typed is what a shell reads.
func TestAPathIsShownAsAShellTakesIt(t *testing.T) {
	for _, path := range []string{
		".", ".posture", "/tmp/a-b_c.d", "run 1", "it's", "$HOME", "`id`", "a;b", "a&b", "*", "~", "#x", "über", `a\b`, `"q"`, "(x)", "{a,b}", "!x", "'",
	} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellWord(path)).Output()
		if err != nil || string(out) != path {
			t.Errorf("%q is shown as %s, which is %q to a shell (%v)", path, shellWord(path), out, err)
		}
	}
	if got := shellWord(".posture"); got != ".posture" {
		t.Errorf("a plain path is shown as %s", got)
	}
	if got := shellWord("-x"); got != "./-x" {
		t.Errorf("-x is shown as %s, an option", got)
	}
}
