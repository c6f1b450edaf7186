package signature

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// modifiers are what may stand after a field, as in CommandLine|contains|all.
type modifiers struct {
	contains, startswith, endswith bool
	re, cidr, exists               bool
	compare                        string // gt, gte, lt, lte
	all, cased, base64, windash    bool
	reFlags                        string
}

// unsupported names modifiers of Sigma that this engine does not have, so that
// the error can say that they are known and not a slip.
var unsupported = map[string]bool{
	"base64offset": true, "utf16": true, "utf16le": true, "utf16be": true, "wide": true, "expand": true,
	"fieldref": true, "neq": true, "minute": true, "hour": true, "day": true, "week": true, "month": true, "year": true,
}

var modifierNames = []string{
	"contains", "startswith", "endswith", "all", "re", "i", "m", "s", "cidr", "exists", "cased", "base64", "windash",
	"gt", "gte", "lt", "lte",
}

// parseModifiers reads the words after the field's name. bad is the one that
// is wrong, where it is one.
func parseModifiers(words []string, f field) (m modifiers, bad string, err error) {
	kinds := 0
	for _, w := range words {
		switch w {
		case "contains":
			m.contains = true
			kinds++
		case "startswith":
			m.startswith = true
			kinds++
		case "endswith":
			m.endswith = true
			kinds++
		case "re":
			m.re = true
			kinds++
		case "i", "m", "s":
			if !m.re {
				return m, w, fmt.Errorf("the modifier %q stands after re only", w)
			}
			m.reFlags += w
		case "cidr":
			m.cidr = true
			kinds++
			if f != destinationIP {
				return m, w, fmt.Errorf("the modifier cidr is for %s", fields[destinationIP].name)
			}
		case "exists":
			m.exists = true
			kinds++
		case "gt", "gte", "lt", "lte":
			m.compare = w
			kinds++
			if !fields[f].numeric {
				return m, w, fmt.Errorf("the modifier %s is for numbers, and %s is none", w, fields[f].name)
			}
		case "all":
			m.all = true
		case "cased":
			m.cased = true
		case "base64":
			m.base64 = true
		case "windash":
			m.windash = true
		default:
			if unsupported[w] {
				return m, w, fmt.Errorf("the modifier %q is not supported by this engine", w)
			}
			return m, w, fmt.Errorf("the modifier %q is not known", w)
		}
	}
	if kinds > 1 {
		return m, "", fmt.Errorf("only one of contains, startswith, endswith, re, cidr, exists, gt, gte, lt and lte can stand")
	}
	text := !m.cidr && !m.exists && m.compare == ""
	switch {
	case (m.cased || m.base64 || m.windash) && !text:
		return m, "", fmt.Errorf("cased, base64 and windash are for texts")
	case m.re && (m.base64 || m.windash || m.cased):
		return m, "", fmt.Errorf("re stands without cased, base64 and windash; it compares case as written, (?i) or |i does not")
	case m.all && (m.exists || m.compare != ""):
		return m, "", fmt.Errorf("all is for lists of texts")
	case m.base64 && m.windash:
		return m, "", fmt.Errorf("windash after base64 has no effect")
	}
	return m, "", nil
}

// item is a field with its modifiers and values: a leaf of a condition.
type item struct {
	field  field
	mods   modifiers
	values []matcher
}

// matcher decides one value.
type matcher struct {
	// match is given the field's text, in lower case unless cased.
	match func(string) bool
	// key is the index key that a text must have to match, with ok.
	key string
	ok  bool
}

func (it *item) keys() ([]key, bool) {
	cut := keyed[it.field]
	if cut == nil || it.mods.re || it.mods.compare != "" {
		return nil, false
	}
	var list []key
	for _, m := range it.values {
		switch {
		case m.ok && it.mods.all:
			// All must match, so one of them is enough.
			return []key{{it.field, m.key}}, true
		case m.ok:
			list = append(list, key{it.field, m.key})
		case !it.mods.all:
			return nil, false
		}
	}
	return list, len(list) > 0
}

func (it *item) compile() test {
	f, lower, all := it.field, !it.mods.cased && !it.mods.re, it.mods.all
	list := make([]func(string) bool, len(it.values))
	for i := range it.values {
		list[i] = it.values[i].match
	}
	if fields[f].many {
		if all {
			return func(v *view) bool {
				have := v.getAll(f, lower)
				for _, m := range list {
					if !anyOf(have, m) {
						return false
					}
				}
				return true
			}
		}
		return func(v *view) bool {
			have := v.getAll(f, lower)
			for _, m := range list {
				if anyOf(have, m) {
					return true
				}
			}
			return false
		}
	}
	if len(list) == 1 {
		m := list[0]
		return func(v *view) bool { return m(v.get(f, lower)) }
	}
	if all {
		return func(v *view) bool {
			s := v.get(f, lower)
			for _, m := range list {
				if !m(s) {
					return false
				}
			}
			return true
		}
	}
	return func(v *view) bool {
		s := v.get(f, lower)
		for _, m := range list {
			if m(s) {
				return true
			}
		}
		return false
	}
}

