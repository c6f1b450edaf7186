package ebpf

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	bpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

const (
	// pollInterval is how often the rings are read where nothing is going on:
	// the programs wake the reader when something begins to. Each look wakes a
	// processor, which on a virtual machine costs more than what is read.
	pollInterval = 250 * time.Millisecond
	// busyInterval is how often they are read while something is going on, and so
	// how late a record may come: WAKE_GAP of bpf/emit.h, and a little.
	busyInterval = 85 * time.Millisecond
	// sweepInterval is how often folded datagrams are told and losses looked for.
	sweepInterval = time.Second
	// livingInterval is how often connections that go on tell what they carried.
	livingInterval = 3 * time.Second
	// busyPatience is how long a record that is being written is waited for
	// before the other ring goes on without it.
	busyPatience = 20 * time.Millisecond
)

// reader takes records out of the rings. All but its channels and atomics
// belong to the goroutine of run.
type reader struct {
	sink   sensor.Sink
	rings  [2]*ring
	dec    *decoder
	seqs   [2][]uint64 // records that came, by ring and CPU
	counts *bpf.Map
	sends  *sweep
	living *link.Iter
	tls    *tlsProbes    // nil where TLS is not read
	poll   time.Duration // pollInterval, but for tests

	epoll  *os.File // waited for in Go's own poller: a thread that blocks needs another to notice
	ready  syscall.RawConn
	event  int
	events [4]unix.EpollEvent

	drains chan chan struct{}
	// catches are as drains, of who does not ask for what goes on.
	catches chan chan struct{}
	stop    chan struct{}
	ended   chan struct{}

	records, undecoded, stolen atomic.Uint64
	untold                     atomic.Uint64 // folded acts that no record tells
	unasked                    atomic.Uint64 // rounds over the connections that failed
	disturbed                  [2]atomic.Bool

	before  []counters // as they were at the last poll but one
	suspect uint64     // records that were missing at the last look

	held    []counters // as they were before the folded acts were asked for
	asked   bool       // since the last look
	doubted uint64     // folded acts that were not told at the last look
}

func newReader(l *loaded, opt Options, sink sensor.Sink) (_ *reader, err error) {
	cpus, err := bpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("counting CPUs: %w", err)
	}
	r := &reader{
		sink: sink, dec: newDecoder(cpus, opt.argvBytes()), counts: l.coll.Maps["counts"],
		sends: newSweep(l.coll.Maps["sends"]),
		event: -1, poll: cmp.Or(opt.poll, pollInterval),
		drains: make(chan chan struct{}, 16), catches: make(chan chan struct{}, 16), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(epoll, true); err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	r.epoll = os.NewFile(uintptr(epoll), "epoll")
	if r.ready, err = r.epoll.SyscallConn(); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := r.epoll.SetReadDeadline(time.Now()); err != nil {
		return nil, fmt.Errorf("epoll in the poller: %w", err)
	}
	if r.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := r.wait(r.event); err != nil {
		return nil, err
	}
	for i, name := range []string{"priority", "files"} {
		m := l.coll.Maps[name]
		if r.rings[i], err = newRing(m.FD(), int(m.MaxEntries())); err != nil {
			return nil, err
		}
		r.seqs[i] = make([]uint64, cpus)
		if err := r.wait(m.FD()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// wait adds a descriptor to those that wake the reader. Edge-triggered: a ring
// that is read now and then always holds something.
func (r *reader) wait(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	var added error
	if err := r.ready.Control(func(epoll uintptr) {
		added = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, fd, &ev)
	}); err != nil || added != nil {
		return fmt.Errorf("epoll: %w", errors.Join(err, added))
	}
	return nil
}

// look is what waits: whether a ring or the event is ready.
func (r *reader) look(epoll uintptr) bool {
	n, err := unix.EpollWait(int(epoll), r.events[:], 0)
	for _, e := range r.events[:max(n, 0)] {
		if int(e.Fd) == r.event {
			var b [8]byte
			_, _ = unix.Read(r.event, b[:])
		}
	}
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
}

// wake makes run look at once.
func (r *reader) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(r.event, one[:])
}

// abandon frees a reader that was never run.
func (r *reader) abandon() { r.close() }

func (r *reader) close() {
	for _, ring := range r.rings {
		if ring != nil {
			ring.close()
		}
	}
	if r.epoll != nil {
		_ = r.epoll.Close()
	}
	if r.event >= 0 {
		_ = unix.Close(r.event)
	}
}

func boottime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}

