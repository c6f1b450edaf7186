package evidence

import (
	"errors"
	"os"
	"slices"
	"sync"
)

// disk brings the files of a log to the disk while the log is written: fsync
// may take longer than events can wait.
type disk struct {
	syncing sync.Mutex // taken before mu
	mu      sync.Mutex
	files   []*os.File // the segment that is written, and the checkpoints
	retired []*os.File // segments that ended: synced once and closed
	closed  bool
}

// begin sets the files that are written, in the order in which they are synced.
func (d *disk) begin(files ...*os.File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = files
}

// retire puts a segment in the place of one that ended.
func (d *disk) retire(old, next *os.File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retired = append(d.retired, old)
	d.files[0] = next
}

// sync brings to the disk what was written before the call: the segments that
// ended, and where all is set the open files too.
func (d *disk) sync(all bool) (err error) {
	d.syncing.Lock()
	defer d.syncing.Unlock()
	d.mu.Lock()
	ended, open, closed := d.retired, slices.Clone(d.files), d.closed
	d.retired = nil
	d.mu.Unlock()
	for _, f := range ended {
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if closed || !all {
		return err
	}
	for _, f := range open {
		err = errors.Join(err, f.Sync())
	}
	return err
}

// end waits for a sync that is under way, and leaves the open files to the log.
func (d *disk) end(sync bool) error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	if sync {
		return d.sync(false)
	}
	d.syncing.Lock()
	defer d.syncing.Unlock()
	var err error
	for _, f := range d.retired {
		err = errors.Join(err, f.Close())
	}
	d.retired = nil
	return err
}
