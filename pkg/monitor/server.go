package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/judge"
)

// Hello is the one line that a monitor started by a client writes to its
// stdout: where to connect, or why it could not start.
type Hello struct {
	Socket string `json:"socket,omitempty"`
	Error  string `json:"error,omitempty"`
}

// ServeOptions are the settings of [Serve].
type ServeOptions struct {
	Options
	// UID and GID are the caller's: only they, and root, may connect, and the
	// recordings become theirs.
	UID, GID int
	Groups   []int
	// Armed is called once, when a first event would be seen; nil for nothing.
	Armed func()
	// Settled is called settledAfter after Armed, unless the monitor has ended: what
	// it gives back is not needed again at once. nil for nothing.
	Settled func()
	// Deliver is the command that hands a recording over where its client is
	// gone, run as the caller: the folder is appended to it.
	Deliver []string
	// Date is the command that asks a timestamp authority, run as the caller: its
	// URL is appended, and it is given a text.
	Date []string
}

// settledAfter is how long after it is armed a monitor is taken to have begun its
// work: until then the job waits for it.
const settledAfter = time.Second

// Serve runs a monitor for one recording: it arms, says hello, serves the
// client that started it, and ends when the recording is closed. A recording
// that was opened detached outlives its connection, and is closed over another
// one or by the end of the process whose children it watches. Whatever becomes
// of the client, the recording is sealed and nothing stays attached.
func Serve(ctx context.Context, opt ServeOptions, hello io.WriteCloser) error {
	say := func(h Hello) error {
		b, err := json.Marshal(h)
		if err != nil {
			return err
		}
		_, err = hello.Write(append(b, '\n'))
		return errors.Join(err, hello.Close())
	}
	m, err := Start(ctx, opt.Options)
	if err != nil {
		return errors.Join(err, say(Hello{Error: err.Error()}))
	}
	defer m.Close()
	if opt.Armed != nil {
		opt.Armed()
	}
	if opt.Settled != nil {
		defer time.AfterFunc(settledAfter, opt.Settled).Stop()
	}
	sweepControl()
	sweepPins()
	_, dir, err := newSpool()
	if err != nil {
		return errors.Join(err, say(Hello{Error: err.Error()}))
	}
	defer Discard(dir)
	m.own.folder(dir)
	path := filepath.Join(dir, controlName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return errors.Join(err, say(Hello{Error: err.Error()}))
	}
	defer l.Close()
	// Anyone may knock: who it is, the kernel says.
	if err := os.Chmod(path, 0o666); err != nil {
		return errors.Join(err, say(Hello{Error: err.Error()}))
	}
	if err := say(Hello{Socket: path}); err != nil {
		return fmt.Errorf("telling the client where to connect: %w", err)
	}
	srv := &server{m: m, opt: opt, path: path, over: make(chan struct{}), shut: func() {
		l.Close()
		_ = Discard(dir)
	}}
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer serving.Wait()
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-srv.over:
		}
		l.Close()
	}()
	if err := l.SetDeadline(time.Now().Add(connectWithin)); err != nil {
		return err
	}
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			srv.mu.Lock()
			none := srv.rec == nil && !srv.ended
			srv.mu.Unlock()
			if none && ctx.Err() == nil {
				return fmt.Errorf("no client came: %w", err)
			}
			// The door is shut while the one client is served.
			select {
			case <-ctx.Done():
				srv.abandon("the monitor was told to stop")
				return ctx.Err()
			case <-srv.over:
				srv.givePowerBack(ctx)
				return nil
			}
		}
		k := newConn(c)
		cred, err := k.peer()
		if err != nil || !srv.admits(cred.Uid) {
			c.Close()
			continue
		}
		if err := l.SetDeadline(time.Time{}); err != nil {
			return err
		}
		if cred.Uid != 0 && !srv.guest() {
			c.Close()
			continue
		}
		serving.Go(func() {
			if cred.Uid != 0 {
				defer srv.guests.Add(-1)
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			srv.serve(k, cred)
		})
	}
}

// connectWithin is how long a monitor waits for the client that started it.
const connectWithin = 10 * time.Second

