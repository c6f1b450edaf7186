package evidence

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/org/edamame-posture/pkg/event"
)

// maxCheckpoints bounds the file of checkpoints that Amend takes, in bytes:
// some weeks of them.
const maxCheckpoints = 256 << 20

// Amend appends events, at least one, to a log whose monitor died, and a
// checkpoint over all of it at boottime (CLOCK_BOOTTIME in nanoseconds). Their
// Seq is set. The log stays one that was not closed: what is added is what
// somebody else knows of how it was cut off.
//
// Whole lines of a frame that was not ended are kept; half a line is cut off.
// dir must be a folder that nobody else can write. The error is ErrClosed where
// the log has a manifest or an end, and then nothing was changed.
func Amend(dir string, boottime int64, events ...*event.Event) error {
	root, err := openRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := amend(root, boottime, events); err != nil {
		return fmt.Errorf("amend the evidence in %s: %w", dir, err)
	}
	return nil
}

func amend(root *os.Root, boottime int64, events []*event.Event) error {
	if _, err := root.Lstat(manifestName); err == nil {
		return ErrClosed
	}
	t, err := readTorn(root)
	if err != nil {
		return err
	}
	last, notes, err := readNotes(root)
	if err != nil {
		return err
	}
	if last.Size > t.tree.size {
		return fault(checkpointsName, "it covers %d events, and the log has %d", last.Size, t.tree.size)
	}
	lines := t.left
	for _, ev := range events {
		ev.Seq = t.tree.size
		line := ev.AppendJSON(nil)
		if len(line) > event.MaxLine {
			return ErrTooLong
		}
		t.leaf(line)
		if ev.Kind == event.SensorGap {
			t.told += ev.Lost
		}
		lines = append(append(lines, line...), '\n')
	}
	last.Size, last.Root, last.Lost = t.tree.size, t.tree.root(), max(last.Lost, t.told)
	last.Boottime = max(last.Boottime, boottime)
	last.Extra, last.Signatures = nil, nil
	frame, err := frameOf(lines)
	if err != nil {
		return err
	}
	if err := replaceFrom(root, t.name, t.whole, frame); err != nil {
		return err
	}
	return replaceFrom(root, checkpointsName, notes, last.appendNote(nil))
}

// torn is a log that was cut off.
type torn struct {
	tree  tree
	told  uint64 // sum of lost over its gaps
	name  string // its last segment
	whole int64  // bytes of whole frames in that
	left  []byte // whole lines behind them, each ended
	kind  event.Kind
	buf   []byte
}

func (t *torn) leaf(line []byte) {
	t.buf = append(append(t.buf[:0], leafPrefix), line...)
	t.tree.append(sha256.Sum256(t.buf))
}

func (t *torn) line(line []byte, ev *event.Event) error {
	t.kind = ev.Kind
	if ev.Kind == event.SensorGap {
		t.told += ev.Lost
	}
	t.leaf(line)
	return nil
}

// readTorn reads all segments. Only the last may have been cut off.
func readTorn(root *os.Root) (*torn, error) {
	segments := 0
	for segments < maxFiles {
		if _, err := root.Lstat(segmentName(segments)); err != nil {
			break
		}
		segments++
	}
	if segments == 0 {
		return nil, fault(segmentName(0), "is missing: there is no log")
	}
	r, err := newLineReader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	t := &torn{name: segmentName(segments - 1)}
	for n := range segments {
		name := segmentName(n)
		file, info, err := regular(root, name)
		if err != nil {
			return nil, &Fault{File: name, Err: err}
		}
		if n < segments-1 {
			err = r.segment(name, file, t.line)
		} else {
			err = t.lastSegment(r, file, info.Size())
		}
		file.Close()
		if err != nil {
			return nil, err
		}
	}
	if t.kind == event.End {
		return nil, ErrClosed
	}
	return t, nil
}

func (t *torn) lastSegment(r *lineReader, file *os.File, size int64) error {
	t.whole = framesOf(file)
	if err := r.segment(t.name, io.NewSectionReader(file, 0, t.whole), t.line); err != nil {
		return err
	}
	// What stops it here is where the log was cut off.
	_ = r.segment(t.name, io.NewSectionReader(file, t.whole, size-t.whole), func(line []byte, ev *event.Event) error {
		t.left = append(append(t.left, line...), '\n')
		return t.line(line, ev)
	})
	return nil
}

// framesOf returns how many bytes that follow are frames that were ended.
func framesOf(file io.Reader) int64 {
	r := bufio.NewReader(file)
	var at int64
	for {
		n, err := checkFrame(r)
		if err != nil {
			return at // the end, or of a frame that was not ended
		}
		at += n
	}
}

// readNotes returns the last whole checkpoint and how many bytes end with it.
func readNotes(root *os.Root) (last Checkpoint, size int64, err error) {
	b, err := readFile(root, checkpointsName, maxCheckpoints)
	if err != nil {
		return last, 0, err
	}
	at := bytes.LastIndex(b, []byte("\n\n"))
	if at < 0 {
		return last, 0, fault(checkpointsName, "has no whole checkpoint")
	}
	at += 2
	for bytes.HasPrefix(b[at:], []byte(signatureMark)) {
		end := bytes.IndexByte(b[at:], '\n')
		if end < 0 {
			break
		}
		at += end + 1
	}
	for n := newNoteReader(bytes.NewReader(b[:at])); ; {
		c, err := n.read()
		if errors.Is(err, io.EOF) {
			return last, int64(at), nil
		}
		if err != nil {
			return last, 0, &Fault{File: checkpointsName, Line: n.line + 1, Err: err}
		}
		last = *c
	}
}

// frameOf packs lines into one frame, as a log does.
func frameOf(lines []byte) ([]byte, error) {
	var b bytes.Buffer
	enc, err := newEncoder(&b)
	if err != nil {
		return nil, err
	}
	if _, err := enc.Write(lines); err != nil {
		return nil, err
	}
	err = enc.Close()
	return b.Bytes(), err
}

// replaceFrom puts data in the place of what a file holds from offset on, and
// brings it to the disk.
func replaceFrom(root *os.Root, name string, offset int64, data []byte) error {
	before, err := root.Lstat(name)
	if err != nil {
		return &Fault{File: name, Err: reason(err)}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|nonblock, 0)
	if err != nil {
		return &Fault{File: name, Err: reason(err)}
	}
	after, err := f.Stat()
	if err == nil && !(before.Mode().IsRegular() && os.SameFile(before, after)) {
		err = errors.New("is not a regular file")
	}
	if err == nil {
		_, err = f.WriteAt(data, offset)
	}
	if err == nil {
		err = f.Truncate(offset + int64(len(data)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return &Fault{File: name, Err: reason(err)}
	}
	return nil
}
