package process

import (
	"iter"
	"slices"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// maxPinned bounds the ancestors that pinning one node holds.
const maxPinned = 64

// image is the key of a process in a tree; its images are a chain.
type image struct {
	pid   uint32
	start int64
}

// Tree is who is who in one log. It is made from the log's events alone, so it
// is the same wherever the log is read.
//
// It is bounded: where there are more images than its limit, ended ones are
// left out, the longest ended first, those without children before the others,
// never a pinned one. That depends on the log only.
type Tree struct {
	limit  int
	latest map[image]*Node // the latest image of each process
	root   Node            // its children are the roots; never given out
	ended  struct{ head, tail *Node }
	n      int
	left   uint64
	told   bool  // the log tells of steps
	recent *Node // that Get returned: most events are of who did the one before

	containers map[redact.Text]*Container
	order      []*Container // the same, in the order of the log
}

// NewTree returns an empty tree of at most limit images, at least 16.
func NewTree(limit int) *Tree {
	return &Tree{limit: max(limit, 16), latest: make(map[image]*Node), containers: make(map[redact.Text]*Container)}
}

// Len returns how many images the tree holds.
func (t *Tree) Len() int { return t.n }

// Left returns how many images were left out or taken out because of the
// limit.
func (t *Tree) Left() uint64 { return t.left }

// Apply takes in an event and returns the node of its actor: a new one for
// Fork, Exec and Existing, a placeholder where no event told of the actor, nil
// where the event names none. A node that found no room is returned all the
// same, but the tree does not hold it.
func (t *Tree) Apply(ev *event.Event) *Node {
	if ev.Actor.IsZero() {
		return nil
	}
	n := t.node(ev)
	switch ev.Kind {
	case event.Fork:
		t.fork(n, ev)
	case event.Exec:
		t.exec(n, ev)
	case event.Existing:
		if !n.Known && ev.Parent != ev.Actor && t.setParent(n, t.of(ev.Parent, ev)) {
			n.inherit()
		}
		t.exec(n, ev)
	case event.Exit:
		n.Code, n.Signal, n.Exited = ev.Code, ev.Signal, true
		for m := n; m != nil && m.flags&gone == 0; m = m.before() {
			m.flags |= gone
		}
		t.end(n, ev.Time)
	case event.SetID:
		n.UID, n.GID = ev.UID, ev.GID
	case event.SetSID:
		n.Session = ev.Session
	case event.Container:
		t.contain(n, ev.Container)
		t.answered(ev)
	case event.Step:
		t.step(n, ev)
	}
	return n
}

// step takes in which step a worker started n for. It holds for all that comes
// from it, whatever was read of environments before, and is told once: what
// comes later of n, or of what is in a step already, is a name at most.
func (t *Tree) step(n *Node, ev *event.Event) {
	t.told = true
	if ev.StepID.IsZero() && !ev.StepName.IsZero() || n.flags&inStep != 0 {
		return
	}
	for m := range t.from(n) {
		m.flags |= inStep
		m.Job, m.Step, m.Action = ev.Job, ev.StepID, ev.StepAction
	}
}

// Bind makes n the process of an agent's session: all that comes from it is of
// that session, but for what is of another one already. Where a call of another
// agent started it, it is no part of that one any more.
func (t *Tree) Bind(n *Node, session redact.Text) {
	before, call := n.AgentSession, n.Call
	for m := range t.from(n) {
		if m.AgentSession == before {
			m.AgentSession = session
			if m.Call == call {
				m.Call, m.Late = redact.Text{}, false
			}
		}
	}
}

// Label makes n, and all that came from it, part of a tool call, but for what is
// of one already.
func (t *Tree) Label(n *Node, call redact.Text) {
	for m := range t.from(n) {
		if m.Call.IsZero() {
			m.Call = call
		}
	}
}

// from returns n and all that the tree holds of what came from it.
func (t *Tree) from(n *Node) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for c := n; ; {
			if !yield(c) {
				return
			}
			if c.child != nil {
				c = c.child
				continue
			}
			for c != n && c.sister == nil {
				c = c.Parent
			}
			if c == n {
				return
			}
			c = c.sister
		}
	}
}

// Get returns the image, or nil where the tree does not hold it.
func (t *Tree) Get(a event.Actor) *Node {
	if t.recent != nil && t.recent.Actor == a && t.recent.flags&inTree != 0 {
		return t.recent
	}
	n := t.latest[image{a.PID, a.Start}]
	for n != nil && n.Actor.Image > a.Image {
		n = n.before()
	}
	if n == nil || n.Actor.Image != a.Image {
		return nil
	}
	t.recent = n
	return n
}

// Barren reports whether no other process in the tree came from the actor's.
// It may say false of one that has run very many programs.
func (t *Tree) Barren(a event.Actor) bool {
	n := t.latest[image{a.PID, a.Start}]
	for range maxPinned {
		if n == nil {
			return true
		}
		for c := n.child; c != nil; c = c.sister {
			if !c.sameProcess(n) {
				return false
			}
		}
		n = n.before()
	}
	return false
}

