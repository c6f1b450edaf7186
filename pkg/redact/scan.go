package redact

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
)

// where is the kind of text that is looked at.
type where uint8

const (
	inScript where = iota // prose, a shell script, JSON: anything
	inWhole               // one argument, whose value after = runs to its end
	inPath
	inURL
)

// Patterns that are told by where they stand.
var (
	patMasked     = Const("masked-value")
	patPrivateKey = Const("private-key")
	patOption     = Const("option-value")
	patPassword   = Const("password")
	patCookie     = Const("cookie")
	patHeader     = Const("auth-header")
	patUserinfo   = Const("url-password")
	patParameter  = Const("url-parameter")
	patNamed      = Const("named-secret")
	patUnread     = Const("unread") // encoded so often that it was not looked into
)

// patterns holds every name that may stand in a mark.
var patterns = func() map[string]bool {
	m := make(map[string]bool)
	for _, t := range []Text{patMasked, patPrivateKey, patOption, patPassword, patCookie, patHeader, patUserinfo, patParameter, patNamed, patUnread} {
		m[t.s] = true
	}
	for _, s := range shapes {
		m[s.pattern.s] = true
	}
	return m
}()

const (
	maxLayers  = 3
	minEncode  = 24       // bytes of an encoded run that is worth decoding
	maxDecode  = 64 << 10 // bytes of one run that are decoded
	maxFound   = 64       // secrets told of one text; more are replaced and not told
	maxSchemes = 64
)

// hit is one secret in the text.
type hit struct {
	from, to int
	rank     int // lower wins where hits overlap
	pattern  Text
	length   int
	layers   int
	secret   []byte // decoded; borrowed until the text is written
	hash     Text   // in place of secret where that is gone
}

// scanner is the memory of one look at a text.
type scanner struct {
	r    *Redactor
	hits []hit
	out  []byte
	dec  []byte
	flat []byte
	ends [2]span // of values outside and inside of a URL's query
	// budget is how many decoded bytes may still be looked at. It is shared by
	// all layers, so that encodings within encodings cost no more than others.
	budget *int
	inner  *scanner // for decoded text
}

// Classes of bytes.
const (
	classOther = iota
	classWord  // base62
	classJoin  // _ . - : part of tokens, not of words
	classEvent // = : @ % ~ : something may stand beside it

	classBad // not printable ASCII
)

var classOf = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c < ' ' || c >= 0x7f:
			t[c] = classBad
		case base62[c]:
			t[c] = classWord
		case c == '_' || c == '.' || c == '-':
			t[c] = classJoin
		case c == '=' || c == ':' || c == '@' || c == '%' || c == '~':
			t[c] = classEvent
		}
	}
	return
}()

// pairs says which two bytes a shape can begin with; pairsWithin, with which
// it can begin within a word.
var pairs, pairsWithin = func() (all, within [256][4]uint64) {
	for _, s := range shapes {
		c, d := s.prefix[0], s.prefix[1]
		all[c][d>>6] |= 1 << (d & 63)
		if s.within || !base62[c] {
			within[c][d>>6] |= 1 << (d & 63)
		}
	}
	return
}()

