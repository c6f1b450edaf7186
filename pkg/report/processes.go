package report

import (
	"hash/fnv"
	"io"
	"strconv"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
)

// Bounds of the process tree of a view.
const (
	maxProcesses = 2000
	maxArgs      = 64
	maxArgBytes  = 2000
)

// processes makes the view of the tree: forks that ran no program are left
// out, siblings that are alike are one, and what is over the bound is counted.
func (c *collector) processes(j *judge.Judge) {
	d := &c.data
	tree := j.Tree()
	d.Ran.LeftOut = tree.Left()
	named := make(map[event.Actor][]string)
	for _, f := range d.Verdict.Findings {
		a := event.Actor{PID: f.Actor.PID, Start: f.Actor.Start, Image: f.Actor.Image}
		if !a.IsZero() {
			named[a] = append(named[a], f.Rule)
		}
	}
	shown := make(map[*process.Node]*Process)
	// Walk gives parents before their children; a fork without a program
	// stands for the nearest image that ran one.
	top := &Process{}
	for n := range tree.Walk() {
		parent := top
		if p := shown[n.Parent]; p != nil && n.Parent != nil {
			parent = p
		}
		if !n.Execed && n.Known && len(named[n.Actor]) == 0 {
			shown[n] = parent
			t := c.traffic.actors[n.Actor]
			parent.Sent, parent.Received = parent.Sent+t[0], parent.Received+t[1]
			continue
		}
		p := c.process(n, named[n.Actor])
		p.Depth = parent.Depth + 1
		shown[n] = p
		parent.Children = append(parent.Children, p)
	}
	if len(d.Survivors) > 0 {
		for i, a := range c.traffic.survivors {
			if n := tree.Get(a); n != nil {
				d.Survivors[i].Program = n.Program().String()
				d.Survivors[i].Argv, _ = arguments(n)
			}
		}
	}
	fold(top)
	bound(top, maxProcesses)
	d.Processes = top.Children
}

func (c *collector) process(n *process.Node, findings []string) *Process {
	t := c.traffic.actors[n.Actor]
	p := &Process{
		Program: n.Program().String(), Exe: n.Exe.String(), PID: n.Actor.PID, UID: n.UID,
		Began: max(n.Born-c.data.Began, 0), Code: n.Code, Signal: n.Signal, Sent: t[0], Received: t[1], Repeats: 1,
		Existed: n.Via == event.ViaMonitor || !n.Known, Container: n.Container.String(), Step: n.Step.String(), Agent: n.Agent.String(),
		Findings: findings, Leaf: n.Leaf, Running: n.Ended == 0,
	}
	p.Argv, p.ArgvCut = arguments(n)
	if n.Parent != nil {
		p.Replaces = n.Parent.Execed && n.Parent.Actor.PID == n.Actor.PID && n.Parent.Actor.Start == n.Actor.Start
	}
	if n.Ended > n.Born {
		p.Took = n.Ended - n.Born
	}
	if n.Via == event.ViaRequest || n.Via == event.ViaHost || n.Via == event.ViaOutside {
		p.Via = n.Via.String()
	}
	return p
}

func arguments(n *process.Node) ([]string, bool) {
	argv, cut := shownArgs(texts(n.Argv))
	return argv, cut || n.ArgvCut
}

// shownArgs returns the arguments that a view shows, and whether it left out any.
func shownArgs(args []string) (argv []string, cut bool) {
	room := maxArgBytes
	for _, s := range args {
		if len(argv) == maxArgs || room <= 0 {
			return argv, true
		}
		if len(s) > room {
			s, cut = cutBytes(s, room)+dots, true
		}
		room -= len(s)
		argv = append(argv, s)
	}
	return argv, cut
}

// cutBytes returns at most n bytes of s, whole characters.
func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// all returns the processes below top, parents before their children.
func all(top *Process) []*Process {
	out := []*Process{top}
	for i := 0; i < len(out); i++ {
		out = append(out, out[i].Children...)
	}
	return out
}

// fold makes one of siblings that are alike: the same program with the same
// end, over the same programs. What a finding names stays apart.
func fold(top *Process) {
	order := all(top)
	shape := make(map[*Process]uint64, len(order))
	// Children come after their parents in order, so from the end every shape
	// that is needed is there. A hash that collides hides no finding: those
	// are apart.
	for i := len(order) - 1; i >= 0; i-- {
		p := order[i]
		p.Children = foldSiblings(p.Children, shape)
		h := fnv.New64a()
		io.WriteString(h, p.Program+"\x00"+strconv.Itoa(p.Code)+" "+strconv.Itoa(p.Signal)+" "+
			strconv.FormatBool(p.Running)+strconv.FormatBool(p.Replaces)+p.Step+"\x00"+p.Container+"\x00"+p.Via+"\x00")
		apart := len(p.Findings) > 0 || p.Running
		for _, c := range p.Children {
			if shape[c] == 0 {
				apart = true
			}
			io.WriteString(h, strconv.FormatUint(shape[c], 16)+" ")
		}
		if !apart {
			shape[p] = h.Sum64() | 1
		}
	}
}

func foldSiblings(ps []*Process, shape map[*Process]uint64) []*Process {
	if len(ps) < 2 {
		return ps
	}
	first := make(map[uint64]*Process, len(ps))
	out := ps[:0]
	for _, p := range ps {
		s := shape[p]
		f := first[s]
		if s == 0 || f == nil {
			first[s] = p
			out = append(out, p)
			continue
		}
		merge(f, p)
	}
	clear(ps[len(out):])
	return out
}

// merge adds q, which has the same shape, to p.
func merge(p, q *Process) {
	type pair struct{ p, q *Process }
	for todo := []pair{{p, q}}; len(todo) > 0; {
		t := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		t.p.Took += t.q.Took
		t.p.Sent += t.q.Sent
		t.p.Received += t.q.Received
		t.p.Repeats += t.q.Repeats
		for i := range min(len(t.p.Children), len(t.q.Children)) {
			todo = append(todo, pair{t.p.Children[i], t.q.Children[i]})
		}
	}
}

// bound keeps limit processes below top: those that findings name with all
// above them, then level by level. The rest is counted where it was.
func bound(top *Process, limit int) {
	order := all(top)
	if len(order)-1 <= limit {
		return
	}
	parent := make(map[*Process]*Process, len(order))
	for _, p := range order {
		for _, c := range p.Children {
			parent[c] = p
		}
	}
	kept := map[*Process]bool{top: true}
	keep := func(p *Process) {
		var path []*Process
		for q := p; !kept[q]; q = parent[q] {
			path = append(path, q)
		}
		if len(kept)-1+len(path) > limit {
			return
		}
		for _, q := range path {
			kept[q] = true
		}
	}
	for _, p := range order {
		if len(p.Findings) > 0 {
			keep(p)
		}
	}
	for _, p := range order {
		keep(p)
	}
	// Each process that goes is counted at the nearest one above that stays.
	for _, p := range order[1:] {
		if kept[p] {
			continue
		}
		q := parent[p]
		for !kept[q] {
			q = parent[q]
		}
		q.Hidden += p.Repeats
	}
	for _, p := range order {
		out := p.Children[:0]
		for _, c := range p.Children {
			if kept[c] {
				out = append(out, c)
			}
		}
		p.Children = out
	}
}
