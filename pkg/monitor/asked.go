package monitor

import (
	"hash/maphash"

	"github.com/org/edamame-posture/pkg/redact"
)

// maxAsked bounds the questions that are remembered. An answer to an older one
// is told as unasked, which makes it a claim, never the other way round.
const maxAsked = 4096

// asked remembers which socket asked which DNS question: whoever can send to
// a socket in the resolver's name can answer what it never asked. The zero
// value is ready; once warm it allocates nothing.
type asked struct {
	seed maphash.Seed
	seen map[askedKey]struct{}
	ring []askedKey
	next int
}

// askedKey is a question on a socket; its name as a hash that the job cannot
// foresee.
type askedKey struct {
	sock, name uint64
	qtype      uint16
}

func (a *asked) key(sock uint64, name []byte, qtype uint16) askedKey {
	return askedKey{sock, maphash.Bytes(a.seed, name), qtype}
}

func (a *asked) ask(sock uint64, name []byte, qtype uint16) {
	if a.seen == nil {
		a.seed, a.seen = maphash.MakeSeed(), make(map[askedKey]struct{})
	}
	k := a.key(sock, name, qtype)
	if _, ok := a.seen[k]; ok {
		return
	}
	if len(a.ring) < maxAsked {
		a.ring = append(a.ring, k)
	} else {
		delete(a.seen, a.ring[a.next])
		a.ring[a.next] = k
		a.next = (a.next + 1) % maxAsked
	}
	a.seen[k] = struct{}{}
}

// was reports whether that was asked before, on that socket.
func (a *asked) was(sock uint64, name []byte, qtype uint16) bool {
	if a.seen == nil {
		return false
	}
	_, ok := a.seen[a.key(sock, name, qtype)]
	return ok
}

// unasked is the detail of an answer to a question that its socket did not
// ask while it was recorded. pkg/names reads it.
var unasked = redact.Const("unasked")