// before returns the image that the process ran before n, nil at its first.
func (n *Node) before() *Node {
	if n.Parent == nil || !n.Parent.sameProcess(n) {
		return nil
	}
	return n.Parent
}

// node returns the image that the event is about, and makes it where needed.
func (t *Tree) node(ev *event.Event) *Node {
	if n := t.Get(ev.Actor); n != nil {
		return n
	}
	return t.add(ev.Actor, ev)
}

// of is node for another actor that the event names.
func (t *Tree) of(a event.Actor, ev *event.Event) *Node {
	if a.IsZero() {
		return nil
	}
	if n := t.Get(a); n != nil {
		return n
	}
	return t.add(a, ev)
}

// add makes a placeholder for an image, in its place among those of its
// process.
func (t *Tree) add(a event.Actor, ev *event.Event) *Node {
	n := &Node{Actor: a, Born: ev.Time, Via: ev.Via, Leaf: ev.Seq}
	if t.n >= t.limit {
		t.evict()
	}
	key := image{a.PID, a.Start}
	latest := t.latest[key]
	var later *Node // the image after n
	earlier := latest
	for earlier != nil && earlier.Actor.Image > a.Image {
		later, earlier = earlier, earlier.before()
	}
	parent := earlier
	if earlier == nil && later != nil {
		parent = later.Parent
	}
	if t.n >= t.limit {
		t.left++
		n.Parent = parent
		n.inherit()
		return n
	}
	t.n++
	n.flags |= inTree
	t.link(n, parent)
	n.inherit()
	if later != nil {
		t.unlink(later)
		t.link(later, n)
		t.end(n, later.Born)
	} else {
		t.latest[key] = n
		if earlier != nil {
			t.end(earlier, ev.Time)
		}
	}
	return n
}

// inherit gives a new image what it shares with the one it came from.
func (n *Node) inherit() {
	p := n.Parent
	if p == nil {
		return
	}
	n.UID, n.GID, n.Session, n.Container, n.Cwd = p.UID, p.GID, p.Session, p.Container, p.Cwd
	n.in = p.in
	n.Job, n.Step, n.Action, n.Agent = p.Job, p.Step, p.Action, p.Agent
	n.AgentSession, n.Call, n.Late = p.AgentSession, p.Call, p.Late
	n.flags |= p.flags & inStep
	n.script, n.scrPkg, n.agents = p.script, p.scrPkg, p.agents
	n.runner = p
	if !p.owns() && p.runner != nil {
		n.runner = p.runner
	}
}

// fork fills the first image of a process. The event may come late, and then
// it names a later image of the same process.
func (t *Tree) fork(n *Node, ev *event.Event) {
	first := n
	if n.Actor.Image != 0 {
		first = t.of(event.Actor{PID: n.Actor.PID, Start: n.Actor.Start}, ev)
	}
	if first == nil || first.Known {
		return
	}
	first.Known = true
	first.Via, first.Born, first.Leaf = ev.Via, ev.Time, ev.Seq
	if ev.Parent.PID == ev.Actor.PID && ev.Parent.Start == ev.Actor.Start || !t.setParent(first, t.of(ev.Parent, ev)) {
		return
	}
	first.inherit()
	t.handDown(first)
}

// handDown gives what came from n the labels that it was made without.
func (t *Tree) handDown(n *Node) {
	if n.child == nil {
		return
	}
	for c := range t.from(n) {
		if c == n {
			continue
		}
		if n.flags&inStep != 0 && c.flags&inStep == 0 {
			c.flags |= inStep
			c.Job, c.Step, c.Action = n.Job, n.Step, n.Action
		}
		for _, l := range [...]struct{ have, give *redact.Text }{
			{&c.Job, &c.Parent.Job}, {&c.Step, &c.Parent.Step}, {&c.Action, &c.Parent.Action},
			{&c.Agent, &c.Parent.Agent},
			{&c.AgentSession, &c.Parent.AgentSession}, {&c.Call, &c.Parent.Call},
		} {
			if l.have.IsZero() {
				*l.have = *l.give
			}
		}
		if c.Container.IsZero() {
			c.Container, c.in = c.Parent.Container, c.Parent.in
		}
	}
}

// exec fills an image with the program that it runs.
func (t *Tree) exec(n *Node, ev *event.Event) {
	if n.Execed {
		return
	}
	n.Known, n.Execed = true, true
	n.Via, n.Born, n.Leaf = ev.Via, ev.Time, ev.Seq
	n.Exe, n.Filename, n.Interp, n.Cwd = ev.Exe, ev.Filename, ev.Interp, ev.Cwd
	n.Argv, n.ArgvCut = slices.Clone(ev.Argv), ev.ArgvCut
	n.File, n.Image = ev.File, ev.Image
	if ev.Kind == event.Exec {
		n.UID, n.GID = ev.UID, ev.GID
	}
	if !ev.Container.IsZero() {
		t.contain(n, ev.Container)
	}
	n.program = program(n)
	n.label(ev.Env, t.told)
}