// server is a monitor with its one recording.
type server struct {
	m    *Monitor
	opt  ServeOptions
	over chan struct{} // closed when the recording has ended
	shut func()        // lets nobody else in
	path string        // of the socket

	guests atomic.Int32 // connections of the caller's

	mu     sync.Mutex
	feed   feed
	stage  stage
	holder *conn // whose recording it is; nil for a detached one
	rec    *recording
	ended  bool
	closed string     // the folder of the recording that was closed
	last   *recording // that one
	took   *recording // one that has ended and took power from the job's user
	dater  *dater     // nil where nobody dates it from here
}

// serve answers one connection until it is closed. The connection that opened
// a recording holds it, unless it was opened detached.
func (s *server) serve(k *conn, peer *unix.Ucred) {
	holds, follows := false, false
	defer func() {
		if follows {
			return
		}
		if holds {
			s.abandon("the run command went away while the watched one ran: nothing was seen after this")
		}
		s.mu.Lock()
		if s.ended || s.rec == nil {
			s.end()
		}
		s.mu.Unlock()
	}()
	for {
		var q Request
		if s.stranger(k, peer) {
			_ = k.c.SetReadDeadline(time.Now().Add(guestWithin))
		}
		if err := k.read(&q); err != nil {
			return
		}
		_ = k.c.SetReadDeadline(time.Time{})
		if s.stranger(k, peer) && q.Op != "hello" && q.Op != "ring" {
			return
		}
		if q.Op == "follow" {
			follows = true
			_ = s.follow(k, q.ID)
			return
		}
		a, err := s.answer(q, k, peer)
		if err != nil {
			a = Response{Error: err.Error()}
		} else if q.Op == "open" {
			holds = !q.Open.Detach
		}
		a.ID = q.ID
		if q.Op == "memory" && err == nil {
			err = s.m.share(k, a)
		} else {
			err = k.write(a)
		}
		if err != nil {
			return
		}
	}
}

func (s *server) end() {
	select {
	case <-s.over:
	default:
		close(s.over)
	}
}

// admits tells who may connect: the caller and root, and once a recording is
// open only root. The watched job is most often the caller too, and must not
// be able to end what watches it. Where there is a bell the caller may ring it.
func (s *server) admits(uid uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uid == 0 || uid == uint32(s.opt.UID) && !s.ended && (s.rec == nil || s.rec.bell != nil)
}

// guest lets one more connection of the caller's in, if there are not too many:
// each one's thread and memory is the monitor's.
func (s *server) guest() bool {
	if s.guests.Add(1) <= maxGuests {
		return true
	}
	s.guests.Add(-1)
	return false
}

// stranger reports whether a peer may do no more than ring: it is not root, and
// what is open is not its own.
func (s *server) stranger(k *conn, peer *unix.Ucred) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return peer.Uid != 0 && (s.rec != nil || s.ended) && k != s.holder
}

// commands tells whether a peer may end the recording and have it removed: the
// connection that opened it, or for a detached one root.
func (s *server) commands(k *conn, peer *unix.Ucred) bool {
	if s.holder != nil {
		return k == s.holder
	}
	return peer.Uid == 0
}

