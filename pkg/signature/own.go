package signature

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// maxOwn bounds rules of a caller's own, in bytes of text: the monitor compiles
// them as root, and the evidence holds them.
const maxOwn = 512 << 10

// Own are rules of a caller's own, as they were read.
type Own struct {
	Files []file `json:"files"`
	// Lenient is as in [Options].
	Lenient bool `json:"lenient,omitempty"`
}

// Add adds one file. name stands in errors.
func (o *Own) Add(name string, data []byte) {
	o.Files = append(o.Files, file{Name: name, Text: string(data)})
}

// AddAll adds the rule files of a folder, in the order of their paths; dir,
// what the caller called it, stands before them in errors.
func (o *Own) AddAll(dir string, fsys fs.FS) error {
	files, err := collect(fsys)
	for _, f := range files {
		o.Files = append(o.Files, file{Name: path.Join(dir, f.Name), Text: f.Text})
	}
	return err
}

// Load compiles the rules for themselves.
func (o *Own) Load(opts Options) (*Pack, error) {
	return read("files", "", o.Files, opts).withBrands()
}

// With returns the rules of p with those of the caller's own after them. A name
// or UUID that p has is an error. Their correlations may name rules of p, which
// tell of themselves all the same. Brands, suffixes and indicators are p's.
func (p *Pack) With(o *Own) (*Pack, error) {
	size := 0
	files := slices.Clone(p.files)
	for _, f := range o.Files {
		if slices.ContainsFunc(files[len(p.files):], func(have file) bool { return have.Name == f.Name }) {
			return nil, fmt.Errorf("%s:1: the file is given twice", f.Name)
		}
		if slices.ContainsFunc(p.files, func(have file) bool { return have.Name == f.Name }) {
			return nil, fmt.Errorf("%s:1: a file that ships with the program has this name, and errors could not tell them apart: rename it", f.Name)
		}
		size += len(f.Text)
		f.Own = true
		files = append(files, f)
	}
	if size > maxOwn {
		return nil, fmt.Errorf("rules of one's own have %d KiB, and may have %d: keep those that matter here", size>>10, maxOwn>>10)
	}
	q, err := read(p.name+" and own", p.version, files, Options{Lenient: o.Lenient, Placeholders: p.placeholders}).finish()
	if err != nil {
		return nil, err
	}
	q.brands, q.suffixes, q.indicators = p.brands, p.suffixes, p.indicators
	return q, nil
}
