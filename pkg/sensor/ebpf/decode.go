package ebpf

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// decoder turns the bytes of a ring into records. It keeps the one record it
// gives, and the arguments that come in pieces.
type decoder struct {
	rec      sensor.Record
	argvMax  int
	pieces   []pieces // by CPU
	paths    [2][]byte
	orphaned uint64 // pieces of arguments whose exec record did not come
	// again is how many acts that the programs held back are in a count.
	again   uint64
	refused refusedNames
	own     ownObjects
}

// refusedNames are the paths of opens that were refused, by the hash in their
// records: those that were held back are told without. Who tries many names
// has them forgotten, and the acts that then have none count as not told.
type refusedNames struct {
	paths map[uint64]string
	bytes int // of the paths
}

// Bounds of refusedNames.
const (
	maxRefusedNames = 4096
	maxRefusedBytes = 1 << 20
)

func (n *refusedNames) learn(hash uint64, path []byte) {
	if n.paths[hash] == string(path) {
		return
	}
	if n.paths == nil || len(n.paths) >= maxRefusedNames || n.bytes+len(path) > maxRefusedBytes {
		n.paths, n.bytes = map[uint64]string{}, 0
	}
	n.paths[hash] = string(path)
	n.bytes += len(path)
}

// pieces are the arguments of a program whose exec record is still to come.
type pieces struct {
	time  int64
	pid   uint32
	bytes []byte
}

// maxCPUs bounds what a record may say its CPU is.
const maxCPUs = 8192

func newDecoder(cpus, argvMax int) *decoder {
	return &decoder{argvMax: argvMax, pieces: make([]pieces, min(cpus, maxCPUs))}
}

var (
	errShort   = errors.New("the record is shorter than it says")
	errType    = errors.New("the record is of no type of this version")
	errNoCPU   = errors.New("the record names a CPU that this machine does not have")
	errPieces  = errors.New("a piece of arguments is out of order")
	errAddress = errors.New("the record's address is neither IPv4 nor IPv6")
	// errNameless is no fault of the record: see refusedNames.
	errNameless = errors.New("the name of what was refused is forgotten")
)

var native = binary.LittleEndian

func u16(b []byte, at int) uint16 { return native.Uint16(b[at:]) }
func u32(b []byte, at int) uint32 { return native.Uint32(b[at:]) }
func u64(b []byte, at int) uint64 { return native.Uint64(b[at:]) }

// kinds are the kinds of records that have only one.
var kinds = [recordTypes]event.Kind{
	rFork: event.Fork, rExec: event.Exec, rExit: event.Exit, rSetID: event.SetID, rSetSID: event.SetSID,
	rConnect: event.Connect, rAccept: event.Accept, rListen: event.Listen, rFlow: event.Flow, rSend: event.Send,
	rDNS: event.DNS, rTLS: event.TLS, rHTTP: event.HTTP, rUnix: event.Unix, rVsock: event.Vsock, rRawSock: event.Packet,
	rOpen: event.Open, rRename: event.Rename, rUnlink: event.Unlink, rLink: event.Link, rSymlink: event.Link,
	rChmod: event.Chmod, rMkdir: event.Mkdir, rPtrace: event.Ptrace, rMemory: event.MemAccess, rKill: event.Kill,
	rBPF: event.BPF, rModule: event.Module, rMount: event.Mount, rNamespace: event.Namespace, rURing: event.IOUring,
	rCgroup: event.Container, rPlain: event.HTTP, rSession: event.HTTP,
}

// ops are the operations in the order of the enum in bpf/record.h.
var ops = [...]event.Op{
	event.OpNone, event.OpAttach, event.OpTraceMe, event.OpPeek, event.OpPoke, event.OpRead, event.OpWrite,
	event.OpProgLoad, event.OpMapUpdate, event.OpDetach, event.OpAttachProg, event.OpObject, event.OpLoad,
	event.OpUnload, event.OpMount, event.OpUnmount, event.OpUnshare, event.OpSetNS, event.OpClone, event.OpSetup,
	event.OpOther,
}

func opOf(n uint32) event.Op {
	if int(n) < len(ops) {
		return ops[n]
	}
	return event.OpOther
}

