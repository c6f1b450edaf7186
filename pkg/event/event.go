// Package event is the model of everything that can be reported: one [Event]
// is one thing the kernel or a declared source said, and one JSON object a
// line in the log. docs/evidence-format.md describes the format and has test
// vectors.
//
// An event is never changed after it was appended. What is learnt later (a
// name, a byte count, an exit) is a later event that names the same actor.
//
// It imports nothing of this project but redact, whose [redact.Text] is the
// only kind of string an event takes.
package event

import (
	"net/netip"

	"github.com/org/edamame-posture/pkg/redact"
)

// Version is the version of the format that this package writes.
const Version = 1

// Actor is one process image. A bare process id is reused by the kernel and
// does not change at execve; the three numbers together name one program run.
type Actor struct {
	// PID is the thread group id in the initial pid namespace.
	PID uint32 `json:"pid"`
	// Start is task_struct.start_boottime of the group leader in nanoseconds
	// since boot. It is rounded down to 10 ms (field 22 of proc_pid_stat(5))
	// for processes that were read from /proc, and is never 0 for a known one.
	Start int64 `json:"start"`
	// Image counts the execs of the process: 0 is the image it was forked
	// with.
	Image uint32 `json:"image,omitempty"`
}

// IsZero reports whether no actor is named.
func (a Actor) IsZero() bool { return a == Actor{} }

// Via says why an event belongs to a recording.
type Via uint8

const (
	// ViaLineage: the actor descends from the recording's root. The default.
	ViaLineage Via = iota
	// ViaRequest: a daemon does it because the lineage asked (docker, systemd-run, at, crontab).
	ViaRequest
	// ViaHost: the whole host is watched, and the actor is outside the lineage.
	ViaHost
	// ViaOutside: an actor outside the lineage acted on a process inside it.
	ViaOutside
	// ViaMonitor: the monitor itself says so.
	ViaMonitor

	viaCount
)

var viaNames = [viaCount]string{"lineage", "request", "host", "outside", "monitor"}

// String returns the word that stands in the log.
func (v Via) String() string {
	if v < viaCount {
		return viaNames[v]
	}
	return "unknown"
}

// Proto is a transport protocol, numbered as in the IP header, or one of ours
// above 255.
type Proto uint16

// Protocols with a name in the log. Others are written as their number.
const (
	ProtoNone   Proto = 0
	ProtoICMP   Proto = 1
	ProtoTCP    Proto = 6
	ProtoUDP    Proto = 17
	ProtoICMPv6 Proto = 58
	ProtoRaw    Proto = 255
	ProtoPacket Proto = 0x100 // AF_PACKET, by link layer
)

// Access is what an open asked for.
type Access uint8

// Bits of Access.
const (
	Read   Access = 1 << iota
	Write         // opened for writing
	Create        // the file was made by this open
	Truncate
	Append
)

// Image is what is odd about the file that was executed.
type Image uint8

// Bits of Image.
const (
	Memfd   Image = 1 << iota // an anonymous file of memfd_create(2)
	Deleted                   // no name leads to it any more
	Script                    // the kernel ran Interp, given Filename
)

// Op is a verb of the power events.
type Op uint8

// Operations. The comment names the system call or file.
const (
	OpNone       Op = iota
	OpAttach        // ptrace(PTRACE_ATTACH), PTRACE_SEIZE
	OpTraceMe       // ptrace(PTRACE_TRACEME)
	OpPeek          // ptrace(PTRACE_PEEK*), PTRACE_GETREGS*
	OpPoke          // ptrace(PTRACE_POKE*), PTRACE_SETREGS*
	OpRead          // process_vm_readv, /proc/PID/mem, /proc/PID/environ
	OpWrite         // process_vm_writev, /proc/PID/mem
	OpProgLoad      // bpf(BPF_PROG_LOAD)
	OpMapUpdate     // bpf(BPF_MAP_UPDATE_ELEM) and other map writes
	OpDetach        // bpf(BPF_LINK_DETACH), bpf(BPF_PROG_DETACH)
	OpAttachProg    // bpf(BPF_LINK_CREATE), bpf(BPF_PROG_ATTACH)
	OpObject        // bpf(BPF_*_GET_FD_BY_ID): takes hold of another's object
	OpLoad          // init_module, finit_module
	OpUnload        // delete_module
	OpMount         // mount, move_mount
	OpUnmount       // umount2
	OpUnshare       // unshare(2)
	OpSetNS         // setns(2)
	OpClone         // clone(2) with CLONE_NEW*
	OpSetup         // io_uring_setup(2)
	OpOther

	opCount
)

