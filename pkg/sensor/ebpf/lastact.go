package ebpf

import (
	"bytes"
	"errors"
)

// LastAct is who last sent the monitor a signal that ends or stops it: what the
// programs wrote down before the signal came to anything.
type LastAct struct {
	Time   int64  // CLOCK_BOOTTIME in nanoseconds
	PID    uint32 // of the initial pid namespace
	Start  int64  // start_boottime of PID's leader in nanoseconds
	UID    uint32 // effective
	Signal int
	Comm   []byte // the sending thread's name: the job's to choose
	Exe    []byte // path of the executed file, its end where that is long; empty where not known
	// Above are the process's ancestors, its parent first: at most 16.
	Above []Ancestor
}

// Ancestor is a process above another.
type Ancestor struct {
	PID   uint32
	Start int64 // as in LastAct
}

var errNoAct = errors.New("the memory of who signalled the monitor is shorter than it says")

// decodeLastAct reads a struct last_act. ok is false where nothing was written.
func decodeLastAct(b []byte) (a LastAct, ok bool, err error) {
	if len(b) < lastSize {
		return a, false, errNoAct
	}
	n := u32(b, lastExeLen)
	if n > lastSize-lastExe {
		return a, false, errNoAct
	}
	if u64(b, lastTime) == 0 {
		return a, false, nil
	}
	a = LastAct{
		Time: int64(u64(b, lastTime)), PID: u32(b, lastPID), Start: int64(u64(b, lastStart)),
		UID: u32(b, lastUID), Signal: int(u32(b, lastSignal)),
		Exe: bytes.Clone(b[lastExe : lastExe+n]),
	}
	a.Comm, _, _ = bytes.Cut(bytes.Clone(b[lastComm:lastExeLen]), []byte{0})
	for at := lastAbove; at < lastExe; at += aboveSize {
		p := Ancestor{PID: u32(b, at+abovePID), Start: int64(u64(b, at+aboveStart))}
		if p.PID == 0 {
			break
		}
		a.Above = append(a.Above, p)
	}
	return a, true, nil
}
