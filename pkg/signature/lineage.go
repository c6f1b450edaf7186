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

// script returns what a field says of the package manager's script that the
// event's image runs under.
func (v *view) script(f field) string {
	if v.in.Node == nil {
		return ""
	}
	s, ok := v.in.Node.Lifecycle()
	switch {
	case !ok:
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

// scriptRoot returns the image that began the script that n runs under, or
// nil.
func scriptRoot(n *process.Node) *process.Node {
	if s, ok := n.Lifecycle(); ok {
		return s.Node
	}
	return nil
}
