package evidence

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/org/edamame-posture/pkg/event"
)

// Evidence is a folder of evidence that is read.
type Evidence struct {
	root     *os.Root
	manifest Manifest
	partial  bool
	segments int
	size     uint64 // events, of a partial log
	missing  []string
	chain    Chain
	// commitment is nil before Verify, and where there is none.
	commitment *Commitment
	dates      []Date
}

// Open opens a closed folder. It checks the manifest, and that every file in
// it is there with its size and hash; Verify checks the rest.
func Open(dir string) (*Evidence, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	e := &Evidence{root: root}
	if err := e.open(); err != nil {
		root.Close()
		return nil, fmt.Errorf("evidence in %s: %w", dir, err)
	}
	return e, nil
}

func openRoot(dir string) (*os.Root, error) {
	before, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("open evidence: %w", err)
	}
	if !before.IsDir() {
		return nil, fmt.Errorf("open evidence: %s is not a folder, or is a link to one: name the folder itself", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open evidence: %w", err)
	}
	after, err := root.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = errors.New("was replaced while it was opened")
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open evidence: %s: %w", dir, err)
	}
	return root, nil
}

func (e *Evidence) open() error {
	b, err := readFile(e.root, manifestName, maxManifest)
	if errors.Is(err, os.ErrNotExist) {
		return faultOf(ErrNotClosed, manifestName, "is missing: the log was not closed. What there is can be read as a partial log")
	}
	if err != nil {
		return err
	}
	m, err := parseManifest(b)
	if err != nil {
		return &Fault{File: manifestName, Err: err}
	}
	e.manifest = *m
	for _, f := range m.Files {
		if isSegment(f.Name) {
			e.segments++
		}
	}
	return e.checkFiles()
}

// checkFiles compares the files with the manifest.
func (e *Evidence) checkFiles() error {
	for _, want := range e.manifest.Files {
		if err := e.checkInputsDir(want.Name); err != nil {
			return err
		}
		f, info, err := regular(e.root, want.Name)
		if err != nil {
			return &Fault{File: want.Name, Err: err}
		}
		size := info.Size()
		f.Close()
		if size != want.Size {
			return fault(want.Name, "%d bytes, and the manifest says %d", size, want.Size)
		}
		got, err := hashFile(e.root, want.Name)
		if err != nil {
			return err
		}
		if got != want {
			return fault(want.Name, "SHA-256 is %s, and the manifest says %s", got.SHA256, want.SHA256)
		}
	}
	return nil
}

// checkInputsDir refuses a link in the place of the folder of inputs.
func (e *Evidence) checkInputsDir(name string) error {
	if !strings.HasPrefix(name, inputsDir+"/") {
		return nil
	}
	info, err := e.root.Lstat(inputsDir)
	if err != nil {
		return &Fault{File: inputsDir, Err: reason(err)}
	}
	if !info.IsDir() {
		return fault(inputsDir, "is not a folder")
	}
	return nil
}

// readFile reads one file of at most limit bytes.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, _, err := regular(root, name)
	if err != nil {
		return nil, &Fault{File: name, Err: err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, &Fault{File: name, Err: reason(err)}
	}
	if int64(len(b)) > limit {
		return nil, fault(name, "is longer than %d bytes", limit)
	}
	return b, nil
}

// OpenPartial opens what there is of a log, up to its last whole line, with or
// without a manifest: for a monitor that died, and for evidence that Open
// refuses. Missing says what is not there.
func OpenPartial(dir string) (*Evidence, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	e := &Evidence{root: root, partial: true}
	if err := e.openPartial(); err != nil {
		root.Close()
		return nil, fmt.Errorf("evidence in %s: %w", dir, err)
	}
	return e, nil
}

