package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/agent/program"
	"github.com/org/edamame-posture/pkg/agent/settings"
)

// aHome is an empty home, and no caller behind sudo.
func aHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{"SUDO_UID", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "COPILOT_HOME"} {
		t.Setenv(name, "")
	}
	return home
}

func TestHookInstallChecksAndUninstalls(t *testing.T) {
	home := aHome(t)
	hook := filepath.Join(home, "edamame-hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(home, ".claude", "settings.json")
	code, out := command(t, "hook", "install", "claude-code", "--program", hook, "--check")
	if code != exitNo || !strings.Contains(out, path+" is not there") {
		t.Errorf("before: %d %s", code, out)
	}
	code, out = command(t, "hook", "install", "claude-code", "--program", hook)
	if code != 0 || out != path+"  made\n" {
		t.Errorf("%d %s", code, out)
	}
	if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), hook) {
		t.Errorf("%s %v", data, err)
	}
	code, out = command(t, "hook", "install", "claude-code", "--program", hook, "--check")
	if code != 0 || out != "claude-code: installed (user)\n" {
		t.Errorf("after: %d %s", code, out)
	}
	code, out = command(t, "hook", "install", "claude-code", "--program", hook, "--uninstall")
	if code != 0 || out != path+"  deleted\n" {
		t.Errorf("%d %s", code, out)
	}
}

func TestHookInstallOfACheckoutWritesThereAlone(t *testing.T) {
	home, work := aHome(t), t.TempDir()
	code, out := command(t, "hook", "install", "copilot", "--project", "--workspace", work)
	if want := filepath.Join(work, ".github", "hooks", "edamame-posture.json"); code != 0 || out != want+"  made\n" {
		t.Errorf("%d %s", code, out)
	}
	if files, err := os.ReadDir(home); err != nil || len(files) > 0 {
		t.Errorf("the home has %v, %v", files, err)
	}
}

func TestHookInstallSaysWhatIsWrong(t *testing.T) {
	home := aHome(t)
	for want, args := range map[string][]string{
		`there is no agent "claude": want one of claude-code, codex,`: {"claude"},
		"--program: stat /none":               {"codex", "--program", "/none"},
		"Copilot CLI has no such settings":    {"copilot", "--managed", "--program", "/bin/true"},
		"if any flags in the group":           {"codex", "--user", "--project"},
		"there is no flag --managd, did you ": {"codex", "--managd"},
	} {
		code, out := command(t, append([]string{"hook", "install"}, args...)...)
		if code != exitUsage || !strings.Contains(out, want) {
			t.Errorf("%q: %d %s, want %s", args, code, out, want)
		}
	}
	path := filepath.Join(home, ".gemini", "settings.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{\n  \"a\" 1\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out := command(t, "hook", "install", "gemini", "--program", "/bin/true")
	if code != exitUsage || !strings.Contains(out, path+":2:7: want :") {
		t.Errorf("%d %s", code, out)
	}
	t.Setenv("SUDO_UID", "1000")
	if os.Geteuid() == 0 {
		if code, out := command(t, "hook", "install", "codex"); code != exitUsage || !strings.Contains(out, "without sudo") {
			t.Errorf("under sudo: %d %s", code, out)
		}
	}
}

// An agent that runs it takes any other exit code for a word on its tool call.
func TestHookEndsWithZeroWhateverItIsGiven(t *testing.T) {
	aHome(t)
	for _, args := range [][]string{{}, {"claude"}, {"--no-such-flag"}, {"nobody", "{}", "--x"}} {
		if code, out := command(t, append([]string{"hook"}, args...)...); code != 0 {
			t.Errorf("%q: %d %s", args, code, out)
		}
	}
}

func TestTheHookIsWrittenOnceAndDroppedWithItsLastAgent(t *testing.T) {
	home := aHome(t)
	path := filepath.Join(home, "bin", "edamame-hook")
	cmd := &cobra.Command{}
	var out bytes.Buffer
	cmd.SetOut(&out)
	for range 2 {
		if err := writeProgram(cmd, path); err != nil {
			t.Fatal(err)
		}
	}
	want, err := program.Hook()
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, want) || out.String() != path+"  made\n" {
		t.Errorf("%d bytes, %v; it says %s", len(data), err, out.String())
	}
	var installed []*settings.Installation
	for _, agent := range []string{"gemini", "cursor"} {
		in := &settings.Installation{Agent: agent, Scope: settings.User, Home: home, Program: path, Root: home, Getenv: os.Getenv}
		if _, err := in.Install(); err != nil {
			t.Fatal(err)
		}
		installed = append(installed, in)
	}
	for i, in := range installed {
		if _, err := in.Uninstall(); err != nil {
			t.Fatal(err)
		}
		if err := dropProgram(cmd, in); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); (err == nil) != (i == 0) {
			t.Errorf("after %d of 2 agents: %v", i+1, err)
		}
	}
}
