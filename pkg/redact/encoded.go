package redact

import "encoding/base64"

// encoded reports whether the run could be text in base64 or hex: whether its
// beginning decodes to what prints, at one of the four places where it may begin.
func encoded(run []byte) bool { return base64At(run) >= 0 || hexAt(run) >= 0 }

// base64At returns where in run readable text in base64 begins, or -1.
func base64At(run []byte) int {
	var in [16]byte
	var out [12]byte
	for shift := 0; shift < 4 && len(run)-shift >= 16; shift++ {
		copy(in[:], run[shift:shift+16])
		for i, c := range in {
			switch c {
			case '-':
				in[i] = '+'
			case '_':
				in[i] = '/'
			}
		}
		if n, err := base64.StdEncoding.Decode(out[:], in[:]); err == nil && n == 12 && prints(out[:]) {
			return shift
		}
	}
	return -1
}

// hexAt returns where in run readable text in hex begins, or -1.
func hexAt(run []byte) int {
	if len(run) < 32 {
		return -1
	}
	for shift := range 2 {
		ok := true
		for i := shift; i < shift+24 && ok; i += 2 {
			hi, lo := run[i], run[i+1]
			ok = isHex(hi) && isHex(lo) && hi >= '2' && hi <= '7' && !(hi == '7' && (lo == 'f' || lo == 'F'))
		}
		if ok {
			return shift
		}
	}
	return -1
}

// prints reports whether b is printable ASCII with blanks.
func prints(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c >= 0x7f) && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// findEncoded decodes what looks like text in base64 or hex and looks there.
func (s *scanner) findEncoded(b []byte, depth int) {
	for i := 0; i < len(b); {
		if !base64Run[b[i]] || b[i] == '=' {
			i++
			continue
		}
		end := i
		for end < len(b) && base64Run[b[end]] && b[end] != '=' {
			end++
		}
		// Folders of a path look like base64 too: try again behind each slash.
		for from := i; end-from >= minEncode; {
			if shift := hexAt(b[from:end]); shift >= 0 {
				if n := s.decodeHex(b[from+shift : end]); s.look(depth) {
					s.wrap(from, from+shift+n)
					from += shift + n
					continue
				}
			}
			if shift := base64At(b[from:end]); shift >= 0 && s.decode(b, from, from+shift, end, depth) {
				break
			}
			n := indexByte(b[from:end], '/')
			if n < 0 {
				break
			}
			from += n + 1
		}
		i = end
	}
}

// decode looks into the encoded run b[from:end] and notes it where it holds a
// secret.
func (s *scanner) decode(b []byte, first, from, end, depth int) bool {
	run := b[from:min(end, from+maxDecode)]
	s.dec = s.dec[:0]
	var quad [4]byte
	for len(run) > 0 {
		n := copy(quad[:], run)
		run = run[n:]
		if n == 1 {
			break
		}
		for i := range quad {
			switch {
			case i >= n:
				quad[i] = 'A'
			case quad[i] == '-':
				quad[i] = '+'
			case quad[i] == '_':
				quad[i] = '/'
			}
		}
		var out [3]byte
		if _, err := base64.StdEncoding.Decode(out[:], quad[:]); err != nil {
			break
		}
		s.dec = append(s.dec, out[:n-1]...)
	}
	if !s.look(depth) {
		return false
	}
	for end < len(b) && b[end] == '=' {
		end++
	}
	s.wrap(first, end)
	return true
}

func isHexRun(run []byte) bool {
	for _, c := range run {
		if !isHex(c) {
			return false
		}
	}
	return true
}

// decodeHex decodes the hex that run begins with and returns its length.
func (s *scanner) decodeHex(run []byte) int {
	s.dec = s.dec[:0]
	i := 0
	for ; i+1 < len(run) && i < maxDecode && isHex(run[i]) && isHex(run[i+1]); i += 2 {
		s.dec = append(s.dec, unhex(run[i])<<4|unhex(run[i+1]))
	}
	return i
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

// look looks for secrets in s.dec, with a scanner of its own. What the budget
// does not allow to be read is taken for a secret.
func (s *scanner) look(depth int) bool {
	if s.inner == nil {
		s.inner = new(scanner)
	}
	s.inner.r = s.r
	s.inner.hits = s.inner.hits[:0]
	s.inner.budget = s.budget
	if *s.budget -= len(s.dec); *s.budget < 0 {
		s.inner.hits = append(s.inner.hits, hit{rank: 9, pattern: patUnread, length: len(s.dec), secret: s.dec})
		return true
	}
	s.inner.detect(s.dec, inScript, depth+1)
	return len(s.inner.hits) > 0
}

// wrap notes b[from:to], the encoded run, with what look found in it.
func (s *scanner) wrap(from, to int) {
	best := &s.inner.hits[0]
	for i := range s.inner.hits {
		if s.inner.hits[i].rank < best.rank {
			best = &s.inner.hits[i]
		}
	}
	s.hits = append(s.hits, hit{
		from: from, to: to, rank: best.rank, pattern: best.pattern, length: best.length, layers: best.layers + 1,
		hash: best.digest(s.r),
	})
}

// findEscaped undoes percent encoding and looks for what was not seen before.
func (s *scanner) findEscaped(b []byte, in where, depth int) {
	for i := 0; i < len(b); {
		if endsURL(b[i]) {
			i++
			continue
		}
		from := i
		s.dec = s.dec[:0]
		any := false
		for i < len(b) && !endsURL(b[i]) {
			if b[i] == '%' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]) {
				s.dec = append(s.dec, unhex(b[i+1])<<4|unhex(b[i+2]))
				i, any = i+3, true
				continue
			}
			s.dec = append(s.dec, b[i])
			i++
		}
		if !any {
			continue
		}
		if s.look(depth) && !s.covers(from, i) {
			s.wrap(from, i)
			continue
		}
		// In a form a plus stands for a blank, elsewhere for itself.
		if spaces(s.dec) && s.look(depth) && !s.covers(from, i) {
			s.wrap(from, i)
		}
	}
}

// spaces makes blanks of the pluses in b and reports whether there are any.
func spaces(b []byte) bool {
	any := false
	for i, c := range b {
		if c == '+' {
			b[i], any = ' ', true
		}
	}
	return any
}

// covers reports whether what was found inside b[from:to] when decoded was
// found before too, as it stood.
func (s *scanner) covers(from, to int) bool {
	n := 0
	for i := range s.hits {
		if s.hits[i].from < to && s.hits[i].to > from {
			n++
		}
	}
	return n >= len(s.inner.hits)
}
