package judge

import "github.com/org/edamame-posture/pkg/fact"

// Standing returns what the intent says of one fact: explained, undeclared or
// forbidden, with the severity of the latter two. It is empty where nothing was
// declared, and for what is not the job's doing. Budgets are not looked at: a
// fact that is over one stands in the verdict's list.
func (j *Judge) Standing(f *fact.Fact) (standing string, s Severity) {
	switch g := j.judge(f); g.status {
	case explained:
		return "explained", ""
	case undeclared:
		return "undeclared", g.severity
	case forbidden:
		return "forbidden", g.severity
	}
	return "", ""
}
