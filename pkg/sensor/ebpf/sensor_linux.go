package ebpf

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	bpf "github.com/cilium/ebpf"

	"github.com/org/edamame-posture/pkg/sensor"
)

// Sensor is the eBPF sensor. It can be started once.
type Sensor struct {
	opt Options

	mu     sync.Mutex // guards l, reader and closed
	l      *loaded
	reader *reader
	closed bool
	last   sensor.Stats // after Close

	unmade  uint64 // runs of on_state that were skipped, and not made up for
	checked int    // the frozen map that was looked at last

	tls     *tlsProbes // nil where TLS is not read
	missing []string
	progs   map[string]*bpf.Program
	counts  *bpf.Map
}

var _ sensor.Sensor = (*Sensor)(nil)

// New returns a sensor that is not yet armed.
func New(opt Options) *Sensor { return &Sensor{opt: opt} }

// Name returns "ebpf".
func (s *Sensor) Name() string { return "ebpf" }

// Start loads the programs, arms them, and returns when a first event would be
// seen. The error says what the kernel refused, in the verifier's words where
// it was the verifier.
func (s *Sensor) Start(ctx context.Context, sink sensor.Sink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.l != nil || s.closed {
		return errors.New("an eBPF sensor can be started once")
	}
	l, err := load(s.opt)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		l.close()
		return err
	}
	r, err := newReader(l, s.opt, sink)
	if err != nil {
		l.close()
		return err
	}
	err = l.attach()
	var own []kernelObject
	if err == nil {
		own, err = l.objects()
	}
	if err != nil {
		l.detach()
		r.abandon()
		l.close()
		return err
	}
	r.dec.own.add(own...)
	r.living = l.living
	if l.tls {
		s.tls = newTLSProbes(l, &r.dec.own, s.logf)
		r.tls = s.tls
	}
	s.l, s.reader, s.missing, s.counts = l, r, l.missing, l.coll.Maps["counts"]
	s.progs = l.coll.Programs
	go r.run()
	// The kernel's type information is mapped until it is collected, and
	// nobody needs it again. Not at once: somebody waits for the sensor.
	time.AfterFunc(time.Second, debug.FreeOSMemory)
	if s.tls != nil && !s.opt.ProbesLater {
		<-s.tls.begun
	}
	for _, m := range l.missing {
		s.logf("eBPF sensor: not seen on this kernel: %s", m)
	}
	return nil
}

// AwaitProbes returns when the libraries for TLS that were there at the start are
// probed. Start has waited for it, unless [Options] said not to.
func (s *Sensor) AwaitProbes() {
	s.mu.Lock()
	t := s.tls
	s.mu.Unlock()
	if t != nil {
		<-t.begun
	}
}

func (s *Sensor) logf(format string, args ...any) {
	if s.opt.Logf != nil {
		s.opt.Logf(format, args...)
	}
}

var errNotRunning = errors.New("the eBPF sensor is not running")

// Drain returns after everything that happened before the call has been given
// to the sink, or ctx ends.
func (s *Sensor) Drain(ctx context.Context) error {
	return s.await(ctx, func(r *reader) chan chan struct{} { return r.drains })
}

// CatchUp implements [sensor.Catcher].
func (s *Sensor) CatchUp(ctx context.Context) error {
	return s.await(ctx, func(r *reader) chan chan struct{} { return r.catches })
}

func (s *Sensor) await(ctx context.Context, of func(*reader) chan chan struct{}) error {
	s.mu.Lock()
	r := s.reader
	s.mu.Unlock()
	if r == nil {
		return errNotRunning
	}
	done := make(chan struct{})
	select {
	case of(r) <- done:
	case <-r.ended:
		return errNotRunning
	case <-ctx.Done():
		return ctx.Err()
	}
	r.wake()
	select {
	case <-done:
		return nil
	case <-r.ended:
		return nil // Close gives everything to the sink before
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close disarms the sensor, gives what is left to the sink, and leaves nothing
// in the kernel. Closing twice is no error.
func (s *Sensor) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.l == nil {
		s.closed = true
		return nil
	}
	missed, of := s.misses()
	if s.tls != nil {
		s.tls.close()
	}
	s.l.detach()
	close(s.reader.stop)
	s.reader.wake()
	<-s.reader.ended
	s.last = s.stats(missed, of)
	s.reader.close()
	s.l.close()
	s.closed, s.reader, s.progs, s.counts = true, nil, nil, nil
	return nil
}

// Stats returns running totals. Forks, Execs and Exits are counted in the
// kernel, so they do not wait for the ring to be read.
func (s *Sensor) Stats() sensor.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader == nil {
		return s.last
	}
	return s.stats(s.misses())
}

