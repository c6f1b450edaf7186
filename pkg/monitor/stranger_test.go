package monitor

import (
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

func TestTheLastProgramsOfTheMachineAreKnownAndOlderOnesAreNot(t *testing.T) {
	var m images
	actor := func(n int) event.Actor { return event.Actor{PID: uint32(n), Start: int64(n), Image: 1} }
	n := len(m.ring) + 10
	for i := range n {
		m.add(actor(i+1), []byte("/bin/"+strings.Repeat("x", i)))
	}
	for i := range n {
		got, want := string(m.find(actor(i+1))), "/bin/"+strings.Repeat("x", i)
		if i < 10 || len(want) > len(m.ring[0].exe) {
			want = ""
		}
		if got != want {
			t.Errorf("program %d is %q, want %q", i, got, want)
		}
	}
	exe := []byte("/usr/bin/true")
	if a := testing.AllocsPerRun(100, func() { m.add(actor(1), exe) }); a != 0 {
		t.Errorf("%v allocations for an exec", a)
	}
}
