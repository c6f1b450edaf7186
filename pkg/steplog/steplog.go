// Package steplog finds known secrets in what a step prints, in the forms in
// which those who steal through a public log print them: as they are, encoded,
// reversed, or with something put between their characters.
//
// It keeps the letters and digits of what it reads and forgets the rest, so a
// line break, a space between any two characters and the timestamp of a
// runner's page do not hide anything. A form that was found says nothing of who
// printed it.
package steplog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/redact"
)

// Secret is a value that must not be printed, and what it is called. The value
// stays in memory.
type Secret struct{ Name, Value string }

// Form is how a secret was printed.
type Form uint8

// The forms, the plainest first.
const (
	Plain       Form = iota + 1
	Split            // with other characters between its own
	Reversed         // from its end to its beginning
	Hex              // two digits a byte
	Base64           // RFC 4648, either alphabet, at any place of a longer text
	Base64Twice      // base64 of base64
	Gzip             // within gzip (RFC 1952) in base64
)

var forms = [...]string{Plain: "plain", Split: "split", Reversed: "reversed", Hex: "hex", Base64: "base64", Base64Twice: "base64 twice", Gzip: "gzip in base64"}

// String returns the form in words.
func (f Form) String() string { return forms[f] }

// ParseForm returns the form that String gives as s, or 0.
func ParseForm(s string) Form { return Form(max(0, slices.Index(forms[:], s))) }

// Hit is a secret that was printed.
type Hit struct {
	Name string
	Form Form
	Line int64 // on which it ends, from 1
}

// RunnerMemory is the name of what a runner's worker holds all secrets of a job
// in: JSON whose values are marked as secret. Nobody prints that by accident,
// encoded twice least of all.
const RunnerMemory = "memory of the runner's worker"

const runnerMark = `"isSecret":true`

// Bounds of what is looked for.
const (
	// MaxSecrets is how many secrets are looked for; more are left out, longest
	// values first kept.
	MaxSecrets = 1024
	minValue   = 8 // bytes of a value: shorter ones are words
	tail       = 8 // letters and digits by whose end a pattern is found
	maxPattern = 1024
)

// pattern is the letters and digits of one form of one secret, or the last
// maxPattern of them.
type pattern struct {
	text   []byte
	secret int32
	form   Form
	span   int64 // bytes that it has where nothing stands between; 0: any number
}

// patterns finds secrets; several Scanners may use one.
type patterns struct {
	names  []string
	all    []pattern
	ending map[uint64][]int32 // by the last tail bytes
	filter [1 << 10]uint64    // says quickly that there is none
}

// Worth reports whether a value can be looked for: whether it is long and mixed
// enough that no ordinary text holds it, and is no path.
func Worth(value string) bool {
	if len(value) < minValue || value[0] == '/' || strings.HasPrefix(value, "./") {
		return false
	}
	kinds := 0
	for _, class := range []string{"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "-_.+/=!#$%&@:~^*"} {
		if strings.ContainsAny(value, class) {
			kinds++
		}
	}
	return kinds >= 3 || kinds == 2 && len(value) >= 12 || len(value) >= 24
}

// FromEnvironment returns the variables whose names say that they hold a secret
// and whose values are worth looking for.
func FromEnvironment(environ []string) []Secret {
	var out []Secret
	for _, v := range environ {
		name, value, ok := strings.Cut(v, "=")
		if ok && redact.SecretName([]byte(name)) && Worth(value) {
			out = append(out, Secret{name, value})
		}
	}
	return out
}

func compile(secrets []Secret, plainMemory bool) *patterns {
	secrets = slices.Clone(secrets)
	slices.SortStableFunc(secrets, func(a, b Secret) int { return len(b.Value) - len(a.Value) })
	secrets = secrets[:min(len(secrets), MaxSecrets)]
	p := &patterns{ending: map[uint64][]int32{}}
	seen := map[string]bool{}
	add := func(text string, form Form, exact bool) {
		kept := make([]byte, 0, len(text))
		for i := range len(text) {
			if alnum[text[i]] {
				kept = append(kept, text[i])
			}
		}
		if len(kept) < tail || seen[string(kept)] {
			return
		}
		seen[string(kept)] = true
		pat := pattern{secret: int32(len(p.names) - 1), form: form}
		if len(kept) <= maxPattern && exact {
			from, to := strings.IndexByte(text, kept[0]), strings.LastIndexByte(text, kept[len(kept)-1])
			pat.span = int64(to - from + 1)
		}
		pat.text = kept[max(0, len(kept)-maxPattern):]
		var w uint64
		for _, c := range kept[len(kept)-tail:] {
			w = w<<8 | uint64(c)
		}
		p.ending[w] = append(p.ending[w], int32(len(p.all)))
		h := hash(w)
		p.filter[h>>6] |= 1 << (h & 63)
		p.all = append(p.all, pat)
	}
	for _, s := range secrets {
		p.names = append(p.names, s.Name)
		for _, v := range pieces(s.Value) {
			add(v, Plain, true)
			b := []byte(v)
			add(hex.EncodeToString(b), Hex, false)
			add(strings.ToUpper(hex.EncodeToString(b)), Hex, false)
			for _, one := range redact.InBase64(v) {
				add(one, Base64, false)
				for _, two := range redact.InBase64(one) {
					add(two, Base64Twice, false)
				}
			}
			slices.Reverse(b)
			add(string(b), Reversed, false)
		}
	}
	p.names = append(p.names, RunnerMemory)
	if plainMemory {
		add(runnerMark, Plain, false)
	}
	for _, one := range redact.InBase64(runnerMark) {
		for _, two := range redact.InBase64(one) {
			add(two, Base64Twice, false)
		}
	}
	return p
}

