package wire

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
)

func TestRequestsOfRealClientsAreRead(t *testing.T) {
	for _, c := range []struct {
		file, method, path, host string
		proxy, auth              bool
	}{
		{file: "http-curl", method: "GET", path: "/a/b?c=d&e=f", host: "curl.client.example"},
		{file: "http-curl-proxy", method: "GET", path: "/p?q", host: "proxied.example:8080", proxy: true},
		{file: "http-curl-connect", method: "CONNECT", host: "tunnel.example:443", proxy: true},
		{file: "http-node", method: "GET", path: "/node?x=1", host: "node.client.example"},
		{file: "http-wget", method: "GET", path: "/w", host: "wget.client.example"},
	} {
		q, err := Request(captured(t, c.file+".bin"))
		if err != nil || string(q.Method) != c.method || string(q.Path) != c.path || string(q.Host) != c.host || q.Proxy != c.proxy || q.Incomplete || q.Ambiguous || q.Credentials[0].Name != "" {
			t.Errorf("%s: %q %q %q %+v %v", c.file, q.Method, q.Path, q.Host, q, err)
		}
	}
	q, err := Request(captured(t, "http-curl-post.bin"))
	if err != nil || string(q.Method) != "POST" || !bytes.HasPrefix(q.Credentials[0].Value, []byte("Basic ")) {
		t.Errorf("%q %q %v", q.Method, q.Credentials[0].Value, err)
	}
	if _, err := Request(captured(t, "http-curl-h2c.bin")); !errors.Is(err, ErrHTTP2) {
		t.Errorf("HTTP/2: %v", err)
	}
}

