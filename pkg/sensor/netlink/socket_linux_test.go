package netlink

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// playNetwork serves and calls itself in the network namespace that it was
// started in, and ends with 0.
func playNetwork() {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	fail(err)
	up, err := unix.NewIfreq("lo")
	fail(err)
	up.SetUint16(unix.IFF_UP)
	fail(unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up))
	ln, err := net.Listen("tcp4", "127.0.0.1:7777")
	fail(err)
	time.Sleep(300 * time.Millisecond)
	go func() {
		c, err := ln.Accept()
		fail(err)
		_, _ = c.Write(make([]byte, 12345))
		c.Close()
	}()
	c, err := net.Dial("tcp4", "127.0.0.1:7777")
	fail(err)
	buf := make([]byte, 1<<16)
	for {
		if _, err := c.Read(buf); err != nil {
			break
		}
	}
	time.Sleep(300 * time.Millisecond)
	c.Close()
	time.Sleep(100 * time.Millisecond)
	os.Exit(0)
}

// waitFor drains until a record matches, for a second at most.
func waitFor(t *testing.T, s *Sensor, l *log, what string, match func(*sensor.Record) bool) sensor.Record {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Second); ; {
		drain(t, s)
		if r := l.find(match); len(r) > 0 {
			return r[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("no record: %s", what)
		}
	}
}

func TestAConnectionIsToldWithOwnerAndBytes(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	self := uint32(os.Getpid())
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			host := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
			ln, err := net.Listen(network, host)
			if err != nil {
				t.Skipf("needs %s: %v", network, err)
			}
			defer ln.Close()
			port := uint16(ln.Addr().(*net.TCPAddr).Port)
			waitFor(t, s, &l, "the listener", func(r *sensor.Record) bool {
				return r.Kind == event.Listen && r.Src.Port() == port && r.PID == self && r.Proto == event.ProtoTCP
			})
			client, err := net.Dial(network, ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			server, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			connect := waitFor(t, s, &l, "the connect", func(r *sensor.Record) bool { return r.Kind == event.Connect && r.Dst.Port() == port })
			accept := waitFor(t, s, &l, "the accept", func(r *sensor.Record) bool { return r.Kind == event.Accept && r.Src.Port() == port })
			if connect.PID != self || accept.PID != self || connect.Sock == 0 || connect.Src != accept.Dst || connect.Start == 0 {
				t.Errorf("connect %+v, accept %+v", connect, accept)
			}
			// Out: 100,000 bytes in many writes; back: 11.
			go func() {
				for range 100 {
					_, _ = client.Write(make([]byte, 1000))
				}
				_ = client.(*net.TCPConn).CloseWrite()
			}()
			buf := make([]byte, 4096)
			for got := 0; got < 100000; {
				n, err := server.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				got += n
			}
			if _, err := server.Write([]byte("hello world")); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Read(buf); err != nil {
				t.Fatal(err)
			}
			drain(t, s) // a list shows who has closed
			server.Close()
			drain(t, s)
			client.Close()
			end := func(sock uint64) func(*sensor.Record) bool {
				return func(r *sensor.Record) bool { return r.Kind == event.Flow && r.OK && r.Sock == sock }
			}
			for _, c := range []struct {
				who            string
				sock           uint64
				sent, received uint64
			}{{"client", connect.Sock, 100000, 11}, {"server", accept.Sock, 11, 100000}} {
				r := waitFor(t, s, &l, "the end of the "+c.who, end(c.sock))
				if r.Sent != c.sent || r.Received != c.received || r.PID != self {
					t.Errorf("%s: sent %d, received %d by %d, want %d and %d", c.who, r.Sent, r.Received, r.PID, c.sent, c.received)
				}
			}
		})
	}
}

