// Package seal keeps the keys that checkpoints are signed with. Each is used
// once and lives in a process of its own, forked from one that has none, which
// makes it, says its public half, signs one text and ends. Who reads the memory of the machine later finds no
// key that was used, and so cannot write again what was signed before.
//
//	keys, err := seal.NewChain()
//	...
//	key, next, err := keys.Keys(ctx)     // the hash of next goes into the text
//	sig, err := keys.Sign(ctx, text)     // with key, which is gone then
package seal

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"
)

// PublicKey is an Ed25519 public key (RFC 8032).
type PublicKey = [ed25519.PublicKeySize]byte

// Signature is an Ed25519 signature.
type Signature = [ed25519.SignatureSize]byte

// Chain is a row of keys. The process of the key after the next is forked while
// the next one waits, so that signing waits for no start of a process.
type Chain struct {
	mu     sync.Mutex
	now    *holder
	next   chan made
	ahead  *holder // taken from next
	closed bool
}

type made struct {
	h   *holder
	err error
}

// NewChain makes the first two keys.
func NewChain() (*Chain, error) {
	keys.use()
	h, err := keys.make()
	if err != nil {
		keys.leave()
		return nil, err
	}
	c := &Chain{now: h}
	c.make()
	return c, nil
}

// make makes the key after the next.
func (c *Chain) make() {
	c.ahead, c.next = nil, make(chan made, 1)
	next := c.next
	go func() {
		h, err := keys.make()
		next <- made{h, err}
	}()
}

// errClosed says that there are no more keys.
var errClosed = errors.New("the keys were given up")

// Keys returns the key that Sign will use next, and the one after it.
func (c *Chain) Keys(ctx context.Context) (now, next PublicKey, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.wait(ctx); err != nil {
		return now, next, err
	}
	return c.now.key, c.ahead.key, nil
}

func (c *Chain) wait(ctx context.Context) error {
	if c.closed {
		return errClosed
	}
	if c.ahead != nil {
		return nil
	}
	select {
	case m := <-c.next:
		if m.err != nil {
			c.make() // the next time is another try
			return fmt.Errorf("the next key: %w", m.err)
		}
		c.ahead = m.h
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the next key is not there yet: %w", ctx.Err())
	}
}

// Sign signs text, of at most 4,096 bytes, with the key that Keys told, and
// returns when that key is gone. After an error the chain is at its end: a key
// that may have signed is not asked again.
func (c *Chain) Sign(ctx context.Context, text []byte) (sig Signature, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.wait(ctx); err != nil {
		return sig, err
	}
	if sig, err = c.now.sign(ctx, text); err != nil {
		c.give()
		return sig, err
	}
	c.now = c.ahead
	c.make()
	return sig, nil
}

// Close gives up the keys that are left.
func (c *Chain) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.give()
}

func (c *Chain) give() {
	if c.closed {
		return
	}
	c.closed = true
	c.now.giveUp()
	if c.ahead == nil {
		if m := <-c.next; m.err == nil {
			c.ahead = m.h
		}
	}
	if c.ahead != nil {
		c.ahead.giveUp()
	}
	keys.leave()
}

// startWithin bounds how long a key may take to be made: a machine that is
// short of time takes long to start a program.
const startWithin = 5 * time.Second

// maxText bounds what is signed, in bytes.
const maxText = 4096

func (h *holder) sign(ctx context.Context, text []byte) (sig Signature, err error) {
	if len(text) == 0 || len(text) > maxText {
		return sig, fmt.Errorf("a text of %d bytes: a key signs 1 to %d", len(text), maxText)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(startWithin)
	}
	_ = h.conn.SetDeadline(deadline)
	if _, err := h.conn.Write(text); err != nil {
		return sig, fmt.Errorf("asking a key to sign: %w", err)
	}
	if n, err := h.conn.Read(sig[:]); err != nil || n != len(sig) {
		return sig, fmt.Errorf("a key did not sign (%d bytes, %w)", n, err)
	}
	if !ed25519.Verify(h.key[:], text, sig[:]) {
		return sig, errors.New("what a key signed is not what it was asked for")
	}
	// It ends by itself, unless somebody has stopped it.
	if err := h.end(); err != nil {
		return sig, fmt.Errorf("a key that signed is not gone: %w", err)
	}
	return sig, nil
}