var opNames = [opCount]string{
	"", "attach", "traceme", "peek", "poke", "read", "write", "prog-load", "map-update", "detach",
	"attach-prog", "object", "load", "unload", "mount", "unmount", "unshare", "setns", "clone", "setup", "other",
}

// String returns the word that stands in the log.
func (o Op) String() string {
	if o < opCount {
		return opNames[o]
	}
	return "other"
}

// FileID names an inode on this boot.
type FileID struct {
	Dev   uint64 `json:"dev"` // as stat(2) gives it: makedev(3)
	Inode uint64 `json:"inode"`
}

// Namespaces holds the inode numbers of a process's namespaces, as
// /proc/PID/ns shows them; 0 where not known.
type Namespaces struct {
	Mount uint32 `json:"mnt,omitempty"`
	Net   uint32 `json:"net,omitempty"`
	PID   uint32 `json:"pid,omitempty"`
	User  uint32 `json:"user,omitempty"`
}

// Var is an environment variable from the allow-list of DESIGN rule 4.
type Var struct {
	Name  redact.Text `json:"name"`
	Value redact.Text `json:"value"`
}

// Answer is one record of a DNS answer.
type Answer struct {
	Name redact.Text `json:"name"`
	Type uint16      `json:"type"` // IANA DNS RR type
	Addr netip.Addr  `json:"addr,omitzero"`
	// Target is the name that a CNAME, HTTPS or SVCB record points to.
	Target redact.Text `json:"target,omitzero"`
	TTL    uint32      `json:"ttl,omitempty"` // seconds
}

// Secret tells what a redactor found in one text of the event, so that rules
// can use it without the value. It never holds a part of the value.
type Secret struct {
	// Field is the JSON name of the field it was found in, Index the place in a list.
	Field redact.Text `json:"field"`
	Index int         `json:"index,omitempty"`
	// Pattern is the name of the pattern that hit, such as github-token.
	Pattern redact.Text `json:"pattern"`
	// Length is that of the secret in bytes, Layers the encodings around it.
	Length int `json:"length"`
	Layers int `json:"layers,omitempty"`
	// Hash is HMAC-SHA-256 under the recording's key, cut to 16 bytes, in hex:
	// equal secrets in one recording have equal hashes.
	Hash redact.Text `json:"hash,omitzero"`
}

// Count is what the two witnesses counted of one thing.
type Count struct {
	What    redact.Text `json:"what"` // fork, exec, exit, socket
	EBPF    uint64      `json:"ebpf"`
	Netlink uint64      `json:"netlink"`
}

// Survivor is a process that the recording's root left running.
type Survivor struct {
	Actor Actor       `json:"actor"`
	Exe   redact.Text `json:"exe,omitzero"`
}

// What Detail says of an HTTP request.
var (
	NotWhole = redact.Const("not whole") // its target goes on beyond what was read
	TwoHosts = redact.Const("two hosts") // two readers may see two hosts in it
)

// Hidden is what Detail says of a ClientHello that offers an encrypted one (ECH,
// RFC 9849), or seems to: the name in clear may be that of a front.
var Hidden = redact.Const("the name may be hidden by ECH")

