package fact

import (
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// A connection becomes a fact when its destination is decided: at the first
// thing said on it that can bring a name (TLS, HTTP), at the first bytes, or
// when it is closed. Until then it waits in a table, and its fact does not
// exist; so a fact never changes the name it has. Where a later event gives
// another name (a second HTTP host on one connection, a late ClientHello),
// what follows belongs to another fact and the first stays.

// maxConns bounds the open connections that are remembered. The oldest is
// decided by what is known when there is no room.
const maxConns = 1 << 14

// ephemeral is the lowest port that Linux chooses by itself
// (net.ipv4.ip_local_port_range).
const ephemeral = 32768

// connKey names an open connection: by its cookie, or where the sensor has
// none, by who holds it and both ends. A UDP socket may send to many, so the
// peer belongs to it in both cases.
type connKey struct {
	sock  uint64
	pid   uint32
	start int64
	src   netip.AddrPort
	dst   netip.AddrPort
}

func keyOf(ev *event.Event) connKey {
	k := connKey{sock: ev.Sock, dst: netip.AddrPortFrom(ev.Dst.Addr().Unmap(), ev.Dst.Port())}
	if k.sock == 0 {
		k.pid, k.start, k.src = ev.Actor.PID, ev.Actor.Start, ev.Src
	}
	return k
}

type conn struct {
	key     connKey
	node    *process.Node
	lin     *lineage
	proto   event.Proto
	inbound bool
	// idle: a UDP connect that sent nothing, as resolvers make them to ask the
	// kernel for a route. Nothing left the machine.
	idle  bool
	fact  *Fact // once decided; nil for one that makes no fact too
	done  bool  // decided
	first int64
	last  int64
	leaf  uint64

	sent, received uint64 // totals
	asked          asking
	// What the fact was not yet given.
	newCount, newSent, newReceived uint64

	mask    uint64 // classes that were read before something was sent
	checked uint64 // classes that were held against the fact

	prev, next *conn
}

// connTable holds open connections, oldest first. Records are used again.
type connTable struct {
	byKey        map[connKey]*conn
	oldest, last *conn
	free         *conn
}

func (t *connTable) add(k connKey) *conn {
	if t.byKey == nil {
		t.byKey = make(map[connKey]*conn)
	}
	c := t.free
	if c != nil {
		t.free = c.next
		*c = conn{}
	} else {
		c = new(conn)
	}
	c.key, c.prev = k, t.last
	if t.last != nil {
		t.last.next = c
	} else {
		t.oldest = c
	}
	t.last = c
	t.byKey[k] = c
	return c
}

func (t *connTable) remove(c *conn) {
	delete(t.byKey, c.key)
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		t.oldest = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		t.last = c.prev
	}
	*c = conn{next: t.free}
	t.free = c
}

// errInProgress is EINPROGRESS: the outcome of a non-blocking connect is open.
const errInProgress = 115

func (f *Folder) socket(ev *event.Event, n *process.Node) *Fact {
	if !ev.Dst.IsValid() {
		return nil
	}
	if ev.Kind == event.DNS {
		return f.dns(ev, n)
	}
	k := keyOf(ev)
	c := f.conns.byKey[k]
	if c == nil {
		if len(f.conns.byKey) >= maxConns {
			old := f.conns.oldest
			f.decide(old)
			f.unread(old, itself)
			f.conns.remove(old)
		}
		c = f.conns.add(k)
		c.node, c.lin, c.proto = n, f.lineageOf(n, ev.Via), ev.Proto
		c.first, c.leaf = ev.Time, ev.Seq
		c.idle = ev.Kind == event.Connect && ev.Proto == event.ProtoUDP
		c.inbound = ev.Kind == event.Accept || ev.Kind == event.Flow && f.listening[ev.Src.Port()]
		if !c.idle && ev.Kind != event.Send {
			c.newCount = 1
		}
	} else if ev.Kind == event.Connect && !c.idle {
		c.newCount++
	}
	if c.inbound {
		if ev.Kind == event.Flow && ev.OK {
			f.conns.remove(c)
		}
		return nil
	}
	c.last = ev.Time
	if c.proto == event.ProtoNone {
		c.proto = ev.Proto
	}
	decide, sends := false, false
	switch ev.Kind {
	case event.Connect:
		sends = !c.idle
		decide = sends && ev.Err != 0 && ev.Err != errInProgress
	case event.Send:
		// Without either it tells only what came.
		sends = ev.Count > 0 || ev.Sent > 0 || ev.Received == 0
		if sends {
			c.newCount += times(ev)
		}
		c.idle, decide = false, true
		c.total(c.sent+ev.Sent, c.received+ev.Received)
	case event.Flow:
		c.asked.read = ev.TLS
		before := c.sent
		c.total(ev.Sent, ev.Received)
		if c.idle && (c.sent > 0 || c.received > 0) {
			c.idle, c.newCount = false, 1
		}
		sends = c.sent > before
		decide = !c.idle && (ev.OK || c.sent > 0 || c.received > 0)
	case event.TLS, event.HTTP:
		if c.idle {
			c.idle, c.newCount = false, 1
		}
		decide, sends = true, true
		if c.done {
			c.done, c.checked = false, 0
		}
		c.asked.hear(ev)
	}
	if sends {
		c.mask |= f.taints.of(c.node)
	}
	if decide && !c.done {
		f.decide(c)
	}
	f.settle(c)
	fact := c.fact
	if ev.Kind == event.HTTP {
		f.request(ev, c)
		f.otherKey(ev, c)
	}
	if ev.Kind == event.Flow && ev.OK {
		f.unread(c, itself)
		f.conns.remove(c)
	}
	return fact
}

