package wire

import "bytes"

// HTTPRequest is the head of an HTTP/1 request (RFC 9112).
type HTTPRequest struct {
	// Method and Path are those of the request line. Path is the request target
	// without scheme and host, with its query; * for a server-wide OPTIONS,
	// empty for CONNECT.
	Method, Path []byte
	// Host is the host and port that the request is for: from the target where
	// it names one, as it does towards a proxy (RFC 9112 §3.2), else from the
	// Host header.
	Host []byte
	// Proxy: the target names a host, so the peer is asked to forward.
	Proxy bool
	// Credentials are the headers that hold one, to be hashed and never kept. An
	// entry that is not used has no name.
	Credentials [maxCredentials]Credential
	// Ambiguous: two Host headers differ, or one differs from the target, so
	// that two readers may see two hosts.
	Ambiguous bool
	// Incomplete: the bytes end before the headers do. Cut: within the target.
	Incomplete, Cut bool
	// Size is how many bytes the request takes on its connection: the head, and
	// the body that Content-Length declares (RFC 9112 §6.3). It is 0 where that is
	// not known, as for a chunked body, or where two readers may see two ends.
	Size uint64
}

// maxHeaders bounds the header lines that are looked at.
const maxHeaders = 256

// Request reads the request at the beginning of an HTTP/1 stream. The error is
// ErrNotHTTP where there is none, ErrHTTP2 for the preface of HTTP/2, and
// ErrIncomplete where the bytes end before the target. A request that is cut
// later is no error: Incomplete says so, and what is there is returned, of a
// long target its beginning.
func Request(b []byte) (HTTPRequest, error) {
	var q HTTPRequest
	if preface := "PRI * HTTP/2.0\r\n"; len(b) >= len(preface) && string(b[:len(preface)]) == preface {
		return q, ErrHTTP2
	}
	n := 0
	for n < len(b) && isToken(b[n]) {
		n++
	}
	const maxMethod = 32
	if n > maxMethod {
		return q, ErrNotHTTP
	}
	if n == len(b) {
		return q, ErrIncomplete
	}
	if n == 0 || b[n] != ' ' {
		return q, ErrNotHTTP
	}
	q.Method = b[:n:n]
	line, rest, found := cutLine(b[n+1:])
	if !found {
		line = bytes.TrimSuffix(line, []byte("\r"))
		for _, c := range line {
			if c < ' ' || c == 0x7f {
				return HTTPRequest{}, ErrNotHTTP
			}
		}
		// A long target, perhaps one that carries data out: what is there of it
		// is worth telling.
		q.Incomplete = true
		if len(line) == 0 || line[0] != '/' && !bytes.Contains(line, []byte("://")) || !isUpper(q.Method) {
			return q, ErrIncomplete
		}
		sp := bytes.IndexByte(line, ' ')
		if q.Cut = sp < 0; !q.Cut {
			line = line[:sp:sp]
		}
		q.target(line)
		return q, nil
	}
	sp := bytes.LastIndexByte(line, ' ')
	if sp <= 0 || !isVersion(line[sp+1:]) {
		return HTTPRequest{}, ErrNotHTTP
	}
	target := line[:sp:sp]
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return HTTPRequest{}, ErrNotHTTP
		}
	}
	q.target(target)
	q.headers(rest, len(b)-len(rest))
	if b[len(b)-len(rest)-2] != '\r' {
		q.Size = 0 // as in headers
	}
	return q, nil
}

// target takes the request target apart: origin, absolute, authority or
// asterisk form.
func (q *HTTPRequest) target(t []byte) {
	if string(q.Method) == "CONNECT" {
		q.Host, q.Proxy = t, true
		return
	}
	i := bytes.Index(t, []byte("://"))
	if i < 0 || !isScheme(t[:i]) {
		q.Path = t
		return
	}
	t = t[i+3:]
	end := bytes.IndexAny(t, "/?#")
	if end < 0 {
		end = len(t)
	}
	host := t[:end:end]
	if at := bytes.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	q.Host, q.Path, q.Proxy = host, t[end:], true
}

