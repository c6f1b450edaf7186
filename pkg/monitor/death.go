package monitor

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor/ebpf"
)

// Death is what a client knows of how its monitor ended.
type Death struct {
	// By is who last sent it a signal that ends or stops; nil for nobody, or
	// where Unknown says why that is not known.
	By      *ebpf.LastAct `json:"by,omitempty"`
	Unknown string        `json:"unknown,omitempty"`
	// Claimed: whoever says so is no more than the caller, as their job is.
	Claimed bool `json:"claimed,omitempty"`
}

// maxDeath bounds a Death that is read, in bytes.
const maxDeath = 8 << 10

// ReadDeath reads what MarshalJSON of a Death gave. One from a caller without
// root is no more than their word: it is Claimed.
func ReadDeath(b []byte) (d Death, err error) {
	if len(b) > maxDeath {
		return d, fmt.Errorf("how the monitor ended: %d bytes, and %d are enough", len(b), maxDeath)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("how the monitor ended: %w", err)
	}
	return d, nil
}

// Death returns who ended the monitor. It is asked for where an answer failed
// with ErrMonitorDied, and before the client ends anything itself.
func (c *Client) Death() Death {
	if c.memory == nil {
		why := "who it was is not known: no memory of it was shared"
		if c.noMemory != nil {
			why = "who it was is not known: " + c.noMemory.Error()
		}
		return Death{Unknown: why}
	}
	return deathIn(c.memory)
}

func deathIn(m *ebpf.Memory) Death {
	a, ok, err := m.Last()
	switch {
	case err != nil:
		return Death{Unknown: "who it was is not known: " + err.Error()}
	case !ok:
		return Death{}
	}
	return Death{By: &a}
}

// share asks the monitor for the memory of who signalled it last.
func (c *Client) share() {
	if _, c.noMemory = c.ask(Request{Op: "memory"}, 5*time.Second); c.noMemory != nil {
		return
	}
	fds := c.k.rights.take()
	if len(fds) != 1 {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		c.noMemory = errors.New("the monitor's answer had no descriptor with it")
		return
	}
	c.memory, c.noMemory = ebpf.MapMemory(fds[0])
	_ = unix.Close(fds[0])
}

// tell writes into the log that a dead monitor left how it ended, as far as
// that is known. A log that ended is left as it is.
func (d *Death) tell(dir string) error {
	e, err := evidence.OpenPartial(dir)
	if err != nil {
		return err
	}
	defer e.Close()
	was := lastMoments{tree: process.NewTree(maxDeathTree)}
	if d.By != nil {
		was.chain = append([]ebpf.Ancestor{{PID: d.By.PID, Start: d.By.Start}}, d.By.Above...)
		was.nodes = make([]*process.Node, len(was.chain))
	}
	if err := e.Each(func(_ []byte, ev *event.Event) error {
		was.apply(ev, d.By)
		return nil
	}); err != nil {
		return err
	}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	red := redact.New(key, redact.Options{})
	now := boottime()
	var evs []*event.Event
	if d.By != nil && !was.told {
		evs = was.act(d.By, red)
	}
	evs = append(evs, &event.Event{
		Kind: event.SensorGap, Via: event.ViaMonitor, Time: now, Sensor: sensorText("ebpf"),
		Detail: d.text(red), From: was.last, To: now,
	})
	err = evidence.Amend(dir, now, evs...)
	if errors.Is(err, evidence.ErrClosed) {
		return nil // it died with all told
	}
	return err
}

// maxDeathTree bounds the images that are kept to find the killer among them.
const maxDeathTree = 1 << 14

// lastMoments is what a log that was cut off says of who ended its monitor.
type lastMoments struct {
	tree    *process.Tree
	chain   []ebpf.Ancestor // who it was, and its ancestors
	nodes   []*process.Node // what the log last said of each; nil for nothing
	monitor event.Actor
	parent  event.Actor // whose children are watched
	last    int64       // when the monitor last told of anything
	told    bool        // the log tells the signal itself
}

