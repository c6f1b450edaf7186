package redact

import "bytes"

var schemeSep = []byte("://")

// findURLs looks for what stands before the @ of a URL (RFC 3986 §3.2.1).
func (s *scanner) findURLs(b []byte) {
	without := 0 // no @ stands before this place
	for at := 0; ; {
		i := bytes.Index(b[at:], schemeSep)
		if i < 0 {
			return
		}
		from := at + i + 3
		at = from
		end, last := from, -1
		for end < len(b) && !endsURL(b[end]) && b[end] != '/' && b[end] != '?' && b[end] != '#' {
			if b[end] == '@' {
				last = end
			}
			end++
		}
		colon := -1
		if from < end && b[from] == '[' { // an IPv6 address
			if bracket := indexByte(b[from:end], ']'); bracket >= 0 {
				if colon = indexByte(b[from+bracket:end], ':'); colon >= 0 {
					colon += bracket
				}
			}
		} else {
			colon = indexByte(b[from:end], ':')
		}
		if last < 0 {
			// A password with a slash in it, against the RFC: what follows the
			// colon is no port.
			if colon < 0 || isPort(b[from+colon+1:end]) {
				continue
			}
			if end < without {
				continue
			}
			for end < len(b) && !endsURL(b[end]) {
				if b[end] == '@' {
					last = end
				}
				end++
			}
			if last < 0 {
				without = end
				continue
			}
		}
		at = end
		if colon >= 0 && from+colon < last {
			v := unmarked(b, from+colon+1, last)
			if !reference(b[v:last]) {
				s.add(b, v, last, 2, patUserinfo)
			}
			if v := unmarked(b, from, from+colon); colon >= minRandom && !readable(b[v:from+colon]) {
				s.add(b, v, from+colon, 2, patUserinfo)
			}
			continue
		}
		if v := unmarked(b, from, last); last-v >= minRandom && !reference(b[v:last]) {
			s.add(b, v, last, 2, patUserinfo)
		}
	}
}

func endsURL(c byte) bool {
	return c <= ' ' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '`' || c == '|' || c == 0x7f
}

func isPort(p []byte) bool {
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(p) <= 5
}
