package report

// row is a process in a short view of the tree.
type row struct {
	*Process
	indent int
}

// abridge picks at most limit processes and returns them in the order of the
// tree, with the number of those there are: first what findings name with all
// that leads to it, then level by level. What was there before the recording
// is left out, and so is an image that did nothing but execute another, as env
// does.
func abridge(roots []*Process, limit int) (rows []row, all uint64) {
	type at struct {
		p      *Process
		parent int // index in order, -1 at a root
		indent int
	}
	var order []at
	for _, r := range roots {
		order = append(order, at{r, -1, 0})
	}
	for i := 0; i < len(order); i++ {
		indent := order[i].indent + 1
		if order[i].p.passes() {
			indent = order[i].indent
		}
		for _, c := range order[i].p.Children {
			order = append(order, at{c, i, indent})
		}
	}
	picked := make([]bool, len(order))
	left := limit
	pick := func(i int) {
		for ; i >= 0 && left > 0 && !picked[i]; i = order[i].parent {
			picked[i] = true
			if !order[i].p.passes() {
				left--
			}
		}
	}
	for i := range order {
		if len(order[i].p.Findings) > 0 {
			pick(i)
		}
	}
	for i := range order {
		if !order[i].p.passes() {
			pick(i)
		}
	}
	chosen := make(map[*Process]int, limit)
	for i, a := range order {
		if a.p.passes() {
			all += a.p.Hidden
			continue
		}
		all += 1 + a.p.Hidden
		if picked[i] {
			chosen[a.p] = a.indent
		}
	}
	stack := make([]*Process, 0, len(roots))
	push := func(ps []*Process) {
		for i := len(ps) - 1; i >= 0; i-- {
			stack = append(stack, ps[i])
		}
	}
	push(roots)
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if indent, ok := chosen[p]; ok {
			rows = append(rows, row{p, indent})
		}
		push(p.Children)
	}
	return rows, all
}

// passes reports whether a short view shows only what is below p.
func (p *Process) passes() bool {
	return p.Existed || len(p.Children) == 1 && p.Children[0].Replaces && len(p.Findings) == 0
}
