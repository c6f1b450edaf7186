package netlink

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
)

// Numbers of include/uapi/linux/sock_diag.h, inet_diag.h, unix_diag.h and
// packet_diag.h.
const (
	sockDiagByFamily = 20
	tcpDestroy       = 1 // SKNLGRP_INET_TCP_DESTROY
	udpDestroy       = 2
	tcp6Destroy      = 3
	udp6Destroy      = 4

	diagInfo     = 2  // INET_DIAG_INFO: struct tcp_info
	diagProtocol = 10 // INET_DIAG_PROTOCOL
	diagCgroup   = 21 // INET_DIAG_CGROUP_ID

	unixDiagName  = 0 // UNIX_DIAG_NAME
	unixDiagPeer  = 2 // UNIX_DIAG_PEER
	unixDiagIcons = 3 // UNIX_DIAG_ICONS

	packetDiagUID = 5 // PACKET_DIAG_UID

	familyUnix, familyInet, familyInet6, familyPacket = 1, 2, 10, 17
	protoTCP, protoUDP, protoRaw                      = 6, 17, 255

	inetDiagMsgSize = 72
	inetDiagReqSize = 56
	unixDiagMsgSize = 16
	unixDiagReqSize = 24

	packetDiagMsgSize = 16
	packetDiagReqSize = 20
)

// TCP states, include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpSynRecv     = 3
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpTimeWait    = 6
	tcpClose       = 7
	tcpCloseWait   = 8
	tcpLastAck     = 9
	tcpListen      = 10
	tcpClosing     = 11
)

// socket is one line of a list of sockets, or a notice that one was freed.
type socket struct {
	proto    event.Proto
	state    uint8
	src, dst netip.AddrPort
	cookie   uint64 // 0 in the lists of /proc
	inode    uint64
	uid      uint32
	cgroup   uint64
	// kind (SOCK_STREAM and so on), peer and name are those of a Unix socket;
	// waiting holds the inodes, 32 bits each, of those that wait to be accepted.
	kind    uint8
	peer    uint64
	name    []byte
	waiting []byte

	info tcpInfo
}

// tcpInfo is what is used of struct tcp_info, include/uapi/linux/tcp.h.
type tcpInfo struct {
	known bool
	// bytesSent and bytesRetrans count payload only: no SYN, no FIN.
	bytesSent, bytesRetrans uint64
	// bytesAcked counts our SYN, where we were the one that connected, and our FIN.
	bytesAcked uint64
	// bytesReceived counts the peer's FIN.
	bytesReceived uint64
	segsIn        uint32
	dataSegsIn    uint32
}

// sent returns the payload bytes that were sent, each once.
func (i tcpInfo) sent() uint64 { return i.bytesSent - min(i.bytesRetrans, i.bytesSent) }

// received returns the payload bytes that came. fin says that the peer has
// closed its direction, which the kernel counts as a byte.
func (i tcpInfo) received(fin bool) uint64 {
	if i.dataSegsIn == 0 {
		return 0
	}
	if fin && i.bytesReceived > 0 {
		return i.bytesReceived - 1
	}
	return i.bytesReceived
}

// decodeSocket reads the payload of one message of sock_diag for TCP or UDP.
// proto is the protocol that was asked for; a notice names its own.
func decodeSocket(b []byte, proto event.Proto, s *socket) error {
	if len(b) < inetDiagMsgSize {
		return errShort
	}
	ne := binary.NativeEndian
	*s = socket{proto: proto, state: b[1]}
	var src, dst netip.Addr
	switch b[0] {
	case familyInet:
		src, dst = netip.AddrFrom4([4]byte(b[8:12])), netip.AddrFrom4([4]byte(b[24:28]))
	case familyInet6:
		src, dst = netip.AddrFrom16([16]byte(b[8:24])).Unmap(), netip.AddrFrom16([16]byte(b[24:40])).Unmap()
	default:
		return errForeign
	}
	s.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b[4:]))
	s.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[6:]))
	s.cookie = uint64(ne.Uint32(b[44:])) | uint64(ne.Uint32(b[48:]))<<32
	s.uid, s.inode = ne.Uint32(b[64:]), uint64(ne.Uint32(b[68:]))
	return attributes(b[inetDiagMsgSize:], func(kind uint16, v []byte) {
		switch kind {
		case diagProtocol:
			if len(v) > 0 {
				s.proto = event.Proto(v[0])
			}
		case diagCgroup:
			if len(v) >= 8 {
				s.cgroup = ne.Uint64(v)
			}
		case diagInfo:
			s.info = decodeTCPInfo(v)
		}
	})
}