func (s *server) answer(q Request, k *conn, peer *unix.Ucred) (Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if (q.Op == "close" || q.Op == "discard" || q.Op == "disclosed" || q.Op == "attach" || q.Op == "shown" || q.Op == "kept") && !s.commands(k, peer) {
		return Response{}, fmt.Errorf("%s: this recording is another's", q.Op)
	}
	switch q.Op {
	case "hello":
		if q.Version != ProtocolVersion {
			return Response{}, fmt.Errorf("the client speaks version %d of the protocol, this monitor %d: use the same build of both", q.Version, ProtocolVersion)
		}
		return Response{Version: ProtocolVersion}, nil
	case "open":
		if q.Open == nil {
			return Response{}, errors.New("open: nothing to open is given")
		}
		if s.rec != nil || s.ended {
			return Response{}, errors.New("open: this monitor has its recording already")
		}
		q.Open.found, q.Open.uid = s.found, uint32(s.opt.UID)
		r, err := s.m.Open(*q.Open, uint32(peer.Pid))
		if err != nil {
			return Response{}, err
		}
		s.rec = r
		ring, notDropped := "", ""
		if r.notDropped != nil {
			notDropped = r.notDropped.Error()
		}
		if err := s.openStage(r, &s.stage); err != nil {
			s.m.opt.Logf("this recording cannot be watched: %v", err)
		}
		if r.bell != nil {
			ring, r.control = r.bell.nonce, s.path
		}
		if q.Open.Detach {
			if err := s.m.pin(r); err != nil {
				s.m.opt.Logf("should this monitor be killed, nobody will know by whom: %v", err)
			}
			if d := q.Open.Dating; d != nil {
				s.dates(r, *d)
			}
			go s.awaitParent(r)
		} else {
			s.holder = k
			s.shut()
		}
		return Response{Opened: &Opened{
			ID: r.id, Spool: r.spool, Sensor: s.m.SensorName(), ArmedNs: s.m.ready - s.m.started,
			Commitment: r.committed, Checkpoint: r.checkpoint0, Ring: ring,
			NotDropped: notDropped,
		}}, nil
	case "watched":
		if s.rec == nil || s.rec.parent.PID != q.Parent || q.Parent == 0 {
			return Response{}, fmt.Errorf("watched: not the children of process %d", q.Parent)
		}
		return Response{Opened: &Opened{ID: s.rec.id, Sensor: s.m.SensorName()}}, nil
	case "ring":
		if s.rec == nil || s.rec.bell == nil {
			return Response{}, errors.New("ring: no recording with a bell is open")
		}
		err := s.rec.bell.knows(q.Ring)
		if err == nil {
			_ = s.m.settle() // what led to who rings is read
			err = s.m.rings(s.rec, peer)
		}
		if err != nil {
			s.m.tellRefused(s.rec, peer, err)
			return Response{}, fmt.Errorf("only the last step of what began it ends this recording: %w", err)
		}
		if later := s.m.pending(s.rec); later != nil {
			if !q.Declared {
				return Response{Later: later}, nil
			}
			if err := s.m.declare(s.rec, q.Intent); err != nil {
				return Response{}, fmt.Errorf("ring: %w", err)
			}
		}
		s.holder = k
		s.dateLast(s.rec)
		return s.close(Closing{Exit: -1, by: uint32(peer.Pid)})
	case "memory":
		return Response{}, s.m.shares()
	case "status":
		if s.rec == nil {
			return Response{}, errors.New("status: no recording is open")
		}
		return Response{Status: s.m.status(s.rec)}, nil
	case "attach":
		if s.rec == nil || q.Attach == nil {
			return Response{}, errors.New("attach: no recording is open")
		}
		return Response{}, s.m.attach(s.rec, *q.Attach)
	case "shown", "kept":
		r := s.rec
		if r == nil {
			r = s.last
		}
		switch {
		case r == nil || q.Op == "kept" && q.Kept == nil:
			return Response{}, fmt.Errorf("%s: no recording is open", q.Op)
		case q.Op == "kept":
			return Response{}, s.m.keep(r, *q.Kept)
		}
		shown, err := s.m.show(r)
		return Response{Shown: shown}, err
	case "newest":
		if s.rec == nil {
			return Response{}, errors.New("newest: no recording is open")
		}
		text, err := s.m.newest(s.rec)
		return Response{Newest: text}, err
	case "dated":
		if s.rec == nil || q.Dated == nil {
			return Response{}, errors.New("dated: no recording is open")
		}
		return Response{}, s.m.date(s.rec, *q.Dated)
	case "disclosed":
		if s.rec == nil || q.Disclosed == nil {
			return Response{}, errors.New("disclosed: no recording is open")
		}
		return Response{}, s.m.disclosed(s.rec, *q.Disclosed)
	case "close":
		if s.rec == nil || q.Close == nil {
			return Response{}, errors.New("close: no recording is open")
		}
		q.Close.by = uint32(peer.Pid)
		if s.rec.bell != nil && s.holder == nil {
			err := errors.New("it did not ring")
			s.m.tellRefused(s.rec, peer, err)
			return Response{}, fmt.Errorf("only the last step of what began it ends this recording: %w", err)
		}
		return s.close(*q.Close)
	case "discard":
		// The client has its copy. Which folder that is, we know best.
		if s.closed == "" {
			return Response{}, errors.New("discard: no recording was closed")
		}
		return Response{}, Discard(s.closed)
	}
	return Response{}, fmt.Errorf("there is no operation %q", q.Op)
}

