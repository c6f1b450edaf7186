package evidence

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
)

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("this machine does not let us mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes all that is left of the disk.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := 64 << 10; chunk > 0; chunk /= 2 {
		for {
			if _, err := f.Write(make([]byte, chunk)); errors.Is(err, unix.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// fill appends until the log takes no more, and somewhat further.
func fill(t *testing.T, l *Log) (taken, refused uint64) {
	t.Helper()
	var ev event.Event
	for i := 0; refused < 100; i++ {
		fillExec(&ev, i*7919)
		ev.Sock = uint64(i) * 0x9e3779b97f4a7c15
		switch err := l.Append(&ev); {
		case err == nil && refused == 0:
			taken++
		case errors.Is(err, ErrFull):
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("the error does not say why: %v", err)
			}
			refused++
		default:
			t.Fatalf("event %d: %v", i, err)
		}
		if i%100 == 0 {
			if err := l.Checkpoint(ev.Time); err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		}
	}
	return taken, refused
}

func TestAFullDiskIsToldAndTheLogStillCloses(t *testing.T) {
	disk := smallDisk(t, "600k")
	dir := filepath.Join(disk, "evidence")
	l, err := Create(dir, Options{Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Abort()
	s := start
	if err := l.Append(&s); err != nil {
		t.Fatal(err)
	}
	fillDisk(t, disk) // as the job does
	taken, refused := fill(t, l)
	closeLog(t, l)
	if err := verify(dir); err != nil {
		t.Error(err)
	}
	e := open(t, dir)
	n, lost, last := gaps(t, e)
	if n != 2 || lost != refused || last != event.End {
		t.Errorf("%d gaps tell %d lost of %d, last event %v", n, lost, refused, last)
	}
	if size := e.Manifest().Tree.Size; size != taken+4 {
		t.Errorf("%d events: %d were taken, and start, end and two gaps", size, taken)
	}
}

func TestAFullDiskThatTellsNothingAheadCostsTheOpenFrameOnly(t *testing.T) {
	disk := smallDisk(t, "600k")
	dir := filepath.Join(disk, "evidence")
	l, err := Create(dir, Options{Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Abort()
	l.seg.blind, l.notes.blind = true, true // as on a file system without fallocate
	s := start
	if err := l.Append(&s); err != nil {
		t.Fatal(err)
	}
	if err := l.Checkpoint(1); err != nil {
		t.Fatal(err)
	}
	taken, refused := fill(t, l)
	closeLog(t, l)
	if err := verify(dir); err != nil {
		t.Error(err)
	}
	e := open(t, dir)
	_, lost, last := gaps(t, e)
	own := uint64(0)
	err = e.Each(func(_ []byte, ev *event.Event) error {
		if ev.Kind != event.Exec {
			own++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	size := e.Manifest().Tree.Size
	if kept := size - own; kept+lost != taken+refused || last != event.End || kept == 0 {
		t.Errorf("%d events kept and %d lost, of %d; last event %v", kept, lost, taken+refused, last)
	}
	if lost <= refused {
		t.Errorf("%d lost: the open frame should be among them (%d were refused)", lost, refused)
	}
}

func TestADiskThatIsFullAtTheStartIsAnError(t *testing.T) {
	disk := smallDisk(t, "64k")
	fillDisk(t, disk)
	l, err := Create(filepath.Join(disk, "evidence"), Options{Run: "r"})
	if err == nil {
		l.Abort()
		t.Fatal("a log was made")
	}
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "create evidence") {
		t.Error(err)
	}
}

func TestReadersNeverSeeHalfALineWhileItIsWritten(t *testing.T) {
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, SegmentBytes: 2 << 10, NoSync: true})
	var ev event.Event
	for i := range 400 {
		fillExec(&ev, i)
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			if err := l.Checkpoint(ev.Time); err != nil {
				t.Fatal(err)
			}
		}
		if i%17 != 0 {
			continue
		}
		e := openPartial(t, dir)
		if n := len(linesOf(t, e)); n < i/10*10+2 || n > i+2 {
			t.Fatalf("%d lines after %d events", n, i+2)
		}
		if err := e.Verify(); err != nil {
			t.Fatal(err)
		}
		e.Close()
	}
}
