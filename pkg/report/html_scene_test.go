package report

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
)

// recorded is evidence of a real command, of those that the judge's tests keep:
// npm-install, an `npm install` of express; go-build; attack, an `npm install` of
// a package whose script reads a key and sends it away.
func recorded(t testing.TB, name string) *Data {
	t.Helper()
	from, dir := filepath.Join("../judge/testdata/recorded", name), t.TempDir()
	f, err := os.Open(filepath.Join(from, "log.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	log, err := evidence.Create(filepath.Join(dir, "evidence"), evidence.Options{Run: "boot-1:412", NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	var ev event.Event
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, event.MaxLine+1)
	for lines.Scan() {
		if err := event.Decode(bytes.Clone(lines.Bytes()), &ev); err != nil {
			t.Fatal(err)
		}
		if err := log.Append(&ev); err != nil {
			t.Fatal(err)
		}
	}
	for _, in := range []string{evidence.IntentInput, evidence.SignaturesInput} {
		b, err := os.ReadFile(filepath.Join(from, in))
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Input(in, b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.Close(evidence.Closing{Boottime: ev.Time}); err != nil {
		t.Fatal(err)
	}
	d, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