// pieces returns the value, and its lines where it has several: they may be
// printed apart.
func pieces(value string) []string {
	out := []string{value}
	if strings.ContainsAny(value, "\r\n") {
		for _, line := range strings.FieldsFunc(value, func(r rune) bool { return r == '\r' || r == '\n' }) {
			if Worth(line) && !strings.HasPrefix(line, "-----") {
				out = append(out, line)
			}
		}
	}
	return out
}

func hash(w uint64) uint64 { return w * 0x9e3779b97f4a7c15 >> 48 }

var alnum, base64Char = func() (a, b [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") {
		a[c], b[c] = true, true
	}
	for _, c := range []byte("+/-_") {
		b[c] = true
	}
	return
}()

// ring holds the last letters and digits and where each stood.
const ring = 2 * maxPattern // a power of two

// Options of a Scanner.
type Options struct {
	// Page says that each line begins with the timestamp that a runner writes.
	Page bool
	// Runner says that the reader of the output is a GitHub runner, which takes
	// the line of an add-mask command away.
	Runner bool
}

// Scanner reads one stream. It is an io.Writer that never fails.
type Scanner struct {
	opt   Options
	p     *patterns
	tell  func(secret int32, form Form)
	found func(Hit)
	done  map[[2]int32]bool // by secret and form: it was told

	chars  [ring]byte
	at     [ring]int64 // offset of each in the stream
	n      uint64      // letters and digits so far
	window uint64      // the last tail of them
	offset int64
	line   int64
	column int // bytes of the line so far

	command []byte // the line so far, while it may be an add-mask command
	masking bool   // it is one

	inner   bool     // this one reads what another unpacked
	run     []byte   // base64 characters that follow one another, not decoded yet
	decoded *Scanner // reads what long runs of them decode to
	reading bool     // the run is long enough
	last4   uint32   // of base64 characters
	gzip    []byte   // base64 characters since what begins as gzip does
	inGzip  bool
	nested  *patterns // for what is in gzip
	secrets []Secret
}

// New returns a Scanner that calls found once for each secret and form. found
// is called within Write and Close.
func New(secrets []Secret, opt Options, found func(Hit)) *Scanner {
	s := &Scanner{opt: opt, p: compile(secrets, false), found: found, done: map[[2]int32]bool{}, line: 1, secrets: secrets}
	s.tell = s.told
	s.decoded = &Scanner{p: s.p, inner: true, tell: func(secret int32, f Form) {
		if f == Base64 || f == Base64Twice {
			s.told(secret, Base64Twice)
		} else {
			s.told(secret, Base64)
		}
	}}
	return s
}

const (
	addMask = "::add-mask::"
	// A runner's page has lines such as "2026-01-02T03:04:05.1234567Z text".
	stamp = len("2026-01-02T03:04:05.1234567Z ")
)

// Write reads on. It keeps nothing of b.
func (s *Scanner) Write(b []byte) (int, error) {
	for _, c := range b {
		s.offset++
		if c == '\n' {
			s.newLine()
			continue
		}
		s.column++
		if s.opt.Page && s.column <= stamp {
			continue // what is shorter is no text of the step
		}
		if s.opt.Runner && s.skips(c) {
			continue
		}
		s.take(c)
	}
	return len(b), nil
}

// newLine ends a line; a secret may go on in the next.
func (s *Scanner) newLine() {
	s.line++
	s.column, s.masking = 0, false
	s.command = s.command[:0]
}

