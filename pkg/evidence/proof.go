package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/org/edamame-posture/pkg/event"
)

// Proof shows that a line stands at a place in a log whose tree has a root,
// without the rest of the log (RFC 6962 §2.1.1).
type Proof struct {
	Seq  uint64 `json:"seq"`
	Size uint64 `json:"size"` // of the tree
	Line string `json:"line"` // without its newline
	Path []Hash `json:"path"` // from the leaf up
}

// Prove makes the proof of one event in the tree of the whole log.
func (e *Evidence) Prove(seq uint64) (*Proof, error) {
	ps, err := e.Proofs([]uint64{seq})
	if err != nil {
		return nil, err
	}
	return ps[0], nil
}

// Proofs makes the proof of each of several events. It reads the log once and
// keeps a few hashes for each.
func (e *Evidence) Proofs(seqs []uint64) ([]*Proof, error) {
	size := e.manifest.Tree.Size
	want := make(map[compact.NodeID][]byte)
	of := make(map[uint64]*Proof, len(seqs))
	nodes := make([]proof.Nodes, len(seqs))
	out := make([]*Proof, len(seqs))
	for i, seq := range seqs {
		n, err := proof.Inclusion(seq, size)
		if err != nil {
			return nil, fmt.Errorf("prove event %d: the log has %d", seq, size)
		}
		for _, id := range n.IDs {
			want[id] = nil
		}
		nodes[i] = n
		if of[seq] == nil {
			of[seq] = &Proof{Seq: seq, Size: size, Path: []Hash{}}
		}
		out[i] = of[seq]
	}
	var t tree
	keep := func(level int, index uint64, h Hash) {
		k := compact.NodeID{Level: uint(level), Index: index}
		if _, ok := want[k]; ok {
			want[k] = bytes.Clone(h[:])
		}
	}
	var leaf []byte
	err := e.each(false, func(line []byte, _ *event.Event) error {
		if p := of[t.size]; p != nil {
			p.Line = string(line)
		}
		leaf = append(append(leaf[:0], leafPrefix), line...)
		t.grow(sha256.Sum256(leaf), keep)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, n := range nodes {
		if len(out[i].Path) > 0 {
			continue
		}
		hashes := make([][]byte, len(n.IDs))
		for k, id := range n.IDs {
			hashes[k] = want[id]
		}
		path, err := n.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
		if err != nil {
			return nil, fmt.Errorf("prove event %d: %w", seqs[i], err)
		}
		for _, h := range path {
			out[i].Path = append(out[i].Path, Hash(h))
		}
	}
	return out, nil
}

// Verify checks the proof against the root of a tree of Size events, which
// comes from a checkpoint or manifest that the caller trusts.
func (p *Proof) Verify(root Hash) error {
	if len(p.Path) > 64 {
		return errors.New("proof: the path is longer than any tree is high")
	}
	path := make([][]byte, len(p.Path))
	for i := range p.Path {
		path[i] = p.Path[i][:]
	}
	leaf := rfc6962.DefaultHasher.HashLeaf([]byte(p.Line))
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Seq, p.Size, leaf, path, root[:]); err != nil {
		return fmt.Errorf("proof: event %d is not in the tree of %d events with root %s: %w", p.Seq, p.Size, root, err)
	}
	return nil
}

// ProofText returns the proof of one event in the form of C2SP tlog-proof v1,
// with the line as its extra data and the log's last checkpoint.
func (e *Evidence) ProofText(seq uint64) ([]byte, error) {
	p, err := e.Prove(seq)
	if err != nil {
		return nil, err
	}
	var last Checkpoint
	if err := e.EachCheckpoint(func(c *Checkpoint) error { last = *c; return nil }); err != nil {
		return nil, err
	}
	if last.Size != p.Size {
		return nil, fmt.Errorf("prove event %d: the last checkpoint covers %d of %d events", seq, last.Size, p.Size)
	}
	text := tlogproof.TLogProof{ExtraData: []byte(p.Line), Index: p.Seq, Checkpoint: last.appendNote(nil)}
	for _, h := range p.Path {
		text.Hashes = append(text.Hashes, h)
	}
	return text.Marshal(), nil
}

// ParseProof reads what ProofText writes. It checks neither the proof nor the
// signatures of the checkpoint.
func ParseProof(text []byte) (*Proof, *Checkpoint, error) {
	var t tlogproof.TLogProof
	if err := t.Unmarshal(text); err != nil {
		return nil, nil, fmt.Errorf("it is no proof in the form of c2sp.org/tlog-proof: %w", err)
	}
	r := newNoteReader(bytes.NewReader(t.Checkpoint))
	note, err := r.read()
	if err != nil {
		return nil, nil, fmt.Errorf("its checkpoint: %w", err)
	}
	if _, err := r.read(); err != io.EOF {
		return nil, nil, errors.New("something follows its checkpoint")
	}
	// Whoever made it chose what stands in it, and it will be shown.
	var ev event.Event
	if err := event.Decode(t.ExtraData, &ev); err != nil {
		return nil, nil, fmt.Errorf("what it proves is no line of a log: %w", err)
	}
	if ev.Seq != t.Index {
		return nil, nil, fmt.Errorf("its line has seq %d, and it proves place %d", ev.Seq, t.Index)
	}
	// Between its words JSON may have tabs and carriage returns, which no log
	// of ours has and a terminal acts on.
	if i := bytes.IndexFunc(t.ExtraData, func(r rune) bool { return r < ' ' }); i >= 0 {
		return nil, nil, fmt.Errorf("its line has %q in it at byte %d, which no log has", t.ExtraData[i], i)
	}
	p := &Proof{Seq: t.Index, Size: note.Size, Line: string(t.ExtraData), Path: []Hash{}}
	for _, h := range t.Hashes {
		p.Path = append(p.Path, h)
	}
	return p, note, nil
}
