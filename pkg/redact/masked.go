package redact

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

const (
	minMasked  = 4 // shorter values would hit everywhere
	minEncoded = 6 // and so would shorter pieces of encoded ones
	maxMasked  = 1024
)

// masked holds what the runner masks, in the forms in which it may appear.
type masked struct {
	forms []form
	// first finds the forms by their first four bytes, filter says quickly that
	// there are none.
	first  map[uint32][]int32
	filter [1 << 8]uint64
}

// form is one way in which a masked value may appear.
type form struct {
	text   string
	value  string
	layers int
	around *charset // for an encoding: the characters that belong to the same run
}

func newMasked(values []string) masked {
	var m masked
	seen := make(map[string]bool)
	add := func(text, value string, layers int, around *charset, least int) {
		if len(text) < least || seen[text] {
			return
		}
		seen[text] = true
		m.forms = append(m.forms, form{text, value, layers, around})
	}
	n := 0
	for _, v := range values {
		// A value of several lines is masked line by line, as the runner does.
		parts := []string{v}
		if strings.ContainsAny(v, "\r\n") {
			parts = append(parts, strings.FieldsFunc(v, func(r rune) bool { return r == '\r' || r == '\n' })...)
		}
		for _, p := range parts {
			if n >= maxMasked {
				break
			}
			p = strings.TrimSpace(p)
			if len(p) < minMasked || p == "-----" {
				continue
			}
			n++
			add(p, p, 0, nil, minMasked)
			add(strings.ToLower(p), p, 0, nil, 2*minMasked) // in a host name
			q, _ := json.Marshal(p)
			add(strings.Trim(string(q), `"`), p, 0, nil, minMasked)
			for _, e := range []string{url.QueryEscape(p), url.PathEscape(p)} {
				add(e, p, 1, nil, minMasked)
				add(lowerEscapes(e), p, 1, nil, minMasked)
			}
			add(hex.EncodeToString([]byte(p)), p, 1, hexRun, minEncoded)
			add(strings.ToUpper(hex.EncodeToString([]byte(p))), p, 1, hexRun, minEncoded)
			add(reversed(p), p, 1, nil, minEncoded)
			b32 := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(p))
			if len(p) >= 8 {
				b32 = b32[:len(p)*8/5]
				add(b32, p, 1, base62, minEncoded)
				add(strings.ToLower(b32), p, 1, base62, minEncoded)
			}
			for _, one := range InBase64(p) {
				add(one, p, 1, base64Run, minEncoded)
				for _, two := range InBase64(one) {
					add(two, p, 2, base64Run, minEncoded)
				}
			}
		}
	}
	// Longest first, so that the value itself wins over a line of it.
	slices.SortStableFunc(m.forms, func(a, b form) int { return len(b.text) - len(a.text) })
	m.first = make(map[uint32][]int32, len(m.forms))
	for i, f := range m.forms {
		k := gram(f.text)
		m.first[k] = append(m.first[k], int32(i))
		h := gramHash(k)
		m.filter[h>>6] |= 1 << (h & 63)
	}
	return m
}

var (
	hexRun    = chars("0-9A-Fa-f")
	base64Run = chars("0-9A-Za-z+/=_-")
)

type bytesOrString interface{ ~string | ~[]byte }

func gram[T bytesOrString](s T) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func gramHash(g uint32) uint32 { return g * 0x9e3779b1 >> 18 }

// at looks for a masked value at b[i].
func (m *masked) at(b []byte, i int) *form {
	if len(b)-i < minMasked {
		return nil
	}
	g := gram(b[i : i+4])
	if h := gramHash(g); m.filter[h>>6]&(1<<(h&63)) == 0 {
		return nil
	}
	for _, k := range m.first[g] {
		if f := &m.forms[k]; len(b)-i >= len(f.text) && string(b[i:i+len(f.text)]) == f.text {
			return f
		}
	}
	return nil
}

// any reports whether b holds a masked value. The four bytes roll on, so that
// a byte costs one look into the filter.
func (m *masked) any(b []byte) bool {
	if len(b) < minMasked {
		return false
	}
	g := gram(b) << 8
	for i := minMasked - 1; i < len(b); i++ {
		g = g>>8 | uint32(b[i])<<24
		if h := gramHash(g); m.filter[h>>6&255]&(1<<(h&63)) != 0 && m.at(b, i-minMasked+1) != nil {
			return true
		}
	}
	return false
}

// InBase64 returns the characters that stand for all of s wherever it begins
// within an encoded text: one form for each of the three alignments, without
// the characters at the ends that its neighbours decide too, in both alphabets.
func InBase64(s string) []string {
	var out []string
	for shift := range 3 {
		e := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), s...))
		from := (shift*8 + 5) / 6
		to := (shift + len(s)) * 8 / 6
		if from >= to {
			continue
		}
		e = e[from:to]
		out = append(out, e)
		if u := strings.NewReplacer("+", "-", "/", "_").Replace(e); u != e {
			out = append(out, u)
		}
	}
	return out
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// lowerEscapes writes %2F as %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}
