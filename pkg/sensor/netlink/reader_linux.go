package netlink

import (
	"bytes"
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// reader takes the messages of the proc connector and, at an exec, reads the
// process before it goes. It does nothing else, on a thread of its own, since
// every microsecond between the exec and the read loses arguments.
type reader struct {
	receiver *receiver
	poker    poker
	proc     procReader
	queue    *queue
	counts   *counts
	witness  bool
	self     uint32
	tick     int64 // nanoseconds of a clock tick of /proc/PID/stat
	stop     atomic.Bool

	sequence sequence
	offset   int64 // CLOCK_BOOTTIME less CLOCK_MONOTONIC
	newest   int64 // boot time of the newest event seen

	// held are items that are not yet given away: a later message may say that
	// what was read of an exec is of the exec after it.
	held []*item
	// foreign counts the subscriptions of others since foreignSince.
	foreign      int
	foreignSince int64

	marked bool // held has a mark
	// gap is the loss that is going on; nil while there is none.
	gap *item
}

// foreignPeriod is the time in which subscriptions of others are counted.
const foreignPeriod = int64(10 * time.Second)

// heldMax bounds held while we lag behind.
const heldMax = 4096

// witnessNap is how long a counting sensor sleeps between two looks: 20,000
// execs a second fill the buffer no faster than that.
const witnessNap = 200 * time.Millisecond

// patience bounds how long a fork's event may come after the child got its
// start time; see start.
const patience = 2 * time.Millisecond

func (r *reader) run() {
	// Never unlocked: the thread and its priority end with this function.
	runtime.LockOSThread()
	if !r.witness {
		hurry()
	}
	idle := 0
	for {
		n, err := r.receiver.receive()
		switch {
		case err == nil:
			for i := range n {
				b, kernel := r.receiver.message(i)
				r.take(b, kernel)
			}
			r.release(false)
			idle = 0
			continue
		case errors.Is(err, unix.ENOBUFS):
			r.counts.overruns.Add(1)
			r.lost(0, r.newest)
			continue
		case !errors.Is(err, unix.EAGAIN):
			r.lost(0, r.newest)
			r.gap.record.Detail = "the proc connector socket failed"
			r.stop.Store(true)
		}
		r.release(true)
		r.closeGap()
		if r.stop.Load() {
			return
		}
		if r.wait() {
			idle = 0
		} else if idle++; idle > idleMax {
			time.Sleep(time.Millisecond)
		}
	}
}

// hurry gives the thread a real-time priority: a reader that waits for its
// turn on the processor loses the race (with it 99 % of a storm of /bin/true
// was read on a machine that others kept busy, without it 70 to 90 %). It works
// for some 50 microseconds at an exec and then sleeps. Where that is not
// allowed it takes the best of the ordinary ones, or stays as it is.
func hurry() {
	const fifo = 1 // SCHED_FIFO
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: fifo, Priority: 1}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	}
}

// idleMax is how often the kernel may wake us for nothing before we sleep: a
// thread of this priority must never spin.
const idleMax = 16

// wait returns when there is something to read, and reports whether the socket
// was not the only reason.
func (r *reader) wait() (poked bool) {
	_, poked = r.poker.wait(r.receiver.fd, -1)
	if r.witness && !poked {
		_, poked = r.poker.wait(-1, int(witnessNap/time.Millisecond))
	}
	if poked {
		r.poker.clear()
	}
	r.offset = clock(unix.CLOCK_BOOTTIME) - clock(unix.CLOCK_MONOTONIC)
	return poked
}

