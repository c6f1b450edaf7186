package report

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
)

// Bounds of what only the page shows. What is over them is counted.
const (
	maxImages    = 1 << 17 // that are remembered
	maxListed    = 20_000  // that the page lists, after folding
	maxConns     = 4000
	maxLanes     = 40
	maxMoments   = 512 // of a lane; they widen as the recording grows
	maxCommand   = 600 // bytes of a command line
	maxCommands  = 2 << 20
	maxWords     = 1 << 16 // distinct short strings
	shortestSlot = int64(1_000_000)
)

// story is what only the page shows: each program run by itself, what went on
// when, and connections one by one. Its memory is bounded.
type story struct {
	began int64
	words words
	rows  []image
	// runs is the row of what a process runs: its own, or that of whom it was
	// forked by.
	runs  map[born]int32
	left  uint64 // images there was no room for
	room  int    // bytes of command lines
	steps map[event.Actor]stepOf
	told  bool // the log tells of steps

	conns     []conn
	open      map[uint64]int32 // by socket, in conns
	connsLeft uint64

	slot  int64 // nanoseconds of a moment
	lanes map[string]*lane
	order []*lane
	last  *lane // that moment returned
}

// born names a process, whatever it runs.
type born struct {
	pid   uint32
	start int64
}

// image is one program run.
type image struct {
	own                     born
	parent                  int32 // -1 at a root
	pid, uid                uint32
	program, command        int32 // words
	step, agent, container  int32
	via                     event.Via
	replaces, existed, over bool // over: it has ended
	code, signal            int32
	began, ended            int64
	sent, received          uint64
	conns, wrote            uint32
	leaf                    uint64
}

type stepOf struct{ id, name, action string }

// conn is one connection.
type conn struct {
	at, end        int64
	row, to        int32
	sent, received uint64
	failed         bool
}

// moment counts what went on in one slot of time.
type moment struct {
	ran, connected, wrote uint32
	bytes                 uint64
}

// lane is what one step did when.
type lane struct {
	step    string
	moments [maxMoments]moment
}

// init makes room for a log of so many events: a program comes with half a dozen
// others, and memory that is not used costs nothing.
func (s *story) init(events uint64) {
	s.rows = make([]image, 0, min(maxImages, events/4+16))
	s.runs = make(map[born]int32)
	s.steps = make(map[event.Actor]stepOf)
	s.open = make(map[uint64]int32)
	s.lanes = make(map[string]*lane)
	s.words.at = map[string]int32{"": 0}
	s.words.list = []string{""}
	s.room = maxCommands
	s.slot = shortestSlot
}

// words numbers strings that come again and again.
type words struct {
	at   map[string]int32
	list []string
}

// rename shows another string where one was numbered.
func (w *words) rename(s, shown string) {
	if n, ok := w.at[s]; ok && s != "" {
		w.list[n] = clip(shown, 400)
	}
}

// of returns the number of s, that of "..." where there is no room.
func (w *words) of(s string) int32 {
	n, ok := w.at[s]
	if ok {
		return n
	}
	if len(w.list) >= maxWords {
		s = dots
		if n, ok = w.at[s]; ok {
			return n
		}
	}
	n = int32(len(w.list))
	w.at[s] = n
	w.list = append(w.list, s)
	return n
}

