package fact

import (
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// The chain rule: a credential was read, and then the same processes sent
// something to a place where that credential is of no use.
//
// Who counts as the same processes depends on who read it. A program that owns
// the class (npm its token, ssh its key) reads it as its work, and what it
// starts inherits nothing by that: only the process itself is held to it. Any
// other program that reads it does so for someone: the rule then holds for
// everything below the child of the recording's root that it belongs to, so
// that `cat key | curl …` is one thing though cat and curl are siblings.
//
// A file that is mainly settings, such as .gitconfig, taints nothing where a
// program reads it that is known to look for its settings there: nearly every
// npm install does. Anyone else's read of it counts as that of a token.

// processID identifies a process over its images.
type processID struct {
	pid   uint32
	start int64
}

func idOf(n *process.Node) processID { return processID{n.Actor.PID, n.Actor.Start} }

// maxTaints bounds the processes that are remembered as readers. Past it a
// class counts as read by everyone.
const maxTaints = 1 << 14

// maxClasses is how many classes have a bit of their own; the rest share the last.
const maxClasses = 64

// maxDepth bounds a walk towards the root.
const maxDepth = 1 << 10

// taint says which classes a process read, and which it and all below it are
// held to.
type taint struct{ own, below uint64 }

type taints struct {
	by      map[processID]taint
	all     uint64
	classes []redact.Text
}

func (t *taints) bit(class redact.Text) uint64 {
	for i, c := range t.classes {
		if c == class {
			return 1 << i
		}
	}
	if len(t.classes) == maxClasses {
		return 1 << (maxClasses - 1)
	}
	t.classes = append(t.classes, class)
	return 1 << (len(t.classes) - 1)
}

func (t *taints) add(id processID, x taint) {
	have, ok := t.by[id]
	if !ok && len(t.by) >= maxTaints {
		t.all |= x.own | x.below
		return
	}
	if t.by == nil {
		t.by = make(map[processID]taint)
	}
	t.by[id] = taint{have.own | x.own, have.below | x.below}
}

// read notes that n read a credential of the class.
func (t *taints) read(n *process.Node, class redact.Text, owner bool) {
	bit := t.bit(class)
	if owner {
		t.add(idOf(n), taint{own: bit})
		return
	}
	t.add(idOf(n), taint{below: bit})
	// Up to the child of the root; to the root itself only where the reader is
	// that child, whose siblings may carry what it read.
	last, first := idOf(n), true
	for m, i := n.Parent, 0; m != nil && !outer(m) && i < maxDepth; m, i = m.Parent, i+1 {
		id := idOf(m)
		if id == last {
			continue
		}
		last = id
		if !first && isRoot(m) {
			return
		}
		first = false
		t.add(id, taint{below: bit})
	}
}

// outer reports whether an image was there before the recording.
func outer(n *process.Node) bool { return n.Via == event.ViaMonitor }

// isRoot reports whether n is an image of the recording's outermost process.
func isRoot(n *process.Node) bool {
	id := idOf(n)
	for i := 0; n.Parent != nil && idOf(n.Parent) == id && i < maxDepth; i++ {
		n = n.Parent
	}
	return n.Parent == nil || outer(n.Parent)
}

// of returns the classes that n is held to.
func (t *taints) of(n *process.Node) uint64 {
	mask := t.all
	if len(t.by) == 0 || n == nil {
		return mask
	}
	mask |= t.by[idOf(n)].own
	var last processID
	for m, i := n, 0; m != nil && !outer(m) && i < maxDepth; m, i = m.Parent, i+1 {
		if id := idOf(m); id != last {
			last = id
			mask |= t.by[id].below
		}
	}
	return mask
}
