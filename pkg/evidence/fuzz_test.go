package evidence

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// text makes a text of what a log may hold.
func text(s string) redact.Text {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	var t redact.Text
	if err := t.UnmarshalJSON(b); err != nil {
		panic(err)
	}
	return t
}

func FuzzManifest(f *testing.F) {
	dir, _ := closedLog(f)
	f.Add(read(f, filepath.Join(dir, manifestName)))
	f.Add([]byte(`{"version":1,"files":[{"name":"../x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if !filepath.IsLocal(file.Name) || strings.Contains(file.Name, "..") || file.Size < 0 {
				t.Errorf("%+v", file)
			}
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(again); err != nil {
			t.Errorf("written again: %v", err)
		}
	})
}

func FuzzCheckpoints(f *testing.F) {
	dir, _ := closedLog(f)
	f.Add(read(f, filepath.Join(dir, checkpointsName)))
	c := Checkpoint{Origin: "edamame-posture/r", Extra: []string{"next x"}, Signatures: []string{"a AAAA", ""}}
	f.Add(c.appendNote(c.appendNote(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var written []byte
		n := newNoteReader(bytes.NewReader(b))
		for {
			c, err := n.read()
			if err == io.EOF {
				break
			}
			if err != nil {
				return
			}
			written = c.appendNote(written)
		}
		if !bytes.Equal(written, b) {
			t.Errorf("%q is written again as %q", b, written)
		}
	})
}

func FuzzSegment(f *testing.F) {
	dir, m := closedLog(f)
	for _, file := range m.Files {
		if isSegment(file.Name) {
			f.Add(read(f, filepath.Join(dir, file.Name)))
		}
	}
	r, err := newLineReader()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r.seq, r.raw, r.file = 0, 0, 0
		n := uint64(0)
		_ = r.segment(segmentName(0), bytes.NewReader(b), func(line []byte, ev *event.Event) error {
			if ev.Seq != n || len(line) > event.MaxLine || bytes.IndexByte(line, '\n') >= 0 {
				t.Errorf("line %d is seq %d: %.100q", n, ev.Seq, line)
			}
			n++
			return nil
		})
	})
}

func FuzzProof(f *testing.F) {
	dir, _ := closedLog(f)
	text, err := open(f, dir).ProofText(3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, note, err := ParseProof(b)
		if err != nil {
			return
		}
		_ = p.Verify(note.Root)
		for _, c := range p.Line {
			if c < ' ' {
				t.Errorf("the line has %q in it, which no JSON has", c)
			}
		}
	})
}

func FuzzCommitment(f *testing.F) {
	c := Commitment{Version: 1, Origin: Origin("r"), Key: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", Intent: "none"}
	b, err := c.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(bytes.Replace(b, []byte(`"origin"`), []byte(`"Origin"`), 1))
	f.Add(bytes.Replace(b, []byte(`"intent":"none"`), []byte(`"intent":"x","intent":"none"`), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommitment(b)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("two texts of one meaning: %q and %q (%v)", b, again, err)
		}
	})
}
