package fact

import (
	"math/bits"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// maxWritten bounds the files that are remembered as written: 4 MiB of hashes.
const maxWritten = 1 << 18

// written remembers which files were written in this recording, by inode and
// by path, so that running one of them can be told. Two files may share a
// hash; then an old file reads as new, never a new one as old.
type written struct {
	set  map[uint64]struct{}
	full bool
}

func (w *written) add(h uint64) {
	if len(w.set) >= maxWritten {
		w.full = true
		return
	}
	if w.set == nil {
		w.set = make(map[uint64]struct{})
	}
	w.set[h] = struct{}{}
}

func (w *written) has(h uint64) bool {
	_, ok := w.set[h]
	return ok
}

func inodeHash(id event.FileID) uint64 {
	hi, lo := bits.Mul64(id.Dev^0x9e3779b97f4a7c15, id.Inode^0xd6e8feb86659fd93)
	return hi ^ lo ^ id.Inode
}

// FNV-1a, 64 bits (RFC 9923).
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashString(h uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}

func hashBytes(h uint64, s []byte) uint64 {
	for _, c := range s {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

func pathHash(p string) uint64 { return hashString(fnvOffset, p) }

// mark remembers that the file was written.
func (w *written) mark(id event.FileID, path redact.Text) {
	if id != (event.FileID{}) {
		w.add(inodeHash(id))
	}
	if !path.IsZero() {
		w.add(pathHash(path.String()))
	}
}

// again is mark for a path that was looked up before.
func (w *written) again(p *repeat, id event.FileID) {
	if !p.marked {
		w.mark(id, p.name)
		p.marked, p.id = true, id
		return
	}
	if id != p.id && id != (event.FileID{}) {
		w.add(inodeHash(id))
		p.id = id
	}
	if len(w.set) >= maxWritten {
		w.full = true // as if the path were added once more
	}
}

// fresh reports whether a file that is executed was written in this recording.
// When more files were written than are remembered, every program outside the
// system's folders is held to be one.
func (w *written) fresh(id event.FileID, path string, place Place) bool {
	if id != (event.FileID{}) && w.has(inodeHash(id)) || path != "" && w.has(pathHash(path)) {
		return true
	}
	return w.full && place != System
}
