package probe

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf/features"
)

var uprobeQuestion = question{"uprobes", "programs at functions of TLS libraries", func() Result {
	if err := CanUprobe(); err != nil {
		return Result{
			Detail: err.Error(),
			Lost:   "requests inside TLS: method, host and path, and which key was used",
			Get:    "use a kernel with CONFIG_UPROBES=y and CONFIG_UPROBE_EVENTS=y",
		}
	}
	how := "one by one"
	if features.HaveBPFLinkUprobeMulti() == nil {
		how = "many of a file by one link"
	}
	return Result{OK: true, Detail: how}
}}

// CanUprobe returns nil where programs can stand at the functions of a file: by
// one link for many of them (from 6.6 on), or by perf events.
func CanUprobe() error {
	const pmu = "/sys/bus/event_source/devices/uprobe/type"
	if _, err := os.Stat(pmu); err == nil {
		return nil
	}
	if err := features.HaveBPFLinkUprobeMulti(); err != nil {
		return fmt.Errorf("neither %s nor links of many uprobes: %w", pmu, err)
	}
	return nil
}