func TestTheBytesOfALivingConnectionAreToldWithItsProcess(t *testing.T) {
	var l log
	s := start(t, Options{flows: 20 * time.Millisecond}, l.sink)
	self := uint32(os.Getpid())
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	connect := waitFor(t, s, &l, "the connect", func(r *sensor.Record) bool { return r.Kind == event.Connect && r.Dst.Port() == port })
	pass := func(from, to net.Conn, n int) {
		t.Helper()
		if _, err := from.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing goes through it at first, and nothing is told. Then the totals so
	// far are, of both ends, while nobody closes it.
	for _, want := range []struct{ out, back, sent, received uint64 }{{30000, 7, 30000, 7}, {12345, 0, 42345, 7}} {
		pass(client, server, int(want.out))
		pass(server, client, int(want.back))
		for _, end := range []struct {
			port           uint16
			sent, received uint64
		}{{connect.Src.Port(), want.sent, want.received}, {port, want.received, want.sent}} {
			r := waitFor(t, s, &l, "the bytes so far", func(r *sensor.Record) bool {
				return r.Kind == event.Flow && r.Src.Port() == end.port && (r.Dst.Port() == port || end.port == port && r.Dst == connect.Src) &&
					r.Sent == end.sent && r.Received == end.received
			})
			if r.OK || r.PID != self || r.Start == 0 || r.Sock == 0 {
				t.Errorf("%+v", r)
			}
		}
	}
	totals := map[[3]uint64]int{}
	for _, r := range l.find(func(r *sensor.Record) bool { return r.Kind == event.Flow && r.Sock == connect.Sock }) {
		totals[[3]uint64{r.Sock, r.Sent, r.Received}]++
	}
	for what, n := range totals {
		if n > 1 || what[1] == 0 {
			t.Errorf("%v is told %d times", what, n)
		}
	}
}

func TestARefusedConnectAndAQuestionByUDPAreTold(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	ln.Close() // nobody listens there now
	if c, err := net.Dial("tcp4", addr); err == nil {
		c.Close()
		t.Skip("somebody else took the port")
	}
	r := waitFor(t, s, &l, "the refused connect", func(r *sensor.Record) bool { return r.Kind == event.Connect && r.Dst.Port() == port })
	if r.Err != int(unix.ECONNREFUSED) {
		t.Errorf("errno is %d", r.Err)
	}
	// A resolver's way: connect, send, close at once.
	u, err := net.Dial("udp4", "127.0.0.1:5399")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = u.Write([]byte("?"))
	u.Close()
	waitFor(t, s, &l, "the UDP connect", func(r *sensor.Record) bool {
		return r.Kind == event.Connect && r.Proto == event.ProtoUDP && r.Dst.Port() == 5399
	})
}

// playUnix connects to the Unix socket that UNIX_TEST_NAME names, and holds the
// connection. A network name (unix, unixgram, unixpacket) may stand before it.
func playUnix() {
	network, name, _ := strings.Cut(os.Getenv("UNIX_TEST_NAME"), " ")
	c, err := net.Dial(network, name)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer c.Close()
	hold()
}

func TestAConnectToANamedUnixSocketIsToldWithWhoConnected(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		network, name string
		attr          *syscall.SysProcAttr
	}{
		"by path":                   {"unix", filepath.Join(dir, "docker.sock"), nil},
		"by abstract name":          {"unix", "@posture-netlink-test", nil},
		"by abstract name, records": {"unixpacket", "@posture-netlink-test-records", nil},
		"datagrams":                 {"unixgram", filepath.Join(dir, "log.sock"), nil},
		"from another network namespace": {"unix", filepath.Join(dir, "outside.sock"),
			&syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}},
	} {
		t.Run(name, func(t *testing.T) {
			var l log
			s := start(t, Options{}, l.sink)
			var err error
			if c.network == "unixgram" {
				var server *net.UnixConn
				server, err = net.ListenUnixgram(c.network, &net.UnixAddr{Name: c.name, Net: c.network})
				if err == nil {
					defer server.Close()
				}
			} else {
				var ln net.Listener
				ln, err = net.Listen(c.network, c.name) // nobody accepts
				if err == nil {
					defer ln.Close()
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("UNIX_TEST_NAME", c.network+" "+c.name)
			pid, release := held(t, "unix", c.attr)
			r := waitFor(t, s, &l, "the connect to "+c.name, func(r *sensor.Record) bool { return r.Kind == event.Unix && string(r.Path) == c.name })
			if r.PID != uint32(pid) || r.Start == 0 {
				t.Errorf("it is told as done by %d (%d), want %d", r.PID, r.Start, pid)
			}
			drain(t, s)
			release()
			drain(t, s)
			if n := len(l.find(func(r *sensor.Record) bool { return r.Kind == event.Unix && string(r.Path) == c.name })); n != 1 {
				t.Errorf("it is told %d times", n)
			}
		})
	}
}

func TestSocketsInAnotherNetworkNamespaceAreTold(t *testing.T) {
	var l log
	s := start(t, Options{}, l.sink)
	cmd := helper("network")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out := &strings.Builder{}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	drain(t, s)
	pid := cmd.Process.Pid
	if r := l.of(pid, event.Listen); len(r) != 1 || r[0].Src.String() != "127.0.0.1:7777" {
		t.Errorf("listen: %+v", r)
	}
	r := l.of(pid, event.Connect)
	if len(r) != 1 || r[0].Dst.String() != "127.0.0.1:7777" {
		t.Fatalf("connect: %+v", r)
	}
	ends := l.find(func(f *sensor.Record) bool { return f.Kind == event.Flow && f.OK && f.Sock == r[0].Sock })
	if len(ends) != 1 || ends[0].Received != 12345 || ends[0].PID != uint32(pid) {
		t.Errorf("end: %+v", ends)
	}
}

func TestAWitnessListsWhatIsConnectedAndWhoHoldsIt(t *testing.T) {
	s := start(t, Options{WitnessOnly: true}, func(*sensor.Record) {})
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			ln, err := net.Listen(network, map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network])
			if err != nil {
				t.Skip(err) // a machine without IPv6
			}
			defer ln.Close()
			raw, err := net.Dial(network, ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			port := func(a net.Addr) uint16 { return uint16(a.(*net.TCPAddr).Port) }
			var cookie uint64
			conn, _ := raw.(*net.TCPConn).SyscallConn()
			_ = conn.Control(func(fd uintptr) { cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) })
			if err != nil {
				t.Fatal(err)
			}
			look := func() (all []TCPSocket) {
				t.Helper()
				cut, err := s.TCPSockets(func(k TCPSocket) {
					if k.Port == port(ln.Addr()) || k.Cookie == cookie {
						all = append(all, k)
					}
				})
				if cut || err != nil {
					t.Fatal(cut, err)
				}
				return all
			}
			has := func(all []TCPSocket, what string, want func(TCPSocket) bool) {
				t.Helper()
				for _, k := range all {
					if want(k) {
						return
					}
				}
				t.Errorf("no %s: %+v", what, all)
			}
			// Nobody accepts before the list is read.
			all := look()
			has(all, "listener", func(k TCPSocket) bool { return k.Listening })
			has(all, "client", func(k TCPSocket) bool {
				return k.Cookie == cookie && k.Held && !k.Listening && !k.Connecting && k.Port == port(raw.LocalAddr())
			})
			has(all, "connection in the listener's queue", func(k TCPSocket) bool { return !k.Listening && !k.Held && k.Port == port(ln.Addr()) })
			accepted, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			has(look(), "accepted connection", func(k TCPSocket) bool { return !k.Listening && k.Held && k.Port == port(ln.Addr()) })
		})
	}
}

func TestAListThatIsTooLongIsCutAndTheNextOneIsReadFromItsBeginning(t *testing.T) {
	s := start(t, Options{WitnessOnly: true}, func(*sensor.Record) {})
	s.lister.most = 1
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := 0
	count := func(k TCPSocket) {
		if !k.Listening {
			n++
		}
	}
	if cut, err := s.TCPSockets(count); !cut || err != nil || n != 1 {
		t.Fatalf("%d sockets, cut %v, %v; want 1 and a cut list", n, cut, err)
	}
	n, s.lister.most = 0, socketsMax
	if cut, err := s.TCPSockets(count); cut || err != nil || n < 2 {
		t.Fatalf("%d sockets, cut %v, %v; want both ends of a connection", n, cut, err)
	}
}
