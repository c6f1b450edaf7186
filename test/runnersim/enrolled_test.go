package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/test/rig"
)

// enrolment is what `service enrol` prints, by where it goes.
type enrolment struct{ settings, policy, public string }

// enrol makes a machine's key and has its lines printed.
func enrol(t *testing.T, name, key string, more ...string) enrolment {
	t.Helper()
	out, err := exec.Command(watched, append([]string{"service", "enrol", "--name", name, "--key", key, "--repository", "octo/app", "--repository-id", "4321"}, more...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	parts := regexp.MustCompile(`(?m)^# For .*\n`).Split(string(out), -1)
	if len(parts) != 4 {
		t.Fatalf("%d parts: %s", len(parts), out)
	}
	return enrolment{parts[1], parts[2], parts[3]}
}

// decision is what the gate says, as far as these tests ask.
type decision struct {
	code           int
	text           string
	Outcome, Level string
	Reasons        []string
}

// askGate has the gate decide by a policy file.
func askGate(t *testing.T, policy string, args ...string) decision {
	t.Helper()
	cmd := exec.Command(watched, append([]string{"gate", "--json", "--policy", policy}, args...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	d := decision{code: cmd.ProcessState.ExitCode(), text: string(out)}
	if json.Unmarshal(out, &d) != nil {
		t.Fatalf("%v: %s%s", err, out, &said)
	}
	return d
}

// A service that was enrolled signs what it records, and a gate believes it by
// the lines that were printed: that machine, until its enrolment ends, about
// what its jobs made, if they took no power over it.
func TestAnEnrolledServiceSignsWhatItRecords(t *testing.T) {
	needRoot(t)
	const name = "build-7.example"
	key := filepath.Join(folder(t), "etc", "enrolled.key")
	lines := enrol(t, name, key)
	if again := enrol(t, name, key); again != lines {
		t.Errorf("enrolled again it has other lines: %+v, then %+v", lines, again)
	}
	if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatal(st, err)
	}
	// Of a pattern that a link fits, nothing is a subject.
	s := serve(t, 2, strings.Replace(lines.settings, "# subjects: [dist/*]", "subjects: [dist/*.tgz, dist/*]", 1))
	rig.Sudo(t, "nobody", "enrolled", "/bin/true")
	s.play(2, `
on: push
jobs:
  build:
    runs-on: self-hosted
    steps:
      - run: mkdir dist; echo a release > dist/app.tgz; ln -s /etc/passwd dist/link
        env: {GITHUB_RUN_ID: "1", GITHUB_REPOSITORY_ID: "1"}
      - run: env GITHUB_RUN_ID=2 GITHUB_REPOSITORY_ID=2 /bin/true
  root:
    runs-on: self-hosted
    steps:
      - run: mkdir dist; echo a release > dist/app.tgz; sudo -n /bin/true
`)
	results := map[string]string{}
	for _, id := range s.await(2) {
		dir := filepath.Join(jobsDir, id)
		j, err := rig.Judge(filepath.Join(dir, "evidence"))
		if err != nil {
			t.Fatal(err)
		}
		results[j.Verdict().Run.Job] = dir
		for _, f := range []string{"attestation.json", "evidence/start.sigstore.json"} {
			if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
				t.Errorf("job %s: %v\n%s", id, err, s.all())
			}
		}
	}
	if strings.Contains(s.all(), "is not signed") || !strings.Contains(s.all(), "not a subject") {
		t.Errorf("said: %s", s.all())
	}
	build, root := results["build"], results["root"]
	// The gate's machine: a policy with the printed lines, and what is released.
	policies := 0
	policy := func(lines enrolment, change ...string) string {
		policies++
		text := strings.NewReplacer(change...).Replace(lines.policy)
		dir := lay(t, map[string]string{"gate.yml": "version: 1\nrequire: {level: E2, max-silence: 60s}\n" + text, name + ".pub": lines.public})
		return filepath.Join(dir, "gate.yml")
	}
	made := filepath.Join(lay(t, map[string]string{"app.tgz": "a release\n"}), "app.tgz")
	const commit, run = "0123456789abcdef0123456789abcdef01234567", "https://github.com/octo/app/actions/runs/1000/attempts/1"
	good := policy(lines)
	if d := askGate(t, good, "--artifact", made, "--commit", commit, "--run", run, build); d.code != 0 || d.Outcome != "pass" || d.Level != "E2" {
		t.Fatalf("exit code %d: %s\n%s", d.code, d.text, s.all())
	}
	other := enrol(t, name, filepath.Join(folder(t), "other.key"))
	until := regexp.MustCompile(`until: \S+`).FindString(lines.policy)
	for what, c := range map[string]struct {
		reason, policy, results string
		args                    []string
	}{
		"after its enrolment":        {"expired", policy(lines, until, "until: 2026-01-31"), build, nil},
		"another machine's key":      {"signature", policy(other), build, nil},
		"another machine's name":     {"identity", policy(lines, "service: "+name, "service: build-8.example"), build, nil},
		"another machine's runs":     {"identity", policy(lines, name+`:"`, `build-8.example:"`), build, nil},
		"another repository":         {"repository", policy(lines, "repository-id: 4321", "repository-id: 1"), build, nil},
		"another run":                {"other-run", good, build, []string{"--run", "https://github.com/octo/app/actions/runs/1/attempts/1"}},
		"another commit":             {"other-commit", good, build, []string{"--commit", strings.Repeat("a", 40)}},
		"a job with the way to root": {"power", good, root, nil},
	} {
		t.Run(what, func(t *testing.T) {
			d := askGate(t, c.policy, append(append([]string{"--artifact", made}, c.args...), c.results)...)
			if d.code != 1 || d.Outcome != "refused" || !slices.Contains(d.Reasons, c.reason) {
				t.Errorf("exit code %d, %v, want %s:\n%s", d.code, d.Reasons, c.reason, d.text)
			}
		})
	}
}

// A key that a job may have read is no key of the machine's.
func TestAServiceDoesNotSignWithAKeyThatOthersCanRead(t *testing.T) {
	needRoot(t)
	dir := folder(t)
	key := filepath.Join(dir, "enrolled.key")
	settings := enrol(t, "m", key).settings
	config := filepath.Join(lay(t, map[string]string{"service.yml": "version: 1\n" + settings}), "service.yml")
	for what, spoil := range map[string]func() error{
		"a job may have read it": func() error { return os.Chmod(key, 0o640) },
		"user 65534's":           func() error { return os.Chown(key, 65534, 65534) },
		"service enrol":          func() error { return os.Remove(key) },
	} {
		enrol(t, "m", key) // it may have been taken away
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(watched, "service", "run", "--config", config, "--socket", filepath.Join(dir, "s")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), what) {
			t.Errorf("want %q: %v: %s", what, err, out)
		}
		if err := os.RemoveAll(key); err != nil {
			t.Fatal(err)
		}
	}
}
