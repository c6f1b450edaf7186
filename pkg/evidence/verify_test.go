package evidence

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
)

func closedLog(t testing.TB) (string, *Manifest) {
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, SegmentBytes: 900, NoSync: true})
	appendMany(t, l, 40, 5)
	if err := l.Append(&event.Event{Kind: event.SensorGap, Lost: 3}); err != nil {
		t.Fatal(err)
	}
	if err := l.Input("intent.json", []byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	return dir, closeLog(t, l)
}

func verify(dir string) error {
	e, err := Open(dir)
	if err != nil {
		return err
	}
	defer e.Close()
	return e.Verify()
}

// rehash writes a manifest that fits what is now in the folder, as someone
// would who changed a file and knows the format.
func rehash(t testing.TB, dir string, m Manifest) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	files := make([]File, len(m.Files))
	for i, f := range m.Files {
		if files[i], err = hashFile(root, f.Name); err != nil {
			t.Fatal(err)
		}
	}
	m.Files = files
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, manifestName), b)
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAFlippedBitIsFoundInEveryFile(t *testing.T) {
	dir, m := closedLog(t)
	if err := verify(dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		path := filepath.Join(dir, f.Name)
		good := read(t, path)
		for i := 0; i < len(good); i += 1 + len(good)/100 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			write(t, path, bad)
			var place *Fault
			if err := verify(dir); !errors.As(err, &place) || place.File != f.Name {
				t.Fatalf("%s, byte %d: %v", f.Name, i, err)
			}
		}
		write(t, path, good)
	}
	if err := verify(dir); err != nil {
		t.Fatal(err)
	}
}

func TestAFlippedBitInTheManifestChangesNothingThatMatters(t *testing.T) {
	dir, m := closedLog(t)
	path := filepath.Join(dir, manifestName)
	good := read(t, path)
	for i := range good {
		for _, bit := range []int{i % 8, 5} { // bit 5 makes capitals
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			write(t, path, bad)
			e, err := Open(dir)
			if err != nil {
				continue
			}
			if e.Verify() == nil {
				// The manifest's own bytes are covered by a signature only.
				got, want := e.Manifest(), *m
				got.Judge, want.Judge = "", ""
				if !reflect.DeepEqual(got, want) {
					t.Errorf("byte %d, bit %d: taken as %+v", i, bit, got)
				}
			}
			e.Close()
		}
	}
}

func TestAFlippedBitUnderANewManifestIsFoundByTheTree(t *testing.T) {
	dir, m := closedLog(t)
	e := open(t, dir)
	whole := linesOf(t, e)
	var places, frames, tree int
	for _, f := range m.Files {
		if f.Name != segmentName(1) {
			continue
		}
		path := filepath.Join(dir, f.Name)
		good := read(t, path)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			write(t, path, bad)
			rehash(t, dir, *m)
			e, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			err = e.Verify()
			var place *Fault
			switch {
			case err == nil: // a bit of zstd that changes nothing of the lines
				if !reflect.DeepEqual(linesOf(t, e), whole) {
					t.Fatalf("%s, byte %d: not found", f.Name, i)
				}
			case !errors.As(err, &place):
				t.Fatalf("%s, byte %d: no place: %v", f.Name, i, err)
			case place.File == f.Name && place.Line > 0:
				places++
			case place.File == f.Name && strings.Contains(err.Error(), "zstd frame at byte"):
				frames++
			case place.File == checkpointsName && place.Line > 0:
				tree++
			default:
				t.Fatalf("%s, byte %d: %v", f.Name, i, err)
			}
			e.Close()
		}
		write(t, path, good)
	}
	t.Logf("%d found in a line, %d in a frame's head, %d by a checkpoint", places, frames, tree)
}

