package evidence

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve takes disk space for n bytes of f from offset on, beyond its end
// too, without changing its size (fallocate(2)). ok is false where the file
// system cannot do it.
func reserve(f *os.File, offset, n int64) (ok bool, err error) {
	for {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, n)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return false, nil
		default:
			return true, &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}
