package netlink

import (
	"encoding/binary"
	"errors"
)

// what is the kind of a proc_event, enum what in include/uapi/linux/cn_proc.h.
type what uint32

const (
	whatNone   what = 0
	whatFork   what = 0x00000001
	whatExec   what = 0x00000002
	whatUID    what = 0x00000004
	whatGID    what = 0x00000040
	whatSID    what = 0x00000080
	whatPtrace what = 0x00000100
	whatComm   what = 0x00000200
	whatCore   what = 0x40000000
	whatExit   what = 0x80000000
)

// Sizes and places of struct nlmsghdr, cn_msg and proc_event.
const (
	nlHeaderSize = 16
	cnHeaderSize = 20
	procHeader   = 16 // what, cpu, timestamp_ns
	// procEventSize is sizeof(struct proc_event): the union is as long as the
	// comm event, 24 bytes.
	procEventSize = procHeader + 24

	cnIdxProc = 1 // CN_IDX_PROC
	cnValProc = 1 // CN_VAL_PROC

	mcastListen = 1 // PROC_CN_MCAST_LISTEN
	mcastIgnore = 2 // PROC_CN_MCAST_IGNORE
)

// procEvent is a struct proc_event with the parts of the cn_msg around it
// that matter.
type procEvent struct {
	what what
	cpu  uint32
	mono uint64 // timestamp_ns: CLOCK_MONOTONIC
	// seq is cn_msg.seq, which counts the events of one CPU.
	seq uint32
	// ack is cn_msg.ack: in an answer, the subscriber's number plus one.
	ack uint32

	// pid is the thread and tgid the process that the event is about: for a
	// fork the child.
	pid, tgid uint32
	// otherPID and otherTGID are the parent of a fork or the tracer.
	otherPID, otherTGID uint32
	// code is exit_code as wait(2) gives it, the effective id of a uid or gid
	// event, or the error of an answer.
	code uint32
	comm [16]byte
}

var (
	errShort   = errors.New("the message is shorter than its header says")
	errForeign = errors.New("not a message of the proc connector")
)

// decodeProcEvent reads one datagram of the proc connector: nlmsghdr, cn_msg,
// proc_event. An event of a kind that is not known is no error; its numbers
// still count.
func decodeProcEvent(b []byte, ev *procEvent) error {
	ne := binary.NativeEndian
	if len(b) < nlHeaderSize+cnHeaderSize {
		return errShort
	}
	n := int(ne.Uint32(b))
	if n < nlHeaderSize+cnHeaderSize || n > len(b) {
		return errShort
	}
	cn := b[nlHeaderSize:n]
	if ne.Uint32(cn) != cnIdxProc || ne.Uint32(cn[4:]) != cnValProc {
		return errForeign
	}
	size := int(ne.Uint16(cn[16:]))
	p := cn[cnHeaderSize:]
	if size > len(p) || size < procEventSize {
		return errShort
	}
	*ev = procEvent{
		seq: ne.Uint32(cn[8:]), ack: ne.Uint32(cn[12:]),
		what: what(ne.Uint32(p)), cpu: ne.Uint32(p[4:]), mono: ne.Uint64(p[8:]),
	}
	d := p[procHeader:]
	switch ev.what {
	case whatNone:
		ev.code = ne.Uint32(d)
	case whatFork:
		ev.otherPID, ev.otherTGID = ne.Uint32(d), ne.Uint32(d[4:])
		ev.pid, ev.tgid = ne.Uint32(d[8:]), ne.Uint32(d[12:])
	case whatExec, whatSID:
		ev.pid, ev.tgid = ne.Uint32(d), ne.Uint32(d[4:])
	case whatUID, whatGID:
		ev.pid, ev.tgid = ne.Uint32(d), ne.Uint32(d[4:])
		ev.code = ne.Uint32(d[12:]) // the effective id; the real one is before it
	case whatPtrace:
		ev.pid, ev.tgid = ne.Uint32(d), ne.Uint32(d[4:])
		ev.otherPID, ev.otherTGID = ne.Uint32(d[8:]), ne.Uint32(d[12:])
	case whatComm:
		ev.pid, ev.tgid = ne.Uint32(d), ne.Uint32(d[4:])
		copy(ev.comm[:], d[8:24])
	case whatExit:
		ev.pid, ev.tgid = ne.Uint32(d), ne.Uint32(d[4:])
		ev.code = ne.Uint32(d[8:])
	}
	return nil
}

// subscription returns the payload of a netlink message that asks the proc
// connector to start or stop. The answer's ack is the one here plus one; its
// sequence number is the kernel's own.
func subscription(op, ack uint32) []byte {
	ne := binary.NativeEndian
	b := make([]byte, cnHeaderSize+4)
	ne.PutUint32(b[0:], cnIdxProc)
	ne.PutUint32(b[4:], cnValProc)
	ne.PutUint32(b[12:], ack)
	ne.PutUint16(b[16:], 4)
	ne.PutUint32(b[cnHeaderSize:], op)
	return b
}
