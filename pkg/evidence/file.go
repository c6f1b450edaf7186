package evidence

import (
	"errors"
	"fmt"
	"os"
)

// room is a file that is only appended to, with disk space taken ahead of
// what is written: a disk that fills up is noticed while there is still space
// for the end.
type room struct {
	f     *os.File
	size  int64 // bytes written
	taken int64 // bytes of disk space taken; size where that cannot be done
	blind bool  // the file system takes no space ahead
}

// ahead is how much disk space is taken at once, in bytes.
const ahead = 1 << 20

// create makes a file that was not there. O_EXCL follows no link.
func create(root *os.Root, name string) (*room, error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &room{f: f}, nil
}

// need makes sure that n more bytes can be written, and takes step bytes more
// where there are so many.
func (r *room) need(n, step int64) error {
	if r.blind || r.size+n <= r.taken {
		return nil
	}
	ok, err := reserve(r.f, r.size, n+step)
	if ok && err != nil {
		step = 0
		ok, err = reserve(r.f, r.size, n)
	}
	if !ok {
		r.blind = true
		return nil
	}
	if err != nil {
		return err
	}
	r.taken = r.size + n + step
	return nil
}

// Write appends b. It implements io.Writer.
func (r *room) Write(b []byte) (int, error) {
	n, err := r.f.WriteAt(b, r.size)
	r.size += int64(n)
	return n, err
}

// cut takes back what was written after size.
func (r *room) cut(size int64) error {
	r.size = size
	r.taken = size
	return r.f.Truncate(size)
}

// regular opens a file of a folder that may be an attacker's: a link, a
// device or a pipe is refused, also when it takes the file's place meanwhile.
func regular(root *os.Root, name string) (*os.File, os.FileInfo, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, nil, reason(err)
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("is not a regular file (%v)", before.Mode().Type())
	}
	f, err := root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, reason(err)
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = errors.New("was replaced while it was opened")
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, after, nil
}

// reason takes the path off an error whose Fault names it.
func reason(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
