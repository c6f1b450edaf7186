package evidence

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// amended returns what a log that was cut off holds after something was added.
func amended(t *testing.T, dir string) [][]byte {
	t.Helper()
	gap := &event.Event{Time: 82_000_000_000, Kind: event.SensorGap, Via: event.ViaMonitor, Detail: redact.Const("it was killed"), Lost: 2}
	note := &event.Event{Time: 82_000_000_001, Kind: event.Note, Via: event.ViaMonitor}
	if err := Amend(dir, 82_000_000_002, gap, note); err != nil {
		t.Fatal(err)
	}
	e := openPartial(t, dir)
	defer e.Close()
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	if err := e.checkFrames(); err != nil {
		t.Fatal(err)
	}
	var last Checkpoint
	if err := e.EachCheckpoint(func(c *Checkpoint) error { last = *c; return nil }); err != nil {
		t.Fatal(err)
	}
	lines := linesOf(t, e)
	if last.Size != uint64(len(lines)) || last.Boottime != 82_000_000_002 || last.Lost < 2 {
		t.Fatalf("the last checkpoint is %+v of %d lines", last, len(lines))
	}
	if !bytes.Contains(lines[len(lines)-2], []byte("it was killed")) {
		t.Fatalf("the last lines are %s", lines[len(lines)-2])
	}
	return lines[:len(lines)-2]
}

func TestALogCutAnywhereInItsLastFrameIsAmendedWithWhatItHeld(t *testing.T) {
	// 900 events are more than one block, so lines of the cut frame are left.
	for _, n := range []int{5, 900} {
		l, dir := newLog(t, Options{MaxBytes: 4 << 20, NoSync: true})
		appendMany(t, l, 10, 3)
		checkpointed := l.tree.size
		if err := l.Checkpoint(81_000_000_000); err != nil {
			t.Fatal(err)
		}
		from := l.seg.size
		var ev event.Event
		for i := range n {
			fillExec(&ev, 10+i)
			if err := l.Append(&ev); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.endFrame(); err != nil {
			t.Fatal(err)
		}
		to := l.seg.size
		l.Abort()
		seg := filepath.Join(dir, segmentName(0))
		whole, notes := read(t, seg), read(t, filepath.Join(dir, checkpointsName))
		some := false
		for size := to; size >= from; size -= max(1, (to-from)/40) {
			write(t, seg, whole[:size])
			write(t, filepath.Join(dir, checkpointsName), append(bytes.Clone(notes), notes[:size%40]...))
			e := openPartial(t, dir)
			before := linesOf(t, e)
			e.Close()
			got := amended(t, dir)
			if len(got) != len(before) {
				t.Fatalf("cut to %d bytes: %d lines, and there were %d", size, len(got), len(before))
			}
			for i := range got {
				if !bytes.Equal(got[i], before[i]) {
					t.Fatalf("cut to %d bytes: line %d is %s", size, i, got[i])
				}
			}
			some = some || len(got) > int(checkpointed) && size < to
		}
		if some != (n > 100) {
			t.Errorf("%d events: lines of a frame that was cut were kept: %v", n, some)
		}
	}
}

func TestALogThatHasJustBegunASegmentIsAmended(t *testing.T) {
	dir, _, whole := crashed(t, 5)
	e := openPartial(t, dir)
	n := e.segments
	e.Close()
	write(t, filepath.Join(dir, segmentName(n)), nil)
	if got := amended(t, dir); len(got) != len(whole) {
		t.Errorf("%d lines, and there were %d", len(got), len(whole))
	}
}

func TestALogThatEndedIsNotAmended(t *testing.T) {
	l, dir := newLog(t, Options{NoSync: true})
	closeLog(t, l)
	ev := &event.Event{Kind: event.Note, Via: event.ViaMonitor}
	if err := Amend(dir, 1, ev); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed log: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, manifestName)); err != nil {
		t.Fatal(err)
	}
	before := read(t, filepath.Join(dir, segmentName(0)))
	if err := Amend(dir, 1, ev); !errors.Is(err, ErrClosed) {
		t.Errorf("of one with an end: %v", err)
	}
	if !bytes.Equal(before, read(t, filepath.Join(dir, segmentName(0)))) {
		t.Error("it was changed all the same")
	}
}

func TestADamagedLogIsNotAmended(t *testing.T) {
	ev := &event.Event{Kind: event.Note, Via: event.ViaMonitor}
	dir, _, _ := crashed(t, 5)
	if err := os.Truncate(filepath.Join(dir, segmentName(0)), 100); err != nil {
		t.Fatal(err)
	}
	var f *Fault
	if err := Amend(dir, 1, ev); !errors.As(err, &f) || f.File != segmentName(0) {
		t.Errorf("an earlier segment was cut: %v", err)
	}
	dir, last, _ := crashed(t, 5)
	if err := os.Truncate(last, 0); err != nil {
		t.Fatal(err)
	}
	if err := Amend(dir, 1, ev); !errors.As(err, &f) || f.File != checkpointsName {
		t.Errorf("less is there than a checkpoint covers: %v", err)
	}
	dir, last, _ = crashed(t, 5)
	if err := os.Remove(last); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", last); err != nil {
		t.Fatal(err)
	}
	if err := Amend(dir, 1, ev); err == nil {
		t.Error("a link in the place of a segment was followed")
	}
}

func FuzzAmend(f *testing.F) {
	l, dir := newLog(f, Options{NoSync: true})
	appendMany(f, l, 4, 2)
	l.Abort()
	f.Add(read(f, filepath.Join(dir, segmentName(0))), read(f, filepath.Join(dir, checkpointsName)))
	f.Fuzz(func(t *testing.T, segment, notes []byte) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, segmentName(0)), segment)
		write(t, filepath.Join(dir, checkpointsName), notes)
		if Amend(dir, 1, &event.Event{Kind: event.Note, Via: event.ViaMonitor}) != nil {
			return
		}
		e := openPartial(t, dir)
		defer e.Close()
		last := Checkpoint{}
		if err := e.EachCheckpoint(func(c *Checkpoint) error { last = *c; return nil }); err != nil || last.Size != e.Manifest().Tree.Size {
			t.Errorf("%d events, and a checkpoint over %d: %v", e.Manifest().Tree.Size, last.Size, err)
		}
	})
}
