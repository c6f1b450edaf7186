package probe

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

const (
	bpfLost = "the eBPF sensor: file events, connections with their owner, DNS, and arguments of every exec"
	bpfGet  = "run it as root (sudo) on the machine itself; in a container add CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and a seccomp profile that allows bpf(2)"
)

var bpfQuestion = question{"bpf", "loading an eBPF tracing program", func() Result {
	if err := loadTracing("sched_process_exec"); err != nil {
		return Result{Detail: err.Error(), Lost: bpfLost, Get: bpfGet}
	}
	return Result{OK: true, Detail: "a program for sched_process_exec loads"}
}}

var ringBufferQuestion = question{"ring-buffer", "BPF ring buffer and loops", func() Result {
	if err := features.HaveMapType(ebpf.RingBuf); err != nil {
		return Result{Detail: reason(err), Lost: bpfLost, Get: bpfGet + "; on a kernel of 5.8 or later"}
	}
	if err := features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnLoop); err != nil {
		return Result{Detail: "bpf_loop: " + reason(err), Lost: bpfLost, Get: "use kernel 5.17 or later"}
	}
	return Result{OK: true, Detail: "with bpf_loop"}
}}

// loadTracing loads, and drops, a program of two instructions for a raw
// tracepoint with types (tp_btf): what the eBPF sensor is made of.
func loadTracing(tracepoint string) error {
	// Kernels before 5.11 account maps and programs against RLIMIT_MEMLOCK.
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("raising RLIMIT_MEMLOCK: %w", err)
	}
	prog, err := ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{
		Name:       "posture_probe",
		Type:       ebpf.Tracing,
		AttachType: ebpf.AttachTraceRawTp,
		AttachTo:   tracepoint,
		License:    "GPL",
		Instructions: asm.Instructions{
			asm.LoadImm(asm.R0, 0, asm.DWord),
			asm.Return(),
		},
	}, ebpf.ProgramOptions{LogDisabled: true})
	if err != nil {
		return fmt.Errorf("loading a program for %s: %w", tracepoint, err)
	}
	return prog.Close()
}

// CanEBPF returns nil where the eBPF sensor can be used, else an error that
// says why not and what to do.
func CanEBPF() error {
	have, err := EffectiveCapabilities()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		number int
		name   string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
		if !have.covers(c.number) {
			return fmt.Errorf("this process lacks %s: run it as root (sudo)", c.name)
		}
	}
	for _, q := range []question{userNamespaceQuestion, pidNamespaceQuestion} {
		if r := q.ask(); !r.OK {
			return fmt.Errorf("eBPF is of use only in the %s (%s): %s", q.title, r.Detail, r.Get)
		}
	}
	if _, err := btfSize(os.DirFS("/")); err != nil {
		return fmt.Errorf("the kernel shows no BTF (%w): %s", err, btfGet)
	}
	if mode, err := Lockdown(); err == nil && mode == "confidentiality" {
		return errors.New("the kernel is in lockdown (confidentiality): boot with lockdown=integrity or none")
	}
	if err := loadTracing("sched_process_exec"); err != nil {
		return fmt.Errorf("%w: %s", err, bpfGet)
	}
	if r := ringBufferQuestion.ask(); !r.OK {
		return fmt.Errorf("ring buffer: %s: %s", r.Detail, r.Get)
	}
	if _, err := CgroupRoot(); err != nil {
		return err
	}
	missing, err := missingTracepoints(required)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("this kernel lacks the tracepoints %s: %s", strings.Join(missing, ", "), tracepointGet)
	}
	return nil
}

// reason shortens an error of the features package to what a person needs.
func reason(err error) string {
	if errors.Is(err, ebpf.ErrNotSupported) {
		return "this kernel does not have it"
	}
	return err.Error()
}
