package settings

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/agent/client"
)

func installation(t *testing.T, agent string, scope Scope) *Installation {
	t.Helper()
	dir := t.TempDir()
	return &Installation{Agent: agent, Scope: scope, Home: filepath.Join(dir, "home"), Workspace: filepath.Join(dir, "work"),
		Program: "/usr/local/bin/edamame-hook", Root: filepath.Join(dir, "root"), Getenv: func(string) string { return "" }}
}

// tree returns all files below a folder.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, root)] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

func equal(a, b map[string]string) bool {
	for k, v := range a {
		if other, ok := b[k]; !ok || other != v {
			return false
		}
	}
	return len(a) == len(b)
}

// each calls f for each agent in each scope that it has.
func each(t *testing.T, f func(t *testing.T, in *Installation)) {
	for _, agent := range client.Agents() {
		for _, scope := range []Scope{User, Project, Managed} {
			in := installation(t, agent, scope)
			if _, err := in.targets(); err != nil {
				if scope == User {
					t.Errorf("%s has no settings of a user: %v", agent, err)
				}
				continue
			}
			t.Run(agent+"-"+string(scope), func(t *testing.T) { f(t, in) })
		}
	}
}

func must(t *testing.T, changes []Change, err error) []Change {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func TestWhereNothingWasInstallingMakesFilesAndTakingOutLeavesNone(t *testing.T) {
	each(t, func(t *testing.T, in *Installation) {
		root := filepath.Dir(in.Home)
		if missing, err := in.Check(); err != nil || len(missing) == 0 {
			t.Fatalf("before, missing is %q, %v", missing, err)
		}
		c, err := in.Install()
		must(t, c, err)
		after := tree(t, root)
		for path, text := range after {
			switch filepath.Ext(path) {
			case ".json":
				if !json.Valid([]byte(text)) {
					t.Errorf("%s is no JSON:\n%s", path, text)
				}
			case ".toml":
				checkTOML(t, text)
			}
		}
		missing, err := in.Check()
		if in.Agent == "codex" && in.Scope != Managed { // nobody can trust them but a person
			missing = missing[:len(missing)-1]
		}
		if err != nil || len(missing) > 0 {
			t.Errorf("after, missing is %q, %v", missing, err)
		}
		c, err = in.Install()
		for _, change := range must(t, c, err) {
			if change.What != "unchanged" {
				t.Errorf("a second time: %+v", change)
			}
		}
		if !equal(after, tree(t, root)) {
			t.Error("a second time changes something")
		}
		c, err = in.Uninstall()
		must(t, c, err)
		if left := tree(t, root); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
		c, err = in.Uninstall()
		for _, change := range must(t, c, err) {
			if change.What != "unchanged" {
				t.Errorf("taken out a second time: %+v", change)
			}
		}
	})
}

// checkTOML reads TOML with another program, where there is one.
func checkTOML(t *testing.T, text string) {
	t.Helper()
	cmd := exec.Command("python3", "-c", "import sys,tomllib; tomllib.loads(sys.stdin.read())")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "No module named") {
		t.Errorf("no TOML: %v\n%s\n%s", err, out, text)
	}
}

// documents are settings as people have them; before is what must come back.
var documents = map[string]string{
	"empty":               "{}",
	"empty, two lines":    "{\n}\n",
	"other settings":      "{\n  \"model\": \"opus\",\n  \"permissions\": {\"allow\": [\"Bash(ls:*)\"]}\n}\n",
	"on one line":         `{"model":"opus"}`,
	"four spaces":         "{\n    \"a\": [1, 2.50, 1e3],\n    \"b\": null\n}",
	"tabs":                "{\n\t\"a\": {\n\t\t\"b\": \"c\\u00e9\"\n\t}\n}\n",
	"carriage returns":    "{\r\n  \"a\": 1\r\n}\r\n",
	"comments":            "// mine\n{\n  // the model\n  \"model\": \"opus\", // fast\n  /* no } here */\n}\n",
	"a comma too many":    "{\n  \"a\": [1, 2,],\n  \"b\": {\"c\": 1,},\n}\n",
	"hooks of others":     "{\n  \"hooks\": {\n    \"PreToolUse\": [\n      {\n        \"matcher\": \"Bash\",\n        \"hooks\": [{\"type\": \"command\", \"command\": \"./guard.sh\"}]\n      }\n    ],\n    \"preToolUse\": [{\"command\": \"x\"}],\n    \"BeforeTool\": []\n  },\n  \"z\": 1\n}\n",
	"hooks, empty":        "{\"hooks\": {}, \"plugins\": {}}",
	"hooks, a line off":   "{\n  \"hooks\": {\n  },\n  \"plugins\": {\"load\": {\"paths\": []}, \"allow\": [], \"entries\": {}}\n}\n",
	"plugins":             "{\"plugins\": {\"load\": {\"paths\": [\"/p\"]}, \"allow\": [\"p\"], \"entries\": {\"p\": {\"enabled\": true}}}}",
	"keys without quotes": "{a: 'it\\'s', plugins: {allow: ['x']}}",
}