// rewrite replaces the whole log by lines, in one segment, under a manifest
// that fits.
func rewrite(t *testing.T, dir string, m Manifest, lines []string) {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	text := strings.Join(lines, "\n") + "\n"
	write(t, filepath.Join(dir, segmentName(0)), enc.EncodeAll([]byte(text), nil))
	var files []File
	for _, f := range m.Files {
		if isSegment(f.Name) && f.Name != segmentName(0) {
			if err := os.Remove(filepath.Join(dir, f.Name)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			continue
		}
		files = append(files, f)
	}
	m.Files = files
	m.Tree.Size = uint64(len(lines))
	rehash(t, dir, m)
}

func TestAChangedLogUnderAFittingManifestIsFoundWithItsPlace(t *testing.T) {
	number := func(lines []string) {
		for i := range lines {
			_, rest, _ := strings.Cut(lines[i], ",")
			lines[i] = `{"seq":` + string(appendInt(i)) + "," + rest
		}
	}
	for _, tt := range []struct {
		name, want string
		change     func([]string) []string
	}{
		{"a word changed", "checkpoints: line 7: root of the first 11 events is not theirs: something in the events 6 to 10", func(l []string) []string {
			l[8] = strings.Replace(l[8], "main.c", "evil.c", 1)
			return l
		}},
		{"two lines exchanged", "000000.jsonl.zst: line 9 (seq 8): seq is 9", func(l []string) []string {
			l[8], l[9] = l[9], l[8]
			return l
		}},
		{"a line doubled", "000000.jsonl.zst: line 10 (seq 9): seq is 8", func(l []string) []string {
			return append(l[:9], l[8:]...)
		}},
		{"a line left out and the rest numbered anew", "checkpoints: line 7: root of the first 11", func(l []string) []string {
			l = append(l[:8], l[9:]...)
			number(l)
			return l
		}},
		{"the end cut off", "checkpoints: line 49: it covers 43 events, and the log has 41", func(l []string) []string {
			return l[:len(l)-2]
		}},
		{"a line that is not JSON", "000000.jsonl.zst: line 4 (seq 3): byte 1: want an object", func(l []string) []string {
			l[3] = "x"
			return l
		}},
		{"an empty line", "000000.jsonl.zst: line 4 (seq 3): byte 1: want an object", func(l []string) []string {
			l[3] = ""
			return l
		}},
		{"white space added", "checkpoints: line 1: root of the first 6", func(l []string) []string {
			l[3] += " "
			return l
		}},
		{"a line after the end", "event 43 stands after the end", func(l []string) []string {
			return append(l, `{"seq":43,"time":1,"kind":"note"}`)
		}},
		{"no start", `000000.jsonl.zst: line 1 (seq 0): the log begins with "note"`, func(l []string) []string {
			l[0] = `{"seq":0,"time":1,"kind":"note"}`
			return l
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, m := closedLog(t)
			e := open(t, dir)
			var lines []string
			for _, line := range linesOf(t, e) {
				lines = append(lines, string(line))
			}
			rewrite(t, dir, *m, tt.change(lines))
			err := verify(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func appendInt(i int) []byte {
	c := Checkpoint{Size: uint64(i)}
	return bytes.Split(c.appendText(nil), []byte("\n"))[1]
}

func TestChangedCheckpointsUnderAFittingManifestAreFound(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func([]*Checkpoint) []*Checkpoint
	}{
		{"one that another root", "checkpoints: line 13: root of the first 16 events is not theirs", func(c []*Checkpoint) []*Checkpoint {
			c[2].Root[7]++
			return c
		}},
		{"sizes that fall", "checkpoints: line 13: size falls from 16 to 11", func(c []*Checkpoint) []*Checkpoint {
			c[1], c[2] = c[2], c[1]
			return c
		}},
		{"times that fall", "checkpoints: line 13: boottime falls", func(c []*Checkpoint) []*Checkpoint {
			c[2].Boottime = 1
			return c
		}},
		{"losses that fall", "checkpoints: line 13: lost falls from 5 to 0", func(c []*Checkpoint) []*Checkpoint {
			c[1].Lost = 5
			return c
		}},
		{"losses that are not told", "checkpoints: line 49: lost is 0, and the gaps of the log come to 3", func(c []*Checkpoint) []*Checkpoint {
			c[8].Lost = 0
			return c
		}},
		{"another origin", "checkpoints: line 13: origin edamame-posture/other", func(c []*Checkpoint) []*Checkpoint {
			c[2].Origin = "edamame-posture/other"
			return c
		}},
		{"the last left out", "checkpoints: the last covers 41 of 43 events", func(c []*Checkpoint) []*Checkpoint {
			return c[:8]
		}},
		{"more than there is", "checkpoints: line 49: it covers 44 events, and the log has 43", func(c []*Checkpoint) []*Checkpoint {
			c[8].Size++
			return c
		}},
		{"none", "checkpoints: there is none", func([]*Checkpoint) []*Checkpoint { return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, m := closedLog(t)
			var notes []*Checkpoint
			if err := open(t, dir).EachCheckpoint(func(c *Checkpoint) error { notes = append(notes, c); return nil }); err != nil {
				t.Fatal(err)
			}
			var b []byte
			for _, c := range tt.change(notes) {
				b = c.appendNote(b)
			}
			write(t, filepath.Join(dir, checkpointsName), b)
			rehash(t, dir, *m)
			if err := verify(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestASignedNoteIsReadWithItsSignatures(t *testing.T) {
	c := Checkpoint{Origin: "edamame-posture/r", Size: 1, Extra: []string{"next abc", "other"}, Signatures: []string{"edamame-posture/r AAAA", "witness BBBB"}}
	b := c.appendNote(nil)
	b = c.appendNote(b)
	n := newNoteReader(bytes.NewReader(b))
	for i := range 2 {
		got, err := n.read()
		if err != nil {
			t.Fatal(err)
		}
		want := c
		want.Line = int64(1 + i*10)
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("got %+v, want %+v", *got, want)
		}
	}
}

func TestWhatIsNotPlainFilesIsRefused(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	write(t, other, []byte("{}\n"))
	for _, tt := range []struct {
		name, want string
		change     func(dir string) error
	}{
		{"a link in a file's place", "inputs/intent.json: is not a regular file", func(dir string) error {
			path := filepath.Join(dir, "inputs/intent.json")
			return errors.Join(os.Remove(path), os.Symlink(other, path))
		}},
		{"a link inside the folder", "inputs/intent.json: is not a regular file", func(dir string) error {
			path := filepath.Join(dir, "inputs/intent.json")
			return errors.Join(os.Rename(path, filepath.Join(dir, "x")), os.Symlink("../x", path))
		}},
		{"a link in the place of the folder of inputs", "inputs: is not a folder", func(dir string) error {
			path := filepath.Join(dir, "inputs")
			return errors.Join(os.Rename(path, filepath.Join(dir, "x")), os.Symlink("x", path))
		}},
		{"a pipe in a segment's place", "000000.jsonl.zst: is not a regular file", func(dir string) error {
			path := filepath.Join(dir, segmentName(0))
			return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600))
		}},
		{"a link in the manifest's place", "manifest.json: is not a regular file", func(dir string) error {
			path := filepath.Join(dir, manifestName)
			return errors.Join(os.Rename(path, other), os.Symlink(other, path))
		}},
		{"a file missing", "checkpoints: no such file", func(dir string) error {
			return os.Remove(filepath.Join(dir, checkpointsName))
		}},
		{"a file too many", "extra: is not in the manifest", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "extra"), nil, 0o600)
		}},
		{"a link to the folder", "is not a folder, or is a link to one", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".x"), os.Symlink(dir+".x", dir))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, _ := closedLog(t)
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			if err := verify(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestManifestsThatMeanTwoThingsOrNoneAreRefused(t *testing.T) {
	dir, m := closedLog(t)
	good := string(read(t, filepath.Join(dir, manifestName)))
	sum := strings.Repeat("0", 64)
	for _, tt := range []struct{ name, old, new, want string }{
		{"another version", `"version": 1`, `"version": 2`, "format version 2"},
		{"a version that is a word", `"version": 1`, `"version": "1"`, "cannot unmarshal"},
		{"a member twice", `"version": 1,`, `"version": 1, "version": 1,`, `"version" stands twice`},
		{"a member twice in other case", `"version": 1,`, `"version": 1, "Run": "x",`, `"run" stands twice`},
		{"a member twice under an old s", `"version": 1,`, `"version": 1, "fileſ": [],`, `"files" stands twice`},
		{"a run that is a path", `"test@1"`, `"../x"`, "run id"},
		{"a file above", `"checkpoints"`, `"../checkpoints"`, "is not one of the format"},
		{"a file from the root", `"checkpoints"`, `"/etc/passwd"`, "is not one of the format"},
		{"a deep input", `inputs/intent.json`, `inputs/a/b`, "is not one of the format"},
		{"a hidden input", `inputs/intent.json`, `inputs/.x`, "is not one of the format"},
		{"an input above", `inputs/intent.json`, `inputs/..`, "is not one of the format"},
		{"files out of order", `"checkpoints"`, `"inputs/zzz"`, "stands twice or is not in its order"},
		{"a segment left out", segmentName(1), segmentName(900), "000001.jsonl.zst is missing before"},
		{"no checkpoints", `"checkpoints"`, `"inputs/a"`, "names no segment, or no checkpoints"},
		{"a size below zero", `"size": 3,`, `"size": -3,`, "may have"},
		{"a size without end", `"size": 3,`, `"size": 9223372036854775807,`, "may have"},
		{"a short hash", m.Files[0].SHA256, "00", "want 64 hexadecimal digits"},
		{"a hash in capitals", m.Files[0].SHA256, "AA" + sum[2:], "want 64 hexadecimal digits"},
		{"a root that is none", m.Tree.Root.String(), "AAAA", "want 32 bytes in base64"},
		{"deep nesting", `"version": 1,`, `"version": 1, "x": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + ",", "nested too deep"},
		{"not JSON", `"version": 1,`, `"version": 1`, "invalid character"},
		{"two objects", "]\n}", "]\n}{}", "invalid character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(good, tt.old) {
				t.Fatalf("%s is not in %s", tt.old, good)
			}
			_, err := parseManifest([]byte(strings.Replace(good, tt.old, tt.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	later := strings.Replace(good, `"version": 1,`, `"version": 1, "later": {"a": [1, {"a": 2}]},`, 1)
	if _, err := parseManifest([]byte(later)); err != nil {
		t.Errorf("a member of a later version: %v", err)
	}
}

func TestALogThatUnpacksWithoutEndIsRefused(t *testing.T) {
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(maxWindow))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	bomb := func(line string) []byte {
		// One frame of 96 MiB, made small by its sameness.
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(maxWindow), zstd.WithEncoderLevel(zstd.SpeedBestCompression))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 96<<20; n += len(line) {
			if _, err := w.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, tt := range []struct {
		name, want string
		file       []byte
	}{
		{"one line without end", "line 1 (seq 0): longer than", bomb("\x00")},
		{"a window larger than allowed", "window size", func() []byte {
			var b bytes.Buffer
			w, err := zstd.NewWriter(&b, zstd.WithWindowSize(64<<20))
			if err != nil {
				t.Fatal(err)
			}
			for range 40 {
				if _, err := w.Write(bytes.Repeat([]byte("0123456789"), 100_000)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := newLineReader()
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			err = r.segment(segmentName(0), bytes.NewReader(tt.file), func([]byte, *event.Event) error { return nil })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	t.Run("lines that are nearly the same", func(t *testing.T) {
		// Real lines: a megabyte of one argument, 96 times.
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(maxWindow))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 96 {
			line := `{"seq":` + string(appendInt(i)) + `,"time":1,"kind":"exec","exe":"` + strings.Repeat("a", 1<<20-100) + "\"}\n"
			if _, err := w.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := newLineReader()
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		err = r.segment(segmentName(0), &b, func([]byte, *event.Event) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "unpack to more than 1000 times") {
			t.Error(err)
		}
	})
}

func TestTheWriterStopsBeforeTheReaderWould(t *testing.T) {
	l, dir := newLog(t, Options{NoSync: true})
	var full error
	for range 200 {
		ev := event.Event{Kind: event.Exec, Exe: text(strings.Repeat("a", 1<<20-200))}
		if err := l.Append(&ev); err != nil {
			full = err
		}
	}
	if !errors.Is(full, ErrFull) {
		t.Fatal("200 MiB of the same letter were taken")
	}
	closeLog(t, l)
	if err := verify(dir); err != nil {
		t.Error(err)
	}
}

func TestAProofHoldsForItsLineAndPlaceOnly(t *testing.T) {
	dir, m := closedLog(t)
	e := open(t, dir)
	lines := linesOf(t, e)
	for seq := range m.Tree.Size {
		p, err := e.Prove(seq)
		if err != nil {
			t.Fatal(err)
		}
		if p.Line != string(lines[seq]) || p.Size != m.Tree.Size {
			t.Fatalf("proof of %d is of %s", seq, p.Line)
		}
		if err := p.Verify(m.Tree.Root); err != nil {
			t.Fatal(err)
		}
		for what, change := range map[string]func(*Proof){
			"another line":       func(p *Proof) { p.Line += " " },
			"another place":      func(p *Proof) { p.Seq ^= 1 },
			"a larger tree":      func(p *Proof) { p.Size *= 2 },
			"a shorter path":     func(p *Proof) { p.Path = p.Path[1:] },
			"a longer path":      func(p *Proof) { p.Path = append(p.Path[:len(p.Path):len(p.Path)], Hash{}) },
			"a path without end": func(p *Proof) { p.Path = make([]Hash, 1000) },
		} {
			q := *p
			change(&q)
			if err := q.Verify(m.Tree.Root); err == nil {
				t.Errorf("proof of %d holds for %s", seq, what)
			}
		}
	}
	if _, err := e.Prove(m.Tree.Size); err == nil {
		t.Error("an event that is not there is proved")
	}
}

func TestManyProofsAreThoseOfEach(t *testing.T) {
	dir, m := closedLog(t)
	e := open(t, dir)
	var seqs []uint64
	for seq := range m.Tree.Size {
		seqs = append(seqs, m.Tree.Size-1-seq, seq/2)
	}
	many, err := e.Proofs(seqs)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range many {
		one, err := e.Prove(seqs[i])
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p, one) {
			t.Errorf("proof of %d among many is %+v, alone %+v", seqs[i], p, one)
		}
		if err := p.Verify(m.Tree.Root); err != nil {
			t.Error(err)
		}
	}
	if _, err := e.Proofs([]uint64{0, m.Tree.Size}); err == nil {
		t.Error("an event that is not there is proved")
	}
}
