package redact

import (
	"net/netip"
	"strconv"
	"strings"
)

// The operations below make redacted text out of redacted text, numbers and
// addresses only, so none of them can let a secret in.

// Uint returns n in decimal.
func Uint(n uint64) Text { return Text{strconv.FormatUint(n, 10)} }

// Int returns n in decimal.
func Int(n int64) Text { return Text{strconv.FormatInt(n, 10)} }

// Addr returns the textual form of a, as [netip.Addr.String] gives it but
// without the zone, whose name a job may choose. It is empty for the zero Addr.
func Addr(a netip.Addr) Text {
	if !a.IsValid() {
		return Text{}
	}
	return Text{a.WithZone("").String()}
}

// AddrPort returns host:port, with an IPv6 address in brackets. It is empty
// for the zero AddrPort.
func AddrPort(a netip.AddrPort) Text {
	if !a.IsValid() {
		return Text{}
	}
	return Text{netip.AddrPortFrom(a.Addr().WithZone(""), a.Port()).String()}
}

// maxHexID is the length of the longest id we meet, a SHA-256 in hex.
const maxHexID = 64

// HexID returns s where it is an id in hex: a container id, a boot id with its
// dashes. It refuses everything else. An id comes from the kernel or a runtime;
// never pass a string that the job chose, which may be a key in hex.
func HexID(s string) (Text, bool) {
	if len(s) == 0 || len(s) > maxHexID {
		return Text{}, false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return Text{}, false
		}
	}
	return Text{strings.Clone(s)}, true
}

// BuildID is HexID for an id of BuildKit's: 25 digits of base 36.
func BuildID(s string) (Text, bool) {
	if len(s) != 25 {
		return Text{}, false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return Text{}, false
		}
	}
	return Text{strings.Clone(s)}, true
}

// Concat returns the texts one after another.
func Concat(texts ...Text) Text { return Join(Text{}, texts...) }

// Join returns the texts with sep between each two.
func Join(sep Text, texts ...Text) Text {
	switch len(texts) {
	case 0:
		return Text{}
	case 1:
		return texts[0]
	}
	n := len(sep.s) * (len(texts) - 1)
	for _, t := range texts {
		n += len(t.s)
	}
	var b strings.Builder
	b.Grow(n)
	for i, t := range texts {
		if i > 0 {
			b.WriteString(sep.s)
		}
		b.WriteString(t.s)
	}
	return Text{b.String()}
}

// Pick returns the text of table that equals s, so that a word of the job can
// be taken over only where our own source holds the same word.
func Pick(table []Text, s string) (Text, bool) {
	for _, t := range table {
		if t.s == s {
			return t, true
		}
	}
	return Text{}, false
}

// Base returns what follows the last slash, as path.Base does but for a final
// slash, after which it is empty.
func (t Text) Base() Text { return Text{t.s[strings.LastIndexByte(t.s, '/')+1:]} }

// Dir returns what precedes the last slash: "/" for a file in the root folder,
// empty where there is no slash.
func (t Text) Dir() Text {
	i := strings.LastIndexByte(t.s, '/')
	switch {
	case i < 0:
		return Text{}
	case i == 0:
		return Text{t.s[:1]}
	}
	return Text{t.s[:i]}
}

// Lower returns t with ASCII and other letters in lower case.
func (t Text) Lower() Text { return Text{strings.ToLower(t.s)} }

// Slice returns t[from:to]; bounds outside the text are moved to its ends, and
// a cut within a UTF-8 sequence is moved back to its beginning.
func (t Text) Slice(from, to int) Text {
	to = boundary(t.s, min(max(to, 0), len(t.s)))
	from = boundary(t.s, min(max(from, 0), to))
	return Text{t.s[from:to]}
}

// boundary moves i back to the beginning of the UTF-8 sequence it is in.
func boundary(s string, i int) int {
	for i > 0 && i < len(s) && s[i]&0xc0 == 0x80 {
		i--
	}
	return i
}

// Cut returns what is before and after the first sep. Without sep, before is
// all of t and found is false.
func (t Text) Cut(sep string) (before, after Text, found bool) {
	b, a, ok := strings.Cut(t.s, sep)
	return Text{b}, Text{a}, ok
}

// Split returns the parts of t between the places where sep stands.
func (t Text) Split(sep string) []Text {
	parts := strings.Split(t.s, sep)
	out := make([]Text, len(parts))
	for i, p := range parts {
		out[i] = Text{p}
	}
	return out
}

// TrimPrefix returns t without the leading prefix.
func (t Text) TrimPrefix(prefix string) Text { return Text{strings.TrimPrefix(t.s, prefix)} }

// TrimSuffix returns t without the final suffix.
func (t Text) TrimSuffix(suffix string) Text { return Text{strings.TrimSuffix(t.s, suffix)} }

// TrimSpace returns t without white space at its ends.
func (t Text) TrimSpace() Text { return Text{strings.TrimSpace(t.s)} }

// HasPrefix reports whether t begins with prefix.
func (t Text) HasPrefix(prefix string) bool { return strings.HasPrefix(t.s, prefix) }

// HasSuffix reports whether t ends with suffix.
func (t Text) HasSuffix(suffix string) bool { return strings.HasSuffix(t.s, suffix) }

// Contains reports whether sub is within t.
func (t Text) Contains(sub string) bool { return strings.Contains(t.s, sub) }

// Is reports whether t is s.
func (t Text) Is(s string) bool { return t.s == s }

// Compare orders texts by their bytes, for slices.SortFunc.
func Compare(a, b Text) int { return strings.Compare(a.s, b.s) }
