package ebpf

import (
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// serve answers each connection by handle until the test ends.
func serve(t testing.TB, network, addr string, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
		}
	}()
	return l.Addr().String()
}

func hangUp(c net.Conn) { c.Close() }

func TestPayloadIsCountedToTheByte(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		for _, first := range []string{"client", "server"} {
			t.Run(network+", closed first by the "+first, func(t *testing.T) {
				s, rec := arm(t, Options{}, nil)
				done := make(chan struct{})
				addr := "127.0.0.1:0"
				if network == "tcp6" {
					addr = "[::1]:0"
				}
				addr = serve(t, network, addr, func(c net.Conn) {
					defer close(done)
					b := make([]byte, 11)
					_, _ = io.ReadFull(c, b)
					_, _ = io.WriteString(c, "abc")
					if first == "client" {
						// Its end comes after ours: half a close makes it read to the end.
						_ = c.(*net.TCPConn).CloseWrite()
						_, _ = io.Copy(io.Discard, c)
					}
					c.Close()
				})
				pid, _ := perform(t, "exchange", addr)
				<-done
				drain(t, s)
				dst := netip.MustParseAddrPort(addr)
				conn := rec.only(t, "connect", func(r *sensor.Record) bool { return r.Kind == event.Connect && r.Dst == dst })
				if conn.PID != pid || conn.Sock == 0 || conn.Err != 0 || conn.Proto != event.ProtoTCP {
					t.Errorf("connect %+v", conn)
				}
				out := rec.only(t, "flow", func(r *sensor.Record) bool { return r.Kind == event.Flow && r.Sock == conn.Sock })
				if out.PID != pid || out.Sent != 11 || out.Received != 3 || out.Dst != dst || out.Src.Port() == 0 || !out.OK || out.Err != 0 {
					t.Errorf("flow %+v", out)
				}
				acc := rec.only(t, "accept", func(r *sensor.Record) bool { return r.Kind == event.Accept && r.Dst == out.Src })
				if acc.PID != uint32(os.Getpid()) || acc.Src != dst {
					t.Errorf("accept %+v", acc)
				}
				in := rec.only(t, "flow of the other end", func(r *sensor.Record) bool { return r.Kind == event.Flow && r.Sock == acc.Sock })
				if in.PID != uint32(os.Getpid()) || in.Sent != 3 || in.Received != 11 {
					t.Errorf("flow of the other end %+v", in)
				}
			})
		}
	}
}

func TestARefusedConnectIsToldWithItsError(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dst := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	pid, _ := perform(t, "refused", dst.String())
	drain(t, s)
	found := rec.find(func(r *sensor.Record) bool { return r.Kind == event.Connect && r.Dst == dst })
	if len(found) != 2 || found[0].Err != 0 || found[1].Err != int(unix.ECONNREFUSED) ||
		found[0].PID != pid || found[1].PID != pid || found[0].Sock != found[1].Sock {
		t.Errorf("%+v", found)
	}
	if flows := rec.find(func(r *sensor.Record) bool { return r.Kind == event.Flow && r.Dst == dst }); len(flows) != 0 {
		t.Errorf("flows of a connection that never was: %+v", flows)
	}
}

func TestAConnectWithoutARouteIsTold(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	for _, addr := range []string{"192.0.2.1:443", "[2001:db8::1]:443"} {
		cmd := as("refused", addr)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if err := cmd.Run(); err != nil {
			t.Skipf("a network namespace: %v", err)
		}
		drain(t, s)
		// More than one where package net tries again.
		found := rec.find(func(r *sensor.Record) bool { return r.Kind == event.Connect && r.PID == uint32(cmd.Process.Pid) })
		if len(found) == 0 {
			t.Fatalf("%s: nothing was told", addr)
		}
		if r := found[0]; r.Dst.String() != addr || r.Err != int(unix.ENETUNREACH) && r.Err != int(unix.EADDRNOTAVAIL) || r.Proto != event.ProtoTCP {
			t.Errorf("%+v", r)
		}
	}
}

func TestAListenerIsTold(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	addr := netip.MustParseAddrPort(serve(t, "tcp4", "127.0.0.1:0", hangUp))
	drain(t, s)
	l := rec.only(t, "listen", func(r *sensor.Record) bool { return r.Kind == event.Listen && r.Src == addr })
	if l.PID != uint32(os.Getpid()) || l.Dst.IsValid() {
		t.Errorf("%+v", l)
	}
}

