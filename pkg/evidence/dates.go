package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
)

// DatedNote is what the log says where it names a timestamp authority's answer
// about a checkpoint: its hash, and as Count and From the size and the boot time
// of the checkpoint.
const DatedNote = "dated by a timestamp authority up to here"

// MaxDates is how many answers stand beside one log: of each minute for 33
// hours.
const MaxDates = 2000

const dateSuffix = ".tsr"

func dateName(n int) string { return fmt.Sprintf("%06d%s", n, dateSuffix) }

func isDate(s string) bool {
	n, ok := strings.CutSuffix(s, dateSuffix)
	return ok && len(n) == 6 && strings.Trim(n, "0123456789") == ""
}

// Date is what a timestamp authority answered about a checkpoint of the log.
// What it says is not looked at here.
type Date struct {
	Name       string // of the file
	Answer     []byte // TimeStampResp of RFC 3161, in DER; nil where the file is not there
	Checkpoint Checkpoint
	Told       int64 // boot time at which the log names it, in nanoseconds

	sum event.SHA256
}

// Dates returns what timestamp authorities answered about the log that Verify
// has checked, in the order of the log.
func (e *Evidence) Dates() ([]Date, error) {
	for i := range e.dates {
		d := &e.dates[i]
		var err error
		if d.Answer, err = e.file(d.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return e.dates, nil
}

// date takes notice of a note that names a timestamp authority's answer.
func (v *verifier) date(ev *event.Event) error {
	if len(v.dates) == MaxDates {
		return fmt.Errorf("more than %d answers of timestamp authorities", MaxDates)
	}
	v.dates = append(v.dates, Date{
		Name: dateName(len(v.dates)), Told: ev.Time, sum: ev.SHA256,
		Checkpoint: Checkpoint{Size: ev.Count, Boottime: ev.From},
	})
	return nil
}

// findDated finds the checkpoints that were dated. Several are of one size where
// nothing happened; time tells these apart.
func (e *Evidence) findDated(dates []Date) error {
	if len(dates) == 0 {
		return nil
	}
	type place struct {
		size     uint64
		boottime int64
	}
	wanted := map[place][]int{}
	for i := range dates {
		c := &dates[i].Checkpoint
		at := place{c.Size, c.Boottime}
		wanted[at] = append(wanted[at], i)
	}
	err := e.EachCheckpoint(func(c *Checkpoint) error {
		for _, i := range wanted[place{c.Size, c.Boottime}] {
			dates[i].Checkpoint = *c
		}
		return nil
	})
	for i := range dates {
		if d := &dates[i]; err == nil && d.Checkpoint.Line == 0 {
			err = fault(checkpointsName, "there is none of %d events at the boot time %d, of which the log says that %s dates it", d.Checkpoint.Size, d.Checkpoint.Boottime, d.Name)
		}
	}
	e.dates = dates
	return err
}

// Text returns the note's text: what its signatures, and a timestamp
// authority's answer, are over.
func (c *Checkpoint) Text() []byte { return c.appendText(nil) }

// ParseCheckpoint reads one note.
func ParseCheckpoint(note []byte) (*Checkpoint, error) {
	n := newNoteReader(bytes.NewReader(note))
	c, err := n.read()
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return c, nil
}

// Date writes what a timestamp authority answered about a checkpoint beside the
// log, which must name it next, with a [DatedNote]. done brings it to the disk;
// it may run while events are appended.
func (l *Log) Date(answer []byte) (done func() error, err error) {
	if l.dates == MaxDates {
		return nil, fmt.Errorf("there are %d answers of timestamp authorities already, and the format allows no more", MaxDates)
	}
	r, err := l.putOpen(dateName(l.dates), answer)
	if err != nil {
		return nil, err
	}
	l.dates++
	return func() error { return errors.Join(l.sync(r), r.f.Close()) }, nil
}
