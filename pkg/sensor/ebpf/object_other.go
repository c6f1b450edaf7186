//go:build !amd64

package ebpf

// compressed is empty: no compressed has been built for this machine yet. What it
// takes is in bpf/arch.h.
var compressed []byte
