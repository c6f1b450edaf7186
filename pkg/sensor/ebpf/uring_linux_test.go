package ebpf

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// uring is the least of an io_uring that can submit one operation at a time:
// io_uring(7), struct io_uring_params.
type uring struct {
	fd      int
	sq, cq  []byte
	sqes    []byte
	tail    uint32 // offset of the submission tail
	array   uint32
	cqHead  uint32
	cqTail  uint32
	cqes    uint32
	mask    uint32
	entries uint32
}

func newURing() (*uring, error) {
	var p [30]uint32
	fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&p)), 0)
	if e != 0 {
		return nil, e
	}
	// sq_off begins at word 10, cq_off at word 20.
	u := &uring{fd: int(fd), entries: p[0], tail: p[11], mask: p[12], array: p[16], cqHead: p[20], cqTail: p[21], cqes: p[25]}
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

func word(b []byte, at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&b[at])) }

// do submits one entry and returns its result.
func (u *uring) do(opcode uint8, fd int32, addr, off uintptr, length, flags uint32) (int32, error) {
	sqe := u.sqes[:64]
	clear(sqe)
	sqe[0] = opcode
	native.PutUint32(sqe[4:], uint32(fd))
	native.PutUint64(sqe[8:], uint64(off))
	native.PutUint64(sqe[16:], uint64(addr))
	native.PutUint32(sqe[24:], length)
	native.PutUint32(sqe[28:], flags)
	if err := u.submit(); err != nil {
		return 0, err
	}
	return u.next()
}

// submit hands the first entry over, which is filled.
func (u *uring) submit() error {
	tail := *word(u.sq, u.tail)
	*word(u.sq, u.array+4*(tail&*word(u.sq, u.mask))) = 0
	atomic.StoreUint32(word(u.sq, u.tail), tail+1)
	if _, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), 1, 0, 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// next waits for a completion and returns its result.
func (u *uring) next() (int32, error) {
	const getEvents = 1
	head := *word(u.cq, u.cqHead)
	for atomic.LoadUint32(word(u.cq, u.cqTail)) == head {
		if _, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), 0, 1, getEvents, 0, 0); e != 0 && e != unix.EINTR {
			return 0, e
		}
	}
	// The completion ring has twice the entries of the submission ring.
	cqe := u.cqes + 16*(head&(2*u.entries-1))
	res := int32(*word(u.cq, cqe+8))
	atomic.StoreUint32(word(u.cq, u.cqHead), head+1)
	return res, nil
}

func init() {
	roles["uring"] = byURing
	roles["uring-accept"] = acceptByURing
}

// acceptByURing accepts three connections on the listener that is its
// descriptor 3, says so after each request that it made, and closes them.
func acceptByURing(args []string) error {
	u, err := newURing()
	if err != nil {
		return err
	}
	const accept, multishot, async = 13, 1, 1 << 4
	sqe := u.sqes[:64]
	for i := range 3 {
		if i == 0 || args[0] != "multishot" {
			clear(sqe)
			sqe[0] = accept
			native.PutUint32(sqe[4:], 3)
			native.PutUint64(sqe[32:], 77) // user_data
			switch args[0] {
			case "multishot":
				native.PutUint16(sqe[2:], multishot)
			case "worker":
				sqe[1] = async
			}
			if err := u.submit(); err != nil {
				return err
			}
		}
		if _, err := os.Stdout.WriteString("."); err != nil {
			return err
		}
		fd, err := u.next()
		if err != nil {
			return err
		}
		if fd < 0 {
			return unix.Errno(-fd)
		}
		b := make([]byte, 16)
		if _, err := unix.Read(int(fd), b); err != nil {
			return err
		}
		if err := unix.Close(int(fd)); err != nil {
			return err
		}
	}
	return nil
}