// clean reports that nothing in b can be a secret and that b prints as it is.
// It errs to the other side only. It reads b once and is what most texts cost.
func (r *Redactor) clean(b []byte, in where) bool {
	run, dead, hasURL := 0, 0, false
	prev := uint8(classOther)
	for i, c := range b {
		class := classOf[c]
		if class == classWord || class == classJoin && c != '.' {
			run++
		} else {
			if run >= minEncode && encoded(b[i-run:i]) {
				return false
			}
			run = 0
		}
		if i+1 < len(b) {
			table := &pairs
			if prev == classWord {
				table = &pairsWithin
			}
			if d := b[i+1]; table[c][d>>6]&(1<<(d&63)) != 0 {
				if _, _, _, ok := match(b, i, &dead); ok {
					return false
				}
			}
		}
		switch class {
		case classBad:
			return false
		case classEvent:
			switch c {
			case '=', ':':
				if c == ':' && i+2 < len(b) && b[i+1] == '/' && b[i+2] == '/' {
					hasURL = true
				} else if in != inPath || c == '=' {
					if key := keyBefore(b, i); len(key) >= 3 && (classify(key) != keyNone || isHeader(key)) {
						return false
					}
				}
			case '@':
				if hasURL {
					return false
				}
			case '%':
				if i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]) {
					return false
				}
			case '~':
				if i > 0 && b[i-1] == 'Q' {
					return false
				}
			}
		case classJoin:
			if c == '-' {
				if run == 5 && i+16 < len(b) && bytes.Contains(b[i:], privateKey) {
					return false
				}
			}
		}
		prev = class
	}
	if run >= minEncode && encoded(b[len(b)-run:]) {
		return false
	}
	if in == inScript && bytes.IndexByte(b, ' ') >= 0 {
		ok := true
		commandWords(b, func(int, int, Text) bool {
			ok = false
			return false
		})
		if !ok {
			return false
		}
	}
	return len(r.masked.forms) == 0 || !r.masked.any(b)
}

var (
	privateKey = []byte("PRIVATE KEY")
	beginKey   = []byte("-----BEGIN")
	endKey     = []byte("-----END")
	puttyKey   = []byte("PuTTY-User-Key-File")
	schemeSep  = []byte("://")
)

// keyBefore returns the name that stands before the separator at b[i], past
// blanks and a closing quote, and may be empty.
func keyBefore(b []byte, i int) []byte {
	for n := 0; i > 0 && n < 3 && b[i-1] == ' '; n++ {
		i--
	}
	if i > 0 && (b[i-1] == '"' || b[i-1] == '\'') {
		i--
	}
	if i > 0 && b[i-1] == '\\' {
		i--
	}
	if i > 0 && b[i-1] == ']' {
		i--
	}
	from := i
	for from > 0 && i-from < maxKey && (base62[b[from-1]] || b[from-1] == '_' || b[from-1] == '-' || b[from-1] == '.') {
		from--
	}
	return b[from:i]
}

// detect collects the secrets of b in s.hits.
func (s *scanner) detect(b []byte, in where, depth int) {
	r := s.r
	b = s.flatten(b)
	if len(r.masked.forms) > 0 {
		s.findMasked(b)
	}
	s.findPrivateKeys(b)
	dead := 0
	for i := 0; i+1 < len(b); i++ {
		d := b[i+1]
		if pairs[b[i]][d>>6]&(1<<(d&63)) == 0 {
			continue
		}
		if from, to, pattern, ok := match(b, i, &dead); ok {
			s.add(b, from, to, 1, pattern)
			i = to - 1
		}
	}
	s.findURLs(b)
	s.findNamed(b, in)
	if in == inScript {
		s.findOptions(b)
	}
	if depth < maxLayers {
		s.findEncoded(b, depth)
		s.findEscaped(b, in, depth)
	}
}

// flatten puts the control characters back whose pictures stand in b, padded
// to keep every offset, so that a text that was redacted before reads the same.
func (s *scanner) flatten(b []byte) []byte {
	if !bytes.Contains(b, pictures) {
		return b
	}
	s.flat = append(s.flat[:0], b...)
	for i := 0; i+2 < len(b); i++ {
		if c := b[i+2]; b[i] == pictures[0] && b[i+1] == pictures[1] && c >= 0x80 && c <= 0xa1 {
			s.flat[i], s.flat[i+1], s.flat[i+2] = c&0x3f, ' ', ' '
			if c >= 0xa0 {
				s.flat[i] = ' '
			}
		}
	}
	return s.flat
}

// pictures is what the UTF-8 of U+2400 to U+243F begins with.
var pictures = []byte("\u2400")[:2]

// add notes b[from:to] as a secret.
func (s *scanner) add(b []byte, from, to, rank int, pattern Text) {
	if from >= to {
		return
	}
	s.hits = append(s.hits, hit{from: from, to: to, rank: rank, pattern: pattern, length: to - from, secret: b[from:to]})
}

