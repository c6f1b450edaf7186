package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/judge"
)

// learn runs intent learn over folders of results.
func learn(t *testing.T, args ...string) (policy, told string, code int) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"intent", "learn"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// What is learnt of two releases of a tool must hold for the third, and for
// nothing else.
func TestAPolicyLearntFromTwoRunsPassesTheThirdAndFailsOneThatDoesMore(t *testing.T) {
	s := shellScene(t)
	release := func(t *testing.T, version, more string, flags ...string) *watched {
		t.Helper()
		o, argv := s.begin(t, "")
		script := "mkdir -p tool/" + version + " && for i in a b c; do echo $i > tool/" + version + "/$i; done; " + argv[len(argv)-1]
		if more != "" {
			script = strings.Replace(script, "exec bash", "bash", 1) + "; " + more
		}
		argv[len(argv)-1] = script
		o.flags = append(o.flags, flags...)
		return run(t, o, argv...)
	}
	first, second := release(t, "1.2.3", ""), release(t, "1.3.0", "")
	first.complete()
	second.complete()
	policy, told, code := learn(t, first.dir, second.dir)
	if code != 0 || told != "" {
		t.Fatalf("exit code %d, told %q\n%s", code, told, policy)
	}
	if other, _, _ := learn(t, second.dir, filepath.Join(first.dir, "evidence")); other != policy {
		t.Errorf("in another order:\n%s\nwant\n%s", other, policy)
	}
	if !strings.Contains(policy, `"tool/*/a" # for 1.2.3, 1.3.0; in 2 of 2 runs`) {
		t.Errorf("the versions are not generalised:\n%s", policy)
	}
	file := filepath.Join(t.TempDir(), "posture.yml")
	if err := os.WriteFile(file, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*watched{first, second} {
		out, err := exec.Command(binary, "replay", "--intent", file, "--json", w.dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		var v judge.Verdict
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatal(err)
		}
		w.must(v.Verdict == judge.Pass && v.Score == 0 && len(v.Undeclared) == 0, "judged against what was learnt of it: %s, undeclared %+v\n%s", v.Verdict, v.Undeclared, policy)
	}
	for _, version := range []string{"1.2.3", "2.0.0"} {
		w := release(t, version, "", "--intent", file)
		w.complete()
		w.must(w.code == 0 && w.verdict.Verdict == "pass" && len(w.verdict.Undeclared) == 0,
			"version %s: exit code %d, %s, undeclared %+v\n%s", version, w.code, w.verdict.Verdict, w.verdict.Undeclared, policy)
	}
	w := release(t, "1.2.3", "exec bash -c 'exec 3<>/dev/tcp/"+strings.Replace(s.stranger, ":", "/", 1)+"; echo hello >&3'", "--intent", file)
	w.fails("connect", s.stranger)
}

func TestRunsThatCannotBeLearntFromAreToldByName(t *testing.T) {
	good := run(t, options{}, "sh", "-c", "echo > out")
	good.complete()
	blind := run(t, options{flags: []string{"--sensor", "netlink"}}, "sh", "-c", "echo > out")
	policy, told, code := learn(t, good.dir, blind.dir)
	why := "left out: " + blind.dir + ": not everything was seen"
	if code != 0 || !strings.HasPrefix(told, why) || !strings.Contains(told, "--partial takes it") || !strings.Contains(policy, "# Left out: "+blind.dir) {
		t.Errorf("exit code %d, told %q, want %q\n%s", code, told, why, policy)
	}
	if policy, told, code = learn(t, blind.dir); code != 5 || policy != "" || !strings.Contains(told, "no run was left to learn from") {
		t.Errorf("of a blind run alone: exit code %d, told %q\n%s", code, told, policy)
	}
	if policy, told, code = learn(t, "--partial", blind.dir); code != 0 || !strings.HasPrefix(policy, "# Learned from 1 run") {
		t.Errorf("with --partial: exit code %d, told %q\n%s", code, told, policy)
	}
	for dir, want := range map[string]string{t.TempDir(): "there is no evidence in", filepath.Join(good.dir, "absent"): "there is no evidence in"} {
		if _, told, code = learn(t, dir); code != 5 || !strings.Contains(told, want) {
			t.Errorf("%s: exit code %d, told %q", dir, code, told)
		}
	}
	segment := filepath.Join(good.dir, "evidence", "000000.jsonl.zst")
	data, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(segment, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if policy, told, code = learn(t, good.dir); code != 2 || policy != "" || !strings.Contains(told, "SHA-256") {
		t.Errorf("of changed evidence: exit code %d, told %q\n%s", code, told, policy)
	}
}
