package redact

import "bytes"

var (
	privateKey = []byte("PRIVATE KEY")
	beginKey   = []byte("-----BEGIN")
	endKey     = []byte("-----END")
	puttyKey   = []byte("PuTTY-User-Key-File")
)

// findPrivateKeys looks for PEM blocks (RFC 7468, OpenSSH, OpenPGP), whole or cut, and PuTTY's.
func (s *scanner) findPrivateKeys(b []byte) {
	for at := 0; ; {
		i := bytes.Index(b[at:], privateKey)
		if i < 0 {
			break
		}
		i += at
		at = i + len(privateKey)
		back := max(0, i-48)
		j := bytes.LastIndex(b[back:i], beginKey)
		if j < 0 {
			continue
		}
		from, to := back+j, len(b)
		if e := bytes.Index(b[at:], endKey); e >= 0 {
			to = at + e + len(endKey)
			if d := bytes.Index(b[to:min(len(b), to+64)], []byte("-----")); d >= 0 {
				to += d + 5
			}
		}
		s.add(b, from, to, 1, patPrivateKey)
		at = to
	}
	if i := bytes.Index(b, puttyKey); i >= 0 && bytes.IndexByte(b[i:], '\n') > 0 { // its keys have lines
		s.add(b, i, len(b), 1, patPrivateKey)
	}
}