func (e *Evidence) openPartial() error {
	if _, err := e.root.Lstat(manifestName); err == nil {
		e.miss("%s was not used", manifestName)
	} else {
		e.miss("%s is missing: the log was not closed", manifestName)
	}
	for e.segments < maxFiles {
		if _, err := e.root.Lstat(segmentName(e.segments)); err != nil {
			break
		}
		e.segments++
	}
	if e.segments == 0 {
		return fault(segmentName(0), "is missing: there is no log")
	}
	ended := false
	err := e.read(true, func(_ []byte, ev *event.Event) error {
		ended = ev.Kind == event.End
		e.size++
		return nil
	})
	if err != nil {
		e.miss("the log can be read up to %d events: %v", e.size, err)
	}
	if !ended {
		e.miss("the end event is missing")
	}
	return e.openNotes()
}

// openNotes compares a partial log with the checkpoints there are.
func (e *Evidence) openNotes() error {
	var last Checkpoint
	err := e.EachCheckpoint(func(c *Checkpoint) error {
		last = *c
		return nil
	})
	if err != nil {
		e.miss("%v", err)
	}
	e.manifest = Manifest{Version: Version, Tree: Tree{Size: e.size}, Lost: last.Lost}
	if last.Origin != "" {
		e.manifest.Run = last.Origin[len(originPrefix):]
	}
	switch {
	case last.Size > e.size:
		e.miss("%d events are missing that the last checkpoint counts", last.Size-e.size)
	case last.Size < e.size:
		e.miss("no checkpoint covers the last %d events", e.size-last.Size)
	}
	return nil
}

func (e *Evidence) miss(format string, args ...any) {
	e.missing = append(e.missing, fmt.Sprintf(format, args...))
}

// Missing says, for a person, what a partial log lacks. It is empty for a
// folder that Open took, and never for one that OpenPartial did.
func (e *Evidence) Missing() []string { return e.missing }

// Manifest returns what the manifest says. Of a partial log it is made up from
// what there is: run, tree size and lost, without root and files.
func (e *Evidence) Manifest() Manifest { return e.manifest }

// Close closes the folder.
func (e *Evidence) Close() error { return e.root.Close() }

// Input returns inputs/name. Of a closed log it is held against the
// manifest's hash again.
func (e *Evidence) Input(name string) ([]byte, error) {
	if !plainName(name) {
		return nil, fmt.Errorf("input %.160q: not a plain name", name)
	}
	return e.file(inputsDir + "/" + name)
}

// Attached returns a file that stands beside the log, such as CommitmentFile.
// The error is os.ErrNotExist where there is none.
func (e *Evidence) Attached(name string) ([]byte, error) {
	if !slices.Contains(attachments, name) {
		return nil, fmt.Errorf("%.160q: such a file has no place in the folder", name)
	}
	return e.file(name)
}

// file returns a whole file of the folder.
func (e *Evidence) file(path string) ([]byte, error) {
	if err := e.checkInputsDir(path); err != nil {
		return nil, err
	}
	if e.partial {
		b, err := readFile(e.root, path, MaxInput)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", path, os.ErrNotExist)
		}
		return b, err
	}
	want := e.manifest.File(path)
	if want == nil {
		return nil, fmt.Errorf("%s: %w in the manifest", path, os.ErrNotExist)
	}
	b, err := readFile(e.root, path, MaxInput)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); fmt.Sprintf("%x", sum) != want.SHA256 {
		return nil, fault(path, "SHA-256 is not what the manifest says")
	}
	return b, nil
}

// Each gives every event in the order of the log, with the line that it was
// read from, without its newline. Both are valid until f returns; Event.Clone
// keeps one. An error of f ends it and is returned as it is.
func (e *Evidence) Each(f func(line []byte, ev *event.Event) error) error {
	return e.each(true, f)
}

