package wire

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// collect gives segments to one stream and takes everything that is ready.
func collect(s *Streams, k StreamKey, out []byte, offset int, segment string) []byte {
	ready, _ := s.Add(k, uint32(offset), []byte(segment))
	out = append(out, ready...)
	s.Take(k, len(ready))
	return out
}

func TestSegmentsAreOneStreamInWhateverOrderTheyCome(t *testing.T) {
	type segment struct {
		at   int
		what string
	}
	for _, c := range []struct {
		name     string
		segments []segment
		want     string
	}{
		{"in order", []segment{{0, "ab"}, {2, "cd"}}, "abcd"},
		{"out of order", []segment{{2, "cd"}, {4, "ef"}, {0, "ab"}}, "abcdef"},
		{"sent again", []segment{{0, "ab"}, {0, "ab"}, {2, "c"}, {0, "abc"}}, "abc"},
		{"overlapping", []segment{{0, "abc"}, {1, "bcde"}}, "abcde"},
		{"the first of two that differ stands", []segment{{1, "bc"}, {0, "aXXd"}}, "abcd"},
		{"over several gaps", []segment{{1, "b"}, {3, "d"}, {0, "XXXXXX"}}, "XbXdXX"},
		{"a hole", []segment{{0, "a"}, {2, "c"}}, "a"},
		{"touching from before", []segment{{2, "cd"}, {1, "b"}, {0, "a"}}, "abcd"},
		{"nothing", []segment{{0, ""}}, ""},
		{"an offset of another stream", []segment{{1<<32 - 5, "abcdefghij"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, out := NewStreams(4), []byte(nil)
			for _, g := range c.segments {
				out = collect(s, StreamKey{Sock: 1}, out, g.at, g.what)
			}
			if string(out) != c.want {
				t.Errorf("%q, want %q", out, c.want)
			}
		})
	}
}

func TestWhatIsNotTakenIsGivenAgainWithWhatFollows(t *testing.T) {
	s, k := NewStreams(1), StreamKey{Sock: 1}
	s.Add(k, 0, []byte("ab"))
	if got, fresh := s.Add(k, 2, []byte("cd")); string(got) != "abcd" || !fresh {
		t.Errorf("%q %v", got, fresh)
	}
	s.Take(k, 3)
	if got, fresh := s.Add(k, 2, []byte("cd")); string(got) != "d" || fresh {
		t.Errorf("%q %v", got, fresh)
	}
	if got, _ := s.Add(k, 4, []byte("e")); string(got) != "de" {
		t.Errorf("%q", got)
	}
}

func TestDirectionsAndSocketsAreApart(t *testing.T) {
	s := NewStreams(8)
	s.Add(StreamKey{1, false}, 0, []byte("a"))
	s.Add(StreamKey{1, true}, 0, []byte("b"))
	if got, _ := s.Add(StreamKey{2, false}, 0, []byte("c")); string(got) != "c" {
		t.Errorf("%q", got)
	}
	if !s.End(1) || s.End(1) || !s.End(2) {
		t.Error("what was left was not told")
	}
}

func TestStreamsAreBoundedAndCountWhatTheyForget(t *testing.T) {
	s := NewStreams(2)
	for i := range uint64(5) {
		s.Add(StreamKey{Sock: i}, 0, []byte("a"))
	}
	if s.Dropped() != 3 || len(s.slots) != 2 || len(s.at) != 2 {
		t.Errorf("%d dropped, %d places", s.Dropped(), len(s.slots))
	}
	k := StreamKey{Sock: 9}
	for i := range maxSpans + 4 {
		s.Add(k, uint32(2*i+2), []byte("x"))
	}
	if got := s.Dropped(); got != 3+1+4 {
		t.Errorf("%d dropped", got)
	}
	if got, _ := s.Add(k, 0, []byte("ab")); string(got) != "abx" {
		t.Errorf("the next bytes of a full stream: %q", got)
	}
	if got, _ := s.Add(k, MaxStream-1, []byte("ab")); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

func TestStreamsAllocateNothingOnceWarm(t *testing.T) {
	s := NewStreams(4)
	sock := uint64(0)
	one := func() {
		k := StreamKey{Sock: sock % 8}
		sock++
		s.Add(k, 100, make([]byte, 100))
		s.Add(k, 300, make([]byte, 100))
		got, _ := s.Add(k, 0, make([]byte, 100))
		s.Take(k, len(got))
		if sock%3 == 0 {
			s.End(k.Sock)
		}
	}
	for range 100 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAnyCutAndOrderOfAStreamGivesTheStream(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 500 {
		whole := make([]byte, 1+r.IntN(400))
		for i := range whole {
			whole[i] = byte(r.Uint32())
		}
		type piece struct{ from, to int }
		var pieces []piece
		for at := 0; at < len(whole); {
			n := 1 + r.IntN(40)
			pieces = append(pieces, piece{at, min(at+n+r.IntN(10), len(whole))})
			at += n
		}
		r.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		// Twice, as what found no place is sent again.
		s, out := NewStreams(1), []byte(nil)
		for range 40 {
			for _, p := range pieces {
				out = collect(s, StreamKey{}, out, p.from, string(whole[p.from:p.to]))
			}
		}
		if !bytes.Equal(out, whole) {
			t.Fatalf("round %d: %d bytes of %d", round, len(out), len(whole))
		}
	}
}

func FuzzStreams(f *testing.F) {
	f.Add([]byte{0, 3, 1, 3, 5, 2, 9, 1, 0, 255, 20, 4})
	f.Fuzz(func(t *testing.T, in []byte) {
		// The stream's byte at i is i, so that any bytes that are given can be checked.
		s := NewStreams(2)
		taken := map[StreamKey]int{}
		for i := 0; i+2 < len(in); i += 3 {
			k := StreamKey{Sock: uint64(in[i+2] & 1)}
			at, n := int(in[i])*(1+int(in[i+2])), int(in[i+1])
			segment := make([]byte, n)
			for j := range segment {
				segment[j] = byte(at + j)
			}
			ready, _ := s.Add(k, uint32(at), segment)
			for j, b := range ready {
				if b != byte(taken[k]+j) {
					t.Fatalf("byte %d of %v is %d", taken[k]+j, k, b)
				}
			}
			m := len(ready) - len(ready)*int(in[i+2]>>6)/3
			s.Take(k, m)
			if taken[k] += m; taken[k] > MaxStream {
				t.Fatal("more than the bound")
			}
			if in[i+2]&2 != 0 && in[i+2]&4 != 0 && in[i+2]&8 != 0 {
				s.End(k.Sock)
				delete(taken, k)
			}
		}
	})
}

// FuzzDNSStream cuts a stream of DNS messages into segments, gives them in
// another order, some twice, and wants the messages that the whole stream has.
func FuzzDNSStream(f *testing.F) {
	one := captured(f, "dns-go-A-query.bin")
	f.Add(append([]byte{0, byte(len(one))}, one...), []byte{1, 7, 30})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		if len(stream) > MaxStream {
			stream = stream[:MaxStream]
		}
		var want [][]byte
		for rest := stream; ; {
			message, whole := DNSFromStream(rest)
			if !whole {
				break
			}
			want = append(want, message)
			rest = rest[2+len(message):]
		}
		type segment struct{ from, to int }
		var segments []segment
		for at, i := 0, 0; at < len(stream); i++ {
			n := len(stream) - at
			if i < len(cuts) && i < maxSpans-1 {
				n = min(n, 1+int(cuts[i]))
			}
			segments = append(segments, segment{at, at + n})
			at += n
		}
		for i, c := range cuts {
			if i+1 < len(segments) && c&1 != 0 {
				segments[i], segments[i+1] = segments[i+1], segments[i]
			}
			if i < len(segments) && c&2 != 0 && len(segments) < maxSpans {
				segments = append(segments, segments[i])
			}
		}
		s := NewStreams(1)
		var got [][]byte
		var m DNSMessage
		for _, g := range segments {
			ready, _ := s.Add(StreamKey{}, uint32(g.from), stream[g.from:g.to])
			taken := 0
			for {
				message, whole := DNSFromStream(ready[taken:])
				if !whole {
					break
				}
				_ = ParseDNS(message, &m)
				got = append(got, bytes.Clone(message))
				taken += 2 + len(message)
			}
			s.Take(StreamKey{}, taken)
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%d messages, %d in the whole stream", len(got), len(want))
		}
		if s.Dropped() != 0 {
			t.Errorf("%d dropped", s.Dropped())
		}
	})
}
