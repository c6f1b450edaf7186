package judge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Encode returns verdict.json: members in the order of the types, two spaces of
// indent, a newline at the end. The same verdict has the same bytes on every
// machine. Characters that a terminal obeys, or that turn the direction of
// text, are escaped; HTML is not.
func (v *Verdict) Encode() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		// Strings, integers and lists of them cannot fail.
		panic("judge: encoding a verdict: " + err.Error())
	}
	return harmless(b.Bytes())
}

// harmless escapes what encoding/json leaves: such characters stand in strings
// only, so the escape is always right.
func harmless(b []byte) []byte {
	out := b[:0:0]
	last := 0
	for i := 0; i < len(b); {
		if b[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if obeyed(r) {
			out = fmt.Appendf(append(out, b[last:i]...), `\u%04x`, r)
			last = i + n
		}
		i += n
	}
	if last == 0 {
		return b
	}
	return append(out, b[last:]...)
}

func obeyed(r rune) bool {
	switch {
	case r >= 0x7f && r <= 0x9f, r == 0x061c, r == 0x200e, r == 0x200f,
		r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}