// device turns the kernel's dev_t (include/linux/kdev_t.h) into that of
// makedev(3).
func device(dev uint32) uint64 {
	major, minor := uint64(dev>>20), uint64(dev&0xfffff)
	return minor&0xff | major&0xfff<<8 | minor>>8<<20 | major>>12<<44
}

// decode reads one record. It returns nil without an error for a record that
// is only a part of a later one. The result and b's bytes in it are valid
// until the next call.
func (d *decoder) decode(b []byte) (*sensor.Record, error) {
	if len(b) < argvSize {
		return nil, errShort
	}
	t := recordType(u16(b, atType))
	if int(u32(b, atCPU)) >= len(d.pieces) {
		return nil, errNoCPU
	}
	if t == rArgv {
		return nil, d.piece(b)
	}
	if t == rNone || t >= recordTypes {
		return nil, errType
	}
	if len(b) < headSize {
		return nil, errShort
	}
	r := &d.rec
	*r = sensor.Record{
		Kind: kinds[t],
		Time: int64(u64(b, atTime)), CPU: u32(b, atCPU), Seq: u64(b, atSeq),
		PID: u32(b, atPID), TID: u32(b, atTID), Start: int64(u64(b, atStart)),
		UID: u32(b, atUID), GID: u32(b, atGID), Cgroup: u64(b, atCgroup),
		Worker: u16(b, atFlags)&fWorker != 0,
	}
	var err error
	switch t {
	case rFork:
		if len(b) < forkSize {
			return nil, errShort
		}
		r.ParentPID, r.ParentStart = u32(b, forkParent), int64(u64(b, forkParentStart))
	case rExit, rSetID, rSetSID:
		if len(b) < numberSize {
			return nil, errShort
		}
		n := u32(b, numberNumber)
		switch t {
		case rExit:
			r.Code, r.Signal = int(n>>8&0xff), int(n&0x7f)
		case rSetSID:
			r.Session = n
		}
	case rExec:
		err = d.exec(b)
	case rCgroup:
		err = d.cgroup(b)
	case rConnect, rAccept, rListen, rFlow, rSend, rDNS, rTLS, rHTTP, rPlain, rSession:
		err = d.socket(t, b)
	case rUnix, rOpen, rRename, rUnlink, rLink, rSymlink, rChmod, rMkdir, rModule, rMount:
		err = d.file(t, b)
	default:
		err = d.act(t, b)
	}
	if err == errNameless {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// count reads how many acts a record tells.
func (d *decoder) count(n uint64, flags uint16) {
	d.again += max(n, 1)
	if flags&fRest == 0 {
		d.again--
	}
	if n > 1 {
		d.rec.Count = n
	}
}

// piece keeps a part of the arguments of the exec that follows on its CPU.
func (d *decoder) piece(b []byte) error {
	p := &d.pieces[u32(b, atCPU)]
	offset, n := int(u32(b, argvOffset)), int(u32(b, argvLen))
	if n > len(b)-argvSize {
		return errShort
	}
	if offset == 0 {
		if len(p.bytes) > 0 {
			d.orphaned++
		}
		p.bytes = p.bytes[:0]
		p.time, p.pid = int64(u64(b, atTime)), u32(b, atPID)
	}
	if offset != len(p.bytes) || p.time != int64(u64(b, atTime)) || p.pid != u32(b, atPID) || offset+n > d.argvMax {
		// A piece before it was lost: what follows would stand in its place.
		return errPieces
	}
	if p.bytes == nil {
		p.bytes = make([]byte, 0, d.argvMax)
	}
	p.bytes = append(p.bytes, b[argvSize:argvSize+n]...)
	return nil
}

func (d *decoder) exec(b []byte) error {
	if len(b) < execSize {
		return errShort
	}
	r := &d.rec
	flags := u16(b, atFlags)
	rest := b[execSize:]
	for _, f := range [...]struct {
		to *[]byte
		at int
	}{
		{&r.Exe, execExe}, {&r.Filename, execFilename}, {&r.Interp, execInterp},
		{&r.Cwd, execCwd}, {&r.Argv, execArgv}, {&r.Env, execEnv},
	} {
		n := u32(b, f.at)
		if uint64(n) > uint64(len(rest)) {
			return errShort
		}
		*f.to, rest = rest[:n:n], rest[n:]
	}
	r.File.Inode, r.File.Dev = u64(b, execInode), device(u32(b, execDev))
	r.CTime, r.Size = int64(u64(b, execCTime)), u64(b, execFileSize)
	r.NS = event.Namespaces{Mount: u32(b, execNS), Net: u32(b, execNS+4), PID: u32(b, execNS+8), User: u32(b, execNS+12)}
	r.OldCgroup = u64(b, execOldCgroup)
	// The kernel's stack limit bounds arguments to a few MiB; a process can
	// set arg_end by prctl(2) to anything.
	r.ArgvBytes = int(min(u64(b, execArgvBytes), 1<<40))
	if u32(b, execArgvSent) > 0 {
		p := &d.pieces[r.CPU]
		if p.pid == r.PID && p.time == r.Time {
			r.Argv = p.bytes
		}
		p.bytes = p.bytes[:0]
	}
	r.ArgvCut = len(r.Argv) < r.ArgvBytes
	r.ArgvMissing = len(r.Argv) == 0 && r.ArgvBytes > 0
	for _, i := range [...]struct {
		flag uint16
		is   event.Image
	}{{fMemfd, event.Memfd}, {fDeleted, event.Deleted}, {fScript, event.Script}} {
		if flags&i.flag != 0 {
			r.Image |= i.is
		}
	}
	return nil
}

func (d *decoder) cgroup(b []byte) error {
	if len(b) < cgroupSize {
		return errShort
	}
	n := u32(b, cgroupPath)
	if uint64(n) > uint64(len(b)-cgroupSize) {
		return errShort
	}
	r := &d.rec
	r.Path = b[cgroupSize : cgroupSize+n : cgroupSize+n]
	r.Cgroup = u64(b, cgroupID)
	if u32(b, cgroupOld) != 0 {
		r.Cgroup, r.OldCgroup = 0, r.Cgroup
	}
	return nil
}

// addrPort reads an address of 16 bytes; an IPv4 address that stands in an
// IPv6 socket is given as IPv4, since that is what goes over the wire.
func addrPort(b []byte, family uint16, port uint16) (netip.AddrPort, error) {
	switch family {
	case 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port), nil
	case 6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), port), nil
	}
	return netip.AddrPort{}, errAddress
}

