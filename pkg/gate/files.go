package gate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/org/edamame-posture/pkg/evidence"
)

// Names in a folder of results.
const (
	attestationName = "attestation.json"
	evidenceName    = "evidence"
	endTokenName    = "attestation.jwt" // whose audience is the statement's
)

// Bounds of what is read of a source.
const (
	maxStatement  = 4 << 20 // bytes
	maxCandidates = 256
	maxEntries    = 100_000
)

// ReadPath reads a bundle, a folder of results, or a folder of many: below it
// every folder that holds attestation.json or evidence is one. Links are not
// followed.
func ReadPath(name string) ([]Candidate, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		data, err := evidence.ReadResult(name, maxStatement)
		if err != nil {
			return nil, err
		}
		return []Candidate{{Where: name, Bundle: data, Named: true}}, nil
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a file or folder, or is a link: name what it points to", name)
	}
	var list []Candidate
	entries := 0
	err = filepath.WalkDir(name, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entries++; entries > maxEntries {
			return fmt.Errorf("%s: more than %d files below it: point the gate at the results alone", name, maxEntries)
		}
		if !e.IsDir() {
			return nil
		}
		if at != name && e.Name() == evidenceName {
			return fs.SkipDir // that of the folder above, which is one of results
		}
		c, err := folder(at)
		if err != nil || c == nil {
			return err
		}
		if list = append(list, *c); len(list) > maxCandidates {
			return fmt.Errorf("%s: more than %d statements below it", name, maxCandidates)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 1 && list[0].Where == name {
		list[0].Named = true
	}
	return list, nil
}

// folder reads one folder of results; nil where it is none.
func folder(dir string) (*Candidate, error) {
	c := &Candidate{Where: dir}
	if info, err := os.Lstat(filepath.Join(dir, evidenceName)); err == nil && info.IsDir() {
		c.Dir = dir
	}
	at := filepath.Join(dir, attestationName)
	info, err := os.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if c.Dir == "" {
			return nil, nil
		}
		return c, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", at)
	}
	if c.Bundle, err = evidence.ReadResult(at, maxStatement); err != nil {
		return nil, err
	}
	return c, nil
}

// AddEvidence gives statements that came without their evidence that of the
// folders, which each must hold a manifest that a statement is about. Folders
// that nothing is about are left out.
func (in *Input) AddEvidence(list []Candidate) {
	var others []Candidate
	for i := range in.found {
		c := &in.found[i]
		if c.Dir != "" || c.Bundle == nil {
			continue
		}
		sums := manifests(c.Bundle)
		for _, l := range list {
			if l.Dir == "" {
				continue
			}
			manifest, err := evidence.ReadResult(filepath.Join(l.Dir, evidenceName, "manifest.json"), maxManifest)
			if err != nil || !sums[digest(manifest)] {
				continue
			}
			c.Dir = l.Dir
			// Another statement about this evidence lies there: both cannot be true.
			if l.Bundle != nil && !bytes.Equal(payload(l.Bundle), payload(c.Bundle)) {
				others = append(others, l)
			}
		}
	}
	in.found = append(in.found, others...)
}