// setParent gives a placeholder its parent, and reports whether it did. A log
// that makes a process its own ancestor is not believed.
func (t *Tree) setParent(n, parent *Node) bool {
	if parent == nil || parent == n || n.Parent != nil {
		return false
	}
	if n.flags&inTree == 0 {
		n.Parent = parent
		return true
	}
	if parent.flags&inTree == 0 {
		return false
	}
	if n.child != nil {
		for a := parent; a != nil; a = a.Parent {
			if a == n {
				return false
			}
		}
	}
	t.unlink(n)
	t.link(n, parent)
	return true
}

func (t *Tree) link(n, parent *Node) {
	n.Parent = parent
	if parent == nil || parent.flags&inTree == 0 {
		parent = &t.root
	}
	n.elder, n.sister = parent.last, nil
	if parent.last != nil {
		parent.last.sister = n
	} else {
		parent.child = n
	}
	parent.last = n
}

func (t *Tree) unlink(n *Node) {
	parent := n.Parent
	if parent == nil || parent.flags&inTree == 0 {
		parent = &t.root
	}
	if n.elder != nil {
		n.elder.sister = n.sister
	} else {
		parent.child = n.sister
	}
	if n.sister != nil {
		n.sister.elder = n.elder
	} else {
		parent.last = n.elder
	}
	n.elder, n.sister = nil, nil
}

// end notes that an image has ended, and makes it one that may be left out.
func (t *Tree) end(n *Node, time int64) {
	if n.Ended == 0 {
		n.Ended = time
	}
	if n.flags&(inTree|queued) == inTree {
		t.enqueue(n)
	}
}

func (t *Tree) enqueue(n *Node) {
	n.flags |= queued
	n.prev, n.next = t.ended.tail, nil
	if t.ended.tail != nil {
		t.ended.tail.next = n
	} else {
		t.ended.head = n
	}
	t.ended.tail = n
}

func (t *Tree) dequeue(n *Node) {
	n.flags &^= queued
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		t.ended.head = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		t.ended.tail = n.prev
	}
	n.prev, n.next = nil, nil
}

// evict makes room for one image if it can. An image with children is passed
// by once, and the second time its children go to its parent.
func (t *Tree) evict() {
	for n := t.ended.head; n != nil; n = t.ended.head {
		t.dequeue(n)
		switch {
		case n.flags&pinned != 0: // out of the queue for good
		case n.child != nil && n.flags&passed == 0:
			n.flags |= passed
			t.enqueue(n)
		default:
			t.remove(n)
			return
		}
	}
}

// remove takes an image out of the tree.
func (t *Tree) remove(n *Node) {
	t.left++
	t.n--
	parent := n.Parent
	for c := n.child; c != nil; c = n.child {
		switch {
		case c.sameProcess(n):
			c.flags |= n.flags & orphan
		case n.flags&gone != 0:
			c.flags |= orphan
		}
		t.unlink(c)
		t.link(c, parent)
	}
	t.unlink(n)
	n.flags &^= inTree
	key := image{n.Actor.PID, n.Actor.Start}
	if t.latest[key] == n {
		if b := n.before(); b != nil && b.flags&inTree != 0 {
			t.latest[key] = b
		} else {
			delete(t.latest, key)
		}
	}
}

// Pin keeps the image and its nearest 64 ancestors in the tree, so that what
// refers to it can still be told. Pinning is for what is bounded itself: facts
// and findings.
func (t *Tree) Pin(n *Node) {
	for range maxPinned {
		if n == nil || n.flags&pinned != 0 {
			return
		}
		n.flags |= pinned
		n = n.Parent
	}
}

// Roots returns the images without a parent in the order of the log.
func (t *Tree) Roots() iter.Seq[*Node] { return t.Children(&t.root) }

// Children returns what came from n in the order of the log: the processes
// that it forked and the image that followed it.
func (t *Tree) Children(n *Node) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		if n == nil {
			return
		}
		for c := n.child; c != nil; c = c.sister {
			if !yield(c) {
				return
			}
		}
	}
}

// Walk returns every image with its depth, parents before their children.
func (t *Tree) Walk() iter.Seq2[*Node, int] {
	return func(yield func(*Node, int) bool) {
		depth := 0
		for n := t.root.child; n != nil; {
			if !yield(n, depth) {
				return
			}
			if n.child != nil {
				n = n.child
				depth++
				continue
			}
			for n.sister == nil {
				if depth == 0 {
					return
				}
				n = n.Parent
				depth--
			}
			n = n.sister
		}
	}
}
