package ebpf

import _ "embed"

// object is what bpf/rebuild.sh builds from bpf/sensor.bpf.c.
//
//go:embed bpf/sensor_amd64.o
var object []byte
