package ebpf

import (
	"debug/elf"
	_ "embed"
)

// compressed is what bpf/rebuild.sh builds from bpf/sensor.bpf.c.
//
//go:embed bpf/sensor_amd64.o.zst
var compressed []byte

// machine is what programs and libraries of this processor say they are for.
const machine = elf.EM_X86_64
