package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Manifest is manifest.json: it closes a log and names all of it.
type Manifest struct {
	Version int    `json:"version"`
	Run     string `json:"run"`
	Judge   string `json:"judge"` // version of the judge that gave the verdict
	Tree    Tree   `json:"tree"`
	Lost    uint64 `json:"lost"` // events known to be missing
	Files   []File `json:"files"`
}

// Tree is a tree of a size.
type Tree struct {
	Size uint64 `json:"size"`
	Root Hash   `json:"root"` // base64 in JSON
}

// File is one file of the folder.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hex, lower case
}

// MarshalText encodes the hash in base64, as in a checkpoint.
func (h Hash) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, h[:]), nil
}

// UnmarshalText decodes what MarshalText gives.
func (h *Hash) UnmarshalText(b []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(b))
	if err != nil || len(raw) != len(h) || len(b) != base64.StdEncoding.EncodedLen(len(raw)) {
		return fmt.Errorf("hash %.80q: want 32 bytes in base64", b)
	}
	copy(h[:], raw)
	return nil
}

// String returns the hash in base64.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// File returns the file of that name, or nil.
func (m *Manifest) File(name string) *File {
	for i := range m.Files {
		if m.Files[i].Name == name {
			return &m.Files[i]
		}
	}
	return nil
}

// parseManifest reads and checks manifest.json.
func parseManifest(b []byte) (*Manifest, error) {
	if err := oneMeaning(b); err != nil {
		return nil, err
	}
	// The version first: the rest may mean other things in another one.
	var v struct{ Version int }
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	if v.Version != Version {
		return nil, fmt.Errorf("format version %d: this program reads version %d", v.Version, Version)
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, err
	}
	if err := CheckRun(m.Run); err != nil {
		return nil, err
	}
	return m, m.checkFiles()
}

func (m *Manifest) checkFiles() error {
	if len(m.Files) > maxFiles {
		return fmt.Errorf("%d files: the format allows %d", len(m.Files), maxFiles)
	}
	var total int64
	segments, checkpoints := 0, false
	for i, f := range m.Files {
		sum, err := hex.DecodeString(f.SHA256)
		switch {
		case !fileName(f.Name):
			return fmt.Errorf("file name %.160q is not one of the format", f.Name)
		case i > 0 && f.Name <= m.Files[i-1].Name:
			return fmt.Errorf("file %q stands twice or is not in its order", f.Name)
		case err != nil || len(sum) != len(Hash{}) || strings.ToLower(f.SHA256) != f.SHA256:
			return fmt.Errorf("file %q: sha256 %.80q: want 64 hexadecimal digits in lower case", f.Name, f.SHA256)
		case f.Size < 0 || f.Size > maxBytes-total:
			return fmt.Errorf("file %q of %d bytes: all files together may have %d", f.Name, f.Size, int64(maxBytes))
		}
		total += f.Size
		if isSegment(f.Name) {
			if f.Name != segmentName(segments) {
				return fmt.Errorf("%s is missing before %s", segmentName(segments), f.Name)
			}
			segments++
		}
		checkpoints = checkpoints || f.Name == checkpointsName
	}
	if segments == 0 || !checkpoints {
		return errors.New("the manifest names no segment, or no checkpoints")
	}
	return nil
}

// oneMeaning refuses an object in which a name stands twice, also in other
// letter case: readers differ in which of the two they take, and
// encoding/json takes any case.
func oneMeaning(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil for an array
		value bool            // the next token is a value, not a name
	}
	var open []level
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		top := len(open) - 1
		if delim, ok := t.(json.Delim); ok {
			switch delim {
			case '{', '[':
				l := level{}
				if delim == '{' {
					l.names = make(map[string]bool)
				}
				if open = append(open, l); len(open) > 16 {
					return errors.New("nested too deep")
				}
				continue
			}
			open = open[:top]
			if top--; top >= 0 {
				open[top].value = false
			}
			continue
		}
		if top < 0 || open[top].names == nil {
			continue
		}
		if l := &open[top]; l.value {
			l.value = false
		} else {
			name := strings.ToLower(strings.ToUpper(t.(string))) // both, for letters with three cases
			if l.names[name] {
				return fmt.Errorf("member %.80q stands twice", name)
			}
			l.names[name], l.value = true, true
		}
	}
}
