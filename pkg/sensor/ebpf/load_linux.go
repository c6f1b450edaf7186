package ebpf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	bpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/carried"
	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/redact"
)

// hook is one program of the object.
type hook struct {
	program string
	// tracepoint is the kernel's name of a raw tracepoint; else attach says
	// which cgroup hook it is.
	tracepoint string
	// args is how many arguments the tracepoint has for this program, where
	// that has changed; else 0.
	args int
	// iterator is what is gone through, each time the reader asks.
	iterator string
	// preempted: it is needed where the kernel preempts programs of sys_exit.
	preempted bool
	// uprobe: it stands in files, as they are found; see tlsProbes.
	uprobe   bool
	attach   bpf.AttachType
	required bool
	// or names a tracepoint that serves as well: one was renamed.
	or string
	// without says what is not seen where the hook is not there.
	without string
}

var hooks = []hook{
	{program: "on_fork", tracepoint: "sched_process_fork", required: true},
	{program: "on_exec", tracepoint: "sched_process_exec", required: true},
	{program: "on_exit", tracepoint: "sched_process_exit", required: true},
	{program: "on_cgroup", tracepoint: "cgroup_mkdir", without: "containers that are gone at once"},
	{program: "on_state", tracepoint: "inet_sock_set_state", without: "TCP connections"},
	{program: "on_state_skipped", tracepoint: "inet_sock_set_state", without: "TCP connections that change while the same processor tells of another"},
	{program: "on_sys_exit", tracepoint: "sys_exit", without: "files, system calls of power, accept and Unix sockets"},
	{program: "on_sys_exit_second", tracepoint: "sys_exit", preempted: true, without: "files, system calls of power, accept and Unix sockets of tasks that preempt others"},
	{program: "on_sys_exit_third", tracepoint: "sys_exit", preempted: true, without: "files, system calls of power, accept and Unix sockets of tasks that preempt two others"},
	{program: "on_uring_req", tracepoint: "io_uring_submit_req", or: "io_uring_submit_sqe"},
	{program: "on_uring_sqe", tracepoint: "io_uring_submit_sqe", or: "io_uring_submit_req", without: "file operations by io_uring"},
	{program: "on_uring_done", tracepoint: "io_uring_complete", args: 3, or: "io_uring_complete"},
	{program: "on_uring_done7", tracepoint: "io_uring_complete", args: 7, or: "io_uring_complete", without: "who accepts a connection by io_uring"},
	{program: "on_signal", tracepoint: "signal_generate", without: "signals to other processes"},
	{program: "on_send_length", tracepoint: "sock_send_length", without: "packets of AF_PACKET sockets"},
	{program: "on_living", iterator: "task_file", without: "bytes of a connection before its end, and how often an act came that was folded and did not come again"},
	{program: "on_tls_write", uprobe: true, without: withoutTLS},
	{program: "on_tls_write_ex", uprobe: true, without: withoutTLS},
	{program: "on_tls_written", uprobe: true, without: withoutTLS},
	{program: "on_tls_free", uprobe: true, without: withoutTLS},
	{program: "on_go_write", uprobe: true, without: withoutTLS},
	{program: "on_create", attach: bpf.AttachCGroupInetSockCreate, without: "makers of UDP sockets"},
	{program: "on_connect4", attach: bpf.AttachCGroupInet4Connect, without: "users of IPv4 sockets made by others"},
	{program: "on_connect6", attach: bpf.AttachCGroupInet6Connect, without: "users of IPv6 sockets made by others"},
	{program: "on_sendmsg4", attach: bpf.AttachCGroupUDP4Sendmsg, without: "senders by IPv4 sockets made by others"},
	{program: "on_sendmsg6", attach: bpf.AttachCGroupUDP6Sendmsg, without: "senders by IPv6 sockets made by others"},
	{program: "on_egress", attach: bpf.AttachCGroupInetEgress, without: "datagrams, DNS questions, TLS and HTTP first bytes"},
	{program: "on_ingress", attach: bpf.AttachCGroupInetIngress, without: "DNS answers"},
}

const withoutTLS = "requests inside TLS"

