package signature

import (
	"github.com/org/edamame-posture/pkg/process"
)

// maxLineage bounds how far up a chain of images is walked. Chains grow by one
// for each exec, so a job can make long ones.
const maxLineage = 4096

// appendLineage appends the names of the programs that led to n, nearest
// first, also those of the machine outside the recording. A name that repeats
// its neighbour is left out.
func appendLineage(list []string, n *process.Node) []string {
	if n == nil {
		return list
	}
	last, i := "", 0
	for a := range n.Ancestors() {
		if i++; i > maxLineage {
			break
		}
		if name := a.Name(); name != "" && name != last {
			list = append(list, name)
			last = name
		}
	}
	return list
}

// lifecycle returns the package manager's script that n runs under, the zero
// value where there is none.
func (v *view) lifecycle(n *process.Node) process.Script { return v.scripts.Of(n) }

// script returns what a field says of the package manager's script that the
// event's image runs under.
func (v *view) script(f field) string {
	s := v.lifecycle(v.in.Node)
	switch {
	case s.Node == nil:
		return ""
	case f == lifecycleEvent:
		return s.Event.String()
	case f == lifecyclePackage:
		return s.Package.String()
	case f == lifecycleDirectory:
		return s.Node.Cwd.String()
	}
	return s.Manager.String()
}
