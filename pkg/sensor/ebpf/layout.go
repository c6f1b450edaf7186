package ebpf

// recordType says what a record of a ring is: enum record_type in
// bpf/record.h.
type recordType uint16

const (
	rNone recordType = iota
	rFork
	rExec
	rArgv
	rExit
	rSetID
	rSetSID
	rConnect
	rAccept
	rListen
	rFlow
	rSend
	rDNS
	rTLS
	rHTTP
	rUnix
	rVsock
	rRawSock
	rOpen
	rRename
	rUnlink
	rLink
	rSymlink
	rChmod
	rMkdir
	rPtrace
	rMemory
	rKill
	rBPF
	rModule
	rMount
	rNamespace
	rURing
	rCgroup
	rPlain
	rSession

	recordTypes
)

// Bits of a head's flags.
const (
	fMemfd = 1 << iota
	fDeleted
	fScript
	fNoArgv
	fWatched
	fUserPath
	fProcMem
	fProcMaps
	fProcEnviron
	fAnswer
	fWorker
	fInode
	fPassed
	fLiving
	fRest
)

// Offsets in the records of bpf/record.h. Numbers are in the machine's order,
// which is little-endian wherever this sensor is built for.
const (
	atTime   = 0
	atSeq    = 8
	atCPU    = 16
	atType   = 20
	atFlags  = 22
	atPID    = 24
	atTID    = 28
	atStart  = 32
	atUID    = 40
	atGID    = 44
	atCgroup = 48
	headSize = 56

	argvOffset = 28
	argvLen    = 32
	argvSize   = 40

	forkParentStart = headSize
	forkParent      = headSize + 8
	forkSize        = headSize + 16

	numberNumber = headSize
	numberSize   = headSize + 8

	execInode     = headSize
	execArgvBytes = headSize + 8
	execDev       = headSize + 16
	execArgvSent  = headSize + 20
	execNS        = headSize + 24
	execExe       = headSize + 40
	execFilename  = headSize + 44
	execInterp    = headSize + 48
	execCwd       = headSize + 52
	execArgv      = headSize + 56
	execEnv       = headSize + 60
	execOldCgroup = headSize + 64
	execCTime     = headSize + 72
	execFileSize  = headSize + 80
	execSize      = headSize + 88

	cgroupID   = headSize
	cgroupOld  = headSize + 8
	cgroupPath = headSize + 12
	cgroupSize = headSize + 16

	sockCookie   = headSize
	sockSent     = headSize + 8
	sockReceived = headSize + 16
	sockCount    = headSize + 24
	sockSrc      = headSize + 32
	sockDst      = headSize + 48
	sockSport    = headSize + 64
	sockDport    = headSize + 66
	sockProto    = headSize + 68
	sockFamily   = headSize + 70
	sockErr      = headSize + 72
	sockWire     = headSize + 76
	sockLen      = headSize + 80
	sockOffset   = headSize + 84
	sockSize     = headSize + 88

	fileInode       = headSize
	fileCount       = headSize + 8
	fileTargetStart = headSize + 16
	fileDev         = headSize + 24
	fileMode        = headSize + 28
	fileAccess      = headSize + 32
	fileTarget      = headSize + 36
	filePath        = headSize + 40
	fileNewPath     = headSize + 44
	fileSize        = headSize + 48

	actTargetStart = headSize
	actCount       = headSize + 8
	actOp          = headSize + 16
	actArg         = headSize + 20
	actTarget      = headSize + 24
	actErr         = headSize + 28
	actNS          = headSize + 32
	actSize        = headSize + 48
)

// objectKind is what a call of bpf(2) was about: the enum before bpf_object in
// bpf/power.h. The kernel counts each kind's ids by itself.
type objectKind uint32

const (
	ofNothing objectKind = iota
	ofMap
	ofProgram
	ofLink
)

// Offsets in struct last_act of bpf/power.h, and in the ancestors in it.
const (
	lastTime   = 0
	lastStart  = 8
	lastPID    = 16
	lastUID    = 20
	lastSignal = 24
	lastComm   = 28
	lastExeLen = 44
	lastAbove  = 48
	lastExe    = 304
	lastSize   = 816

	aboveStart = 0
	abovePID   = 8
	aboveSize  = 16
)

// largest is the size of the largest record: struct scratch.out.
const largest = 512 + 5*4096
