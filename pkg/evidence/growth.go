package evidence

import (
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Growth proves to somebody who keeps a log's last checkpoint that the tree
// only grew since. It keeps a few dozen hashes, whatever the log's size. The
// zero value is not ready: use [NewGrowth].
type Growth struct {
	old  *compact.Range // what is known to be kept
	sent *compact.Range // what was shown after it, and may be kept or not; nil for nothing
	path []Hash         // from old to sent
	next *compact.Range // what came after that
}

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// NewGrowth begins with an empty log.
func NewGrowth() *Growth { return &Growth{old: ranges.NewEmptyRange(0), next: ranges.NewEmptyRange(0)} }

// append takes the hash of the next leaf.
func (g *Growth) append(leaf Hash) error { return g.next.Append(leaf[:], nil) }

// Show returns what proves that the tree of size leaves grew out of the one of
// old leaves (RFC 6962 §2.1.2). Until Accept it gives the same again, however
// much came since: who does not know whether the other side has it must ask the
// same once more.
func (g *Growth) Show() (old, size uint64, path []Hash, err error) {
	if g.sent == nil {
		if path, err = g.prove(g.next); err != nil {
			return 0, 0, nil, err
		}
		g.sent, g.path, g.next = g.next, path, ranges.NewEmptyRange(g.next.End())
	}
	return g.old.End(), g.sent.End(), g.path, nil
}

// Accept says that what was shown is kept.
func (g *Growth) Accept() error {
	if g.sent == nil {
		return nil
	}
	if err := g.old.AppendRange(g.sent, nil); err != nil {
		return err
	}
	g.sent = nil
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