// apply takes an event that the judge has taken already.
func (s *story) apply(ev *event.Event, j *judge.Judge) {
	if s.began == 0 {
		s.began = ev.Time
	}
	own := born{ev.Actor.PID, ev.Actor.Start}
	switch ev.Kind {
	case event.Existing:
		s.ran(ev, own, j.Tree().Get(ev.Actor))
		return
	case event.Step:
		s.told = true
		st := s.steps[ev.Actor]
		st.id = cmp.Or(st.id, ev.StepID.String())
		st.name = cmp.Or(st.name, clip(ev.StepName.String(), 200))
		st.action = cmp.Or(st.action, ev.StepAction.String())
		if len(s.steps) < 4096 || s.steps[ev.Actor] != (stepOf{}) {
			s.steps[ev.Actor] = st
		}
		return
	}
	if ev.Via == event.ViaMonitor {
		return
	}
	switch ev.Kind {
	case event.Fork:
		parent, ok := s.runs[born{ev.Parent.PID, ev.Parent.Start}]
		if !ok {
			parent = -1
		}
		if row, ok := s.runs[own]; !ok {
			s.runs[own] = parent
		} else if row >= 0 && s.rows[row].own == own && s.rows[row].parent < 0 && parent < row {
			s.rows[row].parent = parent // it comes late
		}
	case event.Exec:
		n := j.Tree().Get(ev.Actor)
		s.ran(ev, own, n)
		s.moment(ev, n).ran++
	case event.Exit:
		if row, ok := s.runs[own]; ok {
			if row >= 0 && s.rows[row].own == own {
				r := &s.rows[row]
				r.ended, r.over, r.code, r.signal = ev.Time, true, int32(ev.Code), int32(ev.Signal)
			}
			delete(s.runs, own)
		}
	case event.Connect:
		s.moment(ev, j.Tree().Get(ev.Actor)).connected++
		s.connect(ev, own, j)
	case event.Flow, event.Send:
		s.flow(ev, own, j)
	case event.Open:
		if ev.Access&(event.Write|event.Create|event.Truncate|event.Append) != 0 {
			s.write(ev, own, j)
		}
	case event.Rename, event.Link, event.Mkdir, event.Chmod:
		s.write(ev, own, j)
	}
}

// ran makes a row of an image that n describes.
func (s *story) ran(ev *event.Event, own born, n *process.Node) {
	if len(s.rows) >= maxImages || n == nil {
		s.left++
		return
	}
	before, known := s.runs[own]
	r := image{own: own, parent: -1, pid: ev.Actor.PID, uid: n.UID, began: ev.Time, via: ev.Via, leaf: ev.Seq, existed: ev.Kind == event.Existing}
	if known && before >= 0 {
		r.parent = before
		if b := &s.rows[before]; b.own == own && !b.over {
			r.replaces = true
			b.ended, b.over = ev.Time, true
		}
	} else if p, ok := s.runs[born{ev.Parent.PID, ev.Parent.Start}]; ok && ev.Kind == event.Existing {
		r.parent = p
	}
	r.program = s.words.of(clip(n.Program().String(), 200))
	r.step, r.agent, r.container = s.words.of(n.Step.String()), s.words.of(n.Agent.String()), s.words.of(n.Container.String())
	if s.room >= 0 {
		argv, cut := arguments(n)
		line := command(argv, cut)
		if len(line) > maxCommand {
			line = cutBytes(line, maxCommand) + dots
		}
		if s.room -= len(line); s.room < 0 {
			line = ""
		}
		r.command = s.words.of(line)
	}
	s.runs[own] = int32(len(s.rows))
	s.rows = append(s.rows, r)
}

// row returns the row of who did the event, or nil.
func (s *story) row(own born) *image {
	if row, ok := s.runs[own]; ok && row >= 0 {
		return &s.rows[row]
	}
	return nil
}

func (s *story) write(ev *event.Event, own born, j *judge.Judge) {
	n := uint32(max(ev.Count, 1))
	if r := s.row(own); r != nil {
		r.wrote += n
	}
	s.moment(ev, j.Tree().Get(ev.Actor)).wrote += n
}

func (s *story) connect(ev *event.Event, own born, j *judge.Judge) {
	row := int32(-1)
	if r, ok := s.runs[own]; ok {
		row = r
	}
	if row >= 0 {
		s.rows[row].conns++
	}
	if len(s.conns) >= maxConns {
		s.connsLeft++
		return
	}
	if ev.Sock != 0 {
		s.open[ev.Sock] = int32(len(s.conns))
	}
	s.conns = append(s.conns, conn{at: ev.Time, row: row, to: s.words.of(peer(ev, j)), failed: ev.Err != 0})
}

