package barrier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/warden"
)

// Barrier is a running guard.
type Barrier struct {
	guard *warden.Warden
	// Marked are the programs that are held up.
	Marked []string
	files  []fileID // of Marked
	buf    []byte

	busy     atomic.Bool   // a message may be with who called Next
	answered atomic.Uint32 // the last id that was answered
	unread   time.Time     // since when the guard is seen not to read; zero where it does
}

// fileID tells files apart, whatever their names.
type fileID struct{ dev, inode uint64 }

func idOf(path string) (fileID, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return fileID{uint64(st.Dev), st.Ino}, err
}

// stuckAfter is how long a guard may leave its messages unread.
const stuckAfter = time.Second

// Words of the guard's messages: each is a word, an id, a process id and a path.
const (
	wordMissed = 'm'
	headBytes  = 1 + 4 + 4
)

// Start puts the barrier before programs. Those that cannot be marked are left
// out; where none can it is an error, which says why.
func Start(programs []string) (*Barrier, error) {
	group, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_UNLIMITED_QUEUE|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE)
	if err != nil {
		return nil, fmt.Errorf("fanotify_init: %w", err)
	}
	defer unix.Close(group)
	b := &Barrier{buf: make([]byte, headBytes+4096)}
	for _, p := range programs {
		if err = unix.FanotifyMark(group, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, p); err == nil {
			id, _ := idOf(p)
			b.Marked, b.files = append(b.Marked, p), append(b.files, id)
		}
	}
	if len(b.Marked) == 0 {
		return nil, errors.Join(errors.New("no program could be marked"), err)
	}
	b.guard, err = warden.Start([]string{"barrier", strconv.FormatInt(int64(Patience), 10)}, group)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Next waits for an exec that waits, or that was let go. The error means that
// the guard is gone: nothing waits any more.
func (b *Barrier) Next() (Held, error) {
	raw, err := b.guard.Conn.SyscallConn()
	if err != nil {
		return Held{}, err
	}
	var n int
	rerr := raw.Read(func(fd uintptr) bool {
		b.busy.Store(true) // before the message is taken: see Told
		for {
			if n, _, err = unix.Recvfrom(int(fd), b.buf, unix.MSG_DONTWAIT); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if errors.Is(err, unix.EAGAIN) {
			b.busy.Store(false)
			return false
		}
		return true
	})
	if err = errors.Join(rerr, err); err != nil {
		return Held{}, err
	}
	if n == 0 {
		return Held{}, io.EOF
	}
	if n < headBytes {
		return Held{}, errors.New("a message of the guard is too short")
	}
	return Held{
		ID: binary.LittleEndian.Uint32(b.buf[1:]), PID: binary.LittleEndian.Uint32(b.buf[5:]),
		Path: string(b.buf[headBytes:n]), Missed: b.buf[0] == wordMissed,
	}, nil
}

// Answer lets go of all execs up to the one with that id.
func (b *Barrier) Answer(id uint32) error {
	b.answered.Store(id)
	return b.send(id)
}

func (b *Barrier) send(id uint32) error {
	_, err := b.guard.Conn.Write(binary.LittleEndian.AppendUint32(nil, id))
	return err
}

// Told reports whether Next has given all that the guard has said, and was called
// again since.
func (b *Barrier) Told() bool {
	unread := 0
	raw, err := b.guard.Conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { unread, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	}
	return err != nil || unread == 0 && !b.busy.Load()
}

// Look ends a guard that does not read its messages, as one that was stopped:
// only the kernel can let go of what waits for it, which it does when the guard
// is gone. Next then says so. Look is to be called every second, by one goroutine
// at a time.
func (b *Barrier) Look() {
	unread := -1
	raw, err := b.guard.Conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			// What the other end has not read: unix_ioctl of net/unix/af_unix.c.
			if n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
				unread = n
			}
		})
	}
	switch {
	case err != nil || unread < 0:
		return // it is being taken away
	case unread == 0:
		b.unread = time.Time{}
		_ = b.send(b.answered.Load()) // lets go of nothing more, and is to be read
	case b.unread.IsZero():
		b.unread = time.Now()
	case time.Since(b.unread) >= stuckAfter:
		// It was not waited for, so its number is nobody else's.
		_ = unix.Kill(b.guard.PID, unix.SIGKILL)
	}
}

// Replaced returns the programs in whose place there is another file by now,
// as after an upgrade: nothing holds that up.
func (b *Barrier) Replaced() (paths []string) {
	for i, p := range b.Marked {
		if id, err := idOf(p); err == nil && id != b.files[i] {
			paths = append(paths, p)
		}
	}
	return paths
}

// PID returns the process id of the guard.
func (b *Barrier) PID() uint32 { return uint32(b.guard.PID) }

// Close takes the barrier away.
func (b *Barrier) Close() { _ = b.guard.Kill() }

// folders are where programs of the system lie, as patterns of folders.
var folders = []string{
	"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin",
	"/usr/libexec", "/usr/lib/*", "/usr/libexec/*", "/opt/*/bin", "/snap/bin",
}

// runtimes start containers, whose root is root.
var runtimes = map[string]bool{"runc": true, "crun": true, "youki": true, "docker-runc": true, "kata-runtime": true, "runsc": true}

// maxPrograms bounds how many files are marked.
const maxPrograms = 512

// Programs finds what gives power over the machine to who executes it: setuid
// root, setgid root or with capabilities of its own (capabilities(7)), and
// container runtimes.
func Programs() []string {
	var found []string
	seen := map[fileID]bool{}
	for _, pattern := range folders {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		for _, dir := range dirs {
			entries, err := os.ReadDir(dir)
			if err != nil {
				continue
			}
			for _, e := range entries {
				path := filepath.Join(dir, e.Name())
				var st unix.Stat_t
				if len(found) >= maxPrograms || unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
					continue
				}
				id := fileID{uint64(st.Dev), st.Ino}
				if seen[id] || !gives(path, e.Name(), &st) {
					continue
				}
				seen[id] = true
				found = append(found, path)
			}
		}
	}
	return found
}

// gives reports whether executing a file gives power.
func gives(path, name string, st *unix.Stat_t) bool {
	if runtimes[name] || st.Uid == 0 && st.Mode&unix.S_ISUID != 0 || st.Gid == 0 && st.Mode&unix.S_ISGID != 0 {
		return true
	}
	_, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil
}
