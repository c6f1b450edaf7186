package signature

// expr is a condition that was read. It is kept as a tree until it is
// compiled, so that the literals which a rule cannot match without can be found
// in it.
type expr interface {
	// compile returns the closure that decides it.
	compile() test
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
	list := compileAll(x)
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
	list := compileAll(x)
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

func compileAll(list []expr) []test {
	tests := make([]test, len(list))
	for i, x := range list {
		tests[i] = x.compile()
	}
	return tests
}
