package signature

import (
	"math"
	"regexp/syntax"
	"slices"
	"strings"
)

// atom is something that an event must have in a field: a text anywhere in
// it, or a key, which is the base name of a path, the last two labels of a host
// name, or a whole value. Texts are in lower case.
type atom struct {
	field field
	text  string
	key   bool
}

// need are atoms of which an event must have one. None means that nothing is
// known: the rule is asked about each event.
type need []atom

// maxAtoms bounds what one rule is filed under.
const maxAtoms = 4096

// worth says how rare what is needed seems: the length of its shortest text.
func (n need) worth() int {
	if len(n) == 0 || len(n) > maxAtoms {
		return 0
	}
	least := math.MaxInt
	for _, a := range n {
		w := len(a.text)
		switch {
		case fields[a.field].dear:
			w = 1
		case a.key:
			w += 4 // it stands at one place, and is found by one look
		}
		least = min(least, w)
	}
	return least
}

// orBetter returns the rarer of two needs, both of which must be met.
func (n need) orBetter(m need) need {
	if m.worth() > n.worth() {
		return m
	}
	return n
}

// needs of an and are those of its rarest part.
func (x andExpr) needs() need {
	var best need
	for _, part := range x {
		best = best.orBetter(part.needs())
	}
	return best
}

// needs of an or are those of all parts together, if every part has some.
func (x orExpr) needs() need {
	var all need
	for _, part := range x {
		n := part.needs()
		if len(n) == 0 || len(all)+len(n) > maxAtoms {
			return nil
		}
		all = append(all, n...)
	}
	return all
}

func (x notExpr) needs() need { return nil }

// keyed are the fields that have keys, and how one is cut out of a value in
// lower case.
var keyed = [fieldCount]func(string) string{
	image: baseName, parentImage: baseName, targetImage: baseName, targetFilename: baseName,
	destinationHostname: lastLabels, queryName: lastLabels, queryType: whole, credentialClass: whole,
	lifecycle: whole, lifecycleEvent: whole, destinationPort: whole, destinationIP: whole, program: whole, operation: whole,
	imageOrigin: whole, secretPattern: whole, secretOption: whole, httpMethod: whole,
}

func whole(s string) string { return s }

func baseName(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// lastLabels returns the last two labels of a name, with the dot between.
func lastLabels(s string) string {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s
	}
	return s[strings.LastIndexByte(s[:i], '.')+1:]
}

// atomsOf returns what every text of a pattern has: its key, where the pattern
// says it, else its longest text.
func atomsOf(f field, list []piece) []atom {
	if len(list) == 0 {
		return nil
	}
	last := list[len(list)-1]
	text := lowerText(last.text)
	exact := len(list) == 1 && last.wild == 0
	if last.wild == 0 && keyed[f] != nil {
		k := keyed[f](text)
		if exact || len(k) < len(text) {
			return []atom{{f, k, true}}
		}
	}
	if fields[f].many {
		return nil
	}
	longest := ""
	for _, p := range list {
		if p.wild == 0 && len(p.text) > len(longest) {
			longest = p.text
		}
	}
	return textAtoms(f, lowerText(longest))
}

func textAtoms(f field, s string) []atom {
	if len(s) < gram {
		return nil
	}
	return []atom{{field: f, text: s}}
}

// regexpAtoms returns texts of which a match must have one.
func regexpAtoms(f field, expr string) []atom {
	if fields[f].many {
		return nil
	}
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	texts := regexpTexts(re.Simplify())
	var atoms []atom
	for _, t := range texts {
		a := textAtoms(f, t)
		if a == nil {
			return nil
		}
		atoms = append(atoms, a...)
	}
	return atoms
}

