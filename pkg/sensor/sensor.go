// Package sensor is what all sources of observation share: the [Record] they
// give, and the [Sensor] interface.
//
// A record is what the kernel said, in the kernel's words: raw bytes, process
// ids, times. It is borrowed: the bytes belong to the sensor and are valid
// only until the sink returns. Package monitor turns records into events;
// nothing of a record reaches the log without passing package redact.
package sensor

import (
	"context"
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
)

// Record is one observation. Kind says which of the fields are filled, as in
// package event; an unused field is its zero value.
type Record struct {
	Kind event.Kind
	// Time is CLOCK_BOOTTIME in nanoseconds.
	Time int64
	// CPU and Seq number the record where the sensor can: Seq counts from 1 on
	// each CPU without hole, so a stolen or lost record shows.
	CPU uint32
	Seq uint64

	// PID and TID are those of the initial pid namespace; Start is
	// start_boottime of PID's leader in nanoseconds, 0 where not known.
	PID, TID uint32
	Start    int64
	UID, GID uint32
	// Cgroup is the id of its cgroup in the hierarchy of version 2. OldCgroup,
	// at an Exec, is that in the hierarchy of probe.OldCgroupRoot; 0 where the
	// sensor cannot tell.
	Cgroup, OldCgroup uint64

	// Fork: PID is the child.
	ParentPID   uint32
	ParentStart int64

	// Exec. Argv and Env are NUL-terminated strings one after another.
	Exe, Filename, Interp, Cwd, Argv, Env []byte
	ArgvBytes                             int // before any cut
	ArgvCut                               bool
	ArgvMissing                           bool // the process was gone before its arguments were read
	File                                  event.FileID
	// CTime is the last change of File's inode in Unix nanoseconds, Size its
	// bytes, at the exec; both 0 where not known.
	CTime int64
	Size  uint64
	Image event.Image
	NS    event.Namespaces

	Code, Signal int
	Session      uint32

	// Acts upon another process.
	TargetPID   uint32
	TargetStart int64
	Op          event.Op
	// OwnObject: a bpf(2) call was about a program, map or link of this sensor's
	// own.
	OwnObject bool

	// Sockets.
	Proto          event.Proto
	Src, Dst       netip.AddrPort
	Sock           uint64
	Sent, Received uint64
	Count          uint64
	Err            int
	OK             bool
	// Payload is the first bytes of a packet (DNS, TLS, HTTP); PayloadLen its
	// length on the wire. Over TCP each record is one segment, and Offset its
	// place in the stream of its direction: segments may come out of order,
	// overlap, and come twice.
	Payload    []byte
	PayloadLen int
	Offset     uint32

	// Files. Container: a cgroup was made, Path its own from the hierarchy's root;
	// of Cgroup and OldCgroup its id is in that of its version, the other is 0.
	// It comes before any Exec in it.
	Path, NewPath []byte
	Access        event.Access
	Mode          uint32
	// Watched: the file's name is one the watch list holds, or with ByInode the
	// file itself is on it (see Adopter), whatever name led to it.
	Watched, ByInode bool

	// TLS, where it is not 0, is the library's object for one connection, by its
	// address in the process: what it was given is an HTTP record with a Payload
	// of PayloadLen bytes, and Plain is how many it was given before. Sock is 0
	// while it is not known which connection it is; a record without a Payload
	// says which. Of a Flow Plain is what the library was given for it so far, and
	// Writes in how many writes.
	TLS, Plain uint64
	Writes     uint32

	// Worker: a worker of io_uring did it for the process.
	Worker bool
	// Passed: the descriptor of the connection came over a Unix socket.
	Passed bool

	// SensorGap, Canary, Witness.
	From, To int64
	Lost     uint64
	Detail   string // our own words, never the job's
}

// Sink takes records in the order in which they happened as far as the sensor
// can tell. It is called from one goroutine at a time.
type Sink func(*Record)

// Sensor is one source of records.
type Sensor interface {
	// Name is "ebpf" or "netlink".
	Name() string
	// Start arms the sensor and returns when a first event would be seen.
	// Records go to sink until Close; ctx bounds the arming only.
	Start(ctx context.Context, sink Sink) error
	// Drain returns after everything that happened before the call has been
	// given to the sink, or ctx ends.
	Drain(ctx context.Context) error
	// Check looks whether all that was armed still is, and returns one line
	// for each thing that is not.
	Check() []string
	// Stats returns running totals. It may be called at any time.
	Stats() Stats
	// Close disarms the sensor, gives what is left to the sink, and leaves
	// nothing attached.
	Close() error
}

// Catcher is a sensor that can hand over what happened so far without asking
// for what goes on, which costs a look at all that is open.
type Catcher interface {
	// CatchUp returns when what happened before the call was given to the sink.
	CatchUp(ctx context.Context) error
}

// Adopter is a sensor that can watch a file for what it is, so that a hard
// link, a bind mount or another name does not hide that it is opened.
type Adopter interface {
	// Adopt has the file that path leads to watched; a path that is not
	// absolute is below the folder root, a descriptor. The file is opened
	// without being read (O_PATH). With cached only what the kernel can say
	// without asking a file system is opened, since one that the job made may
	// never answer. The error is that of openat2(2).
	Adopt(root int, path string, cached bool) (event.FileID, error)
}

// ArmedAgain ends what Check says of a thing that was not as it was armed and
// now is again: it counts each time, from the Check before to this one.
const ArmedAgain = "; armed again"

// Stats are running totals since Start.
type Stats struct {
	Forks, Execs, Exits uint64 // thread group leaders only
	// ThreadExecs is how many of the Execs another thread than the leader made. It
	// takes the leader's place and its number, and may do so before the end of the
	// leader is told by netlink, which then is that of a thread (de_thread of
	// fs/exec.c; do_exit of kernel/exit.c: exit_notify before
	// proc_exit_connector).
	ThreadExecs uint64
	Records     uint64
	Lost        uint64   // records that the kernel could not hand over
	Stolen      uint64   // records that somebody else took out of the ring
	Missed      uint64   // runs of a program that the kernel skipped, and that no other made up for; at most
	MissedOf    []string // the programs
	Folded      uint64   // acts that stand in another's Count, or will
	Untold      uint64   // of these, those that no record tells
	Undecoded   uint64
	// Missing names what this sensor cannot see on this kernel.
	Missing []string
}

// Watch is what a sensor should report reads of: base names of files
// (credentials, a process's memory), matched against the opened file's own
// name, and prefixes of base names.
type Watch struct {
	Names    []string
	Prefixes []string // such as ".env."
}
