package wire

import "slices"

// StreamKey names one direction of a TCP connection.
type StreamKey struct {
	Sock   uint64 // the socket's cookie
	Answer bool   // what came, not what was sent
}

// Bounds of Streams.
const (
	// MaxStream is how many bytes of a stream are put together.
	MaxStream = 16 << 10
	// maxSpans bounds the pieces of a stream that wait for what is before them.
	maxSpans = 16
)

// Streams puts the first bytes of TCP streams together from segments, which
// may come out of order, overlap and come again; of bytes that come twice the
// first stand, as they do where Linux receives them. It is bounded: beyond its
// limit the stream that was added to least recently is forgotten and counted.
// Once warm it allocates nothing.
type Streams struct {
	at      map[StreamKey]int
	slots   []stream
	limit   int
	clock   uint64
	dropped uint64
}

type stream struct {
	key  StreamKey
	used uint64 // clock of the last segment; 0 for a free one
	done int    // bytes that the caller has taken
	buf  []byte // the stream from its beginning, as far as spans say
	// spans are what is there after done: in order, apart from each other.
	spans []span
}

type span struct{ from, to int }

// NewStreams returns Streams that keep at most limit streams, at least 1.
func NewStreams(limit int) *Streams {
	return &Streams{at: make(map[StreamKey]int), limit: max(limit, 1)}
}

// Add takes in a segment that begins at an offset of its stream, and returns
// the bytes that follow one another from the last that was taken; whether the
// segment added anything. The bytes are valid until the next call.
func (s *Streams) Add(k StreamKey, offset uint32, segment []byte) (ready []byte, fresh bool) {
	t := s.stream(k)
	from, to := int(offset), min(int(offset)+len(segment), MaxStream)
	if from < t.done {
		if to <= t.done {
			return nil, false
		}
		segment = segment[t.done-from:]
		from = t.done
	}
	if from >= to {
		if from >= MaxStream {
			s.dropped++
		}
		return nil, false
	}
	segment = segment[:to-from]
	if len(t.buf) < to {
		t.buf = slices.Grow(t.buf, to-len(t.buf))[:to]
	}
	fresh = t.put(from, to, segment)
	if !fresh && len(t.spans) >= maxSpans {
		s.dropped++
	}
	if t.spans[0].from != t.done {
		return nil, fresh
	}
	return t.buf[t.done:t.spans[0].to], fresh
}

// put copies what no span holds yet, and reports whether there was any.
func (t *stream) put(from, to int, segment []byte) (fresh bool) {
	i := 0
	for i < len(t.spans) && t.spans[i].to < from {
		i++
	}
	if i == len(t.spans) || to < t.spans[i].from {
		// It touches none. The one that comes next in the stream always has a place.
		if len(t.spans) >= maxSpans && from != t.done {
			return false
		}
		copy(t.buf[from:], segment)
		t.spans = slices.Insert(t.spans, i, span{from, to})
		return true
	}
	at := from
	j := i
	for ; j < len(t.spans) && t.spans[j].from <= to; j++ {
		if at < t.spans[j].from {
			copy(t.buf[at:t.spans[j].from], segment[at-from:])
			fresh = true
		}
		at = max(at, t.spans[j].to)
	}
	if at < to {
		copy(t.buf[at:to], segment[at-from:])
		fresh = true
	}
	t.spans[i] = span{min(from, t.spans[i].from), max(to, t.spans[j-1].to)}
	t.spans = slices.Delete(t.spans, i+1, j)
	return fresh
}

// Take says that the first n of the bytes that Add returned are done with.
func (s *Streams) Take(k StreamKey, n int) {
	i, ok := s.at[k]
	if !ok || n <= 0 {
		return
	}
	t := &s.slots[i]
	t.done += n
	if len(t.spans) > 0 && t.spans[0].to <= t.done {
		t.spans = slices.Delete(t.spans, 0, 1)
	} else if len(t.spans) > 0 {
		t.spans[0].from = t.done
	}
}

// Has reports whether anything of a stream is known.
func (s *Streams) Has(k StreamKey) bool {
	_, ok := s.at[k]
	return ok
}

// Ready returns what Add returned last of a stream and was not taken since.
func (s *Streams) Ready(k StreamKey) []byte {
	i, ok := s.at[k]
	if !ok {
		return nil
	}
	t := &s.slots[i]
	if len(t.spans) == 0 || t.spans[0].from != t.done {
		return nil
	}
	return t.buf[t.done:t.spans[0].to]
}

// Drop forgets one direction of a connection, of which no more is wanted.
func (s *Streams) Drop(k StreamKey) {
	if i, ok := s.at[k]; ok {
		s.free(i)
	}
}

// End forgets both directions of a connection, and returns whether bytes of
// one of them were never taken.
func (s *Streams) End(sock uint64) (left bool) {
	for _, answer := range [...]bool{false, true} {
		k := StreamKey{sock, answer}
		if i, ok := s.at[k]; ok {
			left = left || len(s.slots[i].spans) > 0
			s.free(i)
		}
	}
	return left
}

// Dropped returns how many streams with bytes that were never taken were
// forgotten for want of room, and segments that were beyond the bounds.
func (s *Streams) Dropped() uint64 { return s.dropped }

func (s *Streams) free(i int) {
	t := &s.slots[i]
	delete(s.at, t.key)
	*t = stream{buf: t.buf[:0], spans: t.spans[:0]}
}

func (s *Streams) stream(k StreamKey) *stream {
	s.clock++
	i, ok := s.at[k]
	if !ok {
		i = s.slot()
		s.at[k] = i
		s.slots[i].key = k
	}
	s.slots[i].used = s.clock
	return &s.slots[i]
}

// slot returns a free place, if need be that of the stream that waits longest.
func (s *Streams) slot() int {
	oldest := 0
	for i := range s.slots {
		if s.slots[i].used < s.slots[oldest].used {
			oldest = i
		}
	}
	switch {
	case len(s.slots) > 0 && s.slots[oldest].used == 0:
		return oldest
	case len(s.slots) < s.limit:
		s.slots = append(s.slots, stream{})
		return len(s.slots) - 1
	}
	if len(s.slots[oldest].spans) > 0 {
		s.dropped++
	}
	s.free(oldest)
	return oldest
}