func (s *scanner) findMasked(b []byte) {
	m := &s.r.masked
	for i := 0; i+minMasked <= len(b); i++ {
		f := m.at(b, i)
		if f == nil {
			continue
		}
		from, to := i, i+len(f.text)
		if f.around != nil {
			for from > 0 && f.around[b[from-1]] {
				from--
			}
			for to < len(b) && f.around[b[to]] {
				to++
			}
		}
		s.hits = append(s.hits, hit{from: from, to: to, rank: 0, pattern: patMasked, length: len(f.value), layers: f.layers, secret: []byte(f.value)})
		i = to - 1
	}
}

// findPrivateKeys looks for PEM blocks (RFC 7468, OpenSSH, OpenPGP), whole or cut, and PuTTY's.
func (s *scanner) findPrivateKeys(b []byte) {
	for at := 0; ; {
		i := bytes.Index(b[at:], privateKey)
		if i < 0 {
			break
		}
		i += at
		at = i + len(privateKey)
		back := max(0, i-48)
		j := bytes.LastIndex(b[back:i], beginKey)
		if j < 0 {
			continue
		}
		from, to := back+j, len(b)
		if e := bytes.Index(b[at:], endKey); e >= 0 {
			to = at + e + len(endKey)
			if d := bytes.Index(b[to:min(len(b), to+64)], []byte("-----")); d >= 0 {
				to += d + 5
			}
		}
		s.add(b, from, to, 1, patPrivateKey)
		at = to
	}
	if i := bytes.Index(b, puttyKey); i >= 0 && bytes.IndexByte(b[i:], '\n') > 0 { // its keys have lines
		s.add(b, i, len(b), 1, patPrivateKey)
	}
}

// findURLs looks for what stands before the @ of a URL (RFC 3986 §3.2.1).
func (s *scanner) findURLs(b []byte) {
	without := 0 // no @ stands before this place
	for at := 0; ; {
		i := bytes.Index(b[at:], schemeSep)
		if i < 0 {
			return
		}
		from := at + i + 3
		at = from
		end, last := from, -1
		for end < len(b) && !endsURL(b[end]) && b[end] != '/' && b[end] != '?' && b[end] != '#' {
			if b[end] == '@' {
				last = end
			}
			end++
		}
		colon := -1
		if from < end && b[from] == '[' { // an IPv6 address
			if bracket := indexByte(b[from:end], ']'); bracket >= 0 {
				if colon = indexByte(b[from+bracket:end], ':'); colon >= 0 {
					colon += bracket
				}
			}
		} else {
			colon = indexByte(b[from:end], ':')
		}
		if last < 0 {
			// A password with a slash in it, against the RFC: what follows the
			// colon is no port.
			if colon < 0 || isPort(b[from+colon+1:end]) {
				continue
			}
			if end < without {
				continue
			}
			for end < len(b) && !endsURL(b[end]) {
				if b[end] == '@' {
					last = end
				}
				end++
			}
			if last < 0 {
				without = end
				continue
			}
		}
		at = end
		if colon >= 0 && from+colon < last {
			v := unmarked(b, from+colon+1, last)
			if !reference(b[v:last]) {
				s.add(b, v, last, 2, patUserinfo)
			}
			if v := unmarked(b, from, from+colon); colon >= minRandom && !readable(b[v:from+colon]) {
				s.add(b, v, from+colon, 2, patUserinfo)
			}
			continue
		}
		if v := unmarked(b, from, last); last-v >= minRandom && !reference(b[v:last]) {
			s.add(b, v, last, 2, patUserinfo)
		}
	}
}

func endsURL(c byte) bool {
	return c <= ' ' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '`' || c == '|' || c == 0x7f
}

func isPort(p []byte) bool {
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(p) <= 5
}

