package evidence

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Keys are what checkpoints are signed with: each key once. Package seal has
// them.
type Keys interface {
	// Keys returns the public key (Ed25519) that Sign uses next, and the one
	// after it.
	Keys(ctx context.Context) (now, next [ed25519.PublicKeySize]byte, err error)
	// Sign signs with the first of them and returns when it is gone.
	Sign(ctx context.Context, text []byte) ([ed25519.SignatureSize]byte, error)
	// Close gives up what is left.
	Close()
}

// The lines of a signed checkpoint beyond those that each has.
const (
	seqLine  = "seq "
	nextLine = "next "
	keyLine  = "key "
)

// algEd25519 is the signature type of C2SP signed-note.
const algEd25519 = 1

// signing signs one checkpoint after another.
type signing struct {
	keys  Keys
	seq   uint64
	ended bool
	err   error // why there are no more signatures
}

// ErrNotYet says that there is no key yet, as where a machine is short of time:
// nothing was signed or written, and the next checkpoint may be.
var ErrNotYet = errors.New("there is no key yet")

// sign adds the lines of the key chain and the signature to c. The last
// checkpoint names no next key. Where a key fails, c is unsigned, and all that
// follow are. The error is ErrNotYet, and never for the last.
func (s *signing) sign(ctx context.Context, c *Checkpoint, last bool) error {
	c.Extra, c.Signatures = nil, nil
	if s.keys == nil || s.ended || s.err != nil {
		return nil
	}
	now, next, err := s.keys.Keys(ctx)
	if err != nil && !last {
		return fmt.Errorf("%w: %w", ErrNotYet, err)
	}
	if err == nil {
		// From here on it is not given up early: a key that may have signed is not
		// asked again.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signWithin)
		defer cancel()
		err = s.signOne(ctx, c, now, next, last)
	}
	if s.err = err; err != nil {
		c.Extra, c.Signatures = nil, nil
		return nil
	}
	s.seq++
	if last {
		s.end()
	}
	return nil
}

// signWithin is how long a key may take to sign.
const signWithin = 5 * time.Second

func (s *signing) signOne(ctx context.Context, c *Checkpoint, now, next [ed25519.PublicKeySize]byte, last bool) error {
	link := Hash(sha256.Sum256(next[:]))
	if last {
		link = Hash{}
	}
	c.Extra = []string{
		seqLine + strconv.FormatUint(s.seq, 10),
		nextLine + link.String(),
		keyLine + base64.StdEncoding.EncodeToString(now[:]),
	}
	sig, err := s.keys.Sign(ctx, c.appendText(nil))
	if err != nil {
		return err
	}
	raw := binary.BigEndian.AppendUint32(nil, keyHash(c.Origin, now))
	c.Signatures = []string{c.Origin + " " + base64.StdEncoding.EncodeToString(append(raw, sig[:]...))}
	return nil
}

// end gives up the keys.
func (s *signing) end() {
	if s.keys != nil && !s.ended {
		s.keys.Close()
	}
	s.ended = true
}

// keyHash is the key id of C2SP signed-note for an Ed25519 key.
func keyHash(name string, key [ed25519.PublicKeySize]byte) uint32 {
	b := append([]byte(name), '\n', algEd25519)
	sum := sha256.Sum256(append(b, key[:]...))
	return binary.BigEndian.Uint32(sum[:])
}

// Link is what a signed checkpoint says of the key chain.
type Link struct {
	Seq  uint64                      // place in the chain, from 0
	Key  [ed25519.PublicKeySize]byte // that signed it
	Next Hash                        // SHA-256 of the next one's key; zero in the last
}

// Link reads the lines of the key chain and checks that the key they name
// signed the note. ok is false for a note without signature. Signatures under
// other names, as a witness adds them, say nothing here and are passed over.
func (c *Checkpoint) Link() (l Link, ok bool, err error) {
	if len(c.Extra) < 3 && len(c.Signatures) == 0 {
		return l, false, nil
	}
	if len(c.Extra) < 3 {
		return l, false, errors.New("a signed checkpoint needs the lines seq, next and key")
	}
	values := [3]string{}
	for i, name := range [3]string{seqLine, nextLine, keyLine} {
		if values[i], ok = strings.CutPrefix(c.Extra[i], name); !ok {
			return l, false, fmt.Errorf("%.80q: want the line %s", c.Extra[i], strings.TrimSpace(name))
		}
	}
	if l.Seq, err = parseCount(values[0]); err != nil {
		return l, false, fmt.Errorf("seq %w", err)
	}
	var key Hash // of the same form
	if err := errors.Join(l.Next.UnmarshalText([]byte(values[1])), key.UnmarshalText([]byte(values[2]))); err != nil {
		return l, false, fmt.Errorf("next or key: %w", err)
	}
	l.Key = key
	id, found := keyHash(c.Origin, l.Key), false
	for _, line := range c.Signatures {
		name, value, _ := strings.Cut(line, " ")
		if name != c.Origin {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(value)
		switch {
		case err != nil || len(raw) != 4+ed25519.SignatureSize:
			return l, false, errors.New("its signature is not one of Ed25519 in base64")
		case found:
			return l, false, errors.New("it has more than one signature of its own")
		case binary.BigEndian.Uint32(raw) != id:
			return l, false, errors.New("it was signed with another key than it names")
		case !ed25519.Verify(l.Key[:], c.appendText(nil), raw[4:]):
			return l, false, errors.New("its signature does not fit: it was changed after it was signed")
		}
		found = true
	}
	if !found {
		return l, false, errors.New("it names a key, and no signature of that is there")
	}
	return l, true, nil
}

// Chain is what the checkpoints of a log say of the keys that signed them.
type Chain struct {
	// Signed is how many checkpoints are signed, from the first on.
	Signed uint64
	// Unsigned is how many come after these without a signature, so that
	// anybody may have written them and the lines that they alone cover.
	Unsigned uint64
	// First is the key of the first checkpoint. Who knows it from elsewhere
	// knows that the chain is the one that began there.
	First [ed25519.PublicKeySize]byte
	// Ended says that the last checkpoint names no next key: nobody can go on.
	Ended bool

	last Link
}

// Whole reports whether every checkpoint is signed and the chain was ended.
func (c Chain) Whole() bool { return c.Signed > 0 && c.Unsigned == 0 && c.Ended }

// ReadChain follows the chain of keys alone, without the log. Verify does that
// and holds the checkpoints against the log.
func (e *Evidence) ReadChain() (c Chain, err error) {
	err = e.EachCheckpoint(func(note *Checkpoint) error {
		if err := c.add(note); err != nil {
			return &Fault{File: checkpointsName, Line: note.Line, Err: err}
		}
		return nil
	})
	return c, err
}

// add follows the chain over one checkpoint more.
func (c *Chain) add(note *Checkpoint) error {
	l, ok, err := note.Link()
	switch {
	case err != nil:
		return err
	case !ok:
		c.Unsigned++
		return nil
	case c.Unsigned > 0:
		return errors.New("it is signed, and the one before is not")
	case l.Seq != c.Signed:
		return fmt.Errorf("it is number %d of the chain of keys, and number %d is due: a checkpoint is missing, or stands twice", l.Seq, c.Signed)
	case c.Ended:
		return errors.New("the checkpoint before says that it is the last")
	case c.Signed == 0:
		c.First = l.Key
	case sha256.Sum256(l.Key[:]) != c.last.Next:
		return errors.New("it was not signed with the key that the checkpoint before names")
	}
	c.Signed++
	c.last, c.Ended = l, l.Next == Hash{}
	return nil
}
