// Package monitor is the corridor that every event takes: sensors, process
// table, recordings, log, judge. It runs as a process of its own, as root, and
// is spoken to over a Unix socket by `run`, `start` and the service.
//
// One monitor holds one set of sensors and one process table, and any number
// of recordings up to 64. A recording is one watched thing: what a client's
// process starts, or the whole host. Losses, gaps and tampering go into every
// open one.
//
// It links no signing, GitHub or report code and opens no network connection
// but the canary's, to itself.
package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/barrier"
	"github.com/org/edamame-posture/pkg/credential"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/seal"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/sensor/ebpf"
	"github.com/org/edamame-posture/pkg/sensor/netlink"
	"github.com/org/edamame-posture/pkg/warden"
)

// Interval is the time between two checkpoints, canaries and comparisons of
// the witnesses.
const Interval = time.Second

// tableLimit is how many processes the table holds at most, living and
// recently ended.
const tableLimit = 1 << 15

// Options are the settings of a monitor.
type Options struct {
	// Sensor is "auto", "ebpf" or "netlink".
	Sensor string
	// NoTLS leaves the libraries of TLS alone: what is said inside of it is not
	// read.
	NoTLS bool
	// Tool is the version of the command, for the log.
	Tool string
	// Sealed has checkpoints signed with keys of their own, and programs that
	// give power wait until what led to them is sealed. Where nobody outside
	// hears of the start it proves nothing: who takes the machine can write
	// all of it anew.
	Sealed bool
	// Unsealed says why the monitor's own program can be changed while it runs;
	// nil where it cannot.
	Unsealed error
	// Beat is called after each round, once in an Interval; nil for nothing.
	Beat func()
	// Logf says what a person should know while it runs; nil for silence.
	Logf func(format string, args ...any)
}

// Monitor is a running monitor.
type Monitor struct {
	opt     Options
	self    uint32
	started int64

	// rounds lets one round of tick run at a time; taken before mu.
	rounds sync.Mutex
	// list is the last list of sockets, nextList when the next one is due; both
	// are guarded by rounds.
	list     []netlink.TCPSocket
	nextList time.Time
	// mu guards everything below. The sensors' sink holds it for one record.
	mu      sync.Mutex
	table   *process.Table
	primary sensor.Sensor
	second  sensor.Sensor // the witness; nil where there is none
	without []string      // what is done without, and why
	canary  *canary
	witness witness
	counted reading // at the last comparison with care
	sockets *sockets
	recs    [process.MaxTags]*recording
	bells   int    // recordings that have a bell
	jobs    *jobs  // nil where jobs of runners are not recorded by themselves
	unowned uint64 // socket records without a process

	lastTick int64 // CLOCK_BOOTTIME
	// lastCanary is when the canary that flies was made, sinceCanary how many
	// rounds ago.
	lastCanary  int64
	sinceCanary int
	lastMono    int64 // CLOCK_MONOTONIC
	lastLost    lossTotals
	wallOffset  int64
	problems    map[string]bool
	containers  *containers
	naming      *naming
	own         own
	images      images
	workers     workers
	declared    *declarations // nil where there is no socket for them
	turnedAway  uint64        // connections to it that found no room

	ahead   atomic.Pointer[prepared]
	rules   *rules           // set once, when it is started
	barrier *barrier.Barrier // nil where there is none
	guard   uint32           // its process; guarded by mu

	armed int64 // CLOCK_BOOTTIME, as is ready: when Start was done
	ready int64
	soon  chan struct{} // a checkpoint is wanted now
	stop  chan struct{}
	done  chan struct{}
	held  chan struct{} // closed when the barrier is no longer answered
}

