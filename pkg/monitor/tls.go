package monitor

import (
	"hash/maphash"
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/wire"
)

// Bounds of what is remembered of connections whose TLS is read. What they cost
// is that a connection is not said to have been read whole.
const (
	maxPlain    = 1024     // connections
	maxHead     = 16 << 10 // bytes of a head of HTTP/1 that is not whole
	maxWaiting  = 16       // writes that wait for their connection to be known
	maxRepeats  = 256      // requests of one connection that are told apart
	maxUnread   = 64       // programs whose TLS is not read
	maxHellos   = 4096     // connections that began with a ClientHello
	waitingTime = int64(2e9)
)

// TLS puts around each write at most recordBytes, once more for each KiB (Go
// begins with records of that size), and says up to handshakeBytes before and
// after: the two ClientHellos, and what proves a client of its own. What a
// connection has sent beyond did not come from the library's writes.
const (
	handshakeBytes = 6 << 10
	recordBytes    = 96
)

var (
	connUnknown = redact.Const("connection not known")
	noLibrary   = redact.Const("TLS connections whose requests were not read: nothing that is known writes its TLS")
	headerKey   = redact.Const("credential-header")
)

// plainKey is a library's object for a connection.
type plainKey struct {
	session uint64
	start   int64
	pid     uint32
}

// plain is one connection as the library was given it.
type plain struct {
	key      plainKey
	sock     uint64
	src, dst netip.AddrPort
	at       uint64 // where the next write of HTTP/2 begins
	end      uint64 // where what was told ends; of HTTP/1, with the declared body
	lost     bool   // something was written that is not told
	http2    *wire.HTTP2
	head     []byte // of HTTP/1, not whole yet
	headAt   uint64
	waiting  []written
	again    map[uint64]*repeat
	used     int64
}

// written is a write that waits for its connection to be known.
type written struct {
	rec sensor.Record
	p   *process.Process
	via event.Via
}

// repeat is a request that was told, and how often it came since.
type repeat struct {
	first event.Event
	count uint64
	last  int64
}

// plains are the connections of a recording whose TLS is read. The zero value
// is ready.
type plains struct {
	of     map[plainKey]*plain
	bySock map[uint64]*plain
	seed   maphash.Seed
	// hellos are connections that began with a ClientHello; unread counts those of
	// them of which nothing was read, by program.
	hellos map[uint64]bool
	unread map[redact.Text]*unheard
	others uint64 // of programs for which there was no room
}

// plaintext takes what a process gave its library of TLS.
func (r *recording) plaintext(rec *sensor.Record, p *process.Process, via event.Via) {
	c := r.plains.find(r, rec)
	c.used = rec.Time
	if rec.Sock != 0 && rec.Sock != c.sock {
		r.linked(c, rec)
	}
	if len(rec.Payload) == 0 {
		return
	}
	if c.sock == 0 && len(c.waiting) < maxWaiting {
		w := written{rec: *rec, p: p, via: via}
		w.rec.Payload = append([]byte(nil), rec.Payload...)
		c.waiting = append(c.waiting, w)
		return
	}
	r.wrote(c, rec, p, via)
}

// find returns the connection of a record.
func (s *plains) find(r *recording, rec *sensor.Record) *plain {
	k := plainKey{rec.TLS, rec.Start, rec.PID}
	c := s.of[k]
	// A library's object is used again for another connection.
	if c != nil && (rec.Plain == 0 && (c.at > 0 || c.end > 0) || c.sock != 0 && rec.Sock != 0 && c.sock != rec.Sock) {
		r.forget(c)
		c = nil
	}
	if c == nil {
		if s.of == nil {
			s.of, s.bySock, s.seed = map[plainKey]*plain{}, map[uint64]*plain{}, maphash.MakeSeed()
		}
		if len(s.of) >= maxPlain {
			var oldest *plain
			for _, o := range s.of {
				if oldest == nil || o.used < oldest.used {
					oldest = o
				}
			}
			r.forget(oldest)
		}
		c = &plain{key: k}
		s.of[k] = c
	}
	return c
}