// found is told of each finding, under the monitor's lock.
func (s *server) found(f *judge.Finding) {
	s.feed.add(f)
	s.stage.finding(f)
}

// close ends the recording and gives its folder to the caller. It is called
// with the lock held.
func (s *server) close(c Closing) (Response, error) {
	r := s.rec
	s.rec, s.last, s.ended = nil, r, true
	verdict := s.m.finish(r, c, "")
	if r.drop != nil {
		s.took = r
	}
	s.stage.close()
	if err := handOver(r.spool, s.opt.UID, s.opt.GID); err != nil {
		return Response{}, fmt.Errorf("handing over %s: %w", r.spool, err)
	}
	s.closed = r.spool
	comes := verdict.Verdict
	if r.broken {
		comes = judge.Fail
	}
	return Response{Closed: &Closed{Spool: r.spool, Verdict: string(comes)}}, nil
}

// awaitParent ends a detached recording when the process whose children it
// watches has gone: a runner that was killed sends no stop.
func (s *server) awaitParent(r *recording) {
	t := time.NewTicker(Interval)
	defer t.Stop()
	for {
		select {
		case <-s.over:
			return
		case <-t.C:
		}
		if !s.m.alive(r.parent) {
			s.abandon("the process whose children were watched has gone: nothing was seen after this")
			s.mu.Lock()
			s.end()
			s.mu.Unlock()
			return
		}
	}
}

// abandon seals what a client left open when it went away, and delivers it in
// its place.
func (s *server) abandon(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil {
		return
	}
	r := s.rec
	s.rec, s.ended = nil, true
	s.m.opt.Logf("%s", why)
	s.m.finish(r, Closing{Exit: -1}, why)
	if r.drop != nil {
		s.took = r
	}
	s.stage.close()
	if err := handOver(r.spool, s.opt.UID, s.opt.GID); err != nil {
		s.m.opt.Logf("handing over %s: %v", r.spool, err)
		return
	}
	if len(s.opt.Deliver) == 0 {
		s.m.opt.Logf("the recording is in %s", r.spool)
		return
	}
	cmd := s.asCaller(context.Background(), append(s.opt.Deliver[:len(s.opt.Deliver):len(s.opt.Deliver)], r.spool)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		s.m.opt.Logf("the recording stays in %s: %v", r.spool, err)
		return
	}
	if err := Discard(r.spool); err != nil {
		s.m.opt.Logf("removing %s: %v", r.spool, err)
	}
}

// asCaller makes a command of this program's as the caller.
func (s *server) asCaller(ctx context.Context, args ...string) *exec.Cmd {
	groups := make([]uint32, len(s.opt.Groups))
	for i, g := range s.opt.Groups {
		groups[i] = uint32(g)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.opt.UID), Gid: uint32(s.opt.GID), Groups: groups}}
	return cmd
}

// rememberer is a sensor that remembers beyond the monitor's end.
type rememberer interface {
	LastActs() (fd int, err error)
	PinLastActs(path string) error
}

// shares says why nobody will know who killed this monitor; nil where its
// client can.
func (m *Monitor) shares() error {
	s, ok := m.primary.(rememberer)
	if !ok {
		return fmt.Errorf("the %s sensor does not see signals", m.primary.Name())
	}
	_, err := s.LastActs()
	return err
}

// share answers a client with the memory of who signalled the monitor last, to
// be read when it is dead. The descriptor is sent before the sensors are taken
// off: whoever serves is waited for.
func (m *Monitor) share(k *conn, a Response) error {
	fd, err := m.primary.(rememberer).LastActs()
	if err != nil {
		return err
	}
	return k.writeWith(a, fd)
}

// status is a look at a recording.
func (m *Monitor) status(r *recording) *Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := r.judge.Live()
	return &Status{
		Processes: len(m.table.Living(r.bit)), Events: r.log.Size(), Lost: r.log.Lost(),
		Destinations: st.Destinations, Findings: st.Findings,
	}
}