// Start arms the sensors and returns when a first event would be seen. The
// error says what is missing and what to do.
func Start(ctx context.Context, opt Options) (*Monitor, error) {
	m := &Monitor{
		opt: opt, self: uint32(os.Getpid()), started: boottime(),
		table: process.NewTable(tableLimit), naming: newNaming(""),
		problems: map[string]bool{}, canary: newCanary(), sockets: newSockets(),
		soon: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), held: make(chan struct{}),
	}
	m.workers = workers{of: make(map[event.Actor]*worker), follow: func(w *worker) { go m.follow(w) }}
	if m.opt.Logf == nil {
		m.opt.Logf = func(string, ...any) {}
	}
	var err error
	if m.containers, err = openContainers(); err != nil {
		m.opt.Logf("%v", err)
	}
	if opt.Unsealed != nil {
		m.doWithout(fmt.Sprintf("changes of the monitor's own program while it runs: %v", opt.Unsealed))
	}
	up := m.prepare()
	err = m.arm(ctx)
	g := <-up
	if m.barrier = g.barrier; g.err != nil && err == nil {
		m.doWithout(fmt.Sprintf("the last second before a job takes root: nothing holds up sudo until it is sealed: %v", g.err))
	}
	if err != nil {
		m.containers.close()
		m.canary.close()
		m.lower()
		return nil, err
	}
	m.mu.Lock()
	m.containers.seed()
	err = m.table.Seed("/proc")
	m.mu.Unlock()
	if err != nil {
		m.disarm()
		m.canary.close()
		m.lower()
		return nil, fmt.Errorf("reading the processes that are already there: %w", err)
	}
	m.armed = boottime()
	if m.second != nil {
		m.level(ctx)
		m.compareSockets(lossesOf(m.primary.Stats()))
	}
	if p, ok := m.primary.(*ebpf.Sensor); ok {
		p.AwaitProbes()
	}
	// The first recording waits for these anyhow; on a slow machine they would
	// keep the first round from its time, which is told as a gap.
	<-m.rules.made
	programDigest()
	m.ready = boottime()
	m.lastTick, m.lastCanary, m.lastMono = m.ready, m.ready, monotonic()
	m.lastLost = lossesOf(m.primary.Stats())
	m.wallOffset = wallOffset()
	// A recording may be shorter than the first round.
	m.check()
	if m.declared, err = m.listenDeclared(); err != nil {
		m.opt.Logf("coding agents cannot declare what they do: %v", err)
	}
	go m.tick()
	go m.callContainers()
	if m.barrier != nil {
		m.locked(func() { m.guard = m.barrier.PID() })
		go m.hold(m.barrier)
	} else {
		close(m.held)
	}
	return m, nil
}

// lower takes the barrier away, and the keys that nobody uses.
func (m *Monitor) lower() {
	m.unprepare()
	if m.barrier != nil {
		m.barrier.Close()
	}
}

// level takes the difference between the two witnesses that stands before
// anything is recorded: it is read until two readings agree, and on a machine
// that is never still so often that little is left open.
func (m *Monitor) level(ctx context.Context) {
	const tries = 6
	var leaving int64
	var told uint64 // exits, when those that were not done were counted
	for range tries {
		before, based := m.witness.base, m.witness.based
		r, err := m.bothCounts(ctx)
		if err != nil {
			return // the round will tell that a sensor does not answer
		}
		m.witness.arm(r)
		if based {
			// Of those that began since nobody knows whether they are done.
			m.witness.leaving = leaving + int64(r.after[exit]-told)
		}
		told = r.after[exit]
		leaving = exitingProcesses()
		if based && m.witness.base == before && m.witness.slack == [3]int64{} {
			return
		}
	}
}

// bothCounts reads both witnesses, so that what has happened before the call is
// in what the second one counted.
func (m *Monitor) bothCounts(ctx context.Context) (reading, error) {
	before := counts(m.primary.Stats())
	if err := m.second.Drain(ctx); err != nil {
		return reading{}, fmt.Errorf("second witness: %w", err)
	}
	netlink := counts(m.second.Stats())
	last := m.primary.Stats()
	return reading{before: before, netlink: netlink, after: counts(last), threadExecs: last.ThreadExecs}, nil
}

// arm starts the sensors that the settings and the kernel allow.
func (m *Monitor) arm(ctx context.Context) error {
	names, prefixes := credential.WatchNames()
	watch := sensor.Watch{Names: names, Prefixes: prefixes}
	var refused error
	var second <-chan witnessed
	if m.opt.Sensor != "netlink" {
		second = m.startWitness(ctx)
		s := ebpf.New(ebpf.Options{Watch: watch, OwnFolders: ownFolders(), NoTLS: m.opt.NoTLS, ProbesLater: true})
		if refused = s.Start(ctx, m.handle); refused == nil {
			m.primary = s
		} else if why := probe.CanEBPF(); why != nil {
			// Asked only now: the answer costs as much as loading, and speaks
			// to a person where the kernel's own does not.
			refused = why
		}
		// Not beside loading, which takes all processors there are.
		m.prepareFirst()
		switch w := <-second; {
		case refused == nil && w.err != nil:
			m.doWithout(fmt.Sprintf("what the eBPF sensor alone misses: there is no second witness: %v", w.err))
		case refused == nil:
			m.second = w.sensor
		case w.err == nil:
			_ = w.sensor.Close()
		}
		if refused != nil && m.opt.Sensor == "ebpf" {
			return fmt.Errorf("the eBPF sensor cannot be used: %w", refused)
		}
	}
	if m.primary != nil {
		return nil
	}
	if m.rules == nil {
		m.prepareFirst()
	}
	if err := probe.CanNetlink(); err != nil {
		return errors.Join(refused, fmt.Errorf("the netlink sensor cannot be used: %w", err))
	}
	s := netlink.New(netlink.Options{Watch: watch})
	if err := s.Start(ctx, m.handle); err != nil {
		return errors.Join(refused, fmt.Errorf("the netlink sensor cannot be used: %w", err))
	}
	if refused != nil {
		m.opt.Logf("watching with netlink and /proc, which see less: %v", refused)
		m.without = append(m.without, fmt.Sprintf("what only the eBPF sensor sees: it cannot be used: %v", refused))
	}
	m.primary = s
	return nil
}

