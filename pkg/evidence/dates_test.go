package evidence

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// datedLog is a log with two answers of a timestamp authority beside it, of
// which the format says nothing but their names and hashes.
func datedLog(t *testing.T, change func(*event.Event)) (string, *Manifest) {
	t.Helper()
	l, dir := newLog(t, Options{NoSync: true})
	for i, answer := range []string{"the first answer", "the second answer"} {
		appendMany(t, l, 5, 2)
		if err := l.Checkpoint(int64(90_000_000_000 + i*1_000_000_000)); err != nil {
			t.Fatal(err)
		}
		c, err := ParseCheckpoint(l.Note())
		if err != nil {
			t.Fatal(err)
		}
		done, err := l.Date([]byte(answer))
		if err != nil {
			t.Fatal(err)
		}
		if err := done(); err != nil {
			t.Fatal(err)
		}
		ev := event.Event{Kind: event.Note, Via: event.ViaMonitor, Detail: text(DatedNote), SHA256: sha256.Sum256([]byte(answer)), Count: c.Size, From: c.Boottime}
		if change != nil {
			change(&ev)
		}
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
	}
	return dir, closeLog(t, l)
}

func TestAnAnswerOfATimestampAuthorityIsOfTheCheckpointThatTheLogNames(t *testing.T) {
	dir, _ := datedLog(t, nil)
	e := open(t, dir)
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	dates, err := e.Dates()
	if err != nil {
		t.Fatal(err)
	}
	if len(dates) != 2 || string(dates[1].Answer) != "the second answer" || dates[1].Name != "000001.tsr" ||
		dates[1].Checkpoint.Boottime != 91_000_000_000 || !strings.HasPrefix(string(dates[1].Checkpoint.Text()), "edamame-posture/test@1\n") {
		t.Errorf("%+v", dates)
	}
	for what, c := range map[string]struct {
		event func(*event.Event)
		files func(t *testing.T, dir string, m *Manifest)
		want  string
	}{
		"the two change places": {nil, func(t *testing.T, dir string, _ *Manifest) {
			write(t, filepath.Join(dir, "000000.tsr"), []byte("the second answer"))
			write(t, filepath.Join(dir, "000001.tsr"), []byte("the first answer"))
		}, "not the one that the log names"},
		"one more": {nil, func(t *testing.T, dir string, m *Manifest) {
			write(t, filepath.Join(dir, "000002.tsr"), []byte("the third answer"))
			m.Files = append(m.Files[:3:3], append([]File{{Name: "000002.tsr"}}, m.Files[3:]...)...)
		}, "put there later"},
		"of a checkpoint that is not there": {func(ev *event.Event) { ev.From++ }, nil, "there is none of"},
		"of another size":                   {func(ev *event.Event) { ev.Count-- }, nil, "there is none of"},
	} {
		t.Run(what, func(t *testing.T) {
			dir, m := datedLog(t, c.event)
			if c.files != nil {
				c.files(t, dir, m)
				rehash(t, dir, *m)
			}
			if err := verify(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	// An answer may be left out, as other files beside the log may.
	dir, m := datedLog(t, nil)
	if err := os.Remove(filepath.Join(dir, "000000.tsr")); err != nil {
		t.Fatal(err)
	}
	var files []File
	for _, f := range m.Files {
		if f.Name != "000000.tsr" {
			files = append(files, f)
		}
	}
	m.Files = files
	rehash(t, dir, *m)
	e = open(t, dir)
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	if dates, err := e.Dates(); err != nil || len(dates) != 2 || dates[0].Answer != nil || dates[1].Answer == nil {
		t.Errorf("%v: %+v", err, dates)
	}
}

func TestAnswersOfTimestampAuthoritiesAreBounded(t *testing.T) {
	l, _ := newLog(t, Options{NoSync: true})
	for range MaxDates {
		done, err := l.Date([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if err := done(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Date([]byte("x")); err == nil {
		t.Error("one more than the format allows was taken")
	}
}
