package judge

import (
	"fmt"

	"github.com/org/edamame-posture/pkg/event"
)

// maxGaps bounds the gaps that a verdict lists. The rest are summed up in one.
const maxGaps = 100

// Undated is the note of a log which others were to date, where they did not.
const Undated = "a timestamp authority did not answer"

// coverage is what was seen of what happened. It is complete only where the
// log itself says so: it begins with a start and ends with an end, a sensor
// that sees files, sockets and names was up, every canary was seen, nothing
// was lost and the witnesses agree. Whatever is not said counts as missing.
type coverage struct {
	events   uint64
	lost     uint64
	next     uint64 // Seq that the next event must have
	started  bool
	closed   bool
	ebpf     bool
	netlink  bool
	canaries int
	missed   int // canaries
	unseen   []string
	undated  bool
	outside  []Gap
	gaps     []Gap
	more     Gap // what gaps does not list
	moreN    int

	// counts of the last witness event, and whether it disagreed.
	witnessed bool
	disagree  event64
	gapped    event64
}

// event64 counts events of one sort and keeps the places of the first ones.
type event64 struct {
	n           uint64
	leaves      []uint64
	first, last int64
}

func (e *event64) add(ev *event.Event) {
	if e.n == 0 {
		e.first = ev.Time
	}
	e.n++
	e.last = ev.Time
	if len(e.leaves) < maxLeaves {
		e.leaves = append(e.leaves, ev.Seq)
	}
}

func (c *coverage) gap(what string, ev *event.Event, lost uint64) {
	c.lost += lost
	g := Gap{What: what, From: ev.From, To: ev.To, Lost: lost, Leaf: ev.Seq}
	if g.From == 0 && g.To == 0 {
		g.From, g.To = ev.Time, ev.Time
	}
	c.gapped.add(ev)
	if len(c.gaps) < maxGaps {
		c.gaps = append(c.gaps, g)
		return
	}
	if c.moreN == 0 {
		c.more = g
	}
	c.moreN++
	c.more.From, c.more.To = min(c.more.From, g.From), max(c.more.To, g.To)
	if c.moreN > 1 {
		c.more.Lost += lost
	}
}

func (c *coverage) apply(ev *event.Event) {
	if ev.Seq != c.next {
		if ev.Seq > c.next {
			c.gap("the log misses lines", ev, ev.Seq-c.next)
		} else {
			c.gap("the log is out of order", ev, 0)
		}
	}
	c.next = ev.Seq + 1
	c.events++
	if c.closed {
		c.gap("the log goes on after its end", ev, 0)
	}
	if ev.Via == event.ViaOutside {
		c.acted(ev)
	}
	switch ev.Kind {
	case event.Start:
		if c.started {
			c.gap("the log starts twice", ev, 0)
		}
		c.started = true
	case event.SensorUp:
		switch ev.Sensor.String() {
		case "ebpf":
			c.ebpf = true
			c.unseen = append(c.unseen[:0], texts(ev.Argv)...)
		case "netlink":
			c.netlink = true
			if !c.ebpf {
				c.unseen = append(c.unseen[:0], texts(ev.Argv)...)
			}
		}
		if len(c.unseen) > maxGaps {
			c.unseen = c.unseen[:maxGaps]
		}
	case event.SensorGap:
		what := ev.Detail.String()
		if what == "" {
			what = "sensor " + ev.Sensor.String()
		}
		c.gap(what, ev, ev.Lost)
	case event.Canary:
		if ev.OK {
			c.canaries++
			return
		}
		c.missed++
		what := "canary not seen"
		if !ev.Detail.IsZero() {
			what += ": " + ev.Detail.String()
		}
		c.gap(what, ev, 0)
	case event.Witness:
		c.witnessed = true
		if !ev.OK || apart(ev.Counts) {
			c.disagree.add(ev)
		}
	case event.Note:
		c.undated = c.undated || ev.Via == event.ViaMonitor && ev.Detail.String() == Undated
	case event.Unknown:
		c.gap(fmt.Sprintf("a kind of event that this version does not know: %s", ev.KindName), ev, 0)
	case event.End:
		c.closed = true
	}
}

