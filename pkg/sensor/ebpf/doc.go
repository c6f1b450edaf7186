// Package ebpf is the sensor that asks the kernel itself: BPF programs on raw
// BTF tracepoints and cgroup hooks, read through two ring buffers.
//
// It needs Linux 5.17 or newer with its type information (CONFIG_DEBUG_INFO_BTF)
// and the right to load programs (root, or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN).
// No kprobe, no fentry and no BPF LSM: kernels in lockdown refuse them. What the
// running kernel does not offer is left out and named in Stats.Missing.
//
//	s := ebpf.New(ebpf.Options{Watch: sensor.Watch{Names: []string{"credentials"}}})
//	err := s.Start(ctx, func(r *sensor.Record) { … })
//	defer s.Close()
//
// # What a record means
//
// Fork and Exit are of thread groups. Exit comes when the last thread has
// ended; Stats.Exits counts ends of group leaders, as the proc connector does,
// which is the number that a second witness can be held against.
//
// Connect comes when the first SYN is about to be sent, by whoever called, so
// its local port may be 0. A connect that failed after that comes a second time
// with the same Sock and Err; one that this machine refused before (no route, a
// filter) comes with Err alone. Flow comes with OK once at the end of an established
// connection with its payload in both directions: no SYN, no FIN, nothing
// counted twice that was sent twice; and without OK every three seconds, and at
// Drain, where a connection that goes on has carried more. A connection whose
// descriptor came over a Unix socket is the taker's from then on: a Connect with
// Passed says so. A socket that was made before the sensor
// was armed has no owner: PID is 0.
//
// What packet sockets send is counted by process, since the kernel does not
// tell where it goes. What a worker of io_uring does is the process's own, with
// Worker.
//
// Send holds datagrams (UDP, raw, ICMP) by destination: the first at once, what
// came after it each second, at Drain and at Close, with what UDP brought back
// from there (Received). What comes from where the process never sent to is
// not counted.
//
// DNS has up to 4,096 bytes of a datagram to or from port 53, and of one on any
// other port that begins as a question does (RFC 1035 §4.1.1), or an answer;
// over TCP, on port 53, the segments within the first 16 KiB of
// either direction. TLS and HTTP have the first bytes that a connection's maker
// sent: up to 4,096 of the first segment, and, where that does not hold the
// whole head, every segment within the first 8 KiB. Offset places a segment in
// its stream; putting it together is the reader's (wire.Streams).
//
// The path of an opened file is that of the opened file, taken in the kernel,
// whatever name led to it. For rename, unlink, link, mkdir, chmod, truncate and
// mount the kernel offers no such hook: there the path is the folder the name
// was relative to, resolved, and then the name as it was given, with "." and ".."
// taken out; symbolic links in it are not followed. The same holds for all file
// operations by io_uring, which are told when they are asked for, whether or
// not they succeed then. A path that does not begin with a slash was deeper
// than 4,096 bytes, and its outermost folders are missing.
//
// Opens are folded in the kernel by process image, file (inode and generation)
// and access: the first is told at once, the next at most once a second with
// their Count; Stats.Folded counts what was held back, and what does not come
// again is told within three seconds without a name, or at Drain. An open that
// made its file is always told, and so is one for which the map of folded acts
// has no room. Stats.Untold is what was held back and no record tells.
//
// An open that was refused (EACCES, EPERM) is told with Err and the name as it
// was given, where its base name is watched. It needs no right, so it is folded
// too, by process image, name and error; of the names that an image tries anew
// within a second those beyond 1,024 are only counted, in Stats.Untold.
//
// A watched file is known by its base name, and by its inode where the sensor
// was told of it (Adopt) or saw it made under a watched name: then a hard link, a
// bind mount or a new name does not hide it (ByInode).
//
// Container says that a cgroup was made, with its path from the root of its
// hierarchy, up to 1,023 bytes, before anything can run in it. Of version 1 only
// the hierarchy that probe.OldCgroupRoot finds is told, which is that of an
// Exec's OldCgroup.
//
// # What the kernel skips
//
// The kernel runs no program on a CPU where it has interrupted or preempted that
// program: what happens there meanwhile would not be told. So a second program
// stands where TCP changes states, which softirqs do in the middle of another
// change, and two more where system calls return, on kernels that preempt
// programs there. Stats.Missed is what none of them was run for.
//
// # What it does not see
//
// Files that were opened before arming; by io_uring the opening of a watched
// file by another name (the reader may look it up), and who accepts a
// connection into a direct descriptor or without a completion
// (IOSQE_CQE_SKIP_SUCCESS), whose Flow is the listener's; descriptors beyond the
// sixteenth of one message. Names that are asked for over TCP on another port
// than 53: every packet that comes over any connection would have to be looked
// at, while now those of a connection whose first bytes were seen are not.
package ebpf