// Event is one thing that was reported. Which fields are filled depends on
// Kind and is said at its constants; an unused field is its zero value and is
// left out of the log.
type Event struct {
	// Seq is the place in the log, from 0. The writer gives it.
	Seq uint64
	// Time is CLOCK_BOOTTIME in nanoseconds.
	Time int64
	Kind Kind
	// KindName is the word of a kind that this version does not know.
	KindName redact.Text
	Actor    Actor
	Via      Via

	// Processes.
	Parent    Actor
	Exe       redact.Text // path of the executed file, as the kernel resolves it
	Filename  redact.Text // what execve was given: for a script, the script
	Interp    redact.Text // interpreter of a script
	Argv      []redact.Text
	ArgvBytes int  // bytes of all arguments with their NULs, before any cut
	ArgvCut   bool // Argv is not whole
	Cwd       redact.Text
	Env       []Var
	UID, GID  uint32
	Cgroup    uint64 // cgroup v2 id
	Container redact.Text
	// ContainerImage is the image as its engine names it, name:tag.
	ContainerImage redact.Text
	NS             Namespaces
	Image          Image
	Session        uint32
	Code           int // exit code
	Signal         int // signal number
	Target         Actor
	Op             Op

	// Sockets.
	Proto    Proto
	Src, Dst netip.AddrPort
	Sock     uint64 // socket cookie, or 0
	Sent     uint64 // payload bytes
	Received uint64 // payload bytes
	Count    uint64 // how many were folded into this event; 0 means 1
	Err      int    // errno of a failed connect, positive
	OK       bool

	// Names and requests.
	Name    redact.Text
	QType   uint16
	RCode   uint8
	Answers []Answer
	Method  redact.Text
	// TLS: an HTTP request was read inside TLS, as it was given to the library
	// that encrypts it. Of a Flow: all that the connection has carried out so far
	// was, and is told as requests.
	TLS bool

	// Files. Path is absolute, in the mount namespace of the actor.
	Path    redact.Text
	NewPath redact.Text
	File    FileID
	Access  Access
	Mode    uint32
	Class   redact.Text // credential class of a watched file
	// CTime is the inode's last change in Unix nanoseconds, Size its bytes: with
	// File, which content of it was meant. Of an HTTP request, Size is what it
	// takes on its connection, head and declared body; 0 where that is not known.
	CTime  int64
	Size   uint64
	SHA256 SHA256

	// The recording and the monitor.
	Version   int
	Boot      redact.Text // boot id
	Wall      int64       // Unix time in nanoseconds
	Step      int64       // nanoseconds the wall clock jumped
	Host      redact.Text
	Job       redact.Text
	Tool      redact.Text // version of the monitor
	Sensor    redact.Text
	Detail    redact.Text
	From, To  int64 // boot time of a span
	Lost      uint64
	Counts    []Count
	Survivors []Survivor

	Secrets []Secret

	// A step of a CI job: its id, the action as OWNER/REPO@REF, and the name that
	// the runner shows, which is a label only.
	StepID, StepAction, StepName redact.Text

	// What a coding agent declares: which agent, its session, the id of the tool
	// call, and what it said: a call's command, of a prompt a hash under the
	// recording's key. The agent's word, but for the actor that it is bound to.
	ToolAgent, ToolCall, ToolSession, ToolText redact.Text

	// Extra holds the members that this version does not know, as read,
	// sorted by name; writing the event writes them again.
	Extra []Member
}

// Member is a JSON member that this version does not know.
type Member struct {
	Name  string
	Value []byte // compact JSON
}

// Reset makes e ready for another event and keeps its slices' memory.
func (e *Event) Reset() {
	argv, env, answers, secrets := e.Argv[:0], e.Env[:0], e.Answers[:0], e.Secrets[:0]
	counts, survivors, extra := e.Counts[:0], e.Survivors[:0], e.Extra[:0]
	*e = Event{Argv: argv, Env: env, Answers: answers, Secrets: secrets, Counts: counts, Survivors: survivors, Extra: extra}
}
