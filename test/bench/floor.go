package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/org/edamame-posture/pkg/probe"
)

// The sensor's hooks in which time is spent.
var (
	floorTracepoints = []string{
		"sys_exit", "sched_process_fork", "sched_process_exec", "sched_process_exit", "signal_generate", "inet_sock_set_state", "sock_send_length",
	}
	floorCgroup = []ebpf.AttachType{ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetIngress}
)

// atFloor runs a load beside programs that do nothing, at the hooks that the
// sensor needs: what this kernel takes for being asked at all, below which no
// sensor at these hooks can come.
func (s *suite) atFloor(l load) func() (took, error) {
	run := s.plain(l)
	return func() (took, error) {
		links, err := attachFloor()
		defer func() {
			for _, lk := range links {
				_ = lk.Close()
			}
		}()
		if err != nil {
			return took{}, err
		}
		return run()
	}
}

func attachFloor() (links []link.Link, err error) {
	load := func(spec ebpf.ProgramSpec, result int32) (*ebpf.Program, error) {
		spec.Name, spec.License = "floor", "GPL"
		spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, result), asm.Return()}
		return ebpf.NewProgram(&spec)
	}
	for _, name := range floorTracepoints {
		p, err := load(ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: name}, 0)
		if err != nil {
			return links, fmt.Errorf("the floor of tp_btf/%s: %w", name, err)
		}
		lk, err := link.AttachTracing(link.TracingOptions{Program: p})
		p.Close()
		if err != nil {
			return links, fmt.Errorf("the floor of tp_btf/%s: %w", name, err)
		}
		links = append(links, lk)
	}
	root, err := probe.CgroupRoot()
	if err != nil {
		return links, err
	}
	for _, attach := range floorCgroup {
		p, err := load(ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: attach}, 1)
		if err != nil {
			return links, fmt.Errorf("the floor of %v: %w", attach, err)
		}
		lk, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: attach, Program: p})
		p.Close()
		if err != nil {
			return links, fmt.Errorf("the floor of %v: %w", attach, err)
		}
		links = append(links, lk)
	}
	// Of what is written into TLS: OpenSSL's function and its return, as wrk calls
	// it. What a server in Go writes has no floor here.
	libraries, err := filepath.Glob("/usr/lib/*-linux-gnu/libssl.so.3")
	if err != nil || len(libraries) == 0 {
		return links, err
	}
	ex, err := link.OpenExecutable(libraries[0])
	if err != nil {
		return links, err
	}
	p, err := load(ebpf.ProgramSpec{Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceUprobeMulti}, 0)
	if err != nil {
		return links, fmt.Errorf("the floor of %s: %w", libraries[0], err)
	}
	defer p.Close()
	for _, attach := range []func([]string, *ebpf.Program, *link.UprobeMultiOptions) (link.Link, error){ex.UprobeMulti, ex.UretprobeMulti} {
		lk, err := attach([]string{"SSL_write"}, p, nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return links, nil // before Linux 6.6
		}
		if err != nil {
			return links, fmt.Errorf("the floor of %s: %w", libraries[0], err)
		}
		links = append(links, lk)
	}
	return links, nil
}
