package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// Bounds of the writer that are not Options.
const (
	// endRoom is kept free for the last gaps and the end, in bytes.
	endRoom = 64 << 10
	// manifestRoom is kept free for the manifest.
	manifestRoom = 64 << 10
	// frameLines ends a frame, in bytes of lines, when no checkpoint does.
	frameLines = 8 << 20
	// blockLines is how much the encoder may hold back: one zstd block.
	blockLines = 128 << 10
	// The writer stops well before the reader's bounds on ratio: up to a frame
	// more may come before it is noticed.
	denseFrom = ratioFrom / 2
	denseAt   = maxRatio / 2
)

// Options of a log. Only Run must be set.
type Options struct {
	// Run is the id of the run: see CheckRun.
	Run string
	// MaxBytes bounds the folder on disk; 0 means 1 GiB. It is at least 256 KiB.
	MaxBytes int64
	// SegmentBytes is the size at which a segment ends; 0 means 64 MiB.
	SegmentBytes int64
	// Own is given each event that the log appends of its own accord (gaps),
	// right after it was appended, so that who judges live sees what a replay
	// will see. The event is valid until it returns, and Own must not call
	// the log.
	Own func(*event.Event)
	// Made is given the path of each file of the folder, below dir as Create
	// was given it, right after it was made. It must not call the log.
	Made func(path string)
	// Keys sign the checkpoints. nil for unsigned ones.
	Keys Keys
	// Growth, where it is set, is told of each leaf and checkpoint, so that a
	// witness can be shown how the log grew.
	Growth *Growth
	// NoSync leaves out fsync: for tests, and where a crash of the machine
	// does not matter.
	NoSync bool
}

// Log is a log that is being written. It is used by one goroutine at a time,
// but for Sync, and for Write of a checkpoint that was begun.
type Log struct {
	opt  Options
	dir  string
	root *os.Root

	enc       *zstd.Encoder
	seg       *room
	segments  int   // begun
	before    int64 // bytes of the segments before seg
	notes     *room
	noteBytes atomic.Int64 // of notes, and of those that were begun
	disk      disk
	noteBuf   []byte
	manifest  *room
	whole     []string // files that were written at once
	wholeSize int64
	dates     int   // of them, answers of timestamp authorities
	inFrame   int64 // bytes of lines in the open frame
	raw       int64 // bytes of lines in all

	buf  []byte // leafPrefix, line, newline
	own  event.Event
	tree tree

	// told is the sum of lost over the gaps in the log, untold what was
	// refused since.
	told, untold uint64
	from, to     int64 // times of the first and last event of untold

	// good is the state at the last end of a frame, to which a failed write
	// takes the log back.
	good struct {
		tree tree
		told uint64
		seg  int64 // bytes of the segment
		raw  int64 // bytes of lines in all
	}
	last   Checkpoint  // that was begun
	chain  signing     // of the checkpoints
	full   error       // why no more events are taken
	detail redact.Text // the same for the gap that says so
	said   bool        // that gap was tried
	halt   error       // why the next event is not taken: told by a write between events
	ended  bool
	closed bool
}

var (
	ownSensor   = redact.Const("log")
	detailFull  = redact.Const("the log is at its bound of bytes")
	detailDisk  = redact.Const("the disk is full or a write failed")
	detailDense = redact.Const("the lines repeat too much: they would be more than a reader may unpack")
	detailRest  = redact.Const("events that the log refused until its end")
	detailLong  = redact.Const("an event was too long for a line")
)

var (
	errBound = errors.New("it is at its bound of bytes")
	errDense = errors.New("its lines repeat too much")
)

