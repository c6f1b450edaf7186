// Package process keeps who is who: which process image did something, and
// the chain of images that led to it.
//
// Two structures hold it. A [Table] is live: it is fed with the records of the
// sensors, knows processes by pid, and says which actor a record belongs to and
// which recordings it is part of. A [Tree] is made from a log alone, knows
// images by actor, and serves the judge and the reports, live and on replay
// alike.
package process

import (
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// Node is one process image in a tree.
type Node struct {
	Actor event.Actor
	// Parent is the image that this one came from: for image 0 the image that
	// forked it, for a later one the image before execve. Nil at a root.
	Parent *Node
	// Known is false for an image that is only named by others' events.
	Known bool
	// Execed is false for an image 0: it runs its parent's program.
	Execed bool

	Exe, Filename, Interp, Cwd redact.Text
	Argv                       []redact.Text
	ArgvCut                    bool
	UID, GID                   uint32
	Container                  redact.Text
	File                       event.FileID
	Image                      event.Image
	Via                        event.Via

	// Born is when the image began, Ended when its process exited or executed
	// another, in boot time; Ended is 0 while it runs.
	Born, Ended  int64
	Code, Signal int
	Exited       bool

	// Labels, inherited from the parent unless the image's own environment
	// says otherwise. A job can write them: they label, they prove nothing.
	Job, Step, Action, Agent redact.Text

	// Leaf is the Seq of the event that told of this image.
	Leaf uint64
}

// Name returns the base name of the program that the image runs: that of
// the script for a script, else that of the executable.
func (n *Node) Name() string {
	for m := n; m != nil; m = m.Parent {
		if m.Image&event.Script != 0 && !m.Filename.IsZero() {
			return base(m.Filename.String())
		}
		if !m.Exe.IsZero() {
			return base(m.Exe.String())
		}
	}
	return ""
}

func base(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[i+1:]
		}
	}
	return p
}