// run reads until stop is closed, and then what is left.
func (r *reader) run() {
	defer close(r.ended)
	look := r.look // once: a method value costs memory
	var waiting, catching []chan struct{}
	var counted bool
	nextSweep, nextLiving := time.Now().Add(sweepInterval), time.Now().Add(livingInterval)
	wait := r.poll
	for {
		err := r.epoll.SetReadDeadline(time.Now().Add(wait))
		if err == nil {
			err = r.ready.Read(look)
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(pollInterval)
		}
		before := r.records.Load()
		stopping := false
		select {
		case <-r.stop:
			stopping = true
		default:
		}
		// Those that asked before the pass begins are answered after it.
		for more := true; more; {
			select {
			case c := <-r.drains:
				waiting = append(waiting, c)
			case c := <-r.catches:
				catching = append(catching, c)
			default:
				more = false
			}
		}
		for i := range r.rings {
			if r.rings[i].disturbed() {
				r.disturbed[i].Store(true)
			}
		}
		all := len(waiting) > 0 || stopping
		wanted := all || len(catching) > 0
		for range 2 {
			if all {
				r.askLiving()
			}
			cut := boottime()
			if stopping {
				cut = math.MaxInt64
			}
			whole := r.pass(cut)
			for !whole && wanted {
				// A record that is being written stands before others; all that
				// was before the cut is wanted.
				time.Sleep(50 * time.Microsecond)
				whole = r.pass(cut)
			}
			if !whole || !r.findUntold() || !wanted {
				break
			}
		}
		if counted {
			r.findLosses()
			counted = false
		}
		if wait = r.poll; r.records.Load() != before {
			wait = min(wait, busyInterval)
		}
		now := time.Now()
		if now.After(nextSweep) || len(waiting) > 0 || stopping {
			r.sends.tell(r.deliver)
		}
		if now.After(nextLiving) {
			nextLiving = now.Add(livingInterval)
			r.askLiving()
		}
		if now.After(nextSweep) {
			nextSweep = now.Add(sweepInterval)
			counted = r.counts.Lookup(uint32(0), &r.before) == nil
		}
		for _, c := range waiting {
			close(c)
		}
		for _, c := range catching {
			close(c)
		}
		clear(waiting)
		clear(catching)
		waiting, catching = waiting[:0], catching[:0]
		if stopping {
			return
		}
	}
}

// pass gives all records up to the time cut to the sink, those of both rings
// in the order of their times. It returns false where one that is still being
// written stood in the way.
func (r *reader) pass(cut int64) bool {
	defer r.rings[0].release()
	defer r.rings[1].release()
	var patience time.Time
	for {
		var heads [2][]byte
		var states [2]headState
		for i, ring := range r.rings {
			heads[i], states[i] = ring.head()
		}
		if states[0] == headBusy || states[1] == headBusy {
			// It takes well below a microsecond, unless its CPU is not running.
			if now := time.Now(); patience.IsZero() {
				patience = now.Add(busyPatience)
			} else if now.After(patience) {
				return false
			}
			time.Sleep(5 * time.Microsecond)
			continue
		}
		patience = time.Time{}
		next := -1
		for i := range heads {
			if states[i] != headReady || timeOf(heads[i]) > cut {
				continue
			}
			if next < 0 || timeOf(heads[i]) < timeOf(heads[next]) {
				next = i
			}
		}
		if next < 0 {
			return true
		}
		r.take(next, heads[next])
		r.rings[next].advance(len(heads[next]))
	}
}

// askLiving has each connection that goes on tell what it has carried since it
// was last asked, and every act that was folded how often it was. The records
// come through the rings.
func (r *reader) askLiving() {
	if r.living == nil {
		return
	}
	r.asked = r.counts.Lookup(uint32(0), &r.held) == nil
	it, err := r.living.Open()
	if err != nil {
		r.unasked.Add(1)
		r.asked = false
		return
	}
	// The program writes nothing into it: reading is what makes it run.
	if _, err := io.Copy(io.Discard, it); err != nil {
		r.unasked.Add(1)
		r.asked = false
	}
	it.Close()
}

// findUntold compares how many acts the programs had held back when they were
// asked for with how many were told since. Going through a map while others
// write it may leave some out that the next round finds, so what is missing
// twice is missing: it returns whether to look again. What was held back since
// and is told already hides as much, which ends with the storm.
func (r *reader) findUntold() bool {
	if !r.asked {
		return false
	}
	r.asked = false
	var folded uint64
	for i := range r.held {
		folded += r.held[i].Folded
	}
	missing := folded - min(folded, r.dec.again)
	untold := max(r.untold.Load(), min(missing, r.doubted))
	r.untold.Store(untold)
	r.doubted = missing
	return missing > untold
}

