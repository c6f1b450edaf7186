package witness

import (
	"fmt"
	"time"

	"github.com/org/edamame-posture/pkg/evidence"
)

// History is what a folder of evidence says of its checkpoints, for a gate to
// hold against a witness's record.
type History struct {
	Origin     string
	Commitment evidence.Hash // SHA-256 of the commitment
	// Text returns the SHA-256 of the text of a checkpoint, by its place in the
	// chain of keys.
	Text func(seq uint64) (evidence.Hash, bool)
	Last uint64 // place of the last one
}

// Divergence is how a witness's record and evidence differ.
type Divergence int

// The ways.
const (
	// OtherFirst: another commitment was first, or there is a second one.
	OtherFirst Divergence = iota
	// OtherHistory: the log had another history than the one shown.
	OtherHistory
	// Withheld: the log went on after what is shown.
	Withheld
	// Silent: the witness heard nothing for too long.
	Silent
	// EndUnheard: the witness did not hear of the log's end.
	EndUnheard
)

// DivergenceError says that the witness holds another history than the
// evidence shows, or not all of it.
type DivergenceError struct {
	Kind Divergence
	Why  string
}

// Error says what differs.
func (e *DivergenceError) Error() string { return "the witness: " + e.Why }

// Compare checks that the evidence is what the witness was told while it was
// made: the same commitment, no other one, no second history, nothing that the
// evidence leaves out or shows otherwise, not longer than gap between two
// checkpoints, and the last one there. Whose witness it is, OpenRecord has checked; that the
// texts of h are one chain, package evidence.
func (r *Record) Compare(h History, gap time.Duration) error {
	diverges := func(kind Divergence, format string, args ...any) error {
		return &DivergenceError{kind, fmt.Sprintf(format, args...)}
	}
	switch {
	case r.First.Commitment != h.Commitment:
		return diverges(OtherFirst, "its first commitment of this slot is %s, and the evidence has %s", r.First.Commitment, h.Commitment)
	case r.First.Origin != h.Origin:
		return diverges(OtherHistory, "its log is %s, and the evidence that of %s", r.First.Origin, h.Origin)
	}
	before, seq := r.First.Time, uint64(0)
	for i, c := range r.Cosigned {
		text, ok := h.Text(c.Seq)
		switch {
		case !ok:
			return diverges(Withheld, "it cosigned checkpoint %d of size %d at %s, and the evidence has none of that number", c.Seq, c.Size, clock(c.Time))
		case text != c.Text:
			return diverges(OtherHistory, "checkpoint %d is not the one that it cosigned at %s", c.Seq, clock(c.Time))
		case i == 0 && c.Seq != 0:
			return diverges(OtherHistory, "the first that it cosigned is checkpoint %d, not 0", c.Seq)
		case h.run(seq, c.Seq) != c.Run:
			return diverges(OtherHistory, "a checkpoint from %d to %d is not the one that it was told of at %s", seq, c.Seq, clock(c.Time))
		case time.Duration(c.Time-before)*time.Second > gap:
			return diverges(Silent, "it heard nothing from %s to %s, longer than %v", clock(before), clock(c.Time), gap)
		case time.Duration(before-c.Time)*time.Second > gap:
			return diverges(Silent, "its clock went back, from %s to %s", clock(before), clock(c.Time))
		}
		before, seq = c.Time, c.Seq+1
	}
	for _, c := range r.Conflicts {
		if c.Kind == Inconsistent && h.holds(c.Text) {
			continue // a checkpoint of ours, for which the proof was wrong
		}
		kind := OtherHistory
		if c.Kind == SecondFirst {
			kind = OtherFirst
		}
		return diverges(kind, "a conflict of kind %s was recorded at %s", c.Kind, clock(c.Time))
	}
	if last := r.Last(); last.Seq != h.Last {
		return diverges(EndUnheard, "the last that it cosigned is checkpoint %d at %s, and the evidence ends with %d", last.Seq, clock(last.Time), h.Last)
	}
	return nil
}

// run makes the Run of the checkpoints from one to another, of which the last
// is there.
func (h *History) run(from, to uint64) evidence.Hash {
	var texts []evidence.Hash
	for seq := from; seq <= to; seq++ {
		t, _ := h.Text(seq)
		texts = append(texts, t)
	}
	return runOf(texts)
}

// holds reports whether a text stands in the evidence.
func (h *History) holds(text evidence.Hash) bool {
	for seq := range h.Last + 1 {
		if t, ok := h.Text(seq); ok && t == text {
			return true
		}
	}
	return false
}

func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
