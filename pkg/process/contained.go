package process

import (
	"iter"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// Container is what a log tells of one container. All but the id is its
// engine's word.
type Container struct {
	ID redact.Text
	// Name, Image (name:tag) and Digest are what the engine calls it; Of says of
	// what Digest is, or, where there is no name, why none is known.
	Name, Image, Of redact.Text
	Digest          event.SHA256
	// Told: the engine has answered, or it is known that it will not.
	Told bool
}

// maxContainers bounds the containers of which a tree knows more than the id.
const maxContainers = 4096

// contain puts an image into a container.
func (t *Tree) contain(n *Node, id redact.Text) {
	n.Container, n.in = id, t.containers[id]
	if n.in == nil && len(t.containers) < maxContainers {
		n.in = &Container{ID: id}
		t.containers[id] = n.in
		t.order = append(t.order, n.in)
	}
}

// answered takes in what an engine says of a container.
func (t *Tree) answered(ev *event.Event) {
	c := t.containers[ev.Container]
	if c == nil || c.Told || !ev.OK {
		return // the event that tells of the container itself
	}
	c.Told = true
	c.Name, c.Image, c.Digest, c.Of = ev.Name, ev.ContainerImage, ev.SHA256, ev.Detail
}

// Containers returns the containers of the log, in its order.
func (t *Tree) Containers() iter.Seq[*Container] {
	return func(yield func(*Container) bool) {
		for _, c := range t.order {
			if !yield(c) {
				return
			}
		}
	}
}

// ContainerOf returns what is known of a container; nil where that is no more
// than its id.
func (t *Tree) ContainerOf(id redact.Text) *Container { return t.containers[id] }

// In returns the container that the image runs in; nil outside of any, and
// where there were too many.
func (n *Node) In() *Container { return n.in }
