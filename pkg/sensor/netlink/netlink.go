// Package netlink is the sensor for machines that allow no eBPF, and the
// second witness on those that do.
//
//	s := netlink.New(netlink.Options{})
//	if err := s.Start(ctx, func(r *sensor.Record) { ... }); err != nil { ... }
//	defer s.Close()
//
// Three things of the kernel feed it:
//
//   - the proc connector (include/uapi/linux/cn_proc.h) tells of every fork,
//     exec and exit, but not of what was executed: that is read from /proc, in
//     a race with the process itself;
//   - sock_diag (sock_diag(7)) lists the sockets of a network namespace (TCP,
//     UDP, raw, packet, Unix), and tells of each of TCP and UDP that is freed,
//     with its byte counts;
//   - /proc/PID/fd tells whose socket it is, /proc/PID/ns in which namespaces a
//     process is.
//
// Flow comes as with the eBPF sensor: with OK at the end of a connection, and
// without every three seconds and at Drain, where one that goes on has carried
// more. Namespace is of the process that is in others than before, and its Op a
// guess: see mover.
//
// What it cannot see is said by Stats().Missing. Decoding is pure and is
// tested with recorded bytes on any system.
package netlink

import (
	"time"

	"github.com/org/edamame-posture/pkg/sensor"
)

// Options are the settings of a sensor. The zero value is good.
type Options struct {
	// WitnessOnly makes a sensor that only counts forks, execs and exits, and
	// lists TCP sockets when asked to. It reads nothing of /proc and gives no record but [event.SensorGap], so
	// that it costs next to nothing beside another sensor.
	WitnessOnly bool
	// Watch is not used: this sensor sees no file. It is here so that both
	// sensors are made alike.
	Watch sensor.Watch
	// Buffer is how many bytes of messages the kernel may hold for us; 32 MiB
	// where 0. The memory is used only while we lag behind.
	Buffer int
	// Poll is the time between two looks at the sockets; 50 ms where 0. It
	// grows by itself where looking is dear.
	Poll time.Duration
	// ArgvMax is how many bytes of a process's arguments are kept; 128 KiB
	// where 0.
	ArgvMax int

	// queue is how many items may wait for the sink; tests make it small.
	queue int
	// flows is the time between two records of what went through a living
	// connection; flowPeriod where 0.
	flows time.Duration
	// noQuietDiag has the tables of /proc read for raw and packet sockets, as
	// on a kernel without their modules of sock_diag.
	noQuietDiag bool
}

func (o Options) withDefaults() Options {
	if o.Buffer <= 0 {
		o.Buffer = 32 << 20
	}
	if o.Poll <= 0 {
		o.Poll = 50 * time.Millisecond
	}
	if o.ArgvMax <= 0 {
		o.ArgvMax = 128 << 10
	}
	if o.flows <= 0 {
		o.flows = flowPeriod
	}
	if o.queue <= 0 {
		o.queue = queueItems
	}
	return o
}

// TCPSocket is one line of the list that [Sensor.TCPSockets] reads.
type TCPSocket struct {
	Cookie uint64 // the kernel's own number for it, never given twice
	// Port is its local port.
	Port uint16
	// Listening: it takes connections. Connecting: its SYN has no answer yet.
	// Neither: the connection stands, or the peer has closed its direction.
	Listening, Connecting bool
	// Held: a descriptor leads to it. One that waits to be accepted has none,
	// nor has one that its process has closed.
	Held bool
}

// socketsMax bounds the list of [Sensor.TCPSockets].
const socketsMax = 4096

// blind is what this sensor cannot see on any kernel.
var blind = []string{
	"arguments, path and environment of a process that ends, or executes another program, within about half a millisecond",
	"arguments as given to execve: a process may rewrite them before they are read",
	"files: no open, rename, unlink, chmod or link",
	"the owner of a connection that is shorter than the poll of the socket tables (5 to 50 ms, up to 1 s where looking is dear)",
	"the owner of a socket that no descriptor leads to: io_uring alone holds it, or it is on its way over a Unix socket",
	"the peer and bytes of a TCP connection that is shorter than that and aborted (SO_LINGER 0)",
	"DNS, TLS and HTTP: no payload",
	"the bytes of datagrams",
	"the destination of datagrams sent on sockets that are not connected",
	"packet and raw sockets that are open for a shorter time than that, and what is sent on any of them",
	"vsock and XDP sockets, SCTP, DCCP and other protocols than TCP and UDP",
	"connects to Unix sockets that are closed again, by who connected, within that time",
	"the caller of clone with CLONE_PARENT, whose child is told as its parent's",
	"setns, unshare and clone into namespaces as calls: that a process is in others is seen at its next exec, or within a second or more while it lives",
	"the namespaces of a thread that is not its process's first",
	"tampering but for ptrace attaches: no kill, bpf, module, mount, io_uring",
}

var blindWitness = []string{"everything but the number of forks, execs and exits, and which TCP sockets are open"}