func timeOf(b []byte) int64 {
	if len(b) < 8 {
		return 0
	}
	return int64(u64(b, atTime))
}

// take decodes one record and gives it to the sink.
func (r *reader) take(ring int, b []byte) {
	rec, err := r.dec.decode(b)
	if err != errShort && err != errNoCPU {
		r.seqs[ring][u32(b, atCPU)]++
	}
	if err != nil {
		r.undecoded.Add(1)
		return
	}
	if rec != nil {
		r.deliver(rec)
	}
}

func (r *reader) deliver(rec *sensor.Record) {
	r.records.Add(1)
	if r.tls != nil {
		r.tls.see(rec)
	}
	r.sink(rec)
}

// findLosses compares what the programs numbered with what came. before was
// read one poll ago, so nothing of it can still be on its way; a deficit that
// is found twice is there.
func (r *reader) findLosses() {
	var missing uint64
	for cpu, c := range r.before {
		for ring := range r.seqs {
			if came := r.seqs[ring][cpu] + c.Failed[ring]; c.Seq[ring] > came {
				missing += c.Seq[ring] - came
			}
		}
	}
	r.stolen.Store(max(r.stolen.Load(), min(missing, r.suspect)))
	r.suspect = missing
}

// sendPacket is SEND_PACKET of bpf/socket.h.
const sendPacket = 1 << 9

// sendKey and sendTotal are struct send_key and struct send of bpf/socket.h.
type sendKey struct {
	Dst   [16]byte
	Start uint64
	PID   uint32
	Port  uint16
	Proto uint16
}

type sendTotal struct {
	Count, Bytes, Time, Cgroup, Cookie uint64
	Told                               uint64 // bytes of the first one
	Received                           uint64
	TID, UID, GID, _                   uint32
}

// sweep tells the datagrams that the kernel only counted.
type sweep struct {
	m      *bpf.Map
	keys   []sendKey
	totals []sendTotal
	told   map[sendKey]told
	round  uint32
	rec    sensor.Record
}

type told struct {
	count, bytes, received uint64
	round                  uint32
}

const sweepBatch = 512

func newSweep(m *bpf.Map) *sweep {
	return &sweep{m: m, keys: make([]sendKey, sweepBatch), totals: make([]sendTotal, sweepBatch), told: map[sendKey]told{}}
}

// tell gives one record for each destination to which more was sent, or from
// which more came, since it was last told.
func (s *sweep) tell(sink sensor.Sink) {
	if s.m == nil {
		return
	}
	s.round++
	var cursor bpf.MapBatchCursor
	for {
		n, err := s.m.BatchLookup(&cursor, s.keys, s.totals, nil)
		for i := range n {
			s.one(&s.keys[i], &s.totals[i], sink)
		}
		if err != nil {
			break // ErrKeyNotExist at the end
		}
	}
	for k, t := range s.told {
		if t.round != s.round {
			delete(s.told, k)
		}
	}
}

func (s *sweep) one(k *sendKey, t *sendTotal, sink sensor.Sink) {
	was, ok := s.told[*k]
	packet := k.Proto == sendPacket
	switch {
	case ok && was.count <= t.Count && was.received <= t.Received:
	case packet:
		was = told{} // nothing was told of it yet
	default:
		// The programs told the first one themselves.
		was = told{count: 1, bytes: t.Told}
	}
	s.told[*k] = told{count: t.Count, bytes: t.Bytes, received: t.Received, round: s.round}
	if t.Count <= was.count && t.Received <= was.received {
		return
	}
	addr := netip.AddrFrom16(k.Dst).Unmap()
	if k.Proto&(1<<8) == 0 {
		addr = netip.AddrFrom4([4]byte(k.Dst[:4]))
	}
	s.rec = sensor.Record{
		Kind: event.Send, Time: int64(t.Time), PID: k.PID, TID: t.TID, Start: int64(k.Start),
		UID: t.UID, GID: t.GID, Cgroup: t.Cgroup, Proto: event.Proto(k.Proto & 0xff),
		Dst: netip.AddrPortFrom(addr, k.Port), Sock: t.Cookie,
		Count: t.Count - was.count, Sent: t.Bytes - was.bytes, Received: t.Received - was.received,
	}
	if packet {
		s.rec.Kind, s.rec.Proto, s.rec.Dst = event.Packet, event.ProtoPacket, netip.AddrPort{}
		s.rec.Detail = "packets were sent by packet sockets"
	}
	sink(&s.rec)
}
