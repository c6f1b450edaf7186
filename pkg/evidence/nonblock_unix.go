//go:build unix

package evidence

import "syscall"

// nonblock keeps the opening of a pipe, put in a file's place, from waiting.
const nonblock = syscall.O_NONBLOCK
