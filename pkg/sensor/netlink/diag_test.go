package netlink

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

func decodeRecorded(t testing.TB, name string) socket {
	t.Helper()
	needLittleEndian(t)
	var s socket
	n := 0
	if _, errno, err := messages(bytesOf(t, recordedSockets[name]), func(kind uint16, p []byte) {
		n++
		if kind != sockDiagByFamily {
			t.Errorf("a message of kind %d", kind)
		}
		if err := decodeSocket(p, event.ProtoTCP, &s); err != nil {
			t.Error(err)
		}
	}); err != nil || errno != 0 || n != 1 {
		t.Fatalf("%d messages, errno %d, %v", n, errno, err)
	}
	return s
}

func TestARecordedSocketIsDecoded(t *testing.T) {
	for name, want := range map[string]socket{
		"listener": {proto: event.ProtoTCP, state: tcpListen, src: netip.MustParseAddrPort("127.0.0.1:56993"), dst: netip.MustParseAddrPort("0.0.0.0:0"),
			cookie: 71168, inode: 1403865, cgroup: 1},
		"client": {proto: event.ProtoTCP, state: tcpClose, src: netip.MustParseAddrPort("127.0.0.1:38686"), dst: netip.MustParseAddrPort("127.0.0.1:56993"), cookie: 71169},
		"server": {proto: event.ProtoTCP, state: tcpClose, src: netip.MustParseAddrPort("127.0.0.1:56993"), dst: netip.MustParseAddrPort("127.0.0.1:38686"), cookie: 71170},
		"udp":    {proto: event.ProtoUDP, state: 1, src: netip.MustParseAddrPort("[::1]:36553"), dst: netip.MustParseAddrPort("[::1]:53"), cookie: 68255},
	} {
		t.Run(name, func(t *testing.T) {
			got := decodeRecorded(t, name)
			want.info = got.info
			if name == "client" || name == "server" || name == "listener" {
				if !got.info.known {
					t.Error("no tcp_info")
				}
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(socket{}, tcpInfo{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPayloadBytesAreThoseThatWentOver(t *testing.T) {
	client, server := decodeRecorded(t, "client"), decodeRecorded(t, "server")
	if client.info.sent() != 3 || server.info.sent() != 11 {
		t.Errorf("sent: client %d, server %d, want 3 and 11", client.info.sent(), server.info.sent())
	}
	// The client closed first and was freed before the server's FIN came; the
	// server was freed after the client's.
	if client.info.received(false) != 11 || server.info.received(true) != 3 {
		t.Errorf("received: client %d, server %d, want 11 and 3", client.info.received(false), server.info.received(true))
	}
}

// recorder collects what a space tells.
func recorder() (*space, *[]string) {
	var told []string
	sp := newSpace(1, nil, func() {}, func() { told = append(told, "blank") })
	sp.emit = func(r *sensor.Record) {
		line := r.Kind.String() + " " + r.Src.String() + ">" + r.Dst.String()
		if r.PID != 0 {
			line += " by 7"
		}
		switch {
		case r.Kind == event.Flow && r.OK:
			line += " end"
			fallthrough
		case r.Kind == event.Flow:
			line += " " + itoa(r.Sent) + "/" + itoa(r.Received)
		case r.Err != 0:
			line += " errno " + itoa(uint64(r.Err))
		}
		told = append(told, line)
	}
	return sp, &told
}

func TestWhatBecomesOfASocketIsTold(t *testing.T) {
	ap := netip.MustParseAddrPort
	client := socket{proto: event.ProtoTCP, state: tcpEstablished, src: ap("127.0.0.1:40000"), dst: ap("192.0.2.1:443"), cookie: 5, inode: 50,
		info: tcpInfo{known: true, bytesAcked: 1, segsIn: 1}}
	listener := socket{proto: event.ProtoTCP, state: tcpListen, src: ap("0.0.0.0:80"), dst: ap("0.0.0.0:0"), cookie: 6, inode: 60}
	server := socket{proto: event.ProtoTCP, state: tcpEstablished, src: ap("127.0.0.1:80"), dst: ap("127.0.0.1:50000"), cookie: 8, inode: 80, info: tcpInfo{known: true, segsIn: 2}}
	mine := map[uint64]owner{50: {pid: 7}, 60: {pid: 7}, 80: {pid: 7}, 90: {pid: 7}}
	round := func(sp *space, now int64, owners map[uint64]owner, sockets ...socket) {
		sp.begin()
		for _, s := range sockets {
			sp.listed(&s, now)
		}
		sp.end(now)
		sp.tell(owners, now, false)
	}
	ended := func(s socket, acked, sent, received uint64, segs uint32) *socket {
		s.state, s.inode = tcpClose, 0
		s.info = tcpInfo{known: true, bytesAcked: acked, bytesSent: sent, bytesReceived: received, segsIn: segs, dataSegsIn: min(uint32(received), 1)}
		return &s
	}
	for name, c := range map[string]struct {
		do   func(*space)
		want []string
	}{
		"a connection with its owner, and its bytes at the end": {func(sp *space) {
			round(sp, 1, nil)
			round(sp, 2, mine, client)
			sp.freed(ended(client, 12, 10, 100, 5), 3)
			round(sp, 4, mine)
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443 by 7", "flow 127.0.0.1:40000>192.0.2.1:443 by 7 end 10/100"}},
		"a connection that no list showed": {func(sp *space) {
			round(sp, 1, nil)
			sp.freed(ended(client, 12, 10, 100, 5), 3)
			round(sp, 4, mine)
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443", "flow 127.0.0.1:40000>192.0.2.1:443 end 10/100"}},
		"an owner that is found only in the third round": {func(sp *space) {
			round(sp, 1, nil)
			round(sp, 2, nil, client)
			round(sp, 3, nil, client)
			round(sp, 4, mine, client)
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443 by 7"}},
		"a connection whose owner is never found": {func(sp *space) {
			round(sp, 1, nil)
			for now := range int64(5) {
				round(sp, 2+now, nil, client)
			}
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443"}},
		"a connect that was refused": {func(sp *space) {
			round(sp, 1, nil)
			sp.freed(ended(client, 0, 0, 0, 1), 3)
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443 errno 111"}},
		"a connect that nobody answered": {func(sp *space) {
			round(sp, 1, nil)
			sp.freed(ended(client, 0, 0, 0, 0), 3)
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443 errno 110"}},
		"a listener and what it accepts": {func(sp *space) {
			round(sp, 1, nil)
			round(sp, 2, mine, listener)
			round(sp, 3, mine, listener, server)
			sp.freed(ended(server, 4, 3, 8, 5), 4)
		}, []string{"listen 0.0.0.0:80>invalid AddrPort by 7", "accept 127.0.0.1:80>127.0.0.1:50000 by 7", "flow 127.0.0.1:80>127.0.0.1:50000 by 7 end 3/7"}},
		"what was there before is not told, but its bytes are": {func(sp *space) {
			round(sp, 1, mine, client)
			round(sp, 2, mine, client)
			sp.freed(ended(client, 12, 10, 0, 5), 3)
		}, []string{"flow 127.0.0.1:40000>192.0.2.1:443 by 7 end 10/0"}},
		"a long connection from time to time, while it moves": {func(sp *space) {
			round(sp, 1, nil)
			round(sp, 2, mine, client)
			moved := client
			moved.info.bytesSent = 7
			round(sp, 6e9, mine, moved)
			round(sp, 12e9, mine, moved)
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443 by 7", "flow 127.0.0.1:40000>192.0.2.1:443 by 7 7/0"}},
		"a living connection when there is no later round": {func(sp *space) {
			round(sp, 1, nil)
			round(sp, 2, mine, client)
			moved := client
			moved.info.bytesSent = 7
			for range 2 {
				sp.begin()
				sp.listed(&moved, 3)
				sp.end(3)
				sp.tell(mine, 3, true)
			}
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443 by 7", "flow 127.0.0.1:40000>192.0.2.1:443 by 7 7/0"}},
		"a socket that the list no longer has, without notices": {func(sp *space) {
			round(sp, 1, nil)
			round(sp, 2, mine, client)
			round(sp, 3, mine)
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443 by 7", "flow 127.0.0.1:40000>192.0.2.1:443 by 7 end 0/0"}},
		"an aborted connection, whose address the kernel wiped": {func(sp *space) {
			round(sp, 1, nil)
			s := ended(client, 0, 0, 0, 0)
			s.dst = ap("0.0.0.0:0")
			sp.freed(s, 2)
		}, []string{"blank"}},
		"a datagram socket that is connected, and one at a port of its own": {func(sp *space) {
			round(sp, 1, nil)
			round(sp, 2, mine,
				socket{proto: event.ProtoUDP, state: tcpEstablished, src: ap("127.0.0.1:50001"), dst: ap("192.0.2.1:53"), cookie: 9, inode: 90},
				socket{proto: event.ProtoUDP, state: tcpClose, src: ap("0.0.0.0:5353"), dst: ap("0.0.0.0:0"), cookie: 10, inode: 50},
				socket{proto: event.ProtoUDP, state: tcpClose, src: ap("0.0.0.0:50002"), dst: ap("0.0.0.0:0"), cookie: 11, inode: 60})
		}, []string{"connect 127.0.0.1:50001>192.0.2.1:53 by 7", "listen 0.0.0.0:5353>invalid AddrPort by 7"}},
		"an orphan keeps its owner": {func(sp *space) {
			round(sp, 1, nil)
			round(sp, 2, mine, client)
			orphan := client
			orphan.inode, orphan.uid, orphan.state = 0, 0, tcpFinWait2
			round(sp, 3, nil, orphan)
			sp.freed(ended(client, 2, 0, 0, 3), 4)
		}, []string{"connect 127.0.0.1:40000>192.0.2.1:443 by 7", "flow 127.0.0.1:40000>192.0.2.1:443 by 7 end 0/0"}},
	} {
		t.Run(name, func(t *testing.T) {
			sp, told := recorder()
			c.do(sp)
			if diff := cmp.Diff(c.want, sorted(*told, c.want)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzSockets(f *testing.F) {
	for _, s := range recordedSockets {
		f.Add(mustHex(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sp, _ := recorder()
		_, _, _ = messages(b, func(_ uint16, p []byte) {
			var s socket
			if decodeSocket(p, event.ProtoTCP, &s) == nil {
				sp.begin()
				sp.listed(&s, 1)
				sp.end(1)
				sp.tell(nil, 1, true)
				sp.freed(&s, 2)
			}
		})
	})
}

const netTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0100007F:C350 0202000A:01BB 01 00000000:00000000 02:00000000 00000000  1000        0 67890 2 0000000000000000 20 4 30 10 -1
   nonsense
`

const netTable6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:0016 0000000000000000FFFF00000100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0000000000000000 100 0 0 10 0
`

func TestTheTablesOfProcAreReadWhereSockDiagIsRefused(t *testing.T) {
	needLittleEndian(t)
	var got []string
	add := func(s *socket) {
		got = append(got, s.src.String()+" "+s.dst.String()+" "+itoa(uint64(s.state))+" "+itoa(uint64(s.uid))+" "+itoa(s.inode))
	}
	if n := parseNetTable([]byte(netTable), event.ProtoTCP, add); n != 1 {
		t.Errorf("%d lines could not be read, want 1", n)
	}
	if n := parseNetTable([]byte(netTable6), event.ProtoTCP, add); n != 0 {
		t.Errorf("%d lines could not be read", n)
	}
	want := []string{
		"127.0.0.1:22 0.0.0.0:0 10 101 12345", "127.0.0.1:50000 10.0.2.2:443 1 1000 67890",
		"[::1]:22 [::]:0 10 0 11", "127.0.0.1:22 127.0.0.1:50000 1 0 12",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheTablesOfThisMachineAreReadWhole(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile("/proc/self/net/" + file)
		if err != nil {
			continue // a kernel without IPv6
		}
		if n := parseNetTable(b, event.ProtoTCP, func(*socket) {}); n != 0 {
			t.Errorf("%s: %d lines could not be read", file, n)
		}
	}
}

func FuzzNetTable(f *testing.F) {
	f.Add([]byte(netTable))
	f.Add([]byte(netTable6))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseNetTable(b, event.ProtoTCP, func(s *socket) {
			if !s.src.IsValid() || !s.dst.IsValid() {
				t.Fatalf("%+v", s)
			}
		})
	})
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// sorted puts told into the order of want where it holds the same lines: what
// one round tells has no order.
func sorted(told, want []string) []string {
	a, b := slices.Clone(told), slices.Clone(want)
	slices.Sort(a)
	slices.Sort(b)
	if slices.Equal(a, b) {
		return want
	}
	return told
}