func TestRequestLinesAreReadStrictly(t *testing.T) {
	for _, c := range []struct {
		in, method, path, host string
		err                    error
	}{
		{"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "/x", "h", nil},
		{"GET /x HTTP/1.1\nhOsT:\th \n\n", "GET", "/x", "h", nil},
		{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS", "*", "h", nil},
		{"GET http://h HTTP/1.1\r\n\r\n", "GET", "", "h", nil},
		{"GET http://u:p@h:1?q HTTP/1.1\r\n\r\n", "GET", "?q", "h:1", nil},
		{"GET /redirect?to=http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "/redirect?to=http://other/", "h", nil},
		{"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\r\n", "M-SEARCH", "*", "239.255.255.250:1900", nil},
		{"GET /long", "GET", "/long", "", nil},
		{"GET http://h.example/long", "GET", "/long", "h.example", nil},
		{"GET /x HTT", "GET", "/x", "", nil},
		{"", "", "", "", ErrIncomplete}, {"GE", "", "", "", ErrIncomplete}, {"GET ", "GET", "", "", ErrIncomplete}, {"hello world", "hello", "", "", ErrIncomplete},
		{"GET /x\r\n", "", "", "", ErrNotHTTP}, {"GET /x HTTP/2.0\r\n", "", "", "", ErrNotHTTP}, {"GET  HTTP/1.1\r\n", "", "", "", ErrNotHTTP}, {"GET /a b HTTP/1.1\r\n", "", "", "", ErrNotHTTP}, {"GET /\x00 HTTP/1.1\r\n", "", "", "", ErrNotHTTP},
		{" GET / HTTP/1.1\r\n", "", "", "", ErrNotHTTP}, {"G:T / HTTP/1.1\r\n", "", "", "", ErrNotHTTP}, {"SSH-2.0-OpenSSH_9.2\r\n", "", "", "", ErrNotHTTP}, {"HTTP/1.1 200 OK\r\n\r\n", "", "", "", ErrNotHTTP}, {"220 smtp.example ESMTP\r\n", "", "", "", ErrNotHTTP},
		{"\x16\x03\x01\x02\x00\x01", "", "", "", ErrNotHTTP}, {"AVERYLONGMETHODNAMETHATNOBODYEVERUSES / HTTP/1.1\r\n", "", "", "", ErrNotHTTP},
	} {
		q, err := Request([]byte(c.in))
		if !errors.Is(err, c.err) || string(q.Method) != c.method || string(q.Path) != c.path || string(q.Host) != c.host {
			t.Errorf("%q: %q %q %q %v", c.in, q.Method, q.Path, q.Host, err)
		}
	}
}

func TestAFoldedHostIsRead(t *testing.T) {
	for in, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost:\r\n evil.example\r\n\r\n":                         "evil.example",
		"GET / HTTP/1.1\r\nHost: \r\n\t\r\n evil.example \r\nA: b\r\n\r\n":         "evil.example",
		"GET / HTTP/1.1\r\nA: b\r\n Host: evil.example\r\nHost: a.example\r\n\r\n": "a.example",
	} {
		if q, err := Request([]byte(in)); err != nil || string(q.Host) != want || q.Ambiguous {
			t.Errorf("%q: host %q, ambiguous %v, %v", in, q.Host, q.Ambiguous, err)
		}
	}
}

func TestTwoHostsAreTold(t *testing.T) {
	for in, want := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":               true,
		"GET / HTTP/1.1\r\nHost: a\r\nHost: A\r\n\r\n":               false,
		"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n":                  true,
		"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n":                    true,
		"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n":            false,
		"GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n":               false,
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n":              false,
		"CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n":              true,
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: b": false,
	} {
		q, err := Request([]byte(in))
		if err != nil || q.Ambiguous != want {
			t.Errorf("%q: %v, %v", in, q.Ambiguous, err)
		}
		if q.Host == nil {
			t.Errorf("%q: no host", in)
		}
	}
}

func TestWhereARequestEndsIsSaidOnlyWhereEveryReaderAgrees(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\n"
	for in, want := range map[string]int{
		"\r\n":                                                     len(head) + 2,
		"\r\nGET /second HTTP/1.1\r\n\r\n":                         len(head) + 2,
		"Content-Length: 10\r\n\r\n123":                            len(head) + 32,
		"content-length: 0\r\n\r\n":                                len(head) + 21,
		"Content-Length:7\r\nContent-Length: 7\r\n\r\n":            len(head) + 46,
		"Content-Length: 7\r\nContent-Length: 8\r\n\r\n":           0,
		"Content-Length: 7, 7\r\n\r\n":                             0,
		"Content-Length: +7\r\n\r\n":                               0,
		"Content-Length: 0x7\r\n\r\n":                              0,
		"Content-Length:\r\n\r\n":                                  0,
		"Content-Length: 9999999999999999999\r\n\r\n":              0,
		"Transfer-Encoding: chunked\r\n\r\n":                       0,
		"Content-Length: 7\r\nTransfer-Encoding: identity\r\n\r\n": 0,
		"Content-Length : 7\r\n\r\n":                               0, // some servers take it
		"Content-Length\r\n: 7\r\n\r\n":                            0,
		"X: a\r\n Content-Length: 7\r\n\r\n":                       0, // folded
		"X: a\rContent-Length: 7\r\n\r\n":                          0,
		"X: a\n\r\n":                                               0, // a line feed alone
		"X: a\r\n\n":                                               0,
		"X: a\r\n":                                                 0, // not whole
	} {
		if q, err := Request([]byte(head + in)); err != nil || q.Size != uint64(want) {
			t.Errorf("%q: %d bytes, want %d, %v", head+in, q.Size, want, err)
		}
	}
	if q, err := Request([]byte("GET / HTTP/1.1\nHost: a\r\n\r\n")); err != nil || q.Size != 0 {
		t.Errorf("a request line that ends in a line feed alone: %d bytes, %v", q.Size, err)
	}
	for _, file := range []string{"http-curl", "http-node", "http-wget", "http-curl-connect"} {
		b := captured(t, file+".bin")
		if q, err := Request(b); err != nil || q.Size != uint64(len(b)) {
			t.Errorf("%s: %d of its %d bytes, %v", file, q.Size, len(b), err)
		}
	}
}

func TestATargetThatIsNotWholeIsToldAsSuch(t *testing.T) {
	for in, want := range map[string]bool{"GET /a": true, "GET http://a.example/b": true, "GET /a HTT": false, "GET /a HTTP/1.1\r\n": false} {
		if q, err := Request([]byte(in)); err != nil || q.Cut != want || !q.Incomplete {
			t.Errorf("%q: cut %v, incomplete %v, %v", in, q.Cut, q.Incomplete, err)
		}
	}
}

func TestARequestCutAnywhereSaysSo(t *testing.T) {
	whole := captured(t, "http-curl-post.bin")
	whole = whole[:bytes.Index(whole, []byte("\r\n\r\n"))+4]
	for n := range whole {
		q, err := Request(whole[:n])
		if err == nil && !q.Incomplete || err != nil && !errors.Is(err, ErrIncomplete) {
			t.Errorf("%d bytes: %+v, %v", n, q, err)
		}
	}
	if q, err := Request(whole); err != nil || q.Incomplete {
		t.Errorf("the whole: %+v, %v", q, err)
	}
}

func TestARequestAllocatesNothing(t *testing.T) {
	b := captured(t, "http-curl-proxy.bin")
	if n := testing.AllocsPerRun(100, func() { Request(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRequest holds the parser against net/http: a request that Go's server
// reads whole, ours reads with the same method, target and host.
func FuzzRequest(f *testing.F) {
	files, _ := filepath.Glob("testdata/http-*.bin")
	for _, file := range files {
		f.Add(captured(f, filepath.Base(file)))
	}
	f.Add([]byte("GET http://a/ HTTP/1.0\nHost: b\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := Request(b)
		for _, part := range [][]byte{q.Method, q.Path, q.Host, q.Credentials[0].Value} {
			if len(part) > len(b) || bytes.IndexByte(part, '\n') >= 0 {
				t.Errorf("%q: %q", b, part)
			}
		}
		theirs, failed := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if failed != nil || theirs.ProtoMajor != 1 {
			return
		}
		// net/http takes more methods, targets and versions than RFC 9112 has.
		if err != nil || q.Incomplete {
			return
		}
		if q.Size > 0 {
			if q.Cut || q.Size < uint64(len(q.Method)+len(q.Path)) || theirs.ContentLength < 0 || uint64(theirs.ContentLength) > q.Size {
				t.Errorf("%q: %d bytes, net/http reads a body of %d", b, q.Size, theirs.ContentLength)
			}
		}
		if theirs.Method != string(q.Method) {
			t.Errorf("%q: method %q, net/http reads %q", b, q.Method, theirs.Method)
		}
		if hosts := theirs.Host; !q.Ambiguous && hosts != string(q.Host) && !q.Proxy {
			t.Errorf("%q: host %q, net/http reads %q", b, q.Host, hosts)
		}
		if !q.Proxy && theirs.RequestURI != string(q.Path) {
			t.Errorf("%q: path %q, net/http reads %q", b, q.Path, theirs.RequestURI)
		}
	})
}
