package intent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// Near returns the grant that comes closest to covering a fact which none
// covers, and says in words why it does not; nil where none speaks of its
// object. It is for messages: nothing is judged by it.
func (r *Resolved) Near(f *fact.Fact) (*Grant, string) {
	v := explainedBy(f.Verb)
	if int(v) >= len(r.grants) {
		return nil, ""
	}
	var far *Grant
	var why string
	for i := range r.grants[v] {
		g := &r.grants[v][i]
		switch w, elsewhere := g.misses(f); {
		case w == "":
		case !elsewhere:
			return &g.Grant, w
		case far == nil:
			far, why = &g.Grant, w
		}
	}
	return far, why
}

// misses says why a grant that speaks of the object of a fact does not cover
// it, or "". elsewhere: it is for another port.
func (g *grant) misses(f *fact.Fact) (why string, elsewhere bool) {
	class := f.Class.String()
	switch g.Verb {
	case fact.Connect, fact.Listen, fact.Chain:
		if g.Verb == fact.Chain {
			if class = f.Taint.String(); g.entry.Class != class {
				return "", false
			}
		}
		if g.dest.matches(f) {
			if len(g.entry.Keys) > 0 && f.Verb == fact.Key && g.inStep(f) && g.isBy(f) {
				return "it takes the keys in " + few(g.entry.Keys, " and ") + " only", false
			}
			if len(g.requests) > 0 && f.Verb == fact.Request && g.inStep(f) && g.isBy(f) {
				return g.otherRequest(f), false
			}
			break
		}
		d := g.dest
		d.anyPort, d.any = true, true
		if d.form == formAny || !d.matches(f) {
			return "", false
		}
		return "it is for another port or protocol", true
	case fact.Credential:
		if g.entry.To != class {
			return "", false
		}
	case fact.Exec, fact.Write:
		if !g.coversPath(f) {
			return "", false
		}
		if len(g.digests) > 0 && !f.Ran(g.digests) {
			return g.otherFile(f), false
		}
	default:
		return "", false
	}
	if !g.inStep(f) {
		return "it is for the step " + document.Shown(g.entry.Step) + " only", false
	}
	if len(g.entry.By) > 0 {
		return fmt.Sprintf("it is for %s only", document.Shown(strings.Join(g.entry.By, " or "))), false
	}
	return "it is for the programs that own " + class + " credentials only", false
}

// otherFile says what was seen of the file that a fact ran and what the grant
// wants.
func (g *grant) otherFile(f *fact.Fact) string {
	known, unknown := f.Digests()
	var other []string
	for _, d := range known {
		if !slices.Contains(g.digests, d) {
			other = append(other, d.String())
		}
	}
	wants := "it wants SHA-256 " + few(g.entry.SHA256, " or ")
	if len(other) > 0 {
		return "the file had SHA-256 " + few(other, " and ") + "; " + wants
	}
	return "the digest of the file is not known: " + unknown.String() + "; " + wants
}

// few names the first of a list.
func few(list []string, sep string) string {
	const most = 3
	if len(list) > most {
		return strings.Join(list[:most], sep) + fmt.Sprintf("%s%d more", sep, len(list)-most)
	}
	return strings.Join(list, sep)
}
