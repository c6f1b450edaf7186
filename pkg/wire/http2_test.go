package wire

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// said2 is what a client of HTTP/2 writes, by the encoder of another program.
type said2 struct {
	b      bytes.Buffer
	framer *http2.Framer
	block  bytes.Buffer
	enc    *hpack.Encoder
	stream uint32
}

func newSaid2() *said2 {
	s := &said2{stream: 1}
	s.framer = http2.NewFramer(&s.b, nil)
	s.enc = hpack.NewEncoder(&s.block)
	s.b.WriteString(preface2)
	_ = s.framer.WriteSettings()
	_ = s.framer.WriteWindowUpdate(0, 1<<20)
	return s
}

// request writes one whose headers are in so many frames, with a body.
func (s *said2) request(frames int, body []byte, fields ...string) {
	s.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = s.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	b := s.block.Bytes()
	part := (len(b) + frames - 1) / frames
	first := b[:min(part, len(b))]
	b = b[len(first):]
	_ = s.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: s.stream, BlockFragment: first, EndHeaders: len(b) == 0, PadLength: 3,
		Priority: http2.PriorityParam{Weight: 7},
	})
	for len(b) > 0 {
		n := min(part, len(b))
		_ = s.framer.WriteContinuation(s.stream, n == len(b), b[:n])
		b = b[n:]
	}
	if len(body) > 0 {
		_ = s.framer.WriteData(s.stream, true, body)
	}
	s.stream += 2
}

func list2(into *[]string) func(*HTTPRequest) {
	return func(q *HTTPRequest) {
		s := fmt.Sprintf("%s %s%s", q.Method, q.Host, q.Path)
		for _, c := range q.Credentials {
			if c.Name != "" {
				s += fmt.Sprintf(" %s=%s", c.Name, c.Value)
			}
		}
		*into = append(*into, s)
	}
}

func TestRequestsOfHTTP2AreReadHoweverTheyAreWritten(t *testing.T) {
	s := newSaid2()
	s.request(1, nil, ":method", "GET", ":scheme", "https", ":authority", "h.example.com", ":path", "/a", "authorization", "Bearer x")
	s.request(3, bytes.Repeat([]byte("GET /body HTTP/1.1\r\n"), 500), ":method", "POST", ":scheme", "https", ":authority", "h.example.com", ":path", "/b?q=1", "x-api-key", "y")
	s.request(1, nil, ":method", "GET", ":scheme", "https", ":authority", "h.example.com", ":path", "/a", "authorization", "Bearer x")
	want := []string{"GET h.example.com/a authorization=Bearer x", "POST h.example.com/b?q=1 x-api-key=y", "GET h.example.com/a authorization=Bearer x"}
	for _, piece := range []int{1, 2, 7, 100, 1 << 20} {
		var h HTTP2
		var got []string
		for b := s.b.Bytes(); len(b) > 0; {
			n := min(piece, len(b))
			if err := h.Add(b[:n], uint64(n), list2(&got)); err != nil {
				t.Fatalf("in pieces of %d: %v", piece, err)
			}
			b = b[n:]
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: %q; want %q", piece, got, want)
		}
	}
}

func TestBodiesThatAreNotSeenAreNoLoss(t *testing.T) {
	s := newSaid2()
	s.request(1, nil, ":method", "POST", ":path", "/a")
	before := s.b.Len()
	_ = s.framer.WriteData(1, true, make([]byte, 10_000))
	body := s.b.Bytes()[before:]
	var h HTTP2
	var got []string
	if err := h.Add(s.b.Bytes()[:before], uint64(before), list2(&got)); err != nil {
		t.Fatal(err)
	}
	if err := h.Add(body[:frameHead], uint64(len(body)), list2(&got)); err != nil {
		t.Fatal(err)
	}
	before = s.b.Len()
	s.request(1, nil, ":method", "GET", ":path", "/b")
	if err := h.Add(s.b.Bytes()[before:], uint64(s.b.Len()-before), list2(&got)); err != nil || len(got) != 2 {
		t.Errorf("%q %v", got, err)
	}
}

