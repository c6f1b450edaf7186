package runner

import (
	"fmt"
	"regexp"
	"strings"
)

var placeholder = regexp.MustCompile(`\$\{\{\s*(.*?)\s*\}\}`)

// fill replaces each ${{ NAME }} by what look says of it. Expressions beyond a
// name are refused.
func fill(text string, look func(name string) (string, bool)) (string, error) {
	var bad error
	out := placeholder.ReplaceAllStringFunc(text, func(m string) string {
		name := placeholder.FindStringSubmatch(m)[1]
		v, ok := look(name)
		if !ok {
			bad = fmt.Errorf("the expression %q is not known here", name)
		}
		return v
	})
	return out, bad
}

// status is how a job stands.
type status int

const (
	going status = iota
	failed
	cancelled
)

func (s status) String() string { return [...]string{"Succeeded", "Failed", "Canceled"}[s] }

// holds evaluates the condition of a step: one status function, or none, which
// means success().
func (s status) holds(condition string) (bool, error) {
	c := strings.TrimSpace(condition)
	if m := placeholder.FindStringSubmatch(c); m != nil && m[0] == c {
		c = m[1]
	}
	c, not := strings.CutPrefix(c, "!")
	var v bool
	switch c {
	case "", "success()":
		v = s == going
	case "failure()":
		v = s == failed
	case "cancelled()":
		v = s == cancelled
	case "always()":
		v = true
	default:
		return false, fmt.Errorf("the condition %q is not known here", condition)
	}
	return v != not, nil
}