// decodeTCPInfo reads a struct tcp_info, whose end older kernels do not have.
// Without the byte counts of 4.19 it is not known.
func decodeTCPInfo(b []byte) tcpInfo {
	if len(b) < 216 {
		return tcpInfo{}
	}
	ne := binary.NativeEndian
	return tcpInfo{
		known:      true,
		bytesAcked: ne.Uint64(b[120:]), bytesReceived: ne.Uint64(b[128:]),
		segsIn: ne.Uint32(b[140:]), dataSegsIn: ne.Uint32(b[152:]),
		bytesSent: ne.Uint64(b[200:]), bytesRetrans: ne.Uint64(b[208:]),
	}
}

// decodeUnix reads the payload of one message of sock_diag for Unix sockets.
// The name and what waits are parts of b; that of an abstract socket starts with @.
func decodeUnix(b []byte, s *socket) error {
	if len(b) < unixDiagMsgSize {
		return errShort
	}
	ne := binary.NativeEndian
	if b[0] != familyUnix {
		return errForeign
	}
	*s = socket{kind: b[1], state: b[2], inode: uint64(ne.Uint32(b[4:])), cookie: uint64(ne.Uint32(b[8:])) | uint64(ne.Uint32(b[12:]))<<32}
	return attributes(b[unixDiagMsgSize:], func(kind uint16, v []byte) {
		switch kind {
		case unixDiagName:
			if len(v) > 0 && v[0] == 0 {
				v[0] = '@'
			}
			s.name = bytes.TrimRight(v, "\x00")
		case unixDiagPeer:
			if len(v) >= 4 {
				s.peer = uint64(ne.Uint32(v))
			}
		case unixDiagIcons:
			s.waiting = v
		}
	})
}

// decodePacket reads the payload of one message of sock_diag for packet
// sockets, struct packet_diag_msg. They have no address.
func decodePacket(b []byte, s *socket) error {
	if len(b) < packetDiagMsgSize {
		return errShort
	}
	ne := binary.NativeEndian
	if b[0] != familyPacket {
		return errForeign
	}
	*s = socket{proto: event.ProtoPacket, inode: uint64(ne.Uint32(b[4:])), cookie: uint64(ne.Uint32(b[8:])) | uint64(ne.Uint32(b[12:]))<<32}
	return attributes(b[packetDiagMsgSize:], func(kind uint16, v []byte) {
		if kind == packetDiagUID && len(v) >= 4 {
			s.uid = ne.Uint32(v)
		}
	})
}

// decodeRaw reads the payload of one message of sock_diag for raw sockets.
// Their protocol is that in the packets, which is none of those that a socket
// has here; net/ipv4/raw_diag.c gives it as the local port too.
func decodeRaw(b []byte, s *socket) error {
	err := decodeSocket(b, event.ProtoRaw, s)
	s.proto = event.ProtoRaw
	return err
}