func (l *lastMoments) apply(ev *event.Event, by *ebpf.LastAct) {
	n := l.tree.Apply(ev)
	l.last = max(l.last, ev.Time)
	switch ev.Kind {
	case event.Start:
		l.parent = ev.Actor
	case event.SensorUp:
		if l.monitor.IsZero() {
			l.monitor = ev.Actor
		}
	case event.Kill:
		if by != nil && ev.Target.PID == l.monitor.PID && ev.Signal == by.Signal && sameProcess(ev.Actor, l.chain[0]) {
			l.told = true
		}
	}
	for i, a := range l.chain {
		if n != nil && sameProcess(ev.Actor, a) {
			l.nodes[i] = n
		}
	}
}

// sameProcess compares a start time of the kernel's with one in the log, which
// is in ticks for a process that was there before (proc_pid_stat(5)).
func sameProcess(a event.Actor, b ebpf.Ancestor) bool {
	const tick = 1e7
	return a.PID == b.PID && (a.Start == b.Start || a.Start%tick == 0 && a.Start == b.Start-b.Start%tick)
}

// act tells of the signal, and of the processes that led to its sender as far
// as the log does not know them: what happened in the last second before the
// monitor was killed did not reach it.
func (l *lastMoments) act(by *ebpf.LastAct, red *redact.Redactor) (evs []*event.Event) {
	exe := red.Path(by.Exe)
	known := 0
	for known < len(l.nodes) && l.nodes[known] == nil {
		known++
	}
	via := event.ViaOutside
	var who event.Actor
	if known < len(l.nodes) {
		n := l.nodes[known]
		who = n.Actor
		switch {
		case n.Via == event.ViaLineage || n.Via == event.ViaRequest:
			via = n.Via
		case known > 0 && n.Actor.PID == l.parent.PID && n.Actor.Start == l.parent.Start:
			via = event.ViaLineage // a child of whose children are watched
		}
	}
	for i := known - 1; i >= 0; i-- {
		ev := &event.Event{Kind: event.Existing, Via: via, Time: by.Time, Parent: who}
		who = event.Actor{PID: l.chain[i].PID, Start: l.chain[i].Start}
		ev.Actor = who
		if i == 0 {
			ev.Exe, ev.UID = exe, by.UID
		}
		evs = append(evs, ev)
	}
	if known == 0 && !exe.IsZero() {
		n := l.nodes[0]
		for n.Parent != nil && !n.Execed {
			n = n.Parent // it runs its parent's program
		}
		if n.Execed && n.Exe != exe {
			// It has executed another since the log last heard of it.
			who.Image++
			evs = append(evs, &event.Event{Kind: event.Existing, Via: via, Time: by.Time, Actor: who, Exe: exe, UID: by.UID})
		}
	}
	return append(evs, &event.Event{
		Kind: event.Kill, Via: via, Time: by.Time, Actor: who, Exe: exe, UID: by.UID,
		Target: l.monitor, Signal: by.Signal, Detail: redact.Const("remembered in the kernel, and read after the monitor had died"),
	})
}

// text says how the monitor ended, for a person.
func (d *Death) text(red *redact.Redactor) redact.Text {
	blind := redact.Const(": nothing was seen after this")
	switch {
	case d.Unknown != "":
		return redact.Concat(redact.Const("the monitor died"), blind, redact.Const("; "), red.String(d.Unknown))
	case d.By == nil:
		return redact.Concat(redact.Const("the monitor died, and no process had sent it a signal for that (memory was short, or it failed)"), blind)
	}
	who := redact.Concat(redact.Const("process "), redact.Uint(uint64(d.By.PID)))
	if len(d.By.Exe) > 0 {
		who = redact.Concat(who, redact.Const(" "), red.Path(d.By.Exe))
	}
	who = redact.Concat(who, redact.Const(" ("), red.Text(d.By.Comm), redact.Const(") with signal "), redact.Uint(uint64(d.By.Signal)))
	how := redact.Const("the monitor was ended by ")
	if d.By.Signal == int(unix.SIGTERM) || d.By.Signal == int(unix.SIGSTOP) {
		how = redact.Const("the monitor died, acted upon last by ") // those alone do not kill it
	}
	text := redact.Concat(how, who, blind)
	if d.Claimed {
		text = redact.Concat(text, redact.Const("; who it was is the word of the caller's own process, which the job could change"))
	}
	return text
}