// witnessed is a second witness, or why there is none.
type witnessed struct {
	sensor sensor.Sensor
	err    error
}

// startWitness starts the second witness beside the first one: it mostly waits
// for the kernel. What it counts before the other is armed is levelled out.
func (m *Monitor) startWitness(ctx context.Context) <-chan witnessed {
	up := make(chan witnessed, 1)
	go func() {
		err := probe.CanNetlink()
		if err == nil {
			s := netlink.New(netlink.Options{WitnessOnly: true})
			if err = s.Start(ctx, m.handleWitness); err == nil {
				up <- witnessed{sensor: s}
				return
			}
		}
		up <- witnessed{err: err}
	}()
	return up
}

// doWithout notes what each recording says is not seen, and why.
func (m *Monitor) doWithout(what string) {
	m.without = append(m.without, what)
	m.opt.Logf("not seen: %s", what)
}

func (m *Monitor) disarm() {
	if m.second != nil {
		_ = m.second.Close()
	}
	if m.primary != nil {
		_ = m.primary.Close()
	}
	m.containers.close() // after the sensors: their records ask it
}

// Close ends every recording that is still open and takes the sensors off the
// kernel.
func (m *Monitor) Close() {
	m.declared.close()
	m.closeJobs()
	close(m.stop)
	m.lower()
	<-m.held
	<-m.done
	<-m.naming.done
	m.mu.Lock()
	open := m.open()
	m.mu.Unlock()
	for _, r := range open {
		m.finish(r, Closing{Exit: -1}, "the monitor was told to stop")
	}
	m.disarm()
	m.canary.close()
}

// SensorName returns the name of the sensor in use.
func (m *Monitor) SensorName() string { return m.primary.Name() }

// recording reports whether anything is recorded.
func (m *Monitor) recording() bool {
	for _, r := range m.recs {
		if r != nil {
			return true
		}
	}
	return false
}

func (m *Monitor) open() []*recording {
	var rs []*recording
	for _, r := range m.recs {
		if r != nil {
			rs = append(rs, r)
		}
	}
	return rs
}

// handleWitness is the sink of the second witness, whose records say only
// what it could not count.
func (m *Monitor) handleWitness(rec *sensor.Record) {
	if rec.Kind != event.SensorGap {
		return
	}
	// What the witness missed, the sensor in use may well have seen. But while
	// the witness is starved nothing shows that it did, and a job can starve it.
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.open() {
		r.gap(m.second.Name(), "second witness: "+rec.Detail, rec.From, rec.To, rec.Lost)
	}
}

