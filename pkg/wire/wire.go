// Package wire reads the first bytes of what goes over a socket: DNS messages,
// TLS ClientHellos, HTTP/1 requests. Its functions are pure, take time in
// proportion to the bytes they are given, and allocate nothing where that can
// be: slices in a result are parts of the input and valid as long as it is.
//
// A sensor captures a bounded piece of a packet or stream, so each function
// says whether it saw all: what could be read of a cut message is returned.
// The bytes are the job's own and may be made to mislead; names come out
// escaped where the format demands it and are otherwise as they were sent.
package wire

import "errors"

var (
	// ErrIncomplete is returned when the bytes end before anything useful.
	ErrIncomplete = errors.New("wire: the captured bytes end too early")
	// ErrNotDNS is returned for bytes that are no DNS message.
	ErrNotDNS = errors.New("wire: not a DNS message")
	// ErrNotTLS is returned for bytes that do not begin with a ClientHello.
	ErrNotTLS = errors.New("wire: not a TLS ClientHello")
	// ErrNotHTTP is returned for bytes that do not begin with an HTTP/1 request.
	ErrNotHTTP = errors.New("wire: not an HTTP/1 request")
	// ErrHTTP2 is returned for the connection preface of HTTP/2 (RFC 9113 §3.4).
	ErrHTTP2 = errors.New("wire: HTTP/2 connection preface")
)

func u16(b []byte) int { return int(b[0])<<8 | int(b[1]) }

func u24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

func u32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