// Create makes the folder dir, which must not be there, for the user alone,
// and an empty log in it.
func Create(dir string, opt Options) (*Log, error) {
	if err := CheckRun(opt.Run); err != nil {
		return nil, err
	}
	if opt.MaxBytes == 0 {
		opt.MaxBytes = 1 << 30
	}
	if opt.SegmentBytes == 0 {
		opt.SegmentBytes = 64 << 20
	}
	if opt.MaxBytes < 256<<10 || opt.MaxBytes > maxBytes || opt.SegmentBytes < 1 || opt.MaxBytes/opt.SegmentBytes > maxFiles/2 {
		return nil, fmt.Errorf("create evidence: %d bytes in segments of %d: use 256 KiB to %d GiB, in at most %d segments",
			opt.MaxBytes, opt.SegmentBytes, maxBytes>>30, maxFiles/2)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create evidence: %w", err)
	}
	l := &Log{opt: opt, dir: dir, buf: make([]byte, 0, 64<<10), chain: signing{keys: opt.Keys}}
	if err := l.begin(dir); err != nil {
		l.Abort()
		return nil, fmt.Errorf("create evidence: %w", err)
	}
	return l, nil
}

func (l *Log) begin(dir string) (err error) {
	if l.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	if err := l.root.Mkdir(inputsDir, 0o700); err != nil {
		return err
	}
	if l.manifest, err = l.create(manifestTemp); err != nil {
		return err
	}
	if err := l.manifest.need(manifestRoom, 0); err != nil {
		return err
	}
	if l.notes, err = l.create(checkpointsName); err != nil {
		return err
	}
	if err := l.notes.need(endRoom, 0); err != nil {
		return err
	}
	if l.seg, err = l.create(segmentName(0)); err != nil {
		return err
	}
	l.segments = 1
	l.disk.begin(l.seg.f, l.notes.f)
	if err := l.seg.need(endRoom, 0); err != nil {
		return err
	}
	if l.enc, err = newEncoder(l.seg); err != nil {
		return err
	}
	l.last.Origin = originPrefix + l.opt.Run
	return nil
}

// writeWindow is the window of the frames that are written, in bytes. The
// encoder keeps twice as much and moves the window down when that is full; with
// the memory that WithLowerEncoderMem leaves it would do so for each block, and
// spend more on moving than on packing.
const writeWindow = maxWindow / 2

// newEncoder packs what a log writes: one block at a time, in about 3 MiB.
func newEncoder(w io.Writer) (*zstd.Encoder, error) {
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(writeWindow))
}

// create makes a file of the folder.
func (l *Log) create(name string) (*room, error) {
	r, err := create(l.root, name)
	if err == nil && l.opt.Made != nil {
		l.opt.Made(filepath.Join(l.dir, name))
	}
	return r, err
}

// Size returns how many events the log holds.
func (l *Log) Size() uint64 { return l.tree.size }

// Root returns the root of the tree over them.
func (l *Log) Root() Hash { return l.tree.root() }

// Lost returns how many events are known to be missing: those that gaps in
// the log tell, and those the log refused since.
func (l *Log) Lost() uint64 { return l.told + l.untold }

// Bytes returns the size of the folder's files, in bytes.
func (l *Log) Bytes() int64 { return l.before + l.seg.size + l.noteBytes.Load() + l.wholeSize }

// Full returns why the log takes no more events, or nil. It wraps ErrFull.
func (l *Log) Full() error { return l.full }

// Append gives ev its Seq and writes its line.
//
// An error that is ErrFull or ErrTooLong means that the event was counted as
// lost and told by a gap; the recording goes on, and [event.End] is still
// taken. After a failed write, events that were appended since the last frame
// may be gone too: Size tells.
func (l *Log) Append(ev *event.Event) error {
	switch {
	case l.closed || l.ended:
		return ErrClosed
	case ev.Kind == event.End:
		return l.end(ev)
	case l.full != nil:
		l.refuse(ev)
		l.say()
		return l.full
	}
	n := l.encode(ev)
	if n > event.MaxLine {
		l.refuse(ev)
		l.gap(detailLong, endRoom)
		return ErrTooLong
	}
	err := l.halt
	if err == nil && tooDense(l.good.raw, l.before+l.good.seg, denseFrom, denseAt) {
		err = errDense
	}
	if err == nil {
		err = l.fits(n, endRoom)
	}
	if err == nil {
		err = l.put(ev)
	}
	if err != nil {
		l.refuse(ev)
		l.stop(err)
		l.say()
		return l.full
	}
	return nil
}