func TestALostStateIsSaidAndNotGuessed(t *testing.T) {
	s := newSaid2()
	head := s.b.Len()
	s.request(1, nil, ":method", "GET", ":path", "/first", "x-api-key", "in the table")
	first := s.b.Len()
	s.request(1, nil, ":method", "GET", ":path", "/first", "x-api-key", "in the table")
	b := s.b.Bytes()
	for name, pieces := range map[string][][2]int{ // from and to; what is between two is not there
		"without the beginning":     {{head, len(b)}},
		"without the first request": {{0, head}, {first, len(b)}},
		"cut in the headers":        {{0, head + 12}, {first, len(b)}},
	} {
		var h HTTP2
		var got []string
		var err error
		at := 0
		for _, p := range pieces {
			if p[0] > at && at > 0 {
				err = h.Add(nil, uint64(p[0]-at), list2(&got))
			}
			if err == nil {
				err = h.Add(b[p[0]:p[1]], uint64(p[1]-p[0]), list2(&got))
			}
			at = p[1]
		}
		if err != ErrLost || len(got) > 0 {
			t.Errorf("%s: %q %v", name, got, err)
		}
		if err := h.Add(b[:head], uint64(head), list2(&got)); err != ErrLost {
			t.Errorf("%s: found again: %v", name, err)
		}
	}
}

func TestHeadersOfHTTP2AreBounded(t *testing.T) {
	var h HTTP2
	b := []byte(preface2)
	for range 3 {
		b = append(b, 0, 0x3f, 0xff, frameHeaders, 0, 0, 0, 0, 1) // 16,383 bytes, not at their end
		b = append(b, make([]byte, 0x3fff)...)
		if len(b) > len(preface2)+20_000 {
			b[len(b)-0x3fff-6] = frameContinuation
		}
	}
	if err := h.Add(b, uint64(len(b)), func(*HTTPRequest) {}); err != ErrLost {
		t.Errorf("%v", err)
	}
	if cap(h.block) > 2*maxBlock {
		t.Errorf("%d bytes are kept", cap(h.block))
	}
}

func TestWhatOfACredentialIsTheKey(t *testing.T) {
	for _, c := range []struct{ name, value, first, second string }{
		{"x-api-key", "abc", "abc", ""},
		{"authorization", "Bearer abc", "abc", ""},
		{"authorization", "token  abc", "abc", ""},
		{"authorization", "abc", "abc", ""},
		{"authorization", "Basic cm9ib3Q6YWJj", "abc", "robot"},
		{"authorization", "Basic YWJjOg==", "abc", ""},
		{"authorization", "Basic YWJjOngtb2F1dGgtYmFzaWM=", "abc", ""},
		{"authorization", "Basic ???", "???", ""},
		{"authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature=00", "AKIDEXAMPLE", ""},
	} {
		first, second := (&Credential{c.name, []byte(c.value)}).Keys()
		if string(first) != c.first || string(second) != c.second {
			t.Errorf("%s: %s is %q and %q", c.name, c.value, first, second)
		}
	}
}

func FuzzHTTP2(f *testing.F) {
	s := newSaid2()
	s.request(2, []byte("body"), ":method", "POST", ":scheme", "https", ":authority", "h", ":path", "/b?q=1", "x-api-key", "y")
	f.Add(s.b.Bytes(), 7)
	f.Add(s.b.Bytes(), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		var whole, parts HTTP2
		var one, two []string
		err1 := whole.Add(b, uint64(len(b)), list2(&one))
		var err2 error
		piece = max(1, min(piece, 1<<10))
		for rest := b; len(rest) > 0 && err2 == nil; {
			n := min(piece, len(rest))
			err2 = parts.Add(rest[:n], uint64(n), list2(&two))
			rest = rest[n:]
		}
		if err1 != err2 || !slices.Equal(one, two) {
			t.Fatalf("whole: %q %v; in pieces: %q %v", one, err1, two, err2)
		}
		if len(whole.block) > maxBlock || len(whole.frame) > maxBlock {
			t.Fatal("more is kept than the bound")
		}
	})
}

// What HPACK decodes is another's code, so it is fuzzed where we rely on it: with
// a table that refers back.
func FuzzHPACK(f *testing.F) {
	s := newSaid2()
	s.request(1, nil, ":method", "GET", ":path", "/a", "x-api-key", "y")
	f.Add(s.block.Bytes())
	f.Fuzz(func(t *testing.T, block []byte) {
		if len(block) > maxBlock/2 {
			return
		}
		b := []byte(preface2)
		for id := byte(1); id < 7; id += 2 {
			b = append(b, byte(len(block)>>16), byte(len(block)>>8), byte(len(block)), frameHeaders, flagEndHeaders, 0, 0, 0, id)
			b = append(b, block...)
		}
		var h HTTP2
		n := 0
		_ = h.Add(b, uint64(len(b)), func(q *HTTPRequest) { n++ })
		if n > 3 {
			t.Fatalf("%d requests in 3 blocks", n)
		}
	})
}
