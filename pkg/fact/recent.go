package fact

import (
	"hash/maphash"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// recent remembers which fact a path came to, as the kernel told it, so that
// what a job does again and again is not parsed again. Where a path stands in
// it is chance; what it says is what [Folder.fileFact] would.
type recent struct {
	seed  maphash.Seed
	slots []repeat
}

// recentSlots is how many paths are remembered: a MiB without their texts.
const recentSlots = 1 << 14

// repeat is a path that came to a fact.
type repeat struct {
	lin    *lineage
	name   redact.Text
	fact   *Fact
	id     event.FileID
	wide   int32 // Folder.wide then
	verb   Verb
	folded bool    // into one that stands for its folder
	marked bool    // the path is among those that were written, as is id
	_      [8]byte // so that one is a line of the processor's cache
}

// at returns the place where the path is, if anywhere.
func (r *recent) at(v Verb, l *lineage, name redact.Text) *repeat {
	if r.slots == nil {
		r.seed, r.slots = maphash.MakeSeed(), make([]repeat, recentSlots)
	}
	h := maphash.String(r.seed, name.String()) + uint64(l.id)*fnvPrime + uint64(v)
	return &r.slots[h%recentSlots]
}

func (r *recent) forget() { clear(r.slots) }

// same returns the fact that the path comes to, or nil where it is not known:
// a fact that found no room, or gave it, is none, and one of a folder may have
// to be told by a folder above since. A path that has a fact to itself keeps
// it.
func (p *repeat) same(v Verb, l *lineage, name redact.Text, wide int32) *Fact {
	if p.lin != l || p.verb != v || p.name != name || p.fact.key == "" || p.folded && p.wide != wide {
		return nil
	}
	return p.fact
}