// take reads one message.
func (r *reader) take(b []byte, kernel bool) {
	if !kernel {
		r.counts.forged.Add(1)
		return
	}
	var ev procEvent
	if err := decodeProcEvent(b, &ev); err != nil {
		r.counts.undecoded.Add(1)
		return
	}
	now := int64(ev.mono) + r.offset
	if lost := r.sequence.next(ev.cpu, ev.seq); lost > 0 {
		r.counts.lost.Add(uint64(lost))
		r.lost(uint64(lost), r.newest)
	}
	if r.gap != nil {
		r.gap.record.To = max(r.gap.record.To, now)
	}
	r.newest = max(r.newest, now)
	r.counts.count(&ev)

	switch ev.what {
	case whatFork, whatExec, whatUID, whatGID, whatSID, whatPtrace, whatExit:
		if r.witness {
			return
		}
	case whatComm:
		// Of all names only our own marks matter.
		if ev.tgid != r.self || !bytes.HasPrefix(ev.comm[:], markPrefix) {
			return
		}
		r.marked = true
	case whatNone:
		r.answered(&ev, now)
		return
	default:
		return
	}
	it := r.queue.get()
	it.kind, it.ev, it.time, it.start = itemEvent, ev, now, -1
	switch ev.what {
	case whatFork:
		it.start = r.start(&ev, now)
	case whatExec:
		r.supersede(&ev, now)
		r.proc.readImage(ev.tgid, &it.img)
	}
	r.held = append(r.held, it)
}

// answered takes the kernel's answer to a subscription, which every subscriber
// gets. Each subscription of another program is one; a job with root that
// wants the connector silent has to withdraw as many as we hold, and is heard
// while it does.
func (r *reader) answered(ev *procEvent, now int64) {
	if ev.ack == subscriptionAck+1 {
		return
	}
	if now-r.foreignSince > foreignPeriod {
		r.foreign, r.foreignSince = 0, now
	}
	r.foreign++
	if r.foreign < holders/2 {
		return
	}
	r.foreign = 0
	r.lost(0, r.foreignSince)
	r.gap.record.Detail = "proc connector: another program is changing who is subscribed, as one does to switch it off"
}

// start returns the start time of a forked child as /proc/PID/stat would show
// it, in ticks of boot time. The event comes a little after the child got it,
// so only an event just after a tick needs to be looked up.
func (r *reader) start(ev *procEvent, now int64) int64 {
	if ev.pid != ev.tgid {
		return 0
	}
	if now%r.tick < int64(patience) {
		if ticks := r.proc.start(ev.tgid); ticks >= 0 {
			return ticks * r.tick
		}
	}
	return now - now%r.tick
}

// supersede marks what was read for an earlier exec of the process as not to
// be trusted, where this exec happened before the reading had ended.
func (r *reader) supersede(ev *procEvent, now int64) {
	for i := len(r.held) - 1; i >= 0; i-- {
		it := r.held[i]
		if it.kind == itemEvent && it.ev.what == whatExec && it.ev.tgid == ev.tgid {
			if now <= it.img.done {
				it.img.reset()
			}
			return
		}
	}
}

// release gives items away: all where the socket is empty, else those that no
// message still to come can contradict.
func (r *reader) release(all bool) {
	n := len(r.held)
	if !all && n < heldMax {
		for n = 0; n < len(r.held); n++ {
			if it := r.held[n]; it.img.done >= r.newest {
				break
			}
		}
	}
	if n == 0 {
		return
	}
	r.queue.put(r.held[:n]...)
	r.held = r.held[:copy(r.held, r.held[n:])]
	if r.marked {
		r.marked = false
		signal(r.queue.many) // somebody waits for it
	}
}

// lost opens a gap, or widens the one that is open.
func (r *reader) lost(n uint64, since int64) {
	if r.gap == nil {
		r.gap = r.queue.get()
		r.gap.kind = itemGap
		r.gap.record = sensor.Record{Kind: event.SensorGap, From: since, To: since,
			Detail: "proc connector: the kernel's buffer for us was full"}
	}
	r.gap.record.Lost += n
}

// closeGap tells of a gap, once the socket was empty: the kernel drops
// everything from the first message that does not fit until then.
func (r *reader) closeGap() {
	if r.gap == nil {
		return
	}
	r.gap.record.To = max(r.gap.record.To, bootNow())
	r.gap.record.Time = r.gap.record.To
	r.queue.put(r.gap)
	r.gap = nil
}