// total notes the totals of the connection, which never fall.
func (c *conn) total(sent, received uint64) {
	if sent > c.sent {
		c.newSent += sent - c.sent
		c.sent = sent
	}
	if received > c.received {
		c.newReceived += received - c.received
		c.received = received
	}
}

// decide gives the connection to the fact of its destination.
func (f *Folder) decide(c *conn) {
	if c.idle || c.inbound {
		return
	}
	c.done = true
	d, ok := f.destination(c)
	if !ok {
		c.fact = nil
		return
	}
	fact := f.find(c.lin, &d)
	if fact == nil {
		if d.folds() {
			f.count(f.portSet(c.lin, &d))
		}
		fact = d.fact(c.node, c.lin, c.first, c.leaf)
		fact = f.keep(fact)
	}
	if fact != c.fact {
		c.newCount = max(c.newCount, 1)
		f.renamed(c)
	}
	c.fact = fact
	f.settle(c)
}

// settle gives the fact what came since, and holds it against what was read.
func (f *Folder) settle(c *conn) {
	if c.fact == nil {
		return
	}
	c.give(c.fact)
	fresh := c.mask &^ c.checked
	c.checked |= fresh
	for i := 0; fresh != 0 && i < len(f.taints.classes); i++ {
		if fresh&(1<<i) == 0 || !f.chained(i, c, c.fact) {
			continue
		}
		if have := f.facts[string(f.key)]; have != nil {
			have.seen(c.last, 1)
		} else {
			f.keep(f.chain(i, c, c.fact))
		}
	}
}

// give adds to a fact what the connection has for it.
func (c *conn) give(fact *Fact) {
	fact.seen(c.last, c.newCount)
	fact.First = min(fact.First, c.first)
	fact.Sent += c.newSent
	fact.Received += c.newReceived
	c.newCount, c.newSent, c.newReceived = 0, 0, 0
}

// chained reports whether a credential of a class that was read is of no use
// where the connection went, and sets f.key to that of the chain fact.
func (f *Folder) chained(class int, c *conn, to *Fact) bool {
	name := f.taints.classes[class]
	if to.Loopback() || coherent(name, to.Host) {
		return false
	}
	f.begin(Chain, c.lin)
	f.key = append(append(append(f.key, name.String()...), ' '), to.Object.String()...)
	return true
}

// chain makes the chain fact.
func (f *Folder) chain(class int, c *conn, to *Fact) *Fact {
	return &Fact{
		Verb: Chain, Node: c.node, Who: c.lin.who, Class: credentialEgress, Taint: f.taints.classes[class],
		Object: redact.Concat(f.taints.classes[class], redact.Const(" -> "), to.Object),
		Host:   to.Host, How: to.How, Addr: to.Addr, Proto: to.Proto,
		Via: c.lin.via, First: c.last, Last: c.last, Count: 1, Leaf: c.leaf,
		Job: c.lin.job, Step: c.lin.step, Action: c.lin.action, Agent: c.lin.agent, ContainerName: c.lin.container,
		Session: c.lin.session, Call: c.lin.call, Late: c.lin.late,
	}
}

var credentialEgress = redact.Const("credential-egress")

// pending adds what open connections that are not decided would be now. It
// changes nothing that stays.
func (f *Folder) pending(byKey map[string]*Fact, out []*Fact) []*Fact {
	put := func(fact *Fact) *Fact {
		if have := byKey[string(f.key)]; have != nil {
			return have
		}
		fact.key = string(f.key)
		byKey[fact.key] = fact
		out = append(out, fact)
		return fact
	}
	for c := f.conns.oldest; c != nil; c = c.next {
		if c.done || c.idle || c.inbound {
			continue
		}
		d, ok := f.destination(c)
		if !ok {
			continue
		}
		var to *Fact
		if f.find(c.lin, &d) != nil {
			to = byKey[string(f.key)]
		}
		if to == nil {
			to = put(d.fact(c.node, c.lin, c.first, c.leaf))
		}
		given := *c
		given.give(to)
		for i := range f.taints.classes {
			if c.mask&(1<<i) != 0 && f.chained(i, c, to) {
				put(f.chain(i, c, to))
			}
		}
	}
	return out
}

// dns makes a fact of a question to a resolver that is not this machine's. Who
// asks the configured one sends nothing anywhere by that.
func (f *Folder) dns(ev *event.Event, n *process.Node) *Fact {
	if ev.OK {
		return nil
	}
	c := conn{key: keyOf(ev), node: n, proto: ev.Proto}
	d, ok := f.destination(&c)
	if !ok || d.verb != Resolve {
		return nil
	}
	c.lin = f.lineageOf(n, ev.Via)
	if fact := f.find(c.lin, &d); fact != nil {
		fact.seen(ev.Time, times(ev))
		return fact
	}
	fact := d.fact(n, c.lin, ev.Time, ev.Seq)
	fact.Count = times(ev)
	return f.keep(fact)
}
