package monitor

import (
	"testing"

	"github.com/org/edamame-posture/pkg/barrier"
)

func TestAMissOfAProcessThatNobodyKnowsCountsForEveryJob(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	r := opened(t, m, "x")
	const nobody = 1<<22 + 1 // above the kernel's limit of process ids
	m.tellHeld(barrier.Held{PID: nobody, Path: "/usr/bin/sudo"})
	m.tellHeld(barrier.Held{PID: nobody, Path: "/usr/bin/sudo", Missed: true})
	m.mu.Lock()
	p := r.judge.Power()
	m.mu.Unlock()
	if p.Held != 0 || p.Missed != 1 {
		t.Errorf("%d were held and %d missed: want the one that was missed", p.Held, p.Missed)
	}
	m.finish(r, Closing{}, "")
}
