package redact

import "bytes"

// Argv returns the arguments of an exec redacted, appended to dst, and what was
// replaced, appended to found. raw holds the arguments, each ended by a NUL, as
// in /proc/PID/cmdline; the last NUL may be missing. Arguments are looked at
// together: what follows --password is a secret whatever it looks like.
//
// Where nothing was replaced, which is the usual case, the texts share one
// string and this is the only allocation.
func (r *Redactor) Argv(raw []byte, dst []Text, found []Found) ([]Text, []Found) {
	if len(raw) == 0 {
		return dst, found
	}
	if raw[len(raw)-1] == 0 {
		raw = raw[:len(raw)-1]
	}
	if len(raw) <= r.maxArgv && r.cleanArgv(raw) {
		shared := string(raw)
		for {
			end := bytes.IndexByte(raw, 0)
			if end < 0 {
				return append(dst, Text{shared}), found
			}
			dst = append(dst, Text{shared[:end]})
			raw, shared = raw[end+1:], shared[end+1:]
		}
	}
	var l words
	s := r.take()
	left, told := r.maxArgv, len(found)
	for index, more := 0, true; more; index++ {
		if index == maxArgs || left < minLeft {
			dst = append(dst, Concat(Const("[cut "), Uint(uint64(len(raw))), Const("]")))
			break
		}
		var arg []byte
		arg, raw, more = bytes.Cut(raw, []byte{0})
		from, to, pattern, in := l.argument(arg)
		if to == 0 && len(arg) <= left && r.clean(arg, in) {
			// Most of them, also in a list of files that is too long for the way above.
			dst = append(dst, Text{string(arg)})
			left -= len(arg)
			continue
		}
		s.hits = s.hits[:0]
		if to > from {
			s.add(arg, unmarked(arg, from, to), to, 2, pattern)
		}
		s.redact(arg, in, left)
		left -= len(s.out)
		dst = append(dst, Text{string(s.out)})
		if len(found)-told < maxFound {
			found = s.tell(found, index)
		}
	}
	r.give(s)
	return dst, found
}

// minLeft is what must be left of the bound to begin another argument.
const minLeft = 32

// cleanArgv reports whether nothing in the arguments can be a secret.
func (r *Redactor) cleanArgv(raw []byte) bool {
	var l words
	for n := 0; ; n++ {
		end := bytes.IndexByte(raw, 0)
		arg := raw
		if end >= 0 {
			arg = raw[:end]
		}
		_, to, _, in := l.argument(arg)
		if to > 0 || n >= maxArgs || !r.clean(arg, in) {
			return false
		}
		if end < 0 {
			return true
		}
		raw = raw[end+1:]
	}
}

// argument is word for an argument of an exec, and says how to read it.
func (l *words) argument(arg []byte) (from, to int, pattern Text, in where) {
	from, to, pattern, script := l.word(arg)
	if script || !wholeValue(arg) {
		return from, to, pattern, inScript
	}
	return from, to, pattern, inWhole
}

// wholeValue reports whether a value in arg runs to its end: it is an option
// or an assignment, and not a script or a piece of data.
func wholeValue(arg []byte) bool {
	if len(arg) == 0 {
		return false
	}
	eq := bytes.IndexByte(arg, '=')
	if arg[0] == '-' {
		return eq > 0
	}
	if eq <= 0 {
		return false
	}
	for _, c := range arg[:eq] {
		if !base62_[c] && c != '-' && c != '.' {
			return false
		}
	}
	for _, c := range arg[eq:] {
		switch c {
		case ';', '|', '&', '`', '\n', '<', '>':
			return false
		}
	}
	return true
}