// misses returns how many runs of programs the kernel skipped, and of which. Of
// on_state those count that on_state_skipped did not make up for; it is skipped
// itself only where on_state was run. Of the three at sys_exit a call is missed
// that each was skipped for, which are at most as many as of any of them.
func (s *Sensor) misses() (n uint64, of []string) {
	calls := map[string]uint64{}
	for name, p := range s.progs {
		st, err := p.Stats()
		if err != nil || name == "on_state_skipped" {
			continue
		}
		missed := st.RecursionMisses
		switch {
		case name == "on_state":
			// What was made up for is read later, and so may hold more.
			s.unmade = max(s.unmade, missed-min(missed, s.madeUp()))
			missed = s.unmade
		case strings.HasPrefix(name, "on_sys_exit"):
			calls[name] = missed
			continue
		}
		if missed > 0 {
			n += missed
			of = append(of, name)
		}
	}
	if missed := fewest(calls); missed > 0 {
		n += missed
		of = append(of, "on_sys_exit")
	}
	slices.Sort(of)
	return n, of
}

// fewest returns the least of them; 0 of none.
func fewest(of map[string]uint64) uint64 {
	least := uint64(math.MaxUint64)
	for _, n := range of {
		least = min(least, n)
	}
	if len(of) == 0 {
		return 0
	}
	return least
}

func (s *Sensor) madeUp() (n uint64) {
	var all []counters
	if err := s.counts.Lookup(uint32(0), &all); err == nil {
		for _, c := range all {
			n += c.MadeUp
		}
	}
	return n
}

func (s *Sensor) stats(missed uint64, of []string) sensor.Stats {
	st := sensor.Stats{Missing: s.missing, Missed: missed, MissedOf: of}
	var all []counters
	if err := s.counts.Lookup(uint32(0), &all); err == nil {
		for _, c := range all {
			st.Forks += c.Forks
			st.Execs += c.Execs
			st.Exits += c.Exits
			st.ThreadExecs += c.ThreadExecs
			st.Folded += c.Folded
			st.Lost += c.Failed[0] + c.Failed[1] + c.Busy
		}
	}
	st.Stolen = s.reader.stolen.Load()
	st.Records = s.reader.records.Load()
	st.Undecoded = s.reader.undecoded.Load()
	st.Untold = s.reader.untold.Load()
	return st
}

// counters is struct counters of bpf/emit.h.
type counters struct {
	Seq, Failed         [2]uint64
	Busy                uint64
	Forks, Execs, Exits uint64
	Folded, Unadopted   uint64
	Woken               [2]uint64
	MadeUp, ThreadExecs uint64
}

// Check looks whether all that was armed still is. A cgroup link that root
// detached by force says so, and its program is attached again; a tracing link
// cannot be, and a second witness would show it.
func (s *Sensor) Check() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader == nil {
		return []string{errNotRunning.Error()}
	}
	lines := slices.Clone(s.l.refused)
	for i := range s.l.links {
		a := &s.l.links[i]
		info, err := a.link.Info()
		switch {
		case err != nil:
			lines = append(lines, fmt.Sprintf("program %s: what holds it cannot be read: %v", a.hook.program, err))
			continue
		case info.ID != a.id || info.Program != a.prog:
			lines = append(lines, fmt.Sprintf("program %s was replaced", a.hook.program))
		}
		if cg := info.Cgroup(); cg != nil && cg.CgroupId == 0 {
			how := sensor.ArmedAgain
			if err := s.l.rearm(a); err != nil {
				how = fmt.Sprintf("; it could not be armed again: %v", err)
			}
			s.reader.dec.own.add(kernelObject{ofLink, uint32(a.id)})
			lines = append(lines, fmt.Sprintf("program %s was detached: %s not seen%s", a.hook.program, a.hook.without, how))
		}
	}
	// No call unfreezes a map, so this is for a kernel that does: one in turn.
	if n := len(s.l.frozen); n > 0 {
		s.checked = (s.checked + 1) % n
		name := s.l.frozen[s.checked]
		info, err := s.l.coll.Maps[name].Info()
		if err != nil || !info.Frozen() {
			lines = append(lines, fmt.Sprintf("map %s is no longer frozen", name))
		}
	}
	if now, err := s.l.coll.Maps[".rodata"].LookupBytes(uint32(0)); err != nil || string(now) != string(s.l.rodata) {
		lines = append(lines, "the settings in the kernel are not those that were written")
	}
	if s.reader.unasked.Load() > 0 {
		lines = append(lines, "connections that go on could not be asked what they carried")
	}
	var all []counters
	if err := s.counts.Lookup(uint32(0), &all); err == nil {
		var n uint64
		for _, c := range all {
			n += c.Unadopted
		}
		if n > 0 {
			lines = append(lines, "the list of watched files is full: some are known by their names alone")
		}
	}
	for i := range s.reader.disturbed {
		if s.reader.disturbed[i].Load() {
			lines = append(lines, fmt.Sprintf("somebody else reads the %s ring", [...]string{"priority", "file"}[i]))
		}
	}
	return lines
}
