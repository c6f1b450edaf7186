package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
)

// lister reads the list of TCP sockets now and then.
type lister struct {
	most int // sockets that a list may hold

	mu  sync.Mutex
	fd  int // of sock_diag, where buf is not nil
	buf []byte
}

func (l *lister) open() error {
	if l.buf != nil {
		return nil
	}
	conn, fd, err := dial(unix.NETLINK_SOCK_DIAG, 0, 0, 0)
	if err != nil {
		return err
	}
	if fd, err = quiet(conn, fd); err != nil {
		return err
	}
	l.fd, l.buf = fd, make([]byte, 32<<10)
	return nil
}

func (l *lister) close() {
	if l.buf != nil {
		_ = unix.Close(l.fd)
		l.buf = nil
	}
}

// TCPSockets calls f with the TCP sockets of the network namespace that the
// sensor was started in: those that listen, connect, or are connected. The
// list is not of one instant, and a socket may stand in it twice. Of more than
// 4,096 sockets beside the listening ones the rest is left out, which cut
// says. The error is that of the kernel, where it refuses sock_diag.
func (s *Sensor) TCPSockets(f func(TCPSocket)) (cut bool, err error) {
	l := &s.lister
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return false, fmt.Errorf("netlink: sock_diag: %w", err)
	}
	n := 0
	err = dump(l.fd, l.buf, &s.counts, cookieRequest(1<<tcpEstablished|1<<tcpSynSent|1<<tcpCloseWait|1<<tcpListen), func(p []byte) bool {
		var sk socket
		if err := decodeSocket(p, event.ProtoTCP, &sk); err != nil {
			s.counts.undecoded.Add(1)
			return true
		}
		listening := sk.state == tcpListen
		if !listening {
			if n++; n > l.most {
				return false
			}
		}
		f(TCPSocket{Cookie: sk.cookie, Port: sk.src.Port(), Listening: listening, Connecting: sk.state == tcpSynSent, Held: sk.inode != 0})
		return true
	})
	if err == nil {
		return false, nil
	}
	l.close() // what the kernel would still say goes with the socket
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, fmt.Errorf("netlink: sock_diag: %w", err)
}

// errEnough ends a list whose reader wants no more of it.
var errEnough = errors.New("the list is longer than wanted")

// dump sends a request for a list and calls f with each entry, until the list
// ends or f returns false. After an error the rest of the list may still come:
// it is known by the number of its request, and skipped.
func dump(fd int, buf []byte, c *counts, request []byte, f func([]byte) bool) error {
	number := c.asked.Add(1)
	binary.NativeEndian.PutUint32(request[8:], number)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for enough := false; ; {
		n, from, err := readList(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if from != 0 {
			c.forged.Add(1)
			continue
		}
		if n >= nlHeaderSize && binary.NativeEndian.Uint32(buf[8:]) != number {
			continue
		}
		done, errno, err := messages(buf[:n], func(kind uint16, p []byte) {
			if (kind == sockDiagByFamily || kind == tcpDiagGetSock) && !enough {
				enough = !f(p)
			}
		})
		switch {
		case err != nil:
			c.undecoded.Add(1)
			return err
		case errno != 0:
			return unix.Errno(errno)
		case enough:
			return errEnough
		case done:
			return nil
		}
	}
}

// readList takes one datagram of a list. The kernel makes the next one while
// it is asked, so there is hardly anything to wait for.
func readList(fd int, buf []byte) (n int, from uint32, err error) {
	var sa unix.RawSockaddrNetlink
	size := uint32(unix.SizeofSockaddrNetlink)
	for range 2 {
		r, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
		if errno == 0 {
			return int(r), sa.Pid, nil
		}
		if errno != unix.EAGAIN {
			return 0, 0, errno
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, 200)
	}
	return 0, 0, unix.EAGAIN
}
