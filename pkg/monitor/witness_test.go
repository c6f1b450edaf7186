package monitor

import "testing"

func TestWitnessesThatAgreeAreLeftAlone(t *testing.T) {
	var w witness
	w.arm([3]uint64{100, 100, 100}, [3]uint64{90, 95, 100})
	for i := uint64(1); i <= 50; i++ {
		if w.read([3]uint64{100 + i, 100 + i, 100 + i}, [3]uint64{90 + i, 95 + i, 100 + i}) {
			t.Fatalf("reading %d: the difference is that at arming, and counts as disagreement", i)
		}
	}
}

func TestAStormWithEventsInFlightIsNoDisagreement(t *testing.T) {
	var w witness
	w.arm([3]uint64{}, [3]uint64{})
	for i := uint64(1); i <= 50; i++ {
		n := i * 1000
		if w.read([3]uint64{n, n, n}, [3]uint64{n - 7, n - 3, n - 9}) {
			t.Fatalf("reading %d: 9 of 1000 in flight count as disagreement", i)
		}
	}
}

func TestAWitnessThatStaysBehindDisagrees(t *testing.T) {
	for _, c := range []struct {
		name          string
		ebpf, netlink uint64 // how much each grows a reading
	}{
		{"eBPF sees nothing more", 0, 10},
		{"netlink sees nothing more", 10, 0},
		{"eBPF sees half", 5, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w witness
			w.arm([3]uint64{}, [3]uint64{})
			told := 0
			for i := uint64(1); i <= 2*patience; i++ {
				if w.read([3]uint64{0, i * c.ebpf, 0}, [3]uint64{0, i * c.netlink, 0}) {
					told++
				}
			}
			if told != 1 || !w.disagree {
				t.Errorf("told %d times, disagree %v; want once", told, w.disagree)
			}
		})
	}
}

func TestAnExecThatOnlyOneSawCountsAtAQuietEnd(t *testing.T) {
	var w witness
	w.arm([3]uint64{}, [3]uint64{})
	w.settle([3]uint64{5, 5, 5}, [3]uint64{5, 5, 5}, 1)
	if !w.disagree {
		t.Error("one exec that only one witness saw, with nothing else going on, is no disagreement")
	}
	var busy witness
	busy.arm([3]uint64{}, [3]uint64{})
	busy.settle([3]uint64{5, 5, 5}, [3]uint64{50, 50, 50}, 3)
	if busy.disagree {
		t.Error("three in flight while 45 happened count as disagreement")
	}
}
