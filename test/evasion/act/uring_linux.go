package main

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uring is the least of an io_uring that submits one operation at a time:
// io_uring(7), struct io_uring_params.
type uring struct {
	fd                                       int
	sq, cq, sqes                             []byte
	tail, array, cqHead, cqes, mask, entries uint32
}

var kept [][]byte // names that the kernel reads by address

func cstr(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

func newURing() (*uring, error) {
	var p [30]uint32
	fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&p)), 0)
	if e != 0 {
		return nil, e
	}
	// sq_off begins at word 10, cq_off at word 20.
	u := &uring{fd: int(fd), entries: p[0], tail: p[11], mask: p[12], array: p[16], cqHead: p[20], cqes: p[25]}
	var err error
	if u.sq, err = unix.Mmap(u.fd, 0, int(u.array+4*p[0]), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	if u.cq, err = unix.Mmap(u.fd, 0x8000000, int(u.cqes+16*p[1]), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	u.sqes, err = unix.Mmap(u.fd, 0x10000000, int(64*p[0]), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return u, err
}

// table registers room for direct descriptors.
func (u *uring) table(n int) error {
	fds := make([]int32, n)
	for i := range fds {
		fds[i] = -1
	}
	const registerFiles = 2
	if _, _, e := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(u.fd), registerFiles, uintptr(unsafe.Pointer(&fds[0])), uintptr(n), 0, 0); e != 0 {
		return e
	}
	return nil
}

// must submits one entry and waits. slot is the direct descriptor, from 1.
func (u *uring) must(opcode uint8, fd int32, addr, off uintptr, length, flags, slot uint32) error {
	word := func(b []byte, at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&b[at])) }
	sqe := u.sqes[:64]
	clear(sqe)
	sqe[0] = opcode
	binary.NativeEndian.PutUint32(sqe[4:], uint32(fd))
	binary.NativeEndian.PutUint64(sqe[8:], uint64(off))
	binary.NativeEndian.PutUint64(sqe[16:], uint64(addr))
	binary.NativeEndian.PutUint32(sqe[24:], length)
	binary.NativeEndian.PutUint32(sqe[28:], flags)
	binary.NativeEndian.PutUint32(sqe[44:], slot)
	tail := *word(u.sq, u.tail)
	*word(u.sq, u.array+4*(tail&*word(u.sq, u.mask))) = 0
	atomic.StoreUint32(word(u.sq, u.tail), tail+1)
	if _, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), 1, 1, 1, 0, 0); e != 0 {
		return e
	}
	head := *word(u.cq, u.cqHead)
	res := int32(*word(u.cq, u.cqes+16*(head&(2*u.entries-1))+8))
	atomic.StoreUint32(word(u.cq, u.cqHead), head+1)
	if res < 0 {
		return unix.Errno(-res)
	}
	return nil
}
