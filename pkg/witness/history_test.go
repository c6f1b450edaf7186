package witness

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/evidence"
)

// heard is a log with its evidence's side.
type heard struct {
	*testLog
	commitment evidence.Hash
	texts      []evidence.Hash
}

func (h *heard) history() History {
	return History{Origin: h.origin, Commitment: h.commitment, Last: uint64(len(h.texts)) - 1, Text: func(seq uint64) (evidence.Hash, bool) {
		if seq >= uint64(len(h.texts)) {
			return evidence.Hash{}, false
		}
		return h.texts[seq], true
	}}
}

func (h *heard) took(t *testing.T, note []byte) {
	t.Helper()
	c, err := parseCheckpoint(note)
	if err != nil {
		t.Fatal(err)
	}
	h.texts = append(h.texts, c.text)
}

func TestEvidenceThatWasWitnessedIsHeldAgainstTheRecord(t *testing.T) {
	r := newRig(t)
	l := &heard{testLog: newLog("run-1")}
	f := r.issuer.first(t, l.testLog, 1)
	l.commitment = sha256.Sum256(f.Commitment)
	if _, err := r.client.FirstRecord(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	accept(t, l.testLog)
	l.took(t, []byte(f.Checkpoint))
	for range 4 {
		l.grow(t, 2)
		a := l.checkpoint(t)
		l.grow(t, 2)
		b := l.checkpoint(t)
		// The first try comes with a proof that does not hold.
		if code, _, _ := r.postAdd(t, l.growth.Old(), nil, a, b); code != http.StatusUnprocessableEntity {
			t.Fatalf("without a proof: %d", code)
		}
		if _, _, err := r.client.AddCheckpoint(t.Context(), l.growth.Old(), proofOf(t, l.testLog), [][]byte{a, b}); err != nil {
			t.Fatal(err)
		}
		accept(t, l.testLog)
		l.took(t, a)
		l.took(t, b)
	}
	rec := r.record(t, 1)
	if err := rec.Compare(l.history(), time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(h *History, r *Record)
		kind   Divergence
		says   string
	}{
		{"another commitment", func(h *History, _ *Record) { h.Commitment[0] ^= 1 }, OtherFirst, "first commitment"},
		{"another log", func(h *History, _ *Record) { h.Origin += "x" }, OtherHistory, "its log"},
		{"the end cut off", func(h *History, _ *Record) {
			h.Last--
			all := h.Text
			h.Text = func(seq uint64) (evidence.Hash, bool) {
				text, ok := all(seq)
				return text, ok && seq < 8
			}
		}, Withheld, "has none of that number"},
		{"the end not told to the witness", func(_ *History, r *Record) { r.Cosigned = r.Cosigned[:4] }, EndUnheard, "ends with 8"},
		{"a checkpoint of another history", func(h *History, _ *Record) {
			all := h.Text
			h.Text = func(seq uint64) (evidence.Hash, bool) {
				text, ok := all(seq)
				if seq == 4 {
					text[0] ^= 1
				}
				return text, ok
			}
		}, OtherHistory, "checkpoint 4 is not the one"},
		{"one in between of another history", func(h *History, _ *Record) {
			all := h.Text
			h.Text = func(seq uint64) (evidence.Hash, bool) {
				text, ok := all(seq)
				if seq == 3 {
					text[0] ^= 1
				}
				return text, ok
			}
		}, OtherHistory, "from 3 to 4"},
		{"a record that names far checkpoints", func(h *History, r *Record) { r.Cosigned[1].Seq = 1 << 62 }, Withheld, "none of that number"},
		{"a minute of silence", func(_ *History, r *Record) {
			for i := range r.Cosigned[2:] {
				r.Cosigned[i+2].Time += 62
			}
		}, Silent, "heard nothing"},
		{"a clock that went back", func(_ *History, r *Record) { r.Cosigned[3].Time -= 3600 }, Silent, "went back"},
		{"a record that begins late", func(_ *History, r *Record) { r.Cosigned = r.Cosigned[1:] }, OtherHistory, "not 0"},
		{"a record with a hole", func(_ *History, r *Record) { r.Cosigned = append(r.Cosigned[:2], r.Cosigned[3:]...) }, OtherHistory, "from 3 to 6"},
		{"a second commitment", func(_ *History, r *Record) { r.Conflicts = append(r.Conflicts, Conflict{Kind: SecondFirst}) }, OtherFirst, SecondFirst},
		{"a fork", func(h *History, r *Record) {
			text, _ := h.Text(3)
			r.Conflicts = append(r.Conflicts, Conflict{Kind: Fork, Text: text})
		}, OtherHistory, Fork},
		{"a tree that is not the known one grown", func(_ *History, r *Record) { r.Conflicts = append(r.Conflicts, Conflict{Kind: Inconsistent}) }, OtherHistory, Inconsistent},
		{"a kind of conflict that is not known", func(_ *History, r *Record) { r.Conflicts = append(r.Conflicts, Conflict{Kind: "new"}) }, OtherHistory, "kind new"},
	} {
		h, rec := l.history(), r.record(t, 1)
		c.change(&h, rec)
		var diverges *DivergenceError
		if err := rec.Compare(h, time.Minute); !errors.As(err, &diverges) || diverges.Kind != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q, kind %d", c.name, err, c.says, c.kind)
		}
	}
}

// A thief of the live key ends a log early; the true one had gone on.
func TestAnEndThatWasHeldBackIsFound(t *testing.T) {
	r := newRig(t)
	l := &heard{testLog: newLog("run-1")}
	f := r.issuer.first(t, l.testLog, 1)
	l.commitment = sha256.Sum256(f.Commitment)
	if _, err := r.client.FirstRecord(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	accept(t, l.testLog)
	l.took(t, []byte(f.Checkpoint))
	l.took(t, r.add(t, l.testLog, 3))
	// From here the thief closes the log, with key 2, and shows that. The
	// monitor has told the witness of its own checkpoint 2.
	closed := l.note(t, 2, -1)
	r.add(t, l.testLog, 5)
	if code, _, _ := r.postAdd(t, l.growth.Old(), nil, closed); code != http.StatusConflict {
		t.Errorf("the thief's end: %d", code)
	}
	l.took(t, closed)
	var diverges *DivergenceError
	if err := r.record(t, 1).Compare(l.history(), time.Minute); !errors.As(err, &diverges) {
		t.Fatalf("the gate: %v", err)
	}
}
