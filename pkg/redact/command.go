package redact

// findOptions looks at the words of a script as at the arguments of a command.
func (s *scanner) findOptions(b []byte) {
	commandWords(b, func(from, to int, pattern Text) bool {
		s.add(b, from, to, 2, pattern)
		return true
	})
}

// commandWords gives the secrets among the words of the commands in b, until
// yield returns false.
func commandWords(b []byte, yield func(from, to int, pattern Text) bool) {
	var l words
	for i := 0; i < len(b); {
		c := b[i]
		if c == ';' || c == '|' || c == '&' || c == '\n' {
			l = words{}
			i++
			continue
		}
		if c <= ' ' || c == '(' || c == ')' {
			if c == ')' {
				l.next = wantNothing
			}
			i++
			continue
		}
		if c == ',' && i+1 < len(b) && b[i+1] <= ' ' { // between the strings of a list
			i++
			continue
		}
		from, to := i, i
		if c == '"' || c == '\'' {
			from++
			for to = from; to < len(b) && b[to] != c; to++ {
				if b[to] == '\\' && c == '"' {
					to++
				}
			}
			to = min(to, len(b))
			i = to + 1
		} else {
			if n := mark(b[i:]); n > 0 {
				l.next = wantNothing
				i += n
				continue
			}
			for to = from; to < len(b) && b[to] > ' ' && b[to] != ';' && b[to] != '|' && b[to] != '&' && b[to] != '(' && b[to] != ')' && b[to] != '"' && b[to] != '\''; to++ {
				if b[to] == '\\' {
					to++
				} else if n := mark(b[to:]); n > 0 {
					to += n - 1
				}
			}
			to = min(to, len(b))
			i = max(to, i+1)
		}
		if f, t, pattern, _ := l.word(b[from:to]); t > f {
			if f = unmarked(b, from+f, from+t); f < from+t && !yield(f, from+t, pattern) {
				return
			}
		}
	}
}
