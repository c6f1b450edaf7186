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
	"syscall"
	"time"
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
	// Deliver is the command that hands a recording over where its client is
	// gone, run as the caller: the folder is appended to it.
	Deliver []string
}

// Serve runs a monitor for one client: it arms, says hello, serves one
// connection and ends when that is closed. Whatever becomes of the client, the
// recording is sealed and nothing stays attached.
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
	_, dir, err := newSpool()
	if err != nil {
		return errors.Join(err, say(Hello{Error: err.Error()}))
	}
	defer Discard(dir)
	path := filepath.Join(dir, "control")
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
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		if err := l.SetDeadline(time.Now().Add(connectWithin)); err != nil {
			return err
		}
		c, err := l.AcceptUnix()
		if err != nil {
			return fmt.Errorf("no client came: %w", err)
		}
		k := newConn(c)
		cred, err := k.peer()
		if err != nil || cred.Uid != uint32(opt.UID) && cred.Uid != 0 {
			c.Close()
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		m.serve(k, uint32(cred.Pid), opt)
		stop()
		c.Close()
		return ctx.Err()
	}
}

// connectWithin is how long a monitor waits for the client that started it.
const connectWithin = 10 * time.Second

// session is one connection's state.
type session struct {
	m    *Monitor
	opt  ServeOptions
	peer uint32
	rec  *recording
	// closed is the folder of the recording that was closed.
	closed string
}

// serve answers one connection until it is closed.
func (m *Monitor) serve(k *conn, peer uint32, opt ServeOptions) {
	s := &session{m: m, opt: opt, peer: peer}
	defer s.abandon()
	for {
		var q Request
		if err := k.read(&q); err != nil {
			return
		}
		a, err := s.answer(q)
		if err != nil {
			a = Response{Error: err.Error()}
		}
		if err := k.write(a); err != nil {
			return
		}
	}
}

func (s *session) answer(q Request) (Response, error) {
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
		if s.rec != nil {
			return Response{}, errors.New("open: this connection has a recording already")
		}
		r, err := s.m.Open(*q.Open, s.peer)
		if err != nil {
			return Response{}, err
		}
		s.rec = r
		return Response{Opened: &Opened{ID: r.id, Spool: r.spool, Sensor: s.m.SensorName(), ArmedNs: s.m.armed - s.m.started}}, nil
	case "status":
		if s.rec == nil {
			return Response{}, errors.New("status: no recording is open")
		}
		return Response{Status: s.m.status(s.rec)}, nil
	case "close":
		if s.rec == nil || q.Close == nil {
			return Response{}, errors.New("close: no recording is open")
		}
		r := s.rec
		s.rec = nil
		verdict := s.m.finish(r, *q.Close, "")
		if err := handOver(r.spool, s.opt.UID, s.opt.GID); err != nil {
			return Response{}, fmt.Errorf("handing over %s: %w", r.spool, err)
		}
		s.closed = r.spool
		return Response{Closed: &Closed{Spool: r.spool, Verdict: verdict}}, nil
	case "discard":
		// The client has its copy. Which folder that is, we know best.
		if s.closed == "" {
			return Response{}, errors.New("discard: no recording of this connection was closed")
		}
		return Response{}, Discard(s.closed)
	}
	return Response{}, fmt.Errorf("there is no operation %q", q.Op)
}

// abandon seals what a client left open when it went away, and delivers it in
// its place.
func (s *session) abandon() {
	if s.rec == nil {
		return
	}
	r := s.rec
	s.rec = nil
	s.m.finish(r, Closing{Exit: -1}, "the run command went away while the watched one ran: nothing was seen after this")
	if err := handOver(r.spool, s.opt.UID, s.opt.GID); err != nil {
		s.m.opt.Logf("handing over %s: %v", r.spool, err)
		return
	}
	if len(s.opt.Deliver) == 0 {
		s.m.opt.Logf("the recording is in %s", r.spool)
		return
	}
	groups := make([]uint32, len(s.opt.Groups))
	for i, g := range s.opt.Groups {
		groups[i] = uint32(g)
	}
	cmd := exec.Command("/proc/self/exe", append(s.opt.Deliver[:len(s.opt.Deliver):len(s.opt.Deliver)], r.spool)...)
	cmd.Stderr = os.Stderr
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.opt.UID), Gid: uint32(s.opt.GID), Groups: groups}}
	if err := cmd.Run(); err != nil {
		s.m.opt.Logf("the recording stays in %s: %v", r.spool, err)
		return
	}
	if err := Discard(r.spool); err != nil {
		s.m.opt.Logf("removing %s: %v", r.spool, err)
	}
}

// status is a look at a recording.
func (m *Monitor) status(r *recording) *Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := r.judge.Live()
	return &Status{
		Processes: len(m.table.Living(r.bit)), Events: r.log.Size(), Lost: r.lost,
		Destinations: st.Destinations, Findings: st.Findings,
	}
}
