package signature

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// item is a field with its modifiers and values: a leaf of a condition.
type item struct {
	field  field
	mods   modifiers
	values []matcher
}

// matcher decides one value.
type matcher struct {
	// match is given the field's text, in lower case unless case counts.
	match func(string) bool
	// exact is the text that match compares with, where it does only that.
	exact string
	// atoms are what a text must have one of to match; none where nothing is
	// known.
	atoms []atom
}

// either joins forms of a value of which one must match.
func either(list []matcher) matcher {
	if len(list) == 1 {
		return list[0]
	}
	var out matcher
	for i := range list {
		if len(list[i].atoms) == 0 {
			out.atoms = nil
			break
		}
		out.atoms = append(out.atoms, list[i].atoms...)
	}
	out.match = func(s string) bool {
		for i := range list {
			if list[i].match(s) {
				return true
			}
		}
		return false
	}
	return out
}

func (it *item) cost() int {
	if it.mods.shape == matching {
		return max(1, it.field.cost())
	}
	return it.field.cost()
}

func (it *item) needs() need {
	if it.mods.neq {
		return nil
	}
	var all need
	for i := range it.values {
		n := need(it.values[i].atoms)
		if it.mods.all {
			all = all.orBetter(n)
			continue
		}
		if len(n) == 0 {
			return nil
		}
		all = append(all, n...)
	}
	return all
}

// manyValues is from how many exact values on a set is asked.
const manyValues = 6

func (it *item) compile() test {
	f, low := it.field, !it.mods.cased && it.mods.shape != matching
	t := over(f, low, it.mods.all, it.tests())
	if it.mods.neq {
		return func(v *view) bool { return !t(v) }
	}
	return t
}

// tests returns what to ask of a text; exact values in one set where there
// are many.
func (it *item) tests() []func(string) bool {
	var list []func(string) bool
	set := map[string]struct{}{}
	for i := range it.values {
		if m := &it.values[i]; m.exact != "" && !it.mods.all && len(it.values) >= manyValues {
			set[m.exact] = struct{}{}
		} else {
			list = append(list, m.match)
		}
	}
	if len(set) > 0 {
		list = append(list, func(s string) bool { _, ok := set[s]; return ok })
	}
	return list
}

