package netlink

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/org/edamame-posture/pkg/sensor"
)

// recordedUnix are the answers of a 6.18 kernel on amd64 about a listener at an
// abstract name, both ends of a connection to it, one with a connection that it
// has not accepted, and a datagram socket that is connected to another.
var recordedUnix = map[string]string{
	"waited for":      "4400000014000200000000009035000001010a00388d330044861e000000000011000000007265632d6c697374656e657200000008000300398d33000500060000000000",
	"client":          "30000000140002000000000067610000010101008dd83000edfd1d0000000000080002008ed830000500060000000000",
	"accepted":        "44000000140002000000000067610000010101008ed83000f0fd1d000000000011000000007265632d6c697374656e6572000000080002008dd830000500060000000000",
	"listener":        "3c00000014000200000000006761000001010a008cd83000fbfd1d000000000011000000007265632d6c697374656e65720000000500060000000000",
	"datagram server": "3c000000140002000000000067610000010201008fd83000eefd1d0000000000130000002f746d702f7265632d646772616d00000500060000000000",
	"datagram client": "300000001400020000000000676100000102010090d83000effd1d0000000000080002008fd830000500060000000000",
}

func decodeUnixRecorded(t testing.TB, name string) (s socket) {
	t.Helper()
	needLittleEndian(t)
	if _, errno, err := messages(bytesOf(t, recordedUnix[name]), func(_ uint16, p []byte) {
		if err := decodeUnix(p, &s); err != nil {
			t.Error(err)
		}
	}); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	return s
}

func TestARecordedUnixSocketIsDecoded(t *testing.T) {
	const stream = 1 // SOCK_STREAM
	for name, want := range map[string]socket{
		"waited for":      {kind: stream, state: tcpListen, inode: 3378488, cookie: 0x1e8644, name: []byte("@rec-listener"), waiting: []byte{0x39, 0x8d, 0x33, 0}},
		"client":          {kind: stream, state: tcpEstablished, inode: 3201165, peer: 3201166, cookie: 0x1dfded},
		"accepted":        {kind: stream, state: tcpEstablished, inode: 3201166, peer: 3201165, cookie: 0x1dfdf0, name: []byte("@rec-listener")},
		"listener":        {kind: stream, state: tcpListen, inode: 3201164, cookie: 0x1dfdfb, name: []byte("@rec-listener")},
		"datagram server": {kind: socketDatagram, state: tcpEstablished, inode: 3201167, cookie: 0x1dfdee, name: []byte("/tmp/rec-dgram")},
		"datagram client": {kind: socketDatagram, state: tcpEstablished, inode: 3201168, peer: 3201167, cookie: 0x1dfdef},
	} {
		got := decodeUnixRecorded(t, name)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(socket{}, tcpInfo{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// unixRecorder collects what is told of Unix sockets.
func unixRecorder() (*unixSockets, *[]string) {
	var told []string
	u := newUnixSockets(func(r *sensor.Record) { told = append(told, string(r.Path)+" by "+itoa(uint64(r.PID))) }, func() {})
	return u, &told
}

func TestAConnectToANamedUnixSocketIsToldOnceByWhoConnected(t *testing.T) {
	const stream = 1
	client := socket{kind: stream, state: tcpEstablished, cookie: 1, inode: 10, peer: 20}
	accepted := socket{kind: stream, state: tcpEstablished, cookie: 2, inode: 20, peer: 10, name: []byte("/run/docker.sock")}
	listener := socket{kind: stream, state: tcpListen, cookie: 3, inode: 30, name: []byte("/run/docker.sock")}
	waiting := listener // nobody has accepted it yet
	waiting.waiting = binary.NativeEndian.AppendUint32(nil, 10)
	clientWaits := client
	clientWaits.peer = 0
	closed := accepted // who connected has closed it
	closed.peer = 0
	bound, toBound := client, accepted
	bound.name = []byte("@mine")
	server := socket{kind: socketDatagram, state: tcpClose, cookie: 4, inode: 40, name: []byte("/dev/log")}
	writer := socket{kind: socketDatagram, state: tcpEstablished, cookie: 5, inode: 50, peer: 40, name: []byte("@00001")}
	other := socket{kind: socketDatagram, state: tcpEstablished, cookie: 6, inode: 60, name: []byte("/other")}
	moved := writer
	moved.peer = 60
	pair := [2]socket{{kind: stream, state: tcpEstablished, cookie: 7, inode: 70, peer: 71}, {kind: stream, state: tcpEstablished, cookie: 8, inode: 71, peer: 70}}
	mine := map[uint64]owner{10: {pid: 7}, 50: {pid: 8}}

	for name, c := range map[string]struct {
		do   func(round func(owners map[uint64]owner, hurry bool, sockets ...socket))
		want []string
	}{
		"a stream": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(mine, false, client, accepted, listener)
			round(mine, false, listener, accepted, client)
		}, []string{"/run/docker.sock by 7"}},
		"one that is not accepted yet, and then is, and then is closed": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(mine, false, clientWaits, waiting)
			round(mine, false, client, accepted, listener)
			round(mine, false, closed, listener)
		}, []string{"/run/docker.sock by 7"}},
		"one whose listener is gone": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(mine, false, client, accepted)
		}, []string{"/run/docker.sock by 7"}},
		"one by a socket that has a name too": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(mine, false, bound, toBound, listener)
			round(mine, false, toBound, bound, listener)
		}, []string{"/run/docker.sock by 7"}},
		"one that is accepted while the list is made": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(mine, false, waiting, accepted)
			round(mine, false, listener, accepted)
		}, []string{"/run/docker.sock by 7"}},
		"one that who connected had closed when it was first seen": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(mine, false, closed, listener)
		}, nil},
		"an owner that is found only in the third round": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(nil, false, client, accepted)
			round(nil, false, client, accepted)
			round(mine, false, client, accepted)
		}, []string{"/run/docker.sock by 7"}},
		"one that is gone before an owner is found": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(nil, false, client, accepted)
			round(nil, false)
			round(mine, false, client, accepted)
		}, []string{"/run/docker.sock by 0", "/run/docker.sock by 7"}},
		"one for which nobody has time": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(nil, true, client, accepted)
		}, []string{"/run/docker.sock by 0"}},
		"datagrams, connected to one socket and then to another": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(mine, false, writer, server, other)
			round(mine, false, writer, server, other)
			round(mine, false, moved, server, other)
		}, []string{"/dev/log by 8", "/other by 8"}},
		"a pair, and sockets that wait": {func(round func(map[uint64]owner, bool, ...socket)) {
			round(mine, false, pair[0], pair[1], listener, server, other)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			u, told := unixRecorder()
			now := int64(0)
			c.do(func(owners map[uint64]owner, hurry bool, sockets ...socket) {
				now++
				u.begin()
				for i := range sockets {
					u.listed(&sockets[i], false)
				}
				u.end(now)
				u.tell(owners, now, hurry)
			})
			if !slices.Equal(*told, c.want) {
				t.Errorf("told %q, want %q", *told, c.want)
			}
		})
	}
}