// alwaysMissing is what no kernel shows to these programs.
var alwaysMissing = []string{
	"the destination of packets of AF_PACKET sockets",
	"names asked for over TCP on other ports than 53",
}

// initialPIDNamespace is PROC_PID_INIT_INO, include/linux/proc_ns.h.
const initialPIDNamespace = 0xEFFFFFFC

// attached is a program with what holds it in its place.
type attached struct {
	hook hook
	link link.Link
	id   link.ID
	prog bpf.ProgramID
}

// loaded is everything that is in the kernel.
type loaded struct {
	coll    *bpf.Collection
	links   []attached
	missing []string
	// refused says which programs the kernel or the machine did not let be
	// armed, though it has what they are for.
	refused []string
	living  *link.Iter // over the sockets; nil where the kernel has none
	rodata  []byte     // what was written before the map was frozen
	frozen  []string
	multi   bool // the kernel attaches to many places of a file by one link
	tls     bool // the programs that read what goes into TLS are there
}

func (l *loaded) close() {
	l.detach()
	// Not with the others: the reader asks by it to the last.
	if l.living != nil {
		_ = l.living.Close()
		l.living = nil
	}
	if l.coll != nil {
		l.coll.Close()
	}
}

func (l *loaded) detach() {
	for _, a := range l.links {
		_ = a.link.Close()
	}
	l.links = nil
}

// load puts the programs into the kernel; attach arms them.
func load(opt Options) (_ *loaded, err error) {
	if len(compressed) == 0 {
		return nil, fmt.Errorf("no programs are built for %s: use the netlink sensor", runtime.GOARCH)
	}
	// The kernel's types are read meanwhile.
	cache := btf.NewCache()
	var kernel *btf.Spec
	var noTypes error
	read := make(chan struct{})
	go func() {
		defer close(read)
		kernel, noTypes = cache.Kernel()
	}()
	object, err := carried.Unpack(compressed)
	if err != nil {
		return nil, fmt.Errorf("unpacking the embedded programs: %w", err)
	}
	spec, err := bpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("reading the embedded programs: %w", err)
	}
	if <-read; noTypes != nil {
		return nil, fmt.Errorf("this kernel has no type information (CONFIG_DEBUG_INFO_BTF): %w", noTypes)
	}
	l := &loaded{missing: slices.Clone(alwaysMissing)}
	for _, h := range hooks {
		if h.tracepoint == "" && h.iterator == "" {
			continue
		}
		if h.tracepoint != "" && hasTracepoint(kernel, h.tracepoint, h.args) || h.iterator != "" && hasIterator(kernel, h.iterator) {
			continue
		}
		if h.required {
			return nil, fmt.Errorf("this kernel has no tracepoint %s: use the netlink sensor", h.tracepoint)
		}
		delete(spec.Programs, h.program)
		if h.without != "" && (h.or == "" || !hasTracepoint(kernel, h.or, 0)) {
			l.missing = append(l.missing, h.without)
		}
	}

	preempted := opt.preempted || preempts(kernel)
	l.multi, l.tls = hasType(kernel, "bpf_uprobe_multi_link"), !opt.NoTLS
	if err := probe.CanUprobe(); l.tls && !l.multi && err != nil {
		l.tls = false
		l.missing = append(l.missing, fmt.Sprintf("%s (%v)", withoutTLS, err))
	}
	for _, h := range hooks {
		switch {
		case h.uprobe && !l.tls, h.preempted && !preempted:
			delete(spec.Programs, h.program)
		case h.uprobe && l.multi:
			spec.Programs[h.program].AttachType = bpf.AttachTraceUprobeMulti
		}
	}
	if opt.NoTLS {
		l.missing = append(l.missing, withoutTLS+" (--no-tls)")
	} else if l.tls && !hasTracepoint(kernel, "sock_send_length", 0) {
		l.missing = append(l.missing, "which connection a request inside TLS goes over, but for programs in Go")
	}

	if l.tls {
		opt.Watch = withTLS(opt.Watch)
	}
	watch := newWatchTable(opt.Watch)
	opt.preempted = preempted
	if err := configure(spec, kernel, opt, &watch); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	opts := bpf.CollectionOptions{Cache: cache}
	if l.coll, err = loadSideBySide(spec, opts); err != nil {
		if l.coll, err = l.loadWhatLoads(spec, opts, err); err != nil {
			return nil, err
		}
	}
	if err := l.fill(&watch); err != nil {
		return nil, err
	}
	return l, nil
}

