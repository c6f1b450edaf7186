package intent

import (
	"github.com/org/edamame-posture/pkg/fact"
)

// coversPath reports whether the grant's pattern holds all that a fact's
// object stands for: the object is relative to the workspace for what lies
// there, absolute elsewhere.
func (g *grant) coversPath(f *fact.Fact) bool {
	p := f.Object.String()
	if !g.glob.names && g.glob.absolute() == (f.Place == fact.Workspace) {
		return false
	}
	return p != "" && g.glob.match(p)
}
