package gate

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/test/sigstore"
)

const release = "org/edamame-posture@" + "0123456789abcdef0123456789abcdef01234567"

const workflow = `name: release
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: ` + release + `
      - run: make dist
`

// named returns the check of a statement.
func named(t testing.TB, d *Decision, name string) Check {
	t.Helper()
	for _, s := range d.Statements {
		for _, c := range s.Checks {
			if c.Name == name {
				return c
			}
		}
	}
	t.Fatalf("there is no check %q:\n%s", name, text(t, d))
	return Check{}
}

func TestTheStartAloneGivesNoLevel(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	by := keyless(t, rig)
	policy := workflowPolicy(t, rig, "", "")
	policy.Trust.Actions = []string{release}
	file := func(text string, err error) func(*Input) {
		return func(in *Input) {
			in.File = func(_ context.Context, repository, path, at string) ([]byte, error) {
				if repository != "octo/app" || path != ".github/workflows/release.yml" || at != commit {
					t.Errorf("asked for %s of %s at %s", path, repository, at)
				}
				return []byte(text), err
			}
		}
	}
	record := func(t *testing.T, change func(*evidence.Commitment)) string {
		dir := recorded(t, func(j *job) {
			j.commit = func(c *evidence.Commitment) {
				c.Claims.Issuer = rig.Issuer.URL
				if change != nil {
					change(c)
				}
			}
		})
		sign(t, dir, by, statement(t, dir))
		return dir
	}
	good := record(t, nil)
	d := decide(t, policy, file(workflow, nil), good)
	passes(t, d, E2)
	if c := named(t, d, "start token"); c.Reason != NoStartToken {
		t.Errorf("%+v", c)
	}
	for _, name := range []string{"place of the monitor", "what was there before", "barrier", "runner", "workflow file"} {
		if c := named(t, d, name); c.Status != Passed {
			t.Errorf("%s: %+v", name, c)
		}
	}
	higher := *policy
	higher.Require.Level = E3

	for name, c := range map[string]struct {
		change func(*evidence.Commitment)
		check  string
		reason Reason
	}{
		"in a container":      {func(c *evidence.Commitment) { c.Namespaces["pid"] = 4026532000 }, "place of the monitor", NotHost},
		"in a user namespace": {func(c *evidence.Commitment) { delete(c.Namespaces, "user") }, "place of the monitor", NotHost},
		"after something else": {func(c *evidence.Commitment) {
			c.Before = []evidence.Before{{Kind: "container", Name: "redis"}}
		}, "what was there before", BeforeStart},
		"without a barrier": {func(c *evidence.Commitment) { c.Barriers = 0 }, "barrier", PowerTaken},
	} {
		t.Run(name, func(t *testing.T) {
			dir := record(t, c.change)
			d := decide(t, &higher, file(workflow, nil), dir)
			if got := named(t, d, c.check); got.Status != Refused || got.Reason != c.reason || d.Outcome != Refused {
				t.Errorf("%+v\n%s", got, text(t, d))
			}
		})
	}
	for name, c := range map[string]func(*evidence.Commitment){
		"of another run":                func(c *evidence.Commitment) { c.Claims.RunID = "9002" },
		"of another attempt":            func(c *evidence.Commitment) { c.Claims.RunAttempt = "2" },
		"of another repository":         func(c *evidence.Commitment) { c.Claims.RepositoryID = "9" },
		"of another issuer":             func(c *evidence.Commitment) { c.Claims.Issuer += "." },
		"of a run whose number ends so": func(c *evidence.Commitment) { c.Claims.RunID = "1" },
	} {
		t.Run("a commitment "+name, func(t *testing.T) {
			refuses(t, decide(t, policy, nil, record(t, c)), OtherRun)
		})
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"not first":         {"      - uses: " + release + "\n", "      - run: curl example.com\n      - uses: " + release + "\n", "none of an action"},
		"by a tag":          {release, "org/edamame-posture@v1", "org/edamame-posture@v1"},
		"of the repository": {release, "./posture", "./posture"},
		"in a container":    {"    steps:", "    container: debian\n    steps:", "a container"},
		"beside services":   {"    steps:", "    services: {redis: {image: redis}}\n    steps:", "services"},
		"in another job":    {"  build:", "  other:", "no job"},
		"twice":             {"    steps:", "    container:\n    container: debian\n    steps:", "stands already"},
		"no YAML":           {"jobs:", "jobs: [", "cannot be read"},
	} {
		t.Run("the action "+name, func(t *testing.T) {
			d := decide(t, &higher, file(strings.Replace(workflow, c.from, c.to, 1), nil), good)
			if got := named(t, d, "workflow file"); got.Status != Refused || got.Reason != WrongWorkflow || !strings.Contains(got.Got, c.want) {
				t.Errorf("%+v", got)
			}
		})
	}
	// GitHub is down: nothing is known to be wrong, and E3 is out of reach anyway.
	d = decide(t, policy, file("", attest.ErrUnavailable), good)
	if c := named(t, d, "workflow file"); c.Status != Unknown {
		t.Errorf("%+v", c)
	}
	passes(t, d, E2)
	if c := named(t, decide(t, policy, file("", errors.New("404")), good), "workflow file"); c.Status != Refused {
		t.Errorf("%+v", c)
	}
	// The check run is the issuer's number for the job.
	t.Run("a second commitment for the slot", func(t *testing.T) {
		refuses(t, decide(t, policy, nil, good, record(t, nil)), TwoStatements)
	})
	t.Run("another matrix leg", func(t *testing.T) {
		every := *policy
		every.Require.EveryJob = true
		jobs := func(id int64) func(*Input) {
			return func(in *Input) {
				in.Jobs = func(context.Context, string) ([]Job, error) {
					return []Job{{ID: id, Name: "build", Attempt: 1, Status: "completed", Conclusion: "success"}}, nil
				}
			}
		}
		passes(t, decide(t, &every, jobs(555), good), E2)
		refuses(t, decide(t, &every, jobs(556), good), JobUnknown)
	})
}

