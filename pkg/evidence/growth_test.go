package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/org/edamame-posture/pkg/event"
)

func TestGrowthIsProvenFromAnySizeToAnyOther(t *testing.T) {
	const most = 70
	roots := []Hash{}
	leaves := []Hash{}
	var tr tree
	for i := range most + 1 {
		roots = append(roots, tr.root())
		leaves = append(leaves, Hash(sha256.Sum256(fmt.Appendf([]byte{leafPrefix}, "line %d", i))))
		tr.append(leaves[i])
	}
	for first := 1; first < most; first++ {
		for second := first; second < most; second++ {
			g := NewGrowth()
			to := func(size int) (uint64, uint64, []Hash) {
				t.Helper()
				for n := int(g.next.End()); n < size; n++ {
					if err := g.append(leaves[n]); err != nil {
						t.Fatal(err)
					}
				}
				if err := g.begin(); err != nil {
					t.Fatal(err)
				}
				g.wrote([]byte("note"))
				old, now, path, _, err := g.Show()
				if err != nil {
					t.Fatal(err)
				}
				return old, now, path
			}
			if old, now, path := to(first); old != 0 || now != uint64(first) || len(path) != 0 {
				t.Fatalf("the first: %d to %d, %d hashes", old, now, len(path))
			}
			if err := g.Accept(); err != nil {
				t.Fatal(err)
			}
			old, now, path := to(second)
			// What comes meanwhile changes nothing in what was shown.
			if err := g.append(leaves[second]); err != nil {
				t.Fatal(err)
			}
			if o, n, p, _, err := g.Show(); err != nil || o != old || n != now || !slices.Equal(p, path) {
				t.Fatalf("shown again: %d to %d, %v", o, n, err)
			}
			raw := make([][]byte, len(path))
			for i := range path {
				raw[i] = path[i][:]
			}
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, now, raw, roots[old][:], roots[now][:]); err != nil {
				t.Fatalf("from %d to %d: %v", old, now, err)
			}
			if err := g.Accept(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// shown takes all that there is to be shown, checks each part as a witness does,
// and returns how many parts and notes there were.
func shown(t *testing.T, g *Growth, l *Log) (parts, count int) {
	t.Helper()
	before := Checkpoint{Root: (&tree{}).root()}
	for {
		old, size, path, notes, err := g.Show()
		if err != nil {
			t.Fatal(err)
		}
		if len(notes) == 0 {
			break
		}
		parts++
		bytesOf := 0
		var last *Checkpoint
		for _, n := range notes {
			bytesOf += len(n)
			if last, err = newNoteReader(bytes.NewReader(n)).read(); err != nil {
				t.Fatal(err)
			}
			link, ok, err := last.Link()
			if err != nil || !ok || link.Seq != uint64(count) {
				t.Fatalf("part %d: number %d of the chain where %d is due (%v)", parts, link.Seq, count, err)
			}
			count++
		}
		if bytesOf > partBytes+maxNote {
			t.Errorf("part %d has %d bytes of notes", parts, bytesOf)
		}
		if last.Size != size || old != before.Size {
			t.Fatalf("part %d leads from %d to %d, its last note is of %d, and %d is kept", parts, old, size, last.Size, before.Size)
		}
		raw := make([][]byte, len(path))
		for i := range path {
			raw[i] = path[i][:]
		}
		if old > 0 {
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, size, raw, before.Root[:], last.Root[:]); err != nil {
				t.Fatalf("part %d: %v", parts, err)
			}
		}
		before = *last
		if err := g.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if before.Size != l.Size() || before.Root != l.Root() {
		t.Errorf("what was shown ends at %d of %d events", before.Size, l.Size())
	}
	return parts, count
}

func TestWhoWasAwayForAnHourIsShownAllInPartsThatFitAMessage(t *testing.T) {
	g := NewGrowth()
	l, _ := newLog(t, Options{Keys: new(ring), Growth: g, NoSync: true})
	appendMany(t, l, 3600, 1)
	closeLog(t, l)
	parts, notes := shown(t, g, l)
	if parts < 4 || notes != 3601 {
		t.Errorf("%d checkpoints in %d parts", notes, parts)
	}
}

func TestCheckpointsBeyondWhatIsKeptAreNotShownAsIfTheyWereAll(t *testing.T) {
	g := NewGrowth()
	note := make([]byte, partBytes)
	for i := range maxParts + 2 {
		if err := errors.Join(g.append(Hash{byte(i)}), g.begin()); err != nil {
			t.Fatal(err)
		}
		g.wrote(note)
	}
	for range maxParts {
		if _, _, _, notes, err := g.Show(); err != nil || len(notes) != 1 {
			t.Fatalf("%d notes, %v", len(notes), err)
		}
		if err := g.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, notes, err := g.Show(); err == nil {
		t.Errorf("%d notes were shown after a hole", len(notes))
	}
}

// notYet is a chain whose key is not there in time every other time.
type notYet struct {
	ring
	asked int
}

func (n *notYet) Keys(ctx context.Context) (now, next [32]byte, err error) {
	if n.asked++; n.asked%2 == 0 {
		return now, next, errors.New("the machine is short of time")
	}
	return n.ring.Keys(ctx)
}

func TestACheckpointThatWasBegunAndNotWrittenIsNoPartOfWhatIsShown(t *testing.T) {
	g := NewGrowth()
	l, _ := newLog(t, Options{Keys: new(notYet), Growth: g, NoSync: true})
	var ev event.Event
	for i := range 40 {
		fillExec(&ev, i)
		if err := l.Append(&ev); err != nil {
			t.Fatal(err)
		}
		err := l.Checkpoint(ev.Time)
		if err != nil && !errors.Is(err, ErrNotYet) {
			t.Fatal(err)
		}
		_, size, _, _, showErr := g.Show()
		if (showErr != nil) != (err != nil) {
			t.Fatalf("after checkpoint %d, which was %v, showing is %v", i, err, showErr)
		}
		if showErr == nil && size != l.Size() {
			t.Fatalf("checkpoint %d: %d of %d events are shown", i, size, l.Size())
		}
		if err := g.Accept(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLinesThatAFailedWriteTookBackAreNotShown(t *testing.T) {
	g := NewGrowth()
	l, _ := newLog(t, Options{Keys: new(ring), Growth: g, NoSync: true})
	appendMany(t, l, 20, 10)
	appendMany(t, l, 5, 10) // in a frame that is not ended
	had := l.Size()
	if err := l.Failed(errors.New("input/output error")); !errors.Is(err, ErrFull) || l.Size() >= had {
		t.Fatalf("%v, and %d of %d events are left", err, l.Size(), had)
	}
	closeLog(t, l)
	shown(t, g, l)
}
