package process

import (
	"fmt"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

func TestWhatAContainerIsCalledHoldsForAllThatRanInIt(t *testing.T) {
	tree := NewTree(100)
	id := redact.Const("c0ffee")
	first := event.Actor{PID: 10, Start: 1, Image: 1}
	child := event.Actor{PID: 11, Start: 2}
	tree.Apply(&event.Event{Kind: event.Exec, Actor: first, Container: id})
	tree.Apply(&event.Event{Kind: event.Fork, Actor: child, Parent: first})
	outside := tree.Apply(&event.Event{Kind: event.Exec, Actor: event.Actor{PID: 12, Start: 3, Image: 1}})
	tree.Apply(&event.Event{Kind: event.Container, Actor: first, Container: id, Detail: redact.Const("/docker/c0ffee")})
	c := tree.Get(child).In()
	if c == nil || c.Told || c != tree.Get(first).In() || outside.In() != nil {
		t.Fatalf("before the answer: %+v", c)
	}
	tree.Apply(&event.Event{Kind: event.Container, Actor: first, Container: id, OK: true, Name: redact.Const("web"), ContainerImage: redact.Const("shop:1")})
	tree.Apply(&event.Event{Kind: event.Container, Actor: first, Container: id, OK: true, Name: redact.Const("evil")})
	if !c.Told || !c.Name.Is("web") || !c.Image.Is("shop:1") || tree.ContainerOf(id) != c {
		t.Errorf("%+v", c)
	}
	// One for which there is no event of its own, as in an older log.
	late := tree.Apply(&event.Event{Kind: event.Container, Actor: event.Actor{PID: 13, Start: 4}, Container: redact.Const("abc"), OK: true, Name: redact.Const("db")})
	if !late.In().Name.Is("db") {
		t.Errorf("%+v", late.In())
	}
	n := 0
	for i := range maxContainers + 10 {
		tree.Apply(&event.Event{Kind: event.Exec, Actor: event.Actor{PID: 20, Start: 5, Image: uint32(i + 1)}, Container: redact.Uint(uint64(i))})
	}
	for range tree.Containers() {
		n++
	}
	if n != maxContainers {
		t.Errorf("%d containers are known", n)
	}
	if last := tree.Get(event.Actor{PID: 20, Start: 5, Image: maxContainers + 10}); last.In() != nil || !last.Container.Is(fmt.Sprint(maxContainers+9)) {
		t.Errorf("one too many: %+v, id %q", last.In(), last.Container)
	}
}
