package event

import (
	"encoding/hex"
	"fmt"
)

// SHA256 is a digest of a file's content (FIPS 180-4). The zero value stands
// for none: no file is known that has it.
type SHA256 [32]byte

// IsZero reports whether there is no digest.
func (d SHA256) IsZero() bool { return d == SHA256{} }

// AppendHex appends the 64 hexadecimal digits, in lower case.
func (d SHA256) AppendHex(b []byte) []byte { return hex.AppendEncode(b, d[:]) }

// String returns the 64 hexadecimal digits, in lower case.
func (d SHA256) String() string { return hex.EncodeToString(d[:]) }

// ParseSHA256 reads what String gives, and nothing else: a digest has one
// spelling. The error is a [BadSHA256].
func ParseSHA256(s string) (SHA256, error) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		case c >= 'A' && c <= 'F':
			return SHA256{}, &BadSHA256{i, "a digest is written in lower case, as sha256sum(1) prints it"}
		default:
			return SHA256{}, &BadSHA256{i, "not a hexadecimal digit; want the 64 that sha256sum(1) prints"}
		}
	}
	var d SHA256
	if len(s) != hex.EncodedLen(len(d)) {
		return d, &BadSHA256{0, fmt.Sprintf("has %d hexadecimal digits, a SHA-256 has %d; write what sha256sum(1) prints", len(s), hex.EncodedLen(len(d)))}
	}
	_, _ = hex.Decode(d[:], []byte(s)) // cannot fail: looked at above
	if d.IsZero() {
		return d, &BadSHA256{0, "all zeros are the digest of no file"}
	}
	return d, nil
}

// BadSHA256 says what is wrong with a digest.
type BadSHA256 struct {
	Offset  int // in bytes
	Message string
}

func (e *BadSHA256) Error() string { return e.Message }
