package ebpf

import (
	"math/bits"
	"time"

	"github.com/org/edamame-posture/pkg/sensor"
)

// Options are the settings of a sensor. The zero value works.
type Options struct {
	// Watch names the files whose opening for reading is told. /proc/PID/mem,
	// maps and environ of another process are always told.
	Watch sensor.Watch
	// OwnFolders are names of folders, four at most, below which the monitor's
	// own files lie: an open there that was refused is told too.
	OwnFolders []string
	// RingBytes is the size of the ring for processes, sockets and
	// power; 8 MiB where 0. FileRingBytes is that of the ring for
	// file events; 4 MiB where 0. Both are rounded up to a power of two of at
	// least 64 KiB, and count in the monitor's memory.
	RingBytes, FileRingBytes int
	// ArgvBytes is how many bytes of a program's arguments are read; 128 KiB
	// where 0, 2 MiB at most.
	ArgvBytes int
	// NoTLS leaves the libraries of TLS alone: what is said inside of it is not
	// read.
	NoTLS bool
	// ProbesLater has Start not wait until the libraries of TLS that are there
	// are probed: AwaitProbes does.
	ProbesLater bool

	// preempted arms what is for kernels that preempt programs of sys_exit, for
	// tests on others.
	preempted bool
	// Logf says what a person should know while it runs; nil for silence.
	Logf func(format string, args ...any)

	poll  time.Duration // how often the rings are read when nothing wakes the reader, for tests
	folds int           // how many acts can be folded at once, for tests; 65,536 where 0
}

func (o Options) ringBytes() int     { return ringSize(o.RingBytes, 8<<20) }
func (o Options) fileRingBytes() int { return ringSize(o.FileRingBytes, 4<<20) }

func (o Options) argvBytes() int {
	switch n := o.ArgvBytes; {
	case n <= 0:
		return 128 << 10
	case n > 2<<20:
		return 2 << 20
	default:
		return n
	}
}

func ringSize(n, otherwise int) int {
	const least, most = 64 << 10, 256 << 20
	switch {
	case n <= 0:
		return otherwise
	case n <= least:
		return least
	case n >= most:
		return most
	}
	return 1 << bits.Len(uint(n-1))
}
