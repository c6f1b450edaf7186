package redact

// findNamed looks for values behind a name: name=value, name: value.
func (s *scanner) findNamed(b []byte, in where) {
	s.ends = [2]span{}
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c != '=' && c != ':' {
			continue
		}
		key := keyBefore(b, i)
		if len(key) < 3 {
			continue
		}
		if c == ':' {
			if in == inPath || in == inURL {
				continue
			}
			i = max(i, s.findColon(b, i, key)-1)
			continue
		}
		kind := classify(key)
		query := in == inURL || inQuery(b, i-len(key))
		if query && kind == keyWeak && (string(key) == "sig" || string(key) == "X-Amz-Signature" || string(key) == "X-Goog-Signature") {
			kind = keyStrong
		}
		if query && string(key) == "code" {
			kind = keyWeak
		}
		if kind == keyNone {
			continue
		}
		if i+1 < len(b) && b[i+1] == '=' { // a comparison: only a literal is a value
			if i++; !literalNext(b[i+1:]) {
				continue
			}
		}
		from, to := s.value(b, i, in, query)
		if s.addValue(b, from, to, kind, query) {
			i = to - 1
		}
	}
}

// findColon looks at name: value in JSON, YAML and headers and returns the
// place to go on.
func (s *scanner) findColon(b []byte, i int, key []byte) int {
	quoted := i > 0 && (b[i-1] == '"' || b[i-1] == '\'')
	if isHeader(key) && !quoted {
		from := i + 1
		for from < len(b) && b[from] == ' ' {
			from++
		}
		to := from
		for to < len(b) && b[to] != '\n' && b[to] != '\r' && b[to] != '"' && b[to] != '\'' && b[to] != '`' {
			to++
		}
		from += skipScheme(b[from:to])
		if from = unmarked(b, from, to); !reference(b[from:to]) && !curlFile(b[from:to]) {
			s.add(b, from, to, 2, patHeader)
		}
		return to
	}
	kind := classify(key)
	if kind == keyNone {
		return i
	}
	if before := i - len(key) - 1; before >= 0 && (b[before] == '/' || quoted && before > 0 && b[before-1] == '/') {
		kind = keyWeak // the name of a package or file: "@scope/auth-token": "^4.0.0"
	}
	if string(key) == "PASS" { // of a test
		kind = keyWeak
	}
	if i+1 < len(b) && !quoted && b[i+1] != ' ' && b[i+1] != '"' && b[i+1] != '\'' && b[i+1] != '\\' {
		kind = keyWeak // token:abc may be a target or an image tag
	}
	from, to := s.value(b, i, inScript, false)
	if from < to {
		from += skipScheme(b[from:to])
	}
	if quoted && isVersion(b[from:to]) {
		return i
	}
	if s.addValue(b, from, to, kind, false) {
		return to
	}
	return i
}

func curlFile(v []byte) bool { return len(v) > 0 && v[0] == '@' }

// addValue notes b[from:to] if its name and looks say that it is a secret, and
// reports whether they do.
func (s *scanner) addValue(b []byte, from, to int, kind keyKind, query bool) bool {
	from = unmarked(b, from, to)
	v := b[from:to]
	if reference(v) || isBuildSecret(v) {
		return false
	}
	if kind == keyWeak && readable(v) {
		return false
	}
	if kind == keyStrong && len(v) > 0 && v[0] == '/' && !highEntropy(v) {
		return false // a path
	}
	pattern := patNamed
	if query {
		pattern = patParameter
	}
	s.add(b, from, to, 3, pattern)
	return from < to
}

// literalNext reports whether b begins with a quoted string, after blanks.
func literalNext(b []byte) bool {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	return len(b) > 0 && (b[0] == '"' || b[0] == '\'')
}

// inQuery reports whether the name at b[i] is a parameter of a URL's query.
func inQuery(b []byte, i int) bool { return i > 0 && (b[i-1] == '?' || b[i-1] == '&') }

// span is where an unquoted value was found to end: one that begins within
// ends there too. It keeps names without number from being read over and over.
type span struct{ from, to int }

// value returns the bounds of what stands after the separator at b[i].
func (s *scanner) value(b []byte, i int, in where, query bool) (from, to int) {
	from = i + 1
	for n := 0; from < len(b) && n < 8 && b[from] == ' '; n++ {
		from++
	}
	if from >= len(b) {
		return from, from
	}
	marked := from
	if from = unmarked(b, from, len(b)); from >= len(b) {
		return from, from
	}
	switch c := b[from]; {
	case from > marked: // what stands behind a mark goes on with the value
	case c == '"' || c == '\'':
		from++
		for to = from; to < len(b) && b[to] != c; to++ {
			if b[to] == '\\' && c == '"' {
				to++
			}
		}
		return from, min(to, len(b))
	case c == '\\' && from+1 < len(b) && (b[from+1] == '"' || b[from+1] == '\''):
		from += 2
		for to = from; to < len(b); to++ {
			if b[to] == '\\' && to+1 < len(b) && b[to+1] == b[from-1] {
				return from, to
			}
		}
		return from, to
	}
	known := &s.ends[0]
	if query {
		known = &s.ends[1]
	}
	if from < known.from || from >= known.to {
		*known = span{from, valueEnd(b, from, in, query)}
	}
	return from, known.to
}

// valueEnd returns where the unquoted value at b[from] ends.
func valueEnd(b []byte, from int, in where, query bool) int {
	if in == inWhole && !query {
		return len(b)
	}
	to := from
	for ; to < len(b); to++ {
		c := b[to]
		switch {
		case query || in == inURL:
			if c == '&' || c == '#' || endsURL(c) {
				return to
			}
		case in == inPath:
			if c == '/' {
				return to
			}
		case c == '\\':
			to++
		case c <= ' ' || c == ';' || c == '|' || c == '&' || c == '<' || c == '>' || c == '(' || c == ')' || c == '"' || c == '\'' || c == '`':
			return to
		case c == ',' && namedNext(b[to+1:]):
			return to
		}
	}
	return min(to, len(b))
}

// namedNext reports whether b begins with name=, as after a comma in a list.
func namedNext(b []byte) bool {
	i := 0
	for i < len(b) && i < maxKey && (base62[b[i]] || b[i] == '_' || b[i] == '-' || b[i] == '.') {
		i++
	}
	return i > 0 && i < len(b) && b[i] == '='
}
