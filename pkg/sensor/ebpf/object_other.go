//go:build !amd64

package ebpf

// object is empty: no object has been built for this machine yet. What it
// takes is in bpf/arch.h.
var object []byte
