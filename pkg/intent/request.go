package intent

import (
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// maxRequests bounds the requests of one entry.
const maxRequests = 256

// maxRequest bounds one of them in bytes, with all that is escaped in it.
const maxRequest = 4096

// request is one item of http: a method, and a pattern of paths in which *
// stays within one name and ** is any number of names.
type request struct {
	method string // "*" for any
	path   string // canonical
	names  []string
}

// parseRequest reads "METHOD /path", or "METHOD" for any path.
func parseRequest(s string) (request, error) {
	method, path, hasPath := strings.Cut(s, " ")
	at := len(s) - len(path)
	if !hasPath {
		path, at = "/**", 0
	}
	q := request{method: method}
	switch {
	case len(s) > maxRequest:
		return q, badAt(0, "longer than a request can be")
	case strings.HasPrefix(s, "/"):
		return q, badAt(0, `the method is missing; write "GET %s", or "* %s" for any`, s, s)
	case method != "*" && !isMethod(method):
		return q, badAt(0, `not a method; want one such as GET in capitals, or * for any`)
	case strings.Contains(path, "://"):
		return q, badAt(at, "want the path alone: the host stands in to")
	case !strings.HasPrefix(path, "/"):
		return q, badAt(at, `want a path that begins with "/"`)
	case strings.ContainsAny(path, "?#"):
		return q, badAt(at+strings.IndexAny(path, "?#"), "write the path without its query: it is not looked at")
	}
	var ok bool
	if q.path, ok = plainPath(path); !ok {
		return q, badAt(at, `write the path plain, without "//", "/./", "/../", "\", "[" and their escapes`)
	}
	// It is read again as it is written here, where each byte may be three.
	if len(method)+1+len(q.path) > maxRequest {
		return q, badAt(0, "longer than a request can be")
	}
	for _, name := range strings.Split(q.path[1:], "/") {
		if name != "**" && strings.Contains(name, "**") {
			return q, badAt(at, "** stands alone between slashes")
		}
		if name == "**" && len(q.names) > 0 && q.names[len(q.names)-1] == "**" {
			continue
		}
		q.names = append(q.names, name)
	}
	q.path = "/" + strings.Join(q.names, "/")
	// Each ** may try every place of the path; more than a few are a mistake.
	if strings.Count(q.path, "**") > 4 {
		return q, badAt(at, "more than four ** in one pattern")
	}
	return q, nil
}

func isMethod(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// String is the request in its canonical form.
func (q *request) String() string { return q.method + " " + q.path }

// all reports whether any path is meant.
func (q *request) all() bool { return len(q.names) == 1 && q.names[0] == "**" }

// covers reports whether a Request fact is one that q allows. A path that two
// servers may read in two ways is covered only where any path is.
func (q *request) covers(f *fact.Fact) bool {
	if f.Elsewhere || q.method != "*" && q.method != f.Method.String() {
		return false
	}
	if q.all() {
		return true
	}
	path, ok := plainPath(f.Path.String())
	return ok && matchNames(q.names, path[1:], true)
}

// includes reports whether q allows all that o does.
func (q *request) includes(o *request) bool {
	return (q.method == "*" || q.method == o.method) && matchNames(q.names, o.path[1:], true)
}

// matchNames reports whether a pattern holds a path without its first slash;
// more says that another name stands there, if only the empty one after a final
// slash. ** in the path is matched by ** only, so that patterns can be compared.
func matchNames(names []string, path string, more bool) bool {
	for len(names) > 0 {
		if names[0] == "**" {
			if len(names) == 1 {
				return true
			}
			for {
				if matchNames(names[1:], path, more) {
					return true
				}
				if !more {
					return false
				}
				_, path, more = strings.Cut(path, "/")
			}
		}
		if !more {
			return false
		}
		var name string
		name, path, more = strings.Cut(path, "/")
		if name == "**" || name == "" && names[0] != "" || !document.MatchStars(names[0], name) {
			return false
		}
		names = names[1:]
	}
	return !more
}

// plainPath returns the path of a request in the form in which paths are
// compared: escapes that stand for what needs none are taken out, a slash among
// them, and all others are written in one way (RFC 3986 §6.2.2). It returns
// false where one server may read another path than the next: a "." or ".."
// that some resolve and some do not, also with parameters behind it, an empty
// name, a backslash, an escape of an escape; or where a part was redacted or cut.
func plainPath(p string) (string, bool) {
	if p == "" || p[0] != '/' {
		return "", false
	}
	const digits = "0123456789ABCDEF"
	var b []byte // nil while nothing was changed
	for i := 0; i < len(p); i++ {
		c, n := p[i], 1
		switch {
		case c <= ' ' || c == 0x7f || c == '\\' || c == '[' || c == ']':
			return "", false
		case c == '%':
			if i+2 >= len(p) || hexValue(p[i+1]) < 0 || hexValue(p[i+2]) < 0 {
				return "", false
			}
			c, n = byte(hexValue(p[i+1])<<4|hexValue(p[i+2])), 3
			if c <= ' ' && c != ' ' || c == 0x7f || c == '\\' || c == '%' || c == '.' {
				return "", false
			}
		case c < 0x80:
			if b != nil {
				b = append(b, c)
			}
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, len(p)+8), p[:i]...)
		}
		if n == 3 && plainByte(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
		i += n - 1
	}
	if b != nil {
		p = string(b)
	}
	for rest, more := p[1:], true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		before, _, _ := strings.Cut(name, ";")
		if before == "." || before == ".." || name == "" && more {
			return "", false
		}
	}
	return p, true
}

