package probe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

const tracepointGet = "use a kernel with CONFIG_FTRACE_SYSCALLS=y and CONFIG_NET=y, 5.8 or later"

// required are the raw tracepoints without which the eBPF sensor says nothing
// useful; expected are those whose absence costs one kind of event. One that was
// renamed stands with its other names, after a bar.
var (
	required = []string{"sched_process_fork", "sched_process_exec", "sched_process_exit", "inet_sock_set_state", "sys_enter", "sys_exit"}
	expected = []string{"signal_generate", "sock_send_length", "cgroup_mkdir", "io_uring_submit_req|io_uring_submit_sqe", "io_uring_complete"}
)

var tracepointQuestion = question{"tracepoints", "raw tracepoints with types", func() Result {
	missing, err := missingTracepoints(required)
	if err != nil {
		return Result{Detail: err.Error(), Lost: bpfLost, Get: btfGet}
	}
	if len(missing) > 0 {
		return Result{Detail: "missing " + strings.Join(missing, ", "), Lost: bpfLost, Get: tracepointGet}
	}
	optional, _ := missingTracepoints(expected)
	if len(optional) > 0 {
		return Result{OK: true, Detail: "all that are required; without " + strings.Join(optional, ", ")}
	}
	return Result{OK: true, Detail: "all"}
}}

// missingTracepoints returns those of which the kernel has, by none of its names,
// a type btf_trace_NAME, which include/trace/bpf_probe.h makes for each tracepoint.
func missingTracepoints(names []string) ([]string, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's BTF: %w", err)
	}
	var missing []string
	for _, n := range names {
		found := false
		for name := range strings.SplitSeq(n, "|") {
			var t *btf.Typedef
			err := spec.TypeByName("btf_trace_"+name, &t)
			if err != nil && !errors.Is(err, btf.ErrNotFound) {
				return nil, fmt.Errorf("tracepoint %s in the kernel's BTF: %w", name, err)
			}
			found = found || err == nil
		}
		if !found {
			missing = append(missing, strings.ReplaceAll(n, "|", " or "))
		}
	}
	return missing, nil
}