// say tells once in the log that it takes no more events.
func (l *Log) say() {
	if !l.said {
		l.said = true
		l.gap(l.detail, endRoom/2)
	}
}

// end appends the last event: what was refused first, in the room kept for it.
func (l *Log) end(ev *event.Event) error {
	if l.untold > 0 {
		l.gap(detailRest, 0)
	}
	n := l.encode(ev)
	if n > event.MaxLine {
		return ErrTooLong
	}
	err := l.fits(n, 0)
	if err == nil {
		err = l.put(ev)
	}
	if err != nil {
		l.stop(err)
		return l.full
	}
	l.ended = true
	return nil
}

// encode puts ev's line into buf and returns its length without the newline.
func (l *Log) encode(ev *event.Event) int {
	ev.Seq = l.tree.size
	l.buf = append(l.buf[:0], leafPrefix)
	l.buf = ev.AppendJSON(l.buf)
	n := len(l.buf) - 1
	l.buf = append(l.buf, '\n')
	return n
}

// put writes the line that is in buf.
func (l *Log) put(ev *event.Event) error {
	line := l.buf[1:]
	leaf := sha256.Sum256(l.buf[:len(l.buf)-1])
	if _, err := l.enc.Write(line); err != nil {
		return err
	}
	l.tree.append(leaf)
	if l.opt.Growth != nil {
		if err := l.opt.Growth.append(leaf); err != nil {
			return err
		}
	}
	l.inFrame += int64(len(line))
	l.raw += int64(len(line))
	if ev.Kind == event.SensorGap {
		l.told += ev.Lost
	}
	if l.inFrame >= frameLines {
		return l.endFrame()
	}
	return nil
}

// refuse counts an event that is not taken.
func (l *Log) refuse(ev *event.Event) {
	if l.untold == 0 {
		l.from = ev.Time
	}
	l.to = ev.Time
	if ev.Kind == event.SensorGap {
		l.untold += ev.Lost
		return
	}
	l.untold++
}

// gap appends what was refused so far as an event, keeping room free after
// it. Where that fails it stays untold.
func (l *Log) gap(detail redact.Text, keep int64) {
	l.own.Reset()
	l.own.Kind, l.own.Via, l.own.Sensor, l.own.Detail = event.SensorGap, event.ViaMonitor, ownSensor, detail
	l.own.Time, l.own.From, l.own.To, l.own.Lost = l.to, l.from, l.to, l.untold
	if err := l.fits(l.encode(&l.own), keep); err != nil {
		if err != errBound {
			l.stop(err)
		}
		return
	}
	l.untold = 0
	if err := l.put(&l.own); err != nil {
		l.untold += l.own.Lost
		l.stop(err)
		return
	}
	if l.opt.Own != nil {
		l.opt.Own(&l.own)
	}
}

// fits returns nil where a line of n bytes can be written and keep bytes
// after it.
func (l *Log) fits(n int, keep int64) error {
	err := l.fitsNow(n, keep)
	if err == nil || l.inFrame == 0 {
		return err
	}
	// What the encoder holds back counts as if it could not be compressed.
	// Near the bound it is worth knowing what it comes to.
	if err := l.endFrame(); err != nil {
		return err
	}
	return l.fitsNow(n, keep)
}

func (l *Log) fitsNow(n int, keep int64) error {
	need := worst(int64(n)+1) + worst(min(l.inFrame, blockLines)) + keep
	if l.Bytes()+need > l.opt.MaxBytes-manifestRoom {
		return errBound
	}
	return l.seg.need(need, min(ahead, l.opt.MaxBytes))
}

// worst is what n bytes come to in zstd if nothing in them repeats.
func worst(n int64) int64 { return n + n>>12 + 64 }

