package report

import "github.com/org/edamame-posture/pkg/event"

// Bounds of what traffic remembers.
const (
	maxSockets = 1 << 16
	maxActors  = 1 << 17
)

// traffic adds up the payload bytes of each process image.
type traffic struct {
	// sockets holds the totals told so far of connections that are open: a
	// flow event tells a total, not what came since the one before.
	sockets map[uint64][2]uint64
	actors  map[event.Actor][2]uint64
	// survivors are in the order of Data.Survivors.
	survivors []event.Actor
}

func (t *traffic) init() {
	t.sockets = make(map[uint64][2]uint64)
	t.actors = make(map[event.Actor][2]uint64)
}

func (t *traffic) apply(ev *event.Event) {
	sent, received := ev.Sent, ev.Received
	if ev.Kind == event.Flow && ev.Sock != 0 {
		told := t.sockets[ev.Sock]
		// A cookie is not used twice; less than before is a new connection.
		if sent >= told[0] && received >= told[1] {
			sent, received = sent-told[0], received-told[1]
		}
		switch _, known := t.sockets[ev.Sock]; {
		case ev.OK:
			delete(t.sockets, ev.Sock)
		case known || len(t.sockets) < maxSockets:
			t.sockets[ev.Sock] = [2]uint64{ev.Sent, ev.Received}
		}
	}
	if sent|received == 0 {
		return
	}
	sum, known := t.actors[ev.Actor]
	if !known && len(t.actors) >= maxActors {
		return
	}
	t.actors[ev.Actor] = [2]uint64{sum[0] + sent, sum[1] + received}
}