func TestUnixConnectionsThatStandAllocateNothing(t *testing.T) {
	u, told := unixRecorder()
	sockets := make([]socket, 0, 400)
	for i := range uint64(200) {
		name := []byte("/run/" + strings.Repeat("n", int(i%64)))
		sockets = append(sockets,
			socket{kind: 1, state: tcpEstablished, cookie: 2*i + 1, inode: 2*i + 1, peer: 2*i + 2},
			socket{kind: 1, state: tcpEstablished, cookie: 2*i + 2, inode: 2*i + 2, peer: 2*i + 1, name: name})
	}
	round := func() {
		u.begin()
		for i := range sockets {
			u.listed(&sockets[i], false)
		}
		u.end(1)
		u.tell(nil, 1, true)
	}
	round()
	round() // both maps have grown
	if n := testing.AllocsPerRun(20, round); n != 0 || len(*told) != 200 {
		t.Errorf("%v allocations in a round, %d told", n, len(*told))
	}
}

func TestMoreUnixSocketsThanThereIsRoomForAreRefused(t *testing.T) {
	u, _ := unixRecorder()
	u.begin()
	s := socket{kind: 1, state: tcpEstablished, peer: 1, name: []byte("n")}
	for i := range unixMax {
		s.cookie = uint64(i)
		if !u.listed(&s, false) {
			t.Fatalf("no room for the socket %d", i)
		}
	}
	if u.listed(&s, false) {
		t.Errorf("there is room for more than %d", unixMax)
	}
}

func FuzzUnixSockets(f *testing.F) {
	var all []byte
	for _, s := range recordedUnix {
		f.Add(mustHex(s))
		all = append(all, mustHex(s)...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		u, told := unixRecorder()
		for range 2 {
			n := 0
			u.begin()
			_, _, _ = messages(slices.Clone(b), func(_ uint16, p []byte) {
				var s socket
				if decodeUnix(p, &s) == nil {
					n += 1 + len(s.waiting)/4
					u.listed(&s, false)
				}
			})
			u.end(1)
			u.want(func(inode uint64, _ uint32) {
				if inode == 0 {
					t.Fatal("nobody holds the inode 0")
				}
			})
			before := len(*told)
			u.tell(nil, 1, true)
			if len(*told)-before > n {
				t.Fatalf("%d sockets, %d told", n, len(*told)-before)
			}
		}
	})
}
