package process

import (
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// household is a tree with a shell that ran two programs, and what it started.
func household(limit int) (t *Tree, shell, child, grandchild event.Actor) {
	t = NewTree(limit)
	shell, child, grandchild = event.Actor{PID: 2, Start: 2}, event.Actor{PID: 3, Start: 3}, event.Actor{PID: 4, Start: 4}
	t.Apply(&event.Event{Kind: event.Fork, Actor: shell, Parent: event.Actor{PID: 1, Start: 1}})
	shell.Image = 1
	t.Apply(&event.Event{Kind: event.Exec, Actor: shell})
	t.Apply(&event.Event{Kind: event.Fork, Actor: child, Parent: shell})
	t.Apply(&event.Event{Kind: event.Fork, Actor: grandchild, Parent: child})
	return t, shell, child, grandchild
}

func TestWhoOutlivesItsParentIsReparentedAndWhatItStartsWithIt(t *testing.T) {
	tree, shell, child, grandchild := household(100)
	check := func(when string, want bool) {
		t.Helper()
		for _, a := range []event.Actor{child, grandchild} {
			if got := tree.Get(a).Reparented(); got != want {
				t.Errorf("%s: process %d: %v, want %v", when, a.PID, got, want)
			}
		}
	}
	check("at first", false)
	// Another program in the same process is no end of it.
	shell.Image = 2
	tree.Apply(&event.Event{Kind: event.Exec, Actor: shell})
	check("after the shell ran another program", false)
	tree.Apply(&event.Event{Kind: event.Exit, Actor: shell})
	check("after the shell ended", true)
	if tree.Get(shell).Reparented() {
		t.Error("the shell itself, whose parent lives")
	}
	child.Image = 1
	tree.Apply(&event.Event{Kind: event.Exec, Actor: child})
	check("after the child ran another program", true)
}

func TestWhoseParentHasLeftTheTreeStaysReparented(t *testing.T) {
	tree, shell, child, _ := household(16)
	tree.Apply(&event.Event{Kind: event.Exit, Actor: shell})
	for i := range 100 {
		a := event.Actor{PID: 100 + uint32(i), Start: int64(100 + i)}
		tree.Apply(&event.Event{Kind: event.Fork, Actor: a, Parent: event.Actor{PID: 1, Start: 1}})
		tree.Apply(&event.Event{Kind: event.Exit, Actor: a})
	}
	if tree.Get(shell) != nil {
		t.Fatal("the shell is still in the tree; the test says nothing")
	}
	if n := tree.Get(child); n == nil || !n.Reparented() {
		t.Errorf("%+v", n)
	}
}
