package netlink

import (
	"bytes"
	"cmp"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// finder finds who holds a socket, by the links in /proc/PID/fd. Looking is
// dear, so it looks only for the inodes that are wanted, at the processes that
// are likely first, and stops when it has them or its budget is spent.
type finder struct {
	proc  procReader
	table *table

	wanted map[uint64]uint32 // inode -> uid
	found  map[uint64]owner
	procs  []process
	dir    [32 << 10]byte
}

// Budgets of one round.
const (
	descriptorBudget  = 20000
	descriptorsOfOne  = 4096
	maxDirentryHeader = 19 // d_ino, d_off, d_reclen, d_type of struct linux_dirent64
)

// find fills found from wanted. net is the inode of the namespace that the
// sockets are in, 0 for any.
func (f *finder) find(net uint32) {
	clear(f.found)
	if len(f.wanted) == 0 {
		return
	}
	f.procs = f.table.pids(f.procs[:0])
	// The same user's processes first, then the youngest: a new socket is
	// mostly that of a new process.
	uids := map[uint32]bool{}
	for _, uid := range f.wanted {
		uids[uid] = true
	}
	slices.SortFunc(f.procs, func(a, b process) int {
		if x, y := likely(a, net, uids), likely(b, net, uids); x != y {
			return cmp.Compare(y, x)
		}
		return cmp.Compare(b.start, a.start)
	})
	budget := descriptorBudget
	for _, p := range f.procs {
		budget -= f.look(p)
		if budget <= 0 || len(f.found) == len(f.wanted) {
			return
		}
	}
}

func likely(p process, net uint32, uids map[uint32]bool) int {
	n := 0
	if net == 0 || p.ns.Net == net || p.ns.Net == 0 {
		n += 2
	}
	if uids[p.uid] {
		n++
	}
	return n
}

// look reads the descriptors of one process and returns how many.
func (f *finder) look(p process) (looked int) {
	dir, err := open(unix.AT_FDCWD, f.proc.pidPath(p.pid, "/fd"), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return 1
	}
	defer unix.Close(dir)
	for looked < descriptorsOfOne {
		n, err := unix.Getdents(dir, f.dir[:])
		if err != nil || n <= 0 {
			return looked + 1
		}
		for b := f.dir[:n]; len(b) > maxDirentryHeader; {
			size := int(*(*uint16)(unsafe.Pointer(&b[16])))
			if size <= maxDirentryHeader || size > len(b) {
				break
			}
			name := b[maxDirentryHeader:size] // NUL-terminated
			b = b[size:]
			if name[0] == '.' {
				continue
			}
			looked++
			n := readlink(dir, &name[0], f.proc.link[:64])
			inode, ok := socketInode(f.proc.link[:n])
			if !ok {
				continue
			}
			if _, wanted := f.wanted[inode]; wanted {
				if _, have := f.found[inode]; !have {
					f.found[inode] = owner{pid: p.pid, start: p.start, uid: p.uid}
				}
			}
		}
	}
	return looked
}

// socketInode reads "socket:[123]".
func socketInode(link []byte) (uint64, bool) {
	rest, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok {
		return 0, false
	}
	return number(bytes.TrimSuffix(rest, []byte("]")))
}
