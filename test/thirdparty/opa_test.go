package thirdparty

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/gate"
)

// The example's rules, by OPA itself: the statement of a gate that passed is let
// through, and nothing else is, a job's word about itself least of all.
func TestOpaLetsThroughWhatTheGatePassedAndNothingElse(t *testing.T) {
	opa := program(t, "bin/opa-v1.22.3", "make thirdparty")
	denied := func(statement []byte) []string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "statement.json")
		write(t, file, statement)
		out, err := exec.Command(opa, "eval", "--format", "json", "--data", "../../examples/gates/vsa.rego", "--input", file, "data.main.deny").Output()
		var answer struct {
			Result []struct{ Expressions []struct{ Value []string } }
		}
		if err != nil || json.Unmarshal(out, &answer) != nil || len(answer.Result) != 1 || len(answer.Result[0].Expressions) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return answer.Result[0].Expressions[0].Value
	}
	// signed is what a verifier hands on: the statement of a bundle that is good.
	signed := func(d *gate.Decision, s gate.Summary) []byte {
		t.Helper()
		statement, err := d.VSA(s)
		if err != nil {
			t.Fatal(err)
		}
		private, public, err := attest.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		key, err := attest.LoadKey(private, nil)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := attest.SignPayload(t.Context(), statement, &attest.Key{Signer: key})
		if err != nil {
			t.Fatal(err)
		}
		pub, err := attest.LoadPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		res, err := attest.VerifyBundle(bundle, &attest.Policy{Key: pub, PredicateType: gate.VSAType, Subjects: []string{releaseSum}})
		if err != nil {
			t.Fatal(err)
		}
		return res.Payload
	}
	low := decided(gate.Passed)
	low.Level = gate.E1
	good := signed(decided(gate.Passed), gate.Summary{Resource: "pkg:generic/app@1"})
	if why := denied(good); len(why) > 0 {
		t.Errorf("what passed the gate is denied: %q", why)
	}
	const kind, result, level, verifier = "not a verification summary", "the gate did not let it pass", "not checked up to E2", "another verifier"
	for what, c := range map[string]struct {
		statement []byte
		want      []string
	}{
		"a gate that refused":      {signed(decided(gate.Refused), gate.Summary{}), []string{level, result}},
		"a lower level":            {signed(low, gate.Summary{}), []string{level}},
		"another verifier":         {signed(decided(gate.Passed), gate.Summary{Verifier: "https://example.com/gate"}), []string{verifier}},
		"a job that grades itself": {[]byte(strings.Replace(string(good), gate.VSAType, attest.PredicateType, 1)), []string{kind}},
		"a job that says so in words of its own": {[]byte(`{"predicateType":"` + attest.PredicateType + `","predicate":{"assurance":"E4","verdict":"pass"}}`),
			[]string{verifier, kind, level, result}},
		"nothing": {[]byte(`{}`), []string{verifier, kind, level, result}},
	} {
		why := denied(c.statement)
		slices.Sort(why)
		slices.Sort(c.want)
		if !slices.Equal(why, c.want) {
			t.Errorf("%s: denied for %q, want %q", what, why, c.want)
		}
	}
}
