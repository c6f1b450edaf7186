package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cgroups turns ids of the cgroups of one hierarchy, of version 1 or 2, into
// paths. An id is the inode number of the cgroup's folder (kernfs_node id,
// kernel/cgroup/cgroup.c), so a path can be found after the process has ended,
// as long as the cgroup is there.
//
// It is not safe for use by several goroutines.
type Cgroups struct {
	mount  string
	dir    *os.File
	handle bool // open_by_handle_at(2) works
}

// OpenCgroups opens the hierarchy that is mounted there.
func OpenCgroups(mount string) (*Cgroups, error) {
	dir, err := os.Open(mount)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	return &Cgroups{mount: mount, dir: dir, handle: true}, nil
}

// Close lets go of the mount.
func (c *Cgroups) Close() error { return c.dir.Close() }

// Path returns the cgroup's path below the mount, such as
// /system.slice/docker-ID.scope. It reports false where there is no such
// cgroup, or no more.
func (c *Cgroups) Path(id uint64) (path string, ok bool) {
	if id == 0 {
		return "", false
	}
	path, err := c.open(id)
	if err == nil || c.handle {
		return path, err == nil
	}
	c.Each(maxWalk, func(there uint64, p string) bool {
		if there == id {
			path, ok = p, true
		}
		return !ok
	})
	return path, ok
}

// maxWalk bounds the folders that are looked at for one id.
const maxWalk = 4096

// fileIDKernfs is FILEID_KERNFS of include/linux/exportfs.h: the handle is the
// id of a kernfs node.
const fileIDKernfs = 0xfe

// open asks the kernel for the folder with that id.
func (c *Cgroups) open(id uint64) (string, error) {
	if !c.handle {
		return "", unix.ENOTSUP
	}
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], id)
	fd, err := unix.OpenByHandleAt(int(c.dir.Fd()), unix.NewFileHandle(fileIDKernfs, b[:]), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		// ESTALE says that the cgroup is gone; anything else that we cannot ask.
		c.handle = errors.Is(err, unix.ESTALE)
		return "", err
	}
	defer unix.Close(fd)
	full, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	return c.below(full), nil
}

func (c *Cgroups) below(full string) string {
	p := strings.TrimPrefix(full, c.mount)
	if p == "" {
		return "/"
	}
	return p
}

// Each gives the ids and paths of the cgroups there are, limit at most, until
// found returns false.
func (c *Cgroups) Each(limit int, found func(id uint64, path string) bool) {
	_ = filepath.WalkDir(c.mount, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a cgroup that was removed meanwhile
		}
		if limit--; limit < 0 {
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case ok && !found(st.Ino, c.below(path)):
			return fs.SkipAll
		case ok && st.Nlink == 2:
			return fs.SkipDir // it has files alone: a folder in it would be a link more
		}
		return nil
	})
}