// findNamed looks for values behind a name: name=value, name: value.
func (s *scanner) findNamed(b []byte, in where) {
	s.ends = [2]span{}
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c != '=' && c != ':' {
			continue
		}
		key := keyBefore(b, i)
		if len(key) < 3 {
			continue
		}
		if c == ':' {
			if in == inPath || in == inURL {
				continue
			}
			i = max(i, s.findColon(b, i, key)-1)
			continue
		}
		kind := classify(key)
		query := in == inURL || inQuery(b, i-len(key))
		if query && kind == keyWeak && (string(key) == "sig" || string(key) == "X-Amz-Signature" || string(key) == "X-Goog-Signature") {
			kind = keyStrong
		}
		if query && string(key) == "code" {
			kind = keyWeak
		}
		if kind == keyNone {
			continue
		}
		if i+1 < len(b) && b[i+1] == '=' { // a comparison: only a literal is a value
			if i++; !literalNext(b[i+1:]) {
				continue
			}
		}
		from, to := s.value(b, i, in, query)
		if s.addValue(b, from, to, kind, query) {
			i = to - 1
		}
	}
}

// findColon looks at name: value in JSON, YAML and headers and returns the
// place to go on.
func (s *scanner) findColon(b []byte, i int, key []byte) int {
	quoted := i > 0 && (b[i-1] == '"' || b[i-1] == '\'')
	if isHeader(key) && !quoted {
		from := i + 1
		for from < len(b) && b[from] == ' ' {
			from++
		}
		to := from
		for to < len(b) && b[to] != '\n' && b[to] != '\r' && b[to] != '"' && b[to] != '\'' && b[to] != '`' {
			to++
		}
		from += skipScheme(b[from:to])
		if from = unmarked(b, from, to); !reference(b[from:to]) && !curlFile(b[from:to]) {
			s.add(b, from, to, 2, patHeader)
		}
		return to
	}
	kind := classify(key)
	if kind == keyNone {
		return i
	}
	if before := i - len(key) - 1; before >= 0 && (b[before] == '/' || quoted && before > 0 && b[before-1] == '/') {
		kind = keyWeak // the name of a package or file: "@scope/auth-token": "^4.0.0"
	}
	if string(key) == "PASS" { // of a test
		kind = keyWeak
	}
	if i+1 < len(b) && !quoted && b[i+1] != ' ' && b[i+1] != '"' && b[i+1] != '\'' && b[i+1] != '\\' {
		kind = keyWeak // token:abc may be a target or an image tag
	}
	from, to := s.value(b, i, inScript, false)
	if from < to {
		from += skipScheme(b[from:to])
	}
	if quoted && isVersion(b[from:to]) {
		return i
	}
	if s.addValue(b, from, to, kind, false) {
		return to
	}
	return i
}

func curlFile(v []byte) bool { return len(v) > 0 && v[0] == '@' }

// addValue notes b[from:to] if its name and looks say that it is a secret, and
// reports whether they do.
func (s *scanner) addValue(b []byte, from, to int, kind keyKind, query bool) bool {
	from = unmarked(b, from, to)
	v := b[from:to]
	if reference(v) || isBuildSecret(v) {
		return false
	}
	if kind == keyWeak && readable(v) {
		return false
	}
	if kind == keyStrong && len(v) > 0 && v[0] == '/' && !highEntropy(v) {
		return false // a path
	}
	pattern := patNamed
	if query {
		pattern = patParameter
	}
	s.add(b, from, to, 3, pattern)
	return from < to
}

// literalNext reports whether b begins with a quoted string, after blanks.
func literalNext(b []byte) bool {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return len(b) > 0 && (b[0] == '"' || b[0] == '\'')
}

// inQuery reports whether the name at b[i] is a parameter of a URL's query.
func inQuery(b []byte, i int) bool { return i > 0 && (b[i-1] == '?' || b[i-1] == '&') }

// span is where an unquoted value was found to end: one that begins within
// ends there too. It keeps names without number from being read over and over.
type span struct{ from, to int }

