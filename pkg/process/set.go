package process

import "math/bits"

// MaxTags is how many recordings one [Table] can tell apart.
const MaxTags = 64

// Set is a set of recordings, each a bit from 0 to MaxTags-1. The zero value
// is empty.
type Set uint64

// bitSet returns the set of one recording, empty for a bit out of range.
func bitSet(bit int) Set {
	if bit < 0 || bit >= MaxTags {
		return 0
	}
	return 1 << bit
}

// Has reports whether the recording is in s.
func (s Set) Has(bit int) bool { return s&bitSet(bit) != 0 }

// Len returns how many recordings are in s.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// first returns the lowest bit in s, MaxTags when s is empty.
func (s Set) first() int { return bits.TrailingZeros64(uint64(s)) }