// skips reports whether c belongs to an add-mask command.
func (s *Scanner) skips(c byte) bool {
	if s.masking {
		return true
	}
	begin := 0
	if s.opt.Page {
		begin = stamp
	}
	if s.column-begin > len(addMask) || len(s.command) != s.column-begin-1 {
		return false
	}
	if c != addMask[len(s.command)] {
		return false
	}
	s.command = append(s.command, c)
	s.masking = len(s.command) == len(addMask)
	return false
}

func (s *Scanner) take(c byte) {
	if !s.inner {
		s.takeBase64(c)
	}
	if !alnum[c] {
		return
	}
	s.chars[s.n%ring], s.at[s.n%ring] = c, s.offset
	s.n++
	s.window = s.window<<8 | uint64(c)
	h := hash(s.window)
	if s.p.filter[h>>6]&(1<<(h&63)) == 0 {
		return
	}
	for _, i := range s.p.ending[s.window] {
		s.try(&s.p.all[i])
	}
}

// try reports a pattern that ends here.
func (s *Scanner) try(p *pattern) {
	n := uint64(len(p.text))
	if n > s.n {
		return
	}
	first := s.n - n
	for i, c := range p.text {
		if s.chars[(first+uint64(i))%ring] != c {
			return
		}
	}
	form := p.form
	if p.span > 0 && s.offset-s.at[first%ring]+1 != p.span {
		form = Split
	}
	s.tell(p.secret, form)
}

func (s *Scanner) told(secret int32, form Form) {
	k := [2]int32{secret, int32(form)}
	if s.done[k] {
		return
	}
	s.done[k] = true
	s.found(Hit{Name: s.p.names[secret], Form: form, Line: s.line})
}

const (
	gzipMark = uint32('H')<<24 | uint32('4')<<16 | uint32('s')<<8 | uint32('I') // 1f 8b 08 in base64, and a bit
	maxGzip  = 1 << 20                                                          // base64 characters that are kept of one
	maxPlain = 16 << 20                                                         // bytes that are read out of one
)

// runLength is from how many base64 characters on a run is decoded: no word is
// that long.
const runLength = 64

// takeBase64 follows a run of base64 characters, over line breaks: what it
// decodes to may hold base64 with line breaks of its own, or be gzip.
func (s *Scanner) takeBase64(c byte) {
	switch {
	case base64Char[c]:
		s.last4 = s.last4<<8 | uint32(c)
		if s.inGzip {
			if len(s.gzip) < maxGzip {
				s.gzip = append(s.gzip, standard(c))
			}
		} else if s.last4 == gzipMark {
			s.inGzip, s.gzip = true, append(s.gzip[:0], "H4sI"...)
		}
		if s.run = append(s.run, standard(c)); len(s.run) == runLength {
			s.decodeRun()
		}
	case c == '\r':
	default:
		s.last4 = 0
		s.endGzip()
		s.endRun()
	}
}

// standard returns the character of RFC 4648 section 4 for one of section 5.
func standard(c byte) byte {
	switch c {
	case '-':
		return '+'
	case '_':
		return '/'
	}
	return c
}

// decodeRun gives what the run so far decodes to to the inner Scanner.
func (s *Scanner) decodeRun() {
	if !s.reading {
		s.reading = true
		s.decoded.reset()
	}
	text := s.run
	if len(text)%4 == 1 {
		text = text[:len(text)-1] // no byte
	}
	var b [runLength * 3 / 4]byte
	n, _ := base64.RawStdEncoding.Decode(b[:], text) // as far as it goes
	_, _ = s.decoded.Write(b[:n])
	s.run = s.run[:0]
}

func (s *Scanner) endRun() {
	if s.reading {
		s.decodeRun()
	}
	s.run, s.reading = s.run[:0], false
}

// reset forgets what was read.
func (s *Scanner) reset() { s.n, s.window, s.offset, s.line, s.column = 0, 0, 0, 1, 0 }

// endGzip reads what was collected.
func (s *Scanner) endGzip() {
	if !s.inGzip {
		return
	}
	s.inGzip = false
	text := s.gzip
	if len(text)%4 == 1 {
		text = text[:len(text)-1] // no byte
	}
	packed := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, _ := base64.RawStdEncoding.Decode(packed, text) // as far as it goes
	r, err := gzip.NewReader(bytes.NewReader(packed[:n]))
	if err != nil {
		return
	}
	if s.nested == nil {
		s.nested = compile(s.secrets, true)
	}
	inner := &Scanner{p: s.nested, inner: true, tell: func(secret int32, _ Form) { s.told(secret, Gzip) }}
	_, _ = io.Copy(inner, io.LimitReader(r, maxPlain)) // as far as it goes
}

// Close ends the stream: what was collected is read.
func (s *Scanner) Close() {
	s.endGzip()
	s.endRun()
}