func TestWhatElseStandsInAFileStaysAndComesBackExactly(t *testing.T) {
	each(t, func(t *testing.T, in *Installation) {
		targets, err := in.targets()
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range documents {
			written := 0
			for i := range targets {
				tg := &targets[i]
				if tg.whole != nil {
					continue
				}
				if tg.toml != nil {
					text = "# mine\nmodel = \"x\"\n\n[a]\nb = 1"
				}
				written++
				if err := os.MkdirAll(filepath.Dir(tg.path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(tg.path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if written == 0 {
				t.Fatal("no file was written")
			}
			root := filepath.Dir(in.Home)
			before := tree(t, root)
			c, err := in.Install()
			must(t, c, err)
			if equal(before, tree(t, root)) {
				t.Fatalf("%s: nothing was installed", name)
			}
			for _, change := range c {
				if info, err := os.Stat(change.Path); err != nil || change.What == "written" && info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %s: %v, %v", name, change.Path, info.Mode(), err)
				}
			}
			installed := tree(t, root)
			missing, err := in.Check()
			if err != nil || len(missing) > 1 || len(missing) == 1 && in.Agent != "codex" {
				t.Errorf("%s: missing is %q, %v", name, missing, err)
			}
			c, err = in.Install()
			must(t, c, err)
			if !equal(installed, tree(t, root)) {
				t.Errorf("%s: a second time changes something", name)
			}
			c, err = in.Uninstall()
			must(t, c, err)
			if after := tree(t, root); !equal(before, after) {
				t.Errorf("%s: before\n%q\nafter\n%q\ninstalled\n%q", name, before, after, installed)
			}
		}
	})
}

// An older form of ours is replaced; a person's handler in our group stays.
func TestAnOlderInstallationIsReplaced(t *testing.T) {
	in := installation(t, "claude-code", User)
	c, err := in.Install()
	must(t, c, err)
	path := c[0].Path
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), `"PreToolUse": [{"hooks": [{`, `"PreToolUse": [{"hooks": [{"type": "command", "command": "mine"}, {`, 1)
	if text == string(data) {
		t.Fatal("PreToolUse does not stand there as expected")
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	in.Program = "/opt/new/edamame-hook"
	c, err = in.Install()
	must(t, c, err)
	data, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "/usr/local/bin/"); n > 0 || strings.Count(string(data), in.Program) != len(events["claude-code"]) {
		t.Errorf("%d old hooks are left:\n%s", n, data)
	}
	c, err = in.Uninstall()
	must(t, c, err)
	data, err = os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), `"command": "mine"`) || strings.Contains(string(data), hookName) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestALinkToSettingsKeptElsewhereStaysALink(t *testing.T) {
	in := installation(t, "gemini", User)
	real := filepath.Join(t.TempDir(), "dotfiles.json")
	if err := os.WriteFile(real, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(in.Home, ".gemini", "settings.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	c, err := in.Install()
	must(t, c, err)
	if to, err := os.Readlink(link); err != nil || to != real {
		t.Errorf("the link is %q, %v", to, err)
	}
	if data, err := os.ReadFile(real); err != nil || !strings.Contains(string(data), hookName) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestAnErrorSaysWhereAndChangesNothing(t *testing.T) {
	for _, c := range []struct{ agent, text, want string }{
		{"claude-code", "", "1:1: the file is empty"},
		{"claude-code", "[]", "1:1: want an object"},
		{"claude-code", "{\n  \"a\": 1\n  \"b\": 2}", "3:3: want , or }"},
		{"claude-code", "{\"a\": \"x", "1:9: this text has no end"},
		{"claude-code", "{\"hooks\": []}", "1:11: want {: hooks is to hold our hooks"},
		{"gemini", "{\"hooks\": {\n \"BeforeTool\": {}}}", "2:16: want [: hooks.BeforeTool is to hold our hooks"},
		{"cursor", "{\"hooks\": {}, \"hooks\": {}}", "1:15: the key \"hooks\" stands here twice"},
		{"openclaw", "{\"plugins\": {\"entries\": {\"edamame-posture\": {}}}}", ""},
		{"codex", strings.Repeat("{\"a\": ", 500), "nested too deep"},
	} {
		in := installation(t, c.agent, User)
		targets, err := in.targets()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(targets[0].path), 0o755), os.WriteFile(targets[0].path, []byte(c.text), 0o644)); err != nil {
			t.Fatal(err)
		}
		before := tree(t, filepath.Dir(in.Home))
		_, err = in.Install()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), targets[0].path+":") {
			t.Errorf("%s: the error is %v, want %s", c.text, err, c.want)
		}
		if !equal(before, tree(t, filepath.Dir(in.Home))) {
			t.Errorf("%s: something was changed", c.text)
		}
	}
}

