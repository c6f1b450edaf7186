package ebpf

import _ "embed"

// compressed is what bpf/rebuild.sh builds from bpf/sensor.bpf.c.
//
//go:embed bpf/sensor_amd64.o.zst
var compressed []byte
