package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// exec fills ev with the n-th of a run of events that differ as real ones do.
func fillExec(ev *event.Event, n int) {
	ev.Reset()
	ev.Time = 81_000_000_000 + int64(n)*37_911
	ev.Kind = event.Exec
	ev.Actor = event.Actor{PID: 4000 + uint32(n)%30_000, Start: ev.Time - 1_000_000, Image: 1}
	ev.Exe = redact.Const("/usr/lib/gcc/x86_64-linux-gnu/12/cc1")
	ev.Argv = append(ev.Argv, redact.Const("cc1"), redact.Const("-quiet"), redact.Const("-o"), redact.Const("main.o"), redact.Const("main.c"))
	ev.ArgvBytes = 31
	ev.Cwd = redact.Const("/home/runner/work/app/app")
	ev.UID, ev.GID, ev.Cgroup = 1001, 127, 2713
	ev.NS = event.Namespaces{Mount: 4026531841, Net: 4026531840, PID: 4026531836, User: 4026531837}
	ev.File = event.FileID{Dev: 66305, Inode: 131_000 + uint64(n%7)}
}

var start = event.Event{Time: 80_999_999_999, Kind: event.Start, Via: event.ViaMonitor, Version: event.Version}

func endEvent(t int64) *event.Event {
	return &event.Event{Time: t, Kind: event.End, Via: event.ViaMonitor}
}

// begin makes a log with its start in it.
func newLog(t testing.TB, opt Options) (*Log, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "evidence")
	if opt.Run == "" {
		opt.Run = "test@1"
	}
	l, err := Create(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Abort)
	s := start
	if err := l.Append(&s); err != nil {
		t.Fatal(err)
	}
	return l, dir
}

