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
	"iter"

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
	Session                    uint32
	Container                  redact.Text
	File                       event.FileID
	Image                      event.Image
	Via                        event.Via
	// Origin says where the file that was executed came from; it is 0 until
	// the one who folds the log has found out.
	Origin Origin

	// Born is when the image began, Ended when its process exited or executed
	// another, in boot time; Ended is 0 while it runs.
	Born, Ended  int64
	Code, Signal int
	Exited       bool

	// Labels, inherited from the parent unless the image's own environment
	// says otherwise. A job can write them: they label, they prove nothing. But
	// where the log tells of steps, Job, Step and Action are what a runner's
	// worker gave the process that the lineage leads to, and empty elsewhere.
	Job, Step, Action, Agent redact.Text

	// AgentSession is the session of the coding agent that the lineage leads to,
	// and Call the tool call of it whose shell does: see [Tree.Bind]. Late: the
	// call had ended, and it was still at work.
	AgentSession, Call redact.Text
	Late               bool

	// Leaf is the Seq of the event that told of this image.
	Leaf uint64

	program        redact.Text // what Program found at exec
	script, scrPkg redact.Text // npm_lifecycle_event and npm_package_name
	agents         agents      // the markers of agents in its environment
	runner         *Node       // where runs goes on, so that it takes one step
	in             *Container  // that Container names

	child, last, sister, elder *Node // first and last child; neighbours among the parent's
	prev, next                 *Node // neighbours among the ended
	flags                      nodeFlags
}

// Origin says what the log tells of a program's file: where it lies, and
// whether it was written in this recording.
type Origin uint8

// Bits of Origin.
const (
	Written     Origin = 1 << iota // in this recording
	Managed                        // Written by programs with the name of a package manager, and by no others
	InWorkspace                    // below the working directory of the recording's root
	InTemp                         // in a folder for temporary files
	InCache                        // below the user's cache folders
	InHome                         // elsewhere in the user's home
	InSystem                       // in /usr, /bin, /lib, /opt and the like
)

type nodeFlags uint8

const (
	inTree nodeFlags = 1 << iota
	pinned           // never evicted
	passed           // eviction went by once, since it had children
	queued           // among the ended
	gone             // its process has exited
	orphan           // it outlived who forked it, who is in the tree no more
	inStep           // a worker of GitHub's runner started it, or what it came from, for a step
)

// Name returns the everyday name of the program that the image runs: see
// [Node.Program].
func (n *Node) Name() string { return n.Program().String() }

// runs returns the image whose program n runs: itself, or for an image 0 the
// one that forked it. It is nil where no exec is known.
func (n *Node) runs() *Node {
	for n != nil && !n.owns() {
		if n.runner != nil {
			n = n.runner
		} else {
			n = n.Parent
		}
	}
	return n
}

// owns reports whether n has a program of its own. That of a later image is
// not its parent's, even where no event told what it is.
func (n *Node) owns() bool {
	return n.Execed || n.Actor.Image > 0 || !n.Exe.IsZero() || n.Image&event.Script != 0 && !n.Filename.IsZero()
}

// SameProcess reports whether both are images of one process.
func (n *Node) SameProcess(m *Node) bool { return n != nil && m != nil && n.sameProcess(m) }

// AgentProgram returns which coding agent the program is, by its name; empty
// for any other.
func (n *Node) AgentProgram() redact.Text {
	own := agentPrograms[n.Name()] | agentFiles[n.Name()]
	for i, name := range agentNames {
		if own == 1<<i {
			return name
		}
	}
	return redact.Text{}
}

// LifecycleScript returns the script of a package, such as postinstall, that
// led to the image; it is what an environment says.
func (n *Node) LifecycleScript() redact.Text { return n.script }

// sameProcess reports whether both are images of one process.
func (n *Node) sameProcess(m *Node) bool {
	return n.Actor.PID == m.Actor.PID && n.Actor.Start == m.Actor.Start
}

// Reparented reports whether n's process, or one that led to it, has outlived
// the process that forked it. The kernel gave it another parent then; its
// lineage here is by birth.
func (n *Node) Reparented() bool {
	for ; n != nil; n = n.Parent {
		if n.flags&orphan != 0 || n.Parent != nil && n.Parent.flags&gone != 0 && !n.Parent.sameProcess(n) {
			return true
		}
	}
	return false
}

// Ancestors returns the images that led to n, the nearest first, each with a
// program of its own: an image that never executed anything runs its parent's
// program and is left out, as is the first of two images of one process that
// have the same name (env running a script, which runs its interpreter), and
// one whose program is not known.
func (n *Node) Ancestors() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		at := n.runs()
		if at == nil {
			return
		}
		for {
			next := at.Parent.runs()
			if next == nil {
				return
			}
			name := next.Program()
			if !name.IsZero() && !(next.sameProcess(at) && name == at.Program()) && !yield(next) {
				return
			}
			at = next
		}
	}
}

// Lineage returns the names of the programs that led to n, the nearest first,
// without n's own: see [Node.Ancestors].
func (n *Node) Lineage() iter.Seq[redact.Text] {
	return func(yield func(redact.Text) bool) {
		for a := range n.Ancestors() {
			if !yield(a.Program()) {
				return
			}
		}
	}
}
