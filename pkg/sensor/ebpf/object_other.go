//go:build !amd64 && !arm64

package ebpf

import "debug/elf"

// compressed is empty: no programs have been built for this machine yet. What it
// takes is in bpf/arch.h.
var compressed []byte

// machine: no program is probed.
const machine = elf.EM_NONE
