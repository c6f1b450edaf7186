package evidence

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadResult reads a file of at most limit bytes that lies in a folder of results.
// A job may have put something else there: what is no regular file is refused, not
// waited for.
func ReadResult(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() && !st.IsDir() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes, more than a file of its kind can have", path, limit)
	}
	return b, err
}