// over asks the tests of a field's value, or of any of its values.
func over(f field, low, all bool, list []func(string) bool) test {
	if fields[f].many {
		return func(v *view) bool {
			have := v.getAll(f, low)
			for _, m := range list {
				if anyOf(have, m) != all {
					return !all
				}
			}
			return all
		}
	}
	if len(list) == 1 {
		m := list[0]
		return func(v *view) bool { return m(v.get(f, low)) }
	}
	return func(v *view) bool {
		s := v.get(f, low)
		for _, m := range list {
			if m(s) != all {
				return !all
			}
		}
		return all
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

// existsExpr asks whether there is a value.
type existsExpr struct {
	field field
	want  bool
}

func (x existsExpr) compile() test {
	f, want := x.field, x.want
	if fields[f].many {
		return func(v *view) bool { return (len(v.getAll(f, false)) > 0) == want }
	}
	return func(v *view) bool { return (v.get(f, false) != "") == want }
}
func (x existsExpr) needs() need { return nil }
func (x existsExpr) cost() int   { return x.field.cost() }

// cidrExpr asks whether an address lies in one of some networks.
type cidrExpr struct {
	field field
	neq   bool
	nets  []netip.Prefix
}

func (x cidrExpr) compile() test {
	inside := func(a netip.Addr) bool {
		a = a.Unmap().WithZone("")
		for _, n := range x.nets {
			if n.Contains(a) {
				return true
			}
		}
		return false
	}
	if x.field == queryResults {
		return func(v *view) bool {
			answers := v.in.Event.Answers
			for i := range answers {
				if inside(answers[i].Addr) {
					return !x.neq
				}
			}
			return x.neq
		}
	}
	source := x.field == sourceIP
	return func(v *view) bool { return inside(v.end(source).Addr()) != x.neq }
}
func (x cidrExpr) needs() need { return nil }
func (x cidrExpr) cost() int   { return 0 }

// parseNetwork reads a network, or one address.
func parseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("not a network such as 10.0.0.0/8")
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// refExpr compares a field with other fields of the same event. An absent
// field is like nothing.
type refExpr struct {
	field field
	mods  modifiers
	refs  []field
}

func (x refExpr) compile() test {
	low, all := !x.mods.cased, x.mods.all
	like := func(have, ref string) bool {
		if ref == "" {
			return false
		}
		switch x.mods.shape {
		case containing:
			return strings.Contains(have, ref)
		case starting:
			return strings.HasPrefix(have, ref)
		case ending:
			return strings.HasSuffix(have, ref)
		}
		return have == ref
	}
	matches := func(v *view, ref field) bool {
		for _, have := range v.values(x.field, low) {
			for _, r := range v.values(ref, low) {
				if like(have, r) {
					return true
				}
			}
		}
		return false
	}
	return func(v *view) bool {
		for _, ref := range x.refs {
			if matches(v, ref) != all {
				return !all != x.mods.neq
			}
		}
		return all != x.mods.neq
	}
}
func (x refExpr) needs() need { return nil }
func (x refExpr) cost() int   { return x.field.cost() }

// keywordExpr looks for texts in all fields that describe the event.
type keywordExpr struct {
	fields []field
	mods   modifiers
	values []matcher
}

func (x keywordExpr) compile() test {
	low, all := !x.mods.cased && x.mods.shape != matching, x.mods.all
	found := func(v *view, m func(string) bool) bool {
		for _, f := range x.fields {
			if s := v.get(f, low); s != "" && m(s) {
				return true
			}
		}
		return false
	}
	return func(v *view) bool {
		for i := range x.values {
			if found(v, x.values[i].match) != all {
				return !all
			}
		}
		return all
	}
}

func (x keywordExpr) cost() int { return 2 }

func (x keywordExpr) needs() need {
	var all need
	for i := range x.values {
		var n need
		for _, a := range x.values[i].atoms {
			for _, f := range x.fields {
				n = append(n, atom{field: f, text: a.text})
			}
		}
		if x.mods.all {
			all = all.orBetter(n)
			continue
		}
		if len(n) == 0 {
			return nil
		}
		all = append(all, n...)
	}
	return all
}

// newMatcher makes the matcher of one value. keyword: it is looked for in any
// field, anywhere.
func newMatcher(f field, m modifiers, value string, keyword bool) (matcher, error) {
	switch m.shape {
	case matching:
		return newRegexp(f, m, value)
	case lower, lowerEqual, greater, greaterEqual:
		if !fields[f].numeric {
			return matcher{}, fmt.Errorf("gt, gte, lt and lte are for numbers, and %s is none", fields[f].name)
		}
		want, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return matcher{}, fmt.Errorf("want a number")
		}
		return matcher{match: comparison(m.shape, want)}, nil
	}
	if value == "" && (m.shape != equal || m.encoded || keyword) {
		return matcher{}, fmt.Errorf("an empty text is in every text")
	}
	if fields[f].address && m.shape == equal && !m.encoded && !keyword {
		// Addresses of version 6 can be written in many ways.
		if a, err := netip.ParseAddr(value); err == nil {
			value = a.Unmap().WithZone("").String()
		}
	}
	front, back := m.shape == containing || m.shape == ending || keyword, m.shape == containing || m.shape == starting || keyword
	if !m.encoded {
		list := pieces(value)
		if m.windash {
			list = withDashes(list)
		}
		if !keyword {
			if err := possible(f, m, list); err != nil {
				return matcher{}, err
			}
		}
		return newText(f, m, open(list, front, back)), nil
	}
	plain, ok := plainText(value)
	if !ok {
		return matcher{}, fmt.Errorf("a wildcard cannot be encoded; write \\* or \\? for the sign itself")
	}
	texts := m.forms(plain)
	if len(texts) < 3 && m.base64offset {
		return matcher{}, fmt.Errorf("too short: in one of the three places nothing of it stays the same")
	}
	var list []matcher
	for _, s := range texts {
		list = append(list, newText(f, m, open([]piece{{text: s}}, front, back)))
	}
	return either(list), nil
}

// possible refuses values that no event has.
func possible(f field, m modifiers, list []piece) error {
	whole := m.shape == equal && (len(list) == 0 || len(list) == 1 && list[0].wild == 0)
	switch {
	case fields[f].numeric && whole && len(list) == 1:
		if _, err := strconv.ParseUint(list[0].text, 10, 32); err != nil {
			return fmt.Errorf("want a number")
		}
	case fields[f].account:
		for _, p := range list {
			if p.wild == 0 && !strings.Contains("root", strings.ToLower(p.text)) && strings.Trim(p.text, "0123456789") != "" {
				return fmt.Errorf("users other than root are told by number, so the rule would never match")
			}
		}
	}
	return nil
}

// newText makes the matcher of a pattern.
func newText(f field, m modifiers, list []piece) matcher {
	atoms := atomsOf(f, list)
	if !m.cased {
		// Base64 has case of its own; it is compared without case all the
		// same, unless cased stands too.
		for i := range list {
			list[i].text = lowerText(list[i].text)
		}
	}
	out := matcher{match: textTest(list), atoms: atoms}
	if len(list) == 1 && list[0].wild == 0 {
		out.exact = list[0].text
	}
	return out
}

// maxRegexp bounds a regular expression in bytes.
const maxRegexp = 4096

func newRegexp(f field, m modifiers, value string) (matcher, error) {
	if len(value) > maxRegexp {
		return matcher{}, fmt.Errorf("the expression is longer than %d bytes", maxRegexp)
	}
	if m.reFlags != "" {
		value = "(?" + m.reFlags + ")" + value
	}
	re, err := regexp.Compile(value)
	if err != nil {
		return matcher{}, fmt.Errorf("not a regular expression of Go (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	// Most expressions of most runs are never asked.
	made := sync.OnceValue(func() *automaton { return newAutomaton(value, re) })
	match := func(s string) bool {
		if a := made(); a != nil {
			return a.match(s)
		}
		return re.MatchString(s)
	}
	return matcher{match: match, atoms: regexpAtoms(f, value)}, nil
}

func comparison(op shape, want uint64) func(string) bool {
	return func(s string) bool {
		n, ok := parseNumber(s)
		if !ok {
			return false
		}
		switch op {
		case greater:
			return n > want
		case greaterEqual:
			return n >= want
		case lower:
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
