package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func alpn(h Hello) string {
	var s []string
	for _, p := range h.ALPN {
		s = append(s, string(p))
	}
	return strings.Join(s, ",")
}

func TestHellosOfRealClientsAreRead(t *testing.T) {
	for _, c := range []struct {
		file, name, alpn string
		version          uint16
	}{
		{"tls-go", "go.client.example", "h2,http/1.1", 0x0304},
		{"tls-openssl", "openssl.client.example", "h2,http/1.1", 0x0304},
		{"tls-openssl-12", "old.client.example", "", 0x0303},
		{"tls-openssl-nosni", "", "", 0x0304},
		{"tls-curl", "curl.client.example", "h2,http/1.1", 0x0304},
		{"tls-node", "node.client.example", "http/1.1", 0x0304},
		{"tls-python", "python.client.example", "", 0x0304},
	} {
		h, err := ClientHello(captured(t, c.file+".bin"))
		if err != nil || string(h.ServerName) != c.name || alpn(h) != c.alpn || h.Version != c.version || h.Incomplete || h.ECH {
			t.Errorf("%s: %+v, %q, %v", c.file, h, h.ServerName, err)
		}
	}
}

func TestAHelloCutAnywhereSaysSo(t *testing.T) {
	whole := captured(t, "tls-curl.bin")
	seen := false
	for n := range whole {
		h, err := ClientHello(whole[:n])
		if err != nil && !errors.Is(err, ErrIncomplete) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err == nil && !h.Incomplete {
			t.Errorf("%d bytes pass for the whole", n)
		}
		if name := string(h.ServerName); name != "" && name != "curl.client.example" {
			t.Errorf("%d bytes: half a name: %q", n, name)
		}
		if seen && h.ServerName == nil {
			t.Errorf("%d bytes: the name is lost again", n)
		}
		seen = seen || h.ServerName != nil
	}
	if !seen {
		t.Error("no cut shows the name")
	}
	if h, err := ClientHello(captured(t, "tls-curl-cut.bin")); !errors.Is(err, ErrIncomplete) || !h.Incomplete {
		t.Errorf("%+v, %v", h, err)
	}
}

// split puts the hello of one record into records of n bytes, as programs do
// that hide the name from a reader of the first record.
func split(b []byte, n int) []byte {
	body := b[5:]
	var out []byte
	for len(body) > 0 {
		m := min(n, len(body))
		out = append(out, 22, 3, 1, byte(m>>8), byte(m))
		out = append(out, body[:m]...)
		body = body[m:]
	}
	return out
}

func TestAHelloSplitOverRecordsIsPutTogether(t *testing.T) {
	for _, file := range []string{"tls-go.bin", "tls-curl.bin", "tls-openssl-nosni.bin"} {
		whole := captured(t, file)
		want, _ := ClientHello(whole)
		for _, n := range []int{1, 2, 3, 5, 64, 100, 200} {
			h, err := ClientHello(split(whole, n))
			if err != nil || string(h.ServerName) != string(want.ServerName) || alpn(h) != alpn(want) || h.Version != want.Version || h.Incomplete {
				t.Errorf("%s in records of %d: %+v, %v", file, n, h, err)
			}
		}
	}
}

// RFC 8446 §5.1 has receivers ignore it, and crypto/tls does.
func TestTheVersionOfARecordDoesNotMatter(t *testing.T) {
	whole := captured(t, "tls-curl.bin")
	want, err := ClientHello(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, major := range []byte{0, 2, 0x0f} {
		for _, b := range [][]byte{bytes.Clone(whole), split(whole, 100)} {
			b[1] = major
			if len(b) > len(whole) {
				b[105+1] = major // of the second record
			}
			if h, err := ClientHello(b); err != nil || string(h.ServerName) != string(want.ServerName) {
				t.Errorf("%#x: %q, %v", major, h.ServerName, err)
			}
		}
	}
}

func TestWhatIsNoHelloIsRefused(t *testing.T) {
	whole := captured(t, "tls-curl.bin")
	change := func(at int, to byte) []byte {
		b := append([]byte(nil), whole...)
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"HTTP":                          []byte("GET / HTTP/1.1\r\n\r\n"),
		"application data":              change(0, 23),
		"SSH":                           []byte("SSH-2.0-OpenSSH_9.2\r\n"),
		"a ServerHello":                 change(5, 2),
		"a version of no TLS":           change(1, 0x10),
		"an empty record":               {22, 3, 1, 0, 0},
		"a record that is too long":     {22, 3, 1, 0xff, 0xff},
		"a session id beyond the end":   change(43, 0xff),
		"extensions that do not add up": change(43+1+32+2+62+2+1, 0x7f),
	} {
		if h, err := ClientHello(b); !errors.Is(err, ErrNotTLS) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	for _, b := range []string{"", "\x16", "\x16\x03\x01", "\x16\x03\x01\x02\x00", "\x16\x03\x01\x02\x00\x01\x00"} {
		if _, err := ClientHello([]byte(b)); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestAHelloOfOneRecordAllocatesForItsProtocolsOnly(t *testing.T) {
	b := captured(t, "tls-python.bin")
	if n := testing.AllocsPerRun(100, func() { ClientHello(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzClientHello holds the parser against crypto/tls: whenever Go's server
// reads a hello, it reads the same name and protocols as we do.
func FuzzClientHello(f *testing.F) {
	files, _ := filepath.Glob("testdata/tls-*.bin")
	for _, file := range files {
		f.Add(captured(f, filepath.Base(file)))
	}
	f.Add(split(captured(f, "tls-curl.bin"), 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ClientHello(b)
		if len(h.ALPN) > maxALPN || len(h.ServerName) > len(b) {
			t.Errorf("%d protocols", len(h.ALPN))
		}
		if err != nil && err != ErrNotTLS && err != ErrIncomplete {
			t.Error(err)
		}
		for _, n := range []int{len(b) / 2, len(b) - 1} {
			if n < 0 {
				break
			}
			if cut, err := ClientHello(b[:n]); err == nil && cut.ServerName != nil && h.ServerName != nil && string(cut.ServerName) != string(h.ServerName) {
				t.Errorf("%q when cut, %q", cut.ServerName, h.ServerName)
			}
		}
		info := goServer(b)
		if info == nil {
			return
		}
		if err != nil || h.Incomplete {
			t.Fatalf("%x: %v, but crypto/tls reads %q", b, err, info.ServerName)
		}
		if info.ServerName != string(h.ServerName) || strings.Join(info.SupportedProtos[:min(len(info.SupportedProtos), maxALPN)], ",") != alpn(h) {
			t.Errorf("%x: %q %q, crypto/tls reads %q %q", b, h.ServerName, alpn(h), info.ServerName, info.SupportedProtos)
		}
	})
}

var errStop = errors.New("seen")

// goServer gives b to a server of crypto/tls and returns the hello it read.
func goServer(b []byte) (info *tls.ClientHelloInfo) {
	c := &replay{b: b}
	tls.Server(c, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		info = i
		return nil, errStop
	}}).HandshakeContext(context.Background())
	return info
}

// replay is a connection that says b and hears nothing.
type replay struct{ b []byte }

func (r *replay) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}
func (*replay) Write(p []byte) (int, error)      { return len(p), nil }
func (*replay) Close() error                     { return nil }
func (*replay) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*replay) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*replay) SetDeadline(time.Time) error      { return nil }
func (*replay) SetReadDeadline(time.Time) error  { return nil }
func (*replay) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkClientHello(b *testing.B) {
	hello := captured(b, "tls-curl.bin")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ClientHello(hello); err != nil {
			b.Fatal(err)
		}
	}
}