func TestEveryConnectOfNoDurationIsSeen(t *testing.T) {
	n := 20000
	if testing.Short() {
		n = 2000
	}
	addr := serve(t, "tcp4", "127.0.0.1:0", hangUp)
	dst := netip.MustParseAddrPort(addr)
	count := map[event.Kind]int{}
	var pid uint32
	socks := map[uint64]struct{ connect, flow bool }{}
	s, _ := arm(t, Options{}, func(r *sensor.Record) bool {
		if r.Dst == dst && (r.Kind == event.Connect || r.Kind == event.Flow) {
			c := socks[r.Sock]
			c.connect = c.connect || r.Kind == event.Connect
			c.flow = c.flow || r.Kind == event.Flow
			socks[r.Sock] = c
			count[r.Kind]++
			pid = r.PID
		}
		return false
	})
	who, _ := perform(t, "connect", addr, strconv.Itoa(n))
	if err := s.Close(); err != nil { // after which nothing comes
		t.Fatal(err)
	}
	if len(socks) != n || count[event.Connect] != n || count[event.Flow] != n || pid != who {
		t.Errorf("%d sockets, %v, by %d, want %d by %d; %+v", len(socks), count, pid, n, who, s.Stats())
	}
	if st := s.Stats(); st.Lost != 0 || st.Undecoded != 0 {
		t.Errorf("%+v", st)
	}
}

// The kernel skips a program on the CPU that runs it already: what a softirq
// does while the state of another connection is told. Each is told all the same,
// and once.
func TestAConnectionThatInterruptsAnotherIsSeen(t *testing.T) {
	const each, atOnce = 2000, 4
	dst := netip.MustParseAddrPort("127.0.0.1:7")
	type life struct{ began, ended int }
	clients, servers := map[uint64]life{}, map[uint64]life{}
	s, _ := arm(t, Options{}, func(r *sensor.Record) bool {
		end := r.Kind == event.Flow && r.OK || r.Kind == event.Connect && r.Err != 0
		switch {
		case r.Dst == dst && (end || r.Kind == event.Connect):
			l := clients[r.Sock]
			if end {
				l.ended++
			} else {
				l.began++
			}
			clients[r.Sock] = l
		case r.Src == dst && end:
			l := servers[r.Sock]
			l.ended++
			servers[r.Sock] = l
		}
		return false
	})
	n := 0
	for round := 0; round < 10 && (round == 0 || s.madeUp() < 3); round++ {
		cmd := as("steered", dst.String(), strconv.Itoa(each), strconv.Itoa(atOnce))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		n += each * atOnce
	}
	interrupted := s.madeUp()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if len(clients) != n || st.Lost+st.Missed+st.Undecoded != 0 {
		t.Errorf("%d connections, want %d; %+v", len(clients), n, st)
	}
	for sock, l := range clients {
		if l.began != 1 || l.ended != 1 {
			t.Errorf("socket %d began %d times and ended %d times", sock, l.began, l.ended)
		}
	}
	for sock, l := range servers {
		if l.ended != 1 {
			t.Errorf("socket %d that was accepted ended %d times", sock, l.ended)
		}
	}
	t.Logf("%d of %d connections interrupted another", interrupted, n)
	if interrupted == 0 {
		t.Skipf("no one of %d connections came while another was told", n)
	}
}

// resolver is an address that nothing else on the machine uses.
const resolver = "127.53.53.53:53"

func answering(t *testing.T) { answeringAt(t, resolver) }

