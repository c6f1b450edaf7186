package evidence

import (
	"crypto/sha256"
	"path/filepath"
	"strings"
	"testing"

	tlogproof "github.com/transparency-dev/formats/proof"

	"github.com/org/edamame-posture/pkg/event"
)

func TestAFileBesideTheLogIsTheOneThatTheLogNames(t *testing.T) {
	token := []byte("the token of the start")
	made := func(t *testing.T, tell bool) (string, *Manifest) {
		l, dir := newLog(t, Options{NoSync: true})
		if err := l.Attach(StartTokenFile, token); err != nil {
			t.Fatal(err)
		}
		if tell {
			ev := event.Event{Kind: event.Note, Via: event.ViaMonitor, Detail: text("start token"), SHA256: sha256.Sum256(token)}
			if err := l.Append(&ev); err != nil {
				t.Fatal(err)
			}
		}
		return dir, closeLog(t, l)
	}
	dir, m := made(t, true)
	if err := verify(dir); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, StartTokenFile), []byte("the token of another start"))
	rehash(t, dir, *m)
	if err := verify(dir); err == nil || !strings.Contains(err.Error(), "not the one that the log names") {
		t.Errorf("another file in its place: %v", err)
	}
	dir, _ = made(t, false)
	if err := verify(dir); err == nil || !strings.Contains(err.Error(), "put there later") {
		t.Errorf("a file that the log does not name: %v", err)
	}
}

func TestAProofIsOfALineOfALogAtItsPlace(t *testing.T) {
	dir, _ := closedLog(t)
	good, err := open(t, dir).ProofText(3)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ParseProof(good); err != nil {
		t.Fatal(err)
	}
	var p tlogproof.TLogProof
	for what, change := range map[string]func(){
		"what a terminal obeys": func() { p.ExtraData = []byte("\x1b]0;good\x07") },
		"a return before it":    func() { p.ExtraData = append([]byte("\r"), p.ExtraData...) },
		"a tab in it":           func() { p.ExtraData = append([]byte("{\t"), p.ExtraData[1:]...) },
		"another place":         func() { p.Index = 4 },
	} {
		if err := p.Unmarshal(good); err != nil {
			t.Fatal(err)
		}
		change()
		if _, _, err := ParseProof(p.Marshal()); err == nil || strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("%s: %q", what, err)
		}
	}
}

func TestTheNameOfAStrangeFileIsShownWithoutWhatATerminalObeys(t *testing.T) {
	dir, _ := closedLog(t)
	write(t, filepath.Join(dir, "\x1b[2Jx"), nil)
	if err := verify(dir); err == nil || strings.ContainsRune(err.Error(), '\x1b') {
		t.Errorf("%q", err)
	}
}
