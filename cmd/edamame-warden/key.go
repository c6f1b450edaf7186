package main

import (
	"crypto/ed25519"
	"syscall"
	"unsafe"
)

// maxText bounds what is signed, in bytes.
const maxText = 4096

// holdKey makes a key, says its public half, signs one text and ends. What
// it wrote into its memory goes with it: Go keeps copies of a key in places
// that no program can clear (crypto/ed25519 has a cache of its own).
func holdKey() int {
	keepMemory()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return 1
	}
	if _, err := syscall.Write(0, public); err != nil {
		return 1
	}
	text := make([]byte, maxText+1)
	n, err := read(0, text)
	if err != nil || n == 0 || n > maxText {
		return 1 // who asked for a key has gone
	}
	if _, err := syscall.Write(0, ed25519.Sign(private, text[:n])); err != nil {
		return 1
	}
	return 0
}

// keepMemory keeps the process's memory out of core files, away from ptrace
// and /proc/PID/mem of everybody but root, and out of swap. A kernel that
// refuses one of them still has the others.
func keepMemory() {
	const (
		prSetDumpable = 4            // prctl(2)
		lockOnFault   = 1 | 2 | 1<<2 // MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT of mlockall(2)
		coreSize      = 4            // RLIMIT_CORE
	)
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
	var none syscall.Rlimit
	_, _, _ = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, coreSize, uintptr(unsafe.Pointer(&none)), 0, 0, 0)
	_, _, _ = syscall.RawSyscall(syscall.SYS_MLOCKALL, lockOnFault, 0, 0)
}
