package intent

import (
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// Suppression takes the findings of a rule out of the outcome, for a time, for
// a reason that somebody owns. They are still listed.
type Suppression struct {
	Rule string `json:"rule"`
	// By are programs, one of which is in the lineage of what is found; none
	// for any.
	By     []string `json:"by,omitempty"`
	Reason string   `json:"reason"`
	Owner  string   `json:"owner"`
	// Until is the last day on which it holds, in UTC: 2027-03-01.
	Until string `json:"until"`

	Origin Origin `json:"-"`
}

// maxSuppressions bounds those of one policy.
const maxSuppressions = 200

// Holds reports whether it is in force at a moment of wall time, in
// nanoseconds since 1970.
func (s *Suppression) Holds(wall int64) bool {
	end, err := time.Parse(time.DateOnly, s.Until)
	return err == nil && time.Unix(0, wall).Before(end.AddDate(0, 0, 1))
}

// Covers reports whether it is about a finding of a rule whose actor has that
// lineage, the doer first.
func (s *Suppression) Covers(rule string, lineage []string) bool {
	if s.Rule != rule {
		return false
	}
	return len(s.By) == 0 || slices.ContainsFunc(s.By, func(by string) bool { return slices.Contains(lineage, by) })
}

// check reports what is wrong with it, for the reader of stored ones too.
func (s *Suppression) check() error {
	for _, by := range s.By {
		if err := validProgram(by); err != nil {
			return err
		}
	}
	switch _, err := time.Parse(time.DateOnly, s.Until); {
	case s.Rule == "" || len(s.Rule) > 200:
		return badAt(0, `"rule" is missing: the id of the rule whose findings are meant`)
	case strings.TrimSpace(s.Reason) == "" || len(s.Reason) > 1000:
		return badAt(0, `"reason" is missing: say why the finding is none`)
	case strings.TrimSpace(s.Owner) == "" || len(s.Owner) > 200:
		return badAt(0, `"owner" is missing: who answers for it`)
	case s.Until == "":
		return badAt(0, `"until" is missing: the last day on which it holds, such as 2027-03-01`)
	case err != nil:
		return badAt(0, `"until" is no day; want one such as 2027-03-01`)
	}
	return nil
}

func (p *parser) suppress(list *yaml.Node) {
	for _, n := range p.List(list) {
		s := Suppression{Origin: Origin{File: p.File, Line: n.Line, Column: n.Column, Kind: kindPolicy}}
		at := n
		for _, k := range p.Mapping(n, "rule", "by", "reason", "owner", "until") {
			switch k.Key {
			case "by":
				for _, b := range p.Strings(k.Value) {
					s.By = append(s.By, b.Value)
				}
				if len(s.By) == 0 {
					p.Fail(k.Value, "names no program; leave by out for any")
				}
			default:
				v, _ := p.String(k.Value)
				*map[string]*string{"rule": &s.Rule, "reason": &s.Reason, "owner": &s.Owner, "until": &s.Until}[k.Key] = v
				if k.Key == "until" {
					at = k.Value
				}
			}
		}
		if err := s.check(); err != nil && n.Kind == yaml.MappingNode {
			if !strings.Contains(err.Error(), `"until"`) {
				at = n
			}
			p.Fail(at, "%s", err)
			continue
		}
		if len(p.policy.suppress) == maxSuppressions {
			p.Fail(n, "more than %d suppressions; take out what is over", maxSuppressions)
			return
		}
		p.policy.suppress = append(p.policy.suppress, s)
	}
}

// Suppressions returns those of the policy, in its order.
func (p *Policy) Suppressions() []Suppression { return slices.Clone(p.suppress) }

// Suppressions returns those that hold for the job.
func (r *Resolved) Suppressions() []Suppression { return r.suppress }

// CheckSuppressions tells what a person should do about suppressions at a
// moment of wall time: those that are over, and those of rules that are not
// among the given ids.
func (p *Policy) CheckSuppressions(wall int64, rules []string) error {
	var errs Errors
	for i := range p.suppress {
		s := &p.suppress[i]
		o := s.Origin
		if !s.Holds(wall) {
			errs = append(errs, document.Error{File: o.File, Line: o.Line, Column: o.Column, Text: s.Rule,
				Message: "the suppression was over on " + s.Until + ", and no longer holds; take it out, or let its owner (" + s.Owner + ") set another day"})
		}
		if !slices.Contains(rules, s.Rule) {
			errs = append(errs, document.Error{File: o.File, Line: o.Line, Column: o.Column, Text: s.Rule,
				Message: "there is no rule of this id", Nearest: document.Nearest(s.Rule, rules)})
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}
