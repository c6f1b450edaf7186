package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// visible returns s with everything escaped that a terminal or an eye might
// take for something else: control characters (ESC, CR and BS among them),
// line ends, the marks that turn the direction of text, characters of no
// width, bytes that are no UTF-8, and stacks of combining marks, which spill
// over other lines. A backslash is doubled, so that no name can look like an
// escape of ours.
func visible(s string) string { return escape(s, false) }

// ascii is visible, with every character outside ASCII escaped too.
func ascii(s string) string { return escape(s, true) }

func escape(s string, onlyASCII bool) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	marks := maxMarks // a mark needs a letter to stand on
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < utf8.RuneSelf:
			b.WriteByte(byte(r))
		case onlyASCII, !unicode.IsPrint(r), invisible(r), marks > maxMarks:
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// maxMarks is how many combining marks one letter may carry. Two are enough
// for every living script.
const maxMarks = 2

// plain reports whether s is printable ASCII without a backslash.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

// invisible reports characters that unicode.IsPrint lets through and that
// show nothing: fillers and the tags and selectors that change what is beside.
func invisible(r rune) bool {
	switch {
	case r == 0x034f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x2800, r == 0x3164, r == 0xffa0:
		return true
	case r >= 0x180b && r <= 0x180f, r >= 0xfe00 && r <= 0xfe0f, r >= 0xe0000:
		return true
	}
	return unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// columns returns how many columns of a terminal s takes, after visible.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if r < utf8.RuneSelf {
		return 1
	}
	if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cutEnd shortens s to at most n columns and shows that something is missing
// at its end.
func cutEnd(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	if n <= len(dots) {
		return dots[:max(n, 0)]
	}
	room, end := n-len(dots), 0
	for i, r := range s {
		if room -= runeColumns(r); room < 0 {
			break
		}
		end = i + utf8.RuneLen(r)
	}
	return s[:end] + dots
}

// cutStart is cutEnd at the other side. Host names are cut so: who a name
// belongs to stands at its end.
func cutStart(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	if n <= len(dots) {
		return dots[:max(n, 0)]
	}
	room, start := n-len(dots), len(s)
	for start > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:start])
		if room -= runeColumns(r); room < 0 {
			break
		}
		start -= size
	}
	return dots + s[start:]
}

// cutMiddle keeps the begin and the end of a path.
func cutMiddle(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	if n < 12 {
		return cutStart(s, n)
	}
	head := strings.TrimSuffix(cutEnd(s, n/3), dots)
	return head + cutStart(s, n-columns(head))
}

const dots = "..."

// command shows an argument vector as a shell would take it, so that where an
// argument ends can be seen.
func command(argv []string, cut bool) string {
	var b strings.Builder
	for i, a := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch {
		case a == "":
			b.WriteString("''")
		case strings.ContainsAny(a, " \t\n'\"$`;|&<>()*?[]{}#~!"):
			b.WriteByte('\'')
			b.WriteString(strings.ReplaceAll(a, "'", `'\''`))
			b.WriteByte('\'')
		default:
			b.WriteString(a)
		}
	}
	if cut {
		b.WriteString(" " + dots)
	}
	return b.String()
}

// Visible returns s as the views show it: with everything escaped that a
// terminal, a log or an eye might take for something else.
func Visible(s string) string { return visible(s) }

// Cut shortens what [Visible] gave to at most n columns.
func Cut(s string, n int) string { return cutEnd(s, n) }
