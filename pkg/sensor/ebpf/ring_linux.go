package ebpf

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring reads a BPF_MAP_TYPE_RINGBUF in place.
//
// The kernel offers the data pages twice in a row, so that a record which
// wraps around can be read in one piece. They are mapped once here, since each
// mapping counts in the resident memory, and such a record is copied.
type ring struct {
	consumer *uint64 // page that both sides read and we write
	producer *uint64 // page that the kernel writes
	data     []byte
	at       uint64 // our position
	told     uint64 // what we last wrote to consumer
	wrapped  []byte

	control, pages []byte // the mappings
}

// Header of a record, kernel/bpf/ringbuf.c.
const (
	ringHeader  = 8
	ringBusy    = 1 << 31
	ringDiscard = 1 << 30
)

// What stands at a ring's head.
type headState int

const (
	headEmpty headState = iota
	headBusy            // a program is still writing it
	headReady
)

func newRing(fd, size int) (*ring, error) {
	page := os.Getpagesize()
	control, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a ring's consumer page: %w", err)
	}
	pages, err := unix.Mmap(fd, int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Munmap(control)
		return nil, fmt.Errorf("mapping a ring's %d bytes: %w", size, err)
	}
	return &ring{
		consumer: (*uint64)(unsafe.Pointer(&control[0])),
		producer: (*uint64)(unsafe.Pointer(&pages[0])),
		data:     pages[page:],
		wrapped:  make([]byte, largest),
		control:  control, pages: pages,
	}, nil
}

func (r *ring) close() {
	_ = unix.Munmap(r.control)
	_ = unix.Munmap(r.pages)
}

// head returns the record at the ring's head, which stays valid until release
// gives its place back, or until the next call for one that wraps around.
func (r *ring) head() ([]byte, headState) {
	for {
		if r.at >= atomic.LoadUint64(r.producer) {
			return nil, headEmpty
		}
		size := uint64(len(r.data))
		at := r.at & (size - 1)
		word := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
		if word&ringBusy != 0 {
			return nil, headBusy
		}
		n := uint64(word &^ (ringBusy | ringDiscard))
		if word&ringDiscard != 0 {
			r.at += (n + ringHeader + 7) &^ 7
			continue
		}
		from := at + ringHeader
		if from+n <= size {
			return r.data[from : from+n], headReady
		}
		if from >= size {
			return r.data[from-size : from-size+n], headReady
		}
		b := append(r.wrapped[:0], r.data[from:]...)
		r.wrapped = append(b, r.data[:n-(size-from)]...)
		return r.wrapped, headReady
	}
}

// advance goes past a record of n bytes. Its place is given back by release.
func (r *ring) advance(n int) {
	r.at += (uint64(n) + ringHeader + 7) &^ 7
	if r.at-r.told > uint64(len(r.data))/8 {
		r.release()
	}
}

// release gives everything that was read back to the kernel.
func (r *ring) release() {
	if r.told != r.at {
		atomic.StoreUint64(r.consumer, r.at)
		r.told = r.at
	}
}

// disturbed reports whether somebody else has moved the reading position: who
// holds the map can take records away so.
func (r *ring) disturbed() bool { return atomic.LoadUint64(r.consumer) != r.told }
