package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

func TestReadingAheadIsAsReading(t *testing.T) {
	l, dir := newLog(t, Options{MaxBytes: 64 << 20, SegmentBytes: 20_000, NoSync: true})
	appendMany(t, l, worthAhead+1000, 500)
	closeLog(t, l)
	e := open(t, dir)
	if e.segments < 3 {
		t.Fatalf("%d segments", e.segments)
	}
	for _, decode := range []bool{true, false} {
		var want, got []string
		note := func(all *[]string) func([]byte, *event.Event) error {
			return func(line []byte, ev *event.Event) error {
				s := string(line)
				if (ev != nil) != decode {
					t.Fatalf("an event: %v", ev != nil)
				}
				if ev != nil {
					s += string(ev.AppendJSON(nil))
				}
				*all = append(*all, s)
				return nil
			}
		}
		r, err := newLineReader()
		if err != nil {
			t.Fatal(err)
		}
		r.plain = !decode
		if err := e.readWith(r, note(&want)); err != nil {
			t.Fatal(err)
		}
		r.close()
		if err := e.read(decode, note(&got)); err != nil {
			t.Fatal(err)
		}
		if len(want) < worthAhead || !slices.Equal(want, got) {
			t.Errorf("decoded: %v: %d lines, %d read ahead", decode, len(want), len(got))
		}
	}
}

func TestReadingAheadEndsWhereReadingDoes(t *testing.T) {
	const lines = 1000
	errEnd, errEnough := errors.New("a fault"), errors.New("enough")
	for _, fault := range []int{0, 1, batchLines - 1, batchLines, batchLines + 1, 500, lines} {
		for _, enough := range []int{-1, 0, batchLines - 1, batchLines, batchLines + 1, 499, 500, 501} {
			r := &lineReader{plain: true}
			running := true
			read := func(f func([]byte, *event.Event) error) error {
				defer func() { running = false }()
				for i := range fault {
					if err := f(fmt.Appendf(nil, "line %d", i), nil); err != nil {
						return err
					}
				}
				if fault < lines {
					return errEnd
				}
				return nil
			}
			got := 0
			err := readAhead(r, read, func(line []byte, _ *event.Event) error {
				if want := fmt.Sprintf("line %d", got); string(line) != want {
					t.Fatalf("%q, want %q", line, want)
				}
				if got++; got == enough {
					return errEnough
				}
				return nil
			})
			if running {
				t.Fatal("it reads still")
			}
			want, wantErr := fault, errEnd
			if fault == lines {
				wantErr = nil
			}
			if enough > 0 && enough <= fault {
				want, wantErr = enough, errEnough
			}
			if got != want || err != wantErr {
				t.Errorf("fault at %d, enough at %d: %d lines and %v, want %d and %v", fault, enough, got, err, want, wantErr)
			}
		}
	}
}

// A log of long lines must not have as much memory kept as there are events in
// the batches.
func TestWhatLongLinesTakeIsNotKept(t *testing.T) {
	b := &batch{events: make([]event.Event, batchLines)}
	argv := make([]redact.Text, 100)
	for i := range b.events {
		b.events[i].Argv = argv
		if i%4 == 2 {
			b.events[i].Answers = make([]event.Answer, manyElements) // the line is short
		}
		b.text = append(b.text, bytes.Repeat([]byte("x"), longLine+i%2)...)
		b.ends = append(b.ends, len(b.text))
	}
	b.clear()
	for i := range b.events {
		if kept := b.events[i].Argv != nil; kept != (i%4 == 0) {
			t.Errorf("event %d is kept: %v", i, kept)
		}
	}
	if cap(b.text) > 2*batchBytes || len(b.text) != 0 || len(b.ends) != 0 {
		t.Errorf("%d bytes and %d lines are kept", cap(b.text), len(b.ends))
	}
	if b.text = append(b.text, strings.Repeat("x", batchBytes)...); !b.full() {
		t.Error("a batch of long lines is not full")
	}
}