// regexpTexts returns texts in lower case of which every match holds one, the
// rarest such set that is found; nil where there is none.
func regexpTexts(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		best, part := "", ""
		for _, r := range re.Rune {
			// K and ſ are k and s without case, and are no ASCII.
			if re.Flags&syntax.FoldCase != 0 && (r >= 0x80 || strings.ContainsRune("kKsS", r)) {
				part = ""
				continue
			}
			if part += lowerText(string(r)); len(part) > len(best) {
				best = part
			}
		}
		if best != "" {
			return []string{best}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return regexpTexts(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return regexpTexts(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if t := regexpTexts(sub); shortest(t) > shortest(best) {
				best = t
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			t := regexpTexts(sub)
			if t == nil || len(all) > maxAtoms {
				return nil
			}
			all = append(all, t...)
		}
		return all
	}
	return nil
}

func shortest(list []string) int {
	if len(list) == 0 {
		return 0
	}
	least := len(list[0])
	for _, s := range list {
		least = min(least, len(s))
	}
	return least
}

// index finds the rules that an event of one category may match.
type index struct {
	// keyFields are the fields with a rule under a key.
	keyFields []field
	byKey     [fieldCount]map[string][]int
	// textFields are the fields with a rule under a text.
	textFields []field
	byText     [fieldCount]*finder
	// always holds the rules that nothing is known of.
	always []int
}

func (x *index) add(rule int, e expr) {
	n := e.needs()
	if n.worth() == 0 {
		x.always = append(x.always, rule)
		return
	}
	for _, a := range n {
		if !a.key {
			if x.byText[a.field] == nil {
				x.byText[a.field] = &finder{}
				x.textFields = append(x.textFields, a.field)
			}
			x.byText[a.field].add(a.text, rule)
			continue
		}
		if x.byKey[a.field] == nil {
			x.byKey[a.field] = map[string][]int{}
			x.keyFields = append(x.keyFields, a.field)
		}
		if list := x.byKey[a.field][a.text]; len(list) == 0 || list[len(list)-1] != rule {
			x.byKey[a.field][a.text] = append(list, rule)
		}
	}
}

// ready builds what is looked up in.
func (x *index) ready() {
	for _, f := range x.textFields {
		x.byText[f].build()
	}
}

// gram is how many bytes of a text are looked up: a text is filed under that
// run of its bytes which seems rarest.
const gram = 3

// finder finds which of many texts stand in a value: each run of three bytes of
// the value is looked up in a set of bits, and only where that hits are texts
// compared.
type finder struct {
	list  []literal
	place map[string]int
	bits  []uint64
	shift uint8
	slots [][]int32 // by hash: places in list
}

type literal struct {
	text  string
	at    int // where the run stands in it
	rules []int
}

func (x *finder) add(s string, rule int) {
	if i, ok := x.place[s]; ok {
		if r := x.list[i].rules; r[len(r)-1] != rule {
			x.list[i].rules = append(r, rule)
		}
		return
	}
	if x.place == nil {
		x.place = map[string]int{}
	}
	x.place[s] = len(x.list)
	x.list = append(x.list, literal{text: s, at: rarest(s), rules: []int{rule}})
}

// rarest returns where the run of bytes begins that stands in fewest texts, as
// far as their letters say.
func rarest(s string) int {
	best, at := math.MaxInt, 0
	for i := 0; i+gram <= len(s); i++ {
		common := 0
		for _, c := range []byte(s[i : i+gram]) {
			common += commonness(c)
		}
		if common < best {
			best, at = common, i
		}
	}
	return at
}

// commonness of a byte in paths and command lines, from 0.
func commonness(c byte) int {
	switch {
	case c == '/' || c == ' ' || c == '-':
		return 5
	case strings.IndexByte("etaoinsrl.", c) >= 0:
		return 4
	case c >= 'a' && c <= 'z':
		return 2
	case c >= '0' && c <= '9':
		return 3
	}
	return 0
}

func (x *finder) build() {
	size := 12
	for 1<<size < 32*len(x.list) && size < 20 {
		size++
	}
	x.shift = uint8(32 - size)
	x.bits = make([]uint64, 1<<size/64)
	x.slots = make([][]int32, 1<<size)
	for i := range x.list {
		l := &x.list[i]
		h := hashGram(uint32(l.text[l.at])|uint32(l.text[l.at+1])<<8|uint32(l.text[l.at+2])<<16, x.shift)
		x.bits[h/64] |= 1 << (h % 64)
		x.slots[h] = append(x.slots[h], int32(i))
	}
}

func hashGram(g uint32, shift uint8) uint32 { return (g * 0x9e3779b1) >> (shift & 31) }

// find calls hit with the rules of each text that stands in s.
func (x *finder) find(m *Matcher, s string) {
	if len(s) < gram {
		return
	}
	g := uint32(s[0])<<8 | uint32(s[1])<<16
	bits, shift := x.bits, x.shift
	for i := gram - 1; i < len(s); i++ {
		g = g>>8 | uint32(s[i])<<16
		h := hashGram(g, shift)
		if bits[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		x.compare(m, s, i-gram+1, h)
	}
}

func (x *finder) compare(m *Matcher, s string, at int, h uint32) {
	for _, i := range x.slots[h] {
		l := &x.list[i]
		if from := at - l.at; from >= 0 && strings.HasPrefix(s[from:], l.text) {
			m.consider(l.rules)
		}
	}
}

// sorted puts the rules in the pack's order.
func sorted(rules []int) []int {
	if len(rules) > 1 {
		slices.Sort(rules)
	}
	return rules
}