// value returns the bounds of what stands after the separator at b[i].
func (s *scanner) value(b []byte, i int, in where, query bool) (from, to int) {
	from = i + 1
	for n := 0; from < len(b) && n < 8 && b[from] == ' '; n++ {
		from++
	}
	if from >= len(b) {
		return from, from
	}
	marked := from
	if from = unmarked(b, from, len(b)); from >= len(b) {
		return from, from
	}
	switch c := b[from]; {
	case from > marked: // what stands behind a mark goes on with the value
	case c == '"' || c == '\'':
		from++
		for to = from; to < len(b) && b[to] != c; to++ {
			if b[to] == '\\' && c == '"' {
				to++
			}
		}
		return from, min(to, len(b))
	case c == '\\' && from+1 < len(b) && (b[from+1] == '"' || b[from+1] == '\''):
		from += 2
		for to = from; to < len(b); to++ {
			if b[to] == '\\' && to+1 < len(b) && b[to+1] == b[from-1] {
				return from, to
			}
		}
		return from, to
	}
	known := &s.ends[0]
	if query {
		known = &s.ends[1]
	}
	if from < known.from || from >= known.to {
		*known = span{from, valueEnd(b, from, in, query)}
	}
	return from, known.to
}

// valueEnd returns where the unquoted value at b[from] ends.
func valueEnd(b []byte, from int, in where, query bool) int {
	if in == inWhole && !query {
		return len(b)
	}
	to := from
	for ; to < len(b); to++ {
		c := b[to]
		switch {
		case query || in == inURL:
			if c == '&' || c == '#' || endsURL(c) {
				return to
			}
		case in == inPath:
			if c == '/' {
				return to
			}
		case c == '\\':
			to++
		case c <= ' ' || c == ';' || c == '|' || c == '&' || c == '<' || c == '>' || c == '(' || c == ')' || c == '"' || c == '\'' || c == '`':
			return to
		case c == ',' && namedNext(b[to+1:]):
			return to
		}
	}
	return min(to, len(b))
}

// namedNext reports whether b begins with name=, as after a comma in a list.
func namedNext(b []byte) bool {
	i := 0
	for i < len(b) && i < maxKey && (base62[b[i]] || b[i] == '_' || b[i] == '-' || b[i] == '.') {
		i++
	}
	return i > 0 && i < len(b) && b[i] == '='
}

// findOptions looks at the words of a script as at the arguments of a command.
func (s *scanner) findOptions(b []byte) {
	commandWords(b, func(from, to int, pattern Text) bool {
		s.add(b, from, to, 2, pattern)
		return true
	})
}

// commandWords gives the secrets among the words of the commands in b, until
// yield returns false.
func commandWords(b []byte, yield func(from, to int, pattern Text) bool) {
	var l words
	for i := 0; i < len(b); {
		c := b[i]
		if c == ';' || c == '|' || c == '&' || c == '\n' {
			l = words{}
			i++
			continue
		}
		if c <= ' ' || c == '(' || c == ')' {
			if c == ')' {
				l.next = wantNothing
			}
			i++
			continue
		}
		if c == ',' && i+1 < len(b) && b[i+1] <= ' ' { // between the strings of a list
			i++
			continue
		}
		from, to := i, i
		if c == '"' || c == '\'' {
			from++
			for to = from; to < len(b) && b[to] != c; to++ {
				if b[to] == '\\' && c == '"' {
					to++
				}
			}
			to = min(to, len(b))
			i = to + 1
		} else {
			if n := mark(b[i:]); n > 0 {
				l.next = wantNothing
				i += n
				continue
			}
			for to = from; to < len(b) && b[to] > ' ' && b[to] != ';' && b[to] != '|' && b[to] != '&' && b[to] != '(' && b[to] != ')' && b[to] != '"' && b[to] != '\''; to++ {
				if b[to] == '\\' {
					to++
				} else if n := mark(b[to:]); n > 0 {
					to += n - 1
				}
			}
			to = min(to, len(b))
			i = max(to, i+1)
		}
		if f, t, pattern, _ := l.word(b[from:to]); t > f {
			if f = unmarked(b, from+f, from+t); f < from+t && !yield(f, from+t, pattern) {
				return
			}
		}
	}
}