// linked takes note of which connection it is, and tells what waited for that.
func (r *recording) linked(c *plain, rec *sensor.Record) {
	if other := r.plains.bySock[rec.Sock]; other != nil && other != c {
		r.forget(other)
	}
	c.sock, c.src, c.dst = rec.Sock, rec.Src, rec.Dst
	r.plains.bySock[rec.Sock] = c
	r.release(c)
}

// release tells what waited.
func (r *recording) release(c *plain) {
	waiting := c.waiting
	c.waiting = nil
	for i := range waiting {
		r.wrote(c, &waiting[i].rec, waiting[i].p, waiting[i].via)
	}
}

// forget ends a connection: its repeats and what waits are told.
func (r *recording) forget(c *plain) {
	r.release(c)
	r.repeated(c)
	delete(r.plains.of, c.key)
	if c.sock != 0 && r.plains.bySock[c.sock] == c {
		delete(r.plains.bySock, c.sock)
	}
}

// wrote reads one write.
func (r *recording) wrote(c *plain, rec *sensor.Record, p *process.Process, via event.Via) {
	if rec.Plain == 0 && string(rec.Payload[:min(4, len(rec.Payload))]) == "PRI " {
		c.http2 = new(wire.HTTP2)
	}
	if c.http2 == nil {
		r.http1(c, rec, p, via)
		return
	}
	if rec.Plain != c.at {
		c.lost = true // a write is missing
	}
	c.at = rec.Plain + uint64(rec.PayloadLen)
	if c.lost {
		return
	}
	if err := c.http2.Add(rec.Payload, uint64(rec.PayloadLen), func(q *wire.HTTPRequest) { r.inside(c, rec, q, p, via) }); err != nil {
		c.lost = true
	}
	c.end = c.at
}

// http1 reads a write that may begin with a request of HTTP/1.
func (r *recording) http1(c *plain, rec *sensor.Record, p *process.Process, via event.Via) {
	b, at := rec.Payload, rec.Plain
	if len(c.head) > 0 {
		if at == c.headAt+uint64(len(c.head)) {
			b, at = append(c.head, b...), c.headAt
		} else {
			c.lost = true
		}
		c.head = nil
	}
	whole := at+uint64(len(b)) == rec.Plain+uint64(rec.PayloadLen)
	for len(b) > 0 {
		if at < c.end {
			// The body of the request before, which may look like one.
			n := c.end - at
			if n >= uint64(len(b)) {
				return
			}
			b, at = b[n:], c.end
		}
		if at > c.end {
			c.lost = true // something is between that is not told
		}
		q, err := wire.Request(b)
		if whole && len(b) < maxHead && (err == wire.ErrIncomplete || err == nil && q.Incomplete) {
			c.head, c.headAt = append([]byte(nil), b...), at
			return
		}
		if err != nil {
			c.lost = true
			return
		}
		r.inside(c, rec, &q, p, via)
		if q.Size == 0 {
			c.lost = true
			return
		}
		c.end = at + q.Size
	}
}

// inside tells a request that was read inside TLS, or counts it where it is one
// that was told of this connection.
func (r *recording) inside(c *plain, rec *sensor.Record, q *wire.HTTPRequest, p *process.Process, via event.Via) {
	var h maphash.Hash
	h.SetSeed(r.plains.seed)
	for _, part := range [][]byte{q.Method, q.Host, q.Path} {
		h.Write(part)
		h.WriteByte(0)
	}
	for i := range q.Credentials {
		h.Write(q.Credentials[i].Value)
		h.WriteByte(0)
	}
	key := h.Sum64()
	if again := c.again[key]; again != nil {
		again.count++
		again.last = rec.Time
		return
	}
	ev := &r.ev
	ev.Reset()
	ev.Kind, ev.Time, ev.Via, ev.TLS = event.HTTP, rec.Time, via, true
	if p != nil {
		ev.Actor = p.Actor
	}
	ev.Proto, ev.Src, ev.Dst, ev.Sock = event.ProtoTCP, c.src, c.dst, c.sock
	r.request(ev, q)
	switch {
	case q.Cut || q.Incomplete:
		c.lost = true
	case c.sock == 0:
		ev.Detail = connUnknown
	}
	if len(c.again) < maxRepeats {
		if c.again == nil {
			c.again = map[uint64]*repeat{}
		}
		c.again[key] = &repeat{first: *ev.Clone()}
	}
	r.append(ev)
}

