// Command edamame-warden is the small program that the monitor starts for two
// things that must be done by a process of its own: to hold one key, and to
// answer for the execs that wait at the barrier. It is a part of the monitor:
// package warden has it built, for each processor, and package seal and package
// barrier start it. Started otherwise it does nothing.
//
// It is as small as it is because a process of it is forked for each checkpoint.
// rebuild.sh builds it; the result is the same, byte for byte, wherever that is
// done with the same Go.
package main

import (
	"os"
	"strconv"
	"syscall"
)

func main() {
	code := 2
	switch {
	case len(os.Args) == 2 && os.Args[1] == "keys":
		code = makeKeys()
	case len(os.Args) == 3 && os.Args[1] == "barrier":
		if patience, err := strconv.ParseInt(os.Args[2], 10, 64); err == nil {
			code = guard(0, 1, patience)
		}
	}
	// Also of a fork, in which Go's scheduler must not be asked.
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(code), 0, 0)
}

// read reads from a descriptor.
func read(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
