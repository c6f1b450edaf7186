package signature

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// shape is how a value is compared with the field.
type shape uint8

const (
	equal shape = iota
	containing
	starting
	ending
	matching // re
	network  // cidr
	existing // exists
	lower    // lt
	lowerEqual
	greater
	greaterEqual
)

var shapes = map[string]shape{
	"contains": containing, "startswith": starting, "endswith": ending, "re": matching, "cidr": network, "exists": existing,
	"lt": lower, "lte": lowerEqual, "gt": greater, "gte": greaterEqual,
}

// modifiers are what may stand after a field, as in CommandLine|contains|all
// (Sigma specification 2.1, appendix "modifiers").
type modifiers struct {
	shape                shape
	all, cased, neq      bool
	windash, ref, expand bool
	base64, base64offset bool
	reFlags              string
	utf16, bom, big      bool // 16 bits a character; a mark before; high byte first
	shaped, encoded      bool
}

// text reports whether the value is compared as a text with wildcards.
func (m *modifiers) text() bool { return m.shape <= ending }

var modifierNames = []string{
	"all", "base64", "base64offset", "cased", "cidr", "contains", "endswith", "exists", "expand", "fieldref", "gt", "gte", "i", "lt", "lte",
	"m", "neq", "re", "s", "startswith", "utf16", "utf16be", "utf16le", "wide", "windash",
}

var dateModifiers = []string{"minute", "hour", "day", "week", "month", "year"}

// parseModifiers reads the words after the field's name. bad is the one that
// is wrong, where it is one.
func parseModifiers(words []string) (m modifiers, bad string, err error) {
	wrong := func(w, format string, args ...any) (modifiers, string, error) {
		return m, w, fmt.Errorf(format, args...)
	}
	for i, w := range words {
		if slices.Contains(words[:i], w) {
			return wrong(w, "the modifier %q stands twice", w)
		}
		if s, ok := shapes[w]; ok {
			if m.shaped {
				return wrong(w, "only one of contains, startswith, endswith, re, cidr, exists, gt, gte, lt and lte can stand")
			}
			m.shape, m.shaped = s, true
			continue
		}
		switch w {
		case "all":
			m.all = true
		case "cased":
			m.cased = true
		case "neq":
			m.neq = true
		case "windash":
			if m.encoded {
				return wrong(w, "windash after base64 has no effect")
			}
			m.windash = true
		case "fieldref":
			m.ref = true
		case "expand":
			m.expand = true
		case "i", "m", "s":
			if m.shape != matching {
				return wrong(w, "the modifier %q stands after re only", w)
			}
			m.reFlags += w
		case "utf16le", "wide", "utf16be", "utf16":
			if m.utf16 || m.encoded {
				return wrong(w, "%s stands once, and before base64", w)
			}
			m.utf16, m.big, m.bom = true, w == "utf16be", w == "utf16"
		case "base64", "base64offset":
			if m.encoded {
				return wrong(w, "the value is encoded already")
			}
			m.encoded, m.base64, m.base64offset = true, w == "base64", w == "base64offset"
		default:
			if slices.Contains(dateModifiers, w) {
				return wrong(w, "the modifier %q is not supported: no field holds a date", w)
			}
			return wrong(w, "the modifier %q is not known", w)
		}
	}
	switch {
	case m.utf16 && !m.encoded:
		return wrong("", "utf16, utf16le, utf16be and wide need base64 or base64offset behind them: a text of Linux holds no zero bytes, so the rule would never match")
	case m.base64offset && m.shape != containing:
		return wrong("", "base64offset finds a part of a text, so contains must stand behind it")
	case m.windash && m.encoded:
		return wrong("", "windash is not supported before base64")
	case m.shape == existing && len(words) > 1:
		return wrong("", "exists stands alone")
	case m.shape == matching && (m.encoded || m.windash || m.cased || m.ref):
		return wrong("", "re stands without cased, base64, windash and fieldref; it compares case as written, i does not")
	case !m.text() && m.shape != matching && (m.cased || m.encoded || m.windash || m.ref || m.all):
		return wrong("", "cidr, gt, gte, lt and lte stand without all, cased, base64, windash and fieldref")
	case m.ref && (m.encoded || m.windash || m.expand):
		return wrong("", "fieldref names a field; it stands without base64, windash and expand")
	case m.neq && m.all:
		return wrong("", "neq says that no value is the field's, so all has no meaning with it")
	}
	return m, "", nil
}

// forms returns the texts of which one must be found, for a value without
// wildcards, by the encoding modifiers.
func (m *modifiers) forms(value string) []string {
	if m.utf16 {
		value = toUTF16(value, m.big, m.bom)
	}
	switch {
	case m.base64:
		return []string{base64.StdEncoding.EncodeToString([]byte(value))}
	case m.base64offset:
		return base64Offsets(value)
	}
	return []string{value}
}

func toUTF16(s string, big, bom bool) string {
	units := utf16.Encode([]rune(s))
	if bom {
		units = append([]uint16{0xfeff}, units...)
	}
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		if big {
			b = append(b, byte(u>>8), byte(u))
		} else {
			b = append(b, byte(u), byte(u>>8))
		}
	}
	return string(b)
}

// base64Offsets returns what of the value's Base64 stays the same whatever
// stands before and behind it, for each of the three places in a group of
// three bytes that it may begin at. A place where nothing stays is left out.
func base64Offsets(value string) []string {
	var list []string
	for shift := range 3 {
		enc := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat(" ", shift) + value))
		// A character holds six bits: those that also hold bits of a
		// neighbour are cut off.
		from := (shift*8 + 5) / 6
		to := (shift + len(value)) * 8 / 6
		if from < to {
			list = append(list, enc[from:to])
		}
	}
	return list
}

// placeholders returns the values that a text with %names% stands for. A
// percent sign after a backslash is plain.
func placeholders(value string, known map[string][]string) ([]string, error) {
	list := []string{""}
	add := func(values ...string) error {
		if len(list)*len(values) > maxExpanded {
			return fmt.Errorf("the placeholders stand for more than %d values", maxExpanded)
		}
		next := make([]string, 0, len(list)*len(values))
		for _, head := range list {
			for _, v := range values {
				next = append(next, head+v)
			}
		}
		list = next
		return nil
	}
	for value != "" {
		i := strings.IndexByte(value, '%')
		if i < 0 {
			return list, add(value)
		}
		if i > 0 && value[i-1] == '\\' {
			if err := add(value[:i-1] + "%"); err != nil {
				return nil, err
			}
			value = value[i+1:]
			continue
		}
		j := strings.IndexByte(value[i+1:], '%')
		if j < 0 {
			return list, add(value)
		}
		name := value[i+1 : i+1+j]
		values := known[name]
		if len(values) == 0 {
			return nil, fmt.Errorf("the placeholder %%%s%% is not given; give its values with --placeholder %s=VALUE", name, name)
		}
		if err := add(value[:i]); err != nil {
			return nil, err
		}
		if err := add(values...); err != nil {
			return nil, err
		}
		value = value[i+j+2:]
	}
	return list, nil
}

// maxExpanded bounds the values that one text with placeholders stands for.
const maxExpanded = 10_000
