package redact

import "bytes"

// Classes of bytes.
const (
	classOther = iota
	classWord  // base62
	classJoin  // _ . - : part of tokens, not of words
	classEvent // = : @ % ~ : something may stand beside it

	classBad // not printable ASCII
)

var classOf = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c < ' ' || c >= 0x7f:
			t[c] = classBad
		case base62[c]:
			t[c] = classWord
		case c == '_' || c == '.' || c == '-':
			t[c] = classJoin
		case c == '=' || c == ':' || c == '@' || c == '%' || c == '~':
			t[c] = classEvent
		}
	}
	return
}()

// pairs says which two bytes a shape can begin with; pairsWithin, with which
// it can begin within a word.
var pairs, pairsWithin = func() (all, within [256][4]uint64) {
	for _, s := range shapes {
		c, d := s.prefix[0], s.prefix[1]
		all[c][d>>6] |= 1 << (d & 63)
		if s.within || !base62[c] {
			within[c][d>>6] |= 1 << (d & 63)
		}
	}
	return
}()

// clean reports that nothing in b can be a secret and that b prints as it is.
// It errs to the other side only. It reads b once and is what most texts cost.
func (r *Redactor) clean(b []byte, in where) bool {
	run, dead, hasURL := 0, 0, false
	prev := uint8(classOther)
	for i, c := range b {
		class := classOf[c]
		if class == classWord || class == classJoin && c != '.' {
			run++
		} else {
			if run >= minEncode && encoded(b[i-run:i]) {
				return false
			}
			run = 0
		}
		if i+1 < len(b) {
			table := &pairs
			if prev == classWord {
				table = &pairsWithin
			}
			if d := b[i+1]; table[c][d>>6]&(1<<(d&63)) != 0 {
				if _, _, _, ok := match(b, i, &dead); ok {
					return false
				}
			}
		}
		switch class {
		case classBad:
			return false
		case classEvent:
			switch c {
			case '=', ':':
				if c == ':' && i+2 < len(b) && b[i+1] == '/' && b[i+2] == '/' {
					hasURL = true
				} else if in != inPath || c == '=' {
					if key := keyBefore(b, i); len(key) >= 3 && (classify(key) != keyNone || isHeader(key)) {
						return false
					}
				}
			case '@':
				if hasURL {
					return false
				}
			case '%':
				if i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]) {
					return false
				}
			case '~':
				if i > 0 && b[i-1] == 'Q' {
					return false
				}
			}
		case classJoin:
			if c == '-' {
				if run == 5 && i+16 < len(b) && bytes.Contains(b[i:], privateKey) {
					return false
				}
			}
		}
		prev = class
	}
	if run >= minEncode && encoded(b[len(b)-run:]) {
		return false
	}
	if in == inScript && bytes.IndexByte(b, ' ') >= 0 {
		ok := true
		commandWords(b, func(int, int, Text) bool {
			ok = false
			return false
		})
		if !ok {
			return false
		}
	}
	return len(r.masked.forms) == 0 || !r.masked.any(b)
}

// keyBefore returns the name that stands before the separator at b[i], past
// blanks and a closing quote, and may be empty.
func keyBefore(b []byte, i int) []byte {
	for n := 0; i > 0 && n < 3 && b[i-1] == ' '; n++ {
		i--
	}
	if i > 0 && (b[i-1] == '"' || b[i-1] == '\'') {
		i--
	}
	if i > 0 && b[i-1] == '\\' {
		i--
	}
	if i > 0 && b[i-1] == ']' {
		i--
	}
	from := i
	for from > 0 && i-from < maxKey && (base62[b[from-1]] || b[from-1] == '_' || b[from-1] == '-' || b[from-1] == '.') {
		from--
	}
	return b[from:i]
}