func (d *decoder) socket(t recordType, b []byte) (err error) {
	if len(b) < sockSize {
		return errShort
	}
	r := &d.rec
	family := u16(b, sockFamily)
	if t == rPlain || t == rSession {
		r.TLS, r.Plain = u64(b, sockReceived), u64(b, sockSent)
	}
	if family == 0 && t == rPlain {
		return d.payload(b) // which connection it is is not known yet
	}
	if r.Src, err = addrPort(b[sockSrc:], family, u16(b, sockSport)); err != nil {
		return err
	}
	if r.Dst, err = addrPort(b[sockDst:], family, u16(b, sockDport)); err != nil {
		return err
	}
	if t == rListen {
		r.Dst = netip.AddrPort{}
	}
	r.Sock, r.Proto = u64(b, sockCookie), event.Proto(u16(b, sockProto))
	r.Err = int(int32(u32(b, sockErr)))
	if r.TLS != 0 {
		return d.payload(b)
	}
	r.Sent, r.Received, r.Count = u64(b, sockSent), u64(b, sockReceived), u64(b, sockCount)
	if err := d.payload(b); err != nil {
		return err
	}
	flags := u16(b, atFlags)
	if t == rFlow {
		r.Plain, r.Count, r.Writes = r.Count, 0, u32(b, sockWire)
	}
	r.OK = t == rFlow && flags&fLiving == 0 || flags&fAnswer != 0
	r.Passed = flags&fPassed != 0
	return nil
}

// payload takes the bytes that follow a socket's record.
func (d *decoder) payload(b []byte) error {
	r, n := &d.rec, int(u32(b, sockLen))
	if n > len(b)-sockSize {
		return errShort
	}
	if n > 0 {
		r.Payload, r.PayloadLen = b[sockSize:sockSize+n:sockSize+n], int(u32(b, sockWire))
		r.Offset = u32(b, sockOffset)
	}
	return nil
}

