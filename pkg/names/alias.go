package names

import (
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// Bounds on aliases that wait for the answer about their target.
const (
	// aliasFor is how long one waits, in nanoseconds of CLOCK_BOOTTIME: who asks
	// on does so at once. A cache may ask later, but then answers its own
	// clients with the whole chain.
	aliasFor = int64(time.Minute)
	// maxAliases is how many are remembered; the oldest is forgotten first. An
	// address that nobody ties to the first name has the target's own.
	maxAliases = 512
	// maxFirst is how many names may wait for one target.
	maxFirst = 4
)

// alias says that a name leads to a target whose address its answer did not
// hold (RFC 1034 §3.6.2: a resolver need not follow an alias to its end; RFC
// 9460 §3: an HTTPS record names a target whose address is asked for next).
type alias struct {
	target redact.Text
	first  redact.Text // the name that was asked for at first
	asker  event.Actor
	time   int64 // of the answer
	links  int   // from first to target
	how    How   // DNS where every answer on the way was
}

// aliases are what waits, as a ring in the order of the log.
type aliases struct {
	ring []alias
	next int
	// count is how many stand in the ring by target, so that an answer about
	// any other name costs one look.
	count map[redact.Text]int
}

func (s *aliases) add(a alias) {
	for i := range s.ring {
		if s.count[a.target] == 0 {
			break
		}
		if old := &s.ring[i]; old.target == a.target && old.first == a.first && sameProcess(old.asker, a.asker) && old.how == a.how {
			old.time, old.links = a.time, a.links
			return
		}
	}
	if s.count == nil {
		s.count = make(map[redact.Text]int)
	}
	if len(s.ring) < maxAliases {
		s.ring = append(s.ring, alias{})
		s.next = len(s.ring) - 1
	} else if old := s.ring[s.next].target; s.count[old] > 1 {
		s.count[old]--
	} else {
		delete(s.count, old)
	}
	s.ring[s.next] = a
	s.count[a.target]++
	s.next = (s.next + 1) % maxAliases
}

// leading fills into what leads to a target, asked for by actor's own lineage
// not long before, the oldest first.
func (t *Table) leading(into []alias, target redact.Text, actor event.Actor, now int64) []alias {
	into = into[:0]
	s := &t.aliases
	if s.count[target] == 0 {
		return into
	}
	n, who := len(s.ring), seeker{actor: actor}
	for i := range n {
		// From the latest back: of more than there is room for the latest count.
		a := &s.ring[(s.next+2*n-1-i)%n]
		if a.target != target || now-a.time > aliasFor || !t.related(a.asker, &who) {
			continue
		}
		if into = append(into, *a); len(into) == maxFirst {
			break
		}
	}
	for i, j := 0, len(into)-1; i < j; i, j = i+1, j-1 {
		into[i], into[j] = into[j], into[i]
	}
	return into
}
