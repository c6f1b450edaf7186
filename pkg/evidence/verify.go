package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
)

// Verify recomputes all that the folder says of itself, and returns the first
// thing that is wrong, with its place: the files' hashes, that nothing else
// is there, the lines and their seq, the tree at every checkpoint, that
// sizes, times and losses never fall, and that the log begins with its start
// and ends with its end. Of signed checkpoints it checks that each was signed
// with the key that the one before names; Chain tells what there is, and which
// key the first was signed with, of which only others can say whose it is.
//
// Of a partial log it checks what there is, against the checkpoints there are.
func (e *Evidence) Verify() error {
	if !e.partial {
		if err := e.checkFiles(); err != nil {
			return err
		}
		if err := e.nothingElse(); err != nil {
			return err
		}
		if err := e.checkFrames(); err != nil {
			return err
		}
	}
	file, _, err := regular(e.root, checkpointsName)
	if err != nil {
		return &Fault{File: checkpointsName, Err: err}
	}
	defer file.Close()
	v := verifier{notes: newNoteReader(file), partial: e.partial}
	v.last.Origin = originPrefix + e.manifest.Run
	if err := v.next(); err != nil {
		return err
	}
	if err := v.compare(); err != nil {
		return err
	}
	if err := e.Each(v.line); err != nil {
		return err
	}
	if err := v.end(e); err != nil {
		return err
	}
	e.chain = v.chain
	if err := e.checkAttached(&v); err != nil {
		return err
	}
	if err := e.findDated(v.dates); err != nil {
		return err
	}
	return e.checkCommitment(&v)
}

// Chain returns what Verify found of the checkpoints' keys.
func (e *Evidence) Chain() Chain { return e.chain }

// verifier follows the log and its checkpoints side by side.
type verifier struct {
	notes   *noteReader
	partial bool
	now     *Checkpoint // the next one to be met, nil after the last
	last    Checkpoint  // the one before it
	count   int
	chain   Chain
	intent  event.SHA256 // of the workspace, by the log

	tree tree
	leaf []byte
	told uint64 // sum of lost over the gaps
	kind event.Kind
	// commitment is the hash that the start names.
	commitment event.SHA256
	// attached are the hashes that the log names of the files beside it.
	attached map[string]event.SHA256
	dates    []Date
}

// attachedAs is what a note says of a file that was put beside the log.
var attachedAs = map[string]string{
	"start token": StartTokenFile, "start statement": StartBundleFile, "first record": RecordFile,
}

// next reads the next checkpoint.
func (v *verifier) next() error {
	c, err := v.notes.read()
	if err == io.EOF || v.partial && errors.Is(err, errHalfNote) {
		v.now = nil
		return nil
	}
	if err != nil {
		return &Fault{File: checkpointsName, Line: v.notes.line + 1, Err: err}
	}
	at := func(format string, args ...any) error {
		return &Fault{File: checkpointsName, Line: c.Line, Err: &kindError{ErrChain, fmt.Errorf(format, args...)}}
	}
	switch {
	case c.Origin != v.last.Origin:
		return at("origin %s: this log's is %s", c.Origin, v.last.Origin)
	case c.Size < v.last.Size:
		return at("size falls from %d to %d", v.last.Size, c.Size)
	case c.Boottime < v.last.Boottime:
		return at("boottime falls from %d to %d", v.last.Boottime, c.Boottime)
	case c.Lost < v.last.Lost:
		return at("lost falls from %d to %d", v.last.Lost, c.Lost)
	}
	if err := v.chain.add(c); err != nil {
		return &Fault{File: checkpointsName, Line: c.Line, Err: &kindError{ErrChain, err}}
	}
	v.now = c
	v.count++
	return nil
}

