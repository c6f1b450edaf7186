package fact

import (
	"encoding/binary"
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// destination is where a connection goes, decided.
type destination struct {
	verb  Verb
	host  redact.Text // empty for a literal address
	how   redact.Text
	addr  netip.Addr
	port  uint16
	proto event.Proto
}

var literal = redact.Const("literal")

// destination decides where a connection goes by what is known now. It returns
// false for one that makes no fact: a question to the configured resolver.
func (f *Folder) destination(c *conn) (destination, bool) {
	d := destination{verb: Connect, how: literal, addr: c.key.dst.Addr(), port: c.key.dst.Port(), proto: c.proto}
	if d.proto == event.ProtoNone {
		d.proto = event.ProtoTCP
	}
	if d.port == 53 && (d.proto == event.ProtoUDP || d.proto == event.ProtoTCP) {
		if f.Resolver(c.key.dst) {
			return d, false
		}
		d.verb = Resolve
	}
	if !d.addr.IsLoopback() {
		if host, how := f.nameOf(c); !host.IsZero() {
			d.host, d.how = host, how
		}
	}
	return d, true
}

var (
	azureResolver = netip.AddrFrom4([4]byte{168, 63, 129, 16})
	sharedSpace   = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10) // RFC 6598
)

// local reports whether a resolver is one that a machine is configured with:
// on itself, on its network, or the one of Azure's virtual machines. The log
// does not hold the machine's own list.
func local(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a == azureResolver || sharedSpace.Contains(a)
}

// zone tells networks apart that one name must not join: a name that first
// leads to the loopback and then to the world is two destinations.
func zone(a netip.Addr) byte {
	switch {
	case a.IsLoopback():
		return 1
	case a.IsLinkLocalUnicast():
		return 2
	case a.IsPrivate() || sharedSpace.Contains(a):
		return 3
	}
	return 4
}

// folds reports whether the port is one that the kernel chose, on this
// machine: test servers take a new one each time.
func (d *destination) folds() bool { return d.addr.IsLoopback() && d.port >= ephemeral }

// writeKey sets f.key to that of the destination's fact.
func (f *Folder) writeKey(l *lineage, d *destination) {
	f.begin(d.verb, l)
	if d.host.IsZero() {
		f.key = d.addr.AppendTo(f.key)
	} else {
		f.key = append(append(f.key, d.host.String()...), 0, zone(d.addr))
	}
	f.key = append(f.key, 0)
	f.key = binary.LittleEndian.AppendUint16(f.key, d.port)
	f.key = binary.LittleEndian.AppendUint16(f.key, uint16(d.proto))
}

func (f *Folder) portSet(l *lineage, d *destination) uint64 {
	f.lkey = binary.LittleEndian.AppendUint32(append(f.lkey[:0], 'p', byte(d.verb)), l.id)
	f.lkey = d.addr.AppendTo(f.lkey)
	return hashBytes(fnvOffset, f.lkey)
}

// find returns the fact of a destination, or nil, with f.key set to the key
// that it has or would have. It folds d's port where that is due.
func (f *Folder) find(l *lineage, d *destination) *Fact {
	f.writeKey(l, d)
	fact := f.facts[string(f.key)]
	if fact != nil || !d.folds() || !f.fans(f.portSet(l, d), fanPorts) {
		return fact
	}
	d.port = 0
	f.writeKey(l, d)
	return f.facts[string(f.key)]
}

// fact makes the destination's fact.
func (d *destination) fact(n *process.Node, l *lineage, at int64, leaf uint64) *Fact {
	return &Fact{
		Verb: d.verb, Node: n, Who: l.who, Via: l.via,
		Object: d.object(), Host: d.host, How: d.how, Addr: netip.AddrPortFrom(d.addr, d.port), Proto: d.proto,
		First: at, Last: at, Leaf: leaf,
		Job: l.job, Step: l.step, Action: l.action, Agent: l.agent, ContainerName: l.container,
		Session: l.session, Call: l.call, Late: l.late,
	}
}

// object is the destination as a policy would name it: host:port, with the
// protocol where it is not TCP, and a star where any port is meant.
func (d *destination) object() redact.Text {
	host := d.host
	if host.IsZero() {
		host = redact.Addr(d.addr)
		if d.addr.Is6() {
			host = redact.Concat(redact.Const("["), host, redact.Const("]"))
		}
	}
	port := star
	if d.port != 0 {
		port = redact.Uint(uint64(d.port))
	}
	return redact.Concat(host, redact.Const(":"), port, protoSuffix(d.proto))
}

func protoSuffix(p event.Proto) redact.Text {
	switch p {
	case event.ProtoTCP, event.ProtoNone:
		return redact.Text{}
	case event.ProtoUDP:
		return redact.Const("/udp")
	case event.ProtoICMP:
		return redact.Const("/icmp")
	case event.ProtoICMPv6:
		return redact.Const("/icmp6")
	case event.ProtoRaw:
		return redact.Const("/raw")
	case event.ProtoPacket:
		return redact.Const("/packet")
	}
	return redact.Concat(slash, redact.Uint(uint64(p)))
}

// listen makes the fact of a socket that takes connections.
func (f *Folder) listen(ev *event.Event, n *process.Node) *Fact {
	if !ev.Src.IsValid() {
		return nil
	}
	f.listening[ev.Src.Port()] = true
	d := destination{verb: Listen, addr: ev.Src.Addr().Unmap(), port: ev.Src.Port(), proto: ev.Proto}
	if d.proto == event.ProtoNone {
		d.proto = event.ProtoTCP
	}
	l := f.lineageOf(n, ev.Via)
	f.writeKey(l, &d)
	if fact := f.grow(ev); fact != nil {
		return fact
	}
	if d.port >= ephemeral {
		set := f.portSet(l, &d)
		if f.fans(set, fanPorts) {
			d.port = 0
			f.writeKey(l, &d)
			if fact := f.grow(ev); fact != nil {
				return fact
			}
		} else {
			f.count(set)
		}
	}
	fact := d.fact(n, l, ev.Time, ev.Seq)
	fact.Count = times(ev)
	return f.keep(fact)
}

// nameless makes the fact of what is sent without an address that has a name:
// packets made by hand, and the sockets between a virtual machine and its host.
func (f *Folder) nameless(ev *event.Event, n *process.Node) *Fact {
	l := f.lineageOf(n, ev.Via)
	f.begin(Connect, l)
	f.key = append(f.key, byte(ev.Kind), 0)
	// That a packet socket was opened, and what it sent, are one fact.
	if ev.Kind == event.Vsock {
		f.key = append(f.key, ev.Detail.String()...)
	}
	f.key = binary.LittleEndian.AppendUint16(f.key, uint16(ev.Proto))
	if fact := f.grow(ev); fact != nil {
		fact.Sent += ev.Sent
		return fact
	}
	fact := made(Connect, ev, n, l)
	fact.How, fact.Proto, fact.Sent = literal, ev.Proto, ev.Sent
	if ev.Kind == event.Vsock {
		fact.Object = redact.Concat(redact.Const("vsock:"), ev.Detail)
	} else {
		fact.Object = redact.Concat(redact.Const("*:*"), protoSuffix(ev.Proto))
	}
	if f.Requests != nil && f.Requests(fact) {
		fact.Unread = Unread{Why: whyNoTCP, Conns: 1, First: ev.Time, Last: ev.Time, Leaf: ev.Seq}
	}
	return f.keep(fact)
}
