package netlink

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
)

// procReader reads /proc for one thread. It allocates nothing once its
// buffers have grown.
type procReader struct {
	path    []byte
	scratch [64 << 10]byte
	link    [4096 + 16]byte
	argvMax int
	// cgroupRoot is where cgroup v2 is mounted, empty where it is not.
	cgroupRoot string
}

// pidPath makes /proc/PID and what follows, with a NUL.
func (r *procReader) pidPath(pid uint32, rest string) *byte {
	r.path = append(r.path[:0], "/proc/"...)
	r.path = strconv.AppendUint(r.path, uint64(pid), 10)
	r.path = append(r.path, rest...)
	r.path = append(r.path, 0)
	return &r.path[0]
}

// readImage reads what an exec made of a process, what vanishes first first:
// at its end a process gives up its memory (arguments, environment, path),
// then its files and directory, then its namespaces (kernel/exit.c, do_exit).
//
// It never reads another process's memory by address: pages behind a FUSE file
// or userfaultfd would hang this thread. /proc/PID/cmdline and environ refuse
// such pages (FOLL_ANON).
func (r *procReader) readImage(pid uint32, im *image) {
	im.reset()
	dir, err := open(unix.AT_FDCWD, r.pidPath(pid, ""), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		im.done = bootNow()
		return
	}
	defer unix.Close(dir)

	// Places are kept as offsets while the buffer may still move.
	var ends [5]int
	im.buf, im.argvCut = r.readFile(im.buf, dir, "cmdline\x00", r.argvMax)
	ends[0] = len(im.buf)
	im.buf = r.readLink(im.buf, dir, "exe\x00")
	ends[1] = len(im.buf)
	im.buf = r.readEnviron(im.buf, dir)
	ends[2] = len(im.buf)
	if ends[1] > ends[0] {
		// Whoever serves the file system (FUSE) or another machine is not asked:
		// that could take for ever.
		if st, ok := statx(dir, pointer("exe\x00")); ok {
			im.file, im.links = event.FileID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Inode: st.Ino}, st.Nlink
			im.ctime, im.size = st.Ctime.Sec*1e9+int64(st.Ctime.Nsec), st.Size
		}
	}
	im.buf = r.readLink(im.buf, dir, "cwd\x00")
	ends[3] = len(im.buf)
	im.ns = r.namespaces(dir)
	im.buf, _ = r.readFile(im.buf, dir, "stat\x00", 1024)
	ends[4] = len(im.buf)
	im.cgroup = r.cgroup(dir)
	im.done = bootNow()

	b := im.buf
	im.argv, im.exe, im.env, im.cwd, im.stat = b[:ends[0]], b[ends[0]:ends[1]], b[ends[1]:ends[2]], b[ends[2]:ends[3]], b[ends[3]:ends[4]]
}

// start returns the start of a process in clock ticks, -1 where it is gone.
func (r *procReader) start(pid uint32) int64 {
	b, _ := r.readPath(r.scratch[:0], r.pidPath(pid, "/stat"), 1024)
	s, err := parseStat(b)
	if err != nil || s.pid != pid {
		return -1
	}
	return s.start
}

// readFile appends up to limit bytes of a file to dst. more reports that there was more.
func (r *procReader) readFile(dst []byte, dir int, name string, limit int) (_ []byte, more bool) {
	fd, err := open(dir, pointer(name), unix.O_RDONLY)
	if err != nil {
		return dst, false
	}
	defer unix.Close(fd)
	return r.drainFile(dst, fd, limit)
}

func (r *procReader) readPath(dst []byte, path *byte, limit int) (_ []byte, more bool) {
	fd, err := open(unix.AT_FDCWD, path, unix.O_RDONLY)
	if err != nil {
		return dst, false
	}
	defer unix.Close(fd)
	return r.drainFile(dst, fd, limit)
}

