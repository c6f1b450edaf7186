package netlink

import (
	"fmt"
	"unsafe"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages taken with one system call, and the room for each: one of the proc
// connector is 76 bytes long, a notice of a closed socket some 400.
const (
	batch       = 64
	messageRoom = 1024
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// receiver takes batches of datagrams with the port id of their sender, which
// mdlayher/netlink does not give: anyone who holds CAP_NET_ADMIN can send to
// our socket, and only what comes from port 0 is the kernel's.
type receiver struct {
	conn *nl.Conn // nil where fd is one of quiet
	fd   int

	headers [batch]mmsghdr
	vectors [batch]unix.Iovec
	names   [batch]unix.RawSockaddrNetlink
	buffers [batch][messageRoom]byte
}

// dial opens a socket of a netlink family with a receive buffer of the given
// size. netns is a descriptor of a network namespace, 0 for our own.
func dial(family int, groups uint32, buffer, netns int) (*nl.Conn, int, error) {
	conn, err := nl.Dial(family, &nl.Config{Groups: groups, NetNS: netns})
	if err != nil {
		return nil, -1, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, -1, err
	}
	fd := -1
	var forced error
	err = raw.Control(func(f uintptr) {
		fd = int(f)
		if buffer > 0 {
			// Without CAP_NET_ADMIN net.core.rmem_max is the limit.
			if forced = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); forced != nil {
				forced = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
			}
		}
	})
	if err == nil {
		err = forced
	}
	if err != nil {
		conn.Close()
		return nil, -1, fmt.Errorf("receive buffer of a netlink socket: %w", err)
	}
	return conn, fd, nil
}

// quiet returns a descriptor of the socket that Go's poller knows nothing of,
// and closes the connection. The poller would be woken for every message,
// some four times for each process that a job starts, only to find that nobody
// waits there: the reader sleeps by itself.
func quiet(conn *nl.Conn, fd int) (int, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	conn.Close()
	if err != nil {
		return -1, fmt.Errorf("descriptor of a netlink socket: %w", err)
	}
	return own, nil
}

// send sends one message to the kernel by a descriptor of quiet.
func send(fd int, m nl.Message) error {
	m.Header.Length = uint32(unix.SizeofNlMsghdr+len(m.Data)+3) &^ 3
	b, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	return unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

func newReceiver(conn *nl.Conn, fd int) *receiver {
	r := &receiver{conn: conn, fd: fd}
	for i := range r.headers {
		r.vectors[i].Base = &r.buffers[i][0]
		r.vectors[i].SetLen(messageRoom)
		h := &r.headers[i].header
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	}
	return r
}

// receive takes what waits, without waiting itself. It returns EAGAIN where
// there is nothing.
func (r *receiver) receive() (int, error) {
	for i := range r.headers {
		r.headers[i].header.Namelen = unix.SizeofSockaddrNetlink
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.headers)), batch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// message returns the datagram i of the last batch, and whether the kernel
// sent it. A datagram that did not fit is cut: its own header says so.
func (r *receiver) message(i int) (b []byte, kernel bool) {
	n := min(int(r.headers[i].length), messageRoom)
	name := &r.names[i]
	kernel = r.headers[i].header.Namelen >= unix.SizeofSockaddrNetlink && name.Family == unix.AF_NETLINK && name.Pid == 0
	return r.buffers[i][:n], kernel
}

// poker lets another thread end a wait.
type poker struct{ fd int }

func newPoker() (poker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return poker{fd}, err
}

func (p poker) poke() {
	one := [8]byte{1}
	_, _ = unix.Write(p.fd, one[:])
}

func (p poker) clear() {
	var b [8]byte
	_, _ = unix.Read(p.fd, b[:])
}

// wait returns when fd can be read, p was poked, or the time is over. A
// negative fd is not looked at, a negative time has no end.
func (p poker) wait(fd int, milliseconds int) (readable, poked bool) {
	fds := [2]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}, {Fd: int32(fd), Events: unix.POLLIN}}
	// A signal ends the wait early, which the caller's loop bears.
	_, _ = unix.Poll(fds[:], milliseconds)
	return fds[1].Revents != 0, fds[0].Revents != 0
}