func anyOf(have []string, m func(string) bool) bool {
	for _, s := range have {
		if m(s) {
			return true
		}
	}
	return false
}

// exists is compiled on its own, since it asks whether there is a value.
func existsTest(f field, want bool) test {
	if fields[f].many {
		return func(v *view) bool { return (len(v.getAll(f, false)) > 0) == want }
	}
	return func(v *view) bool { return (v.get(f, false) != "") == want }
}

type existsExpr struct {
	field field
	want  bool
}

func (x existsExpr) compile() test       { return existsTest(x.field, x.want) }
func (x existsExpr) keys() ([]key, bool) { return nil, false }

// cidrExpr asks whether the destination lies in one of some networks.
type cidrExpr struct{ nets []netip.Prefix }

func (x cidrExpr) compile() test {
	nets := x.nets
	return func(v *view) bool {
		a := v.addr()
		for _, n := range nets {
			if n.Contains(a) {
				return true
			}
		}
		return false
	}
}
func (x cidrExpr) keys() ([]key, bool) { return nil, false }

// newMatcher makes the matcher of one value.
func newMatcher(f field, m modifiers, value string) ([]matcher, error) {
	switch {
	case m.re:
		if len(value) > 4096 {
			return nil, fmt.Errorf("the expression is longer than 4096 bytes")
		}
		flags := ""
		if m.reFlags != "" {
			flags = "(?" + m.reFlags + ")"
		}
		re, err := regexp.Compile(flags + value)
		if err != nil {
			return nil, fmt.Errorf("not a regular expression of Go (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		return []matcher{{match: re.MatchString}}, nil
	case m.compare != "":
		want, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("want a number")
		}
		return []matcher{{match: comparison(m.compare, want)}}, nil
	}
	if value == "" && (m.contains || m.startswith || m.endswith || m.base64) {
		return nil, fmt.Errorf("an empty text is in every text")
	}
	if fields[f].numeric {
		if _, err := strconv.ParseUint(value, 10, 32); err != nil {
			return nil, fmt.Errorf("want a number")
		}
	}
	values := []string{value}
	if m.windash {
		values = windash(value)
	}
	var list []matcher
	for _, s := range values {
		if m.base64 {
			// Base64 has case of its own; the field is compared in lower case
			// all the same, unless cased stands too.
			s = base64.StdEncoding.EncodeToString([]byte(s))
		}
		if !m.cased {
			s = lowerASCII(s)
		}
		list = append(list, newText(f, m, s))
	}
	return list, nil
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func comparison(op string, want uint64) func(string) bool {
	return func(s string) bool {
		n, ok := parseNumber(s)
		if !ok {
			return false
		}
		switch op {
		case "gt":
			return n > want
		case "gte":
			return n >= want
		case "lt":
			return n < want
		}
		return n <= want
	}
}

// parseNumber is ParseUint without its error, which allocates.
func parseNumber(s string) (uint64, bool) {
	if s == "" || len(s) > 10 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, true
}

// windash returns the value with the dash before each option in the forms
// that Windows programs take (Sigma appendix "modifiers", windash).
func windash(value string) []string {
	list := []string{value}
	for _, d := range []string{"/", "–", "—", "―"} {
		var b strings.Builder
		for i, r := range value {
			if r == '-' && (i == 0 || value[i-1] == ' ' || value[i-1] == '"') {
				b.WriteString(d)
				continue
			}
			b.WriteRune(r)
		}
		if b.String() != value {
			list = append(list, b.String())
		}
	}
	return list
}

// piece of a pattern: a literal, or ? or *.
type piece struct {
	text string
	wild byte // 0, '?' or '*'
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

// newText makes the matcher of a text with its wildcards.
func newText(f field, m modifiers, s string) matcher {
	list := pieces(s)
	if m.base64 {
		list = []piece{{text: s}}
	}
	open := piece{wild: '*'}
	if (m.contains || m.endswith) && (len(list) == 0 || list[0] != open) {
		list = append([]piece{open}, list...)
	}
	if (m.contains || m.startswith) && list[len(list)-1] != open {
		list = append(list, open)
	}
	out := matcher{match: textTest(list)}
	out.key, out.ok = literalKey(f, m, list)
	return out
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
				p++
				at++
				continue
			}
		case strings.HasPrefix(s[at:], list[p].text):
			at += len(list[p].text)
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

// literalKey returns the index key that every text of the pattern has.
func literalKey(f field, m modifiers, list []piece) (string, bool) {
	if keyed[f] == nil || m.cased || len(list) == 0 {
		return "", false
	}
	last := list[len(list)-1]
	if last.wild != 0 {
		return "", false
	}
	exact := len(list) == 1
	switch f {
	case image, parentImage, targetImage, targetFilename:
		if exact || strings.Contains(last.text, "/") {
			return baseName(last.text), true
		}
	case destinationHostname, queryName:
		if k := lastLabels(last.text); exact || len(k) < len(last.text) {
			return k, true
		}
	default:
		return last.text, exact
	}
	return "", false
}
