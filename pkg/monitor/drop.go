package monitor

import (
	"context"
	"fmt"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/posture"
	"github.com/org/edamame-posture/pkg/redact"
)

// Drop asks that the caller loses the short ways to root while the recording is
// open: see [posture.Drop].
type Drop struct {
	// Restore gives them back when the watched process has gone, unless
	// something of the job is left running, which would have them then.
	Restore bool `json:"restore,omitempty"`
}

// dropWithin bounds how long it may take.
const dropWithin = 5 * time.Second

// takePower does what was asked for, before the machine is looked at: what is
// told as weak is what the job meets.
func (r *recording) takePower(d *Drop) {
	ctx, cancel := context.WithTimeout(context.Background(), dropWithin)
	defer cancel()
	r.drop = d
	r.dropped, r.notDropped = posture.Drop(ctx, r.uid)
}

// tellPower says what of it was done.
func (r *recording) tellPower(now int64) {
	if r.drop == nil {
		return
	}
	tell := func(check, what redact.Text, path string) {
		ev := r.blank(event.Posture, now)
		ev.Actor, ev.Name, ev.Detail = r.above(), check, what
		if path != "" {
			ev.Path = r.red.Path([]byte(path))
		}
		r.append(ev)
	}
	if r.dropped.Sudo {
		tell(posture.PowerTaken, redact.Const("the steps' user lost sudo"), "")
	}
	for _, p := range r.dropped.Sockets {
		tell(posture.PowerTaken, redact.Const("the steps' user lost the socket of a container daemon, with which it could be root"), p)
	}
	if r.notDropped != nil {
		tell(posture.PowerKept, r.red.String(r.notDropped.Error()), "")
	}
}

// givePowerBack waits until the watched process has gone and gives back what
// was taken. What the job left running, or a monitor that is told to end before,
// would make it a gift to the job; then it stays taken.
func (s *server) givePowerBack(ctx context.Context) {
	s.mu.Lock()
	r := s.took
	s.mu.Unlock()
	if r == nil || !r.drop.Restore {
		return
	}
	if r.survivors > 0 {
		s.m.opt.Logf("sudo is not given back: the job left %d processes running", r.survivors)
		return
	}
	t := time.NewTicker(Interval)
	defer t.Stop()
	for s.m.alive(r.parent) {
		select {
		case <-ctx.Done():
			s.m.opt.Logf("sudo is not given back: the monitor was told to end while the watched process ran")
			return
		case <-t.C:
		}
	}
	if err := r.dropped.Restore(); err != nil {
		s.m.opt.Logf("%v", fmt.Errorf("sudo is not given back: %w", err))
	}
}