// attributes calls f for each attribute (struct nlattr) in b.
func attributes(b []byte, f func(kind uint16, value []byte)) error {
	ne := binary.NativeEndian
	for len(b) >= 4 {
		n := int(ne.Uint16(b))
		if n < 4 || n > len(b) {
			return errShort
		}
		f(ne.Uint16(b[2:])&0x3fff, b[4:n])
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

// messages calls f for each netlink message in a datagram. done reports the
// end of a list; errno is the error that the kernel answered, 0 for none.
func messages(b []byte, f func(kind uint16, payload []byte)) (done bool, errno int32, err error) {
	const (
		nlError = 2 // NLMSG_ERROR
		nlDone  = 3 // NLMSG_DONE
	)
	ne := binary.NativeEndian
	for len(b) >= nlHeaderSize {
		n := int(ne.Uint32(b))
		if n < nlHeaderSize || n > len(b) {
			return true, 0, errShort
		}
		kind, payload := ne.Uint16(b[4:]), b[nlHeaderSize:n]
		switch kind {
		case nlError:
			if len(payload) < 4 {
				return true, 0, errShort
			}
			return true, -int32(ne.Uint32(payload)), nil
		case nlDone:
			// What fails only once the list is asked for, such as a protocol that
			// the kernel has no list of, is told at its end (netlink_dump_done,
			// net/netlink/af_netlink.c).
			if len(payload) >= 4 {
				return true, -int32(ne.Uint32(payload)), nil
			}
			return true, 0, nil
		}
		f(kind, payload)
		b = b[min((n+3)&^3, len(b)):]
	}
	return false, 0, nil
}

// listRequest returns a whole netlink message that asks for all sockets of a
// family and protocol in the given states. Of TCP it asks for the byte counts,
// of Unix sockets for name, peer and who waits to be accepted, of packet sockets for the user.
func listRequest(family, proto byte, states uint32) []byte {
	const requestDump = 0x301 // NLM_F_REQUEST | NLM_F_DUMP
	ne := binary.NativeEndian
	size := inetDiagReqSize
	switch family {
	case familyUnix:
		size = unixDiagReqSize
	case familyPacket:
		size = packetDiagReqSize
	}
	b := make([]byte, nlHeaderSize+size)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], requestDump)
	p := b[nlHeaderSize:]
	p[0], p[1] = family, proto
	switch family {
	case familyPacket: // it has no states, and its protocol must be 0
		const showInfo = 1 // PACKET_SHOW_INFO
		ne.PutUint32(p[8:], showInfo)
		return b
	case familyUnix:
		const showName, showPeer, showIcons = 1, 4, 8 // UDIAG_SHOW_NAME, UDIAG_SHOW_PEER, UDIAG_SHOW_ICONS
		ne.PutUint32(p[4:], states)
		ne.PutUint32(p[12:], showName|showPeer|showIcons)
		return b
	}
	if proto == protoTCP {
		p[2] = 1 << (diagInfo - 1)
	}
	ne.PutUint32(p[4:], states)
	return b
}

// tcpDiagGetSock is TCPDIAG_GETSOCK of include/uapi/linux/inet_diag.h.
const tcpDiagGetSock = 18

// cookieRequest returns a whole netlink message that asks for the TCP sockets
// in the given states, by the older of the two requests that sock_diag knows
// (struct inet_diag_req): it answers for IPv4 and IPv6 in one walk of the
// kernel's table, which is long however few the sockets are
// (inet_diag_dump_compat, net/ipv4/inet_diag.c). It asks for no struct
// tcp_info: the kernel takes the lock of each socket to fill it.
func cookieRequest(states uint32) []byte { return oneWalkRequest(states, 0) }

// oneWalkRequest is such a request with what is asked for of each socket, a bit
// for each of INET_DIAG_INFO and so on.
func oneWalkRequest(states uint32, extensions byte) []byte {
	const requestDump, size, extensionsAt, statesAt = 0x301, 60, 3, 52 // NLM_F_REQUEST | NLM_F_DUMP
	ne := binary.NativeEndian
	b := make([]byte, nlHeaderSize+size)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], tcpDiagGetSock)
	ne.PutUint16(b[6:], requestDump)
	b[nlHeaderSize], b[nlHeaderSize+extensionsAt] = familyInet, extensions
	ne.PutUint32(b[nlHeaderSize+statesAt:], states)
	return b
}