// hasTracepoint reports whether the kernel has a raw tracepoint that programs
// can be typed by, with so many arguments unless args is 0.
func hasTracepoint(kernel *btf.Spec, name string, args int) bool {
	t, err := kernel.AnyTypeByName("btf_trace_" + name)
	if err != nil || args == 0 {
		return err == nil
	}
	// A typedef of a pointer to a function, whose first argument is the data of
	// who is attached.
	if td, ok := t.(*btf.Typedef); ok {
		if ptr, ok := td.Type.(*btf.Pointer); ok {
			f, ok := ptr.Target.(*btf.FuncProto)
			return ok && len(f.Params) == args+1
		}
	}
	return false
}

// preempts reports whether the kernel may preempt programs of system calls'
// tracepoints: since tracepoints are guarded by SRCU (include/linux/tracepoint.h).
func preempts(kernel *btf.Spec) bool { return hasType(kernel, "tracepoint_srcu_srcu_data") }

func hasType(kernel *btf.Spec, name string) bool {
	_, err := kernel.AnyTypeByName(name)
	return err == nil
}

// hasIterator reports whether the kernel lets programs go through a kind of
// object.
func hasIterator(kernel *btf.Spec, name string) bool {
	return hasType(kernel, "bpf_iter_"+name)
}

// ownParts are the hashes (FNV-1a, 64 bits) of the names of our folders.
func ownParts(names []string) (parts [4]uint64) {
	for i, name := range names[:min(len(names), len(parts))] {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		parts[i] = h.Sum64()
	}
	return parts
}

// sideBySide is how many parts the maps, and then the programs, are put into the
// kernel in. What the kernel does for each, setting up entries and verifying, is
// most of what arming takes, and it does as many at once as there are processors.
const sideBySide = 4

// loadSideBySide creates the maps and then has the kernel verify the programs,
// several at a time.
func loadSideBySide(spec *bpf.CollectionSpec, opts bpf.CollectionOptions) (*bpf.Collection, error) {
	whole := &bpf.Collection{Programs: map[string]*bpf.Program{}, Maps: map[string]*bpf.Map{}}
	setUp := func(name string) int { // what is made beforehand
		switch m := spec.Maps[name]; m.Type {
		case bpf.Hash, bpf.LRUHash:
			return int(m.MaxEntries)
		case bpf.RingBuf:
			return int(m.MaxEntries) / os.Getpagesize()
		default:
			return 1
		}
	}
	err := loadParts(whole, shares(slices.Collect(maps.Keys(spec.Maps)), setUp), func(names []string) *bpf.CollectionSpec {
		return &bpf.CollectionSpec{Maps: only(spec.Maps, names), Types: spec.Types, ByteOrder: spec.ByteOrder}
	}, opts)
	if err == nil {
		opts.MapReplacements = maps.Clone(whole.Maps)
		size := func(name string) int { return len(spec.Programs[name].Instructions) }
		err = loadParts(whole, shares(slices.Collect(maps.Keys(spec.Programs)), size), func(names []string) *bpf.CollectionSpec {
			return &bpf.CollectionSpec{Maps: spec.Maps, Programs: only(spec.Programs, names), Types: spec.Types, ByteOrder: spec.ByteOrder}
		}, opts)
	}
	if err != nil {
		whole.Close()
		return nil, err
	}
	return whole, nil
}

// shares deals names out by what they cost, the dearest first, to whom has
// least.
func shares(names []string, cost func(string) int) (parts [sideBySide][]string) {
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(cost(b), cost(a)), cmp.Compare(a, b)) })
	var sums [sideBySide]int
	for _, name := range names {
		least := 0
		for i, s := range sums {
			if s < sums[least] {
				least = i
			}
		}
		parts[least] = append(parts[least], name)
		sums[least] += cost(name)
	}
	return parts
}

