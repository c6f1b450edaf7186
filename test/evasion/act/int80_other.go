//go:build linux && !amd64

package main

import "golang.org/x/sys/unix"

// Only x86-64 has a second entry for system calls.
func int80(_, _, _, _ uint32) int32 { return -int32(unix.ENOSYS) }
