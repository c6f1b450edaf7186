package redact

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// Defaults and bounds.
const (
	DefaultMax     = 4096      // bytes of one text, PATH_MAX of linux/limits.h
	DefaultMaxArgv = 128 << 10 // bytes of all arguments of one exec
	maxArgs        = 4096      // arguments of one exec
)

// Options are the settings of a [Redactor]. The zero value works.
type Options struct {
	// Masked are values that the runner masks in its logs. They are found
	// anywhere, as they are and in the encodings that [Redactor] names. Values
	// of fewer than 4 bytes are left out: they would hit everywhere.
	Masked []string
	// Max bounds one text in bytes; 0 means DefaultMax. An argument of an exec
	// may be longer, up to what is left of MaxArgv.
	Max int
	// MaxArgv bounds all arguments of one exec together in bytes; 0 means
	// DefaultMaxArgv.
	MaxArgv int
}

// Redactor makes texts of what a job said. It may be used by several
// goroutines at once.
//
// It replaces: tokens of known shape, private key blocks, masked values, and
// what stands where only a secret stands (after --password, after
// Authorization:, before the @ of a URL). It looks through base64, hex and
// percent encoding, up to three layers. A replaced secret reads
//
//	[redacted github-token 40]
//
// with the name of the pattern and the length of the secret in bytes, and
// "x2" before the bracket where it was encoded twice.
//
// Control characters stand as their pictures (U+2400 and after, ␊ for a line
// feed), a byte that is not UTF-8 as its value ⟨ff⟩, any other character that
// does not print, such as a change of writing direction, as ⟨U+202E⟩.
// What is over the bound is cut at the end and reads [cut 123], in bytes.
type Redactor struct {
	key     [32]byte
	max     int
	maxArgv int
	masked  masked
	pool    sync.Pool
}

// New returns a redactor. The key is the recording's own: it makes the hashes
// of equal secrets equal within one recording and unrelated between two.
func New(key [32]byte, opt Options) *Redactor {
	r := &Redactor{key: key, max: opt.Max, maxArgv: opt.MaxArgv}
	if r.max <= 0 {
		r.max = DefaultMax
	}
	if r.maxArgv <= 0 {
		r.maxArgv = DefaultMaxArgv
	}
	r.masked = newMasked(opt.Masked)
	r.pool.New = func() any { return new(scanner) }
	return r
}

// Found tells of one secret that was replaced, without any part of it.
type Found struct {
	// Index is the place of the argument it was found in; 0 for single texts.
	Index int
	// Pattern is the name of what hit, such as github-token.
	Pattern Text
	// Length is that of the secret in bytes, decoded; Layers the number of
	// encodings around it.
	Length, Layers int
	// Hash is [Redactor.Hash] of the decoded secret.
	Hash Text
}

// Hash returns HMAC-SHA-256 of a secret under the recording's key, cut to 16
// bytes, in hex. It is how a header value or an environment value is stored.
func (r *Redactor) Hash(secret []byte) Text {
	m := hmac.New(sha256.New, r.key[:])
	m.Write(secret)
	var sum [sha256.Size]byte
	return Text{hex.EncodeToString(m.Sum(sum[:0])[:16])}
}

// Text returns b redacted, as a piece of prose, script or data.
func (r *Redactor) Text(b []byte) Text {
	t, _ := r.Find(b, nil)
	return t
}

// String is Text for a string.
func (r *Redactor) String(s string) Text { return r.Text([]byte(s)) }

// Find is Text and appends to found what it replaced.
func (r *Redactor) Find(b []byte, found []Found) (Text, []Found) {
	return r.one(b, inScript, found)
}

// Path returns the path of a file redacted. Options and programs mean nothing
// in a path; a token, a masked value or token=… in a file name does.
func (r *Redactor) Path(b []byte) Text {
	t, _ := r.one(b, inPath, nil)
	return t
}

// FindPath is Path and appends to found what it replaced.
func (r *Redactor) FindPath(b []byte, found []Found) (Text, []Found) {
	return r.one(b, inPath, found)
}

// URL returns a URL redacted: the password before the @, and the values of
// query parameters whose names call them secret.
func (r *Redactor) URL(b []byte) Text {
	t, _ := r.one(b, inURL, nil)
	return t
}

// FindURL is URL and appends to found what it replaced.
func (r *Redactor) FindURL(b []byte, found []Found) (Text, []Found) {
	return r.one(b, inURL, found)
}

// RequestPath returns the path and query of an HTTP request redacted.
func (r *Redactor) RequestPath(b []byte) Text { return r.URL(b) }

// Host returns a host name redacted, in lower case and without a final dot.
func (r *Redactor) Host(b []byte) Text {
	t, _ := r.FindHost(b, nil)
	return t
}

// FindHost is Host and appends to found what it replaced: a secret in a name
// that is looked up is one that leaves.
func (r *Redactor) FindHost(b []byte, found []Found) (Text, []Found) {
	if n := len(b); n > 1 && b[n-1] == '.' {
		b = b[:n-1]
	}
	t, found := r.one(b, inPath, found)
	return t.Lower(), found
}

// Env returns name and value of an environment variable, and false where the
// name is not one of those that may be stored; then both are empty.
func (r *Redactor) Env(name, value []byte) (Text, Text, bool) {
	t, ok := allowedEnv[string(name)]
	if !ok {
		return Text{}, Text{}, false
	}
	return t, r.Path(value), true
}