func TestAPersonsNotifyStays(t *testing.T) {
	in := installation(t, "codex", User)
	path := filepath.Join(in.Home, ".codex", "config.toml")
	text := "model = \"x\"\nnotify = [\"say\"]\n"
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	c, err := in.Install()
	must(t, c, err)
	if !strings.Contains(c[0].What, "left alone: line 2: notify") {
		t.Errorf("%+v", c)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != text {
		t.Errorf("%s, %v", data, err)
	}
}

func TestCodexHooksThatNobodyTrustsAreMissing(t *testing.T) {
	in := installation(t, "codex", User)
	c, err := in.Install()
	must(t, c, err)
	missing, err := in.Check()
	if err != nil || len(missing) != 1 || !strings.Contains(missing[0], "trust") {
		t.Fatalf("%q, %v", missing, err)
	}
	config := filepath.Join(in.Home, ".codex", "config.toml")
	data, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	trust := "[hooks.state.\"" + filepath.Join(in.Home, ".codex", "hooks.json") + ":pre_tool_use:0:0\"]\ntrusted_hash = \"sha256:0\"\n"
	if err := os.WriteFile(config, append(data, trust...), 0o644); err != nil {
		t.Fatal(err)
	}
	if missing, err := in.Check(); err != nil || len(missing) > 0 {
		t.Errorf("%q, %v", missing, err)
	}
}

func TestUnknownAgentsAndScopesAreErrors(t *testing.T) {
	for agent, scope := range map[string]Scope{"copilot": Managed, "openclaw": Project, "nobody": User} {
		in := installation(t, agent, scope)
		_, err := in.Install()
		if err == nil {
			t.Errorf("%s, %s: no error", agent, scope)
		}
	}
}

// Whatever can be read, our entries come in, and out again, and nothing else changes.
func FuzzDocument(f *testing.F) {
	for _, text := range documents {
		f.Add(text)
	}
	in := &Installation{Agent: "openclaw", Scope: User, Home: "/h", Program: "/p/edamame-hook", Getenv: func(string) string { return "" }}
	targets, err := in.targets()
	if err != nil {
		f.Fatal(err)
	}
	claude := *in
	claude.Agent = "claude-code"
	more, err := claude.targets()
	if err != nil {
		f.Fatal(err)
	}
	var all []*target
	for i := range targets {
		if targets[i].entries != nil {
			all = append(all, &targets[i])
		}
	}
	all = append(all, &more[0])
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := read(text); err != nil {
			return
		}
		for _, tg := range all {
			if clean, err := tg.remove(text); err != nil || clean != text {
				continue // it has something of ours
			}
			with, err := tg.add(text)
			if err != nil {
				continue
			}
			if _, err := read(with); err != nil {
				t.Fatalf("%q becomes %q: %v", text, with, err)
			}
			back, err := tg.remove(with)
			if err != nil || back != text {
				t.Fatalf("%q becomes %q and then %q, %v", text, with, back, err)
			}
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add("a = 1\n[b]\n")
	f.Add("[hooks]\n")
	f.Add("x = \"\"\"\nnotify = 1\n\"\"\"")
	in := &Installation{Agent: "codex", Scope: Managed, Program: "/p/edamame-hook", Getenv: func(string) string { return "" }}
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range []*lines{{text: in.codexTables(), atEnd: true, events: events["codex"]}, {text: "notify = [\"/p/edamame-hook\", \"codex\"]\n", key: "notify"}} {
			if clean, err := l.remove(text); err != nil || clean != text {
				continue
			}
			with, err := l.add(text)
			if err != nil {
				continue
			}
			if !l.holds(with) {
				t.Fatalf("%q becomes %q", text, with)
			}
			if back, err := l.remove(with); err != nil || back != text {
				t.Fatalf("%q becomes %q and then %q, %v", text, with, back, err)
			}
		}
	})
}