func only[V any](all map[string]V, names []string) map[string]V {
	some := make(map[string]V, len(names))
	for _, name := range names {
		some[name] = all[name]
	}
	return some
}

// loadParts loads each part and moves what came of it into whole. What whole has
// already by that name is closed: it is the same, by another descriptor.
func loadParts(whole *bpf.Collection, parts [sideBySide][]string, spec func([]string) *bpf.CollectionSpec, opts bpf.CollectionOptions) error {
	var colls [sideBySide]*bpf.Collection
	var errs [sideBySide]error
	var all sync.WaitGroup
	for i, names := range parts {
		if len(names) > 0 {
			part := spec(names)
			all.Go(func() { colls[i], errs[i] = bpf.NewCollectionWithOptions(part, opts) })
		}
	}
	all.Wait()
	for _, c := range colls {
		if c == nil {
			continue
		}
		for name, program := range c.Programs {
			whole.Programs[name] = program
			delete(c.Programs, name)
		}
		for name, m := range c.Maps {
			if whole.Maps[name] == nil {
				whole.Maps[name] = m
				delete(c.Maps, name)
			}
		}
		c.Close()
	}
	return errors.Join(errs[:]...)
}

// loadWhatLoads tries the programs one by one after they were refused
// together, and loads those that the kernel takes.
func (l *loaded) loadWhatLoads(spec *bpf.CollectionSpec, opts bpf.CollectionOptions, refused error) (*bpf.Collection, error) {
	if errors.Is(refused, unix.EPERM) || errors.Is(refused, bpf.ErrNotSupported) {
		return nil, fmt.Errorf("the kernel takes no BPF programs (root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are needed): %w", refused)
	}
	for _, h := range hooks {
		prog := spec.Programs[h.program]
		if prog == nil {
			continue
		}
		alone := spec.Copy()
		for name := range alone.Programs {
			if name != h.program {
				delete(alone.Programs, name)
			}
		}
		coll, err := bpf.NewCollectionWithOptions(alone, opts)
		if err == nil {
			coll.Close()
			continue
		}
		if h.required {
			return nil, fmt.Errorf("loading the programs: %w", err)
		}
		delete(spec.Programs, h.program)
		l.refuse(h, err)
	}
	coll, err := bpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return nil, fmt.Errorf("loading the programs: %w", err)
	}
	return coll, nil
}

