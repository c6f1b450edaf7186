package evidence

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// linesOf returns every line of the log.
func linesOf(t testing.TB, e *Evidence) [][]byte {
	t.Helper()
	var all [][]byte
	err := e.Each(func(line []byte, _ *event.Event) error {
		all = append(all, bytes.Clone(line))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func openPartial(t testing.TB, dir string) *Evidence {
	t.Helper()
	e, err := OpenPartial(dir)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// crashed makes a log of several segments whose monitor died, and returns the
// path of the last segment with something in it. The last frame holds n events.
func crashed(t testing.TB, n int) (dir, last string, whole [][]byte) {
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, SegmentBytes: 500, NoSync: true})
	appendMany(t, l, 10, 3)
	var ev event.Event
	for i := range n {
		fillExec(&ev, 10+i)
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Checkpoint(ev.Time); err != nil {
		t.Fatal(err)
	}
	last = filepath.Join(dir, segmentName(l.segments-1))
	if l.seg.size == 0 { // it had just begun another
		last = filepath.Join(dir, segmentName(l.segments-2))
	}
	l.Abort()
	e := openPartial(t, dir)
	defer e.Close()
	if e.segments < 2 {
		t.Fatalf("%d segments: want some", e.segments)
	}
	return dir, last, linesOf(t, e)
}

func TestALogCutAnywhereIsReadUpToThere(t *testing.T) {
	t.Run("at every byte of a short segment", func(t *testing.T) { cutEverywhere(t, 5, 1) })
	// Over 128 KiB of lines are more than one block, which are read alone.
	t.Run("inside a frame of several blocks", func(t *testing.T) { cutEverywhere(t, 900, 331) })
}

func cutEverywhere(t *testing.T, n int, step int64) {
	dir, last, whole := crashed(t, n)
	if len(whole) != 11+n {
		t.Fatalf("%d lines of %d", len(whole), 11+n)
	}
	info, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	before := len(whole)
	inside := false
	for size := info.Size(); size >= 0; size -= step {
		if err := os.Truncate(last, size); err != nil {
			t.Fatal(err)
		}
		e := openPartial(t, dir)
		got := linesOf(t, e)
		if len(got) > before {
			t.Fatalf("cut to %d bytes: %d lines, and %d when it was longer", size, len(got), before)
		}
		before = len(got)
		inside = inside || 11 < before && before < len(whole)
		for i, line := range got {
			if !bytes.Equal(line, whole[i]) {
				t.Fatalf("cut to %d bytes: line %d is %s", size, i, line)
			}
		}
		missing := strings.Join(e.Missing(), "\n")
		if !strings.Contains(missing, "manifest.json is missing") || !strings.Contains(missing, "the end event is missing") {
			t.Fatalf("missing: %q", missing)
		}
		err := e.Verify()
		var f *Fault
		switch short := len(got) < len(whole); {
		case short && !strings.Contains(missing, "that the last checkpoint counts"):
			t.Fatalf("cut to %d bytes: %d lines, missing %q", size, len(got), missing)
		case short && !errors.As(err, &f):
			t.Fatalf("cut to %d bytes: verify says %v", size, err)
		case !short && err != nil:
			t.Fatal(err)
		}
		e.Close()
	}
	if before >= 11 {
		t.Errorf("%d lines are left without the last segment", before)
	}
	if inside != (step > 1) {
		t.Errorf("lines of a frame that was cut were read: %v", inside)
	}
}

func TestCheckpointsCutAnywhereAreReadUpToThere(t *testing.T) {
	dir, _, whole := crashed(t, 5)
	notes := filepath.Join(dir, checkpointsName)
	all, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	for size := len(all); size >= 0; size-- {
		if err := os.WriteFile(notes, all[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		e := openPartial(t, dir)
		if n := e.Manifest().Tree.Size; n != uint64(len(whole)) {
			t.Fatalf("cut to %d bytes: %d events", size, n)
		}
		missing := strings.Join(e.Missing(), "\n")
		half := size > 0 && !bytes.HasSuffix(all[:size], []byte("\n\n"))
		if half != strings.Contains(missing, "inside a note") {
			t.Fatalf("cut to %d bytes: missing %q", size, missing)
		}
		if whole := bytes.Count(all[:size], []byte("\n\n")); whole > 0 {
			if err := e.Verify(); err != nil {
				t.Fatalf("cut to %d bytes: %v", size, err)
			}
		}
		e.Close()
	}
}

func TestWhatComesAfterTheLastCheckpointIsNamed(t *testing.T) {
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, SegmentBytes: 1 << 10, NoSync: true})
	appendMany(t, l, 20, 10)
	var ev event.Event
	for i := range 5 {
		fillExec(&ev, 20+i)
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.endFrame(); err != nil {
		t.Fatal(err)
	}
	l.Abort()
	e := openPartial(t, dir)
	defer e.Close()
	if got := strings.Join(e.Missing(), "\n"); !strings.Contains(got, "no checkpoint covers the last 5 events") {
		t.Errorf("missing %q", got)
	}
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
	if m := e.Manifest(); m.Run != "test@1" || m.Tree.Size != 26 {
		t.Errorf("%+v", m)
	}
}

func TestALogWithoutAManifestIsNotOpenedAsClosed(t *testing.T) {
	dir, _, _ := crashed(t, 5)
	if e, err := Open(dir); err == nil {
		e.Close()
		t.Fatal("it is")
	} else if !strings.Contains(err.Error(), "not closed") {
		t.Error(err)
	}
	if _, err := OpenPartial(t.TempDir()); err == nil {
		t.Error("an empty folder is a log")
	}
}

func TestASegmentLostInTheMiddleEndsTheReading(t *testing.T) {
	dir, _, whole := crashed(t, 5)
	if err := os.Remove(filepath.Join(dir, segmentName(0))); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPartial(dir); err == nil {
		t.Error("a log without its first segment is read")
	}
	dir, _, _ = crashed(t, 5)
	if err := os.Truncate(filepath.Join(dir, segmentName(0)), 100); err != nil {
		t.Fatal(err)
	}
	e := openPartial(t, dir)
	defer e.Close()
	if n := len(linesOf(t, e)); n >= len(whole) {
		t.Errorf("%d lines", n)
	}
	if got := strings.Join(e.Missing(), "\n"); !strings.Contains(got, segmentName(0)+": line 1 (seq 0)") {
		t.Errorf("missing %q", got)
	}
}