// compare holds the tree against all checkpoints of its size.
func (v *verifier) compare() error {
	for v.now != nil && v.now.Size == v.tree.size {
		c := v.now
		if root := v.tree.root(); c.Root != root {
			what := fmt.Sprintf("something in the events %d to %d was changed, or the checkpoint was", v.last.Size, max(c.Size, 1)-1)
			if c.Size == v.last.Size {
				what = "the checkpoint was changed"
			}
			return &Fault{File: checkpointsName, Line: c.Line, Err: fmt.Errorf("root of the first %d events is not theirs: %s", c.Size, what)}
		}
		if v.told > c.Lost {
			return &Fault{File: checkpointsName, Line: c.Line,
				Err: fmt.Errorf("lost is %d, and the gaps of the log come to %d", c.Lost, v.told)}
		}
		v.last = *c
		if err := v.next(); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) line(line []byte, ev *event.Event) error {
	if v.tree.size == 0 && ev.Kind != event.Start {
		return &Fault{File: segmentName(0), Line: 1, Err: fmt.Errorf("the log begins with %q: want start", ev.Kind)}
	}
	if v.kind == event.End {
		return fmt.Errorf("event %d stands after the end", ev.Seq)
	}
	if v.tree.size == 0 {
		v.commitment = ev.SHA256
	}
	if ev.Kind == event.Note && ev.Via == event.ViaMonitor {
		if name, ok := attachedAs[ev.Detail.String()]; ok && !ev.SHA256.IsZero() {
			if v.attached == nil {
				v.attached = make(map[string]event.SHA256)
			}
			v.attached[name] = ev.SHA256
		}
		if ev.Detail.String() == DatedNote {
			if err := v.date(ev); err != nil {
				return err
			}
		}
		if ev.Detail.Is(IntentNote) {
			v.intent = ev.SHA256
		}
	}
	v.kind = ev.Kind
	v.leaf = append(append(v.leaf[:0], leafPrefix), line...)
	v.tree.append(sha256.Sum256(v.leaf))
	if ev.Kind == event.SensorGap {
		v.told += ev.Lost
	}
	return v.compare()
}

// end checks what only the end of the log can tell.
func (v *verifier) end(e *Evidence) error {
	if v.now != nil {
		return &Fault{File: checkpointsName, Line: v.now.Line,
			Err: fmt.Errorf("it covers %d events, and the log has %d", v.now.Size, v.tree.size)}
	}
	if v.partial {
		return nil
	}
	m := &e.manifest
	last := segmentName(e.segments - 1)
	switch {
	case v.count == 0:
		return faultOf(ErrNotClosed, checkpointsName, "there is none")
	case v.last.Size != v.tree.size:
		return faultOf(ErrNotClosed, checkpointsName, "the last covers %d of %d events", v.last.Size, v.tree.size)
	case v.last.Root != m.Tree.Root:
		return fault(manifestName, "root is %s, and that of the last checkpoint %s", m.Tree.Root, v.last.Root)
	case v.last.Lost != m.Lost:
		return fault(manifestName, "lost is %d, and that of the last checkpoint %d", m.Lost, v.last.Lost)
	case v.told != m.Lost:
		return fault(manifestName, "lost is %d, and the gaps of the log come to %d", m.Lost, v.told)
	case v.kind != event.End:
		return faultOf(ErrNotClosed, last, "the log was not ended: its last event is %q", v.kind)
	case v.chain.Signed > 0 && v.chain.Unsigned == 0 && !v.chain.Ended:
		return faultOf(ErrNotClosed, checkpointsName, "the last checkpoint names a next key: the chain was not ended")
	}
	return nil
}

// checkAttached holds the files that stand beside the log against what it says
// of them. A log that refused events may lack what it would have said.
func (e *Evidence) checkAttached(v *verifier) error {
	want := maps.Clone(v.attached)
	names := slices.Clone(attachments)
	for _, f := range e.manifest.Files {
		if isDate(f.Name) {
			names = append(names, f.Name)
		}
	}
	for i := range v.dates {
		d := &v.dates[i]
		if want == nil {
			want = make(map[string]event.SHA256)
		}
		want[d.Name] = d.sum
		if e.partial {
			names = append(names, d.Name)
		}
	}
	for _, name := range names {
		if name == CommitmentFile {
			continue
		}
		b, err := e.file(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		switch sum, named := want[name]; {
		case named && sha256.Sum256(b) != sum:
			return fault(name, "is not the one that the log names")
		case !named && !e.partial && e.manifest.Lost == 0:
			return fault(name, "is not named by the log: it was put there later")
		}
	}
	return nil
}

// checkCommitment holds the commitment against the log that says it is its own.
func (e *Evidence) checkCommitment(v *verifier) error {
	b, err := e.Attached(CommitmentFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && v.commitment.IsZero():
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fault(CommitmentFile, "is missing, and the log's start names it")
	case err != nil:
		return err
	case sha256.Sum256(b) != v.commitment:
		return fault(CommitmentFile, "is not the one that the log's start names")
	}
	c, err := ParseCommitment(b)
	if err != nil {
		return &Fault{File: CommitmentFile, Err: err}
	}
	var key [32]byte
	copy(key[:], c.key)
	if e.chain.Signed > 0 && key != e.chain.First || e.chain.Signed == 0 && key != [32]byte{} {
		return fault(CommitmentFile, "the first checkpoint was not signed with its key")
	}
	if c.Origin != v.last.Origin {
		return fault(CommitmentFile, "origin %.160s: the log's is %s", c.Origin, v.last.Origin)
	}
	declared := c.Intent
	if declared == IntentLater {
		declared = "none"
		if !v.intent.IsZero() {
			declared = v.intent.String()
		}
	}
	for path, want := range map[string]string{IntentInput: declared, SignaturesInput: c.Signatures} {
		got := "none"
		if input, err := e.Input(path); err == nil {
			got = fmt.Sprintf("%x", sha256.Sum256(input))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if got != want {
			return fault(CommitmentFile, "%s/%s is %s, and it says %.80s: the input was changed after the start", inputsDir, path, got, want)
		}
	}
	e.commitment = c
	return nil
}

// Commitment returns the commitment that Verify has checked, or nil.
func (e *Evidence) Commitment() *Commitment { return e.commitment }

// checkFrames refuses what a decoder would pass over in silence.
func (e *Evidence) checkFrames() error {
	for n := range e.segments {
		name := segmentName(n)
		f, _, err := regular(e.root, name)
		if err == nil {
			err = checkFrames(f)
			f.Close()
		}
		if err != nil {
			return &Fault{File: name, Err: err}
		}
	}
	return nil
}

// nothingElse refuses files that the manifest does not name.
func (e *Evidence) nothingElse() error {
	files := 0
	return fs.WalkDir(e.root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("list the folder: %w", err)
		}
		if files++; files > 2*maxFiles {
			return errors.New("too many files in the folder")
		}
		switch {
		case path == ".", path == manifestName:
			return nil
		case path == inputsDir && d.IsDir():
			return nil
		case e.manifest.File(path) == nil:
			return fault(strings.Trim(strconv.QuoteToASCII(path), `"`), "is not in the manifest")
		}
		return nil
	})
}
