package names

import (
	"net/netip"
	"slices"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// add remembers a claim. The ring's order is that of the log, so what it
// overwrites is the oldest claim of all.
func (t *Table) add(c claim) {
	at := int32(t.next) + 1
	if t.next < len(t.ring) {
		if old := &t.ring[t.next]; old.used {
			t.evicted++
			t.unlink(at)
		}
	} else {
		t.ring = append(t.ring, claim{})
	}
	head := t.addrs[c.addr]
	// An answer that is given again takes the place of its older self, so that
	// a job that asks in a loop does not push out what others asked.
	for i, n := head, 0; i != 0 && n < maxRepeat; n++ {
		old := &t.ring[i-1]
		following := old.older
		if sameProcess(old.asker, c.asker) && old.how == c.how && old.sock == c.sock && old.name == c.name {
			t.unlink(i)
			break
		}
		i = following
	}
	head = t.addrs[c.addr]
	c.used, c.older, c.newer = true, head, 0
	t.ring[t.next] = c
	if head != 0 {
		t.ring[head-1].newer = at
	}
	t.addrs[c.addr] = at
	if c.sock != 0 && t.outranks(&c) {
		t.socks[c.sock] = at
	}
	t.next = (t.next + 1) % t.limit
}

// maxRepeat is how many of an address's latest claims are looked at for a
// repeated one.
const maxRepeat = 16

// outranks reports whether c is the better name for its socket: the host of a
// request says where it goes, also inside a TLS session that was opened in
// another's name.
func (t *Table) outranks(c *claim) bool {
	at := t.socks[c.sock]
	return at == 0 || c.how >= t.ring[at-1].how || t.ring[at-1].addr != c.addr
}

func (t *Table) unlink(at int32) {
	c := &t.ring[at-1]
	if c.newer != 0 {
		t.ring[c.newer-1].older = c.older
	} else if c.older != 0 {
		t.addrs[c.addr] = c.older
	} else {
		delete(t.addrs, c.addr)
	}
	if c.older != 0 {
		t.ring[c.older-1].newer = c.newer
	}
	if c.sock != 0 && t.socks[c.sock] == at {
		delete(t.socks, c.sock)
	}
	*c = claim{}
}

func sameProcess(a, b event.Actor) bool { return a.PID == b.PID && a.Start == b.Start }

// Lookup returns what dst was called when the actor sent to it over the
// socket, as far as the events before tell; sock is 0 where not known.
//
// A name said on the very socket comes first, then the latest answer that the
// process or one of its lineage got, then /etc/hosts, then the latest answer
// that anyone got, and last what resolvers of the job's own choice said. This machine's own addresses have no name, whatever was
// said on the socket: what listens there may pass it on to anywhere.
func (t *Table) Lookup(actor event.Actor, dst netip.Addr, sock uint64) Name {
	dst = plain(dst)
	if dst.IsLoopback() || dst.IsUnspecified() {
		return Name{How: Loopback} // connecting to 0.0.0.0 reaches this machine too
	}
	answer, ok := t.answered(actor, dst)
	said := t.spoken(actor, dst, sock)
	if said == nil {
		if !ok {
			return Name{How: Literal}
		}
		return answer
	}
	n := Name{Name: said.name, How: said.how, Leaf: said.leaf, Backed: t.backs(dst, said.name)}
	if ok && answer.Name != n.Name {
		n.Other = answer.Name
	}
	return n
}

// spoken returns the name that the client gave on the socket. Where sockets are
// not known, it is what the same process said last to that address.
func (t *Table) spoken(actor event.Actor, dst netip.Addr, sock uint64) *claim {
	if sock != 0 {
		if at := t.socks[sock]; at != 0 && t.ring[at-1].addr == dst {
			return &t.ring[at-1]
		}
		return nil
	}
	for i, n := t.addrs[dst], 0; i != 0 && n < maxPerAddr; n++ {
		c := &t.ring[i-1]
		if (c.how == SNI || c.how == HTTP) && c.sock == 0 && sameProcess(c.asker, actor) {
			return c
		}
		i = c.older
	}
	return nil
}

// answered returns the name that was resolved to dst.
func (t *Table) answered(actor event.Actor, dst netip.Addr) (Name, bool) {
	var best *claim
	rank := 0
	who := seeker{actor: actor}
	for i, n := t.addrs[dst], 0; i != 0 && n < maxPerAddr && rank < own; n++ {
		c := &t.ring[i-1]
		i = c.older
		if r := t.rank(c, &who, rank); r > rank {
			best, rank = c, r
		}
	}
	if hosts := t.hosts[dst]; len(hosts) > 0 && rank < own {
		return Name{Name: hosts[0], How: Hosts, Backed: true}, true
	}
	if best == nil {
		return Name{}, false
	}
	return Name{Name: best.name, How: best.how, Leaf: best.leaf, Backed: best.how == DNS}, true
}

// Ranks of answers, the better the higher; of equals the latest stands.
const (
	othersClaimed = 1 + iota
	ownClaimed
	others
	own
)

// rank returns the rank of a claim, or anything up to least where it is not
// more than that: whose answer it was is dear to find out.
func (t *Table) rank(c *claim, who *seeker, least int) int {
	best, worst := own, others
	switch c.how {
	case DNS:
	case ClaimedDNS:
		best, worst = ownClaimed, othersClaimed
	default:
		return 0
	}
	if least >= best || !t.related(c.asker, who) {
		return worst
	}
	return best
}

// backs reports whether a trusted answer gave dst that name.
func (t *Table) backs(dst netip.Addr, name redact.Text) bool {
	if slices.Contains(t.hosts[dst], name) {
		return true
	}
	for i, n := t.addrs[dst], 0; i != 0 && n < maxPerAddr; n++ {
		c := &t.ring[i-1]
		if c.how == DNS && c.name == name {
			return true
		}
		i = c.older
	}
	return false
}

// maxClimb bounds how far up a lineage is followed.
const maxClimb = 64

// seeker is the process that a look-up is for, and what was found out about it:
// an address may have claims of hundreds of others.
type seeker struct {
	actor  event.Actor
	asked  bool
	node   *process.Node
	barren bool // no process came from it
}

// related reports whether one of the two processes came from the other.
func (t *Table) related(asker event.Actor, who *seeker) bool {
	if sameProcess(asker, who.actor) {
		return true
	}
	if t.tree == nil {
		return false
	}
	if !who.asked {
		who.asked, who.node, who.barren = true, t.tree.Get(who.actor), t.tree.Barren(who.actor)
	}
	return cameFrom(who.node, asker) || !who.barren && cameFrom(t.tree.Get(asker), who.actor)
}

// cameFrom reports whether an image is one of the process, or came from it.
func cameFrom(n *process.Node, of event.Actor) bool {
	for range maxClimb {
		if n == nil {
			return false
		}
		if sameProcess(n.Actor, of) {
			return true
		}
		n = n.Parent
	}
	return false
}
