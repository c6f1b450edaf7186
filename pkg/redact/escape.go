package redact

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// appendVisible appends b to out with everything that does not print made
// visible, as the comment of [Redactor] defines.
func appendVisible(out, b []byte) []byte {
	for i := 0; i < len(b); {
		c := b[i]
		if c >= ' ' && c < 0x7f {
			j := i + 1
			for j < len(b) && b[j] >= ' ' && b[j] < 0x7f {
				j++
			}
			out = append(out, b[i:j]...)
			i = j
			continue
		}
		if c < utf8.RuneSelf {
			out = appendControl(out, c)
			i++
			continue
		}
		c2, n := utf8.DecodeRune(b[i:])
		switch {
		case c2 == utf8.RuneError && n <= 1:
			out = append(out, "⟨"...)
			out = append(out, hexDigits[c>>4], hexDigits[c&15])
			out = append(out, "⟩"...)
			n = 1
		case !unicode.IsPrint(c2):
			out = append(out, "⟨U+"...)
			if c2 < 0x1000 {
				out = append(out, "000"[:4-hexLen(c2)]...)
			}
			out = appendUpperHex(out, c2)
			out = append(out, "⟩"...)
		default:
			out = append(out, b[i:i+n]...)
		}
		i += n
	}
	return out
}

const hexDigits = "0123456789abcdef"

// appendControl appends the picture of an ASCII control character: U+2400 and
// after for C0, U+2421 for DEL.
func appendControl(out []byte, c byte) []byte {
	r := rune(0x2400) + rune(c)
	if c == 0x7f {
		r = 0x2421
	}
	return utf8.AppendRune(out, r)
}

func hexLen(r rune) int {
	n := 1
	for r >>= 4; r > 0; r >>= 4 {
		n++
	}
	return n
}

func appendUpperHex(out []byte, r rune) []byte {
	from := len(out)
	out = strconv.AppendInt(out, int64(r), 16)
	for i := from; i < len(out); i++ {
		if out[i] >= 'a' {
			out[i] -= 'a' - 'A'
		}
	}
	return out
}
