package agents

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/org/edamame-posture/pkg/agent/settings"
)

// The plugin as it is installed, called by Node as OpenClaw calls it with what
// OpenClaw was recorded to give. OpenClaw itself takes a gigabyte and a minute.
func TestOpenClawsPluginTellsOfCalls(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("SKIP: node is not installed")
	}
	root, err := os.MkdirTemp("/var/tmp", "posture-agents-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	home, monitors := filepath.Join(root, "home"), filepath.Join(root, "monitors")
	in := &settings.Installation{Agent: "openclaw", Scope: settings.User, Home: home, Program: hook, Getenv: func(string) string { return "" }}
	if _, err := in.Install(); err != nil {
		t.Fatal(err)
	}
	heard := listen(t, monitors)
	script := filepath.Join(home, "host.mjs")
	if err := os.WriteFile(script, []byte(`
import plugin from "./.openclaw/edamame-posture/index.js";
import fs from "node:fs";
const on = {};
plugin.register({ on: (name, f) => { on[name] = f; } });
for (const name of ["before_tool_call", "after_tool_call"]) {
  const { event, ctx } = JSON.parse(fs.readFileSync(process.argv[2] + "/" + name + ".json"));
  const said = await on[name](event, ctx);
  if (said !== undefined) throw new Error(name + " decides something");
}
await on.before_agent_run({ prompt: "Do it.", messages: ["all that was said"] }, { sessionId: "s" });
const round = {}; round.round = round;
await on.agent_end(round, round); // cannot be written as JSON: no reason to fail
`), 0o644); err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("testdata/openclaw")
	if err != nil {
		t.Fatal(err)
	}
	host := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", enter, "sh", monitors, "/tmp", root, "PATH="+os.Getenv("PATH"), "HOME="+home, "node", script, data)
	if out, err := host.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var events []string
	for _, d := range heard.said() {
		events = append(events, d.event)
		event, _ := d.payload["event"].(map[string]any)
		switch d.event {
		case "before_tool_call":
			params, _ := event["params"].(map[string]any)
			if event["toolCallId"] != "callfakes0x0" || params["command"] == nil {
				t.Errorf("of the call it tells %s", d.raw)
			}
		case "before_agent_run":
			if event["prompt"] != "Do it." || len(event) != 1 {
				t.Errorf("of the run it tells %s", d.raw)
			}
		}
	}
	if want := []string{"before_tool_call", "after_tool_call", "before_agent_run"}; !slices.Equal(events, want) || len(heard.bad) > 0 {
		t.Errorf("heard %q, want %q; not in the protocol: %q", events, want, heard.bad)
	}
}
