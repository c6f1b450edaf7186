package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/warden"
)

// maker is the process that keys are forked from: to start a program for each
// would cost several times as much. It has no key itself. It is there while
// somebody has a chain.
type maker struct {
	mu    sync.Mutex
	users int
	w     *warden.Warden // nil where there is none now
	pid   atomic.Uint32
}

var keys maker

// Maker returns the id of the process that keys are forked from, and 0 where
// there is none.
func Maker() uint32 { return keys.pid.Load() }

// use says that a chain needs the maker.
func (m *maker) use() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users++
}

// leave says that a chain needs it no more.
func (m *maker) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users--; m.users == 0 && m.w != nil {
		_ = m.w.End() // it has nothing that somebody could want
		m.w = nil
		m.pid.Store(0)
	}
}

// send gives the maker a socket for a new key, and returns who has it.
func (m *maker) send(socket int) (*warden.Warden, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.w != nil {
		if err := sendTo(m.w.Conn, socket); err == nil {
			return m.w, nil
		}
		_ = m.w.Kill()
		m.w = nil
		m.pid.Store(0)
	}
	w, err := warden.Start([]string{"keys"})
	if err != nil {
		return nil, err
	}
	m.w = w
	m.pid.Store(uint32(w.PID))
	return w, sendTo(w.Conn, socket)
}

func sendTo(conn *os.File, socket int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	word := []byte{1}
	rights := unix.UnixRights(socket)
	cerr := raw.Control(func(fd uintptr) {
		err = unix.Sendmsg(int(fd), word, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	return errors.Join(cerr, err)
}

// drop ends a maker that made no key. What it made before stays.
func (m *maker) drop(w *warden.Warden) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = w.Kill()
	if m.w == w {
		m.w = nil
		m.pid.Store(0)
	}
}

// holder is a process with a key, seen from here.
type holder struct {
	conn *os.File // our end of a pair of sockets (SOCK_SEQPACKET); only it has the other
	pid  int
	key  PublicKey
}

// make makes a process with a key.
func (m *maker) make() (*holder, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("a pair of sockets for a key: %w", err)
	}
	h := &holder{conn: os.NewFile(uintptr(pair[0]), "key")}
	err = unix.SetNonblock(pair[1], false)
	var w *warden.Warden
	if err == nil {
		w, err = m.send(pair[1])
	}
	unix.Close(pair[1])
	if err != nil {
		h.conn.Close()
		return nil, fmt.Errorf("asking for a key: %w", err)
	}
	if err := h.meet(); err != nil {
		h.conn.Close() // which ends it, and it has said no key that anybody could use
		m.drop(w)
		return nil, fmt.Errorf("the process of a key made none: %w", err)
	}
	return h, nil
}

// meet reads what a key says first: its process id and its public half.
func (h *holder) meet() error {
	_ = h.conn.SetReadDeadline(time.Now().Add(startWithin))
	var said [4 + len(h.key)]byte
	n, err := h.conn.Read(said[:])
	if err == nil && n != len(said) {
		err = fmt.Errorf("it said %d bytes", n)
	}
	if err != nil {
		return err
	}
	h.pid = int(binary.LittleEndian.Uint32(said[:]))
	h.key = PublicKey(said[4:])
	return nil
}

const (
	// leavesWithin is how long a key that is done may take to end by itself.
	leavesWithin = 5 * time.Millisecond
	// goneWithin is how long one that was killed may take to be gone. Who traces
	// it as root can keep it; nobody shall wait for that.
	goneWithin = time.Second
)

// end returns when the process of a key is gone, and its memory with it. One
// that does not end by itself, as it was told to, is killed. The error says that
// it is still there.
func (h *holder) end() error {
	defer h.conn.Close()
	if h.gone(leavesWithin) {
		return nil
	}
	// It was there after its number was looked up, so the number was its own.
	p, err := os.FindProcess(h.pid)
	if h.gone(time.Millisecond) {
		return nil
	}
	if err == nil {
		_ = p.Kill()
		_ = p.Release()
	}
	if h.gone(goneWithin) {
		return nil
	}
	return fmt.Errorf("process %d was killed and is still there", h.pid)
}

// gone reports whether the other end of the key's socket is closed, for which it
// waits. The kernel lets go of a process's memory before its files (do_exit of
// kernel/exit.c: exit_mm, then exit_files), and no other process has that end:
// so the key is in no memory then. The process itself may still be there as a
// number that its parent has not asked for.
func (h *holder) gone(within time.Duration) bool {
	_ = h.conn.SetReadDeadline(time.Now().Add(within))
	var b [1]byte
	for {
		switch _, err := h.conn.Read(b[:]); {
		case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
			return true
		case err != nil:
			return false
		}
	}
}

// giveUp ends a key that nobody needs.
func (h *holder) giveUp() {
	if raw, err := h.conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) }) // it reads the end
	}
	_ = h.end() // what does not go has no more to sign
}
