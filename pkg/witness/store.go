package witness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/org/edamame-posture/pkg/evidence"
)

// A slot has one file, named by its digest, in which lines are only appended:
// the first record, then what was cosigned, and conflicts. That the file is
// made with O_EXCL is why there is one first record.

// line is one line of a slot's file. The first has First and Cosigned, each
// other one of Cosigned and Conflict.
type line struct {
	First    *firstLine    `json:"first,omitempty"`
	Cosigned *cosignedLine `json:"cosigned,omitempty"`
	Conflict *Conflict     `json:"conflict,omitempty"`
}

type firstLine struct {
	Slot   ID     `json:"slot"`
	Party  string `json:"party"` // by which limits are counted
	Record First  `json:"record"`
}

// cosignedLine is a checkpoint that was cosigned, and what is needed of it to
// take the next one.
type cosignedLine struct {
	Cosigned
	Key  evidence.Hash `json:"key"`  // SHA-256 of the key that signed it
	Next evidence.Hash `json:"next"` // SHA-256 of the next one's
	// Texts are the SHA-256 of the texts of the checkpoints after the one that
	// was cosigned before, up to this one.
	Texts     []evidence.Hash `json:"texts"`
	Signature string          `json:"signature"` // the cosignature's line
}

const (
	lockName   = "lock"
	fileSuffix = ".jsonl"
	maxLine    = 1 << 20 // bytes of one line of a slot's file
	// maxConflicts is how many conflicts of one kind a slot keeps: each is one
	// too many.
	maxConflicts = 16
)

// entry is a slot, with what decides about its next checkpoint.
type entry struct {
	mu      sync.Mutex // held while the file is read or written
	slot    ID
	dead    bool // there was no room for it after all
	stale   bool // the file is to be read first: it was not yet, or a write failed
	limiter *rate.Limiter

	origin     string
	party      string
	commitment evidence.Hash
	first      evidence.Hash // text of checkpoint 0
	last       cosignedLine
	cosigned   int
	conflicts  map[conflictOf]bool
}

// conflictOf is what tells conflicts of a slot apart.
type conflictOf struct {
	kind string
	text evidence.Hash
}

// store is the folder of a witness.
type store struct {
	dir  string
	root *os.Root
	lock *os.File

	mu      sync.RWMutex
	slots   map[ID]*entry
	origins map[string]*entry
	parties map[string]int // slots of each
}

// openStore reads a folder, which no other witness may be using.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &store{dir: dir, root: root, slots: map[ID]*entry{}, origins: map[string]*entry{}, parties: map[string]int{}}
	if err := s.begin(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *store) begin() error {
	var err error
	if s.lock, err = s.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s: another witness uses the folder (%w)", s.dir, err)
	}
	names, err := s.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		id := ID{}
		stem, ok := strings.CutSuffix(name, fileSuffix)
		if name == lockName {
			continue
		}
		if !ok || id.UnmarshalText([]byte(stem)) != nil {
			return fmt.Errorf("%s is no file of a witness: move it away", filepath.Join(s.dir, name))
		}
		e := s.newEntry(id)
		found, err := s.begun(e)
		if err != nil {
			return err
		}
		if !found {
			// Nobody had an answer yet when the file was given up.
			if err := s.root.Remove(name); err != nil {
				return err
			}
			continue
		}
		if other := s.origins[e.origin]; other != nil {
			return fmt.Errorf("%s and %s hold the same log %s", name, fileName(other.slot), e.origin)
		}
		s.add(e)
	}
	return s.syncDir()
}

// errFirst says that a file does not begin as one must.
var errFirst = errors.New("want one first record with its checkpoint, as the first line")

// errEnough ends each.
var errEnough = errors.New("enough was read")

// begun reads the first line of an entry's file. The rest is read when it is
// asked for, since most of what a witness holds is never asked for again.
func (s *store) begun(e *entry) (bool, error) {
	_, err := s.each(e.slot, func(l *line) error {
		if l.First == nil || l.Cosigned == nil || l.First.Slot != e.slot {
			return fmt.Errorf("%w, of this slot", errFirst)
		}
		e.take(l)
		return errEnough
	})
	if errors.Is(err, errEnough) {
		e.stale = true
		return true, nil
	}
	return false, err
}

func (s *store) names() ([]string, error) {
	d, err := s.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (s *store) close() {
	if s.lock != nil {
		s.lock.Close()
	}
	s.root.Close()
}

func fileName(id ID) string { return id.String() + fileSuffix }

// Rates at which one log may ask.
const (
	perSecond = 5
	burst     = 50
)

func (s *store) newEntry(id ID) *entry {
	return &entry{slot: id, limiter: rate.NewLimiter(perSecond, burst), conflicts: map[conflictOf]bool{}}
}

// add makes an entry findable. The caller holds mu, or is alone.
func (s *store) add(e *entry) {
	s.slots[e.slot], s.origins[e.origin] = e, e
	s.parties[e.party]++
}

// remove takes out an entry that was not written. It is locked.
func (s *store) remove(e *entry) {
	e.dead = true
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.slots, e.slot)
	delete(s.origins, e.origin)
	if s.parties[e.party]--; s.parties[e.party] == 0 {
		delete(s.parties, e.party)
	}
}

func (s *store) byOrigin(origin string) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.origins[origin]
}

func (s *store) bySlot(id ID) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.slots[id]
}

// errFull is what a slot for which there is no room wraps.
var errFull = errors.New("the witness is full")

