package posture

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
)

// file is a file as it was read.
type file struct {
	path     string
	link     string // where the name leads, for a symbolic link
	data     []byte // nil where it is no regular file, or too large
	size     int64
	mode     uint32 // permission bits
	uid, gid uint32
	regular  bool
	id       event.FileID
}

var (
	errTooLarge = fmt.Errorf("larger than %d KiB", maxFile>>10)
	errNotFile  = errors.New("not a regular file")
	errOthers   = errors.New("the user may not read it, so it is not read for the user")
)

// open returns what a path leads to below the root folder: a link that leads
// out of it ends there. Nothing is opened but a handle, so a FIFO, a device and
// a lease hold up nobody.
func (c *collector) open(p string, flags uint64) (int, error) {
	fd, err := unix.Openat2(c.root, strings.TrimLeft(p, "/"), &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	return fd, nil
}

// stat tells of a file without reading it.
func (c *collector) stat(p string) (*file, error) {
	f, fd, err := c.handle(p)
	if err == nil {
		unix.Close(fd)
	}
	return f, err
}

// handle returns a file, without data, and a handle to it.
func (c *collector) handle(p string) (*file, int, error) {
	link := ""
	fd, err := c.open(p, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		b := make([]byte, unix.PathMax)
		n, _ := unix.Readlinkat(fd, "", b)
		link = string(b[:max(n, 0)])
		unix.Close(fd)
		if fd, err = c.open(p, unix.O_PATH); err != nil {
			return nil, -1, err
		}
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		unix.Close(fd)
		return nil, -1, &fs.PathError{Op: "stat", Path: p, Err: err}
	}
	return &file{path: p, link: link, size: st.Size, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid, regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
		id: event.FileID{Dev: st.Dev, Inode: st.Ino}}, fd, nil
}

// readUsers reads a file that lies where the user can put a link.
func (c *collector) readUsers(p string) (*file, error) { return c.readFor(p, true) }

// readFor reads a file. It is there, without data, where it is none to be read.
// users says that it lies where the user can put a link: only what the user may
// read too is read then, so that nobody learns of another's file by it.
func (c *collector) readFor(p string, users bool) (*file, error) {
	f, fd, err := c.handle(p)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	switch {
	case !f.regular:
		return f, errNotFile
	case users && !c.User.may(f, 4):
		return f, errOthers
	case f.size > maxFile:
		return f, errTooLarge
	}
	// The handle is opened, not the name, which may lead elsewhere by now.
	r, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return f, err
	}
	defer r.Close()
	b := bytes.NewBuffer(make([]byte, 0, f.size+bytes.MinRead))
	if _, err := b.ReadFrom(io.LimitReader(r, maxFile+1)); err != nil {
		return f, err
	}
	if b.Len() > maxFile {
		return f, errTooLarge
	}
	f.data, f.size = b.Bytes(), int64(b.Len()) // of a file of /proc the size is not known before
	return f, nil
}

// linkAt returns where the last part of a path leads, empty for no link.
func (c *collector) linkAt(p string) string {
	fd, err := c.open(p, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// list returns the sorted names of a folder's entries, with the folder before
// them. A folder with too many is told as not read whole.
func (c *collector) list(dir string) []string {
	fd, err := c.open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if err != nil {
		c.unread(dir, err)
		return nil
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	names, err := f.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		c.unread(dir, err)
	}
	if len(names) > maxEntries {
		c.unread(dir, fmt.Errorf("more than %d entries: not all were read", maxEntries))
		names = names[:maxEntries]
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = path.Join(dir, n)
	}
	return names
}

// file reads a file, takes it into the state, and tells where that was not
// possible. It returns nil where there is nothing to look at.
func (c *collector) file(k Kind, p string) *file { return c.take(k, p, false) }

// usersFile is file for one where the user can put a link.
func (c *collector) usersFile(k Kind, p string) *file { return c.take(k, p, true) }

func (c *collector) take(k Kind, p string, users bool) *file {
	f, err := c.readFor(p, users)
	if err != nil {
		c.unread(p, err)
	}
	if f == nil || errors.Is(err, errOthers) {
		return nil
	}
	c.keep(k, f, "")
	if f.data == nil {
		return nil
	}
	return f
}

// keep takes a file into the state.
func (c *collector) keep(k Kind, f *file, marks string) {
	if c.states >= maxState {
		return
	}
	if c.states++; c.states == maxState {
		c.unread("", errors.New("more files than are compared"))
	}
	s := State{Kind: k, Path: c.text(f.path), Link: c.text(f.link), Size: f.size, Mode: f.mode, UID: f.uid, GID: f.gid, Marks: marks, id: f.id}
	if f.data != nil {
		s.SHA256 = digest(f.data)
	}
	c.send(s)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
