package monitor

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/sensor/netlink"
)

func TestASocketThatNobodyToldIsMissedAndNoOtherIs(t *testing.T) {
	connect := func(cookie uint64) *sensor.Record {
		return &sensor.Record{Kind: event.Connect, Proto: event.ProtoTCP, Sock: cookie}
	}
	accept := func(cookie uint64) *sensor.Record {
		return &sensor.Record{Kind: event.Accept, Proto: event.ProtoTCP, Sock: cookie}
	}
	over := func(cookie uint64) *sensor.Record {
		return &sensor.Record{Kind: event.Flow, OK: true, Proto: event.ProtoTCP, Sock: cookie}
	}
	failed := func(cookie uint64, err unix.Errno) *sensor.Record {
		return &sensor.Record{Kind: event.Connect, Proto: event.ProtoTCP, Sock: cookie, Err: int(err)}
	}
	held := func(cookie uint64) netlink.TCPSocket {
		return netlink.TCPSocket{Cookie: cookie, Port: 40000 + uint16(cookie), Held: true}
	}
	queued := netlink.TCPSocket{Cookie: 9, Port: 50000}
	connecting := netlink.TCPSocket{Cookie: 9, Port: 50000, Held: true, Connecting: true}
	listener := netlink.TCPSocket{Cookie: 8, Port: 80, Held: true, Listening: true}
	accepted := netlink.TCPSocket{Cookie: 9, Port: 80, Held: true}
	type list = []netlink.TCPSocket
	// Each step is a list, a record, or a count of lost records. "late" are
	// records that only the drain brings.
	type late []*sensor.Record
	type lost uint64
	for name, c := range map[string]struct {
		steps  []any
		missed int
		both   uint64 // at the end
	}{
		"told by a connect and an accept":                       {[]any{list{}, connect(1), accept(2), list{held(1), held(2)}, list{held(1), held(2)}}, 0, 2},
		"told by nobody":                                        {[]any{list{}, connect(1), list{held(1), held(2)}, list{held(1), held(2)}}, 1, 1},
		"told by nobody, which counts once":                     {[]any{list{}, list{held(2)}, list{held(2)}, list{held(2)}, list{held(2)}}, 1, 0},
		"two that nobody told, one round after the other":       {[]any{list{}, list{held(2)}, list{held(2), held(3)}, list{held(2), held(3)}, list{held(2), held(3)}}, 2, 0},
		"there at arming":                                       {[]any{list{held(1), queued}, list{held(1)}, accept(9), list{held(1), held(9)}}, 0, 2},
		"listed once, before its record":                        {[]any{list{}, list{held(2)}, connect(2), list{held(2)}, list{held(2)}}, 0, 1},
		"told by the drain alone":                               {[]any{list{}, list{held(2)}, list{held(2)}, late{connect(2)}, list{held(2)}, list{held(2)}}, 0, 1},
		"listed once, and gone":                                 {[]any{list{}, list{held(2)}, list{}, list{held(2)}, list{}}, 0, 0},
		"closed between the list and the comparison, each time": {[]any{list{}, connect(2), over(2), list{held(2)}, connect(2), over(2), list{held(2)}, connect(2), over(2), list{held(2)}}, 0, 0},
		"under a cookie that was told, ended, and is not again": {[]any{list{}, connect(2), list{held(2)}, over(2), list{held(2)}, list{held(2)}}, 1, 0},
		"still in the queue of its listener":                    {[]any{list{}, list{queued}, list{queued}, list{queued}}, 0, 0},
		"not connected yet":                                     {[]any{list{}, list{connecting}, list{connecting}, list{connecting}}, 0, 0},
		"accepted by io_uring":                                  {[]any{list{}, list{accepted, listener}, list{accepted, listener}, list{accepted, listener}}, 0, 0},
		"accepted by io_uring, the listener gone":               {[]any{list{}, list{listener}, list{accepted}, list{accepted}, list{accepted}}, 0, 0},
		"accepted by io_uring of a listener that no list had": {[]any{list{},
			&sensor.Record{Kind: event.Listen, Proto: event.ProtoTCP, Src: netip.MustParseAddrPort("0.0.0.0:80")}, list{accepted}, list{accepted}, list{accepted}}, 0, 0},
		"its record lost":                            {[]any{list{}, list{held(2)}, lost(1), list{held(2)}, list{held(2)}, list{held(2)}}, 0, 1},
		"its record lost before the first list":      {[]any{list{}, lost(1), list{held(2)}, list{held(2)}, list{held(2)}}, 0, 1},
		"told by nobody after records were lost":     {[]any{list{}, lost(1), list{}, list{held(2)}, list{held(2)}}, 1, 0},
		"a second connect of it refused":             {[]any{list{}, connect(2), list{held(2)}, failed(2, unix.EACCES), list{held(2)}, list{held(2)}}, 0, 1},
		"refused, and connected by nobody's telling": {[]any{list{}, connect(2), failed(2, unix.ECONNREFUSED), list{held(2)}, list{held(2)}}, 1, 0},
		"told long ago, and never listed":            {[]any{list{}, connect(2), list{}, list{}, list{}, list{}, list{}, list{held(2)}, list{held(2)}}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSockets()
			missed, lostNow, pending := 0, lossTotals{}, false
			finish := func() {
				if pending {
					missed += s.judge(lostNow)
					pending = false
				}
			}
			for _, step := range c.steps {
				switch v := step.(type) {
				case late:
					for _, r := range v {
						s.see(r)
					}
					continue
				}
				finish()
				switch v := step.(type) {
				case *sensor.Record:
					s.see(v)
				case lost:
					lostNow[0] += uint64(v)
				case list:
					pending = s.compare(v, lostNow)
				}
			}
			finish()
			if missed != c.missed || s.both != c.both {
				t.Errorf("%d missed, %d told; want %d and %d", missed, s.both, c.missed, c.both)
			}
		})
	}
}

