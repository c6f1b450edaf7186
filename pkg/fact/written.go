package fact

import (
	"math/bits"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// maxWritten bounds the files that are remembered as written: 4 MiB of hashes.
const maxWritten = 1 << 18

// written remembers which files were written in this recording, by inode and
// by path, so that running one of them can be told. Two files may share a
// hash; then an old file reads as new, never a new one as old.
type written struct {
	// set tells whether only package managers wrote the file.
	set  map[uint64]bool
	full bool
}

func (w *written) add(h uint64, managed bool) {
	before, ok := w.set[h]
	switch {
	case ok && (managed || !before):
		return
	case !ok && len(w.set) >= maxWritten:
		w.full = true
		return
	case w.set == nil:
		w.set = make(map[uint64]bool)
	}
	w.set[h] = managed
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

// mark remembers that n wrote the file.
func (w *written) mark(id event.FileID, path redact.Text, n *process.Node) {
	m := managed(n)
	if id != (event.FileID{}) {
		w.add(inodeHash(id), m)
	}
	if !path.IsZero() {
		w.add(pathHash(path.String()), m)
	}
}

// again is mark for a path that was looked up before, for the same lineage.
func (w *written) again(p *repeat, id event.FileID, n *process.Node) {
	if !p.marked {
		w.mark(id, p.name, n)
		p.marked, p.id = true, id
		return
	}
	if id != p.id && id != (event.FileID{}) {
		w.add(inodeHash(id), managed(n))
		p.id = id
	}
	if len(w.set) >= maxWritten {
		w.full = true // as if the path were added once more
	}
}

// managed reports whether a package manager itself is at work.
func managed(n *process.Node) bool { return n != nil && packageManagers[n.Program().String()] }

// packageManagers are the programs that write the programs of packages. A
// script of a package is a program of its own.
var packageManagers = map[string]bool{
	"npm": true, "npx": true, "yarn": true, "yarnpkg": true, "pnpm": true, "pnpx": true, "bun": true, "bunx": true,
	"pip": true, "pip2": true, "pip3": true, "uv": true, "uvx": true, "poetry": true, "pdm": true, "pipx": true, "pipenv": true,
	"conda": true, "mamba": true, "micromamba": true, "gem": true, "bundle": true, "bundler": true, "cargo": true, "rustup": true,
	"composer": true, "apt": true, "apt-get": true, "dpkg": true, "dpkg-deb": true, "rpm": true, "dnf": true, "yum": true,
	"apk": true, "pacman": true, "brew": true, "snap": true,
}

// origin tells whether a file that is executed was written in this recording,
// and by whom. When more files were written than are remembered, every program
// outside the system's folders is held to be one.
func (w *written) origin(id event.FileID, path string, place Place) process.Origin {
	known, managed := false, true
	if id != (event.FileID{}) {
		if m, ok := w.set[inodeHash(id)]; ok {
			known, managed = true, managed && m
		}
	}
	if path != "" {
		if m, ok := w.set[pathHash(path)]; ok {
			known, managed = true, managed && m
		}
	}
	switch {
	case known && managed:
		return process.Written | process.Managed
	case known, w.full && place != System:
		return process.Written
	}
	return 0
}

var placeOrigins = [...]process.Origin{
	Workspace: process.InWorkspace, Temp: process.InTemp, Cache: process.InCache, Home: process.InHome, System: process.InSystem,
}
