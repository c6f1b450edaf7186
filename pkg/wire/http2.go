package wire

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

// ErrLost is returned for a stream of HTTP/2 of which too much is missing: what
// its headers refer to is not known any more (RFC 7541 §2.2), and is not guessed.
var ErrLost = errors.New("wire: lost the state of an HTTP/2 connection")

// Bounds of an HTTP/2 connection.
const (
	maxBlock       = 32 << 10 // of the headers of one request, compressed
	maxHeaderValue = 16 << 10
	maxFields      = 512      // headers of one request
	maxHPACKTable  = 64 << 10 // that the server may have allowed; 4096 until it does
)

const preface2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Frames of RFC 9113 §6, and their flags.
const (
	frameHeaders      = 1
	frameContinuation = 9

	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	frameHead = 9
)

// HTTP2 reads what a client says on one connection of HTTP/2, from its first
// byte. The zero value is ready.
type HTTP2 struct {
	dec    *hpack.Decoder
	began  int // bytes of the preface
	head   []byte
	skip   uint64 // bytes of a frame that say nothing
	want   int    // bytes of the frame's payload that are still to be kept
	frame  []byte // its payload
	kind   byte
	flags  byte
	stream uint32
	block  []byte
	open   uint32 // the stream whose headers are not at their end
	lost   bool

	fields int
	req    HTTPRequest
}

// Add takes the next bytes: b are the first of all that were written at once.
// each is called for each request whose headers end in them; what it is given
// is valid until it returns. The error is ErrLost, then and from then on.
func (h *HTTP2) Add(b []byte, all uint64, each func(*HTTPRequest)) error {
	if h.lost {
		return ErrLost
	}
	missing := all - min(all, uint64(len(b)))
	for len(b) > 0 {
		n, ok := h.take(b, each)
		if !ok {
			h.lost = true
			return ErrLost
		}
		b = b[n:]
	}
	if missing > h.skip {
		h.lost = true
		return ErrLost
	}
	h.skip -= missing
	return nil
}

// take takes some of the bytes, and says how many.
func (h *HTTP2) take(b []byte, each func(*HTTPRequest)) (n int, ok bool) {
	switch {
	case h.began < len(preface2):
		n = min(len(b), len(preface2)-h.began)
		if string(b[:n]) != preface2[h.began:h.began+n] {
			return 0, false
		}
		h.began += n
		return n, true
	case h.skip > 0:
		n = int(min(uint64(len(b)), h.skip))
		h.skip -= uint64(n)
		return n, true
	case h.want > 0:
		n = min(len(b), h.want)
		h.frame = append(h.frame, b[:n]...)
		if h.want -= n; h.want > 0 {
			return n, true
		}
		return n, h.whole(each)
	}
	n = min(len(b), frameHead-len(h.head))
	h.head = append(h.head, b[:n]...)
	if len(h.head) < frameHead {
		return n, true
	}
	size := u24(h.head)
	h.kind, h.flags, h.stream = h.head[3], h.head[4], u32(h.head[5:])&(1<<31-1)
	h.head = h.head[:0]
	headers := h.kind == frameHeaders || h.kind == frameContinuation
	// Nothing may stand between the parts of a request's headers.
	if h.open != 0 != (h.kind == frameContinuation) || h.open != 0 && h.stream != h.open {
		return n, false
	}
	switch {
	case !headers:
		h.skip = uint64(size)
	case size+len(h.block) > maxBlock:
		return n, false
	case size == 0:
		return n, h.whole(each)
	default:
		h.frame, h.want = h.frame[:0], size
	}
	return n, true
}

// whole takes a frame of headers that is there.
func (h *HTTP2) whole(each func(*HTTPRequest)) bool {
	b := h.frame
	h.frame = h.frame[:0]
	if h.kind == frameHeaders {
		if h.stream == 0 {
			return false
		}
		pad := 0
		if h.flags&flagPadded != 0 {
			if len(b) == 0 {
				return false
			}
			pad, b = int(b[0]), b[1:]
		}
		if h.flags&flagPriority != 0 {
			if len(b) < 5 {
				return false
			}
			b = b[5:]
		}
		if pad > len(b) {
			return false
		}
		b = b[:len(b)-pad]
		h.block = h.block[:0]
	}
	h.block = append(h.block, b...)
	if h.flags&flagEndHeaders == 0 {
		h.open = h.stream
		return true
	}
	h.open = 0
	return h.decode(each)
}

// decode reads the headers of a request, or of what follows a body.
func (h *HTTP2) decode(each func(*HTTPRequest)) bool {
	if h.dec == nil {
		h.dec = hpack.NewDecoder(4096, h.field)
		h.dec.SetAllowedMaxDynamicTableSize(maxHPACKTable)
		h.dec.SetMaxStringLength(maxHeaderValue)
	}
	h.req, h.fields = HTTPRequest{}, 0
	if _, err := h.dec.Write(h.block); err != nil {
		return false
	}
	if err := h.dec.Close(); err != nil {
		return false
	}
	h.block = h.block[:0]
	if q := &h.req; len(q.Method) > 0 {
		each(q)
	}
	h.req = HTTPRequest{}
	return true
}

// field takes one header. :authority stands before any header of that meaning.
func (h *HTTP2) field(f hpack.HeaderField) {
	q := &h.req
	if h.fields++; h.fields > maxFields {
		q.Incomplete = true
		return
	}
	switch f.Name {
	case ":method":
		q.Method = []byte(f.Value)
	case ":path":
		q.Path = []byte(f.Value)
	case ":authority", "host":
		if len(q.Host) > 0 && !sameHost(q.Host, []byte(f.Value)) {
			q.Ambiguous = true
		} else {
			q.Host = []byte(f.Value)
		}
	default:
		if name := credentialHeader([]byte(f.Name)); name != "" {
			q.credential(name, []byte(f.Value))
		}
	}
}
