//go:build linux && (amd64 || arm64)

package main

import (
	"syscall"
	"time"
	"unsafe"

	"github.com/org/edamame-posture/pkg/agent/client"
)

// Three quarters of what a hook costs is the start of Go's runtime: its threads
// and what it lays out for them. So rebuild.sh has the kernel begin at the start
// of start_*.s, which calls fast on the kernel's own stack. What is below here runs
// before there is a runtime: it may call the kernel and compute, and nothing else.
// No memory but that of variables, no map, no defer, no call by an interface, no
// panic. It does what every call of an agent needs, and leaves the rest, before it
// has changed anything, to the runtime and package client.

// Of start_*.s: what stands for a goroutine, and where a thread's own memory lies.
// Being zero, the first says that there is always room on the stack.
var (
	goroutine [128]uintptr
	thread    [2]uintptr
	stack     uintptr // as the kernel gave it
)

// What start_*.s uses, which tools do not see.
var (
	_ = fast
	_ = &goroutine
	_ = &thread
	_ = &stack
)

// folder is client.Folder, and above the one above it, for the kernel.
const (
	above  = "/run/edamame-posture\x00"
	folder = client.Folder + "\x00"
)

const (
	maxMonitors = 8
	maxHeader   = 64
	inputWithin = int64(time.Second)
	lull        = int64(5 * time.Millisecond)
	retryAfter  = int64(time.Millisecond)
)

// message is what a monitor is sent: a header that ends at maxHeader, and the payload.
var message [maxHeader + client.MaxPayload + 1]byte

// fast does what a hook does where that is simple, and ends the program. It
// returns where the runtime is to do it.
func fast(sp unsafe.Pointer) {
	if *(*int)(sp) != 2 {
		return // a payload among the arguments
	}
	arg := *(**byte)(unsafe.Add(sp, 2*unsafe.Sizeof(sp)))
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(arg), n)) != 0 {
		n++
	}
	agent := unsafe.String(arg, n)
	answer, known := client.Answer(agent)
	if !known || !tell(above, folder, agent, 0, int64(client.Patience)) {
		return
	}
	if answer != "" {
		// Who reads nothing is no reason to be killed.
		mask := [1]uint64{1 << (syscall.SIGPIPE - 1)}
		syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 0, uintptr(unsafe.Pointer(&mask)), 0, 8, 0, 0)
		syscall.RawSyscall(syscall.SYS_WRITE, 1, uintptr(unsafe.Pointer(unsafe.StringData(answer))), uintptr(len(answer)))
	}
	syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
}

// tell hands what comes from a descriptor to each monitor of a folder; it reports
// false where the runtime must do it, and nothing was read then.
func tell(above, folder, agent string, stdin int, patience int64) (done bool) {
	if !rootsOwn(above) || !rootsOwn(folder) {
		return true
	}
	var pids [maxMonitors]uint32
	n, ok := monitors(folder, &pids)
	if !ok || n == 0 {
		return ok
	}
	size := input(stdin)
	if size == 0 {
		return true
	}
	from := header(agent, size)
	end := maxHeader + size
	if size > client.MaxPayload {
		end = maxHeader
	}
	deliver(folder, &pids, n, from, end, patience)
	return true
}

func pointer(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }

const (
	atCwd      = ^uintptr(99) // AT_FDCWD
	noFollow   = 0x100        // AT_SYMLINK_NOFOLLOW
	noSignal   = 0x4000       // MSG_NOSIGNAL
	readable   = 1            // POLLIN
	writable   = 4            // POLLOUT
	monotonic  = 1            // CLOCK_MONOTONIC
	pathLength = 108          // of a sockaddr_un
)

// rootsOwn reports whether a folder is root's, and nobody else can put a socket there.
func rootsOwn(dir string) bool {
	var st syscall.Stat_t
	_, _, errno := syscall.RawSyscall6(fstatat, atCwd, pointer(dir), uintptr(unsafe.Pointer(&st)), noFollow, 0, 0)
	return errno == 0 && st.Mode&syscall.S_IFMT == syscall.S_IFDIR && st.Uid == 0 && st.Mode&0o022 == 0
}

// monitors puts the numbers of a folder's sockets into pids, the highest first. It
// is not ok where there are more.
func monitors(dir string, pids *[maxMonitors]uint32) (n int, ok bool) {
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, atCwd, pointer(dir), syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return 0, true
	}
	var buf [2048]byte
	for {
		got, _, errno := syscall.RawSyscall(syscall.SYS_GETDENTS64, fd, uintptr(unsafe.Pointer(&buf)), uintptr(len(buf)))
		if errno != 0 || got == 0 || got > uintptr(len(buf)) {
			break
		}
		const name = 19 // behind inode, offset, length and type
		for b := buf[:got]; len(b) > name; {
			length := int(b[16]) | int(b[17])<<8
			if length <= name || length > len(b) {
				break
			}
			pid := number(b[name:length])
			b = b[length:]
			if pid == 0 {
				continue
			}
			if n == len(pids) {
				syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
				return 0, false
			}
			at := n
			for ; at > 0 && pids[at-1] < pid; at-- {
				pids[at] = pids[at-1]
			}
			pids[at] = pid
			n++
		}
	}
	syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	return n, true
}

// number reads NUMBER.sock, which ends with a zero; 0 for another name.
func number(name []byte) (n uint32) {
	const suffix = ".sock\x00"
	for i, c := range name {
		if c >= '0' && c <= '9' && i < 9 && (n > 0 || c > '0') {
			n = n*10 + uint32(c-'0')
			continue
		}
		if len(name)-i < len(suffix) || unsafe.String(&name[i], len(suffix)) != suffix {
			return 0
		}
		return n
	}
	return 0
}