// appendMany appends n events and makes a checkpoint after every k.
func appendMany(t testing.TB, l *Log, n, k int) {
	t.Helper()
	var ev event.Event
	for i := range n {
		fillExec(&ev, i)
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
		if (i+1)%k == 0 {
			if err := l.Checkpoint(ev.Time); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func closeLog(t testing.TB, l *Log) *Manifest {
	t.Helper()
	if err := l.Append(endEvent(99_000_000_000)); err != nil {
		t.Fatal(err)
	}
	m, err := l.Close(Closing{Boottime: 99_000_000_001, Judge: "1"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func open(t testing.TB, dir string) *Evidence {
	t.Helper()
	e, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestAClosedLogReadsBackAsItWasWritten(t *testing.T) {
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, SegmentBytes: 1 << 10})
	appendMany(t, l, 1000, 100)
	if err := l.Input("intent.json", []byte(`{"version":1}`)); err != nil {
		t.Fatal(err)
	}
	m := closeLog(t, l)
	if m.Tree.Size != 1002 || m.Tree.Root != l.Root() || m.Lost != 0 || m.Run != "test@1" || m.Judge != "1" {
		t.Errorf("manifest: %+v", m)
	}

	e := open(t, dir)
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
	if e.segments < 5 {
		t.Errorf("%d segments: want some", e.segments)
	}
	if len(e.Missing()) != 0 {
		t.Errorf("missing: %q", e.Missing())
	}
	n := 0
	err := e.Each(func(line []byte, ev *event.Event) error {
		if 0 < n && n < 1001 {
			var want event.Event
			fillExec(&want, n-1)
			want.Seq = uint64(n)
			if w := want.AppendJSON(nil); !bytes.Equal(line, w) || !bytes.Equal(ev.AppendJSON(nil), w) {
				t.Fatalf("event %d\n got %s\nwant %s", n, line, w)
			}
		}
		n++
		return nil
	})
	if err != nil || n != 1002 {
		t.Errorf("%d events, %v", n, err)
	}
	if b, err := e.Input("intent.json"); err != nil || string(b) != `{"version":1}` {
		t.Errorf("input %q, %v", b, err)
	}
	for _, name := range []string{"other.json", "../manifest.json", ".hidden", ""} {
		if b, err := e.Input(name); err == nil {
			t.Errorf("input %q is %q", name, b)
		}
	}
	var sizes []uint64
	if err := e.EachCheckpoint(func(c *Checkpoint) error { sizes = append(sizes, c.Size); return nil }); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(sizes); got != "[101 201 301 401 501 601 701 801 901 1001 1002]" {
		t.Errorf("checkpoints of sizes %s", got)
	}
}

func TestOnlyTheUserMayReadTheFolder(t *testing.T) {
	l, dir := newLog(t, Options{})
	if err := l.Input("a", nil); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheTreeIsThatOfTheLibrary(t *testing.T) {
	hasher := rfc6962.DefaultHasher
	r := (&compact.RangeFactory{Hash: hasher.HashChildren}).NewEmptyRange(0)
	var tr tree
	if root := tr.root(); !bytes.Equal(root[:], hasher.EmptyRoot()) {
		t.Errorf("empty root %x", root)
	}
	for i := range 1025 {
		leaf := hasher.HashLeaf([]byte{byte(i), byte(i >> 8)})
		tr.append(Hash(leaf))
		if err := r.Append(leaf, nil); err != nil {
			t.Fatal(err)
		}
		want, err := r.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		if root := tr.root(); !bytes.Equal(root[:], want) {
			t.Fatalf("root of %d leaves is %x, want %x", i+1, root, want)
		}
	}
}

func TestALogThatIsThereIsNotOpenedForWriting(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(dir, Options{Run: "x"}); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(link, Options{Run: "x"}); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
}

func TestOptionsOutOfBoundsAreRefused(t *testing.T) {
	for _, opt := range []Options{
		{}, {Run: "a b"}, {Run: "a/b"}, {Run: "a\nb"}, {Run: strings.Repeat("x", 129)},
		{Run: "x", MaxBytes: 1}, {Run: "x", MaxBytes: maxBytes + 1}, {Run: "x", SegmentBytes: 1}, {Run: "x", SegmentBytes: -1},
	} {
		dir := filepath.Join(t.TempDir(), "e")
		if l, err := Create(dir, opt); err == nil {
			l.Abort()
			t.Errorf("%+v is taken", opt)
		}
	}
}

func TestInputsAreNamedPlainlyAndOnce(t *testing.T) {
	l, _ := newLog(t, Options{})
	if err := l.Input("intent.json", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"intent.json", "", ".", "..", "../x", "a/b", ".x", "a b", "a\x00b", strings.Repeat("x", 129)} {
		if err := l.Input(name, nil); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if err := l.Input("big", make([]byte, MaxInput+1)); err == nil {
		t.Error("an input over the bound is taken")
	}
}

// lostOf returns the gaps of sensor log, and the sum of lost.
func gaps(t *testing.T, e *Evidence) (n int, lost uint64, last event.Kind) {
	t.Helper()
	err := e.Each(func(_ []byte, ev *event.Event) error {
		if ev.Kind == event.SensorGap {
			n++
			lost += ev.Lost
		}
		last = ev.Kind
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, lost, last
}

func TestALogAtItsBoundCountsWhatItRefusesAndStillEnds(t *testing.T) {
	const bound = 256 << 10
	var own []string
	l, dir := newLog(t, Options{MaxBytes: bound, SegmentBytes: 20 << 10, NoSync: true, Own: func(ev *event.Event) {
		own = append(own, fmt.Sprint(ev.Kind, " ", ev.Seq, " ", ev.Lost))
	}})
	var ev event.Event
	refused := uint64(0)
	written := uint64(1)
	for i := range 40_000 {
		fillExec(&ev, i*7919) // little that repeats
		ev.Sock = uint64(i) * 0x9e3779b97f4a7c15
		switch err := l.Append(&ev); {
		case err == nil && refused > 0:
			t.Fatalf("event %d was taken after one was refused", i)
		case err == nil:
			written++
		case errors.Is(err, ErrFull):
			refused++
		default:
			t.Fatal(err)
		}
		if i%500 == 0 {
			if err := l.Checkpoint(ev.Time); err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
		}
	}
	if refused == 0 {
		t.Fatal("the bound was never met")
	}
	// A gap that a sensor tells is refused too, and what it lost is not lost again.
	told := event.Event{Time: ev.Time, Kind: event.SensorGap, Lost: 7}
	if err := l.Append(&told); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	refused += 7
	if l.Lost() != refused {
		t.Errorf("lost is %d, want %d", l.Lost(), refused)
	}
	m := closeLog(t, l)
	var size int64
	entries, _ := os.ReadDir(dir)
	for _, d := range entries {
		info, err := d.Info()
		if err != nil {
			t.Fatal(err)
		}
		if !d.IsDir() {
			size += info.Size()
		}
	}
	if size > bound {
		t.Errorf("%d bytes, and the bound is %d", size, bound)
	}
	if size < bound/3 {
		t.Errorf("%d bytes only of %d", size, bound)
	}
	e := open(t, dir)
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
	n, lost, last := gaps(t, e)
	if n != 2 || lost != refused || m.Lost != refused || last != event.End {
		t.Errorf("%d gaps tell %d lost, the manifest %d, and %d were refused; the last event is %v", n, lost, m.Lost, refused, last)
	}
	want := []string{fmt.Sprint("gap ", written, " 1"), fmt.Sprint("gap ", written+1, " ", refused-1)}
	if fmt.Sprint(own) != fmt.Sprint(want) {
		t.Errorf("own events %q, want %q", own, want)
	}
	if m.Tree.Size != written+3 {
		t.Errorf("%d events, want %d", m.Tree.Size, written+3)
	}
}

func TestNothingIsTakenAfterTheEnd(t *testing.T) {
	l, _ := newLog(t, Options{})
	closeLog(t, l)
	if err := l.Append(&event.Event{Kind: event.Note}); err != ErrClosed {
		t.Error(err)
	}
	if err := l.Checkpoint(1); err != ErrClosed {
		t.Error(err)
	}
	if err := l.Input("x", nil); err != ErrClosed {
		t.Error(err)
	}
	if _, err := l.Close(Closing{}); err != ErrClosed {
		t.Error(err)
	}
}

func TestAnEventTooLongForALineIsCountedAndTold(t *testing.T) {
	l, dir := newLog(t, Options{})
	long := event.Event{Kind: event.Exec}
	for range 40_000 {
		long.Argv = append(long.Argv, redact.Const("an argument of thirty characters"))
	}
	if err := l.Append(&long); err != ErrTooLong {
		t.Fatal(err)
	}
	appendMany(t, l, 10, 5)
	closeLog(t, l)
	e := open(t, dir)
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
	if n, lost, _ := gaps(t, e); n != 1 || lost != 1 {
		t.Errorf("%d gaps tell %d lost", n, lost)
	}
}

func TestBoottimeNeverFalls(t *testing.T) {
	l, dir := newLog(t, Options{})
	for _, at := range []int64{50, 40, 60} {
		if err := l.Checkpoint(at); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	if err := open(t, dir).Verify(); err != nil {
		t.Error(err)
	}
}

func TestJqReadsTheLog(t *testing.T) {
	for _, tool := range []string{"zstdcat", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, SegmentBytes: 1 << 10})
	appendMany(t, l, 300, 50)
	closeLog(t, l)
	out, err := exec.Command("sh", "-c", `zstdcat "$1"/*.jsonl.zst | jq -r .kind | sort | uniq -c | tr -s ' '`, "sh", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := string(out); got != " 1 end\n 300 exec\n 1 start\n" {
		t.Errorf("got %q", got)
	}
}

func TestAppendingAllocatesNothing(t *testing.T) {
	l, _ := newLog(t, Options{NoSync: true})
	var ev event.Event
	i := 0
	add := func() {
		fillExec(&ev, i)
		i++
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
	}
	for range 50_000 { // the encoder has made what it keeps
		add()
	}
	if n := testing.AllocsPerRun(100_000, add); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func TestRefusingAllocatesNothing(t *testing.T) {
	l, _ := newLog(t, Options{NoSync: true, MaxBytes: 256 << 10})
	var ev event.Event
	for i := 0; l.Full() == nil; i++ {
		fillExec(&ev, i*7919)
		_ = l.Append(&ev)
	}
	n := testing.AllocsPerRun(1000, func() {
		if !errors.Is(l.Append(&ev), ErrFull) {
			t.Fatal("taken")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func TestTheWriterStaysSmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l, _ := newLog(t, Options{NoSync: true})
	appendMany(t, l, 100_000, 5_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("the writer keeps %d KiB", kept>>10)
	if kept > 6<<20 {
		t.Errorf("the writer keeps %d bytes", kept)
	}
	runtime.KeepAlive(l)
}

// BenchmarkAppend appends with a checkpoint every 10,000 events: about one
// second of a very busy job.
func BenchmarkAppend(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("fsync=%v", sync), func(b *testing.B) {
			l, _ := newLog(b, Options{NoSync: !sync})
			var ev event.Event
			i := 0
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				fillExec(&ev, i)
				if err := l.Append(&ev); err != nil {
					b.Fatal(err)
				}
				if i++; i%10_000 == 0 {
					if err := l.Checkpoint(ev.Time); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(l.raw)/float64(l.Bytes()+1), "ratio")
			b.ReportMetric(float64(l.Bytes())/float64(b.N), "disk-B/op")
		})
	}
}
