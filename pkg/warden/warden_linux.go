// Package warden starts the warden: a small program of ours that does what must
// be done by a process of its own. cmd/edamame-warden is its source.
package warden

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/org/edamame-posture/pkg/carried"
	"golang.org/x/sys/unix"
)

// image is the program in memory, sealed, so that nobody can change what is
// started.
var image = sync.OnceValues(func() (*os.File, error) {
	if len(compressed) == 0 {
		return nil, errors.New("there is no warden for this processor")
	}
	fd, err := unix.MemfdCreate("edamame-warden", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before 6.3
		fd, err = unix.MemfdCreate("edamame-warden", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "edamame-warden")
	plain, err := carried.Unpack(compressed)
	if err == nil {
		_, err = f.Write(plain)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the copy of the warden in memory: %w", err)
	}
	return f, nil
})

// Name is what a warden is called: its first argument.
const Name = "edamame-warden"

// Warden is a process of the warden.
type Warden struct {
	// Conn is our end of a pair of sockets (SOCK_SEQPACKET), whose other end is
	// the warden's standard input.
	Conn *os.File
	PID  int

	process *os.Process
	wait    sync.Once
	gone    chan struct{} // closed when it is
}

// Start starts the warden for what args say. Descriptors of files come after its
// standard input.
func Start(args []string, files ...int) (*Warden, error) {
	program, err := image()
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("a pair of sockets for the warden: %w", err)
	}
	defer unix.Close(pair[1])
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	given := []uintptr{uintptr(pair[1])}
	for _, fd := range files {
		given = append(given, uintptr(fd))
	}
	pid, err := syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(int(program.Fd())), append([]string{Name}, args...), &syscall.ProcAttr{
		// One thread does it, and what it leaves in memory is gone soon.
		Env: []string{"GOMAXPROCS=1", "GOGC=off"}, Dir: "/", Files: given,
	})
	if err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("starting the warden: %w", err)
	}
	process, err := os.FindProcess(pid) // it was not waited for: the number is its own
	if err != nil {
		return nil, err
	}
	return &Warden{Conn: os.NewFile(uintptr(pair[0]), "warden"), PID: pid, process: process}, nil
}

// goneWithin is how long a process that was told to end, or was killed, may take
// to be gone. Who traces it as root can keep it; nobody shall wait for that.
const goneWithin = time.Second

// End closes our end of the sockets, at which the process ends, and returns when
// it is gone and its memory with it. One that stays is killed.
func (w *Warden) End() error {
	if w.left() {
		return nil
	}
	return w.Kill()
}

// Kill ends the process, and returns when it is gone and its memory with it. The
// error says that it is still there.
func (w *Warden) Kill() error {
	_ = w.process.Kill()
	if w.left() {
		return nil
	}
	return fmt.Errorf("process %d was killed and is still there", w.PID)
}

// left reports whether the process is gone, for which it waits.
func (w *Warden) left() bool {
	w.wait.Do(func() {
		w.Conn.Close()
		w.gone = make(chan struct{})
		go func() {
			defer close(w.gone)
			_, _ = w.process.Wait() // what cannot be waited for is nobody's child
		}()
	})
	select {
	case <-w.gone:
		return true
	case <-time.After(goneWithin):
		return false
	}
}
