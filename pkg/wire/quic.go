package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// ErrNotQUIC is returned for a datagram that holds no Initial packet of QUIC
// version 1 that can be read.
var ErrNotQUIC = errors.New("wire: not an Initial packet of QUIC version 1")

// Bounds of reading the beginning of a QUIC connection.
const (
	maxQUICPackets = 8        // in one datagram
	maxQUICFrames  = 256      // in one packet
	maxQUICHello   = 16 << 10 // bytes of a ClientHello, over all datagrams
	maxQUICID      = 20       // RFC 9000 §17.2
)

// quicSalt is the initial_salt of version 1, RFC 9001 §5.2.
var quicSalt = []byte{
	0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
}

// QUIC reads the ClientHello of a QUIC connection from the datagrams that the
// client sends first. They are encrypted with keys that everybody can compute
// who sees them. The zero value is ready.
type QUIC struct {
	keys  *quicKeys // of the first packet: those after it may name another id
	hello []byte    // what there is, with a record's header before it
	have  []bool    // of hello, without that header
}

const recordHead = 5

// Add reads a datagram of the client. With the error ErrIncomplete more of the
// hello is to come; ErrNotQUIC says that nothing of the datagram could be read.
// What the Hello holds is valid until the next call.
func (q *QUIC) Add(datagram []byte) (Hello, error) {
	read := false
	for i := 0; i < maxQUICPackets && len(datagram) > 0; i++ {
		p, rest, ok := quicPacket(datagram)
		if !ok {
			break
		}
		datagram = rest
		if p.kind == quicInitial && q.packet(&p) {
			read = true
		}
	}
	if !read {
		return Hello{}, ErrNotQUIC
	}
	n := 0
	for n < len(q.have) && q.have[n] {
		n++
	}
	if n < 4 {
		return Hello{}, ErrIncomplete
	}
	b := q.hello[:recordHead+n]
	b[0], b[1], b[2] = 0x16, 3, 1
	binary.BigEndian.PutUint16(b[3:], uint16(n))
	h, err := ClientHello(b)
	if err == nil && h.Incomplete {
		return h, ErrIncomplete
	}
	return h, err
}

const quicInitial = 0

// quicHeader is one packet with a long header, RFC 9000 §17.2.
type quicHeader struct {
	kind   byte
	id     []byte // of the destination
	packet []byte // the whole packet
	number int    // where its number begins
}

// quicPacket takes the first packet of a datagram.
func quicPacket(b []byte) (p quicHeader, rest []byte, ok bool) {
	if len(b) < 7 || b[0]&0xc0 != 0xc0 || binary.BigEndian.Uint32(b[1:]) != 1 {
		return p, nil, false
	}
	p.kind = b[0] >> 4 & 3
	r := reader{b: b[5:]}
	n := r.u8()
	if p.id, _ = r.take(n); n > maxQUICID || r.short {
		return p, nil, false
	}
	n = r.u8()
	if r.skip(n); n > maxQUICID || r.short || p.kind == 3 { // a Retry has no length
		return p, nil, false
	}
	if p.kind == quicInitial {
		n, ok := r.varint()
		if !ok || n > uint64(len(r.b)) {
			return p, nil, false
		}
		r.skip(int(n)) // the token
	}
	size, found := r.varint()
	if !found || size > uint64(len(r.b)) {
		return p, nil, false
	}
	p.number = len(b) - len(r.b)
	end := p.number + int(size)
	p.packet = b[:end:end]
	return p, b[end:], true
}

// varint reads an integer of variable length, RFC 9000 §16.
func (r *reader) varint() (uint64, bool) {
	if len(r.b) == 0 {
		return 0, false
	}
	n := 1 << (r.b[0] >> 6)
	if len(r.b) < n {
		return 0, false
	}
	v := uint64(r.b[0] & 0x3f)
	for _, c := range r.b[1:n] {
		v = v<<8 | uint64(c)
	}
	r.b = r.b[n:]
	return v, true
}

