// Package barrier holds up the way to root until what led to it is sealed: an
// exec of a setuid program or of a container runtime waits until the monitor has
// signed all that happened before.
//
//	b, err := barrier.Start(barrier.Programs())
//	...
//	h, err := b.Next()       // an exec waits
//	...                      // seal
//	err = b.Answer(h.ID)     // it goes on
//
// It never forbids anything. The answers are given by a guard, a process of its
// own: were it the monitor, one that is stopped would hold up the machine.
// fanotify(7), FAN_OPEN_EXEC_PERM.
package barrier

import "time"

// Patience is how long an exec waits at most.
const Patience = 15 * time.Millisecond

// Held is an exec that waits, or one that waited in vain.
type Held struct {
	ID     uint32
	PID    uint32 // of the process that is about to execute it
	Path   string // of the program, as the guard sees it
	Missed bool   // it was let go without an answer
}