// handle is the sink of the sensor in use: one record becomes an event in each
// recording that it is part of.
func (m *Monitor) handle(rec *sensor.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.canary.see(rec, m.self)
	m.sockets.see(rec)
	var p *process.Process
	switch rec.Kind {
	case event.Fork:
		p = m.table.Fork(rec)
	case event.Exec:
		if p = m.table.Exec(rec); m.isWarden(p, rec) {
			p.Tags = 0
			return
		}
		if p != nil {
			m.images.add(p.Actor, rec.Exe)
		}
		if m.jobs != nil && p.Worker() {
			m.jobs.begins(m, p, string(rec.Exe))
		}
	case event.Exit:
		if p = m.table.Exit(rec); m.jobs != nil {
			m.jobs.exited(m, p, rec)
		}
	case event.SetID:
		p = m.table.SetID(rec)
	case event.Container:
		if id := m.containers.made(rec); !id.IsZero() && m.recording() {
			m.naming.of(id) // now, since it may be gone in a moment
		}
		return
	case event.SensorGap:
		for _, r := range m.open() {
			r.gap(m.primary.Name(), rec.Detail, rec.From, rec.To, rec.Lost)
		}
		return
	default:
		if rec.PID == 0 {
			m.unowned++
			for _, r := range m.recs {
				if r != nil && r.host {
					r.record(rec, nil, nil, event.ViaHost)
				}
			}
			return
		}
		p = m.table.Find(rec.PID, rec.Start)
	}
	if m.bells > 0 && (rec.Kind == event.Exec || rec.Kind == event.Exit) {
		for _, r := range m.recs {
			if r != nil && r.bell != nil {
				r.bell.saw(rec, p, r.parent)
			}
		}
	}
	// A later policy is looked for before its path is shortened or hashed.
	if p != nil {
		for bit, r := range m.recs {
			if r != nil && r.later != nil && p.Tags.Has(bit) {
				r.later.saw(m, r, rec, p)
			}
		}
	}
	// What the monitor does itself is no job's doing, whoever started it.
	if p == nil || rec.PID == m.self || m.canary.pid != 0 && rec.PID == m.canary.pid {
		return
	}
	if rec.Kind == event.Unix {
		if kind := process.KindOfSocket(rec.Path); kind != process.NoKind {
			if kind == process.Containers {
				m.naming.engines.Saw(string(rec.Path))
			}
			m.table.Request(p, kind, rec.Time)
			if kind == process.Services {
				// systemd-resolved answers over D-Bus too.
				m.table.Request(p, process.Resolver, rec.Time)
			}
		}
	}
	var resolves process.Set
	if rec.Kind == event.DNS {
		if !rec.OK && rec.Dst.Addr().IsLoopback() {
			m.table.Request(p, process.Resolver, rec.Time) // a stub, whose owner will ask another
		}
		resolves = m.table.Resolves(p, rec.Time)
	}
	var target *process.Process
	if rec.TargetPID != 0 {
		target = m.table.Find(rec.TargetPID, rec.TargetStart)
	}
	ours := m.isOwn(rec.TargetPID) || m.isKey(target) || rec.OwnObject
	if rec.TargetPID != m.self && ours || m.own.has(rec) {
		target = m.table.Find(m.self, 0) // what is ours is us
	}
	for bit, r := range m.recs {
		if r == nil {
			continue
		}
		switch {
		case p.Tags.Has(bit):
			via := p.Via(bit)
			if via == event.ViaHost && (ours || target != nil && target.Tags.Has(bit) && target.Via(bit) != event.ViaHost) && outsideMatters(rec) {
				via = event.ViaOutside // what an earlier job has left, upon this one
			}
			r.record(rec, p, target, via)
		case r.host:
			if !m.isKey(p) && (p.Parent == nil || !m.isOwn(p.Parent.Actor.PID)) {
				r.record(rec, p, target, event.ViaHost)
			}
		case resolves.Has(bit):
			r.record(rec, p, nil, event.ViaRequest)
		case (ours || target != nil && target.Tags.Has(bit)) && outsideMatters(rec):
			r.stranger(rec, p, m.images.find(p.Actor))
			r.record(rec, p, target, event.ViaOutside)
		}
	}
}

// isOwn reports whether a process is the monitor, its guard or the maker of its
// keys.
func (m *Monitor) isOwn(pid uint32) bool {
	return pid != 0 && (pid == m.self || pid == m.guard || pid == seal.Maker())
}

// isKey reports whether a process is forked from the maker of keys: it is what
// forks them, or one of them.
func (m *Monitor) isKey(p *process.Process) bool {
	maker := seal.Maker()
	for range 2 {
		if p == nil || maker == 0 {
			return false
		}
		if p = p.Parent; p != nil && p.Actor.PID == maker {
			return true
		}
	}
	return false
}

// isWarden reports whether a process of the monitor's own makes keys or stands
// at the barrier. The monitor starts nothing for a job, but where a recording is
// of its own children they would be part of it.
func (m *Monitor) isWarden(p *process.Process, rec *sensor.Record) bool {
	return p != nil && p.Parent != nil && p.Parent.Actor.PID == m.self && bytes.HasPrefix(rec.Argv, wardenName)
}

var wardenName = []byte(warden.Name + "\x00")

// outsideMatters tells which acts of a process outside the lineage upon one
// inside it are told. A parent's SIGCHLD is not one.
func outsideMatters(rec *sensor.Record) bool {
	switch rec.Kind {
	case event.Ptrace, event.MemAccess:
		return true
	case event.BPF:
		return rec.OwnObject
	case event.Kill:
		return rec.Signal != 0 && rec.Signal != int(unix.SIGCHLD)
	}
	return false
}

// boottime returns CLOCK_BOOTTIME in nanoseconds.
func boottime() int64 { return clock(unix.CLOCK_BOOTTIME) }

// monotonic returns CLOCK_MONOTONIC in nanoseconds, which stands still while
// the machine is suspended.
func monotonic() int64 { return clock(unix.CLOCK_MONOTONIC) }

func clock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// wallOffset returns how far the wall clock is ahead of the boot clock.
func wallOffset() int64 { return time.Now().UnixNano() - boottime() }

// alive reports whether a process is still there.
func (m *Monitor) alive(a event.Actor) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.table.Find(a.PID, a.Start)
	return p != nil && p.Alive
}
