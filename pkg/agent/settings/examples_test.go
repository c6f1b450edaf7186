package settings

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/agent/client"
)

var update = flag.Bool("update", false, "write examples/agents anew")

// The folders that are ready to copy are what an installation writes.
func TestTheExamplesAreWhatInstallWrites(t *testing.T) {
	const examples = "../../../examples/agents"
	for _, agent := range client.Agents() {
		in := installation(t, agent, Project)
		root := in.Workspace
		if agent == "openclaw" {
			in.Scope, in.Program, root = User, hookName, filepath.Join(in.Home, ".openclaw", pluginName)
		}
		c, err := in.Install()
		must(t, c, err)
		files := tree(t, root)
		if len(files) == 0 {
			t.Errorf("%s: no files", agent)
		}
		for name, text := range files {
			if agent == "claude-code" { // a plugin, which holds hooks in a place of its own
				name = "/hooks/hooks.json"
			}
			path := examples + "/" + agent + name
			text = strings.NewReplacer("{ \n", "{\n", "} \n}", "}\n}").Replace(text) // without the mark of a file that is ours
			if *update {
				if err := Replace(path, []byte(text), 0o644, nil); err != nil {
					t.Fatal(err)
				}
			}
			if have, err := os.ReadFile(path); err != nil || string(have) != text {
				t.Errorf("%s is not what is installed: go test ./pkg/agent/settings -run Examples -update (%v)", path, err)
			}
		}
	}
}
