package netlink

import (
	"bytes"
	"encoding/binary"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// unixSockets keeps the connections to named Unix sockets of all network
// namespaces and tells of new ones. It is pure: lists go in, records come out.
//
// Which end connected, the kernel says only of a stream that waits to be
// accepted: its listener names it. After that it is the one without a name: what
// accepted has that of its listener. A datagram socket that is connected names
// its peer, which has no peer itself.
type unixSockets struct {
	ends  []unixEnd // of the list that is being read
	names []byte    // backs their names
	// known are the connections of the list before, here those of this one.
	known, here map[unixKey]*unixConn
	spare       []*unixConn
	// place is where in ends the socket with an inode is. It is filled only
	// where something is new.
	place  map[uint64]int32
	placed bool
	asks   int // of listens, in this list

	emit    func(*sensor.Record)
	unowned func() // counts a connection without an owner
	record  sensor.Record
}

// unixEnd is one socket of a list.
type unixEnd struct {
	inode, peer uint64
	from, to    int32 // its name, a part of names
	kind, state uint8
	old         bool
}

// unixKey names a connection by the inode of the end that connected, and of a
// datagram socket, which may be connected anew, by its peer's too.
type unixKey struct{ client, server uint64 }

// unixConn is a connection and what of it is still to tell.
type unixConn struct {
	told    bool
	lookups int
	name    []byte // while it is not told
}

// unixMax bounds the sockets of one list. With 108 bytes of a name each it is
// some 10 MB, which are used only where there are so many.
const unixMax = 1 << 16

// asksMax bounds the searches for a listener in one list.
const asksMax = 64

// unixWaits is the state, here only, of a stream that is not accepted yet. Its
// peer is who connected, its name that of the listener.
const unixWaits = tcpSynRecv

// socketDatagram is SOCK_DGRAM of include/linux/net.h.
const socketDatagram = 2

// unixStates are those that a Unix socket has: unix(7) borrows them from TCP.
const unixStates = 1<<tcpEstablished | 1<<tcpClose | 1<<tcpListen

func newUnixSockets(emit func(*sensor.Record), unowned func()) *unixSockets {
	return &unixSockets{
		known: map[unixKey]*unixConn{}, here: map[unixKey]*unixConn{}, place: map[uint64]int32{},
		emit: emit, unowned: unowned,
	}
}

// begin starts a list.
func (u *unixSockets) begin() { u.ends, u.names, u.placed, u.asks = u.ends[:0], u.names[:0], false, 0 }

// listed takes one socket of the list; old says that it is not to be told. It
// returns false where there is no room.
func (u *unixSockets) listed(s *socket, old bool) bool {
	if len(s.name) == 0 && s.peer == 0 {
		return true // nothing leads to it
	}
	if len(u.ends)+len(s.waiting)/4 >= unixMax {
		return false
	}
	from := int32(len(u.names))
	u.names = append(u.names, s.name...)
	e := unixEnd{inode: s.inode, peer: s.peer, from: from, to: int32(len(u.names)), kind: s.kind, state: s.state, old: old}
	u.ends = append(u.ends, e)
	// What waits to be accepted is on no list itself.
	e.state, e.inode = unixWaits, 0
	for w := s.waiting; len(w) >= 4; w = w[4:] {
		if e.peer = uint64(binary.NativeEndian.Uint32(w)); e.peer != 0 {
			u.ends = append(u.ends, e)
		}
	}
	return true
}

func (u *unixSockets) name(e *unixEnd) []byte { return u.names[e.from:e.to] }

// end closes a list. A connection that ended before its owner was found is told
// without one.
func (u *unixSockets) end(now int64) {
	for i := range u.ends {
		e := &u.ends[i]
		var k unixKey
		switch {
		case e.peer == 0 || e.state != tcpEstablished && e.state != unixWaits && e.kind != socketDatagram:
			continue // it listens, takes datagrams, or its peer has closed
		case e.kind == socketDatagram:
			k = unixKey{e.inode, e.peer}
		case e.from == e.to:
			continue // told at its peer
		default:
			k = unixKey{client: e.peer}
		}
		if u.here[k] != nil {
			continue // it was accepted while the list was made
		}
		c := u.known[k]
		if c == nil {
			c = u.fresh(e)
		} else {
			delete(u.known, k)
		}
		u.here[k] = c
	}
	for _, c := range u.known {
		if !c.told {
			u.tellOne(c, owner{}, now)
		}
		u.spare = append(u.spare, c)
	}
	u.spare = u.spare[:min(len(u.spare), 1024)]
	clear(u.known)
	u.known, u.here = u.here, u.known
}

// fresh makes a connection that the list before did not have.
func (u *unixSockets) fresh(e *unixEnd) *unixConn {
	c := &unixConn{}
	if n := len(u.spare); n > 0 {
		c, u.spare = u.spare[n-1], u.spare[:n-1]
		*c = unixConn{name: c.name[:0]}
	}
	c.told = true
	if e.old {
		return c
	}
	peer := u.find(e.peer)
	if e.kind == socketDatagram {
		if peer == nil || peer.from == peer.to {
			return c // a pair, or in a namespace that is not seen
		}
		c.told, c.name = false, append(c.name, u.name(peer)...)
		return c
	}
	if e.state != unixWaits && peer != nil && peer.from != peer.to && u.listens(peer) && !u.listens(e) {
		return c // who connected has bound a name of its own
	}
	c.told, c.name = false, append(c.name, u.name(e)...)
	return c
}

// find returns the socket of the list that has an inode.
func (u *unixSockets) find(inode uint64) *unixEnd {
	if inode == 0 {
		return nil
	}
	u.index()
	if i, ok := u.place[inode]; ok {
		return &u.ends[i]
	}
	return nil
}

func (u *unixSockets) index() {
	if u.placed {
		return
	}
	u.placed = true
	clear(u.place)
	for i := range u.ends {
		if u.ends[i].inode != 0 {
			u.place[u.ends[i].inode] = int32(i)
		}
	}
}

// listens reports whether a socket of the list listens at the name that an end
// has. It is asked only where both ends have one, which hardly any has. Asked
// too often it says no, so that both are told.
func (u *unixSockets) listens(e *unixEnd) bool {
	if u.asks++; u.asks > asksMax {
		return false
	}
	for i := range u.ends {
		if l := &u.ends[i]; l.state == tcpListen && bytes.Equal(u.name(l), u.name(e)) {
			return true
		}
	}
	return false
}

// want calls f with the inode of each socket whose owner is still looked for.
func (u *unixSockets) want(f func(inode uint64, uid uint32)) {
	for k, c := range u.known {
		if !c.told {
			f(k.client, 0)
		}
	}
}

// tell gives the records of new connections whose owner was found, or looked
// for often enough. hurry tells also what might get one in a later round.
func (u *unixSockets) tell(owners map[uint64]owner, now int64, hurry bool) {
	for k, c := range u.known {
		if c.told {
			continue
		}
		o := owners[k.client]
		if c.lookups++; o.pid != 0 || c.lookups >= lookupMax || hurry {
			u.tellOne(c, o, now)
		}
	}
}

func (u *unixSockets) tellOne(c *unixConn, o owner, now int64) {
	c.told = true
	if o.pid == 0 {
		u.unowned()
	}
	u.record = sensor.Record{Kind: event.Unix, Time: now, PID: o.pid, TID: o.pid, Start: o.start, UID: o.uid, Path: c.name}
	u.emit(&u.record)
}
