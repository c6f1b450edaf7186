package expect_test

import (
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/judge/expect"
)

const suite = `version: 1
policy: posture.yml
job: build
cases:
  - {name: ok, evidence: runs/ok, verdict: pass, max-score: 9}
  - evidence: runs/evil.jsonl
    job: other
    undeclared: ["connect *.example:443"]
    forbidden: ["connect a.ngrok.app:443"]
    not-undeclared: ["write *"]
`

func TestASuiteIsRead(t *testing.T) {
	s, err := expect.Parse("t.yml", []byte(suite))
	if err != nil {
		t.Fatal(err)
	}
	if s.Policy != "posture.yml" || len(s.Cases) != 2 || s.Cases[0].Job != "build" || s.Cases[0].MaxScore != 9 ||
		s.Cases[1].Job != "other" || s.Cases[1].Name != "evil.jsonl" || s.Cases[1].MaxScore != -1 {
		t.Errorf("%+v", s)
	}
}

func TestEveryMistakeOfASuiteIsToldWithItsPlace(t *testing.T) {
	for in, want := range map[string]string{
		"":                                              "t.yml:1:1: want one document",
		"policy: p\ncases: [{evidence: x}]":             `t.yml:1:1: "version: 1" is missing`,
		"version: 1\ncases: [{evidence: x}]":            `"policy" is missing`,
		"version: 1\npolicy: p":                         `"cases" is missing`,
		"version: 1\npolicy: p\ncases: []":              "t.yml:3:8: no case",
		"version: 1\npolicy: p\ncases: [{}]":            `t.yml:3:9: "evidence" is missing`,
		"version: 1\npolicy: p\ncases: [{evidence: x}]": "nothing is expected",
		"version: 1\npolicy: p\ncases: [{evidence: x, verdict: pas}]":                 `want pass, review or fail: "pas" (did you mean "pass"?)`,
		"version: 1\npolicy: p\ncases: [{evidence: x, max-score: 101}]":               "want a score from 0 to 100",
		"version: 1\npolicy: p\ncases: [{evidence: x, undeclared: [connect]}]":        "want a verb and an object",
		"version: 1\npolicy: p\ncases: [{evidence: x, not-undeclared: ['conect *']}]": `want one of exec, connect`,
		"version: 1\npolicy: p\ncases: [{evidence: x, undeclred: ['write a']}]":       `(did you mean "undeclared"?)`,
	} {
		if _, err := expect.Parse("t.yml", []byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func TestWhatIsNotAsExpectedIsTold(t *testing.T) {
	v := &judge.Verdict{
		Verdict: judge.Fail, Score: 64, Reasons: []judge.Reason{judge.Undeclared},
		Undeclared: []judge.Fact{{Verb: "connect", Object: "evil.example:443"}, {Verb: "write", Object: "src/a"}},
		Forbidden:  []judge.Fact{{Verb: "connect", Object: "a.ngrok.app:443"}},
	}
	for _, c := range []struct {
		c    expect.Case
		want []string
	}{
		{expect.Case{MaxScore: 64, Verdict: judge.Fail, Undeclared: []string{"connect evil.example:443", "write *"}, Forbidden: []string{"connect *.ngrok.app:*"}}, nil},
		{expect.Case{MaxScore: -1, Verdict: judge.Pass}, []string{"verdict fail, want pass (score 64: undeclared)"}},
		{expect.Case{MaxScore: 9}, []string{"score 64, want 9 at most"}},
		{expect.Case{MaxScore: -1, Undeclared: []string{"connect evil.exampl:443"}}, []string{`no undeclared "connect evil.exampl:443" among 2 (there is connect evil.example:443)`}},
		{expect.Case{MaxScore: -1, Forbidden: []string{"write *"}}, []string{`no forbidden "write *" among 1`}},
		{expect.Case{MaxScore: -1, Not: []string{"write *", "exec *"}}, []string{`write src/a is undeclared, which "write *" must not be`}},
	} {
		if got := c.c.Check(v); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("told %q, want %q", got, c.want)
		}
	}
	v.Facts.LeftOut = 3
	if got := (&expect.Case{MaxScore: -1, Not: []string{"exec *"}}).Check(v); len(got) != 1 {
		t.Errorf("a list that was cut proves nothing, and passes: %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(suite))
	f.Add([]byte("version: 1\npolicy: p\ncases: [{evidence: x, max-score: 1e3}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := expect.Parse("t.yml", data)
		if err != nil {
			return
		}
		if s.Policy == "" || len(s.Cases) == 0 {
			t.Fatal("a suite without policy or cases")
		}
		for i := range s.Cases {
			s.Cases[i].Check(&judge.Verdict{})
		}
	})
}
