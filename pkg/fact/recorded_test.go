package fact_test

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/org/edamame-posture/pkg/event"
)

// The logs are of real commands, `npm install` of 160 packages and `go build`
// of a program with net/http and cgo from an empty cache, made from what
// strace(1) saw of their processes and files.
func TestRecordedCommandsComeToFewFacts(t *testing.T) {
	tests := []struct {
		name  string
		most  int
		wants []string
	}{
		{"npm-install", 20, []string{
			"write node_modules/** by npm x2051", "write package-lock.json by npm x1",
			"write node_modules/esbuild/** by install.js<sh<npm x2", "write /home/runner/.npm/_cacache/** by npm x1099",
		}},
		{"go-build", 60, []string{"write app by go x1", "write /tmp/go-build*/** by link<go x1", "write /tmp/cc*.s by cc1<gcc<go x28"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(0)
			events := replay(t, m, "testdata/"+test.name+".jsonl.zst")
			all := m.folder.Facts()
			if events < 4000 || len(all) > test.most {
				t.Errorf("%d events came to %d facts, want %d at most", events, len(all), test.most)
			}
			have := lines(all)
			for _, want := range test.wants {
				if !slices.Contains(have, want) {
					t.Errorf("%q is not among\n%s", want, strings.Join(have, "\n"))
				}
			}
		})
	}
}

func replay(t *testing.T, m *machine, name string) int {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	log, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	var ev event.Event
	n := 0
	for line := range bytes.Lines(log) {
		if err := event.Decode(bytes.TrimSuffix(line, []byte("\n")), &ev); err != nil {
			t.Fatal(err)
		}
		m.apply(&ev)
		n++
	}
	return n
}
