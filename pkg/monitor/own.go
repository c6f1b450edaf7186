package monitor

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// own knows the monitor's own files: whoever of a recording opens one, to read
// it too, acts on the monitor. It has a lock of its own, since a log that goes
// on in another file says so while the monitor's is held.
type own struct {
	mu    sync.Mutex
	dirs  map[string]bool
	files map[event.FileID]bool
}

// folder adds a folder, whose files are known by their path where that is all
// there is: an open that was refused, a rename.
func (o *own) folder(dir string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dirs == nil {
		o.dirs, o.files = map[string]bool{}, map[event.FileID]bool{}
	}
	o.dirs[dir] = true
}

// leave forgets a folder that is handed over.
func (o *own) leave(dir string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.dirs, dir)
}

// maxOwn bounds the files that are known for what they are: a recording has
// some ten, and one more for each 64 MiB of its log.
const maxOwn = 1 << 12

// file has a file watched for what it is, whatever way leads to it: another
// mount, a link, /proc/PID/fd.
func (o *own) file(a sensor.Adopter, path string) {
	if a == nil {
		return
	}
	id, err := a.Adopt(unix.AT_FDCWD, path, false)
	if err != nil {
		return // by its name it is known all the same
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.files) < maxOwn {
		o.files[id] = true
		o.files[event.FileID{Inode: id.Inode}] = true // see recording.learn
	}
}

// has tells whether a record is about a file of the monitor's own.
func (o *own) has(rec *sensor.Record) bool {
	switch rec.Kind {
	case event.Open:
		// A folder is looked at by whoever passes; what is opened is a file.
		if !rec.ByInode && rec.Access&^event.Read == 0 && rec.Err == 0 {
			return false
		}
	case event.Rename, event.Unlink, event.Link, event.Chmod:
	default:
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if rec.ByInode && (o.files[rec.File] || o.files[event.FileID{Inode: rec.File.Inode}]) {
		return true
	}
	return o.below(rec.Path) || len(rec.NewPath) > 0 && o.below(rec.NewPath)
}

func (o *own) below(path []byte) bool {
	for dir := range o.dirs {
		if len(path) >= len(dir) && string(path[:len(dir)]) == dir && (len(path) == len(dir) || path[len(dir)] == '/') {
			return true
		}
	}
	return false
}