// acted notes what a process outside the lineage did to one inside it. The
// same act again is counted with the first.
func (c *coverage) acted(ev *event.Event) {
	what := ""
	switch ev.Kind {
	case event.Kill:
		what = fmt.Sprintf("signal %d from outside", ev.Signal)
	case event.Ptrace, event.MemAccess, event.Open, event.BPF:
		what = ev.Kind.String() + " from outside"
		if ev.Op != event.OpNone {
			what = fmt.Sprintf("%s %s from outside", ev.Kind, ev.Op)
		}
	default:
		return
	}
	for i := range c.outside {
		if c.outside[i].What == what {
			c.outside[i].To = ev.Time
			return
		}
	}
	if len(c.outside) < maxGaps {
		c.outside = append(c.outside, Gap{What: what, From: ev.Time, To: ev.Time, Leaf: ev.Seq})
	}
}

// apart reports whether two witnesses' counts cannot be of the same events,
// whatever the monitor made of them. They are read one after the other, so
// what happens in between is on one side only.
func apart(counts []event.Count) bool {
	for i := range counts {
		a, b := counts[i].EBPF, counts[i].Netlink
		if d := max(a, b) - min(a, b); d > 64 && d > max(a, b)/4 {
			return true
		}
	}
	return false
}

// findings is how many findings it comes to.
func (c *coverage) findings() int {
	n := 0
	if c.disagree.n > 0 {
		n++
	}
	if c.gapped.n > 0 {
		n++
	}
	return n
}

// verdict says what was seen. The gaps of what the log as a whole lacks stand
// at its last event. forgotten is how many groups of events rules had no room
// to remember.
func (c *coverage) verdict(last int64, forgotten uint64) Coverage {
	v := Coverage{
		State: "complete", Sensor: "none", Witness: "none", Events: c.events, Lost: c.lost,
		Gaps: append([]Gap{}, c.gaps...), Unseen: append([]string{}, c.unseen...),
		Outside: append([]Gap{}, c.outside...),
	}
	if c.undated {
		v.Unseen = append(v.Unseen, "when the log was written, by a clock that is not the machine's: "+Undated)
	}
	if c.moreN > 0 {
		g := c.more
		g.What = fmt.Sprintf("%d more gaps", c.moreN)
		v.Gaps = append(v.Gaps, g)
	}
	switch {
	case c.ebpf:
		v.Sensor = "ebpf"
	case c.netlink:
		v.Sensor = "netlink"
	}
	if c.witnessed {
		v.Witness = "agree"
		if c.disagree.n > 0 {
			v.Witness = "disagree"
		}
	}
	leaf := uint64(0)
	if c.next > 0 {
		leaf = c.next - 1
	}
	lacks := func(missing bool, what string) {
		if missing {
			v.Gaps = append(v.Gaps, Gap{What: what, From: last, To: last, Leaf: leaf})
		}
	}
	lacks(!c.started, "the log has no start")
	lacks(!c.closed, "the log has no end: what happened after its last line is not known")
	lacks(v.Sensor == "none", "no sensor was up")
	lacks(v.Sensor == "netlink", "only netlink was up: it sees no files and no names, and argument lists of short programs are lost")
	lacks(c.canaries == 0 && c.missed == 0, "no canary was made: nothing shows that the sensor still saw")
	if forgotten > 0 {
		v.Gaps = append(v.Gaps, Gap{What: fmt.Sprintf("rules over several events forgot %d groups of events, since they had too many to remember", forgotten), From: last, To: last, Leaf: leaf})
	}
	if len(v.Gaps) > 0 || v.Lost > 0 || v.Witness == "disagree" {
		v.State = "partial"
	}
	return v
}
