// Package expect reads the unit tests of a policy: stored runs, and what the
// policy is to make of each.
//
//	suite, err := expect.Parse("posture_test.yml", data)
//	for _, c := range suite.Cases {
//		wrong := c.Check(verdict)
//	}
//
// docs/policy.md has the format.
package expect

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge"
)

var verbs = fact.Verbs()

// maxCases bounds a suite: each case replays a run.
const maxCases = 1000

// Suite is a file of tests.
type Suite struct {
	// Policy is the file of the policy or workflow, as it is written: relative
	// to the file of the tests.
	Policy string
	Cases  []Case
}

// Case is one test.
type Case struct {
	Name string
	Line int
	// Job is that of the policy, the suite's where the case has none.
	Job string
	// Evidence is the folder of the results or a stored log, relative to the
	// file of the tests.
	Evidence string
	// Verdict is what must come out, or empty.
	Verdict judge.Outcome
	// MaxScore is what the score may be at most, -1 where nothing is said.
	MaxScore int
	// Undeclared and Forbidden must be among those of the verdict, Not must be
	// among neither: "connect host:443", where * stands for any characters.
	Undeclared, Forbidden, Not []string
}

// Parse reads a file of tests. The error is of type [document.Errors].
func Parse(file string, data []byte) (*Suite, error) {
	src, docs := document.Parse(file, data)
	s := &Suite{}
	switch {
	case src.Failed():
	case len(docs) != 1:
		return nil, document.Errors{{File: file, Line: 1, Column: 1, Message: "want one document with version, policy and cases"}}
	default:
		s.read(src, docs[0])
	}
	if err := src.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Suite) read(src *document.Source, n *yaml.Node) {
	version, job := false, ""
	var cases *yaml.Node
	for _, p := range src.Mapping(n, "version", "policy", "job", "cases") {
		switch p.Key {
		case "version":
			if version = true; p.Value.Value != "1" {
				src.Fail(p.Value, "this program reads version 1")
			}
		case "policy":
			s.Policy = text(src, p.Value)
		case "job":
			job, _ = src.String(p.Value)
		case "cases":
			cases = p.Value
		}
	}
	if src.Failed() {
		return
	}
	switch {
	case !version:
		src.Fail(n, `"version: 1" is missing`)
	case s.Policy == "":
		src.Fail(n, `"policy" is missing: the file of the policy that is tested`)
	case cases == nil:
		src.Fail(n, `"cases" is missing: the list of tests`)
	default:
		for i, c := range src.List(cases) {
			if i == maxCases {
				src.Fail(c, "more than %d cases in one file", maxCases)
				return
			}
			s.Cases = append(s.Cases, readCase(src, c, job))
		}
		if len(s.Cases) == 0 {
			src.Fail(cases, "no case: a test that tests nothing passes for no reason")
		}
	}
}

func readCase(src *document.Source, n *yaml.Node, job string) Case {
	c := Case{Line: n.Line, Job: job, MaxScore: -1}
	for _, p := range src.Mapping(n, "name", "job", "evidence", "verdict", "max-score", "undeclared", "forbidden", "not-undeclared") {
		switch p.Key {
		case "name":
			c.Name = text(src, p.Value)
		case "job":
			c.Job, _ = src.String(p.Value)
		case "evidence":
			c.Evidence = text(src, p.Value)
		case "verdict":
			v, ok := src.String(p.Value)
			if c.Verdict = judge.Outcome(v); ok && c.Verdict != judge.Pass && c.Verdict != judge.Review && c.Verdict != judge.Fail {
				src.FailNear(p.Value, document.Nearest(v, []string{"pass", "review", "fail"}), "want pass, review or fail")
			}
		case "max-score":
			v, ok := src.String(p.Value)
			if i, err := strconv.Atoi(v); ok && (err != nil || i < 0 || i > 100 || strconv.Itoa(i) != v) {
				src.Fail(p.Value, "want a score from 0 to 100")
			} else {
				c.MaxScore = i
			}
		case "undeclared":
			c.Undeclared = objects(src, p.Value)
		case "forbidden":
			c.Forbidden = objects(src, p.Value)
		case "not-undeclared":
			c.Not = objects(src, p.Value)
		}
	}
	switch {
	case n.Kind != yaml.MappingNode:
	case c.Evidence == "":
		src.Fail(n, `"evidence" is missing: a folder of results or a stored log`)
	case c.Verdict == "" && c.MaxScore < 0 && len(c.Undeclared)+len(c.Forbidden)+len(c.Not) == 0:
		src.Fail(n, "nothing is expected: write verdict, max-score, undeclared, forbidden or not-undeclared")
	}
	if c.Name == "" {
		c.Name = path.Base(c.Evidence)
	}
	return c
}

func text(src *document.Source, n *yaml.Node) string {
	s, ok := src.String(n)
	if ok && s == "" {
		src.Fail(n, "nothing stands here; want a text")
	}
	return s
}

func objects(src *document.Source, n *yaml.Node) []string {
	var list []string
	for _, m := range src.Strings(n) {
		if verb, object, ok := strings.Cut(m.Value, " "); !ok || verb == "" || object == "" {
			src.Fail(m, `want a verb and an object: "connect host:443", "write *"`)
			continue
		}
		if verb, _, _ := strings.Cut(m.Value, " "); !slices.Contains(verbs, verb) {
			src.FailNear(m, document.Nearest(verb, verbs), "%q is nothing that facts tell of: want one of %s", verb, strings.Join(verbs, ", "))
			continue
		}
		list = append(list, m.Value)
	}
	return list
}

// Check returns what of a verdict is not as expected, a line each.
func (c *Case) Check(v *judge.Verdict) []string {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if c.Verdict != "" && v.Verdict != c.Verdict {
		say("verdict %s, want %s%s", v.Verdict, c.Verdict, because(v))
	}
	if c.MaxScore >= 0 && v.Score > c.MaxScore {
		say("score %d, want %d at most", v.Score, c.MaxScore)
	}
	listed(say, "undeclared", c.Undeclared, v.Undeclared)
	listed(say, "forbidden", c.Forbidden, v.Forbidden)
	for _, not := range c.Not {
		for _, list := range [][]judge.Fact{v.Undeclared, v.Forbidden} {
			for i := range list {
				if what := list[i].Verb + " " + list[i].Object; document.MatchStars(not, what) {
					say("%s is undeclared, which %q must not be", document.Shown(what), not)
				}
			}
		}
	}
	if len(c.Not) > 0 && v.Facts.LeftOut > 0 {
		say("the verdict lists %d facts less than there are, so what must not be there may be", v.Facts.LeftOut)
	}
	return wrong
}

// because gives the reasons of a verdict in brackets.
func because(v *judge.Verdict) string {
	if len(v.Reasons) == 0 {
		return ""
	}
	words := make([]string, len(v.Reasons))
	for i, r := range v.Reasons {
		words[i] = string(r)
	}
	return fmt.Sprintf(" (score %d: %s)", v.Score, strings.Join(words, ", "))
}

func listed(say func(string, ...any), word string, wants []string, have []judge.Fact) {
	for _, want := range wants {
		found := false
		for i := range have {
			found = found || document.MatchStars(want, have[i].Verb+" "+have[i].Object)
		}
		if found {
			continue
		}
		near := ""
		var all []string
		for i := range have {
			all = append(all, have[i].Verb+" "+have[i].Object)
		}
		if n := document.Nearest(want, all); n != "" {
			near = fmt.Sprintf(" (there is %s)", document.Shown(n))
		}
		say("no %s %q among %d%s", word, want, len(have), near)
	}
}
