package evidence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/org/edamame-posture/pkg/event"
)

// Cursor is a place in a log, before a frame. The zero value is its beginning.
// It can be kept and gone on from, by another process too.
type Cursor struct {
	Segment int    `json:"segment"`
	Offset  int64  `json:"offset"` // in the segment's file, in bytes
	Seq     uint64 `json:"seq"`    // of the event that comes next
}

// Follow gives what stands behind from in the whole frames of a log, which may
// be one that is being written, and returns where to go on. The line and the
// event are valid until f returns. After an error of f, which is returned as it
// is, go on where the last good call said.
func Follow(dir string, from Cursor, f func(line []byte, ev *event.Event) error) (Cursor, error) {
	if from.Segment < 0 || from.Segment >= maxFiles || from.Offset < 0 {
		return from, fmt.Errorf("cursor %+v: no place in a log", from)
	}
	root, err := openRoot(dir)
	if err != nil {
		return from, err
	}
	defer root.Close()
	r, err := newLineReader()
	if err != nil {
		return from, err
	}
	defer r.close()
	r.seq = from.Seq
	for at := from; ; {
		name := segmentName(at.Segment)
		file, _, err := regular(root, name)
		if errors.Is(err, fs.ErrNotExist) && at.Offset == 0 {
			return at, nil // it has not begun
		}
		if err != nil {
			return from, &Fault{File: name, Err: err}
		}
		// The next segment begins when this one has its last frame.
		_, nextErr := root.Lstat(segmentName(at.Segment + 1))
		whole, rest, err := wholeAfter(file, at.Offset)
		if err == nil && whole > 0 {
			err = r.segment(name, io.NewSectionReader(file, at.Offset, whole), f)
		}
		file.Close()
		if err != nil {
			return from, err
		}
		at.Offset, at.Seq = at.Offset+whole, r.seq
		if nextErr != nil {
			return at, nil
		}
		if rest > 0 {
			return from, fault(name, "%d bytes after its last frame are no frame", rest)
		}
		at.Segment, at.Offset = at.Segment+1, 0
	}
}

// wholeAfter returns how many bytes of whole frames stand behind offset, and
// how many bytes come after these.
func wholeAfter(file io.ReadSeeker, offset int64) (whole, rest int64, err error) {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	if offset > end {
		return 0, 0, fmt.Errorf("the file has %d bytes, and the cursor stands at %d: it is another log", end, offset)
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return 0, 0, err
	}
	whole = framesOf(file)
	return whole, end - offset - whole, nil
}
