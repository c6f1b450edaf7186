package ebpf

import (
	"net/netip"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

func TestAHoleInTheNumbersIsALossUnlessTheKernelReportedIt(t *testing.T) {
	r := &reader{seqs: [2][]uint64{{7, 5}, {1, 0}}}
	r.before = []counters{
		{Seq: [2]uint64{10, 1}, Failed: [2]uint64{2, 0}}, // one is missing
		{Seq: [2]uint64{5, 2}},                           // two of the other ring
	}
	r.findLosses()
	if n := r.stolen.Load(); n != 0 {
		t.Errorf("%d after one look: they may still be on their way", n)
	}
	r.findLosses()
	if n := r.stolen.Load(); n != 3 {
		t.Errorf("%d, want 3", n)
	}
	r.seqs[0][0]++ // one did come late
	r.findLosses()
	r.findLosses()
	if n := r.stolen.Load(); n != 3 {
		t.Errorf("%d, want 3: what was told stays told", n)
	}
}

func TestAHeldBackActThatNoRecordTellsIsCountedWhenItIsMissingTwice(t *testing.T) {
	r := &reader{dec: newDecoder(1, 0), held: []counters{{Folded: 7}, {Folded: 5}}}
	look := func(again uint64) bool {
		r.asked, r.dec.again = true, again
		return r.findUntold()
	}
	for i, c := range []struct {
		again  uint64
		doubts bool
		untold uint64
	}{
		{again: 12}, {again: 15}, // more are told than were held back when it was asked
		{again: 10, doubts: true}, {again: 12}, // a round left two out
		{again: 9, doubts: true}, {again: 9, untold: 3},
		{again: 11, untold: 3}, // what was told stays told
		{again: 7, doubts: true, untold: 3}, {again: 7, untold: 5},
	} {
		if doubts := look(c.again); doubts != c.doubts || r.untold.Load() != c.untold {
			t.Errorf("look %d: doubts %v, %d are not told, want %v, %d", i, doubts, r.untold.Load(), c.doubts, c.untold)
		}
	}
	r.dec.again = 0
	if r.findUntold() || r.untold.Load() != 5 {
		t.Error("it looked without having asked")
	}
}

func TestDatagramsAreToldOnceEach(t *testing.T) {
	s := newSweep(nil)
	key := sendKey{Dst: [16]byte{192, 0, 2, 1}, PID: 9, Port: 53, Proto: 17}
	var count, bytes, received uint64
	sink := func(r *sensor.Record) {
		if r.Kind != event.Send || r.Dst != netip.MustParseAddrPort("192.0.2.1:53") || r.PID != 9 {
			t.Errorf("%+v", r)
		}
		count += r.Count
		bytes += r.Sent
		received += r.Received
	}
	for _, c := range []struct {
		what                   string
		total                  sendTotal
		count, bytes, received uint64 // told in all
	}{
		{"the first is told by the program", sendTotal{Count: 1, Bytes: 10, Told: 10}, 0, 0, 0},
		{"two more", sendTotal{Count: 3, Bytes: 60, Told: 10}, 2, 50, 0},
		{"nothing new", sendTotal{Count: 3, Bytes: 60, Told: 10}, 2, 50, 0},
		{"something came", sendTotal{Count: 3, Bytes: 60, Told: 10, Received: 7}, 2, 50, 7},
		{"nothing came", sendTotal{Count: 3, Bytes: 60, Told: 10, Received: 7}, 2, 50, 7},
		{"both", sendTotal{Count: 4, Bytes: 61, Told: 10, Received: 9}, 3, 51, 9},
		{"evicted and begun again", sendTotal{Count: 2, Bytes: 12, Told: 5, Received: 3}, 4, 58, 12},
		{"evicted where only what came tells it", sendTotal{Count: 2, Bytes: 12, Told: 5, Received: 1}, 5, 65, 13},
	} {
		s.one(&key, &c.total, sink)
		if count != c.count || bytes != c.bytes || received != c.received {
			t.Errorf("%s: %d of %d bytes, %d came, want %d of %d, %d", c.what, count, bytes, received, c.count, c.bytes, c.received)
		}
	}
}

func TestTheCgroupRootIsFoundInMountinfo(t *testing.T) {
	for _, c := range []struct{ what, mountinfo, want string }{
		{"unified", "25 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"},
		{"hybrid", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n40 31 0:9 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"},
		{"a part and the whole", "25 1 0:22 /part /a rw - cgroup2 none rw\n26 1 0:22 / /b\\040c rw - cgroup2 none rw\n", "/b c"},
		{"none", "25 1 0:22 / / rw - ext4 /dev/sda rw\n", ""},
		{"junk", "cgroup2\n - cgroup2 x\n", ""},
	} {
		got, err := cgroupRoot(writeTemp(t, c.mountinfo))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", c.what, got, err)
		}
	}
}

func TestTheInnermostPIDIsRead(t *testing.T) {
	for status, want := range map[string]uint32{
		"Name:\tx\nNSpid:\t4711\t12\t1\n": 1,
		"NSpid:\t4711\n":                  0,
		"Name:\tx\n":                      0,
	} {
		if got := innermostPID(writeTemp(t, status)); got != want {
			t.Errorf("%q gives %d, want %d", status, got, want)
		}
	}
}
