package signature

import (
	"cmp"
	"slices"
)

// expr is a condition that was read. It is kept as a tree until it is
// compiled, so that the literals which a rule cannot match without can be found
// in it.
type expr interface {
	// compile returns the closure that decides it.
	compile() test
	// cost says how dear it is to decide, from 0.
	cost() int
	// needs returns what an event must have for the expression to be true.
	needs() need
}

// test decides something of an event.
type test func(*view) bool

type (
	andExpr []expr
	orExpr  []expr
	notExpr struct{ of expr }
)

func (x andExpr) compile() test {
	list := compileAll(inOrder(x))
	switch len(list) {
	case 1:
		return list[0]
	case 2:
		a, b := list[0], list[1]
		return func(v *view) bool { return a(v) && b(v) }
	}
	return func(v *view) bool {
		for _, t := range list {
			if !t(v) {
				return false
			}
		}
		return true
	}
}

func (x orExpr) compile() test {
	list := compileAll(inOrder(x))
	switch len(list) {
	case 1:
		return list[0]
	case 2:
		a, b := list[0], list[1]
		return func(v *view) bool { return a(v) || b(v) }
	}
	return func(v *view) bool {
		for _, t := range list {
			if t(v) {
				return true
			}
		}
		return false
	}
}

func (x notExpr) compile() test {
	t := x.of.compile()
	return func(v *view) bool { return !t(v) }
}

// inOrder returns the parts with those first that cost least: what they say
// does not depend on the order.
func inOrder(list []expr) []expr {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b expr) int { return cmp.Compare(a.cost(), b.cost()) })
	return list
}

func (x andExpr) cost() int { return dearest(x) }
func (x orExpr) cost() int  { return dearest(x) }
func (x notExpr) cost() int { return x.of.cost() }

func dearest(list []expr) int {
	most := 0
	for _, x := range list {
		most = max(most, x.cost())
	}
	return most
}

// cost of asking for a field.
func (f field) cost() int {
	switch {
	case fields[f].dear:
		return 3
	case fields[f].many:
		return 2
	}
	return 0
}

func compileAll(list []expr) []test {
	tests := make([]test, len(list))
	for i, x := range list {
		tests[i] = x.compile()
	}
	return tests
}
