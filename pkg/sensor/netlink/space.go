package netlink

import (
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// key names a socket within a network namespace: by its cookie, or where the
// list has none by all that is known of it. A quiet socket goes by its inode,
// which its table of /proc has too: that one may have to stand in at any round.
type key struct {
	cookie, inode uint64
	proto         event.Proto
	src, dst      netip.AddrPort
}

func keyOf(s *socket) key {
	if s.quiet() && s.inode != 0 {
		return key{inode: s.inode, proto: s.proto}
	}
	if s.cookie != 0 {
		return key{cookie: s.cookie}
	}
	k := key{inode: s.inode, proto: s.proto, src: s.src}
	if s.proto == event.ProtoTCP {
		k.dst = s.dst
	}
	return k
}

// flow is a socket that is, or was a moment ago.
type flow struct {
	last  socket
	owner owner
	// lookups counts the rounds in which the owner was looked for and not found.
	lookups int
	// old: it was there when the sensor started, so its making is not told.
	old  bool
	told bool
	// fin: the peer has closed its direction.
	fin bool
	// orphan: no process held it any more when it was last listed.
	orphan bool
	round  uint64 // in which it was last listed
	seen   int64  // when that was
	// flowAt, sent and received are of the last Flow record.
	flowAt         int64
	sent, received uint64
}

// owner is a process that holds a socket.
type owner struct {
	pid   uint32
	start int64
	uid   uint32
}

// space keeps the sockets of one network namespace and tells what becomes of
// them. It is pure: lists and notices go in, records come out.
type space struct {
	inode uint32 // of the namespace
	flows map[key]*flow
	// listening holds the local ports that are or were listened on, and when
	// they were last seen so: a connection at such a port was accepted.
	listening map[uint16]int64
	// first is true until the first list is complete: what it holds is old.
	first bool
	round uint64
	// notices says that the kernel tells of freed sockets here, deaf that some
	// of what it told was lost since the last list.
	notices, deaf bool
	// lowPort and highPort bound the ports that the kernel chooses itself.
	lowPort, highPort uint16
	// period is the time between two Flow records of one living connection.
	period int64
	// ignore are cookies of our own marks.
	ignore map[uint64]bool

	emit    func(*sensor.Record)
	unowned func() // counts a socket without an owner
	blank   func() // counts one that was freed with no address left
	record  sensor.Record
}

// Times in nanoseconds.
const (
	listenMemory = 60e9 // how long a port counts as listened on after its listener is gone
	flowPeriod   = 3e9  // between two Flow records of one living connection, as with eBPF
	// quietMemory is how long a socket whose end the kernel does not tell is
	// kept without being listed: a list may have failed.
	quietMemory = 5e9
)

// lookupMax is how many rounds an owner is looked for.
const lookupMax = 3

// flowMax bounds the sockets that are kept for one namespace.
const flowMax = 1 << 16

func newSpace(inode uint32, emit func(*sensor.Record), unowned, blank func()) *space {
	return &space{
		inode: inode, flows: map[key]*flow{}, listening: map[uint16]int64{}, first: true,
		period: flowPeriod, lowPort: 32768, highPort: 60999, ignore: map[uint64]bool{}, emit: emit, unowned: unowned, blank: blank,
	}
}

// begin starts a list.
func (sp *space) begin() { sp.round++ }

// listed takes one socket of the list.
func (sp *space) listed(s *socket, now int64) {
	if sp.ignore[s.cookie] && s.cookie != 0 {
		return
	}
	if s.proto == event.ProtoTCP {
		switch s.state {
		case tcpListen:
			sp.listening[s.src.Port()] = now
		case tcpTimeWait, tcpClose, tcpSynRecv:
			return // no full socket: what it was is told by the notice, or was listed
		}
	}
	k := keyOf(s)
	f := sp.flows[k]
	if f == nil {
		if len(sp.flows) >= flowMax {
			sp.unowned()
			sp.deaf = true // makes room
			return
		}
		f = &flow{old: sp.first, told: sp.first, flowAt: now}
		if sp.first && s.info.known {
			f.sent, f.received = s.info.sent(), s.info.received(finSeen(s.state))
		}
		sp.flows[k] = f
	}
	f.round, f.seen = sp.round, now
	// An unconnected datagram socket that is connected later is told anew.
	if s.proto == event.ProtoUDP && f.last.dst != s.dst && s.dst.Port() != 0 && !sp.first {
		f.told, f.old = false, false
	}
	f.fin = f.fin || s.proto == event.ProtoTCP && finSeen(s.state)
	keep := f.last
	f.orphan = s.inode == 0
	f.last = *s
	f.last.name = nil
	// An orphan has lost its inode; who held it does not change.
	if s.inode == 0 {
		f.last.inode = keep.inode
	}
}

// quiet reports whether the kernel gives no notice of a socket's end: it does
// for TCP and UDP only (sock_diag_has_destroy_listeners, include/linux/sock_diag.h).
func (s *socket) quiet() bool { return s.proto == event.ProtoPacket || s.proto == event.ProtoRaw }

// finSeen reports whether the peer's FIN was received in a state.
func finSeen(state uint8) bool {
	switch state {
	case tcpCloseWait, tcpLastAck, tcpClosing, tcpTimeWait:
		return true
	}
	return false
}

// end closes a list. What is not in it any more is over, where no notice will
// say so: a closed socket that a process still holds is not listed, and its
// notice comes when it is let go.
func (sp *space) end(now int64) {
	sp.first = false
	for k, f := range sp.flows {
		switch {
		case f.round == sp.round:
			continue
		case f.last.quiet() && !sp.deaf:
			if f.told && now-f.seen < quietMemory {
				continue
			}
		case sp.notices && !sp.deaf:
			continue
		}
		sp.finish(f, &f.last, now)
		delete(sp.flows, k)
	}
	sp.deaf = false
	for port, seen := range sp.listening {
		if now-seen > listenMemory {
			delete(sp.listening, port)
		}
	}
}

// freed takes a notice that a socket is gone.
func (sp *space) freed(s *socket, now int64) {
	if sp.ignore[s.cookie] {
		delete(sp.ignore, s.cookie)
		return
	}
	k := keyOf(s)
	f := sp.flows[k]
	if f == nil {
		// It came and went between two lists.
		if s.dst.Port() == 0 || !s.dst.Addr().IsValid() || s.dst.Addr().IsUnspecified() {
			// A listener, a socket never connected, or one that was aborted
			// (SO_LINGER 0): tcp_disconnect wipes its address and counts.
			if s.proto == event.ProtoTCP && s.src.Port() != 0 {
				sp.blank()
			}
			return
		}
		f = &flow{last: *s, flowAt: now}
		f.lookups = lookupMax
		sp.finish(f, s, now)
		return
	}
	// It was closed on both sides before it was let go, so the peer's FIN had
	// come: then the kernel takes it off the list while it is still held.
	if f.round < sp.round && !f.orphan && (f.last.state == tcpFinWait1 || f.last.state == tcpFinWait2) {
		f.fin = true
	}
	// The notice names no owner and sometimes no port any more.
	if s.info.known {
		f.last.info = s.info
	}
	sp.finish(f, &f.last, now)
	delete(sp.flows, k)
}

// want calls f with the inode of each socket whose owner is still looked for.
func (sp *space) want(f func(inode uint64, uid uint32)) {
	for _, fl := range sp.flows {
		if fl.owner.pid == 0 && fl.lookups < lookupMax && fl.last.inode != 0 {
			f(fl.last.inode, fl.last.uid)
		}
	}
}

// tell gives the records of what is new, with the owners that were found.
// hurry tells also what might get an owner in a later round, and what went
// through living connections until now.
func (sp *space) tell(owners map[uint64]owner, now int64, hurry bool) {
	for _, f := range sp.flows {
		if f.owner.pid == 0 && f.last.inode != 0 {
			if o, ok := owners[f.last.inode]; ok {
				f.owner = o
			} else if f.lookups < lookupMax {
				f.lookups++
			}
		}
		if !f.told && (f.owner.pid != 0 || f.lookups >= lookupMax || hurry || f.last.inode == 0) {
			sp.made(f, now)
		}
		if f.told && f.last.info.known && (hurry || now-f.flowAt >= sp.period) {
			sp.flow(f, now, false)
		}
	}
}

// made tells of a new socket: Connect, Accept, Listen or Packet.
func (sp *space) made(f *flow, now int64) {
	s := &f.last
	f.told = true
	r := sp.fill(f, now)
	connected := s.dst.IsValid() && s.dst.Port() != 0 && !s.dst.Addr().IsUnspecified()
	switch {
	case s.proto == event.ProtoPacket:
		r.Kind, r.Detail = event.Packet, "a packet socket was opened"
	case s.proto == event.ProtoRaw:
		// Its ports are no ports.
		r.Kind, r.Detail, r.Src, r.Dst = event.Packet, "a raw socket was opened", netip.AddrPort{}, netip.AddrPort{}
	case s.proto == event.ProtoTCP && s.state == tcpListen:
		r.Kind, r.Dst = event.Listen, netip.AddrPort{}
	case connected && s.proto == event.ProtoTCP && sp.accepted(s):
		r.Kind = event.Accept
	case connected:
		r.Kind = event.Connect
		r.Err = failure(s)
	case s.proto == event.ProtoUDP && s.src.Port() != 0 && (s.src.Port() < sp.lowPort || s.src.Port() > sp.highPort):
		// A datagram socket at a port that the kernel did not choose.
		r.Kind, r.Dst = event.Listen, netip.AddrPort{}
	default:
		return
	}
	if f.owner.pid == 0 {
		sp.unowned()
	}
	sp.emit(r)
}

// accepted reports whether a connection came in: at a port that is listened
// on or, where its listener was never seen, by its bytes. Of our own side the
// SYN counts as acknowledged only where we sent it first.
func (sp *space) accepted(s *socket) bool {
	if _, ok := sp.listening[s.src.Port()]; ok {
		return true
	}
	return s.info.known && s.state != tcpSynSent && s.info.bytesAcked == s.info.sent() && s.info.bytesReceived > 0
}

// failure returns the errno of a connect that did not come about, as far as
// the counts tell: 0 where it did.
func failure(s *socket) int {
	const timedOut, refused = 110, 111
	if s.proto != event.ProtoTCP || s.state != tcpClose || !s.info.known || s.info.bytesAcked > 0 || s.info.bytesReceived > 0 {
		return 0
	}
	if s.info.segsIn > 0 {
		return refused
	}
	return timedOut
}

// finish tells of the end of a socket, and first of its making where that was
// not told yet.
func (sp *space) finish(f *flow, s *socket, now int64) {
	if !f.told {
		sp.made(f, now)
	}
	if s.proto == event.ProtoTCP && s.state != tcpListen && failure(s) == 0 {
		// Who accepts mostly closes second, so that the peer's FIN was counted;
		// who connects mostly closes first and is freed before it comes. Where
		// no list showed it, the bytes received may be off by this one.
		f.fin = f.fin || sp.accepted(s)
		sp.flow(f, now, true)
	}
}

// flow tells the totals of a connection; nothing while they do not change.
func (sp *space) flow(f *flow, now int64, end bool) {
	sent, received := f.last.info.sent(), f.last.info.received(f.fin)
	f.flowAt = now
	if !f.last.info.known || sent == f.sent && received == f.received && (!end || f.old) {
		return
	}
	f.sent, f.received = sent, received
	r := sp.fill(f, now)
	r.Kind, r.OK, r.Sent, r.Received = event.Flow, end, sent, received
	sp.emit(r)
}

func (sp *space) fill(f *flow, now int64) *sensor.Record {
	s := &f.last
	sp.record = sensor.Record{
		Time: now, PID: f.owner.pid, TID: f.owner.pid, Start: f.owner.start, UID: s.uid, Cgroup: s.cgroup,
		Proto: s.proto, Src: s.src, Dst: s.dst, Sock: s.cookie,
	}
	if f.owner.pid != 0 {
		sp.record.UID = f.owner.uid
	}
	sp.record.NS.Net = sp.inode
	return &sp.record
}
