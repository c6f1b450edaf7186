package intent

import (
	"strings"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// item is one line of a list as it is written: a text, or a mapping where more
// than its object is said.
type item struct {
	object string   // what to names, or the text alone; in credentials class and to instead
	class  string   // credentials: the class
	to     []string // credentials: where it may be sent
	by     []string
	step   string
	upload uint64
	sha256 []string // exec
	http   []string // egress: what may be requested
	keys   []string // egress: the variables that hold the keys
}

// bare reports whether the item is its object alone.
func (i *item) bare() bool {
	return len(i.by) == 0 && len(i.to) == 0 && i.step == "" && i.upload == 0 && len(i.sha256) == 0 && len(i.http)+len(i.keys) == 0
}

// text is the item in its canonical form: its object, or a YAML mapping.
func (i *item) text() string {
	if i.bare() {
		return i.object + i.class
	}
	return i.mapping()
}

// line is the item as it stands in a file.
func (i *item) line() string {
	if i.bare() {
		return scalar(i.object + i.class)
	}
	return i.mapping()
}

func (i *item) mapping() string {
	var b strings.Builder
	if i.class != "" {
		b.WriteString("{class: " + scalar(i.class))
	} else {
		b.WriteString("{to: " + scalar(i.object))
	}
	switch len(i.sha256) {
	case 0:
	case 1:
		b.WriteString(", sha256: " + scalar(i.sha256[0]))
	default:
		b.WriteString(", sha256: " + flow(i.sha256))
	}
	if len(i.by) > 0 {
		b.WriteString(", by: " + flow(i.by))
	}
	if len(i.to) > 0 {
		b.WriteString(", to: " + flow(i.to))
	}
	if i.step != "" {
		b.WriteString(", step: " + scalar(i.step))
	}
	if i.upload > 0 {
		b.WriteString(", upload: " + formatBytes(i.upload))
	}
	if len(i.http) > 0 {
		b.WriteString(", http: " + flow(i.http))
	}
	if len(i.keys) > 0 {
		b.WriteString(", key: " + flow(i.keys))
	}
	b.WriteByte('}')
	return b.String()
}

// flow is a list in one line.
func flow(list []string) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, s := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(scalar(s))
	}
	b.WriteByte(']')
	return b.String()
}

// scalar is a YAML scalar: plain for a word or a path of the common kind, in
// quotes for all else, so that nothing in it can be taken for syntax.
func scalar(s string) string {
	if plain(s) {
		return s
	}
	return document.Quote(s)
}

// plain reports whether s reads as text without quotes, in YAML 1.1 as well,
// where yes and off are truth values.
func plain(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case i > 0 && (c >= '0' && c <= '9' || strings.IndexByte("-_.+/", c) >= 0):
		case c == '/':
		default:
			return false
		}
	}
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return true
}
