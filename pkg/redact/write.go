package redact

import (
	"slices"
	"strconv"
)

// settle sorts the hits and joins those that overlap; the lowest rank names
// the whole.
func (s *scanner) settle() {
	if len(s.hits) < 2 {
		return
	}
	slices.SortStableFunc(s.hits, func(a, b hit) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return b.to - a.to
	})
	n := 0
	for _, h := range s.hits[1:] {
		k := &s.hits[n]
		if h.from >= k.to {
			n++
			s.hits[n] = h
			continue
		}
		to := max(k.to, h.to)
		if h.rank < k.rank {
			from := k.from
			*k = h
			k.from = from
		}
		k.to = to
	}
	s.hits = s.hits[:n+1]
}

// write puts b with its secrets replaced into s.out, at most limit bytes.
func (s *scanner) write(b []byte, limit int) {
	s.out = s.out[:0]
	at := 0
	for i := range s.hits {
		h := &s.hits[i]
		s.out = appendVisible(s.out, b[at:h.from])
		s.out = append(s.out, "[redacted "...)
		s.out = append(s.out, h.pattern.s...)
		s.out = append(s.out, ' ')
		s.out = strconv.AppendInt(s.out, int64(min(h.length, 9999999)), 10)
		if h.layers > 0 {
			s.out = append(s.out, " x"...)
			s.out = strconv.AppendInt(s.out, int64(min(h.layers, 9)), 10)
		}
		s.out = append(s.out, ']')
		at = h.to
	}
	s.out = appendVisible(s.out, b[at:])
	s.cut(limit)
}

// cut shortens s.out to limit bytes and says by how much.
func (s *scanner) cut(limit int) {
	if len(s.out) <= limit {
		return
	}
	const room = len("[cut 1234567890]")
	keep := boundary(string(s.out[:min(len(s.out), max(limit-room, 0)+1)]), max(limit-room, 0))
	left := len(s.out) - keep
	s.out = append(s.out[:keep], "[cut "...)
	s.out = strconv.AppendInt(s.out, int64(left), 10)
	s.out = append(s.out, ']')
	if len(s.out) > limit {
		s.out = s.out[:limit]
	}
}

// tell appends what was found to found.
func (s *scanner) tell(found []Found, index int) []Found {
	for i := range s.hits {
		if i == maxFound {
			break
		}
		h := &s.hits[i]
		found = append(found, Found{Index: index, Pattern: h.pattern, Length: h.length, Layers: h.layers, Hash: h.digest(s.r)})
	}
	return found
}

// one makes the text of b.
func (r *Redactor) one(b []byte, in where, found []Found) (Text, []Found) {
	if len(b) == 0 {
		return Text{}, found
	}
	if len(b) <= r.max && r.clean(b, in) {
		return Text{string(b)}, found
	}
	s := r.take()
	s.redact(b, in, r.max)
	t := Text{string(s.out)}
	found = s.tell(found, 0)
	r.give(s)
	return t, found
}

// redact puts the text of b into s.out. Hits that s holds already count too.
func (s *scanner) redact(b []byte, in where, limit int) {
	budget := 2*len(b) + 16<<10
	s.budget = &budget
	s.detect(b, in, 0)
	s.settle()
	s.write(b, limit)
}

// wiped returns a slice for use again, zeroed, or nil for one so large that it is
// better given back.
func wiped[T any](x []T) []T {
	if cap(x) > 64<<10 {
		return nil
	}
	clear(x[:cap(x)])
	return x[:0]
}

func (r *Redactor) take() *scanner {
	s := r.pool.Get().(*scanner)
	s.r, s.hits = r, s.hits[:0]
	return s
}

// give puts a scanner back, without the job's bytes that it still holds.
func (r *Redactor) give(s *scanner) {
	for x := s; x != nil; x = x.inner {
		x.budget = nil
		x.hits, x.out, x.dec, x.flat = wiped(x.hits), wiped(x.out), wiped(x.dec), wiped(x.flat)
	}
	r.pool.Put(s)
}
