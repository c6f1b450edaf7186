package redact

import "bytes"

// where is the kind of text that is looked at.
type where uint8

const (
	inScript where = iota // prose, a shell script, JSON: anything
	inWhole               // one argument, whose value after = runs to its end
	inPath
	inURL
)

const (
	maxLayers = 3
	minEncode = 24        // bytes of an encoded run that is worth decoding
	maxDecode = 256 << 10 // bytes of one run that are decoded; the budget bounds them too
	maxFound  = 64        // secrets told of one text; more are replaced and not told
)

// hit is one secret in the text.
type hit struct {
	from, to int
	rank     int // lower wins where hits overlap
	pattern  Text
	length   int
	layers   int
	secret   []byte // decoded; borrowed until the text is written
	hash     Text   // in place of secret where that is gone
}

// scanner is the memory of one look at a text.
type scanner struct {
	r    *Redactor
	hits []hit
	out  []byte
	dec  []byte
	flat []byte
	ends [2]span // of values outside and inside of a URL's query
	// budget is how many decoded bytes may still be looked at. It is shared by
	// all layers, so that encodings within encodings cost no more than others.
	budget *int
	inner  *scanner // for decoded text
}

// detect collects the secrets of b in s.hits.
func (s *scanner) detect(b []byte, in where, depth int) {
	r := s.r
	b = s.flatten(b)
	if len(r.masked.forms) > 0 {
		s.findMasked(b)
	}
	s.findPrivateKeys(b)
	dead := 0
	for i := 0; i+1 < len(b); i++ {
		d := b[i+1]
		if pairs[b[i]][d>>6]&(1<<(d&63)) == 0 {
			continue
		}
		if from, to, pattern, ok := match(b, i, &dead); ok {
			s.add(b, from, to, 1, pattern)
			i = to - 1
		}
	}
	s.findURLs(b)
	s.findNamed(b, in)
	if in == inScript {
		s.findOptions(b)
	}
	if depth < maxLayers {
		s.findEncoded(b, depth)
		s.findEscaped(b, in, depth)
	}
}

// flatten puts the control characters back whose pictures stand in b, padded
// to keep every offset, so that a text that was redacted before reads the same.
func (s *scanner) flatten(b []byte) []byte {
	if !bytes.Contains(b, pictures) {
		return b
	}
	s.flat = append(s.flat[:0], b...)
	for i := 0; i+2 < len(b); i++ {
		if c := b[i+2]; b[i] == pictures[0] && b[i+1] == pictures[1] && c >= 0x80 && c <= 0xa1 {
			s.flat[i], s.flat[i+1], s.flat[i+2] = c&0x3f, ' ', ' '
			if c >= 0xa0 {
				s.flat[i] = ' '
			}
		}
	}
	return s.flat
}

// pictures is what the UTF-8 of U+2400 to U+243F begins with.
var pictures = []byte("\u2400")[:2]

// add notes b[from:to] as a secret.
func (s *scanner) add(b []byte, from, to, rank int, pattern Text) {
	if from >= to {
		return
	}
	s.hits = append(s.hits, hit{from: from, to: to, rank: rank, pattern: pattern, length: to - from, secret: b[from:to]})
}

func (s *scanner) findMasked(b []byte) {
	m := &s.r.masked
	for i := 0; i+minMasked <= len(b); i++ {
		f := m.at(b, i)
		if f == nil {
			continue
		}
		from, to := i, i+len(f.text)
		if f.around != nil {
			for from > 0 && f.around[b[from-1]] {
				from--
			}
			for to < len(b) && f.around[b[to]] {
				to++
			}
		}
		s.hits = append(s.hits, hit{from: from, to: to, rank: 0, pattern: patMasked, length: len(f.value), layers: f.layers, secret: []byte(f.value)})
		i = to - 1
	}
}

func (h *hit) digest(r *Redactor) Text {
	if !h.hash.IsZero() {
		return h.hash
	}
	return r.Hash(h.secret)
}
