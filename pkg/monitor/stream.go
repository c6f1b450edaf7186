package monitor

import (
	"fmt"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/wire"
)

// maxStreams bounds the TCP streams of a recording that wait for more.
const maxStreams = 64

// Bounds of the eBPF programs on what they tell of a stream that begins with
// a ClientHello or a request: no first segment of firstBytes or more is
// followed, and none over headBytes.
const (
	firstBytes = 4096
	headBytes  = 8192
)

// messages makes an event of each DNS message that is whole with this segment.
func (r *recording) messages(rec *sensor.Record, p *process.Process, via event.Via) {
	k := wire.StreamKey{Sock: rec.Sock, Answer: rec.OK}
	ready, fresh := r.streams.Add(k, rec.Offset, rec.Payload)
	if !fresh {
		return
	}
	taken := 0
	for {
		message, whole := wire.DNSFromStream(ready[taken:])
		// What is beyond the bound does not come: what there is is told.
		last := int(rec.Offset)+rec.PayloadLen >= wire.MaxStream
		if !whole && (!last || len(message) == 0) {
			break
		}
		r.tell(rec, p, via, event.DNS, message)
		taken += 2 + len(message)
	}
	r.streams.Take(k, taken)
}

// tell records one message of a stream. It is part of the stream's buffer,
// which recording it does not change.
func (r *recording) tell(rec *sensor.Record, p *process.Process, via event.Via, kind event.Kind, message []byte) {
	r.part = *rec
	r.part.Kind, r.part.Payload, r.part.PayloadLen, r.part.Offset = kind, message, len(message), 0
	r.part.Sent, r.part.Received = 0, 0
	r.record(&r.part, p, nil, via)
}

// head returns the record with all that is known of the head of its stream, or
// nil while the host in it is still to come, or was told already.
func (r *recording) head(rec *sensor.Record) *sensor.Record {
	k := wire.StreamKey{Sock: rec.Sock}
	if !r.streams.Has(k) {
		if rec.Offset > 0 {
			return nil
		}
		if r.enough(rec.Kind, rec.Payload) || rec.PayloadLen >= firstBytes {
			return rec
		}
	}
	b, fresh := r.streams.Add(k, rec.Offset, rec.Payload)
	if !fresh || !r.enough(rec.Kind, b) && int(rec.Offset)+rec.PayloadLen < headBytes {
		return nil
	}
	r.part = *rec
	r.part.Payload = b
	r.streams.Drop(k)
	return &r.part
}

// enough reports whether what there is of a head is to be told now: as soon as
// the host is known, but where the policy limits requests when all of it is
// there, since only then it is known where the request ends.
func (r *recording) enough(kind event.Kind, b []byte) bool {
	if kind != event.HTTP || !r.requests {
		return hasHost(kind, b)
	}
	q, err := wire.Request(b)
	return err != wire.ErrIncomplete && !q.Incomplete
}

// hasHost reports whether no byte after these would tell more of the host.
func hasHost(kind event.Kind, b []byte) bool {
	if kind == event.TLS {
		h, err := wire.ClientHello(b)
		return err != wire.ErrIncomplete && (err != nil || len(h.ServerName) > 0 || !h.Incomplete)
	}
	q, err := wire.Request(b)
	return err != wire.ErrIncomplete && (err != nil || len(q.Host) > 0 && !q.Proxy || !q.Incomplete)
}

// leftover tells, at the end of a connection, what of it never was whole.
func (r *recording) leftover(rec *sensor.Record, p *process.Process, via event.Via) {
	for _, answer := range [...]bool{false, true} {
		k := wire.StreamKey{Sock: rec.Sock, Answer: answer}
		b := r.streams.Ready(k)
		if len(b) == 0 {
			continue
		}
		switch {
		case rec.Dst.Port() == 53:
			message, _ := wire.DNSFromStream(b)
			end := *rec
			end.OK = answer
			r.tell(&end, p, via, event.DNS, message)
		case b[0] == 22: // the type of a TLS handshake record
			r.tell(rec, p, via, event.TLS, b)
		default:
			r.tell(rec, p, via, event.HTTP, b)
		}
	}
	r.streams.End(rec.Sock)
}

// maxBeyond bounds the connections of which it is known how much was told of
// what is beyond the bound. Of one more the whole is told each time.
const maxBeyond = 1024

// beyond is what went over a connection to port 53 and was not read, as bytes
// from the two streams' place wire.MaxStream on.
type beyond struct{ sent, received uint64 }

// beyondBound tells that a connection to port 53 has carried more than is
// read of it, which a tunnel may want: once it is so, and what was added when
// the connection ends. rec are its totals.
func (r *recording) beyondBound(rec *sensor.Record) {
	now := beyond{rec.Sent - min(rec.Sent, wire.MaxStream), rec.Received - min(rec.Received, wire.MaxStream)}
	was := r.beyond[rec.Sock]
	if rec.OK {
		delete(r.beyond, rec.Sock)
	} else if was.sent > 0 == (now.sent > 0) && was.received > 0 == (now.received > 0) {
		return // how much more is told at the end
	} else if len(r.beyond) < maxBeyond {
		r.beyond[rec.Sock] = now
	}
	// A connection may be cut in the middle of a message: at least one of each
	// direction is not told.
	var lost uint64
	if was.sent == 0 && now.sent > 0 {
		lost++
	}
	if was.received == 0 && now.received > 0 {
		lost++
	}
	sent, received := now.sent-min(now.sent, was.sent), now.received-min(now.received, was.received)
	if sent+received > 0 {
		r.gap("ebpf", fmt.Sprintf("DNS over TCP beyond the first %d KiB of a direction was not read: %d bytes sent, %d received", wire.MaxStream>>10, sent, received),
			r.opened, rec.Time, lost)
	}
}
