package evidence

import (
	"errors"

	"github.com/org/edamame-posture/pkg/event"
)

const (
	// worthAhead is from how many events on a log is read ahead: below it the
	// memory for it costs more than it saves.
	worthAhead = 4096
	// batchLines and batchBytes bound what is read ahead at a time.
	batchLines = 64
	batchBytes = 256 << 10
	// batches is how many there are: one is read, one is used, one waits.
	batches = 3
	// longLine is from what length on the memory of a line's event is not kept, and
	// manyElements from how many elements of its lists on: one of them may take
	// thirty times as much as its text.
	longLine     = 16 << 10
	manyElements = 256
)

// batch are lines in the order of the log, and their events where they are
// decoded.
type batch struct {
	text   []byte // the lines, one after another
	ends   []int  // where each ends
	events []event.Event
	err    error // what came after them
}

func (b *batch) full() bool { return len(b.ends) == batchLines || len(b.text) >= batchBytes }

// clear makes room for other lines. What a long line, or long lists, have left
// behind goes: a log chooses how long they are.
func (b *batch) clear() {
	from := 0
	for i, end := range b.ends {
		if end-from > longLine || elements(&b.events[i]) > manyElements {
			b.events[i] = event.Event{}
		}
		from = end
	}
	if cap(b.text) > 2*batchBytes {
		b.text = nil
	}
	b.text, b.ends, b.err = b.text[:0], b.ends[:0], nil
}

// elements is for how many elements of its lists an event has memory.
func elements(e *event.Event) int {
	return cap(e.Argv) + cap(e.Env) + cap(e.Answers) + cap(e.Counts) + cap(e.Survivors) + cap(e.Secrets) + cap(e.Extra)
}

var errStopped = errors.New("nobody reads on")

// readAhead gives f what read gives, in the same order and with the same end, and
// has the next lines unpacked and decoded meanwhile. read is not running any more
// when it returns.
func readAhead(r *lineReader, read func(func([]byte, *event.Event) error) error, f func([]byte, *event.Event) error) error {
	ready := make(chan *batch, batches)
	free := make(chan *batch, batches)
	for range batches {
		free <- &batch{events: make([]event.Event, batchLines)}
	}
	stop := make(chan struct{})
	go func() {
		defer close(ready)
		b := <-free
		r.ev = &b.events[0]
		err := read(func(line []byte, _ *event.Event) error {
			b.text = append(b.text, line...)
			b.ends = append(b.ends, len(b.text))
			if b.full() {
				ready <- b // there is room for all
				select {
				case b = <-free:
				case <-stop:
					b = nil
					return errStopped
				}
			}
			r.ev = &b.events[len(b.ends)]
			return nil
		})
		if b != nil {
			b.err = err
			ready <- b
		}
	}()
	defer func() {
		close(stop)
		for range ready { // until it has ended
		}
	}()
	for b := range ready {
		from := 0
		for i, end := range b.ends {
			ev := &b.events[i]
			if r.plain {
				ev = nil
			}
			if err := f(b.text[from:end:end], ev); err != nil {
				return err
			}
			from = end
		}
		if b.err != nil {
			return b.err
		}
		b.clear()
		free <- b // there is room for all
	}
	return nil
}