// configure writes the settings into the object's read-only data and sizes its
// rings.
func configure(spec *bpf.CollectionSpec, kernel *btf.Spec, opt Options, watch *watchTable) error {
	var self uint32
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &ns); err == nil && ns.Ino == initialPIDNamespace {
		self = uint32(os.Getpid())
	}
	var preempted uint8
	if opt.preempted {
		preempted = 1
	}
	var envFirst [256]uint8
	for _, n := range redact.EnvNames() {
		envFirst[n[0]] = 1
	}
	for name, value := range map[string]any{
		"self":          self,
		"preempted":     preempted,
		"argv_max":      uint32(opt.argvBytes()),
		"fill_mark":     [2]uint64{uint64(opt.ringBytes() / 4), uint64(opt.fileRingBytes() / 4)},
		"env_first":     envFirst,
		"watched_first": watch.first,
		"own_parts":     ownParts(opt.OwnFolders),
		"old_subsys":    oldSubsys(kernel),
	} {
		v := spec.Variables[name]
		if v == nil {
			return fmt.Errorf("the embedded programs have no setting %s", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	// The loader maps each variable into memory, which keeps the map in the
	// kernel until the mapping is collected. Nobody reads them: give it bytes.
	data := make([]byte, spec.Maps[".rodata"].ValueSize)
	for _, v := range spec.Variables {
		if v.SectionName != ".rodata" || uint64(v.Offset)+uint64(len(v.Value)) > uint64(len(data)) {
			return fmt.Errorf("the embedded programs have a variable %s that is no setting", v.Name)
		}
		copy(data[v.Offset:], v.Value)
	}
	spec.Maps[".rodata"].Contents = []bpf.MapKV{{Key: uint32(0), Value: data}}
	spec.Variables = nil
	spec.Maps["priority"].MaxEntries = uint32(opt.ringBytes())
	spec.Maps["files"].MaxEntries = uint32(opt.fileRingBytes())
	if opt.folds > 0 {
		spec.Maps["folds"].MaxEntries = uint32(opt.folds)
	}
	spec.Maps["watched"].MaxEntries = uint32(max(len(watch.names), 1))
	return nil
}

// noSubsys is NO_SUBSYS of bpf/cgroup.h.
const noSubsys = math.MaxUint32

// oldSubsys is the kernel's number of the controller whose hierarchy of cgroup
// v1 tells containers apart. Which numbers there are depends on how the kernel
// was built.
func oldSubsys(kernel *btf.Spec) uint32 {
	controller, _, err := probe.OldCgroupRoot()
	if err != nil {
		return noSubsys
	}
	var ids *btf.Enum
	if err := kernel.TypeByName("cgroup_subsys_id", &ids); err != nil {
		return noSubsys
	}
	for _, v := range ids.Values {
		if v.Name == controller+"_cgrp_id" {
			return uint32(v.Value)
		}
	}
	return noSubsys
}

// fill writes the maps that programs only read, and freezes every map that
// user space has no need to write: nobody can change them then, root neither.
func (l *loaded) fill(watch *watchTable) error {
	for k, flags := range watch.names {
		if err := l.coll.Maps["watched"].Put(k, flags); err != nil {
			return fmt.Errorf("writing the watch list: %w", err)
		}
	}
	for _, n := range redact.EnvNames() {
		if err := l.coll.Maps["env_names"].Put(prefixKey(n+"="), uint8(1)); err != nil {
			return fmt.Errorf("writing the names of variables: %w", err)
		}
	}
	if err := l.seedPIDs(); err != nil {
		return err
	}
	if prog := l.coll.Programs["on_sys_exit"]; prog != nil && l.coll.Programs["on_sys_exit_second"] != nil {
		if err := l.coll.Maps["sys_exits"].Put(uint32(0), prog); err != nil {
			return fmt.Errorf("writing what a skipped program has others do: %w", err)
		}
	}
	for name, m := range l.coll.Maps {
		switch m.Type() {
		case bpf.RingBuf:
			continue
		case bpf.Array, bpf.PerCPUArray, bpf.Hash, bpf.LRUHash, bpf.LPMTrie, bpf.SkStorage, bpf.TaskStorage, bpf.ProgramArray:
		}
		if name == ".rodata" {
			var err error
			if l.rodata, err = m.LookupBytes(uint32(0)); err != nil {
				return fmt.Errorf("reading the settings back: %w", err)
			}
			l.frozen = append(l.frozen, name) // the loader froze it
			continue
		}
		if err := m.Freeze(); err != nil {
			return fmt.Errorf("freezing map %s: %w", name, err)
		}
		l.frozen = append(l.frozen, name)
	}
	slices.Sort(l.frozen)
	return nil
}

// attach arms the programs: cgroup hooks first, so that a socket has its owner
// before anything is told of it.
func (l *loaded) attach() error {
	root, cgroupErr := cgroupRoot("/proc/self/mountinfo")
	for _, tracing := range []bool{false, true} {
		for _, h := range hooks {
			prog := l.coll.Programs[h.program]
			if prog == nil || h.iterator != "" || h.uprobe || tracing != (h.tracepoint != "") {
				continue
			}
			var lk link.Link
			err := cgroupErr
			if tracing {
				lk, err = link.AttachTracing(link.TracingOptions{Program: prog})
			} else if err == nil {
				lk, err = link.AttachCgroup(link.CgroupOptions{Path: root, Attach: h.attach, Program: prog})
			}
			if err != nil {
				if h.required {
					return fmt.Errorf("attaching to %s: %w", h.tracepoint, err)
				}
				l.refuse(h, err)
				continue
			}
			a := attached{hook: h, link: lk}
			l.links = append(l.links, a)
			info, err := lk.Info()
			if err != nil {
				return fmt.Errorf("reading what holds %s: %w", h.program, err)
			}
			l.links[len(l.links)-1].id, l.links[len(l.links)-1].prog = info.ID, info.Program
		}
	}
	if prog := l.coll.Programs["on_living"]; prog != nil {
		var err error
		if l.living, err = link.AttachIter(link.IterOptions{Program: prog}); err != nil {
			l.missing = append(l.missing, fmt.Sprintf("bytes of a connection before its end (%v)", err))
		}
	}
	return nil
}

// objects are the programs, maps and links that are in the kernel.
func (l *loaded) objects() (all []kernelObject, err error) {
	for name, p := range l.coll.Programs {
		id, err := idOf(p.FD())
		if err != nil {
			return nil, fmt.Errorf("reading the id of program %s: %w", name, err)
		}
		all = append(all, kernelObject{ofProgram, id})
	}
	for name, m := range l.coll.Maps {
		id, err := idOf(m.FD())
		if err != nil {
			return nil, fmt.Errorf("reading the id of map %s: %w", name, err)
		}
		all = append(all, kernelObject{ofMap, id})
	}
	for _, a := range l.links {
		all = append(all, kernelObject{ofLink, uint32(a.id)})
	}
	if l.living != nil {
		if info, err := l.living.Info(); err == nil {
			all = append(all, kernelObject{ofLink, uint32(info.ID)})
		}
	}
	return all, nil
}

// idOf reads the id of a program or map. The library reads all that there is to
// know of one, some of it from /proc, which for fifty takes as long as arming.
func idOf(fd int) (uint32, error) {
	var info struct{ kind, id uint32 } // so begin struct bpf_prog_info and bpf_map_info
	attr := struct {
		fd, size uint32
		info     unsafe.Pointer
	}{uint32(fd), uint32(unsafe.Sizeof(info)), unsafe.Pointer(&info)}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, errno
	}
	return info.id, nil
}

// refuse notes a program that is done without.
func (l *loaded) refuse(h hook, err error) {
	if h.without == "" {
		return // the other of two that serve as well
	}
	if !h.uprobe || l.tls {
		l.missing = append(l.missing, fmt.Sprintf("%s (%v)", h.without, err))
	}
	if h.uprobe {
		l.tls = false // one without the others reads nothing
	}
	l.refused = append(l.refused, fmt.Sprintf("program %s could not be armed: %s not seen: %v", h.program, h.without, err))
}

// rearm attaches a program again whose cgroup link was detached by force. The
// old link is closed only then: its id must not be used for another meanwhile.
func (l *loaded) rearm(a *attached) error {
	root, err := cgroupRoot("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lk, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: a.hook.attach, Program: l.coll.Programs[a.hook.program]})
	if err != nil {
		return err
	}
	info, err := lk.Info()
	if err != nil {
		_ = lk.Close()
		return fmt.Errorf("reading what holds it: %w", err)
	}
	_ = a.link.Close()
	a.link, a.id, a.prog = lk, info.ID, info.Program
	return nil
}

// cgroupRoot finds where the version 2 hierarchy is mounted (proc(5),
// mountinfo): at /sys/fs/cgroup, or below it beside version 1.
func cgroupRoot(mountinfo string) (string, error) {
	b, err := os.ReadFile(mountinfo)
	if err != nil {
		return "", fmt.Errorf("looking for cgroup2: %w", err)
	}
	var found string
	for line := range strings.SplitSeq(string(b), "\n") {
		mount, fs, ok := strings.Cut(line, " - ")
		if !ok || !strings.HasPrefix(fs, "cgroup2 ") {
			continue
		}
		// ID, parent, device, root in the file system, mount point
		f := strings.Fields(mount)
		if len(f) < 5 {
			continue
		}
		// One that shows a part of the tree alone is worth less than a whole one.
		if f[3] == "/" {
			return unescape(f[4]), nil
		}
		if found == "" {
			found = unescape(f[4])
		}
	}
	if found == "" {
		return "", errors.New("cgroup2 is not mounted")
	}
	return found, nil
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(filepath.Clean(s))
}
