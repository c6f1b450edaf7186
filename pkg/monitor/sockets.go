package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/sensor/netlink"
)

// sockets compares the TCP sockets that eBPF told of with those that the
// kernel's own list has (sock_diag): one that is connected and held, whose
// connect nobody told, is one that eBPF missed.
//
// The list and the records are never of the same instant. A socket counts as
// missed only when two lists in a row held it, no record of it came in between
// or by a drain after the second, and no record was lost.
//
// Where a local port takes or took connections, its sockets are not compared:
// a connection that io_uring accepted into a direct descriptor has no record,
// nor has one of MPTCP, nor any that io_uring accepted on older kernels.
type sockets struct {
	// told holds the cookies of open sockets, with the round in which they
	// were last told or listed.
	told     map[uint64]uint32
	suspects map[uint64]bool // listed in the last round, and not told
	fresh    map[uint64]bool // those of this round
	// served are the ports that were ever seen listening.
	served [1 << 16 / 64]uint64
	round  uint32
	// adopt: what the next list holds was there before, or records of it were
	// lost. It cannot be compared.
	adopt bool
	lost  lossTotals

	// missed are those that count as missed and are still listed, with the
	// round in which they were.
	missed map[uint64]uint32
	// both is how many connected sockets of the last list were told.
	both     uint64
	compared bool // the last list was compared
	// whyNot is why there was none, once it was told.
	whyNot string
}

const (
	// toldMax bounds the sockets that are known.
	toldMax = 1 << 16
	// forgetAfter is in how many rounds in a row a socket that is known must
	// not be listed to be forgotten: one that was given up before it was
	// connected, or that of another network namespace. A socket that is listed
	// again after that has to be told again first.
	forgetAfter = 4
)

func newSockets() *sockets {
	return &sockets{
		told: map[uint64]uint32{}, missed: map[uint64]uint32{},
		suspects: map[uint64]bool{}, fresh: map[uint64]bool{}, adopt: true,
	}
}

// see takes notice of a record of the sensor in use.
func (s *sockets) see(rec *sensor.Record) {
	if rec.Proto != event.ProtoTCP {
		return
	}
	switch rec.Kind {
	case event.Listen:
		s.serves(rec.Src.Port())
	case event.Accept:
		s.tell(rec.Sock)
	case event.Connect:
		switch unix.Errno(rec.Err) {
		case 0:
			s.tell(rec.Sock)
		case unix.EPERM, unix.EACCES, unix.EADDRNOTAVAIL, unix.ENETUNREACH:
			// The call was refused, which says nothing of a connection that the
			// socket has already.
		default:
			s.end(rec.Sock)
		}
	case event.Flow:
		if rec.OK {
			s.end(rec.Sock)
		}
	}
}

func (s *sockets) tell(cookie uint64) {
	if cookie == 0 {
		return
	}
	if len(s.suspects) > 0 {
		delete(s.suspects, cookie)
	}
	if _, known := s.told[cookie]; !known && len(s.told) >= toldMax {
		s.adopt = true // the next list may hold this one
		return
	}
	s.told[cookie] = s.round
}

func (s *sockets) end(cookie uint64) {
	delete(s.told, cookie)
	if len(s.suspects) > 0 {
		// A socket may be connected anew, under the same cookie.
		delete(s.suspects, cookie)
	}
}

func (s *sockets) serves(port uint16) { s.served[port/64] |= 1 << (port % 64) }

func (s *sockets) isServed(port uint16) bool { return s.served[port/64]&(1<<(port%64)) != 0 }

