package signature

import (
	"strings"
	"unicode/utf8"
)

// piece of a pattern: a literal, one or any number of characters, or a dash.
type piece struct {
	text string
	wild byte // 0, '?', '*' or '-'
}

// dashes are what an option may begin with on Windows (Sigma appendix
// "modifiers", windash).
var dashes = [...]string{"-", "/", "–", "—", "―"}

// dashAt returns the length of the dash that s begins with, or 0.
func dashAt(s string) int {
	for _, d := range dashes {
		if strings.HasPrefix(s, d) {
			return len(d)
		}
	}
	return 0
}

// pieces reads the wildcards of a Sigma value: * and ?, where a backslash
// before them or before a backslash makes them plain.
func pieces(s string) []piece {
	var list []piece
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			list = append(list, piece{text: b.String()})
			b.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (s[i+1] == '*' || s[i+1] == '?' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		case c == '*' || c == '?':
			flush()
			if c == '*' && len(list) > 0 && list[len(list)-1].wild == '*' {
				continue
			}
			list = append(list, piece{wild: c})
		default:
			b.WriteByte(c)
		}
	}
	flush()
	return list
}

// plainText returns the text of a value that has no wildcards.
func plainText(value string) (string, bool) {
	switch list := pieces(value); {
	case len(list) == 0:
		return "", true
	case len(list) == 1 && list[0].wild == 0:
		return list[0].text, true
	}
	return "", false
}

// withDashes replaces each dash before an option by one that matches any.
func withDashes(list []piece) []piece {
	var out []piece
	before := byte(' ')
	for _, p := range list {
		if p.wild != 0 {
			out, before = append(out, p), ' '
			continue
		}
		from := 0
		for i := 0; i < len(p.text); {
			n := dashAt(p.text[i:])
			if n == 0 || wordByte(before) || i+n >= len(p.text) || !wordByte(p.text[i+n]) || p.text[i+n] == '-' {
				before = p.text[i]
				i++
				continue
			}
			if i > from {
				out = append(out, piece{text: p.text[from:i]})
			}
			out = append(out, piece{wild: '-'})
			i += n
			from, before = i, '-'
		}
		if from < len(p.text) {
			out = append(out, piece{text: p.text[from:]})
		}
	}
	return out
}

// open puts a star where a modifier says that more may stand.
func open(list []piece, front, back bool) []piece {
	star := piece{wild: '*'}
	if front && (len(list) == 0 || list[0] != star) {
		list = append([]piece{star}, list...)
	}
	if back && list[len(list)-1] != star {
		list = append(list, star)
	}
	return list
}

// textTest returns the cheapest test for a pattern.
func textTest(list []piece) func(string) bool {
	lit := func(i int) (string, bool) { return list[i].text, list[i].wild == 0 }
	switch len(list) {
	case 0:
		return func(s string) bool { return s == "" }
	case 1:
		if t, ok := lit(0); ok {
			return func(s string) bool { return s == t }
		}
		if list[0].wild == '*' {
			return func(string) bool { return true }
		}
	case 2:
		if t, ok := lit(0); ok && list[1].wild == '*' {
			return func(s string) bool { return strings.HasPrefix(s, t) }
		}
		if t, ok := lit(1); ok && list[0].wild == '*' {
			return func(s string) bool { return strings.HasSuffix(s, t) }
		}
	case 3:
		if t, ok := lit(1); ok && list[0].wild == '*' && list[2].wild == '*' {
			return func(s string) bool { return strings.Contains(s, t) }
		}
	}
	return func(s string) bool { return matchPieces(list, s) }
}

// matchPieces matches a whole text, going back to the last star only.
func matchPieces(list []piece, s string) bool {
	p, at, star, mark := 0, 0, -1, 0
	for {
		n := -1 // bytes that the piece takes
		switch {
		case p == len(list):
			if at == len(s) {
				return true
			}
		case list[p].wild == '*':
			star, mark = p, at
			p++
			continue
		case list[p].wild == '?':
			if at < len(s) {
				_, n = utf8.DecodeRuneInString(s[at:])
			}
		case list[p].wild == '-':
			if d := dashAt(s[at:]); d > 0 {
				n = d
			}
		case strings.HasPrefix(s[at:], list[p].text):
			n = len(list[p].text)
		}
		if n >= 0 {
			at += n
			p++
			continue
		}
		if star < 0 || mark >= len(s) {
			return false
		}
		mark++
		p, at = star+1, mark
	}
}