func TestAMissedSocketThatEndsIsCountedNoMore(t *testing.T) {
	s := newSockets()
	k := []netlink.TCPSocket{{Cookie: 5, Port: 40000, Held: true}}
	s.compare(nil, lossTotals{})
	s.compare(k, lossTotals{})
	if !s.compare(k, lossTotals{}) || s.judge(lossTotals{}) != 1 || len(s.missed) != 1 {
		t.Fatalf("a socket that nobody told: %+v", s.missed)
	}
	if s.compare(nil, lossTotals{}) || len(s.missed) != 0 {
		t.Errorf("it is still counted: %+v", s.missed)
	}
}

// More sockets than there is room for cannot be compared, and those that did
// not fit are not held against anyone.
func TestSocketsForWhichThereWasNoRoomAreNotMissed(t *testing.T) {
	s := newSockets()
	s.compare(nil, lossTotals{})
	for i := range uint64(toldMax + 1) {
		s.see(&sensor.Record{Kind: event.Connect, Proto: event.ProtoTCP, Sock: i + 1})
	}
	if len(s.told) > toldMax {
		t.Fatalf("%d sockets are kept", len(s.told))
	}
	last := []netlink.TCPSocket{{Cookie: toldMax + 1, Port: 40000, Held: true}}
	for range forgetAfter {
		if s.compare(last, lossTotals{}) {
			t.Fatal("the one that did not fit is missed")
		}
	}
	if s.compare(last, lossTotals{}); len(s.told) != 1 {
		t.Errorf("%d sockets are kept that no list had", len(s.told)-1)
	}
}

func cookieOf(t *testing.T, c net.Conn) (cookie uint64) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) })
	if err != nil || cookie == 0 {
		t.Fatal("no cookie:", err)
	}
	return cookie
}

func (m *Monitor) listRound() {
	m.rounds.Lock()
	defer m.rounds.Unlock()
	m.compareSockets(lossesOf(m.primary.Stats()))
}

func TestBusySocketsAreAllTold(t *testing.T) {
	m := started(t, "ebpf")
	defer m.Close()
	if m.second == nil {
		t.Skip("no second witness")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var made atomic.Uint64
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_, _ = c.Read(make([]byte, 1)) // until the other side closes
				c.Close()
			})
		}
	})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			var open [8]net.Conn
			for i := 0; !stop.Load(); i++ {
				at := i % len(open)
				if open[at] != nil {
					open[at].Close()
				}
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				made.Add(1)
				open[at] = c
			}
			for _, c := range open {
				if c != nil {
					c.Close()
				}
			}
		})
	}
	compared, most := 0, uint64(0)
	for range 300 {
		m.listRound()
		m.mu.Lock()
		if m.sockets.compared {
			compared++
		}
		most = max(most, m.sockets.both)
		if m.witness.disagree || len(m.sockets.missed) > 0 {
			t.Errorf("%d sockets count as missed: %v", len(m.sockets.missed), m.sockets.missed)
		}
		m.mu.Unlock()
	}
	stop.Store(true)
	callers.Wait()
	ln.Close()
	all.Wait()
	t.Logf("%d connections, %d rounds compared, up to %d sockets at a time", made.Load(), compared, most)
	if compared < 200 || most < 8 || made.Load() < 300 {
		t.Errorf("%d rounds of 300 compared, at most %d sockets, %d connections: the test has not seen enough", compared, most, made.Load())
	}
}

func TestAConnectionThatTheSensorDidNotTellMakesTheWitnessesDisagree(t *testing.T) {
	m := started(t, "ebpf")
	defer m.Close()
	if m.second == nil {
		t.Skip("no second witness")
	}
	r, err := m.Open(Opening{Command: []string{"true"}, Cwd: "/", Home: "/root"}, m.self)
	if err != nil {
		t.Fatal(err)
	}
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
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if err := m.settle(); err != nil {
		t.Fatal(err)
	}
	m.listRound()
	m.mu.Lock()
	for _, conn := range []net.Conn{c, accepted} {
		cookie := cookieOf(t, conn)
		if _, told := m.sockets.told[cookie]; !told {
			t.Errorf("the sensor did not tell of socket %d", cookie)
		}
		// As if a program had kept the record from us.
		delete(m.sockets.told, cookie)
	}
	m.mu.Unlock()
	m.finish(r, Closing{}, "")
	m.mu.Lock()
	_, missed := m.sockets.missed[cookieOf(t, c)]
	if n := len(m.sockets.missed); !missed || n != 1 || !m.witness.disagree {
		t.Errorf("%d sockets missed, the one that was not told among them: %v; disagree: %v", n, missed, m.witness.disagree)
	}
	m.mu.Unlock()
	said := false
	for _, ev := range events(t, r) {
		for _, n := range ev.Counts {
			if ev.Kind == event.Witness && n.What.String() == "socket" && n.Netlink == n.EBPF+1 && !ev.OK {
				said = true
			}
		}
	}
	if !said {
		t.Error("no witness event says that a socket was missed")
	}
}