// compare holds a list against what was told, and reports whether sockets
// count as missed unless a drain tells them: then judge has to follow. lost are
// the records that were lost before the list was read.
func (s *sockets) compare(list []netlink.TCPSocket, lost lossTotals) (missed bool) {
	s.round++
	if lost != s.lost {
		s.lost, s.adopt = lost, true
	}
	// First all ports: a listener may stand after what it accepted.
	for i := range list {
		if list[i].Listening {
			s.serves(list[i].Port)
		}
	}
	s.both, s.compared = 0, !s.adopt
	clear(s.fresh)
	for i := range list {
		k := &list[i]
		connected := k.Held && !k.Connecting
		if k.Listening || k.Cookie == 0 {
			continue
		}
		_, told := s.told[k.Cookie]
		_, counted := s.missed[k.Cookie]
		switch {
		case told || s.adopt && !counted:
			s.told[k.Cookie] = s.round
			if connected {
				s.both++
			}
		case counted:
			s.missed[k.Cookie] = s.round
		case connected && !s.isServed(k.Port):
			s.fresh[k.Cookie] = true
			missed = missed || s.suspects[k.Cookie]
		}
	}
	s.adopt = false
	for cookie, seen := range s.told {
		if s.round-seen > forgetAfter {
			delete(s.told, cookie)
		}
	}
	for cookie, seen := range s.missed {
		if seen != s.round {
			delete(s.missed, cookie)
		}
	}
	if !missed {
		s.suspects, s.fresh = s.fresh, s.suspects
	}
	return missed
}

// judge ends a comparison that found sockets missed, after a drain: what is
// still not told was missed. It returns how many those are.
func (s *sockets) judge(lost lossTotals) (missed int) {
	if lost != s.lost {
		s.stop() // one of the lost records may have told them
		s.lost = lost
		return 0
	}
	for cookie := range s.fresh {
		_, told := s.told[cookie]
		switch {
		case s.suspects[cookie]: // no record took it away
			missed++
			s.missed[cookie] = s.round
			fallthrough
		case told:
			delete(s.fresh, cookie)
		}
	}
	s.suspects, s.fresh = s.fresh, s.suspects
	return missed
}

// missedPort is the local port of a socket that was missed.
func (m *Monitor) missedPort() uint16 {
	for i := range m.list {
		if _, missed := m.sockets.missed[m.list[i].Cookie]; missed {
			return m.list[i].Port
		}
	}
	return 0
}

// stop notes that there is no comparison in this round. The next list is taken
// as it is.
func (s *sockets) stop() {
	s.adopt, s.compared = true, false
	clear(s.suspects)
}

// lister is the second witness where it can list sockets.
type lister interface {
	TCPSockets(f func(netlink.TCPSocket)) (cut bool, err error)
}

// compareSockets reads the list of sockets and holds it against what the
// sensor in use told. lost are the records that were lost until now. It
// reports whether there are suspects, which the next list may prove missed. It
// is called with rounds held, and without mu.
func (m *Monitor) compareSockets(lost lossTotals) (suspects bool) {
	l, ok := m.second.(lister)
	if !ok {
		return false
	}
	m.list = m.list[:0]
	cut, err := l.TCPSockets(func(k netlink.TCPSocket) { m.list = append(m.list, k) })
	whyNot := ""
	switch {
	case err != nil:
		whyNot = err.Error()
	case cut:
		whyNot = "more than 4096 TCP sockets are open: they are not compared with those that were told"
	}
	m.mu.Lock()
	if whyNot != "" {
		m.sockets.stop()
		told := m.sockets.whyNot == whyNot
		m.sockets.whyNot = whyNot
		if !told {
			for _, r := range m.open() {
				r.note(r.red.String("second witness: "+whyNot), 0)
			}
		}
		m.mu.Unlock()
		return false
	}
	m.sockets.whyNot = ""
	missed := m.sockets.compare(m.list, lost)
	suspects = len(m.sockets.suspects) > 0
	m.mu.Unlock()
	if !missed {
		return suspects
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = errors.Join(m.second.Drain(ctx), m.primary.Drain(ctx))
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		return false // the suspects stay; that a sensor does not answer its check tells
	}
	if n := m.sockets.judge(lossesOf(m.primary.Stats())); n > 0 && !m.witness.disagree {
		m.differ(fmt.Sprintf("%d TCP sockets are connected whose connections nobody told, of local port %d and others", n, m.missedPort()))
	}
	return len(m.sockets.suspects) > 0
}
