package main

import (
	"encoding/binary"
	"runtime/debug"
	"syscall"
	"time"
	"unsafe"
)

// Words between the monitor and its guard. A message of the guard is a word, an
// id, a process id and a path; one of the monitor is an id.
const (
	wordHeld   = 'h' // an exec waits
	wordMissed = 'm' // it was let go, since no answer came in time
)

// headBytes is the length of a message before its path.
const headBytes = 1 + 4 + 4

// maxHeld bounds the execs that wait at one time. One more is let go at once.
const maxHeld = 256

// retryMillis is how soon a message that the monitor had no room for is tried
// again.
const retryMillis = 5

// maxUnsaid bounds the misses that are kept for a monitor that does not listen.
// That there were any is what counts.
const maxUnsaid = 1 << 12

func keep(unsaid []held, h held) []held {
	if len(unsaid) < maxUnsaid {
		unsaid = append(unsaid, h)
	}
	return unsaid
}

// held is an exec that waits.
type held struct {
	id       uint32
	fd       int32 // of the event, by which it is answered
	pid      int32
	deadline int64 // CLOCK_MONOTONIC, nanoseconds
}

// guard answers for the execs that wait in the fanotify group group, when the
// monitor at the other end of conn says so, or when patience is over: a monitor
// that is stopped or starved must not hold up a machine. It returns when the
// monitor has gone; the kernel then lets go of everything.
func guard(conn, group int, patience int64) int {
	private()
	// A guard lives long, and each message leaves something behind.
	debug.SetGCPercent(100)
	var (
		waiting []held
		unsaid  []held // let go, and the monitor did not take the message yet
		events  [4096]byte
		answers [64]byte
		last    uint32
	)
	for {
		timeout := -1
		if len(waiting) > 0 {
			left := waiting[0].deadline - now()
			timeout = int(max(left, 0)+int64(time.Millisecond)-1) / int(time.Millisecond)
		}
		if len(unsaid) > 0 && (timeout < 0 || timeout > retryMillis) {
			timeout = retryMillis
		}
		ready, err := poll(timeout, conn, group)
		if err != nil {
			return 1
		}
		if ready[0] {
			n, err := read(conn, answers[:])
			if err != nil || n < 4 {
				return 0 // the monitor has gone
			}
			id := binary.LittleEndian.Uint32(answers[:])
			for len(waiting) > 0 && int32(waiting[0].id-id) <= 0 {
				allow(group, waiting[0].fd)
				waiting = waiting[1:]
			}
		}
		if ready[1] {
			n, err := read(group, events[:])
			if err != nil && err != syscall.EAGAIN {
				return 1
			}
			for b := events[:max(n, 0)]; len(b) >= metadataBytes; {
				size := int(binary.LittleEndian.Uint32(b))
				if size < metadataBytes || size > len(b) {
					break
				}
				fd := int32(binary.LittleEndian.Uint32(b[16:]))
				pid := int32(binary.LittleEndian.Uint32(b[20:]))
				b = b[size:]
				if fd < 0 {
					continue // the queue ran over: the kernel let those go
				}
				last++
				h := held{id: last, fd: fd, pid: pid, deadline: now() + patience}
				if len(waiting) >= maxHeld || !tell(conn, wordHeld, &h) {
					allow(group, fd)
					unsaid = keep(unsaid, h)
					continue
				}
				waiting = append(waiting, h)
			}
		}
		for len(waiting) > 0 && waiting[0].deadline <= now() {
			allow(group, waiting[0].fd)
			unsaid = keep(unsaid, waiting[0])
			waiting = waiting[1:]
		}
		for len(unsaid) > 0 && tell(conn, wordMissed, &unsaid[0]) {
			unsaid = unsaid[1:]
		}
		if len(waiting) == 0 {
			waiting = nil
		}
	}
}

// metadataBytes is the size of struct fanotify_event_metadata (fanotify(7)).
const metadataBytes = 24

// tell sends a message, unless the monitor does not take it.
func tell(conn int, word byte, h *held) bool {
	b := make([]byte, headBytes, headBytes+512)
	b[0] = word
	binary.LittleEndian.PutUint32(b[1:], h.id)
	binary.LittleEndian.PutUint32(b[5:], uint32(h.pid))
	if word == wordHeld {
		b = append(b, pathOf(h.fd)...)
	}
	return syscall.Sendto(conn, b, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, nil) == nil
}

// pathOf returns the path of an open file, as far as a message has room.
func pathOf(fd int32) []byte {
	b := make([]byte, 4096)
	n, err := syscall.Readlink("/proc/self/fd/"+digits(fd), b)
	if err != nil {
		return nil
	}
	return b[:n]
}

func digits(n int32) string {
	var b [12]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}

// allow lets an exec go on (struct fanotify_response).
func allow(group int, fd int32) {
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], uint32(fd))
	binary.LittleEndian.PutUint32(b[4:], 1) // FAN_ALLOW
	_, _ = syscall.Write(group, b[:])
	_ = syscall.Close(int(fd))
}

// poll waits until one of two descriptors can be read, at most timeout
// milliseconds; -1 for ever.
func poll(timeout int, fds ...int) (ready [2]bool, err error) {
	var p [2]struct {
		fd      int32
		events  int16
		revents int16
	}
	for i, fd := range fds {
		p[i].fd, p[i].events = int32(fd), 1 // POLLIN
	}
	ts := syscall.NsecToTimespec(int64(timeout) * int64(time.Millisecond))
	at := &ts
	if timeout < 0 {
		at = nil
	}
	_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), uintptr(len(p)), uintptr(unsafe.Pointer(at)), 0, 0, 0)
	if errno != 0 && errno != syscall.EINTR {
		return ready, errno
	}
	for i := range p {
		ready[i] = errno == 0 && p[i].revents != 0
	}
	return ready, nil
}

// began is what now counts from.
var began = time.Now()

// now is a time of CLOCK_MONOTONIC in nanoseconds.
func now() int64 { return int64(time.Since(began)) }