// headers looks for Host, credentials and what tells where the request ends;
// before is how many bytes of it stand before b.
func (q *HTTPRequest) headers(b []byte, before int) {
	inHost := false // the line before was part of a Host
	body := bodySize{plain: true}
	all := before + len(b)
	for range maxHeaders {
		line, rest, found := cutLine(b)
		if !found {
			q.Incomplete = true
			return
		}
		// A line feed alone, or a carriage return alone, is the end of a line for
		// one reader and not for another.
		body.plain = body.plain && len(b)-len(rest) == len(line)+2 && bytes.IndexByte(line, '\r') < 0
		b = rest
		if len(line) == 0 {
			if body.plain {
				q.Size = uint64(all-len(b)) + body.n
			}
			return
		}
		if line[0] == ' ' || line[0] == '\t' {
			// Folded (RFC 9112 §5.2): what is in this line belongs to the value
			// before it, for servers that still take that.
			body.plain = false
			if value := trimBlank(line); inHost && len(q.Host) == 0 {
				q.Host = value
			} else if inHost && len(value) > 0 {
				q.Ambiguous = true
			}
			continue
		}
		inHost = false
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			body.plain = false
			continue
		}
		value = trimBlank(value)
		switch {
		case isHeader(name, "host"):
			inHost = true
			if q.Host == nil {
				q.Host = value
			} else if !sameHost(q.Host, value) {
				q.Ambiguous = true
			}
		case isHeader(name, "content-length"):
			body.declared(value)
		case isHeader(name, "transfer-encoding"):
			body.plain = false
		case !isName(name):
			body.plain = false // a blank before the colon: some take it for the header
		default:
			q.credential(credentialHeader(name), value)
		}
	}
	q.Incomplete = true
}

// bodySize is what the headers say of how long the body is.
type bodySize struct {
	n     uint64
	said  bool
	plain bool // nothing was there that two readers may read in two ways
}

// declared takes the value of a Content-Length.
func (s *bodySize) declared(value []byte) {
	const digits = 18
	var n uint64
	for _, c := range value {
		if c < '0' || c > '9' {
			s.plain = false
			return
		}
		n = n*10 + uint64(c-'0')
	}
	s.plain = s.plain && len(value) > 0 && len(value) <= digits && (!s.said || n == s.n)
	s.n, s.said = n, true
}

// isName reports whether a header's name is one: a token, RFC 9110 §5.1.
func isName(name []byte) bool {
	for _, c := range name {
		if !isToken(c) {
			return false
		}
	}
	return len(name) > 0
}

func trimBlank(b []byte) []byte {
	return bytes.TrimFunc(b, func(r rune) bool { return r == ' ' || r == '\t' })
}

// sameHost compares without case and without the port of plain HTTP.
func sameHost(a, b []byte) bool {
	a, b = bytes.TrimSuffix(a, []byte(":80")), bytes.TrimSuffix(b, []byte(":80"))
	return bytes.EqualFold(a, b)
}

// cutLine cuts b behind the first line feed; a bare one ends a line too (RFC
// 9112 §2.2).
func cutLine(b []byte) (line, rest []byte, found bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil, false
	}
	line, rest = b[:i:i], b[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[: i-1 : i-1]
	}
	return line, rest, true
}

// isHeader compares a header's name with lower, which is in lower case.
func isHeader(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func isUpper(b []byte) bool {
	for _, c := range b {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// isScheme reports whether s is the scheme of a URI, RFC 3986 §3.1.
func isScheme(s []byte) bool {
	for i, c := range s {
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return len(s) > 0
}

func isVersion(v []byte) bool {
	return len(v) == 8 && string(v[:7]) == "HTTP/1." && v[7] >= '0' && v[7] <= '9'
}

// isToken reports whether c may stand in a method, RFC 9110 §5.6.2.
func isToken(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}
