package examples

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/gate"
)

func document(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return doc
}

// at goes down a document by keys, and by numbers of lists.
func at(t *testing.T, doc any, path ...any) any {
	t.Helper()
	for i, p := range path {
		switch k := p.(type) {
		case string:
			m, is := doc.(map[string]any)
			if doc = m[k]; !is || doc == nil {
				t.Fatalf("there is no %v", path[:i+1])
			}
		case int:
			l, is := doc.([]any)
			if !is || k >= len(l) {
				t.Fatalf("there is no %v", path[:i+1])
			}
			doc = l[k]
		}
	}
	return doc
}

// An admission controller checks who signed, and no more: what a job signs of
// itself is no decision. So the examples read the gate's summary, by its own
// identity.
func TestAdmissionReadsTheGatesSummaryAndNeverTheJobsStatement(t *testing.T) {
	d := "../../examples/gates/"
	kyverno := document(t, d+"kyverno.yml")
	if got := at(t, kyverno, "spec", "attestations", 0, "intoto", "type"); got != gate.VSAType {
		t.Errorf("Kyverno reads %v", got)
	}
	if got := at(t, kyverno, "spec", "attestors", 0, "cosign", "keyless", "identities", 0, "subject").(string); strings.ContainsAny(got, "*") {
		t.Errorf("Kyverno believes %s", got)
	}
	controller := document(t, d+"policy-controller.yml")
	if got := at(t, controller, "spec", "authorities", 0, "attestations", 0, "predicateType"); got != gate.VSAType {
		t.Errorf("policy-controller reads %v", got)
	}
	rules := map[string]string{
		"kyverno.yml":           at(t, kyverno, "spec", "validations", 1, "expression").(string),
		"policy-controller.yml": at(t, controller, "spec", "authorities", 0, "attestations", 0, "policy", "data").(string),
	}
	rego, err := os.ReadFile(d + "vsa.rego")
	if err != nil {
		t.Fatal(err)
	}
	rules["vsa.rego"] = string(rego)
	// What is not there must not pass: in Rego a "not … in" of what is undefined
	// is undefined, and CUE fills in what has no mark.
	if regexp.MustCompile(`not [^\n]* in `).MatchString(rules["vsa.rego"]) {
		t.Error("vsa.rego lets a summary without levels pass")
	}
	for _, key := range []string{"predicateType", "predicate", "verificationResult", "verifier", "id", "verifiedLevels"} {
		if !strings.Contains(rules["policy-controller.yml"], key+"!:") {
			t.Errorf("policy-controller.yml lets a summary without %s pass", key)
		}
	}
	for name, rule := range rules {
		for _, want := range []string{"verificationResult", "PASSED", "EDAMAME_POSTURE_E2", gate.VerifierID} {
			if !strings.Contains(rule, want) {
				t.Errorf("%s does not ask for %s", name, want)
			}
		}
		for _, never := range []string{"runtime-trace", "criticalFindings"} {
			if strings.Contains(rule, never) {
				t.Errorf("%s reads the job's statement", name)
			}
		}
	}
}

// Only the gate job stands between build and publish, and only watched jobs
// and the gate may sign.
func TestTheReleaseWorkflowPublishesNothingThatTheGateDidNotPass(t *testing.T) {
	doc := document(t, "../../examples/gates/release.yml")
	if at(t, doc, "jobs", "publish", "needs") != "gate" || at(t, doc, "jobs", "gate", "needs") != "build" {
		t.Error("publish does not wait for the gate")
	}
	if _, ok := at(t, doc, "jobs", "publish").(map[string]any)["if"]; ok {
		t.Error("publish has a condition of its own, and may run though the gate refused")
	}
	if _, ok := at(t, doc, "jobs", "publish", "permissions").(map[string]any)["id-token"]; ok {
		t.Error("publish may sign")
	}
	if _, ok := at(t, doc, "jobs", "build", "permissions").(map[string]any)["contents"]; !ok || at(t, doc, "jobs", "build", "permissions", "contents") != "read" {
		t.Error("the build may write")
	}
	used := false
	for _, s := range at(t, doc, "jobs", "gate", "steps").([]any) {
		step := s.(map[string]any)
		uses, _ := step["uses"].(string)
		if !strings.HasPrefix(uses, "org/edamame-posture/gate@") {
			continue
		}
		used = true
		if _, ref, _ := strings.Cut(uses, "@"); len(ref) != 40 {
			t.Errorf("%s is not pinned", uses)
		}
		inputs := at(t, document(t, "../../gate/action.yml"), "inputs").(map[string]any)
		for name := range step["with"].(map[string]any) {
			if inputs[name] == nil {
				t.Errorf("the action has no input %s", name)
			}
		}
	}
	if !used {
		t.Error("the gate job does not use the gate")
	}
	rule := document(t, "../../examples/gates/deployment-rule.yml")
	steps := at(t, rule, "jobs", "decide", "steps").([]any)
	script := at(t, steps[len(steps)-1], "run").(string)
	if !strings.Contains(script, "--deployment-callback") || strings.Contains(script, "${{") {
		t.Errorf("the rule's script: %s", script)
	}
}

