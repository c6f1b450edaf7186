package signature

import "slices"

// expr is a condition that was read. It is kept as a tree until it is
// compiled, so that the literals which a rule cannot match without can be found
// in it.
type expr interface {
	// compile returns the closure that decides it.
	compile() test
	// keys returns index keys of which an event must hold one for the
	// expression to be true, or false where there are none to rely on.
	keys() ([]key, bool)
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

// keys of an and are those of the part that has fewest.
func (x andExpr) keys() ([]key, bool) {
	var best []key
	found := false
	for _, part := range x {
		if k, ok := part.keys(); ok && (!found || len(k) < len(best)) {
			best, found = k, true
		}
	}
	return best, found
}

// keys of an or are those of all parts together, if every part has some.
func (x orExpr) keys() ([]key, bool) {
	var all []key
	for _, part := range x {
		k, ok := part.keys()
		if !ok {
			return nil, false
		}
		all = append(all, k...)
	}
	return all, true
}

func (x notExpr) keys() ([]key, bool) { return nil, false }

// key is a literal of a field: the base name of a path, the last two labels
// of a host name, a whole value.
type key struct {
	field field
	text  string
}

// keyed are the fields that an index is made of, and how the key is cut out of
// a value in lower case.
var keyed = [fieldCount]func(string) string{
	image: baseName, parentImage: baseName, targetImage: baseName, targetFilename: baseName,
	destinationHostname: lastLabels, queryName: lastLabels, credentialClass: whole, lifecycle: whole,
}

func whole(s string) string { return s }

func baseName(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return s[i+1:]
		}
	}
	return s
}

// lastLabels returns the last two labels of a name, with the dot between.
func lastLabels(s string) string {
	dots := 0
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '.' {
			if dots++; dots == 2 {
				return s[i+1:]
			}
		}
	}
	return s
}

// index finds the rules that an event of one category may match.
type index struct {
	// fields are those that some rule is filed under.
	fields []field
	byKey  map[key][]int
	// always holds the rules without a key.
	always []int
}

func (x *index) add(rule int, e expr) {
	keys, ok := e.keys()
	if !ok {
		x.always = append(x.always, rule)
		return
	}
	if x.byKey == nil {
		x.byKey = make(map[key][]int)
	}
	for _, k := range keys {
		if !slices.Contains(x.fields, k.field) {
			x.fields = append(x.fields, k.field)
		}
		if list := x.byKey[k]; len(list) == 0 || list[len(list)-1] != rule {
			x.byKey[k] = append(list, rule)
		}
	}
}
