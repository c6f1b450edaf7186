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
	m := started(t, "auto")
	defer m.Close()
	if m.SensorName() != "ebpf" {
		t.Skip("the netlink sensor sees no payload")
	}
	const stub, stranger, own = "127.0.0.53:53", "203.0.113.9:53", "127.0.0.77:53"
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
		{"by the job itself, from an address of the machine", "own", own, name, 1,
			[]string{"127.0.0.77 allowed.example.com"}, "192.0.2.77", ""},
		{"by the job itself, from the resolver's address", "own", stub, name, 1,
			[]string{"127.0.0.53 allowed.example.com"}, "192.0.2.77", ""},
		{"by the job itself, with the resolver's address on a packet made by hand", "raw", stub, name, 1,
			[]string{"127.0.0.53 allowed.example.com"}, "192.0.2.77", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			inEmptyNet(t, []string{"203.0.113.9"}, func() {
				forger, err := net.ListenPacket("udp4", stranger)
				if err != nil {
					t.Error(err)
					return
				}
				defer forger.Close()
				forged, answer := dnsMessage(name, [4]byte{192, 0, 2, 66})[2:], dnsMessage(c.asks, [4]byte{192, 0, 2, 1})[2:]
				if c.to == stranger {
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
