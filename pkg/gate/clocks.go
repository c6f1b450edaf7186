package gate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/witness"
)

// driftLeeway is how far the machine's clock since its boot may go beside other
// people's: they have whole seconds, and are not set by each other. To it comes
// a hundredth of the time between.
const driftLeeway = 5 * time.Second

// sighting is a time that somebody else gave, of a moment between two boot
// times of the machine.
type sighting struct {
	who      string
	at       time.Time
	from, to int64 // boot times in nanoseconds; to is math.MaxInt64 where it is not known
}

// clocks holds the times that others gave, in and around the log, against its
// own: a machine that stood still, or a log that was written at another pace,
// shows.
func (x *examined) clocks(issued time.Time, begun *attest.Result, r *witness.Record) {
	const name = "outside times"
	o := &x.opening
	if len(x.noted) == 0 || issued.IsZero() {
		x.skip(E3, name, "without a start token there is no time to begin with")
		return
	}
	who, told := "the issuer", o.told[evidence.StartTokenFile]
	if x.byService() {
		who, told = "the service", o.time
	}
	list := []sighting{{who, issued, o.time, told}}
	if begun != nil {
		for _, t := range begun.Times {
			list = append(list, sighting{"the start statement", t.Timestamp, o.time, o.told[evidence.StartBundleFile]})
		}
	}
	list = append(list, x.dated...)
	if r != nil {
		for _, c := range r.Cosigned {
			if c.Seq >= uint64(len(x.noted)) {
				break // told before
			}
			s := sighting{"the witness", time.Unix(c.Time, 0), x.noted[c.Seq].boottime, math.MaxInt64}
			if to, said := o.cosigned[c.Size]; said && to >= s.from {
				s.to = to
			}
			list = append(list, s)
		}
	}
	ends := len(list)
	for _, t := range x.res.Times {
		list = append(list, sighting{"the statement", t.Timestamp, x.noted[len(x.noted)-1].boottime, math.MaxInt64})
	}
	if ends == len(list) && (!x.byService() || ends == 1) {
		x.skip(E3, name, "nobody says when the statement was signed")
		return
	}
	slices.SortStableFunc(list, func(a, b sighting) int { return int(min(max(a.from-b.from, -1), 1)) })
	if !x.drift(E3, name, list) {
		return
	}
	x.pass(E3, name, fmt.Sprintf("%d, over %v of the log's clock, within %v and a hundredth", len(list), time.Duration(list[len(list)-1].from-list[0].from).Round(time.Second), driftLeeway))
}

// drift reports whether sightings in the order of the log go with its clock,
// and refuses the check where they do not.
func (x *examined) drift(level Level, name string, list []sighting) bool {
	for i, s := range list[1:] {
		for _, before := range []sighting{list[0], list[i]} {
			if by := apart(before, s); by > 0 {
				x.refuse(level, name, ClockDiffers, fmt.Sprintf("the time from %s (%s) to %s (%s), by the log's clock, within %v and a hundredth", before.who, clock(before.at), s.who, clock(s.at), driftLeeway),
					fmt.Sprintf("%v off", by.Round(time.Millisecond)), "the machine stood still, or the log was not written while it says: build anew")
				return false
			}
		}
	}
	return true
}

// apart is by how much the boot times of two sightings cannot be brought
// together with their times; 0 where they can. b is the later one.
func apart(a, b sighting) time.Duration {
	leeway := driftLeeway + time.Duration(b.from-a.from)/100
	passed := b.at.Sub(a.at)
	off := time.Duration(0)
	// At least so much passed in the machine, at most so much.
	if a.to != math.MaxInt64 {
		off = max(off, time.Duration(b.from-a.to)-passed-time.Second)
	}
	if b.to != math.MaxInt64 {
		off = max(off, passed-time.Duration(b.to-a.from)-time.Second)
	}
	return max(off-leeway, 0)
}