// The recording says which job of the workflow it is; GitHub says what the check
// run is called that its issuer names.
func TestAJobGoesByTheNameThatTheWorkflowGivesIt(t *testing.T) {
	for name, c := range map[string]struct {
		change, listed string
		called         bool
		says           string
	}{
		"its key":                       {"", "build", false, ""},
		"another job":                   {"", "lint", false, "called"},
		"one that begins so":            {"", "build (1)", false, "called"},
		"a name":                        {"    name: Build it\n", "Build it", false, ""},
		"the key where there is a name": {"    name: Build it\n", "build", false, "called"},
		"a leg of a matrix":             {"    strategy: {matrix: {os: [a, b]}}\n", "build (a)", false, ""},
		"a leg of another's":            {"    strategy: {matrix: {os: [a, b]}}\n", "lint (a)", false, "called"},
		"an expression":                 {"    name: ${{ matrix.os }}\n", "lint", false, "expression"},
		"in a called workflow":          {"", "release / build", true, ""},
		"another of a called workflow":  {"", "release / lint", true, "called"},
		"one that is called so":         {"", "release / build", false, "called"},
	} {
		file := strings.Replace(workflow, "  build:\n", "  build:\n"+c.change, 1)
		if got := firstStep([]byte(file), "build", c.listed, c.called, []string{release}); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", name, got, c.says)
		}
	}
}

func FuzzFirstStep(f *testing.F) {
	f.Add([]byte(workflow))
	f.Fuzz(func(t *testing.T, data []byte) {
		if firstStep(data, "build", "", false, []string{release}) == "" && !strings.Contains(string(data), "0123456789abcdef") {
			t.Errorf("taken: %q", data)
		}
	})
}
