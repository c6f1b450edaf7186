package monitor

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/sensor"
)

// askVariable makes this test's own binary ask for a name over a UDP socket
// that takes answers from anybody: its arguments are the resolver, the name
// and how many answers it waits for. Where the variable is "own", it answers
// itself, from the resolver's address.
const askVariable = "POSTURE_TEST_ASK"

func askFor(mode, resolver, name, answers string) error {
	n, err := strconv.Atoi(answers)
	if err != nil {
		return err
	}
	to, err := net.ResolveUDPAddr("udp4", resolver)
	if err != nil {
		return err
	}
	if mode == "own" {
		server, err := net.ListenUDP("udp4", to)
		if err != nil {
			return err
		}
		defer server.Close()
		go func() {
			b := make([]byte, 512)
			if _, from, err := server.ReadFrom(b); err == nil {
				_, _ = server.WriteTo(dnsMessage(name, [4]byte{192, 0, 2, 77})[2:], from)
			}
		}()
	}
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.WriteTo(dnsMessage(name)[2:], to); err != nil {
		return err
	}
	if mode == "raw" {
		port := c.LocalAddr().(*net.UDPAddr).Port
		if err := sendByHand(to, port, dnsMessage(name, [4]byte{192, 0, 2, 77})[2:]); err != nil {
			return err
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	b := make([]byte, 512)
	for range n {
		if _, _, err := c.ReadFrom(b); err != nil {
			return err
		}
	}
	return nil
}

// sendByHand sends a datagram to a port of the loopback as if it came from an
// address.
func sendByHand(from *net.UDPAddr, port int, payload []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(b[12:], from.IP.To4())
	copy(b[16:], []byte{127, 0, 0, 1})
	binary.BigEndian.PutUint16(b[20:], uint16(from.Port))
	binary.BigEndian.PutUint16(b[22:], uint16(port))
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return unix.Sendto(fd, append(b, payload...), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
}

// inEmptyNet runs f on a thread of its own in a network namespace that has the
// loopback and the given addresses on it. What f starts is there too.
func inEmptyNet(t *testing.T, addrs []string, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		for _, args := range append([][]string{{"link", "set", "lo", "up"}}, addrArgs(addrs)...) {
			if err != nil {
				break
			}
			if out, e := exec.Command("ip", args...).CombinedOutput(); e != nil {
				err = fmt.Errorf("ip %q: %w %s", args, e, out)
			}
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skipf("a network namespace: %v", err)
	}
}

func addrArgs(addrs []string) (args [][]string) {
	for _, a := range addrs {
		args = append(args, []string{"addr", "add", a + "/32", "dev", "lo"})
	}
	return args
}

// A forged answer for an allowed name must not give an address that name: it
// ends as a claim, and backs nothing that a client says.
func TestAForgedAnswerOverUDPIsAClaim(t *testing.T) {
	m := payloads(t)
	const stub, stranger, own, odd = "127.0.0.53:53", "203.0.113.9:53", "127.0.0.77:53", "127.0.0.53:5300"
	const name, other = "allowed.example.com", "other.example.com"
	for _, c := range []struct {
		what             string
		mode, to         string
		asks             string
		answers          int
		told             []string // by whom, and how
		claimed, genuine string   // addresses
	}{
		{"by an address that is no resolver, to a question for the resolver", "ask", stub, name, 2,
			[]string{"203.0.113.9 allowed.example.com", "127.0.0.53 allowed.example.com"}, "192.0.2.66", "192.0.2.1"},
		{"in the resolver's name, to a question that nobody asked", "ask", stub, other, 2,
			[]string{"127.0.0.53 allowed.example.com unasked", "127.0.0.53 other.example.com"}, "192.0.2.66", "192.0.2.1"},
		{"by a resolver of the job's choice", "ask", stranger, name, 1,
			[]string{"203.0.113.9 allowed.example.com"}, "192.0.2.66", ""},
		{"by the resolver's address on another port", "ask", odd, name, 1,
			[]string{"127.0.0.53 allowed.example.com not on port 53"}, "192.0.2.66", ""},
		{"by the job itself, from an address of the machine", "own", own, name, 1,
			[]string{"127.0.0.77 allowed.example.com"}, "192.0.2.77", ""},
		{"by the job itself, from the resolver's address", "own", stub, name, 1,
			[]string{"127.0.0.53 allowed.example.com"}, "192.0.2.77", ""},
		{"by the job itself, with the resolver's address on a packet made by hand", "raw", stub, name, 1,
			[]string{"127.0.0.53 allowed.example.com"}, "192.0.2.77", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			inEmptyNet(t, []string{"203.0.113.9"}, func() {
				at := stranger
				if c.to == odd {
					at = odd
				}
				forger, err := net.ListenPacket("udp4", at)
				if err != nil {
					t.Error(err)
					return
				}
				defer forger.Close()
				forged, answer := dnsMessage(name, [4]byte{192, 0, 2, 66})[2:], dnsMessage(c.asks, [4]byte{192, 0, 2, 1})[2:]
				if c.to == at {
					go func() {
						b := make([]byte, 512)
						if _, from, err := forger.ReadFrom(b); err == nil {
							_, _ = forger.WriteTo(forged, from)
						}
					}()
				}
				if c.mode == "raw" {
					// The resolver gets the question, and is slower.
					resolver, err := net.ListenPacket("udp4", stub)
					if err != nil {
						t.Error(err)
						return
					}
					defer resolver.Close()
				}
				if c.mode == "ask" {
					resolver, err := net.ListenPacket("udp4", stub)
					if err != nil {
						t.Error(err)
						return
					}
					defer resolver.Close()
					go func() {
						b := make([]byte, 512)
						_, from, err := resolver.ReadFrom(b)
						if err != nil {
							return
						}
						if c.asks == other {
							_, _ = resolver.WriteTo(forged, from)
						} else {
							_, _ = forger.WriteTo(forged, from)
						}
						_, _ = resolver.WriteTo(answer, from)
					}()
				}
				r, err := m.Open(Opening{Command: []string{"x"}, Home: "/root"}, uint32(os.Getpid()))
				if err != nil {
					t.Error(err)
					return
				}
				cmd := exec.Command("/proc/self/exe", c.to, c.asks, strconv.Itoa(c.answers))
				cmd.Env = append(os.Environ(), askVariable+"="+c.mode)
				out, err := cmd.CombinedOutput()
				m.finish(r, Closing{}, "")
				if err != nil {
					t.Errorf("%v %s", err, out)
					return
				}
				var told []string
				var asker event.Actor
				for _, e := range events(t, r) {
					if e.Kind == event.DNS && e.OK && e.Actor.PID == uint32(cmd.Process.Pid) {
						told = append(told, strings.TrimSpace(fmt.Sprint(e.Dst.Addr(), " ", e.Name, " ", e.Detail)))
						asker = e.Actor
					}
				}
				if !slices.Equal(told, c.told) {
					t.Errorf("answers %q, want %q", told, c.told)
				}
				if n := r.judge.Names().Lookup(asker, netip.MustParseAddr(c.claimed), 0); n.How.String() != "claimed-dns" || n.Backed || n.Name.String() != name {
					t.Errorf("the forged answer gives %+v", n)
				}
				if c.genuine != "" {
					if n := r.judge.Names().Lookup(asker, netip.MustParseAddr(c.genuine), 0); n.How.String() != "dns" || n.Name.String() != c.asks {
						t.Errorf("the true answer gives %+v", n)
					}
				}
			})
		})
	}
}

// The sensor only guesses by the header what goes to another port: what turns
// out to be no question, or no answer, is not told as one.
func TestWhatOnlyBeginsAsDNSOnAnotherPortIsNotTold(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	r := opened(t, m, "x")
	question, answer := dnsMessage("odd.example.com")[2:], dnsMessage("odd.example.com", [4]byte{192, 0, 2, 1})[2:]
	class := func(b []byte, n byte) []byte {
		b = slices.Clone(b)
		b[len(b)-1] = n
		return b
	}
	multicast := class(question, 1)
	multicast[len(multicast)-2] = 0x80
	var want []string
	for i, c := range []struct {
		payload []byte
		answer  bool
		port    uint16
		told    string
	}{
		{question, false, 5300, "not on port 53"},
		{multicast, false, 5353, "not on port 53"},
		{answer, true, 5300, "not on port 53"},
		{answer, true, 5301, "unasked"}, // on another socket
		{question, true, 5300, ""},
		{class(question, 7), false, 5300, ""},
		{question[:len(question)-1], false, 5300, ""},
		{append(slices.Clone(question[:12]), 0x80, 0, 0, 1, 0, 1), false, 5300, ""},
		{[]byte("not DNS at all"), false, 5300, ""},
		{[]byte("not DNS at all"), false, 53, "not a DNS message"},
		{class(question, 7), false, 53, "-"},
	} {
		rec := sensor.Record{Kind: event.DNS, Proto: event.ProtoUDP, OK: c.answer, Sock: uint64(c.port), Payload: c.payload, PayloadLen: len(c.payload),
			Dst: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.53"), c.port), Time: int64(i)}
		m.locked(func() { r.record(&rec, &process.Process{}, nil, event.ViaLineage) })
		if c.told != "" {
			want = append(want, fmt.Sprint(c.port, " ", strings.Trim(c.told, "-")))
		}
	}
	m.finish(r, Closing{}, "")
	var got []string
	for _, e := range events(t, r) {
		if e.Kind == event.DNS && e.Dst.Addr().String() == "192.0.2.53" {
			got = append(got, fmt.Sprint(e.Dst.Port(), " ", e.Detail))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}