// each is Each; where lines are not decoded, f is given no event.
func (e *Evidence) each(decode bool, f func(line []byte, ev *event.Event) error) error {
	if !e.partial {
		return e.read(decode, f)
	}
	// What comes after the last whole line is in Missing already.
	var n uint64
	errEnough := errors.New("enough")
	if e.size == 0 {
		return nil
	}
	err := e.read(decode, func(line []byte, ev *event.Event) error {
		if err := f(line, ev); err != nil {
			return err
		}
		if n++; n == e.size {
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		return nil
	}
	return err
}

// read reads all segments, and stops at the first thing that is wrong.
func (e *Evidence) read(decode bool, f func([]byte, *event.Event) error) error {
	r, err := newLineReader()
	if err != nil {
		return err
	}
	r.plain = !decode
	defer r.close()
	if e.manifest.Tree.Size < worthAhead || runtime.GOMAXPROCS(0) < 2 {
		return e.readWith(r, f)
	}
	return readAhead(r, func(g func([]byte, *event.Event) error) error { return e.readWith(r, g) }, f)
}

func (e *Evidence) readWith(r *lineReader, f func([]byte, *event.Event) error) error {
	for n := range e.segments {
		name := segmentName(n)
		file, _, err := regular(e.root, name)
		if err != nil {
			return &Fault{File: name, Err: err}
		}
		err = r.segment(name, file, f)
		file.Close()
		if err != nil {
			return err
		}
	}
	if !e.partial && r.seq != e.manifest.Tree.Size {
		return fault(segmentName(e.segments-1), "the log ends after %d events, and the manifest says %d", r.seq, e.manifest.Tree.Size)
	}
	return nil
}

// lineReader reads lines out of segments, with memory that does not grow.
type lineReader struct {
	dec   *zstd.Decoder
	buf   *bufio.Reader
	ev    *event.Event // what the next line is decoded into
	plain bool         // lines are not decoded
	seq   uint64       // of the next line
	raw   int64        // bytes of lines
	file  int64        // bytes of segments
}

func newLineReader() (*lineReader, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return &lineReader{dec: dec, buf: bufio.NewReaderSize(nil, event.MaxLine+1), ev: new(event.Event)}, nil
}

func (r *lineReader) close() { r.dec.Close() }

// Read counts what is read of a segment; it is the decoder's input.
type counter struct {
	r io.Reader
	n *int64
}

func (c counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	*c.n += int64(n)
	return n, err
}

// segment reads one segment. An error of f is returned as it is.
func (r *lineReader) segment(name string, file io.Reader, f func([]byte, *event.Event) error) error {
	var number int64
	wrong := func(err error) error { return &Fault{File: name, Line: number + 1, Seq: r.seq, Err: err} }
	if err := r.dec.Reset(counter{file, &r.file}); err != nil {
		return wrong(err)
	}
	r.buf.Reset(r.dec)
	for {
		line, err := r.buf.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			return nil
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			return wrong(errors.New("the segment ends inside a line or frame"))
		case err == bufio.ErrBufferFull:
			return wrong(fmt.Errorf("longer than %d bytes", event.MaxLine))
		case err != nil:
			return wrong(err)
		}
		if r.raw += int64(len(line)); tooDense(r.raw, r.file, ratioFrom, maxRatio) {
			return wrong(fmt.Errorf("the segments unpack to more than %d times their size", maxRatio))
		}
		line = bytes.TrimSuffix(line, []byte{'\n'})
		ev := r.ev
		if r.plain {
			ev = nil
		} else if err := event.Decode(line, ev); err != nil {
			return wrong(err)
		} else if ev.Seq != r.seq {
			return wrong(fmt.Errorf("seq is %d", ev.Seq))
		}
		if err := f(line, ev); err != nil {
			return err
		}
		r.seq++
		number++
	}
}

// EachCheckpoint gives every checkpoint in order. Signatures are not checked.
// An error of f ends it and is returned as it is.
func (e *Evidence) EachCheckpoint(f func(*Checkpoint) error) error {
	file, _, err := regular(e.root, checkpointsName)
	if err != nil {
		return &Fault{File: checkpointsName, Err: err}
	}
	defer file.Close()
	for n := newNoteReader(file); ; {
		c, err := n.read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &Fault{File: checkpointsName, Line: n.line + 1, Err: err}
		}
		if err := f(c); err != nil {
			return err
		}
	}
}
