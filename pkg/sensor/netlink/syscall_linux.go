package netlink

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of x/sys/unix copy each path to the heap; these take one that is
// NUL-terminated already.

func pointer(s string) *byte { return unsafe.StringData(s) }

func open(dir int, path *byte, flags int) (int, error) {
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(path)), uintptr(flags|unix.O_CLOEXEC), 0, 0, 0)
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EINTR {
			return -1, errno
		}
	}
}

func readlink(dir int, path *byte, buf []byte) int {
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// statx asks what a file is, without asking who serves its file system. It
// reports false where there is no answer.
func statx(dir int, path *byte) (st unix.Statx_t, ok bool) {
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(dir), uintptr(unsafe.Pointer(path)),
		unix.AT_STATX_DONT_SYNC, unix.STATX_INO|unix.STATX_NLINK|unix.STATX_CTIME|unix.STATX_SIZE, uintptr(unsafe.Pointer(&st)), 0)
	return st, errno == 0
}