// peer names the other side of a connection as far as it is known by now.
func peer(ev *event.Event, j *judge.Judge) string {
	d := Destination{Host: j.Names().Lookup(ev.Actor, ev.Dst.Addr(), ev.Sock).Name.String(), Addr: ev.Dst.Addr().String(), Port: ev.Dst.Port()}
	return clip(d.name(), 300)
}

func (s *story) flow(ev *event.Event, own born, j *judge.Judge) {
	sent, received := ev.Sent, ev.Received
	r := s.row(own)
	if at, ok := s.open[ev.Sock]; ok && ev.Kind == event.Flow && ev.Sock != 0 {
		c := &s.conns[at]
		// A flow tells a total.
		if sent >= c.sent && received >= c.received {
			sent, received = sent-c.sent, received-c.received
		}
		c.sent, c.received, c.end = ev.Sent, ev.Received, ev.Time
		c.to = s.words.of(peer(ev, j))
		if c.row >= 0 {
			r = &s.rows[c.row] // it may have exited before its connection ended
		}
		if ev.OK {
			delete(s.open, ev.Sock)
		}
	} else if ev.Kind == event.Flow && !ev.OK {
		return // its end tells all of it
	}
	if r != nil {
		r.sent, r.received = r.sent+sent, r.received+received
	}
	s.moment(ev, j.Tree().Get(ev.Actor)).bytes += sent + received
}

// moment returns the slot of the lane where the event belongs.
func (s *story) moment(ev *event.Event, n *process.Node) *moment {
	step := ""
	if n != nil {
		step = n.Step.String()
	}
	l := s.last
	if l == nil || l.step != step {
		l = s.lanes[step]
	}
	if l == nil {
		if len(s.order) >= maxLanes {
			step = dots
		}
		if l = s.lanes[step]; l == nil {
			l = &lane{step: step}
			s.lanes[step] = l
			s.order = append(s.order, l)
		}
	}
	s.last = l
	at := max(ev.Time-s.began, 0)
	for at/s.slot >= maxMoments {
		s.widen()
	}
	return &l.moments[at/s.slot]
}

// widen makes each slot twice as long.
func (s *story) widen() {
	s.slot *= 2
	for _, l := range s.order {
		for i := range maxMoments / 2 {
			a, b := l.moments[2*i], l.moments[2*i+1]
			l.moments[i] = moment{a.ran + b.ran, a.connected + b.connected, a.wrote + b.wrote, a.bytes + b.bytes}
		}
		clear(l.moments[maxMoments/2:])
	}
}

// inherit gives each image the step that a worker started it for. Parents
// stand before their children.
func (s *story) inherit() {
	if !s.told {
		return
	}
	of := make(map[born]string, len(s.steps))
	for a, st := range s.steps {
		if st.id != "" {
			of[born{a.PID, a.Start}] = st.id
		}
	}
	for i := range s.rows {
		r := &s.rows[i]
		switch id, ok := of[r.own]; {
		case ok:
			r.step = s.words.of(id)
		case r.parent >= 0:
			r.step = s.rows[r.parent].step
		default:
			r.step = 0
		}
	}
}

// line is an image on the page, or several alike.
type line struct {
	*image
	parent  int32 // among the lines
	repeats uint32
	took    int64
	hidden  uint32 // images below it that are not listed
}