// unmarked returns from moved behind the marks that b[from:to] begins with.
func unmarked(b []byte, from, to int) int {
	for from < to {
		n := mark(b[from:to])
		if n == 0 {
			break
		}
		from += n
	}
	return from
}

// mark returns the length of the mark that b begins with, or 0. The name must
// be one of ours and the numbers short, so that a mark written by a job can
// hide nothing.
func mark(b []byte) int {
	const begin = "[redacted "
	if len(b) < len(begin)+4 || string(b[:len(begin)]) != begin {
		return 0
	}
	i := len(begin)
	from := i
	for i < len(b) && i-from < 32 && (b[i] >= 'a' && b[i] <= 'z' || b[i] >= '0' && b[i] <= '9' || b[i] == '-') {
		i++
	}
	if !patterns[string(b[from:i])] || i >= len(b) || b[i] != ' ' {
		return 0
	}
	i++
	from = i
	for i < len(b) && i-from < 7 && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == from || i >= len(b) {
		return 0
	}
	if i+3 < len(b) && b[i] == ' ' && b[i+1] == 'x' && b[i+2] >= '1' && b[i+2] <= '9' {
		i += 3
	}
	if b[i] != ']' {
		return 0
	}
	return i + 1
}

// encoded reports whether the run could be text in base64 or hex: whether its
// beginning decodes to what prints, at one of the four places where it may begin.
func encoded(run []byte) bool { return base64At(run) >= 0 || hexAt(run) >= 0 }

// base64At returns where in run readable text in base64 begins, or -1.
func base64At(run []byte) int {
	var in [16]byte
	var out [12]byte
	for shift := 0; shift < 4 && len(run)-shift >= 16; shift++ {
		copy(in[:], run[shift:shift+16])
		for i, c := range in {
			switch c {
			case '-':
				in[i] = '+'
			case '_':
				in[i] = '/'
			}
		}
		if n, err := base64.StdEncoding.Decode(out[:], in[:]); err == nil && n == 12 && prints(out[:]) {
			return shift
		}
	}
	return -1
}

// hexAt returns where in run readable text in hex begins, or -1.
func hexAt(run []byte) int {
	if len(run) < 32 {
		return -1
	}
	for shift := range 2 {
		ok := true
		for i := shift; i < shift+24 && ok; i += 2 {
			hi, lo := run[i], run[i+1]
			ok = isHex(hi) && isHex(lo) && hi >= '2' && hi <= '7' && !(hi == '7' && (lo == 'f' || lo == 'F'))
		}
		if ok {
			return shift
		}
	}
	return -1
}

// prints reports whether b is printable ASCII with blanks.
func prints(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c >= 0x7f) && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// findEncoded decodes what looks like text in base64 or hex and looks there.
func (s *scanner) findEncoded(b []byte, depth int) {
	for i := 0; i < len(b); {
		if !base64Run[b[i]] || b[i] == '=' {
			i++
			continue
		}
		end := i
		for end < len(b) && base64Run[b[end]] && b[end] != '=' {
			end++
		}
		// Folders of a path look like base64 too: try again behind each slash.
		for from := i; end-from >= minEncode; {
			if shift := hexAt(b[from:end]); shift >= 0 {
				if n := s.decodeHex(b[from+shift : end]); s.look(depth) {
					s.wrap(from, from+shift+n)
					from += shift + n
					continue
				}
			}
			if shift := base64At(b[from:end]); shift >= 0 && s.decode(b, from, from+shift, end, depth) {
				break
			}
			n := indexByte(b[from:end], '/')
			if n < 0 {
				break
			}
			from += n + 1
		}
		i = end
	}
}

