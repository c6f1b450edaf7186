package netlink

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A mark is an event that we make ourselves, to know that all before it was
// read: a thread of ours gives itself a name, which the proc connector tells
// of (proc_comm_connector). It costs no process. One is made on every CPU, so
// that a loss on any of them shows as a hole before it.
type marks struct {
	mu   sync.Mutex
	last uint32
	open map[uint32]*mark
}

type mark struct {
	left int // CPUs whose event has not come back
	done chan struct{}
}

// markPrefix starts the name of a thread that makes a mark; eight hexadecimal
// digits follow.
var markPrefix = []byte("epmark-")

func markName(id uint32) [16]byte {
	var name [16]byte
	copy(name[:], markPrefix)
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], id)
	hex.Encode(name[len(markPrefix):15], b[:])
	return name
}

func markID(name [16]byte) (uint32, bool) {
	var b [4]byte
	if n, err := hex.Decode(b[:], name[len(markPrefix):15]); err != nil || n != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[:]), true
}

// make makes a mark. The returned channel is closed when it has come back.
func (m *marks) make() (<-chan struct{}, func(), error) {
	m.mu.Lock()
	if m.open == nil {
		m.open = map[uint32]*mark{}
	}
	m.last++
	id := m.last
	mk := &mark{done: make(chan struct{})}
	m.open[id] = mk
	mk.left = 1 << 30
	m.mu.Unlock()

	made, err := nameOnEachCPU(markName(id))
	m.mu.Lock()
	mk.left -= 1<<30 - made
	finished := mk.left <= 0
	m.mu.Unlock()
	if finished {
		close(mk.done)
	}
	forget := func() {
		m.mu.Lock()
		delete(m.open, id)
		m.mu.Unlock()
	}
	if made == 0 {
		forget()
		return nil, nil, fmt.Errorf("marking the stream of the proc connector: %w", err)
	}
	return mk.done, forget, nil
}

// seen takes a mark that came back on one CPU.
func (m *marks) seen(name [16]byte) {
	id, ok := markID(name)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	mk := m.open[id]
	if mk == nil {
		return
	}
	mk.left--
	if mk.left == 0 {
		close(mk.done)
	}
}

// nameOnEachCPU gives a thread of ours a name once on each CPU that it may
// run on, and undoes it. It returns how often.
func nameOnEachCPU(name [16]byte) (made int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return 0, err
	}
	var old [16]byte
	if err := unix.Prctl(unix.PR_GET_NAME, uintptr(unsafe.Pointer(&old[0])), 0, 0, 0); err != nil {
		return 0, err
	}
	defer func() {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&old[0])), 0, 0, 0)
		_ = unix.SchedSetaffinity(0, &before)
	}()
	for cpu, left := 0, before.Count(); left > 0 && cpu < len(before)*64; cpu++ {
		if !before.IsSet(cpu) {
			continue
		}
		left--
		var one unix.CPUSet
		one.Set(cpu)
		if e := unix.SchedSetaffinity(0, &one); e != nil {
			err = e
			continue
		}
		if e := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); e != nil {
			err = e
			continue
		}
		made++
	}
	return made, err
}

var errDeaf = errors.New("the proc connector did not tell of our own event: it was switched off (PROC_CN_MCAST_IGNORE), or its reader hangs")

// retry is how long a mark is waited for before another is made: while the
// kernel's buffer for us is full, marks are lost like everything else.
const retry = 200 * time.Millisecond

// beat makes marks until one has come back, ctx ends, or patience, where it is
// not 0, is over.
func (m *marks) beat(ctx context.Context, poke func(), patience time.Duration) error {
	began := time.Now()
	for {
		back, err := m.try(ctx, poke)
		switch {
		case err != nil:
			return err
		case back:
			return nil
		case patience > 0 && time.Since(began) >= patience:
			return errDeaf
		}
	}
}

func (m *marks) try(ctx context.Context, poke func()) (back bool, err error) {
	done, forget, err := m.make()
	if err != nil {
		return false, err
	}
	defer forget()
	poke()
	timer := time.NewTimer(retry)
	defer timer.Stop()
	select {
	case <-done:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-timer.C:
		return false, nil
	}
}