// repeated tells how often requests came again.
func (r *recording) repeated(c *plain) {
	for key, again := range c.again {
		if again.count == 0 {
			continue
		}
		ev := &again.first
		ev.Count, ev.Time = again.count, again.last
		r.append(ev)
		delete(c.again, key)
	}
}

// readWhole reports whether all that a connection has carried out so far was
// given to the library that is read, and was told. At its end it is forgotten.
func (r *recording) readWhole(rec *sensor.Record) bool {
	c := r.plains.bySock[rec.Sock]
	if c == nil || rec.Sock == 0 {
		return false
	}
	if rec.OK {
		defer r.forget(c)
	}
	return !c.lost && len(c.head) == 0 && len(c.waiting) == 0 && rec.Plain > 0 && rec.Plain <= c.end &&
		rec.Sent <= rec.Plain+handshakeBytes+recordBytes*(uint64(rec.Writes)+rec.Plain>>10)
}

// flowed takes the totals of a connection, and reports whether it was read whole.
func (r *recording) flowed(rec *sensor.Record, p *process.Process) bool {
	if rec.OK && p != nil && r.plains.hellos[rec.Sock] {
		r.plains.end(rec.Sock, r.red.Path(r.images.find(p.Actor)), p.Actor)
	}
	return r.readWhole(rec)
}

// hello takes note of a connection that began with a ClientHello.
func (s *plains) hello(sock uint64) {
	if s.hellos == nil {
		s.hellos, s.unread = map[uint64]bool{}, map[redact.Text]*unheard{}
	}
	if len(s.hellos) < maxHellos {
		s.hellos[sock] = true
	}
}

// unheard are the connections of a program whose TLS nobody reads.
type unheard struct {
	count uint64
	first event.Actor
}

// end takes note of the end of a connection that began with a ClientHello.
func (s *plains) end(sock uint64, exe redact.Text, by event.Actor) {
	delete(s.hellos, sock)
	switch u := s.unread[exe]; {
	case s.bySock[sock] != nil:
	case u != nil:
		u.count++
	case len(s.unread) < maxUnread:
		s.unread[exe] = &unheard{1, by}
	default:
		s.others++
	}
}

// late tells what has waited too long for its connection to be known, at now;
// all of it where end is set, with the repeats of every connection and the
// programs whose TLS was not read.
func (r *recording) latePlain(now int64, end bool) {
	for _, c := range r.plains.of {
		if len(c.waiting) > 0 && (end || now-c.waiting[0].rec.Time > waitingTime) {
			r.release(c)
		}
		if end {
			r.repeated(c)
		}
	}
	if !end {
		return
	}
	for exe, u := range r.plains.unread {
		ev := r.blank(event.Note, now)
		ev.Detail, ev.Exe, ev.Count, ev.Actor = noLibrary, exe, u.count, u.first
		r.append(ev)
	}
	if r.plains.others > 0 {
		r.note(noLibrary, r.plains.others)
	}
}

// keys tells the hashes of the keys that the intent names.
func (r *recording) keys(now int64, values map[string]string) {
	for _, name := range r.judge.Intent().KeyNames() {
		ev := r.blank(event.Key, now)
		ev.Name = r.red.String(name)
		if value := values[name]; value != "" {
			ev.Secrets = append(ev.Secrets, event.Secret{
				Field: redact.Const("value"), Pattern: redact.Const("declared-key"), Length: len(value), Hash: r.red.Hash([]byte(value)),
			})
		} else {
			ev.Detail = redact.Const("the variable was not set")
		}
		r.append(ev)
	}
}

// credentials tells which keys a request has, by their hashes.
func (r *recording) credentials(ev *event.Event, q *wire.HTTPRequest) {
	for i := range q.Credentials {
		c := &q.Credentials[i]
		if c.Name == "" {
			break
		}
		first, second := c.Keys()
		for _, key := range [][]byte{first, second} {
			if len(key) > 0 {
				ev.Secrets = append(ev.Secrets, event.Secret{
					Field: r.red.String(c.Name), Pattern: headerKey, Length: len(key), Hash: r.red.Hash(key), Index: i,
				})
			}
		}
	}
}