// decode looks into the encoded run b[from:end] and notes it where it holds a
// secret.
func (s *scanner) decode(b []byte, first, from, end, depth int) bool {
	run := b[from:min(end, from+maxDecode)]
	s.dec = s.dec[:0]
	var quad [4]byte
	for len(run) > 0 {
		n := copy(quad[:], run)
		run = run[n:]
		if n == 1 {
			break
		}
		for i := range quad {
			switch {
			case i >= n:
				quad[i] = 'A'
			case quad[i] == '-':
				quad[i] = '+'
			case quad[i] == '_':
				quad[i] = '/'
			}
		}
		var out [3]byte
		if _, err := base64.StdEncoding.Decode(out[:], quad[:]); err != nil {
			break
		}
		s.dec = append(s.dec, out[:n-1]...)
	}
	if !s.look(depth) {
		return false
	}
	for end < len(b) && b[end] == '=' {
		end++
	}
	s.wrap(first, end)
	return true
}

func isHexRun(run []byte) bool {
	for _, c := range run {
		if !isHex(c) {
			return false
		}
	}
	return true
}

// decodeHex decodes the hex that run begins with and returns its length.
func (s *scanner) decodeHex(run []byte) int {
	s.dec = s.dec[:0]
	i := 0
	for ; i+1 < len(run) && i < maxDecode && isHex(run[i]) && isHex(run[i+1]); i += 2 {
		s.dec = append(s.dec, unhex(run[i])<<4|unhex(run[i+1]))
	}
	return i
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

// look looks for secrets in s.dec, with a scanner of its own. What the budget
// does not allow to be read is taken for a secret.
func (s *scanner) look(depth int) bool {
	if s.inner == nil {
		s.inner = new(scanner)
	}
	s.inner.r = s.r
	s.inner.hits = s.inner.hits[:0]
	s.inner.budget = s.budget
	if *s.budget -= len(s.dec); *s.budget < 0 {
		s.inner.hits = append(s.inner.hits, hit{rank: 9, pattern: patUnread, length: len(s.dec), secret: s.dec})
		return true
	}
	s.inner.detect(s.dec, inScript, depth+1)
	return len(s.inner.hits) > 0
}

// wrap notes b[from:to], the encoded run, with what look found in it.
func (s *scanner) wrap(from, to int) {
	best := &s.inner.hits[0]
	for i := range s.inner.hits {
		if s.inner.hits[i].rank < best.rank {
			best = &s.inner.hits[i]
		}
	}
	s.hits = append(s.hits, hit{
		from: from, to: to, rank: best.rank, pattern: best.pattern, length: best.length, layers: best.layers + 1,
		hash: best.digest(s.r),
	})
}

func (h *hit) digest(r *Redactor) Text {
	if !h.hash.IsZero() {
		return h.hash
	}
	return r.Hash(h.secret)
}

// findEscaped undoes percent encoding and looks for what was not seen before.
func (s *scanner) findEscaped(b []byte, in where, depth int) {
	for i := 0; i < len(b); {
		if endsURL(b[i]) {
			i++
			continue
		}
		from := i
		s.dec = s.dec[:0]
		any := false
		for i < len(b) && !endsURL(b[i]) {
			if b[i] == '%' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]) {
				s.dec = append(s.dec, unhex(b[i+1])<<4|unhex(b[i+2]))
				i, any = i+3, true
				continue
			}
			s.dec = append(s.dec, b[i])
			i++
		}
		if !any {
			continue
		}
		if s.look(depth) && !s.covers(from, i) {
			s.wrap(from, i)
			continue
		}
		// In a form a plus stands for a blank, elsewhere for itself.
		if spaces(s.dec) && s.look(depth) && !s.covers(from, i) {
			s.wrap(from, i)
		}
	}
}

// spaces makes blanks of the pluses in b and reports whether there are any.
func spaces(b []byte) bool {
	any := false
	for i, c := range b {
		if c == '+' {
			b[i], any = ' ', true
		}
	}
	return any
}

// covers reports whether what was found inside b[from:to] when decoded was
// found before too, as it stood.
func (s *scanner) covers(from, to int) bool {
	n := 0
	for i := range s.hits {
		if s.hits[i].from < to && s.hits[i].to > from {
			n++
		}
	}
	return n >= len(s.inner.hits)
}

