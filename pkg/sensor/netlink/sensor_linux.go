package netlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/sensor"
)

// Sensor is the netlink sensor. Make one with New.
type Sensor struct {
	opt    Options
	counts counts

	forgedTold atomic.Uint64

	mu      sync.Mutex // guards what follows: Start and Close
	running bool

	fd       int // of the subscription that is read
	holders  []*nl.Conn
	poker    poker
	queue    *queue
	table    *table
	marks    marks
	reader   *reader
	dispatch *dispatcher
	watcher  *watcher // nil for a witness
	lister   lister

	readerDone, dispatchDone, watcherDone chan struct{}
}

var _ sensor.Sensor = (*Sensor)(nil)

// New returns a sensor that sees nothing before Start.
func New(opt Options) *Sensor {
	return &Sensor{opt: opt.withDefaults(), lister: lister{most: socketsMax}}
}

// Name returns "netlink".
func (s *Sensor) Name() string { return "netlink" }

// Start arms the sensor. The error says what the kernel refused.
func (s *Sensor) Start(ctx context.Context, sink sensor.Sink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return errors.New("netlink: already started")
	}
	clock, err := probe.ReadClock()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	conn, fd, err := dial(unix.NETLINK_CONNECTOR, cnIdxProc, s.opt.Buffer, 0)
	if err != nil {
		return fmt.Errorf("netlink: proc connector: %w", err)
	}
	if fd, err = quiet(conn, fd); err != nil {
		return fmt.Errorf("netlink: proc connector: %w", err)
	}
	p, err := newPoker()
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("netlink: %w", err)
	}
	s.fd, s.poker = fd, p
	s.queue, s.table = newQueue(s.opt.queue), newTable()
	self, tick := uint32(os.Getpid()), 1e9/clock.UserHZ
	root, _ := probe.CgroupRoot() // without it records have no cgroup
	s.reader = &reader{
		receiver: newReceiver(nil, fd), poker: p, queue: s.queue, counts: &s.counts, witness: s.opt.WitnessOnly,
		self: self, tick: tick, offset: clock.Monotonic, newest: bootNow(),
		proc: procReader{argvMax: s.opt.ArgvMax, cgroupRoot: root},
	}
	s.dispatch = &dispatcher{
		queue: s.queue, table: s.table, marks: &s.marks, counts: &s.counts, sink: sink, self: self, tick: tick,
		proc:   procReader{argvMax: s.opt.ArgvMax, cgroupRoot: root},
		urgent: make(chan struct{}, 1), stop: make(chan struct{}), nets: map[uint32]bool{},
	}
	s.dispatch.mover = &mover{table: s.table, proc: &s.dispatch.proc, tick: tick, emit: s.dispatch.give}
	if err := s.subscribe(); err != nil {
		s.hangUp()
		return fmt.Errorf("netlink: proc connector: %w", err)
	}
	// What happens from here on is in the socket's buffer until the reader
	// runs, so nothing falls between the list of processes and the events.
	if !s.opt.WitnessOnly {
		err := s.dispatch.seed()
		if err == nil {
			s.watcher, err = newWatcher(s.queue, s.table, &s.counts, tick, s.opt)
		}
		if err != nil {
			s.hangUp()
			return fmt.Errorf("netlink: %w", err)
		}
		s.dispatch.joined = s.watcher.joined
		s.watcherDone = make(chan struct{})
		go func() { defer close(s.watcherDone); s.watcher.run() }()
	}
	s.readerDone, s.dispatchDone = make(chan struct{}), make(chan struct{})
	go func() { defer close(s.readerDone); s.reader.run() }()
	go func() { defer close(s.dispatchDone); s.dispatch.run() }()
	s.running = true
	// The first mark is the base of the sequence numbers of every CPU, and the
	// proof that the kernel talks to us.
	if err := s.beat(ctx, 2*time.Second); err != nil {
		s.close()
		return fmt.Errorf("netlink: %w", err)
	}
	return nil
}