// quicKeys protect the client's Initial packets.
type quicKeys struct {
	head cipher.Block
	body cipher.AEAD
	iv   [12]byte
}

func newQUICKeys(id []byte) (*quicKeys, error) {
	initial, err := hkdf.Extract(sha256.New, id, quicSalt)
	if err != nil {
		return nil, err
	}
	// HKDF-Expand-Label of RFC 8446 §7.1, without a context.
	expand := func(secret []byte, label string, n int) ([]byte, error) {
		label = "tls13 " + label
		info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
		return hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	}
	client, err := expand(initial, "client in", sha256.Size)
	if err != nil {
		return nil, err
	}
	key, err1 := expand(client, "quic key", 16)
	iv, err2 := expand(client, "quic iv", 12)
	hp, err3 := expand(client, "quic hp", 16)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	k := &quicKeys{iv: [12]byte(iv)}
	if k.head, err = aes.NewCipher(hp); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	k.body, err = cipher.NewGCM(block)
	return k, err
}

// packet reads an Initial packet, with the keys of the first one or, after a
// Retry or for another connection, with its own.
func (q *QUIC) packet(p *quicHeader) bool {
	if q.keys != nil {
		if body, ok := q.keys.open(p); ok {
			return q.frames(body)
		}
	}
	keys, err := newQUICKeys(p.id)
	if err != nil {
		return false
	}
	body, ok := keys.open(p)
	if !ok {
		return false
	}
	*q = QUIC{keys: keys}
	return q.frames(body)
}

// open takes the protection off, RFC 9001 §5.3 and §5.4.
func (k *quicKeys) open(p *quicHeader) ([]byte, bool) {
	const sampleAt, sample = 4, 16
	if len(p.packet) < p.number+sampleAt+sample {
		return nil, false
	}
	var mask [sample]byte
	k.head.Encrypt(mask[:], p.packet[p.number+sampleAt:][:sample])
	first := p.packet[0] ^ mask[0]&0x0f
	n := int(first&3) + 1
	head := append([]byte(nil), p.packet[:p.number+n]...)
	head[0] = first
	nonce := k.iv
	for i := range n {
		head[p.number+i] ^= mask[1+i]
		nonce[len(nonce)-n+i] ^= head[p.number+i]
	}
	body, err := k.body.Open(nil, nonce[:], p.packet[p.number+n:], head)
	return body, err == nil
}

// frames takes the pieces of the hello out of a packet, RFC 9000 §19. What else
// an Initial packet may hold is passed over; what it must not ends it.
func (q *QUIC) frames(b []byte) bool {
	r := reader{b: b}
	for i := 0; i < maxQUICFrames && len(r.b) > 0; {
		kind, ok := r.varint()
		if !ok {
			return false
		}
		if kind == 0 { // padding, which is as long as it likes
			continue
		}
		i++
		switch kind {
		case 1: // ping
		case 2, 3: // ack
			numbers := uint64(4)
			for j := uint64(0); j < numbers; j++ {
				v, ok := r.varint()
				if !ok {
					return false
				}
				if j == 2 {
					numbers += 2 * min(v, 1<<16)
					if kind == 3 {
						numbers += 3
					}
				}
			}
		case 6: // crypto
			at, ok1 := r.varint()
			n, ok2 := r.varint()
			if !ok1 || !ok2 || n > uint64(len(r.b)) {
				return false
			}
			piece, _ := r.take(int(n))
			q.piece(at, piece)
		default:
			return true
		}
	}
	return true
}

// piece puts a piece of the hello in its place.
func (q *QUIC) piece(at uint64, b []byte) {
	if at > maxQUICHello || uint64(len(b)) > maxQUICHello-at {
		return
	}
	if end := int(at) + len(b); end > len(q.have) {
		q.have = append(q.have, make([]bool, end-len(q.have))...)
		q.hello = append(q.hello, make([]byte, recordHead+end-len(q.hello))...)
	}
	copy(q.hello[recordHead+int(at):], b)
	for i := range b {
		q.have[int(at)+i] = true
	}
}
