package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Growth proves to somebody who keeps a log's last checkpoint that the tree
// only grew since, and keeps the checkpoints that they were not shown. It keeps
// a few dozen hashes, whatever the log's size. The zero value is not ready: use
// [NewGrowth].
//
// Who is away is shown the checkpoints in parts afterwards: all that came in
// some hours are more than one message may hold. What is below next is guarded
// by who lets one checkpoint be made at a time.
type Growth struct {
	next *compact.Range // lines after the last checkpoint that was begun
	good *compact.Range // next at the end of the last frame

	old   *compact.Range // what is known to be kept
	parts []part         // what comes after it; the first may have been shown
	open  part           // what comes after those
	cut   bool           // checkpoints were not kept: there was no more room
}

// part is what is shown at once.
type part struct {
	to    *compact.Range // its lines
	size  uint64         // of the tree, by the last of notes
	notes [][]byte
	bytes int // of notes
}

// Bounds of what is kept for who is away: some hours of checkpoints.
const (
	partBytes = 256 << 10 // of the notes of one part; a witness takes 512 KiB
	maxParts  = 64
)

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// NewGrowth begins with an empty log.
func NewGrowth() *Growth {
	return &Growth{
		next: ranges.NewEmptyRange(0), good: ranges.NewEmptyRange(0),
		old: ranges.NewEmptyRange(0), open: part{to: ranges.NewEmptyRange(0)},
	}
}

// append takes the hash of the next leaf.
func (g *Growth) append(leaf Hash) error { return g.next.Append(leaf[:], nil) }

// mark notes that what was appended is whole.
func (g *Growth) mark() (err error) {
	g.good, err = copyOf(g.next)
	return err
}

// back forgets what was appended since.
func (g *Growth) back() (err error) {
	g.next, err = copyOf(g.good)
	return err
}

func copyOf(r *compact.Range) (*compact.Range, error) {
	return ranges.NewRange(r.Begin(), r.End(), slices.Clone(r.Hashes()))
}

// begin says that a checkpoint of all that was appended was begun.
func (g *Growth) begin() error {
	if err := g.open.to.AppendRange(g.next, nil); err != nil {
		return err
	}
	g.next = ranges.NewEmptyRange(g.open.to.End())
	return g.mark()
}

// wrote says that the checkpoint that was begun is in the file.
func (g *Growth) wrote(note []byte) {
	if g.cut = g.cut || len(g.parts) == maxParts; g.cut {
		return
	}
	p := &g.open
	p.notes, p.size, p.bytes = append(p.notes, bytes.Clone(note)), p.to.End(), p.bytes+len(note)
	if p.bytes >= partBytes {
		g.endPart()
	}
}

func (g *Growth) endPart() {
	g.parts = append(g.parts, g.open)
	g.open = part{to: ranges.NewEmptyRange(g.open.to.End()), size: g.open.size}
}

// Show returns checkpoints that were not kept yet, and what proves that the tree
// of size leaves, which the last of them is of, grew out of the one of old
// leaves (RFC 6962 §2.1.2). Until Accept it gives the same again, however much
// came since: who does not know whether the other side has it must ask the same
// once more. It is asked where each checkpoint that was begun was written.
func (g *Growth) Show() (old, size uint64, path []Hash, notes [][]byte, err error) {
	if len(g.parts) == 0 {
		switch {
		case g.cut:
			return 0, 0, nil, nil, errors.New("more checkpoints came than are kept for who is away: those after them can be shown no more")
		case g.open.size != g.open.to.End():
			return 0, 0, nil, nil, errors.New("the last checkpoint was not written")
		}
		g.endPart()
	}
	p := &g.parts[0]
	path, err = g.prove(p.to)
	return g.old.End(), p.size, path, p.notes, err
}

// Accept says that what was shown is kept.
func (g *Growth) Accept() error {
	if len(g.parts) == 0 {
		return nil
	}
	if err := g.old.AppendRange(g.parts[0].to, nil); err != nil {
		return err
	}
	g.parts = slices.Delete(g.parts, 0, 1)
	return nil
}

func (g *Growth) prove(to *compact.Range) ([]Hash, error) {
	old, size := g.old.End(), to.End()
	if old == 0 || old == size {
		return nil, nil
	}
	nodes, err := proof.Consistency(old, size)
	if err != nil {
		return nil, err
	}
	have := map[compact.NodeID][]byte{}
	for _, r := range []*compact.Range{g.old, to} {
		for i, id := range compact.RangeNodes(r.Begin(), r.End(), nil) {
			have[id] = r.Hashes()[i]
		}
	}
	hashes := make([][]byte, len(nodes.IDs))
	for i, id := range nodes.IDs {
		if hashes[i] = have[id]; hashes[i] == nil {
			return nil, fmt.Errorf("proof from %d to %d: node %v is not kept", old, size, id)
		}
	}
	if hashes, err = nodes.Rehash(hashes, ranges.Hash); err != nil {
		return nil, err
	}
	path := make([]Hash, len(hashes))
	for i, h := range hashes {
		path[i] = Hash(h)
	}
	return path, nil
}