// The action's script, with a program in the place of ours that tells how it
// was called.
func TestTheGateActionHandsItsInputsOnAndFailsClosed(t *testing.T) {
	action := document(t, "../../gate/action.yml")
	step := at(t, action, "runs", "steps", 0)
	script := at(t, step, "run").(string)
	if strings.Contains(script, "${{") {
		t.Error("inputs stand in the script's text, where they are run")
	}
	dir := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		bin := filepath.Join(dir, "bin", "linux-"+arch)
		if err := os.MkdirAll(bin, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "edamame-posture"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$ASKED\"\necho '{}'\nexit \"$CODE\"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run := func(code string, env ...string) (int, []string, string) {
		asked, out := filepath.Join(dir, "asked"), filepath.Join(dir, "out")
		_ = os.Remove(asked)
		cmd := exec.Command("bash", "-c", script)
		cmd.Env = append([]string{
			"PATH=" + os.Getenv("PATH"), "ACTION_PATH=" + filepath.Join(dir, "gate"), "RUNNER_TEMP=" + dir, "ASKED=" + asked, "CODE=" + code,
			"GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary"), "GITHUB_OUTPUT=" + out, "GITHUB_SERVER_URL=https://github.com",
			"GITHUB_REPOSITORY=octo/app", "GITHUB_RUN_ID=9001", "GITHUB_RUN_ATTEMPT=2", "REPOSITORY=octo/app",
			"POLICY=gate.yml", "RESULTS=results\nmore results", "ARTIFACTS=dist/a b.tgz", "DIGESTS=", "COMMIT=abc", "COMMIT_ONLY=false", "RUN=", "VSA=", "RESOURCE=", "CHECK_RUN=", "FETCH_KEYS=false",
		}, env...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		_ = cmd.Run()
		b, _ := os.ReadFile(asked)
		return cmd.ProcessState.ExitCode(), strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), said.String()
	}
	if err := os.MkdirAll(filepath.Join(dir, "gate"), 0o700); err != nil {
		t.Fatal(err)
	}
	code, args, said := run("0")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	for _, want := range [][]string{
		{"gate", "--policy", "gate.yml"}, {"--artifact", "dist/a b.tgz"}, {"--commit", "abc"}, {"--", "results", "more results"},
		{"--run", "https://github.com/octo/app/actions/runs/9001/attempts/2"}, {"--github", "octo/app"},
	} {
		i := slices.Index(args, want[0])
		if i < 0 || !slices.Equal(args[i:min(len(args), i+len(want))], want) {
			t.Errorf("want %q in %q", want, args)
		}
	}
	if slices.Contains(args, "--vsa") || slices.Contains(args, "--check-run") || slices.Contains(args, "--fetch-keys") {
		t.Errorf("not asked for: %q", args)
	}
	for _, c := range []string{"1", "2", "4"} {
		if code, _, said := run(c); code == 0 || !strings.Contains(said, "::error") {
			t.Errorf("the gate says %s: exit code %d, %s", c, code, said)
		}
	}
	if code, args, said := run("0", "RESULTS="); code != 0 || !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, filepath.Join(dir, "posture-results-")) }) {
		t.Errorf("without results it does not look at those of the run: %d, %q, %s", code, args, said)
	}
	if code, args, said := run("5", "RESULTS="); code != 5 || !slices.Equal(args[:2], []string{"action", "fetch"}) || !strings.Contains(said, "::error") {
		t.Errorf("where they cannot be had: %d, %q, %s", code, args, said)
	}
	if code, args, said := run("0", "ARTIFACTS=\n ", "DIGESTS=\n"); code != 2 || len(args) > 1 || !strings.Contains(said, "name what is released") {
		t.Errorf("where no file is named it asks about the commit alone: %d, %q, %s", code, args, said)
	}
	if code, args, _ := run("0", "ARTIFACTS=", "COMMIT_ONLY=true"); code != 0 || !slices.Contains(args, "--commit") || slices.Contains(args, "--artifact") {
		t.Errorf("where that is what is wanted: %d, %q", code, args)
	}
	marker := filepath.Join(dir, "pwned")
	if _, args, _ := run("0", "RESULTS=$(touch "+marker+")", "VSA=v.json", "RUN=any", "FETCH_KEYS=true"); !slices.Contains(args, "--fetch-keys") || !slices.Contains(args, "$(touch "+marker+")") || !slices.Contains(args, "--sign-keyless") || slices.Contains(args, "--run") {
		t.Errorf("asked: %q", args)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("an input was run")
	}
}