// stop ends the taking of events.
func (l *Log) stop(why error) {
	detail := detailDisk
	switch {
	case errors.Is(why, errBound):
		detail = detailFull
	case errors.Is(why, errDense):
		detail = detailDense
	default:
		l.back()
	}
	if l.full == nil {
		l.full, l.detail = fmt.Errorf("%w: %w", ErrFull, why), detail
	}
}

// back takes the log back to the last whole frame, since no one can say what
// of the open one is on the disk.
func (l *Log) back() {
	l.untold += l.tree.size - l.good.tree.size + l.told - l.good.told
	l.tree, l.told, l.raw = l.good.tree, l.good.told, l.good.raw
	l.inFrame = 0
	if g := l.opt.Growth; g != nil {
		_ = g.back() // what fails is no range, and shows in the next proof
	}
	if err := l.seg.cut(l.good.seg); err == nil {
		// Nothing more can be done where this fails: the end will not fit.
		_ = l.seg.need(endRoom, 0)
	}
	l.enc.Reset(l.seg)
}

// endFrame ends the zstd frame, and the segment where it is large enough.
func (l *Log) endFrame() error {
	if l.inFrame == 0 {
		return nil
	}
	if err := l.enc.Close(); err != nil {
		return err
	}
	l.inFrame = 0
	l.mark()
	if g := l.opt.Growth; g != nil {
		if err := g.mark(); err != nil {
			return err
		}
	}
	if l.seg.size >= l.opt.SegmentBytes && l.full == nil && l.halt == nil {
		l.halt = l.nextSegment()
	}
	l.enc.Reset(l.seg)
	return nil
}

// mark notes that what is written is whole.
func (l *Log) mark() {
	l.good.tree, l.good.told, l.good.seg, l.good.raw = l.tree, l.told, l.seg.size, l.raw
}

// nextSegment begins the next segment, once there is one with room for the
// end. Where it fails the log stays in the segment it has.
func (l *Log) nextSegment() error {
	name := segmentName(l.segments)
	next, err := l.create(name)
	if err != nil {
		return err
	}
	if err = next.need(endRoom, 0); err == nil {
		err = l.seg.cut(l.seg.size)
	}
	if err != nil {
		return errors.Join(err, next.f.Close(), l.root.Remove(name), l.seg.need(endRoom, 0))
	}
	l.disk.retire(l.seg.f, next.f)
	l.before += l.seg.size
	l.seg = next
	l.segments++
	l.mark()
	return nil
}

// finish gives back the space that was taken ahead and closes a file.
func (l *Log) finish(r *room) error {
	err := r.cut(r.size)
	if err == nil {
		err = l.sync(r)
	}
	return errors.Join(err, r.f.Close())
}

func (l *Log) sync(r *room) error {
	if l.opt.NoSync {
		return nil
	}
	return r.f.Sync()
}

// Checkpoint appends the state of the tree to checkpoints and brings it to the
// disk: Begin, Write and Sync in one.
func (l *Log) Checkpoint(boottime int64) error {
	c, err := l.Begin(boottime)
	if err == nil && c != nil {
		if err = c.Write(context.Background()); err == nil {
			err = l.Sync()
		}
		if err != nil && !errors.Is(err, ErrNotYet) {
			err = l.Failed(err)
		}
	}
	return err
}

// Begun is a checkpoint that was begun and is not in the file yet.
type Begun struct {
	log  *Log
	note Checkpoint
}

// Begin ends the frame and takes the state of the tree for a checkpoint, which
// Write then appends to the file. boottime is CLOCK_BOOTTIME in nanoseconds; one
// before the last checkpoint's is taken as that. Until Write has returned, no
// other checkpoint may be begun.
//
// An error that is ErrFull means that the log has now stopped; a full log has
// no further checkpoints, and gives nil, until something is appended to it.
func (l *Log) Begin(boottime int64) (*Begun, error) {
	if l.closed {
		return nil, ErrClosed
	}
	if l.full != nil && l.tree.size == l.last.Size {
		return nil, nil
	}
	c, err := l.beginCheckpoint(boottime)
	if err != nil {
		return nil, l.Failed(err)
	}
	return c, nil
}

