package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheGateIsAskedInFullOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "gate.yml")
	if err := os.WriteFile(policy, []byte("version: 1\nrequire: {level: E0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sha := strings.Repeat("a", 40)
	for _, c := range []struct {
		args string
		code int
	}{
		{"", exitUsage},
		{"--policy " + dir + "/none.yml " + dir, exitUsage},
		{"--policy " + policy, exitUsage}, // no place to look at
		{"--policy " + policy + " " + dir + "/none", exitUsage},
		{"--policy " + policy + " --commit main " + dir, exitUsage},
		{"--policy " + policy + " --digest sha256:ab " + dir, exitUsage},
		{"--policy " + policy + " --check-run x --github o/r " + dir, exitUsage},
		{"--policy " + policy + " --check-run x --commit " + sha + " " + dir, exitUsage},
		{"--policy " + policy + " --deployment-callback http://x " + dir, exitUsage},
		{"--policy " + policy + " --sign-keyless " + dir, exitUsage},
		{"--policy " + policy + " --vsa-dsse x " + dir, exitUsage},
		{"--policy " + policy + " --sign-key x --sign-keyless --vsa x " + dir, exitUsage},
		{"--policy " + policy + " --commit " + sha + " " + dir, exitNo}, // nothing found
	} {
		if got := Main(append([]string{"gate"}, strings.Fields(c.args)...)); got != c.code {
			t.Errorf("%s: exit code %d, want %d", c.args, got, c.code)
		}
	}
}
