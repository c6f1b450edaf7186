package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/org/edamame-posture/pkg/indicator"
)

// packVersion is the version of the format of [Pack.Canonical].
const packVersion = 1

// maxPack bounds a pack in bytes.
const maxPack = 64 << 20

type canonical struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	Pack    string `json:"pack_version,omitempty"`
	// Lenient and Placeholders are as in [Options].
	Lenient      bool                `json:"lenient,omitempty"`
	Placeholders map[string][]string `json:"placeholders,omitempty"`
	Files        []file              `json:"files"`
	// Brands is the text of the list that LookalikeOf asks.
	Brands string `json:"brands,omitempty"`
	// Suffixes is the text of the list that says what of a name was registered.
	Suffixes string `json:"suffixes,omitempty"`
	// Indicators are as [indicator.Set.Canonical] has them.
	Indicators json.RawMessage `json:"indicators,omitempty"`
}

// Indicators returns what known attacks left; nil where the pack has none.
func (p *Pack) Indicators() *indicator.Set { return p.indicators }

// WithIndicators returns the pack with those of a list of one's own added.
func (p *Pack) WithIndicators(s *indicator.Set) (*Pack, error) {
	q := *p
	q.indicators = indicator.New()
	for _, set := range []*indicator.Set{p.indicators, s} {
		if set == nil {
			continue
		}
		if err := q.indicators.Merge(set); err != nil {
			return nil, err
		}
	}
	return &q, nil
}

// Canonical returns the pack as JSON, with a final newline: the text of every
// rule file, in the order of their paths. Rules are compiled again when it is
// read, so what a person can review is what is matched.
func (p *Pack) Canonical() []byte {
	c := canonical{Version: packVersion, Name: p.name, Pack: p.version, Lenient: p.lenient, Placeholders: p.placeholders, Files: p.files}
	if c.Files == nil {
		c.Files = []file{}
	}
	if p.brands != nil {
		c.Brands = p.brands.text
	}
	if p.suffixes != nil {
		c.Suffixes = p.suffixes.text
	}
	if p.indicators != nil && p.indicators.Len() > 0 {
		c.Indicators = p.indicators.Canonical()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(c); err != nil {
		panic(err) // cannot be: strings and numbers
	}
	return b.Bytes()
}

// ReadPack reads what [Pack.Canonical] wrote.
func ReadPack(data []byte) (*Pack, error) {
	if len(data) > maxPack {
		return nil, fmt.Errorf("read signature pack: %d bytes are more than one can have", len(data))
	}
	if p := takePrepared(data); p != nil {
		return p, nil
	}
	var c canonical
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("read signature pack: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read signature pack: something follows the object")
	}
	if c.Version != packVersion {
		return nil, fmt.Errorf("read signature pack: it has version %d; this program reads %d", c.Version, packVersion)
	}
	if len(c.Files) > maxFiles {
		return nil, fmt.Errorf("read signature pack: more than %d files", maxFiles)
	}
	p, err := read(c.Name, c.Pack, c.Files, Options{Lenient: c.Lenient, Placeholders: c.Placeholders}).finish()
	if err != nil {
		return nil, fmt.Errorf("read signature pack: %w", err)
	}
	if c.Brands != "" {
		if p.brands, err = readBrands("brands.yml", c.Brands); err != nil {
			return nil, fmt.Errorf("read signature pack: %w", err)
		}
	}
	if c.Suffixes != "" {
		if p.suffixes, err = readSuffixes("suffixes.txt", c.Suffixes); err != nil {
			return nil, fmt.Errorf("read signature pack: %w", err)
		}
	}
	if len(c.Indicators) > 0 {
		if p.indicators, err = indicator.Read(c.Indicators); err != nil {
			return nil, fmt.Errorf("read signature pack: %w", err)
		}
	}
	return p, nil
}
