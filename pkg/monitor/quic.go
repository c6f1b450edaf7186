package monitor

import (
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/wire"
)

// maxQUIC bounds the QUIC connections of a recording whose hello is not whole
// yet: with the keys that are in use now it takes two datagrams.
const maxQUIC = 64

// quicKey is a UDP socket and where it sends.
type quicKey struct {
	sock uint64
	dst  netip.AddrPort
}

// hello reads the ClientHello of a record, and reports whether there is a name
// to tell.
func (r *recording) hello(rec *sensor.Record) (wire.Hello, bool) {
	if rec.Proto == event.ProtoTCP {
		h, err := wire.ClientHello(rec.Payload)
		if err != nil {
			return h, false
		}
		r.plains.hello(rec.Sock)
		return h, len(h.ServerName) > 0
	}
	k := quicKey{rec.Sock, rec.Dst}
	q := r.quic[k]
	if q == nil {
		if r.quic == nil || len(r.quic) >= maxQUIC {
			r.quic = map[quicKey]*wire.QUIC{} // those that were never whole
		}
		q = new(wire.QUIC)
		r.quic[k] = q
	}
	h, err := q.Add(rec.Payload)
	if err == wire.ErrIncomplete {
		return h, false
	}
	if delete(r.quic, k); err == nil && len(h.ServerName) > 0 {
		return h, true
	}
	return h, false
}
