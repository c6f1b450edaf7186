package netlink

import (
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// recordedPackets are the answers of a 6.18 kernel on amd64: its list of packet
// sockets, with one in it; the end of that list; and the end of a list of raw
// sockets, which this kernel does not have.
var recordedPackets = map[string]string{
	"packet": "440000001400020000000000676100001103000087d83000ecfd1d00000000001c0000000000000000000000000000000000000000000000000000000800050000000000",
	"end":    "1400000003000200000000006761000000000000",
	"no raw": "14000000030002000000000067610000feffffff",
}

const packetTable = `sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000005e6045f 2      3    0003   0     1 0      1000   3201159
00000000e81e0000 2      2    0800   12    0 4294967295 0      17
nonsense
`

func TestARecordedPacketSocketIsDecoded(t *testing.T) {
	needLittleEndian(t)
	n := 0
	if done, errno, err := messages(bytesOf(t, recordedPackets["packet"]), func(_ uint16, p []byte) {
		n++
		var s socket
		if err := decodePacket(p, &s); err != nil {
			t.Error(err)
		}
		if s.proto != event.ProtoPacket || s.inode != 3201159 || s.cookie != 0x1dfdec || s.uid != 0 {
			t.Errorf("%+v", s)
		}
	}); done || errno != 0 || err != nil || n != 1 {
		t.Errorf("%d messages, done %v, errno %d, %v", n, done, errno, err)
	}
}

func TestAListThatTheKernelDoesNotHaveIsNotAnEmptyOne(t *testing.T) {
	needLittleEndian(t)
	const noEntry = 2 // ENOENT
	for name, want := range map[string]int32{"end": 0, "no raw": noEntry} {
		if done, errno, err := messages(bytesOf(t, recordedPackets[name]), func(uint16, []byte) {}); !done || errno != want || err != nil {
			t.Errorf("%s: done %v, errno %d, %v; want errno %d", name, done, errno, err, want)
		}
	}
}

func TestThePacketSocketsOfATableAreRead(t *testing.T) {
	var got []string
	if n := parsePacketTable([]byte(packetTable), func(s *socket) {
		if s.proto != event.ProtoPacket {
			t.Errorf("%+v", s)
		}
		got = append(got, itoa(s.inode)+" of "+itoa(uint64(s.uid)))
	}); n != 1 {
		t.Errorf("%d lines could not be read, want 1", n)
	}
	if told := strings.Join(got, ", "); told != "3201159 of 1000, 17 of 0" {
		t.Error(told)
	}
}

func TestAPacketSocketThatOneListLeavesOutIsNotToldAgain(t *testing.T) {
	var told []string
	sp, lines := recorder()
	sp.notices = true
	s := socket{proto: event.ProtoPacket, cookie: 9, inode: 90}
	mine := map[uint64]owner{90: {pid: 7}}
	round := func(now int64, sockets ...socket) {
		sp.begin()
		for i := range sockets {
			sp.listed(&sockets[i], now)
		}
		sp.end(now)
		sp.tell(mine, now, false)
		told = append(told, *lines...)
		*lines = nil
	}
	round(1)
	round(2, s)
	round(3) // the kernel was asked in vain
	round(4, s)
	stands := s
	stands.cookie = 0 // as the table of /proc has it
	round(5, stands)
	if want := "packet invalid AddrPort>invalid AddrPort by 7"; strings.Join(told, ", ") != want {
		t.Errorf("told %q, want it once", told)
	}
	round(5 + quietMemory)
	if len(sp.flows) != 0 {
		t.Error("it is kept for ever")
	}
}

func FuzzPacketSockets(f *testing.F) {
	for _, s := range recordedPackets {
		f.Add(mustHex(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sp, _ := recorder()
		_, _, _ = messages(b, func(_ uint16, p []byte) {
			var s socket
			if decodePacket(p, &s) == nil && s.proto != event.ProtoPacket {
				t.Fatalf("%+v", s)
			}
			if decodeRaw(p, &s) == nil && s.proto != event.ProtoRaw {
				t.Fatalf("%+v", s)
			}
			sp.begin()
			sp.listed(&s, 1)
			sp.end(1)
			sp.tell(nil, 1, true)
		})
	})
}

func FuzzPacketTable(f *testing.F) {
	f.Add([]byte(packetTable))
	f.Fuzz(func(t *testing.T, b []byte) {
		parsePacketTable(b, func(s *socket) {
			if s.inode == 0 {
				t.Fatalf("%+v", s)
			}
		})
	})
}