// answeringAt echoes each datagram as a DNS answer, and returns where.
func answeringAt(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Skipf("%s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			b[2] |= 0x80
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
	return c.LocalAddr().String()
}

func TestADNSQuestionAndItsAnswerAreTheAskers(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	answering(t)
	pid, _ := perform(t, "ask", resolver, "evidence.example.com")
	drain(t, s)
	want := question(7, "evidence.example.com")
	q := rec.only(t, "question", func(r *sensor.Record) bool { return r.Kind == event.DNS && !r.OK && r.Dst.String() == resolver })
	if q.PID != pid || !bytes.Equal(q.Payload, want) || q.PayloadLen != len(want) || q.Proto != event.ProtoUDP {
		t.Errorf("question by %d, want %d: %q", q.PID, pid, q.Payload)
	}
	a := rec.only(t, "answer", func(r *sensor.Record) bool { return r.Kind == event.DNS && r.OK && r.Dst.String() == resolver })
	want[2] |= 0x80
	if a.PID != pid || !bytes.Equal(a.Payload, want) || a.Src != q.Src || a.Sock != q.Sock {
		t.Errorf("answer for %d, want %d: %+v", a.PID, pid, a)
	}
}

func TestADNSQuestionOnAnyUDPPortAndItsAnswerAreSeen(t *testing.T) {
	for _, addr := range []string{"127.53.53.53:0", "[::1]:0"} {
		s, rec := arm(t, Options{}, nil)
		addr = answeringAt(t, addr)
		pid, _ := perform(t, "ask", addr, "odd.example.com")
		drain(t, s)
		to := func(k event.Kind, answer bool) func(*sensor.Record) bool {
			return func(r *sensor.Record) bool { return r.Kind == k && r.OK == answer && r.Dst.String() == addr }
		}
		want := question(7, "odd.example.com")
		q := rec.only(t, "question", to(event.DNS, false))
		if q.PID != pid || !bytes.Equal(q.Payload, want) || q.Proto != event.ProtoUDP {
			t.Errorf("question by %d, want %d: %+v", q.PID, pid, q)
		}
		want[2] |= 0x80
		a := rec.only(t, "answer", to(event.DNS, true))
		if a.PID != pid || !bytes.Equal(a.Payload, want) || a.Sock != q.Sock {
			t.Errorf("answer for %d, want %d: %+v", a.PID, pid, a)
		}
		// It is a destination as any other too, and what came is counted.
		var count, sent, received uint64
		for _, r := range rec.find(to(event.Send, false)) {
			count, sent, received = count+r.Count, sent+r.Sent, received+r.Received
		}
		if count != 1 || sent != uint64(len(want)) || received != uint64(len(want)) {
			t.Errorf("%d datagrams, %d bytes sent, %d received, want 1, %d, %d", count, sent, received, len(want), len(want))
		}
	}
}

func TestDatagramsThatDoNotBeginAsDNSAreNotTakenForIt(t *testing.T) {
	good := question(7, "odd.example.com")
	with := func(at int, b byte) []byte {
		m := bytes.Clone(good)
		m[at] = b
		return m
	}
	for _, c := range []struct {
		what    string
		payload []byte
		told    bool
	}{
		{"a question", good, true},
		{"one with all flags but the answer bit and the opcode", append(append(bytes.Clone(good[:2]), 7, 0xff), good[4:]...), true},
		{"one with an OPT record", with(11, 1), true},
		{"the shortest", good[:12+5], true},
		{"too short for a question", good[:12+4], false},
		{"an answer that is sent", with(2, 0x81), false},
		{"another opcode", with(2, 0x29), false},
		{"two questions", with(5, 2), false},
		{"no question", with(5, 0), false},
		{"a question with an answer", with(7, 1), false},
		{"a question with an authority", with(9, 1), false},
		{"one with many records", with(11, 3), false},
		{"nothing", nil, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			s, rec := arm(t, Options{}, nil)
			sink, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			addr := sink.LocalAddr().String()
			from, err := net.Dial("udp4", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer from.Close()
			if _, err := from.Write(c.payload); err != nil {
				t.Fatal(err)
			}
			drain(t, s)
			rec.only(t, "send", func(r *sensor.Record) bool { return r.Kind == event.Send && r.Dst.String() == addr })
			if got := rec.find(func(r *sensor.Record) bool { return r.Kind == event.DNS && r.Dst.String() == addr }); (len(got) == 1) != c.told {
				t.Errorf("told %d times", len(got))
			}
		})
	}
}

func TestADNSMessageOverTCPIsSeen(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	msg := question(9, "tcp.example.com")
	framed := append([]byte{0, byte(len(msg))}, msg...)
	l, err := net.Listen("tcp4", resolver)
	if err != nil {
		t.Skipf("port 53 of a loopback address: %v", err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, len(framed))
		_, _ = io.ReadFull(c, b)
		b[4] |= 0x80
		_, _ = c.Write(b)
	}()
	pid, _ := perform(t, "request", resolver, hex.EncodeToString(framed))
	drain(t, s)
	q := rec.only(t, "question", func(r *sensor.Record) bool { return r.Kind == event.DNS && !r.OK && r.Dst.String() == resolver })
	a := rec.only(t, "answer", func(r *sensor.Record) bool { return r.Kind == event.DNS && r.OK && r.Dst.String() == resolver })
	if q.PID != pid || a.PID != pid || !bytes.Equal(q.Payload, framed) || len(a.Payload) != len(framed) || q.Offset != 0 || a.Offset != 0 || q.Proto != event.ProtoTCP {
		t.Errorf("question %+v\nanswer %+v", q, a)
	}
}

func TestDatagramsAreCountedByDestination(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	addr := c.LocalAddr().String()
	const n = 5000
	pid, _ := perform(t, "datagrams", addr, strconv.Itoa(n))
	drain(t, s)
	var count, sent uint64
	found := rec.find(func(r *sensor.Record) bool { return r.Kind == event.Send && r.Dst.String() == addr })
	for _, r := range found {
		if r.PID != pid || r.Proto != event.ProtoUDP || r.Start == 0 {
			t.Errorf("%+v", r)
		}
		count += r.Count
		sent += r.Sent
	}
	if count != n || sent != n*100 {
		t.Errorf("%d datagrams of %d bytes in %d records, want %d of %d", count, sent, len(found), n, n*100)
	}
	if len(found) > 20 {
		t.Errorf("%d records for one destination", len(found))
	}
}

// What comes from where the process has sent to is counted, to the byte; what a
// stranger sends is not.
func TestDatagramsThatComeAreCountedByWhereTheyComeFrom(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	for _, network := range []string{"udp4", "udp6"} {
		local := map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"}[network]
		server, err := net.ListenPacket(network, local)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		stranger, err := net.ListenPacket(network, local)
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		client, err := net.ListenPacket(network, local)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for range 3 {
			if _, err := client.WriteTo(make([]byte, 40), server.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 50 {
			if _, err := server.WriteTo(make([]byte, 100+i), client.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if _, err := stranger.WriteTo(make([]byte, 7), client.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		drain(t, s)
		sum := func(to net.Addr) (count, sent, received uint64) {
			for _, r := range rec.find(func(r *sensor.Record) bool { return r.Kind == event.Send && r.Dst.String() == to.String() }) {
				if r.PID != uint32(os.Getpid()) {
					t.Errorf("%+v", r)
				}
				count, sent, received = count+r.Count, sent+r.Sent, received+r.Received
			}
			return count, sent, received
		}
		if count, sent, received := sum(server.LocalAddr()); count != 3 || sent != 120 || received != 50*100+49*25 {
			t.Errorf("%s: %d datagrams, %d bytes sent, %d received", network, count, sent, received)
		}
		if count, _, received := sum(stranger.LocalAddr()); count != 0 || received != 0 {
			t.Errorf("%s: %d datagrams to a stranger, %d bytes from it", network, count, received)
		}
	}
}

func TestARawPacketIsSeenWithItsDestination(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 253)
	if err != nil {
		t.Skipf("raw sockets: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, []byte("raw"), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 9, 9, 9}}); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	r := rec.only(t, "send", func(r *sensor.Record) bool { return r.Kind == event.Send && r.Proto == 253 })
	if r.Dst.Addr().String() != "127.9.9.9" || r.PID != uint32(os.Getpid()) || r.Sent != 3 {
		t.Errorf("%+v", r)
	}
}

func TestFirstBytesOfAConnectionAreToldOnce(t *testing.T) {
	hello := "\x16\x03\x01\x07\x00\x01" + strings.Repeat("h", 1786)
	for _, c := range []struct {
		what string
		send string
		kind event.Kind
		want int
	}{
		{"a ClientHello of two segments", hello, event.TLS, len(hello)},
		{"a ClientHello whose record is of no version", "\x16\x0a\xc0" + hello[3:], event.TLS, len(hello)},
		{"a request", "GET /x HTTP/1.1\r\nHost: example.com\r\n\r\n", event.HTTP, 38},
		{"a long request", "POST /x HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 2000), event.HTTP, 4096},
		{"something else", "SSH-2.0-x\r\n", event.Unknown, 0},
		{"a TLS record that is no hello", "\x16\x03\x03\x00\x04\x02\x00\x00\x00", event.Unknown, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			s, rec := arm(t, Options{}, nil)
			addr := serve(t, "tcp4", "127.0.0.1:0", func(conn net.Conn) {
				b := make([]byte, len(c.send))
				_, _ = io.ReadFull(conn, b)
				_, _ = io.WriteString(conn, "GET / is an answer, not a request")
				conn.Close()
			})
			pid, _ := perform(t, "request", addr, hex.EncodeToString([]byte(c.send)))
			drain(t, s)
			found := rec.find(func(r *sensor.Record) bool {
				return (r.Kind == event.TLS || r.Kind == event.HTTP) && r.Dst.String() == addr
			})
			if c.want == 0 {
				if len(found) != 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Kind != c.kind || found[0].PID != pid || string(found[0].Payload) != c.send[:c.want] {
				t.Fatalf("%d records: %+v", len(found), found)
			}
			conn := rec.only(t, "connect", func(r *sensor.Record) bool { return r.Kind == event.Connect && r.Dst.String() == addr })
			if conn.Sock != found[0].Sock {
				t.Errorf("sock %d of the connect, %d of its first bytes", conn.Sock, found[0].Sock)
			}
		})
	}
}

func TestTheMonitorsOwnConnectAndExecAreSeen(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	addr := serve(t, "tcp4", "127.0.0.1:0", hangUp)
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	drain(t, s)
	conn := rec.only(t, "connect", func(r *sensor.Record) bool { return r.Kind == event.Connect && r.Dst.String() == addr })
	if conn.PID != uint32(os.Getpid()) {
		t.Errorf("%+v", conn)
	}
}

func TestDrainGivesAllThatHappenedBefore(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	addr := serve(t, "tcp4", "127.0.0.1:0", hangUp)
	for i := range 200 {
		c, err := net.Dial("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		drain(t, s)
		if n := len(rec.find(func(r *sensor.Record) bool { return r.Kind == event.Connect && r.Dst.String() == addr })); n != i+1 {
			t.Fatalf("%d connects after %d", n, i+1)
		}
		c.Close()
	}
}
