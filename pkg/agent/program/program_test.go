package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTheHookThatIsCarriedRuns(t *testing.T) {
	data, err := Hook()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "edamame-hook")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "gemini", "{}").Output(); err != nil || string(out) != "{}\n" {
		t.Errorf("it says %q, %v", out, err)
	}
	if out, err := exec.Command(path, "--no-such-agent").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("of an agent that there is not it says %q, %v", out, err)
	}
}
