package judge

import "github.com/org/edamame-posture/pkg/fact"

// Version names this judge: the tables of severities, weights and folding
// rules that a verdict is computed by. A change to any of them that can change
// a verdict takes a new version, and the old one stays: see [NewVersion].
const Version = "judge/4"

// rule is a row of the severity table.
type rule struct {
	verb fact.Verb
	when func(f *fact.Fact, listed bool) bool // nil: always
	then Severity
	why  string
}

// severities is, in all versions, the severity of an undeclared fact: the first row of its verb
// that holds. listed says whether the intent lists what the verb may do.
var severities = []rule{
	{fact.Chain, nil, High, "a sequence that needs a grant of its own"},
	{fact.Credential, nil, High, "credential read"},
	{fact.Power, nil, High, "power over the machine"},

	{fact.Connect, nil, High, "egress to a host, this machine too: what listens there may pass it on"},
	{fact.Request, nil, High, "a request that no grant of the destination allows"},
	{fact.Key, nil, High, "a key that the policy does not name for the destination"},
	{fact.Resolve, nil, Medium, "DNS to another resolver"},

	{fact.Listen, stays, Low, "listens on loopback"},
	{fact.Listen, nil, High, "listens beyond loopback"},

	{fact.Write, outside, High, "write outside the workspace, temporary folders and caches"},
	{fact.Write, nil, Medium, "write inside the workspace, outside the listed folders"},
	{fact.Delete, nil, Low, "delete"},

	{fact.Exec, fresh, Medium, "exec of a program written in this job"},
	{fact.Exec, onList, High, "exec of a program outside the listed ones"},
	{fact.Exec, nil, Low, "any other exec"},
}

// uploadOver is the severity of more bytes than a grant's budget.
const uploadOver = High

func stays(f *fact.Fact, _ bool) bool   { return f.Loopback() }
func outside(f *fact.Fact, _ bool) bool { return f.Outside() }
func fresh(f *fact.Fact, _ bool) bool   { return f.Fresh }
func onList(_ *fact.Fact, l bool) bool  { return l }

// severityOf returns the severity of a fact that nothing explains.
func (w *weights) severityOf(f *fact.Fact, listed bool) Severity {
	if f.Verb == fact.Drift {
		return DriftOf(f.Class.String()).Severity
	}
	for i := range w.severities {
		r := &w.severities[i]
		if r.verb == f.Verb && (r.when == nil || r.when(f, listed)) {
			return r.then
		}
	}
	return High // a verb of a later version
}

// order ranks severities.
var order = map[Severity]int{Info: 0, Low: 1, Medium: 2, High: 3, Critical: 4}

// Rank orders severities: 0 for [Info] and what is none, 4 for [Critical].
func Rank(s Severity) int { return order[s] }

var bySeverity = [...]Severity{Info, Low, Medium, High, Critical}

// raise returns the severity one step higher: what an explicit deny makes of it.
func raise(s Severity) Severity { return bySeverity[min(order[s]+1, len(bySeverity)-1)] }