func byURing(args []string) error {
	if err := os.Chdir(args[0]); err != nil {
		return err
	}
	u, err := newURing()
	if err != nil {
		return err
	}
	str := func(s string) uintptr {
		b := append([]byte(s), 0)
		kept = append(kept, b)
		return uintptr(unsafe.Pointer(&b[0]))
	}
	const at = unix.AT_FDCWD
	for _, op := range []struct {
		name        string
		opcode      uint8
		fd          int32
		addr, off   uintptr
		length, flg uint32
	}{
		{"openat for writing", 18, at, str("made"), 0, 0o644, unix.O_WRONLY | unix.O_CREAT},
		{"openat for reading", 18, at, str("made"), 0, 0, unix.O_RDONLY},
		{"mkdirat", 37, at, str("dir"), 0, 0o750, 0},
		// renameat: off is the new name, len the new folder.
		{"renameat", 35, at, str("made"), str("moved"), uint32(0xffffff9c), 0},
		{"linkat", 39, at, str("moved"), str("linked"), uint32(0xffffff9c), 0},
		{"unlinkat", 36, at, str("linked"), 0, 0, 0},
	} {
		res, err := u.do(op.opcode, op.fd, op.addr, op.off, op.length, op.flg)
		if err != nil {
			return fmt.Errorf("%s: %w", op.name, err)
		}
		if res < 0 {
			return fmt.Errorf("%s: %w", op.name, unix.Errno(-res))
		}
	}
	return nil
}

var kept [][]byte // names that the kernel reads by address

func TestFilesByIOURingAreTold(t *testing.T) {
	if u, err := newURing(); err != nil {
		t.Skipf("io_uring: %v", err)
	} else {
		_ = unix.Close(u.fd)
	}
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	pid, _ := perform(t, "uring", dir)
	drain(t, s)
	var got []string
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.PID == pid && strings.HasPrefix(string(r.Path), dir) }) {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Kind, filepath.Base(string(r.Path)), strings.TrimPrefix(string(r.NewPath), dir+"/"), r.Access)))
		if r.Kind == event.Mkdir && r.Mode != 0o750 || r.Watched != (r.Access == event.Read) {
			t.Errorf("%+v", r)
		}
	}
	want := "open made  write,create; open made  read; mkdir dir; rename made moved; link moved linked; unlink linked"
	if strings.Join(got, "; ") != want {
		t.Errorf("%s\nwant %s", strings.Join(got, "; "), want)
	}
}

func TestWhoAcceptsByIOURingIsTold(t *testing.T) {
	if u, err := newURing(); err != nil {
		t.Skipf("io_uring: %v", err)
	} else {
		_ = unix.Close(u.fd)
	}
	for _, how := range []string{"before the connection", "after it", "worker", "multishot"} {
		t.Run(how, func(t *testing.T) {
			s, rec := arm(t, Options{}, nil)
			l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			f, err := l.File() // made by us, used by the child
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var conns []net.Conn
			dial := func() {
				c, err := net.Dial("tcp4", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, c)
			}
			if how == "after it" {
				dial()
				dial()
				dial()
			}
			cmd := as("uring-accept", how)
			cmd.ExtraFiles = []*os.File{f}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid := uint32(cmd.Process.Pid)
			for range 3 {
				if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
					t.Error(err)
				}
				if how != "after it" {
					dial()
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			drain(t, s)
			for _, c := range conns {
				ours := netip.MustParseAddrPort(c.LocalAddr().String())
				a := rec.only(t, "accept", func(r *sensor.Record) bool { return r.Kind == event.Accept && r.Dst == ours })
				if a.PID != pid || a.Sock == 0 || a.Src.String() != l.Addr().String() {
					t.Errorf("accept by %d, want %d: %+v", a.PID, pid, a)
				}
				e := rec.only(t, "flow", func(r *sensor.Record) bool { return r.Kind == event.Flow && r.OK && r.Dst == ours && r.Sock == a.Sock })
				if e.PID != pid || e.Received != 5 {
					t.Errorf("flow of %d, want %d: %+v", e.PID, pid, e)
				}
			}
		})
	}
}

func TestOtherCompletionsOfIOURingAreNoAccepts(t *testing.T) {
	u, err := newURing()
	if err != nil {
		t.Skipf("io_uring: %v", err)
	}
	defer unix.Close(u.fd)
	s, rec := arm(t, Options{}, nil)
	addr := serve(t, "tcp4", "127.0.0.1:0", func(net.Conn) {})
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The result of a write is a number that is a descriptor of a connection.
	const write = 23
	b := make([]byte, f.Fd())
	n, err := u.do(write, int32(f.Fd()), uintptr(unsafe.Pointer(&b[0])), 0, uint32(len(b)), 0)
	if err != nil || int(n) != len(b) {
		t.Fatalf("%d, %v", n, err)
	}
	drain(t, s)
	if found := rec.find(func(r *sensor.Record) bool { return r.Kind == event.Accept && r.Dst.String() == addr }); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}
