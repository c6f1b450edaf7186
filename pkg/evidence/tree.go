package evidence

import (
	"crypto/sha256"
	"math/bits"
)

// Hash is a SHA-256 hash: of a leaf, a node or a whole tree.
type Hash [sha256.Size]byte

// tree is a compact range of RFC 6962: of all that was appended it keeps the
// roots of the perfect subtrees, one for each bit of size. The zero value is
// the empty tree, and assignment copies it. The library of transparency-dev
// allocates for every hash, so the writer has its own; tests compare the two.
type tree struct {
	size  uint64
	roots [64]Hash // roots[i] is valid where bit i of size is set
}

// leafPrefix precedes a line when its leaf is hashed (RFC 6962 §2.1).
const leafPrefix = 0

func (t *tree) append(h Hash) { t.grow(h, nil) }

// grow is append; made is told of each node that becomes whole.
func (t *tree) grow(h Hash, made func(level int, index uint64, h Hash)) {
	level := bits.TrailingZeros64(^t.size)
	for i := range level {
		if made != nil {
			made(i, t.size>>i, h)
		}
		h = nodeHash(&t.roots[i], &h)
	}
	if made != nil {
		made(level, t.size>>level, h)
	}
	t.roots[level] = h
	t.size++
}

func (t *tree) root() Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	low := bits.TrailingZeros64(t.size)
	h := t.roots[low]
	for i := low + 1; i < bits.Len64(t.size); i++ {
		if t.size&(1<<i) != 0 {
			h = nodeHash(&t.roots[i], &h)
		}
	}
	return h
}

func nodeHash(left, right *Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}
