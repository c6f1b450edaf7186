package witness

import (
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/org/edamame-posture/pkg/evidence"
)

// Growth is what a monitor does by evidence.Growth, made anew for these tests. It follows a log from one cosigned checkpoint to the next and proves that
// the tree only grew. It keeps a few dozen hashes, whatever the log's size.
type Growth struct {
	old *compact.Range // what is cosigned
	new *compact.Range // what came after it
}

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// NewGrowth begins with an empty log.
func NewGrowth() *Growth { return &Growth{ranges.NewEmptyRange(0), ranges.NewEmptyRange(0)} }

// Append takes the next line of the log, without its newline.
func (g *Growth) Append(line []byte) error {
	return g.new.Append(rfc6962.DefaultHasher.HashLeaf(line), nil)
}

// Size returns how many lines there are.
func (g *Growth) Size() uint64 { return g.new.End() }

// Old returns how many of them are cosigned.
func (g *Growth) Old() uint64 { return g.old.End() }

// Proof proves that the tree of all lines grew out of that of the cosigned
// ones (RFC 6962 §2.1.2).
func (g *Growth) Proof() ([]evidence.Hash, error) {
	old, size := g.Old(), g.Size()
	if old == 0 || old == size {
		return nil, nil
	}
	nodes, err := proof.Consistency(old, size)
	if err != nil {
		return nil, err
	}
	have := map[compact.NodeID][]byte{}
	for _, r := range []*compact.Range{g.old, g.new} {
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
	path := make([]evidence.Hash, len(hashes))
	for i, h := range hashes {
		path[i] = evidence.Hash(h)
	}
	return path, nil
}

// Accept notes that a checkpoint over all lines was cosigned.
func (g *Growth) Accept() error {
	if err := g.old.AppendRange(g.new, nil); err != nil {
		return err
	}
	g.new = ranges.NewEmptyRange(g.old.End())
	return nil
}
