package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAMistypedCommandIsNoSuccess(t *testing.T) {
	for given, says := range map[string]string{
		"verfiy .posture":             `there is no command "verfiy", did you mean verify?`,
		"nosuch":                      `there is no command "nosuch" (see edamame-posture --help)`,
		"signatures chekc":            "did you mean check? (see edamame-posture signatures --help)",
		"service stats":               "did you mean status?",
		"intent nosuch":               `there is no command "nosuch"`,
		"witness nosuch":              "nosuch",
		"help nosuch":                 `there is no command "nosuch"`,
		"help signatures x":           `there is no command "x" (see edamame-posture signatures --help)`,
		"posture --workspace /nosuch": "/nosuch is no folder",
		"service enrol --name m.example --until 2020-01-01": "that day has come",
		"intent test --nix": "there is no flag --nix (see edamame-posture intent test --help)",
	} {
		if code, out := command(t, strings.Fields(given)...); code != exitUsage || !strings.Contains(out, says) {
			t.Errorf("%s: exit code %d, says %q, want %q", given, code, out, says)
		}
	}
	for _, given := range []string{"", "signatures", "service", "intent", "help", "help intent"} {
		if code, out := command(t, strings.Fields(given)...); code != 0 || !strings.Contains(out, "Available Commands:") {
			t.Errorf("%q alone: exit code %d, says %q", given, code, out)
		}
	}
}

// As by a variable that is not set.
func TestAFlagWithoutAValueSwitchesNothingOff(t *testing.T) {
	for _, given := range [][]string{
		{"run", "--intent", "", "--", "true"},
		{"run", "--intent", "p.yml", "--intent", " ", "--", "true"},
		{"run", "--signatures", "", "--", "true"},
		{"start", "--parent", "1", "--intent="},
		{"verify", "--key=", "dir"},
		{"posture", "--fail-on", ""},
		{"replay", "--intent", "", "dir"},
		{"prove", "--check", "file", "--root", ""},
		{"gate", "--policy", "p.yml", "--run", "", "dir"},
	} {
		if code, out := command(t, given...); code != exitUsage || !strings.Contains(out, "nothing stands there") {
			t.Errorf("%q: exit code %d, says %q", given, code, out)
		}
	}
}

func TestEachWordOnAnIdentityAsksForASignature(t *testing.T) {
	for _, given := range [][]string{
		{"--repository", "https://github.com/octo/app"}, {"--commit", "0123"}, {"--workflow-ref", "refs/heads/*"}, {"--trigger", "push"}, {"--run", "https://x"},
	} {
		if code, out := command(t, append([]string{"verify", t.TempDir()}, given...)...); code != exitUsage || !strings.Contains(out, "--trusted-root") {
			t.Errorf("%q: exit code %d, says %q", given, code, out)
		}
		key := filepath.Join(t.TempDir(), "k.pub")
		if code, out := command(t, append([]string{"verify", t.TempDir(), "--key", key}, given...)...); code != exitUsage || !strings.Contains(out, "choose one") {
			t.Errorf("%q with a key: exit code %d, says %q", given, code, out)
		}
	}
}

func TestNothingFoundIsSaidSo(t *testing.T) {
	for _, given := range []string{"prove DIR 1", "intent learn DIR", "replay DIR", "explain DIR"} {
		args := strings.Fields(strings.ReplaceAll(given, "DIR", t.TempDir()))
		if code, out := command(t, args...); code != exitNothing || !strings.Contains(out, "there is no evidence in") {
			t.Errorf("%s: exit code %d, says %q", given, code, out)
		}
	}
}

func TestOneRuleIsChecked(t *testing.T) {
	dir := t.TempDir()
	rule := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const good = "title: x\nid: 11111111-1111-4111-8111-111111111111\nlogsource: {category: process_creation, product: linux}\ndetection:\n  s: {Image: /bin/x}\n  condition: s\nlevel: low\n"
	first := rule("a.yml", good)
	bad := rule("b.yml", strings.Replace(good, "condition: s", "condition: nosuch", 1))
	if code, out := command(t, "signatures", "check", first); code != 0 || !strings.HasPrefix(out, "1 rule, ") {
		t.Errorf("the good one: %d %s", code, out)
	}
	if code, out := command(t, "signatures", "check", bad); code != exitNo || !strings.Contains(out, "\n1 rule, ") || !strings.HasPrefix(out, bad+":6:14: ") {
		t.Errorf("the bad one: %d %s", code, out)
	}
	other := rule("c.yml", strings.Replace(good, "process_creation", "process_creatoin", 1))
	if code, out := command(t, "signatures", "check", other); code != exitNothing || !strings.Contains(out, "nothing was checked") {
		t.Errorf("of no source: %d %s", code, out)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, "signatures", "check", dir); code != exitNo || !strings.Contains(out, "\n2 rules, ") {
		t.Errorf("both: %d %s", code, out)
	}
}

// Where jobs must be recorded, settings that cannot be read are no reason to go on.
func TestAJobThatMustBeRecordedFailsWhereTheSettingsAreWrong(t *testing.T) {
	for text, code := range map[string]int{
		"version: 1\nrequire: true\nnonsense: 1\n":   exitNo,
		"version: 1\nrequire:   true # all\nx: [\n":  exitNo,
		"version: 1\nrequire: false\nnonsense: 1\n":  0,
		"version: 1\n# require: true\nnonsense: 1\n": 0,
		"version: 1\nrequire: truely\n":              0,
	} {
		got, out := command(t, "service", "hook", "started", "--config", file(t, "service.yml", text))
		word := "::warning::"
		if code != 0 {
			word = "::error::"
		}
		if got != code || !strings.Contains(out, word) {
			t.Errorf("%q: exit code %d, says %q", text, got, out)
		}
	}
}
