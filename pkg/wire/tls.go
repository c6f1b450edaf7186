package wire

// Hello is what a TLS ClientHello (RFC 8446 §4.1.2) says in clear.
type Hello struct {
	// ServerName is the host_name of the server_name extension (RFC 6066 §3), as
	// sent; with ECH it is the public name of the front.
	ServerName []byte
	// ALPN are the offered protocols (RFC 7301), such as h2, as sent.
	ALPN [][]byte
	// Version is the highest offered version: 0x0304 is TLS 1.3. GREASE values
	// (RFC 8701) do not count.
	Version uint16
	// ECH: an encrypted ClientHello is offered (RFC 9849), so the true name
	// cannot be seen.
	ECH bool
	// Incomplete: the bytes end before the hello does. What is filled was seen;
	// what is not may have come later.
	Incomplete bool
}

// maxALPN bounds the protocols that are kept.
const maxALPN = 16

// ClientHello reads the ClientHello at the beginning of a TCP stream. The error
// is ErrNotTLS where there is none, ErrIncomplete where the bytes end before
// the server name; then the Hello holds what was seen. A hello that is cut
// after its server name is no error: Incomplete says so.
//
// A hello that is split over several records, as some do to hide its name, is
// put together, at the cost of an allocation.
func ClientHello(b []byte) (Hello, error) {
	body, whole, err := handshake(b)
	if err != nil {
		return Hello{}, err
	}
	h := Hello{Incomplete: !whole}
	r := reader{b: body}
	h.Version = uint16(r.u16())
	r.skip(32)      // random
	r.skip(r.u8())  // legacy_session_id
	r.skip(r.u16()) // cipher_suites
	r.skip(r.u8())  // legacy_compression_methods
	if r.short {
		return h.cut(whole)
	}
	if whole && len(r.b) == 0 {
		return h, nil // no extensions
	}
	total := r.u16()
	if r.short {
		return h.cut(whole)
	}
	if whole && total != len(r.b) {
		return Hello{}, ErrNotTLS
	}
	for len(r.b) > 0 {
		kind, n := r.u16(), r.u16()
		ext, short := r.take(n)
		if r.short && !short {
			return h.cut(whole)
		}
		h.extension(kind, ext)
		if short {
			return h.cut(whole)
		}
	}
	if !whole {
		return h.cut(false)
	}
	return h, nil
}

// cut returns what was seen of a hello that ends too early.
func (h Hello) cut(whole bool) (Hello, error) {
	if whole {
		return Hello{}, ErrNotTLS // its own lengths contradict each other
	}
	if h.ServerName == nil {
		return h, ErrIncomplete
	}
	return h, nil
}

// extension reads one extension, which may be cut.
func (h *Hello) extension(kind int, b []byte) {
	r := reader{b: b}
	switch kind {
	case 0: // server_name
		r.u16()
		for len(r.b) > 0 && h.ServerName == nil {
			nameType, n := r.u8(), r.u16()
			name, short := r.take(n)
			if short || r.short {
				return // half a name is no name
			}
			if nameType == 0 && n > 0 {
				h.ServerName = name
			}
		}
	case 16: // application_layer_protocol_negotiation
		r.u16()
		for len(r.b) > 0 && len(h.ALPN) < maxALPN {
			p, short := r.take(r.u8())
			if short || r.short {
				return
			}
			h.ALPN = append(h.ALPN, p)
		}
	case 43: // supported_versions
		list, _ := r.take(r.u8())
		for ; len(list) >= 2; list = list[2:] {
			if v := uint16(u16(list)); v > h.Version && v <= 0x0304 {
				h.Version = v
			}
		}
	case 0xfe0d: // encrypted_client_hello
		h.ECH = true
	}
}

const (
	handshakeRecord = 22
	// versionEnd bounds the first byte of a record's version. Receivers ignore
	// the version (RFC 8446 §5.1), but for those that take a connection for
	// another protocol from 0x10 on, as crypto/tls does.
	versionEnd = 0x10
)

// handshake returns the body of the ClientHello message that the records in b
// hold, and whether it is whole.
func handshake(b []byte) (body []byte, whole bool, err error) {
	const recordHeader, messageHeader = 5, 4
	if len(b) > 0 && b[0] != handshakeRecord || len(b) > 1 && b[1] >= versionEnd {
		return nil, false, ErrNotTLS
	}
	if len(b) < recordHeader {
		return nil, false, ErrIncomplete
	}
	n := u16(b[3:])
	if n == 0 || n > 1<<14+256 {
		return nil, false, ErrNotTLS
	}
	first := b[recordHeader:]
	if len(first) > 0 && first[0] != 1 { // client_hello
		return nil, false, ErrNotTLS
	}
	if n >= len(first) {
		// All that is here belongs to one record.
		if len(first) < messageHeader {
			return nil, false, ErrIncomplete
		}
		size := u24(first[1:])
		if first = first[messageHeader:]; size <= len(first) {
			return first[:size], true, nil
		}
		return first, false, nil
	}
	if n >= messageHeader {
		if size := u24(first[1:]); size <= n-messageHeader {
			return first[messageHeader : messageHeader+size], true, nil
		}
	}
	joined := make([]byte, 0, len(b))
	for len(b) > recordHeader && b[0] == handshakeRecord && b[1] < versionEnd {
		n := u16(b[3:])
		b = b[recordHeader:]
		m := min(n, len(b))
		joined = append(joined, b[:m]...)
		b = b[m:]
		if n == 0 {
			return nil, false, ErrNotTLS
		}
	}
	if len(joined) < messageHeader {
		return nil, false, ErrIncomplete
	}
	size := u24(joined[1:])
	if joined = joined[messageHeader:]; size <= len(joined) {
		return joined[:size], true, nil
	}
	return joined, false, nil
}

// reader takes big-endian numbers and slices off the front of b. Once b is too
// short, short is set and everything read is zero.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) u8() int {
	if len(r.b) < 1 {
		r.b, r.short = nil, true
		return 0
	}
	v := int(r.b[0])
	r.b = r.b[1:]
	return v
}

func (r *reader) u16() int {
	if len(r.b) < 2 {
		r.b, r.short = nil, true
		return 0
	}
	v := u16(r.b)
	r.b = r.b[2:]
	return v
}

// skip leaves out n bytes.
func (r *reader) skip(n int) {
	if n > len(r.b) {
		r.b, r.short = nil, true
		return
	}
	r.b = r.b[n:]
}

// take returns the next n bytes, or fewer and true where there are fewer.
func (r *reader) take(n int) ([]byte, bool) {
	if n > len(r.b) {
		v := r.b
		r.b = nil
		return v, true
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v, false
}