func now() int64 {
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Sec*int64(time.Second) + ts.Nsec
}

type pollFd struct {
	fd              int32
	events, revents int16
}

// poll waits until one of n descriptors is ready, no longer than until end. It
// reports false when the time is over.
func poll(fds *[maxMonitors]pollFd, n int, end int64) bool {
	for {
		left := max(end-now(), 0)
		ts := syscall.Timespec{Sec: left / int64(time.Second), Nsec: left % int64(time.Second)}
		got, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(fds)), uintptr(n), uintptr(unsafe.Pointer(&ts)), 0, 8, 0)
		if errno != syscall.EINTR {
			return errno == 0 && got > 0
		}
	}
}

// input reads a payload behind the header and returns its length, one more than
// client.MaxPayload where it is longer. It returns as client's does.
func input(fd int) (size int) {
	end := now() + inputWithin
	var object client.Shape
	var fds [maxMonitors]pollFd
	for {
		fds[0] = pollFd{fd: int32(fd), events: readable}
		until := end
		if object.Completed {
			until = min(until, now()+lull)
		}
		if !poll(&fds, 1, until) {
			return size
		}
		room := message[maxHeader+size:]
		if len(room) == 0 {
			room = message[maxHeader : maxHeader+4096] // what is beyond is read too, and passed over
		}
		got, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(room))), uintptr(len(room)))
		if errno == syscall.EINTR || errno == syscall.EAGAIN {
			continue
		}
		if errno != 0 || got == 0 || got > uintptr(len(room)) || now() > end {
			return size
		}
		object.Feed(room[:got])
		size = min(size+int(got), client.MaxPayload+1)
	}
}

// header writes the first line so that it ends where the payload begins, and
// returns where it begins.
func header(agent string, size int) int {
	at := maxHeader
	put := func(s string) {
		at -= len(s)
		copy(message[at:], s)
	}
	if size > client.MaxPayload {
		put(" 0 huge\n")
	} else {
		put("\n")
		for n := size; ; n /= 10 {
			at--
			message[at] = byte('0' + n%10)
			if n < 10 {
				break
			}
		}
		put(" ")
	}
	put(agent)
	put("edamame-hook/1 ")
	return at
}

// deliver sends message[from:end] to monitors and waits for each one's answer, no
// longer than patience in all.
func deliver(folder string, pids *[maxMonitors]uint32, monitors, from, end int, patience int64) {
	deadline := now() + patience
	var fds [maxMonitors]pollFd
	var sent [maxMonitors]int
	n := 0
	for i := range monitors {
		fd := connect(folder, pids[i], deadline)
		if fd < 0 {
			continue
		}
		fds[n].fd, sent[n] = fd, from
		send(fd, &sent[n], end) // who is gone is found out below
		n++
	}
	for open := n; open > 0; {
		for i := range n {
			if fds[i].events = readable; sent[i] < end {
				fds[i].events |= writable
			}
		}
		if !poll(&fds, n, deadline) {
			return // the end of the program closes what is open
		}
		for i := range n {
			if fds[i].fd < 0 || fds[i].revents == 0 {
				continue
			}
			gone := fds[i].revents&writable != 0 && !send(fds[i].fd, &sent[i], end)
			if gone || fds[i].revents&^writable != 0 && answered(fds[i].fd) {
				syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fds[i].fd), 0, 0)
				fds[i].fd = -1 // which poll passes over
				open--
			}
		}
	}
}

// send sends what can be sent without waiting, and reports whether the monitor is there.
func send(fd int32, sent *int, end int) bool {
	for *sent < end {
		b := message[*sent:end]
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), noSignal, 0, 0)
		switch {
		case errno == syscall.EINTR:
		case errno != 0:
			return errno == syscall.EAGAIN
		default:
			*sent += int(n)
		}
	}
	return true
}

// answered reports whether the answer, or the end, has come.
func answered(fd int32) bool {
	var answer [256]byte
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&answer)), uintptr(len(answer)))
	if errno != 0 {
		return errno != syscall.EAGAIN && errno != syscall.EINTR
	}
	for i := range answer {
		if i < int(n) && answer[i] == '\n' {
			return true
		}
	}
	return n == 0
}

// connect returns a connection to a monitor, -1 where nobody listens.
func connect(folder string, pid uint32, deadline int64) int32 {
	var addr struct {
		family uint16
		path   [pathLength]byte
	}
	addr.family = syscall.AF_UNIX
	at := copy(addr.path[:], folder) - 1
	var digits [10]byte
	d := len(digits)
	for ; pid > 0 && d > 0; pid /= 10 {
		d--
		digits[d] = byte('0' + pid%10)
	}
	at += copy(addr.path[at:], "/")
	at += copy(addr.path[at:], digits[d:])
	at += copy(addr.path[at:], ".sock\x00")
	for {
		fd, _, errno := syscall.RawSyscall(syscall.SYS_SOCKET, syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if errno != 0 {
			return -1
		}
		_, _, errno = syscall.RawSyscall(syscall.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&addr)), uintptr(2+at))
		if errno == 0 {
			return int32(fd)
		}
		syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
		if errno != syscall.EAGAIN || deadline-now() < retryAfter { // EAGAIN: its queue is full
			return -1
		}
		ts := syscall.Timespec{Nsec: retryAfter}
		syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
}
