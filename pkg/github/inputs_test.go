package github

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/judge"
)

func TestInputsLeftOutHaveTheDefaultsOfTheManifest(t *testing.T) {
	raw, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Inputs map[string]struct {
			Description string
			Default     string
		}
		Outputs map[string]struct{ Description string }
	}
	if err := yaml.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	bare, err := newStep(t).runner().Inputs()
	if err != nil {
		t.Fatal(err)
	}
	s := newStep(t)
	for name, in := range manifest.Inputs {
		if in.Description == "" {
			t.Errorf("%s is not described", name)
		}
		if !strings.Contains(in.Default, "${{") {
			s.env["INPUT_"+strings.ToUpper(name)] = in.Default
		}
	}
	got, err := s.runner().Inputs()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(bare)
	b, _ := json.Marshal(got)
	if string(a) != string(b) {
		t.Errorf("without inputs %s, with the manifest's defaults %s", a, b)
	}
	if !got.FailOpen || !got.Upload || got.Sign != "auto" || got.Sensor != "auto" {
		t.Errorf("%+v", got)
	}
	// Each output that is set is described, and the other way round.
	if err := s.runner().Tell(data(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	set := regexp.MustCompile(`(?m)^([a-z-]+)<<`).FindAllStringSubmatch(read(t, s.output), -1)
	if len(set) != len(manifest.Outputs) {
		t.Errorf("%d outputs are set, %d described", len(set), len(manifest.Outputs))
	}
	for _, o := range set {
		if manifest.Outputs[o[1]].Description == "" {
			t.Errorf("output %s is not described", o[1])
		}
	}
}

func TestAWrongInputIsNamedAndWhatIsPlannedSaysSo(t *testing.T) {
	for _, c := range []struct {
		name, value, want string
		planned           bool
	}{
		{"mode", "enforce", "mode: enforce is planned", true},
		{"mode", "block", `mode: "block" is none of observe`, false},
		{"sudo", "take", `sudo: "take" is none of keep, drop`, false},
		{"sensor", "epbf", `sensor: "epbf" is none of auto, ebpf, netlink`, false},
		{"fail-on", "grave", `fail-on: "grave" is none of never, fail, review`, false},
		{"tsa", "ftp://tsa.example", `tsa: "ftp://tsa.example" is neither never nor the URL`, false},
		{"tsa-every", "100ms", `tsa-every: "100ms" is no time of a second or more`, false},
		{"upload-evidence", "perhaps", `upload-evidence: "perhaps" is neither true nor false`, false},
		{"no-tls", "some", `no-tls: "some" is neither true nor false`, false},
	} {
		s := newStep(t)
		s.env["INPUT_"+strings.ToUpper(c.name)] = c.value
		_, err := s.runner().Inputs()
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrPlanned) != c.planned {
			t.Errorf("%s: %s: %v, want %q", c.name, c.value, err, c.want)
		}
	}
}

func TestWhatFailsTheJobIsWhatTheInputSays(t *testing.T) {
	verdict := func(o judge.Outcome, findings ...judge.Finding) *judge.Verdict {
		return &judge.Verdict{Verdict: o, Findings: findings}
	}
	medium := finding(judge.Medium, "So so", "b")
	quiet := medium
	quiet.Suppressed = &judge.Suppressed{Reason: "known"}
	undeclared := verdict(judge.Review)
	undeclared.Undeclared = []judge.Fact{{Severity: judge.High}}
	for _, c := range []struct {
		on   string
		v    *judge.Verdict
		want bool
	}{
		{"", verdict(judge.Fail), true}, {"", verdict(judge.Review), false},
		{"never", verdict(judge.Fail), false},
		{"review", verdict(judge.Review), true}, {"review", verdict(judge.Pass), false},
		{"high", verdict(judge.Review, medium), false}, {"medium", verdict(judge.Review, medium), true},
		{"medium", verdict(judge.Pass, quiet), false}, {"critical", verdict(judge.Fail), true},
		{"high", undeclared, true}, {"critical", undeclared, false},
	} {
		if got := Fails(c.on, c.v); got != c.want {
			t.Errorf("fail-on %q, %s: %v", c.on, c.v.Verdict, got)
		}
	}
}

// A workflow may put an output into a script.
func TestFindingsInTheOutputHoldNothingThatAShellActsOn(t *testing.T) {
	hostile := "`id`$(id)';\"\n_GitHubActionsFileCommandDelimeter_\nverdict=pass\u202e😀\\"
	out, err := outputFindings([]judge.Finding{finding(judge.High, hostile, hostile)})
	if err != nil {
		t.Fatal(err)
	}
	if bad := regexp.MustCompile("[^][A-Za-z0-9 ./_:{},\"\\\\-]").FindString(out); bad != "" {
		t.Errorf("%q stands in %s", bad, out)
	}
	var back []struct{ Title, Object string }
	if err := json.Unmarshal([]byte(out), &back); err != nil || len(back) != 1 || back[0].Object != hostile || back[0].Title != hostile {
		t.Errorf("%v: it reads back as %+v", err, back)
	}
	var many []judge.Finding
	for range 1000 {
		many = append(many, finding(judge.Low, "x", strings.Repeat("😀", 500)))
	}
	if out, err = outputFindings(append(many, finding(judge.Critical, "the one", "y"))); err != nil || len(out) > maxOutput || !strings.Contains(out[:100], "the one") {
		t.Errorf("%d bytes, beginning with %.100s, %v", len(out), out, err)
	}
}
