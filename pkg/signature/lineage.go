package signature

import (
	"github.com/org/edamame-posture/pkg/event"
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

// maxScripts bounds the images whose script is remembered. When there are more
// all are forgotten, and found again.
const maxScripts = 4096

// lifecycle returns the package manager's script that n runs under, the zero
// value where there is none.
func (v *view) lifecycle(n *process.Node) process.Script {
	if n == nil {
		return process.Script{}
	}
	s, ok := v.scripts[n]
	if ok {
		return s
	}
	if s, ok = n.Lifecycle(); !ok {
		s = process.Script{}
	}
	if len(v.scripts) >= maxScripts {
		clear(v.scripts)
	}
	v.scripts[n] = s
	return s
}

// moved forgets what was found of lineages when an event comes late that
// tells another one.
func (v *view) moved(in *Input) {
	switch in.Event.Kind {
	case event.Fork, event.Exec, event.Existing:
		if _, ok := v.scripts[in.Node]; ok {
			clear(v.scripts)
		}
	}
}

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
