package process

import (
	"bytes"
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

// Cgroups turns cgroup v2 ids into paths. An id is the inode number of the
// cgroup's folder (kernfs_node id, kernel/cgroup/cgroup.c), so a path can be
// found after the process has ended, as long as the cgroup is there.
//
// It is not safe for use by several goroutines.
type Cgroups struct {
	mount  string
	dir    *os.File
	handle bool // open_by_handle_at(2) works
	limit  int
	paths  map[uint64]string // "" for an id that is not there
}

// OpenCgroups finds where cgroup v2 is mounted. It remembers at most limit
// paths, at least 64.
func OpenCgroups(limit int) (*Cgroups, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("where cgroups are mounted: %w", err)
	}
	mount := cgroup2Mount(info)
	if mount == "" {
		return nil, errors.New("cgroup v2 is not mounted: containers are known by their processes only")
	}
	dir, err := os.Open(mount)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	return &Cgroups{mount: mount, dir: dir, handle: true, limit: max(limit, 64), paths: make(map[uint64]string)}, nil
}

// Close lets go of the mount.
func (c *Cgroups) Close() error { return c.dir.Close() }

// cgroup2Mount finds the first mount of cgroup2 in proc_pid_mountinfo(5).
func cgroup2Mount(info []byte) string {
	for line := range bytes.Lines(info) {
		before, after, ok := bytes.Cut(line, []byte(" - "))
		if !ok || !bytes.HasPrefix(after, []byte("cgroup2 ")) {
			continue
		}
		if f := bytes.Fields(before); len(f) > 4 {
			return string(f[4])
		}
	}
	return ""
}

// Path returns the cgroup's path below the mount, such as
// /system.slice/docker-ID.scope. It reports false where there is no such
// cgroup, or no more.
func (c *Cgroups) Path(id uint64) (string, bool) {
	if id == 0 {
		return "", false
	}
	if p, ok := c.paths[id]; ok {
		return p, p != ""
	}
	if len(c.paths) >= c.limit {
		clear(c.paths)
	}
	p, err := c.open(id)
	if err != nil && !c.handle {
		c.walk()
		p = c.paths[id]
	}
	c.paths[id] = p
	return p, p != ""
}

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

// walk reads all folders there are, up to the limit.
func (c *Cgroups) walk() {
	clear(c.paths)
	_ = filepath.WalkDir(c.mount, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // a cgroup that was removed meanwhile
		}
		if len(c.paths) >= c.limit-1 {
			return fs.SkipAll
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				c.paths[st.Ino] = c.below(path)
			}
		}
		return nil
	})
}
