package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// canary makes the credential file that is to be read.
func canary() error { return os.WriteFile(".npmrc", []byte("token=canary\n"), 0o600) }

func read(path string) error { _, err := os.ReadFile(path); return err }

// withCanary is an act upon a credential file.
func withCanary(name string, f func(dir string) error) {
	acts[name] = func(dir string) error {
		if err := canary(); err != nil {
			return err
		}
		// Another image reads: the maker's own access is folded.
		cmd := self("files", name, dir)
		return cmd.Run()
	}
	readers[name] = f
}

var readers = map[string]func(dir string) error{}

func init() {
	roles["files"] = func(a []string) error { return readers[a[0]](a[1]) }
	withCanary("hard-link", func(string) error {
		if err := os.Link(".npmrc", "hard"); err != nil {
			return err
		}
		return read("hard")
	})
	withCanary("symlink", func(string) error {
		if err := os.Symlink(".npmrc", "soft"); err != nil {
			return err
		}
		return read("soft")
	})
	withCanary("bind-mount", func(string) error {
		if err := os.WriteFile("bound", nil, 0o600); err != nil {
			return err
		}
		return ownMounts(func() error {
			if err := unix.Mount(".npmrc", "bound", "", unix.MS_BIND, ""); err != nil {
				return err
			}
			return readHere("bound")
		})
	})
	withCanary("renamed", func(string) error {
		if err := os.Rename(".npmrc", "innocent"); err != nil {
			return err
		}
		return read("innocent")
	})
	withCanary("proc-root", func(dir string) error { return read("/proc/self/root" + dir + "/.npmrc") })
	withCanary("proc-cwd", func(string) error { return read("/proc/self/cwd/.npmrc") })
	withCanary("chroot", func(dir string) error {
		return ownMounts(func() error {
			if err := unix.Chroot(dir); err != nil {
				return err
			}
			return readHere("/.npmrc")
		})
	})
	withCanary("openat2", func(string) error {
		fd, err := unix.Openat2(unix.AT_FDCWD, ".npmrc", &unix.OpenHow{Flags: unix.O_RDONLY})
		if err != nil {
			return err
		}
		_, err = unix.Read(fd, make([]byte, 8))
		return err
	})
	withCanary("open-by-handle", func(dir string) error {
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, ".npmrc", 0)
		if err != nil {
			return err
		}
		mnt, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		fd, err := unix.OpenByHandleAt(mnt, h, unix.O_RDONLY)
		if err != nil {
			return err
		}
		_, err = unix.Read(fd, make([]byte, 8))
		return err
	})
	withCanary("opath-reopened", func(string) error {
		fd, err := unix.Open(".npmrc", unix.O_PATH, 0)
		if err != nil {
			return err
		}
		return read("/proc/self/fd/" + itoa(fd))
	})
	withCanary("mmap", func(string) error {
		f, err := os.Open(".npmrc")
		if err != nil {
			return err
		}
		b, err := unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		_ = b[0]
		return nil
	})
	withCanary("sendfile", func(string) error {
		return between(func(in, out int) error { _, err := unix.Sendfile(out, in, nil, 8); return err })
	})
	withCanary("copy-file-range", func(string) error {
		return between(func(in, out int) error { _, err := unix.CopyFileRange(in, nil, out, nil, 8, 0); return err })
	})
	sentOff("splice", func(in, out int) error { return through(in, out, nil) })
	sentOff("tee", func(in, out int) error {
		return through(in, out, func(r int) (int, error) {
			var second [2]int
			if err := unix.Pipe(second[:]); err != nil {
				return -1, err
			}
			n, err := unix.Tee(r, second[1], page, 0)
			if err == nil && n != page {
				err = io.ErrShortWrite
			}
			return second[0], err
		})
	})
	sentOff("vmsplice", func(in, out int) error {
		// Mapped pages, put into a pipe: nothing is ever read or written.
		b, err := unix.Mmap(in, 0, page, unix.PROT_READ, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		var p [2]int
		if err := unix.Pipe(p[:]); err != nil {
			return err
		}
		if _, err := unix.Vmsplice(p[1], []unix.Iovec{{Base: &b[0], Len: page}}, 0); err != nil {
			return err
		}
		return whole(unix.Splice(p[0], nil, out, nil, page, 0))
	})
	withCanary("inherited-fd", func(string) error {
		f, err := os.Open(".npmrc")
		if err != nil {
			return err
		}
		cmd := self("wait")
		cmd.Stdin = f
		return cmd.Run()
	})
	withCanary("uring-openat", func(dir string) error {
		u, err := newURing()
		if err != nil {
			return err
		}
		return u.must(18, unix.AT_FDCWD, cstr(filepath.Join(dir, ".npmrc")), 0, 0, unix.O_RDONLY, 0)
	})
	withCanary("uring-direct", func(dir string) error {
		u, err := newURing()
		if err != nil {
			return err
		}
		if err := u.table(4); err != nil {
			return err
		}
		return u.must(18, unix.AT_FDCWD, cstr(filepath.Join(dir, ".npmrc")), 0, 0, unix.O_RDONLY, 1)
	})
	acts["int80-open"] = func(dir string) error {
		if err := canary(); err != nil {
			return err
		}
		// A kernel without the entry ends the process by a fault.
		cmd := self("files", "int80-open", dir)
		cmd.Env, cmd.Stderr = append(os.Environ(), "GOTRACEBACK=crash"), nil
		err := cmd.Run()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return os.WriteFile("truth", []byte("no entry"), 0o600)
		}
		return err
	}
	readers["int80-open"] = func(dir string) error {
		low, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_32BIT)
		if err != nil {
			return err
		}
		copy(low, dir+"/.npmrc\x00")
		if r := int80(5, uint32(uintptr(unsafe.Pointer(&low[0]))), 0, 0); r < 0 {
			return unix.Errno(-r)
		}
		return nil
	}
	withCanary("path-rewritten", func(dir string) error { return rewrittenPath(dir) })
	acts["deep-path"] = func(string) error {
		// A path of more than 4,096 bytes is made folder by folder.
		part := strings.Repeat("d", 200)
		for range 25 {
			if err := os.Mkdir(part, 0o755); err != nil {
				return err
			}
			if err := unix.Chdir(part); err != nil {
				return err
			}
		}
		fd, err := unix.Open("deep-file", unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
	acts["mmap-write"] = func(string) error {
		if err := os.WriteFile("source.go", make([]byte, 64), 0o600); err != nil {
			return err
		}
		return self("mmap-writer").Run()
	}
	roles["mmap-writer"] = func([]string) error {
		f, err := os.OpenFile("source.go", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		b, err := unix.Mmap(int(f.Fd()), 0, 64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		b[0] = 'x'
		return nil
	}
	written := func(name string, f func(dir string) error) {
		acts[name] = func(dir string) error {
			for _, n := range []string{"source.go", "new"} {
				if err := os.WriteFile(n, make([]byte, page), 0o600); err != nil {
					return err
				}
			}
			return self("files", name, dir).Run()
		}
		readers[name] = f
	}
	written("copied-over", func(string) error {
		return overSource(func(in, out int) error { return whole64(unix.CopyFileRange(in, nil, out, nil, page, 0)) })
	})
	written("spliced-over", func(string) error {
		return overSource(func(in, out int) error { return through(in, out, nil) })
	})
	written("hard-link-write", func(string) error {
		if err := os.Link("source.go", "innocent"); err != nil {
			return err
		}
		return overwrite("innocent")
	})
	written("bind-mount-write", func(string) error {
		return ownMounts(func() error {
			if err := unix.Mount("source.go", "new", "", unix.MS_BIND, ""); err != nil {
				return err
			}
			return overwrite("new")
		})
	})
	acts["rename-over"] = func(string) error {
		for _, n := range []string{"source.go", "new"} {
			if err := os.WriteFile(n, nil, 0o600); err != nil {
				return err
			}
		}
		return os.Rename("new", "source.go")
	}
	acts["files-beyond-folding"] = func(string) error {
		// More files than the kernel side remembers at once, then the canary.
		if err := os.Mkdir("many", 0o755); err != nil {
			return err
		}
		if err := os.Chdir("many"); err != nil {
			return err
		}
		for i := range 70000 {
			fd, err := unix.Open(itoa(i), unix.O_CREAT|unix.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			_ = unix.Close(fd)
			_ = unix.Unlink(itoa(i))
		}
		if err := os.Chdir(".."); err != nil {
			return err
		}
		if err := canary(); err != nil {
			return err
		}
		return self("reader", ".npmrc").Run()
	}
	roles["reader"] = func(a []string) error { return read(a[0]) }
}

func itoa(i int) string {
	var b [12]byte
	at := len(b)
	for {
		at--
		b[at] = byte('0' + i%10)
		if i /= 10; i == 0 {
			return string(b[at:])
		}
	}
}

// ownMounts runs f on a thread with a mount namespace of its own.
func ownMounts(f func() error) error {
	runtime.LockOSThread() // never unlocked: the thread ends with its namespace
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return f()
}

// readHere reads with bare system calls, on this thread.
func readHere(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Read(fd, make([]byte, 8))
	return err
}

const page = 4096

func whole(n int64, err error) error {
	if err == nil && n != page {
		err = io.ErrShortWrite
	}
	return err
}

func whole64(n int, err error) error { return whole(int64(n), err) }

// sentOff is an act that moves a page of a credential to the peer.
func sentOff(name string, f func(in, out int) error) {
	onLoopback(name, func(dir string) error {
		if err := os.WriteFile(".npmrc", make([]byte, page), 0o600); err != nil {
			return err
		}
		return self("files", name, dir).Run()
	})
	readers[name] = func(string) error {
		in, err := unix.Open(".npmrc", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		out, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(out, sockaddr(peer)); err != nil {
			return err
		}
		return f(in, out)
	}
}

// through moves a page by a pipe, with what stands between, and splice(2).
func through(in, out int, between func(r int) (int, error)) error {
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	if err := whole(unix.Splice(in, nil, p[1], nil, page, 0)); err != nil {
		return err
	}
	r := p[0]
	if between != nil {
		var err error
		if r, err = between(r); err != nil {
			return err
		}
	}
	return whole(unix.Splice(r, nil, out, nil, page, 0))
}

func overSource(f func(in, out int) error) error {
	in, err := unix.Open("new", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	out, err := unix.Open("source.go", unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f(in, out)
}

// overwrite writes with bare system calls, on this thread.
func overwrite(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("package evil"))
	return err
}

func between(f func(in, out int) error) error {
	in, err := os.Open(".npmrc")
	if err != nil {
		return err
	}
	out, err := os.Create("copy")
	if err != nil {
		return err
	}
	return f(int(in.Fd()), int(out.Fd()))
}

// rewrittenPath opens while another thread changes the name between a harmless
// file and the canary.
func rewrittenPath(dir string) error {
	if err := os.WriteFile("xnpmrc", nil, 0o600); err != nil {
		return err
	}
	name := []byte(dir + "/xnpmrc\x00")
	at := len(dir) + 1
	stop := make(chan struct{})
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				*(*byte)(unsafe.Pointer(&name[at])) = "x."[i&1]
			}
		}
	}()
	defer close(stop)
	for range 100000 {
		fd, _, e := syscall.Syscall(unix.SYS_OPEN, uintptr(unsafe.Pointer(&name[0])), unix.O_RDONLY, 0)
		if e != 0 {
			return e
		}
		f := os.NewFile(fd, "")
		b, _ := io.ReadAll(f)
		f.Close()
		if len(b) > 0 {
			return nil
		}
	}
	return os.ErrNotExist
}