// Failed says that writing or syncing a checkpoint failed: the log stops. It
// returns why the log takes no more events.
func (l *Log) Failed(err error) error {
	l.stop(err)
	return l.full
}

func (l *Log) beginCheckpoint(boottime int64) (*Begun, error) {
	if err := l.endFrame(); err != nil {
		return nil, err
	}
	if l.full == nil && l.Bytes()+maxNote+endRoom > l.opt.MaxBytes-manifestRoom {
		return nil, errBound
	}
	if err := l.notes.need(maxNote+endRoom/8, endRoom); err != nil && l.full == nil {
		return nil, err
	}
	if g := l.opt.Growth; g != nil {
		if err := g.begin(); err != nil {
			return nil, err
		}
	}
	c := l.last
	c.Size, c.Root, c.Boottime, c.Lost = l.tree.size, l.tree.root(), max(boottime, l.last.Boottime), l.Lost()
	l.last = c
	return &Begun{log: l, note: c}, nil
}

// maxNote is the most that a checkpoint comes to, in bytes.
const maxNote = 1 << 10

// Write signs the checkpoint and appends it to the file. It is not on the disk
// before the next Sync. It may run while events are appended to the log.
//
// Where a key fails it is unsigned, as all that follow: see Unsigned. The error
// is ErrNotYet where there is no key in time: then nothing was written.
func (c *Begun) Write(ctx context.Context) error { return c.write(ctx, false) }

func (c *Begun) write(ctx context.Context, last bool) error {
	l := c.log
	if err := l.chain.sign(ctx, &c.note, last); err != nil {
		return err
	}
	note := c.note.appendNote(l.noteBuf[:0])
	l.noteBuf = note
	size := l.notes.size
	if _, err := l.notes.Write(note); err != nil {
		return errors.Join(err, l.notes.cut(size))
	}
	l.noteBytes.Store(l.notes.size)
	if g := l.opt.Growth; g != nil {
		g.wrote(note)
	}
	return nil
}

// Note returns the last checkpoint that was written, with its signatures. It is
// valid until the next one is.
func (l *Log) Note() []byte { return l.noteBuf }

// Unsigned returns why checkpoints are no longer signed, or nil.
func (l *Log) Unsigned() error { return l.chain.err }

// Sync brings what was written to the disk: the lines that checkpoints cover
// before the checkpoints. It may run while events are appended to the log.
func (l *Log) Sync() error {
	if l.opt.NoSync {
		return nil
	}
	return l.disk.sync(true)
}

// Input writes inputs/name, once. A name is made of A-Z a-z 0-9 . _ - and
// does not begin with a dot.
func (l *Log) Input(name string, data []byte) error {
	if !plainName(name) {
		return fmt.Errorf("input %.160q: use 1 to %d characters of A-Z a-z 0-9 . _ -, the first not a dot", name, maxNameLength)
	}
	return l.putFile(inputsDir+"/"+name, data)
}

// Attach writes one of the files that stand beside the log, once: what says
// when and for what the log was begun.
func (l *Log) Attach(name string, data []byte) error {
	if !slices.Contains(attachments, name) {
		return fmt.Errorf("%.160q: such a file has no place in the folder", name)
	}
	return l.putFile(name, data)
}

// putFile writes a whole file of the folder, and brings it to the disk.
func (l *Log) putFile(path string, data []byte) error {
	r, err := l.putOpen(path, data)
	if err != nil {
		return err
	}
	if err := errors.Join(l.sync(r), r.f.Close()); err != nil {
		l.whole = l.whole[:len(l.whole)-1]
		l.wholeSize -= r.size
		return fmt.Errorf("%s: %w", path, errors.Join(err, l.root.Remove(path)))
	}
	return nil
}