// holders is how many subscriptions we hold beside the one that is read. The
// kernel tells of processes only while its count of subscribers is above zero,
// and lets any socket of root withdraw one it never made
// (cn_proc_mcast_ctl, PROC_CN_MCAST_IGNORE).
const holders = 16

// subscriptionAck marks our subscriptions and those of other monitors on this
// machine, so that the kernel's answers to those of others are told apart. It
// is no secret: who imitates it is found by Check, or by the other witness.
const subscriptionAck = 0x706f7374

func (s *Sensor) subscribe() error {
	listen := nl.Message{Header: nl.Header{Type: nl.Done}, Data: subscription(mcastListen, subscriptionAck)}
	if err := send(s.fd, listen); err != nil {
		return err
	}
	for range holders {
		// Not bound to the group, so nothing is sent to it.
		c, err := nl.Dial(unix.NETLINK_CONNECTOR, nil)
		if err != nil {
			break
		}
		s.holders = append(s.holders, c)
		if _, err := c.Send(listen); err != nil {
			return err
		}
	}
	return nil
}

// hangUp withdraws all subscriptions: kernels before 6.6 do not notice that a
// subscriber is gone.
func (s *Sensor) hangUp() {
	ignore := nl.Message{Header: nl.Header{Type: nl.Done}, Data: subscription(mcastIgnore, subscriptionAck)}
	for _, c := range s.holders {
		_, _ = c.Send(ignore)
		c.Close()
	}
	s.holders = nil
	_ = send(s.fd, ignore)
	_ = unix.Close(s.fd)
	_ = unix.Close(s.poker.fd)
}

// beat returns after all that happened before it was given to the sink.
func (s *Sensor) beat(ctx context.Context, patience time.Duration) error {
	return s.marks.beat(ctx, func() { s.poker.poke(); signal(s.dispatch.urgent) }, patience)
}

// Drain returns after everything that happened before the call has been given
// to the sink.
func (s *Sensor) Drain(ctx context.Context) error {
	if !s.started() {
		return errors.New("netlink: not started")
	}
	if err := s.beat(ctx, 0); err != nil || s.watcher == nil {
		return err
	}
	// The sockets last: the processes that hold them are known now.
	select {
	case <-s.watcher.look():
	case <-ctx.Done():
		return ctx.Err()
	case <-s.watcherDone:
	}
	return s.beat(ctx, 0)
}

func (s *Sensor) started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// Check makes an event of its own and looks whether it comes back.
func (s *Sensor) Check() []string {
	if !s.started() {
		return []string{"netlink: not started"}
	}
	var problems []string
	if err := s.beat(context.Background(), time.Second); err != nil {
		problems = append(problems, "netlink: "+err.Error())
	}
	if s.watcher != nil {
		problems = append(problems, s.watcher.check()...)
	}
	if n := s.counts.forged.Load(); n > s.forgedTold.Swap(n) {
		problems = append(problems, "netlink: messages that the kernel did not send were refused: another program with CAP_NET_ADMIN forges events")
	}
	return problems
}

// Stats returns the totals since Start.
func (s *Sensor) Stats() sensor.Stats {
	st := sensor.Stats{
		Forks: s.counts.forks.Load(), Execs: s.counts.execs.Load(), Exits: s.counts.exits.Load(),
		Records: s.counts.records.Load(), Lost: s.counts.lost.Load() + s.counts.deaf.Load(), Undecoded: s.counts.undecoded.Load(),
		Missing: blind,
	}
	if s.opt.WitnessOnly {
		st.Missing = blindWitness
	}
	return st
}

// Close disarms the sensor. What is left goes to the sink before it returns.
func (s *Sensor) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return nil
	}
	s.close()
	return nil
}

func (s *Sensor) close() {
	s.running = false
	if s.watcher != nil {
		s.watcher.stop.Store(true)
		s.watcher.poker.poke()
		<-s.watcherDone
	}
	s.reader.stop.Store(true)
	s.poker.poke()
	<-s.readerDone
	close(s.dispatch.stop)
	<-s.dispatchDone
	s.queue.close()
	s.lister.mu.Lock()
	s.lister.close()
	s.lister.mu.Unlock()
	s.hangUp()
}