func (d *decoder) file(t recordType, b []byte) error {
	if len(b) < fileSize {
		return errShort
	}
	r := &d.rec
	flags := u16(b, atFlags)
	n, m := uint64(u32(b, filePath)), uint64(u32(b, fileNewPath))
	if n+m > uint64(len(b)-fileSize) {
		return errShort
	}
	r.Path, r.NewPath = b[fileSize:fileSize+n:fileSize+n], b[fileSize+n:fileSize+n+m:fileSize+n+m]
	if flags&fUserPath != 0 {
		for i, p := range [2]*[]byte{&r.Path, &r.NewPath} {
			if len(*p) > 0 {
				d.paths[i] = appendClean(d.paths[i][:0], *p)
				*p = d.paths[i]
			}
		}
	}
	r.File.Inode, r.File.Dev = u64(b, fileInode), device(u32(b, fileDev))
	r.TargetPID, r.TargetStart = u32(b, fileTarget), int64(u64(b, fileTargetStart))
	word := u32(b, fileAccess)
	switch t {
	case rOpen:
		r.Access = event.Access(word)
		if flags&fUserPath == 0 { // truncate(2) does not know the file
			r.Mode = u32(b, fileMode)
		} else {
			r.Err, r.TargetStart = int(r.TargetStart), 0
			if err := d.refusal(flags); err != nil {
				return err
			}
		}
		r.ByInode = flags&fInode != 0
		r.Watched = flags&(fWatched|fProcMem|fProcMaps|fProcEnviron) != 0
		if flags&(fProcMem|fProcEnviron) != 0 {
			r.Kind, r.Op = event.MemAccess, event.OpRead
			if r.Access&event.Write != 0 {
				r.Op = event.OpWrite
			}
		}
	case rUnix:
		r.Err = int(u32(b, fileMode))
	case rLink:
		r.Detail = "hard"
	case rSymlink:
		r.Detail = "symbolic"
	case rModule, rMount:
		r.Op = opOf(word)
	case rChmod, rMkdir:
		r.Mode = u32(b, fileMode)
	}
	d.count(u64(b, fileCount), flags)
	return nil
}

// refusal gives an open that was refused its name. Where a file would be its
// record has the name's hash.
func (d *decoder) refusal(flags uint16) error {
	r, hash := &d.rec, d.rec.File.Inode
	r.File = event.FileID{}
	if r.Err == 0 {
		return nil
	}
	if flags&fRest == 0 {
		d.refused.learn(hash, r.Path)
		return nil
	}
	path, ok := d.refused.paths[hash]
	if !ok {
		return errNameless
	}
	d.paths[0] = append(d.paths[0][:0], path...)
	r.Path = d.paths[0]
	return nil
}

func (d *decoder) act(t recordType, b []byte) error {
	if len(b) < actSize {
		return errShort
	}
	r := &d.rec
	op, arg := u32(b, actOp), u32(b, actArg)
	r.TargetPID, r.TargetStart = u32(b, actTarget), int64(u64(b, actTargetStart))
	r.Err = int(int32(u32(b, actErr)))
	d.count(u64(b, actCount), u16(b, atFlags))
	switch t {
	case rKill:
		r.Signal = int(arg)
		return nil
	case rBPF:
		r.OwnObject = d.own.has(kernelObject{objectKind(arg), r.TargetPID})
		r.TargetPID = 0
	case rRawSock:
		r.Proto, r.Detail = event.ProtoRaw, "a raw socket was opened"
		switch arg {
		case 17: // AF_PACKET
			r.Proto, r.Detail = event.ProtoPacket, "a packet socket was opened"
		case 44: // AF_XDP
			r.Proto, r.Detail = event.ProtoPacket, "an XDP socket was opened"
		}
		return nil
	case rVsock:
		// struct sockaddr_vm of vsock(7).
		r.Detail = strconv.FormatUint(uint64(arg), 10) + ":" + strconv.FormatUint(uint64(op), 10)
		return nil
	case rNamespace:
		r.NS = event.Namespaces{Mount: u32(b, actNS), Net: u32(b, actNS+4), PID: u32(b, actNS+8), User: u32(b, actNS+12)}
	}
	r.Op = opOf(op)
	return nil
}