// putOpen writes a whole file of the folder. The caller syncs and closes it.
func (l *Log) putOpen(path string, data []byte) (*room, error) {
	switch {
	case l.closed:
		return nil, ErrClosed
	case len(data) > MaxInput:
		return nil, fmt.Errorf("%s: %d bytes, and the format allows %d", path, len(data), MaxInput)
	case len(l.whole) >= maxFiles/4:
		return nil, fmt.Errorf("%s: there are %d files already", path, len(l.whole))
	}
	size := int64(len(data))
	if l.Bytes()+size+endRoom+worst(min(l.inFrame, blockLines)) > l.opt.MaxBytes-manifestRoom {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFull, errBound)
	}
	r, err := l.create(path)
	if err != nil {
		return nil, err
	}
	if _, err = r.Write(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, r.f.Close(), l.root.Remove(path)))
	}
	l.whole = append(l.whole, path)
	l.wholeSize += size
	return r, nil
}

// Closing is what the manifest says beside what the log knows.
type Closing struct {
	Boottime int64  // CLOCK_BOOTTIME in nanoseconds
	Judge    string // version of the judge, "" where none judged
}

// Close makes the last checkpoint and writes manifest.json. An error leaves a
// folder that OpenPartial reads.
func (l *Log) Close(c Closing) (*Manifest, error) {
	if l.closed {
		return nil, ErrClosed
	}
	if l.untold > 0 {
		l.gap(detailRest, 0)
	}
	err := l.lastCheckpoint(c.Boottime)
	if err != nil && l.full == nil {
		// The bound was met just here, or a write failed: once more, with the
		// room that is kept for it.
		l.stop(err)
		err = l.lastCheckpoint(c.Boottime)
	}
	l.chain.end()
	l.closed = true
	m := &Manifest{Version: Version, Run: l.opt.Run, Judge: c.Judge, Tree: Tree{l.tree.size, l.tree.root()}, Lost: l.Lost()}
	if err == nil {
		err = l.writeManifest(m)
	}
	if err = errors.Join(err, l.root.Close()); err != nil {
		return nil, fmt.Errorf("close the log: %w", err)
	}
	return m, nil
}

func (l *Log) lastCheckpoint(boottime int64) error {
	c, err := l.beginCheckpoint(boottime)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), signWithin)
		err = c.write(ctx, true)
		cancel()
	}
	return errors.Join(err, l.Sync())
}

func (l *Log) writeManifest(m *Manifest) error {
	if err := errors.Join(l.disk.end(!l.opt.NoSync), l.finish(l.seg), l.finish(l.notes)); err != nil {
		return err
	}
	names := append(slices.Clone(l.whole), checkpointsName)
	for i := range l.segments {
		names = append(names, segmentName(i))
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := hashFile(l.root, name)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, f)
	}
	b, err := m.encode()
	if err != nil {
		return err
	}
	if _, err := l.manifest.Write(b); err != nil {
		return err
	}
	if err := l.finish(l.manifest); err != nil {
		return err
	}
	if err := l.syncDirs(); err != nil {
		return err
	}
	if err := l.root.Rename(manifestTemp, manifestName); err != nil {
		return err
	}
	return l.syncDirs()
}

// syncDirs brings the names of the files to the disk.
func (l *Log) syncDirs() error {
	if l.opt.NoSync {
		return nil
	}
	return errors.Join(syncDir(l.root, inputsDir), syncDir(l.root, "."))
}

func hashFile(root *os.Root, name string) (File, error) {
	f, _, err := regular(root, name)
	if err != nil {
		return File{}, &Fault{File: name, Err: err}
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return File{}, &Fault{File: name, Err: reason(err)}
	}
	return File{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// Abort gives up the log without a manifest and closes its files. What is in
// whole frames stays readable with OpenPartial.
func (l *Log) Abort() {
	l.chain.end()
	_ = l.disk.end(false)
	l.closed = true
	for _, r := range []*room{l.seg, l.notes, l.manifest} {
		if r != nil {
			r.f.Close()
		}
	}
	if l.root != nil {
		l.root.Close()
	}
}