func (r *procReader) drainFile(dst []byte, fd, limit int) (_ []byte, more bool) {
	start := len(dst)
	for {
		if cap(dst)-len(dst) < 1024 {
			dst = append(dst, make([]byte, max(2048, len(dst)))...)[:len(dst)]
		}
		room := dst[len(dst):min(cap(dst), start+limit+1)]
		n, err := unix.Read(fd, room)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return dst, false
		}
		dst = dst[:len(dst)+n]
		if len(dst)-start > limit {
			return dst[:start+limit], true
		}
	}
}

// readEnviron appends the allowed variables of a process's environment, of
// which it looks at 2 MiB at most.
func (r *procReader) readEnviron(dst []byte, dir int) []byte {
	fd, err := open(dir, pointer("environ\x00"), unix.O_RDONLY)
	if err != nil {
		return dst
	}
	defer unix.Close(fd)
	have := 0
	for range 64 {
		n, err := unix.Read(fd, r.scratch[have:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return dst
		}
		b := r.scratch[:have+n]
		var rest int
		dst, rest = filterEnv(dst, b)
		if rest == len(r.scratch) {
			rest = 1 // one variable longer than the buffer is none of ours; a byte keeps its tail from looking like a name
			r.scratch[0] = 0x01
			have = rest
			continue
		}
		have = copy(r.scratch[:], b[len(b)-rest:])
	}
	return dst
}

func (r *procReader) readLink(dst []byte, dir int, name string) []byte {
	n := readlink(dir, pointer(name), r.link[:])
	return append(dst, r.link[:n]...)
}

// namespaces reads those of a process from its folder; 0 where one cannot be
// read.
func (r *procReader) namespaces(dir int) event.Namespaces {
	return event.Namespaces{
		Mount: r.namespace(dir, "ns/mnt\x00"), Net: r.namespace(dir, "ns/net\x00"),
		PID: r.namespace(dir, "ns/pid\x00"), User: r.namespace(dir, "ns/user\x00"),
	}
}

func (r *procReader) namespacesOf(pid uint32) event.Namespaces {
	dir, err := open(unix.AT_FDCWD, r.pidPath(pid, ""), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return event.Namespaces{}
	}
	defer unix.Close(dir)
	return r.namespaces(dir)
}

// namespaceOf returns the network namespace of a process, 0 where it is gone.
func (r *procReader) namespaceOf(pid uint32) uint32 {
	n := readlink(unix.AT_FDCWD, r.pidPath(pid, "/ns/net"), r.link[:64])
	return parseNamespace(r.link[:n])
}

func (r *procReader) namespace(dir int, name string) uint32 {
	n := readlink(dir, pointer(name), r.link[:])
	return parseNamespace(r.link[:n])
}

// cgroup returns the id of a process's cgroup: on 64-bit kernels the inode
// number of its folder in the cgroup v2 hierarchy.
func (r *procReader) cgroup(dir int) uint64 {
	if r.cgroupRoot == "" {
		return 0
	}
	b, _ := r.readFile(r.scratch[:0], dir, "cgroup\x00", 8192)
	path := parseCgroup(b)
	if len(path) == 0 {
		return 0
	}
	r.path = append(append(append(r.path[:0], r.cgroupRoot...), path...), 0)
	st, _ := statx(unix.AT_FDCWD, &r.path[0])
	return st.Ino
}

// bootNow returns CLOCK_BOOTTIME in nanoseconds.
func bootNow() int64 { return clock(unix.CLOCK_BOOTTIME) }

func clock(id int32) int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(id, &ts)
	return ts.Nano()
}

// eachPID calls f for every process id in /proc.
func eachPID(f func(pid uint32)) error {
	dir, err := os.Open("/proc")
	if err != nil {
		return fmt.Errorf("listing the processes: %w", err)
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		for _, n := range names {
			if pid, err := strconv.ParseUint(n, 10, 32); err == nil {
				f(uint32(pid))
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing the processes: %w", err)
		}
	}
}
