package netlink

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"

	"github.com/org/edamame-posture/pkg/event"
)

// parseNetTable reads /proc/PID/net/{tcp,tcp6,udp,udp6,raw,raw6},
// proc_pid_net(5), and calls f for each socket. It is the way where sock_diag is refused, and tells
// of no bytes and no cookie. Lines that cannot be read are counted.
func parseNetTable(b []byte, proto event.Proto, f func(*socket)) (undecoded int) {
	header := true
	for line := range bytes.Lines(b) {
		if header {
			header = false
			continue
		}
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		w := bytes.Fields(line)
		if len(w) == 0 {
			continue
		}
		s := socket{proto: proto}
		if len(w) < 10 {
			undecoded++
			continue
		}
		var ok1, ok2 bool
		s.src, ok1 = parseHexAddr(w[1])
		s.dst, ok2 = parseHexAddr(w[2])
		state, err1 := strconv.ParseUint(string(w[3]), 16, 8)
		uid, err2 := strconv.ParseUint(string(w[7]), 10, 32)
		inode, err3 := strconv.ParseUint(string(w[9]), 10, 64)
		if !ok1 || !ok2 || err1 != nil || err2 != nil || err3 != nil {
			undecoded++
			continue
		}
		s.state, s.uid, s.inode = uint8(state), uint32(uid), inode
		f(&s)
	}
	return undecoded
}

// parsePacketTable reads /proc/PID/net/packet (packet_seq_show of
// net/packet/af_packet.c) and calls f for each socket. It is the way where
// packet_diag is refused. Lines that cannot be read are counted.
func parsePacketTable(b []byte, f func(*socket)) (undecoded int) {
	header := true
	for line := range bytes.Lines(b) {
		if header {
			header = false
			continue
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		// sk RefCnt Type Proto Iface R Rmem User Inode
		rest, last := cutLast(line)
		_, user := cutLast(rest)
		inode, ok1 := number(last)
		uid, ok2 := number(user)
		if !ok1 || !ok2 || inode == 0 || uid>>32 != 0 {
			undecoded++
			continue
		}
		f(&socket{proto: event.ProtoPacket, uid: uint32(uid), inode: inode})
	}
	return undecoded
}

// cutLast returns the last word of a line, and what is before it.
func cutLast(line []byte) (before, word []byte) {
	i := bytes.LastIndexByte(line, ' ')
	return bytes.TrimRight(line[:max(i, 0)], " "), line[i+1:]
}

// parseHexAddr reads an address as the kernel prints it: 32-bit words in the
// machine's byte order, a colon, the port.
func parseHexAddr(b []byte) (netip.AddrPort, bool) {
	var raw [16]byte
	addr, port, ok := bytes.Cut(b, []byte{':'})
	if !ok || len(addr) != 8 && len(addr) != 32 || len(port) != 4 {
		return netip.AddrPort{}, false
	}
	n, err := hex.Decode(raw[:], addr)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for i := 0; i < n; i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	p, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	if n == 4 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[:4])), uint16(p)), true
	}
	return netip.AddrPortFrom(netip.AddrFrom16(raw).Unmap(), uint16(p)), true
}
