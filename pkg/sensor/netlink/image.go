package netlink

import (
	"bytes"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// image is what was read of a process just after its exec. Its slices are
// parts of one buffer that is used again.
type image struct {
	argv, env, exe, cwd, stat []byte
	argvCut                   bool
	file                      event.FileID
	links                     uint32 // of the executed file; valid where file is
	ctime                     int64  // of it, in Unix nanoseconds
	size                      uint64 // of it, in bytes
	ns                        event.Namespaces
	cgroup                    uint64
	// done is the boot time at which the reading ended. An exec of the same
	// process before it may be the one that was read.
	done int64
	buf  []byte
}

func (im *image) reset() {
	*im = image{buf: im.buf[:0]}
}

// deleted is what the kernel puts after the name of a file that is gone
// (fs/d_path.c).
var deleted = []byte(" (deleted)")

// classify tells what is odd about the executed file, and returns its path
// without what the kernel added. A file may be really named so: then it has links.
func (im *image) classify() (exe []byte, odd event.Image) {
	exe = im.exe
	known := im.file != event.FileID{}
	if p, ok := bytes.CutSuffix(exe, deleted); ok && (!known || im.links == 0) {
		exe, odd = p, event.Deleted
		if bytes.HasPrefix(p, []byte("/memfd:")) {
			odd |= event.Memfd
		}
	}
	return exe, odd
}

// script tells whether the kernel ran an interpreter for what execve was
// given, and returns both. The kernel names the process after the script
// (begin_new_exec) and puts interpreter, at most one argument, and script
// before the arguments (fs/binfmt_script.c).
func script(comm, exe, argv []byte) (filename, interp []byte, ok bool) {
	if len(comm) == 0 || len(exe) == 0 || sameName(comm, exe) {
		return nil, nil, false
	}
	first, rest, _ := bytes.Cut(argv, []byte{0})
	if len(first) == 0 || first[0] != '/' && first[0] != '.' {
		return nil, nil, false // "#!" takes a path, which is rarely relative
	}
	for range 2 {
		var arg []byte
		arg, rest, _ = bytes.Cut(rest, []byte{0})
		if len(arg) > 0 && sameName(comm, arg) && !sameName(comm, first) {
			return arg, first, true
		}
	}
	return nil, nil, false
}

// sameName reports whether comm is the last element of path, cut to 15 bytes
// as the kernel does.
func sameName(comm, path []byte) bool {
	base := path[bytes.LastIndexByte(path, '/')+1:]
	return bytes.Equal(comm, base[:min(len(base), 15)])
}

// envMax is how many bytes of allowed variables are kept of one process, and
// envValueMax of one variable.
const (
	envMax      = 16 << 10
	envValueMax = 4 << 10
)

// filterEnv appends to dst the variables of a NUL-separated environment whose
// names are allowed. What comes after the last NUL is not looked at; its
// length is returned.
func filterEnv(dst, environ []byte) (_ []byte, rest int) {
	start := len(dst)
	for {
		i := bytes.IndexByte(environ, 0)
		if i < 0 {
			return dst, len(environ)
		}
		v := environ[:i]
		environ = environ[i+1:]
		if eq := bytes.IndexByte(v, '='); eq > 0 && len(v) <= envValueMax && redact.EnvAllowed(v[:eq]) && len(dst)-start+len(v) < envMax {
			dst = append(append(dst, v...), 0)
		}
	}
}