// claim returns the entry that holds the slot or the log, or makes one and
// returns it locked, for the caller to write its first line.
func (s *store) claim(id ID, origin, party string, max, perParty int) (e *entry, made bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.slots[id]; e != nil {
		return e, false, nil
	}
	if e := s.origins[origin]; e != nil {
		return e, false, nil
	}
	switch {
	case len(s.slots) >= max:
		return nil, false, fmt.Errorf("%w: it holds %d logs; its operator moves old files away", errFull, max)
	case s.parties[party] >= perParty:
		return nil, false, fmt.Errorf("%w for %q: it holds %d of its logs; its operator moves old files away", errFull, party, perParty)
	}
	e = s.newEntry(id)
	e.origin, e.party = origin, party
	e.mu.Lock()
	s.add(e)
	return e, true, nil
}

// create writes the first line of a slot. The entry is locked.
func (s *store) create(e *entry, l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	f, err := s.root.OpenFile(fileName(e.slot), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = write(f, b); err == nil {
		err = s.syncDir()
	}
	if err != nil {
		return errors.Join(err, s.root.Remove(fileName(e.slot)))
	}
	e.take(&l)
	return nil
}

// append writes a line and brings it to the disk. The entry is locked. After a
// failure the file is read again before it decides anything.
func (s *store) append(e *entry, l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	e.stale = true
	f, err := s.root.OpenFile(fileName(e.slot), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if err := write(f, b); err != nil {
		return err
	}
	e.stale = false
	e.take(&l)
	return nil
}

// write writes a line, brings it to the disk and closes the file.
func write(f *os.File, b []byte) error {
	_, err := f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ready reads the file of an entry where what is known of it may not hold. The
// entry is locked.
func (s *store) ready(e *entry) error {
	if !e.stale || e.dead {
		return nil
	}
	return s.load(e)
}

// since returns the cosigned checkpoints that cover the numbers seq and the n
// after it of the chain of keys, and the one before them.
func (s *store) since(e *entry, seq uint64, n int) ([]cosignedLine, error) {
	var found []cosignedLine
	var before *cosignedLine
	_, err := s.each(e.slot, func(l *line) error {
		if l.Cosigned == nil {
			return nil
		}
		if l.Cosigned.Seq < seq {
			before = l.Cosigned
			return nil
		}
		if before != nil {
			found, before = append(found, *before), nil
		}
		if len(found) < n+2 {
			found = append(found, *l.Cosigned)
		}
		return nil
	})
	return found, err
}

// take follows one line.
func (e *entry) take(l *line) {
	if l.First != nil {
		e.origin, e.party = l.First.Record.Origin, l.First.Party
		e.commitment, e.first = l.First.Record.Commitment, l.Cosigned.Text
	}
	if l.Cosigned != nil {
		e.last = *l.Cosigned
		e.last.Texts = nil // the file has them
		e.cosigned++
	}
	if l.Conflict != nil {
		e.conflicts[conflictOf{l.Conflict.Kind, l.Conflict.Text}] = true
	}
}

// load follows the file of an entry, and cuts off a line that was not wholly
// written: nobody had an answer to it.
func (s *store) load(e *entry) error {
	e.cosigned = 0
	clear(e.conflicts)
	whole, err := s.each(e.slot, func(l *line) error {
		if (l.First != nil) != (e.cosigned == 0) || l.First != nil && l.Cosigned == nil {
			return errFirst
		}
		if l.First != nil && l.First.Slot != e.slot {
			return errors.New("it is the record of another slot")
		}
		e.take(l)
		return nil
	})
	if err != nil {
		return err
	}
	f, err := s.root.OpenFile(fileName(e.slot), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() != whole {
		err = errors.Join(f.Truncate(whole), f.Sync())
	}
	e.stale = err != nil
	return err
}

// each calls fn for each line of a slot's file and returns how many bytes of
// whole lines there are.
func (s *store) each(id ID, fn func(*line) error) (whole int64, err error) {
	f, err := s.root.Open(fileName(id))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 4<<10)
	for n := 1; ; n++ {
		b, err := readLine(r)
		if err == io.EOF {
			return whole, nil
		}
		if err != nil {
			return whole, fmt.Errorf("%s: line %d: %w", filepath.Join(s.dir, fileName(id)), n, err)
		}
		l := new(line)
		dec := json.NewDecoder(bytes.NewReader(b))
		if err := dec.Decode(l); err != nil {
			return whole, fmt.Errorf("%s: line %d: %w", filepath.Join(s.dir, fileName(id)), n, err)
		}
		if err := fn(l); err != nil {
			return whole, fmt.Errorf("%s: line %d: %w", filepath.Join(s.dir, fileName(id)), n, err)
		}
		whole += int64(len(b))
	}
}

// readLine reads a line with its end; one without is as if it were not there.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		b, err := r.ReadSlice('\n')
		if line = append(line, b...); len(line) > maxLine {
			return nil, fmt.Errorf("more than %d bytes", maxLine)
		}
		switch err {
		case nil:
			return line, nil
		case bufio.ErrBufferFull:
		default:
			return nil, err
		}
	}
}

// record reads all that is held of a slot.
func (s *store) record(e *entry) (*Record, error) {
	r := &Record{Version: 1, Slot: e.slot, Cosigned: make([]Cosigned, 0, e.cosigned), Conflicts: []Conflict{}}
	_, err := s.each(e.slot, func(l *line) error {
		if l.First != nil {
			r.First = l.First.Record
		}
		if l.Cosigned != nil {
			r.Cosigned = append(r.Cosigned, l.Cosigned.Cosigned)
		}
		if l.Conflict != nil {
			r.Conflicts = append(r.Conflicts, *l.Conflict)
		}
		return nil
	})
	return r, err
}

func (s *store) syncDir() error {
	d, err := s.root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
