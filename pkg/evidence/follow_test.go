package evidence

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

func TestFollowGoesOnWhereItWas(t *testing.T) {
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, SegmentBytes: 900, NoSync: true})
	var at Cursor
	var seen uint64
	step := func() {
		t.Helper()
		var err error
		at, err = Follow(dir, at, func(_ []byte, ev *event.Event) error {
			if ev.Seq != seen {
				t.Fatalf("event %d came as number %d", ev.Seq, seen)
			}
			seen++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if at.Seq != seen {
			t.Fatalf("the cursor says %d, and %d events came", at.Seq, seen)
		}
	}
	step()
	if seen != 0 {
		t.Fatalf("%d events came of a frame that is not whole", seen)
	}
	for range 10 {
		appendMany(t, l, 20, 7)
		step()
		if want := l.last.Size; seen != want {
			t.Fatalf("%d events came, and the last checkpoint covers %d", seen, want)
		}
	}
	closeLog(t, l)
	step()
	if seen != l.Size() || at.Segment < 2 {
		t.Fatalf("%d of %d events, cursor %+v", seen, l.Size(), at)
	}
	step() // nothing more
	if seen != l.Size() {
		t.Fatal("events came twice")
	}
}

func TestFollowSaysWhatIsWrong(t *testing.T) {
	dir, _ := closedLog(t)
	none := func([]byte, *event.Event) error { return nil }
	for _, c := range []Cursor{{Segment: -1}, {Offset: -1}, {Segment: maxFiles}, {Offset: 1 << 40}, {Segment: 500, Offset: 3}} {
		if _, err := Follow(dir, c, none); err == nil {
			t.Errorf("cursor %+v was taken", c)
		}
	}
	enough := errors.New("enough")
	if at, err := Follow(dir, Cursor{}, func([]byte, *event.Event) error { return enough }); err != enough || at != (Cursor{}) {
		t.Errorf("%+v, %v", at, err)
	}
	path := filepath.Join(dir, segmentName(0))
	if err := os.WriteFile(path, append(read(t, path), 1, 2, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Follow(dir, Cursor{}, none); err == nil {
		t.Error("bytes after the last frame of an ended segment were passed over")
	}
}