// lines returns the rows of the page, parents before children, and for each
// image its line, -1 where it has none. More than limit images are folded
// first: siblings that are alike are one, as are those below them. Images in
// apart stay by themselves. What is too much then is counted where it was.
func (s *story) lines(limit int, apart map[int32]bool) (out []line, at []int32) {
	n := len(s.rows)
	at = make([]int32, n)
	stands := make([]int32, n) // the image that stands for this one
	for i := range stands {
		stands[i] = int32(i)
	}
	repeats, took := make([]uint32, n), make([]int64, n)
	if n > limit {
		s.fold(stands, apart)
	}
	depth := make([]int32, n)
	var left []int32 // that stand for themselves
	for i := range s.rows {
		r, to := &s.rows[i], stands[i]
		repeats[to]++
		if r.over {
			took[to] += r.ended - r.began
		}
		if to != int32(i) {
			m := &s.rows[to]
			m.sent, m.received, m.conns, m.wrote = m.sent+r.sent, m.received+r.received, m.conns+r.conns, m.wrote+r.wrote
			continue
		}
		if r.parent >= 0 {
			depth[i] = depth[stands[r.parent]] + 1
		}
		left = append(left, int32(i))
	}
	keep := make([]bool, n)
	kept := 0
	if len(left) > limit {
		named := make([]int32, 0, len(apart))
		for i := range apart {
			named = append(named, i)
		}
		slices.Sort(named)
		for _, i := range named {
			var way []int32
			for p := i; p >= 0 && !keep[p]; p = s.above(p, stands) {
				way = append(way, p)
			}
			if kept+len(way) > limit {
				continue // too deep to be shown with all that leads to it
			}
			for _, p := range way {
				keep[p] = true
			}
			kept += len(way)
		}
		slices.SortStableFunc(left, func(a, b int32) int { return cmp.Compare(depth[a], depth[b]) })
	}
	for _, i := range left {
		if !keep[i] && kept < limit {
			keep[i] = true
			kept++
		}
	}
	for i := range s.rows {
		to := stands[i]
		if to != int32(i) {
			at[i] = at[to]
			continue
		}
		parent := int32(-1)
		if p := s.above(to, stands); p >= 0 {
			parent = at[p]
		}
		if !keep[i] {
			// Counted at the nearest one above that stays.
			if at[i] = parent; parent >= 0 {
				out[parent].hidden += repeats[i]
			} else {
				s.left += uint64(repeats[i])
			}
			continue
		}
		at[i] = int32(len(out))
		out = append(out, line{image: &s.rows[i], parent: parent, repeats: repeats[i], took: took[i]})
	}
	return out, at
}

func (s *story) above(i int32, stands []int32) int32 {
	if p := s.rows[i].parent; p >= 0 {
		return stands[p]
	}
	return -1
}

// fold says for each image which one stands for it.
func (s *story) fold(stands []int32, apart map[int32]bool) {
	n := len(s.rows)
	below, alone := make([]uint64, n), make([]bool, n)
	shape := make([]uint64, n)
	type alike struct {
		program, step, container, code, signal int32
		via                                    event.Via
		over, replaces                         bool
		below                                  uint64
	}
	// Children stand after their parents, so from the end all that a shape is
	// made of is there. One that collides hides nothing that is named: those are
	// apart. The seed differs from run to run, what is equal does not.
	seed := maphash.MakeSeed()
	for i := n - 1; i >= 0; i-- {
		r := &s.rows[i]
		alone[i] = alone[i] || apart[int32(i)] || !r.over
		shape[i] = maphash.Comparable(seed, alike{r.program, r.step, r.container, r.code, r.signal, r.via, r.over, r.replaces, below[i]})
		if r.parent >= 0 {
			below[r.parent] = below[r.parent]*31 + shape[i]
			alone[r.parent] = alone[r.parent] || alone[i]
		}
	}
	type key struct {
		parent int32
		shape  uint64
	}
	first := make(map[key]int32)
	for i := range s.rows {
		if alone[i] {
			continue
		}
		k := key{s.above(int32(i), stands), shape[i]}
		if f, ok := first[k]; ok {
			stands[i] = f
		} else {
			first[k] = int32(i)
		}
	}
}

// clip returns at most n bytes of s, and says how many it left out.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= n {
		return s
	}
	head := cutBytes(s, n)
	return head + "... (" + count(uint64(len(s)-len(head)), "byte", "bytes") + " more)"
}
