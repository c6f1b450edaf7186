package netlink

import "testing"

func TestAHoleInTheNumbersOfACPUIsALoss(t *testing.T) {
	type message struct{ cpu, seq, lost uint32 }
	for name, messages := range map[string][]message{
		"the first message of a CPU is where it counts from": {{0, 900, 0}, {1, 17, 0}},
		"numbers without a hole lose nothing":                {{0, 1, 0}, {0, 2, 0}, {0, 3, 0}},
		"each CPU counts for itself":                         {{0, 1, 0}, {1, 50, 0}, {0, 2, 0}, {1, 51, 0}},
		"a hole of three is three lost":                      {{2, 10, 0}, {2, 14, 3}, {2, 15, 0}},
		"the number wraps":                                   {{0, 1<<32 - 1, 0}, {0, 0, 0}, {0, 2, 1}},
		"a number that goes back is no loss":                 {{0, 10, 0}, {0, 4, 0}, {0, 5, 0}},
		"the answers of older kernels have no CPU":           {{0, 1, 0}, {1<<32 - 1, 99, 0}, {0, 2, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var s sequence
			for i, m := range messages {
				if lost := s.next(m.cpu, m.seq); lost != m.lost {
					t.Errorf("message %d: %d lost, want %d", i, lost, m.lost)
				}
			}
		})
	}
}