// settle sorts the hits and joins those that overlap; the lowest rank names
// the whole.
func (s *scanner) settle() {
	if len(s.hits) < 2 {
		return
	}
	slices.SortStableFunc(s.hits, func(a, b hit) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	n := 0
	for _, h := range s.hits[1:] {
		k := &s.hits[n]
		if h.from >= k.to {
			n++
			s.hits[n] = h
			continue
		}
		to := max(k.to, h.to)
		if h.rank < k.rank {
			from := k.from
			*k = h
			k.from = from
		}
		k.to = to
	}
	s.hits = s.hits[:n+1]
}

// write puts b with its secrets replaced into s.out, at most limit bytes.
func (s *scanner) write(b []byte, limit int) {
	s.out = s.out[:0]
	at := 0
	for i := range s.hits {
		h := &s.hits[i]
		s.out = appendVisible(s.out, b[at:h.from])
		s.out = append(s.out, "[redacted "...)
		s.out = append(s.out, h.pattern.s...)
		s.out = append(s.out, ' ')
		s.out = strconv.AppendInt(s.out, int64(min(h.length, 9999999)), 10)
		if h.layers > 0 {
			s.out = append(s.out, " x"...)
			s.out = strconv.AppendInt(s.out, int64(min(h.layers, 9)), 10)
		}
		s.out = append(s.out, ']')
		at = h.to
	}
	s.out = appendVisible(s.out, b[at:])
	s.cut(limit)
}

// cut shortens s.out to limit bytes and says by how much.
func (s *scanner) cut(limit int) {
	if len(s.out) <= limit {
		return
	}
	const room = len("[cut 1234567890]")
	keep := boundary(string(s.out[:min(len(s.out), max(limit-room, 0)+1)]), max(limit-room, 0))
	left := len(s.out) - keep
	s.out = append(s.out[:keep], "[cut "...)
	s.out = strconv.AppendInt(s.out, int64(left), 10)
	s.out = append(s.out, ']')
	if len(s.out) > limit {
		s.out = s.out[:limit]
	}
}

// tell appends what was found to found.
func (s *scanner) tell(found []Found, index int) []Found {
	for i := range s.hits {
		if i == maxFound {
			break
		}
		h := &s.hits[i]
		found = append(found, Found{Index: index, Pattern: h.pattern, Length: h.length, Layers: h.layers, Hash: h.digest(s.r)})
	}
	return found
}

// one makes the text of b.
func (r *Redactor) one(b []byte, in where, found []Found) (Text, []Found) {
	if len(b) == 0 {
		return Text{}, found
	}
	if len(b) <= r.max && r.clean(b, in) {
		return Text{string(b)}, found
	}
	s := r.take()
	s.redact(b, in, r.max)
	t := Text{string(s.out)}
	found = s.tell(found, 0)
	r.give(s)
	return t, found
}

// redact puts the text of b into s.out. Hits that s holds already count too.
func (s *scanner) redact(b []byte, in where, limit int) {
	budget := 2*len(b) + 16<<10
	s.budget = &budget
	s.detect(b, in, 0)
	s.settle()
	s.write(b, limit)
}

// wiped returns a slice for use again, zeroed, or nil for one so large that it is
// better given back.
func wiped[T any](x []T) []T {
	if cap(x) > 64<<10 {
		return nil
	}
	clear(x[:cap(x)])
	return x[:0]
}

func (r *Redactor) take() *scanner {
	s := r.pool.Get().(*scanner)
	s.r, s.hits = r, s.hits[:0]
	return s
}

// give puts a scanner back, without the job's bytes that it still holds.
func (r *Redactor) give(s *scanner) {
	for x := s; x != nil; x = x.inner {
		x.budget = nil
		x.hits, x.out, x.dec, x.flat = wiped(x.hits), wiped(x.out), wiped(x.dec), wiped(x.flat)
	}
	r.pool.Put(s)
}
