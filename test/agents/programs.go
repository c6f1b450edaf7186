package agents

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is an agent as npm has it.
type program struct {
	name    string // as the hook is told
	pkg     string // npm's name with version
	folder  string // below .tools/agents
	binary  string // below the folder
	install func(w *world) map[string]string
	// command returns how a session is begun, and env what it needs besides PATH and HOME.
	command func(w *world, s *Session) []string
	env     func(w *world) []string
}

var programs = []program{
	{
		name: "claude-code", pkg: "@anthropic-ai/claude-code@2.1.330", folder: "claude-code-2.1.330", binary: "node_modules/.bin/claude",
		command: func(_ *world, s *Session) []string {
			return []string{"-p", s.Prompt, "--output-format", "json", "--allowedTools", "Bash,Read,Write,Edit"}
		},
		env: func(w *world) []string {
			return []string{"ANTHROPIC_BASE_URL=" + w.api, "ANTHROPIC_API_KEY=" + modelKey, "DISABLE_TELEMETRY=1", "DISABLE_ERROR_REPORTING=1", "DISABLE_AUTOUPDATER=1",
				"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"}
		},
	},
	{
		name: "codex", pkg: "@openai/codex@0.169.0", folder: "codex-0.169.0", binary: "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
		install: func(w *world) map[string]string {
			return map[string]string{".codex/config.toml": `model = "gpt-5.5"
model_provider = "scripted"
check_for_update_on_startup = false
[analytics]
enabled = false
[feedback]
enabled = false
[otel]
exporter = "none"
[model_providers.scripted]
name = "scripted"
base_url = "` + w.api + `/v1"
env_key = "SCRIPTED_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
supports_websockets = false
[projects."` + w.work + `"]
trust_level = "trusted"
`}
		},
		command: func(_ *world, s *Session) []string {
			return []string{"exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-hook-trust", "--disable", "plugins", "--disable", "remote_plugin", "--disable", "apps",
				"-s", "danger-full-access", s.Prompt}
		},
		env: func(*world) []string { return []string{"SCRIPTED_API_KEY=" + modelKey} },
	},
	{
		name: "copilot", pkg: "@github/copilot@1.0.102", folder: "copilot-1.0.102", binary: "node_modules/@github/copilot-linux-x64/copilot",
		command: func(_ *world, s *Session) []string {
			return []string{"-p", s.Prompt, "--output-format", "json", "--allow-tool", "shell", "--allow-tool", "write", "--trust-folder", "--disable-builtin-mcps"}
		},
		env: func(w *world) []string {
			return []string{"COPILOT_PROVIDER_BASE_URL=" + w.api + "/v1", "COPILOT_PROVIDER_API_KEY=" + modelKey, "COPILOT_MODEL=gpt-4.1", "COPILOT_OFFLINE=true", "COPILOT_AUTO_UPDATE=false"}
		},
	},
	{
		name: "gemini", pkg: "@google/gemini-cli@0.61.0", folder: "gemini-0.61.0", binary: "node_modules/.bin/gemini",
		install: func(*world) map[string]string {
			return map[string]string{".gemini/settings.json": `{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false},
 "telemetry": {"enabled": false}, "general": {"enableAutoUpdate": false}}`}
		},
		command: func(_ *world, s *Session) []string {
			return []string{"-p", s.Prompt, "-o", "json", "--approval-mode", "auto_edit", "--allowed-tools", "run_shell_command", "--skip-trust", "-m", "gemini-2.5-pro"}
		},
		env: func(w *world) []string {
			return []string{"GEMINI_API_KEY=" + modelKey, "GOOGLE_GEMINI_BASE_URL=" + w.api, "GEMINI_TELEMETRY_ENABLED=false"}
		},
	},
}

// modelKey is the key of no account.
const modelKey = "dummy-key-of-no-account"

// path returns where the agent is, and installs it where it is not.
func (p *program) path(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../.tools/agents/" + p.folder)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, p.binary)
	if real, err := filepath.EvalSymlinks(binary); err == nil {
		return real
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("SKIP: npm is not installed: apt-get install npm")
	}
	aside := dir + ".new" // renamed when whole, so that an install that broke off leaves nothing
	if err := os.RemoveAll(aside); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("npm", "install", "--no-audit", "--no-fund", "--prefix", aside, p.pkg).CombinedOutput(); err != nil {
		t.Skipf("SKIP: %s could not be installed: %v\n%s", p.pkg, err, out)
	}
	if err := os.Rename(aside, dir); err != nil {
		t.Fatal(err)
	}
	if binary, err = filepath.EvalSymlinks(binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// enter is a script for a mount namespace of one's own: it puts $1 in the place
// where monitors listen, unless that is "", $2 in that of /tmp, and runs the rest in $3.
const enter = `set -e
[ -z "$1" ] || { mkdir -p /run/edamame-posture; mount --bind "$1" /run/edamame-posture; }
mount --bind "$2" /tmp
cd "$3"
shift 3
exec env -i "$@"`

// argv returns the command of a session in a world: in its namespace, with its
// /tmp, and an environment of its own. Its hooks are heard in the folder monitors,
// and where that is "" by the monitors of the machine.
func (p *program) argv(t *testing.T, w *world, s *Session, monitors string) []string {
	t.Helper()
	binary := p.path(t)
	w.put(w.home, map[string]string{"../bin/" + filepath.Base(p.binary): fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", binary)})
	tmp := filepath.Join(w.root, "tmp")
	if strings.HasPrefix(binary, "/tmp/") {
		tmp = "/tmp" // a checkout below it would be hidden
	}
	argv := []string{"ip", "netns", "exec", w.ns, "sh", "-c", enter, "sh", monitors,
		tmp, w.work, "HOME=" + w.home, "PATH=" + filepath.Dir(w.hook) + ":" + os.Getenv("PATH"), "LANG=C.UTF-8", "TERM=dumb", "DO_NOT_TRACK=1", "USER=root",
		"GOFLAGS=-mod=mod", "GOPROXY=off", "GOCACHE=" + filepath.Join(w.home, ".cache/go-build")}
	argv = append(argv, p.env(w)...)
	for name, value := range s.Env {
		argv = append(argv, name+"="+w.fill(value))
	}
	argv = append(argv, binary)
	for _, a := range append(p.command(w, s), s.Flags[p.name]...) {
		argv = append(argv, w.fill(a))
	}
	return argv
}