// plainByte reports whether an escaped byte needs no escape in a path: those of
// RFC 3986 §3.3, and the slash, which many servers take for one all the same. A
// star stays escaped, since it would be one of a pattern.
func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_~!$&'()+,;=:@/", c) >= 0
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// parseRequests reads the requests of an entry, and returns them and their
// canonical forms, sorted.
func parseRequests(list []string) ([]request, []string, error) {
	var texts []string
	for _, s := range list {
		q, err := parseRequest(s)
		if err != nil {
			return nil, nil, err
		}
		texts = append(texts, q.String())
	}
	texts = sorted(texts)
	requests := make([]request, len(texts))
	for i, s := range texts {
		requests[i], _ = parseRequest(s) // its own canonical form
	}
	return requests, texts, nil
}

// allows reports whether one of the entry's requests is the fact's.
func (g *grant) allows(f *fact.Fact) bool {
	return slices.ContainsFunc(g.requests, func(q request) bool { return q.covers(f) })
}

// otherRequest says why none of the entry's requests is the fact's.
func (g *grant) otherRequest(f *fact.Fact) string {
	wants := "it allows " + few(g.entry.HTTP, " and ") + " only"
	if f.Elsewhere {
		return "the request is for another host, or names two; " + wants
	}
	if _, ok := plainPath(f.Path.String()); !ok {
		return "not every server reads this path in the same way, so only a pattern of every path covers it; " + wants
	}
	return wants
}

// requestOf returns the item of http that covers a Request fact most closely;
// none where only an entry without http does.
func requestOf(f *fact.Fact) []string {
	if f.Elsewhere {
		return nil
	}
	method := f.Method.String()
	if !isMethod(method) {
		method = "*"
	}
	path, ok := plainPath(f.Path.String())
	if !ok {
		path = "/**"
	}
	return []string{method + " " + literal(path)}
}

// limits reports whether the grant says what may be requested, or with which key.
func (g *grant) limits() bool { return len(g.requests)+len(g.entry.Keys) > 0 }

// KeysFor returns the variables that hold the keys which the grants of a Connect
// fact name; none where one of them takes any key.
func (r *Resolved) KeysFor(f *fact.Fact) []string {
	if !r.requests || f.Verb != fact.Connect {
		return nil
	}
	var names []string
	var at [64]int32
	for _, i := range r.found[fact.Connect].find(at[:0], f) {
		if g := &r.grants[fact.Connect][i]; g.covers(f) {
			if len(g.entry.Keys) == 0 {
				return nil
			}
			names = append(names, g.entry.Keys...)
		}
	}
	return names
}

// KeyNames returns the variables whose values are keys that a grant names,
// sorted.
func (r *Resolved) KeyNames() []string {
	var names []string
	for i := range r.grants[fact.Connect] {
		names = append(names, r.grants[fact.Connect][i].entry.Keys...)
	}
	return sorted(names)
}

// Requests reports whether any grant limits what may be requested, or with which
// key.
func (r *Resolved) Requests() bool { return r.requests }

// LimitsRequests reports whether what is requested on the connections of a
// Connect fact needs a grant: some grant covers them, and each that does says
// what may be requested, or with which key.
func (r *Resolved) LimitsRequests(f *fact.Fact) bool {
	if !r.requests || f.Verb != fact.Connect {
		return false
	}
	limited := false
	var at [64]int32
	for _, i := range r.found[fact.Connect].find(at[:0], f) {
		if g := &r.grants[fact.Connect][i]; g.covers(f) {
			if !g.limits() {
				return false
			}
			limited = true
		}
	}
	return limited
}
