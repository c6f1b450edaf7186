package monitor

import (
	"fmt"
	"os"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/sensor"
)

// images are the programs that were last executed on the machine. Who acts on
// a recording from outside is in no log, and gone before it can be looked up.
type images struct {
	ring [256]image
	next int
}

// image is a program that a process runs. Its path is held in place: this is
// filled by every exec there is.
type image struct {
	of  event.Actor
	n   int
	exe [256]byte
}

// add takes note of an exec. A path that is too long is not kept.
func (m *images) add(of event.Actor, exe []byte) {
	i := &m.ring[m.next]
	m.next = (m.next + 1) % len(m.ring)
	i.of, i.n = of, 0
	if len(exe) <= len(i.exe) {
		i.n = copy(i.exe[:], exe)
	}
}

// find returns the program of a process image; empty where it is not held.
func (m *images) find(of event.Actor) []byte {
	for i := range m.ring {
		if m.ring[i].of == of {
			return m.ring[i].exe[:m.ring[i].n]
		}
	}
	return nil
}

// maxStrangers bounds the processes outside that a recording tells of.
const maxStrangers = 256

// stranger tells, once for each, what runs that is about to act on the
// recording from outside: of a program that is long there the rest too, from
// /proc.
func (r *recording) stranger(rec *sensor.Record, p *process.Process, exe []byte) {
	if r.strangers[p.Actor] || len(r.strangers) >= maxStrangers {
		return
	}
	r.strangers[p.Actor] = true
	ev := r.blank(event.Existing, rec.Time)
	ev.Via, ev.Actor, ev.UID, ev.GID = event.ViaOutside, p.Actor, rec.UID, rec.GID
	if p.Parent != nil {
		ev.Parent = p.Parent.Actor
	}
	if len(exe) > 0 {
		ev.Exe = r.red.Path(exe)
	} else if p.Alive {
		if path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.Actor.PID)); err == nil {
			ev.Exe = r.red.Path([]byte(path))
		}
	}
	if !ev.Exe.IsZero() {
		r.append(ev)
	}
}
