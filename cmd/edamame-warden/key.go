package main

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"syscall"
	"unsafe"

	"filippo.io/edwards25519"
)

// maxText bounds what is signed, in bytes.
const maxText = 4096

// makeKeys forks a process that makes keys, and waits for its end: of one forked
// from a program in Go only the thread that forked is there, so nothing else
// runs in it, holds a lock or has to be asked to let go of a page. In it and in
// what it forks nothing enters a system call by way of Go's scheduler, starts a
// goroutine or is collected (GOGC=off).
func makeKeys() int {
	private()
	// The tables that are made once, and the stack that it takes, are made here for
	// all forks. This key is known to everybody.
	key.make()
	key.sign(len(text) - 1)
	switch pid := fork(sigChild); {
	case pid < 0:
		return 1
	case pid == 0:
		const prSetDeathSignal = 1 // prctl(2)
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetDeathSignal, uintptr(syscall.SIGKILL), 0)
		return forkKeys()
	}
	_ = syscall.Close(0)
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(-1, &status, 0, nil); err != syscall.EINTR {
			return 0
		}
	}
}

const (
	sigChild = uintptr(syscall.SIGCHLD)
	sigNone  = 0 // it is asked for when the next one is made
)

// fork is fork(2), with a signal for the parent at the end of the child.
func fork(signal uintptr) int {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, signal, 0, 0, 0, 0, 0)
	if errno != 0 {
		return -1
	}
	return int(pid)
}

// forkKeys forks, for each socket that comes over descriptor 0, a process that
// holds a key. It never has one itself, so that a fork has none but its own. It
// returns when the monitor has gone. Nothing in it may allocate for each key.
func forkKeys() int {
	for {
		conn, ok := receive(0)
		if !ok {
			for reap(0) {
			}
			return 0
		}
		for reap(syscall.WNOHANG) {
		}
		if conn < 0 {
			continue
		}
		if fork(sigNone) == 0 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, 0, 0, 0)
			return holdKey(conn)
		}
		_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(conn), 0, 0)
	}
}

// reap takes notice of a key that has ended, and reports whether there was one.
func reap(options int) bool {
	const all = 0x40000000 // __WALL: of those without a signal too
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_WAIT4, ^uintptr(0), 0, uintptr(options|all), 0, 0, 0)
	return errno == syscall.EINTR || errno == 0 && pid > 0
}

// receive waits for a socket on conn. It is -1 where a message had none, and not
// ok where no more will come.
func receive(conn int) (fd int, ok bool) {
	var word byte
	var rights struct {
		syscall.Cmsghdr
		fd, _ int32
	}
	data := syscall.Iovec{Base: &word, Len: 1}
	for {
		m := syscall.Msghdr{Iov: &data, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&rights)), Controllen: uint64(unsafe.Sizeof(rights))}
		n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, uintptr(conn), uintptr(unsafe.Pointer(&m)), 0)
		switch {
		case errno == syscall.EINTR:
		case errno != 0 || n == 0:
			return -1, false
		case m.Controllen < uint64(syscall.CmsgLen(4)) || rights.Type != syscall.SCM_RIGHTS:
			return -1, true
		default:
			return int(rights.fd), true
		}
	}
}

// holdKey makes a key, says its process id and public half, signs one text and
// ends. What it wrote into its memory goes with it: Go keeps copies of a key in
// places that no program can clear.
func holdKey(conn int) int {
	const lockOnFault = 1 | 2 | 1<<2 // MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT of mlockall(2): out of swap
	_, _, _ = syscall.RawSyscall(syscall.SYS_MLOCKALL, lockOnFault, 0, 0)
	if raw(sysGetrandom, uintptr(unsafe.Pointer(&key.seed)), uintptr(len(key.seed)), 0) != len(key.seed) {
		return 1
	}
	key.make()
	binary.LittleEndian.PutUint32(said[:], uint32(raw(syscall.SYS_GETPID, 0, 0, 0)))
	n := 4 + copy(said[4:], key.public[:])
	if raw(syscall.SYS_WRITE, uintptr(conn), uintptr(unsafe.Pointer(&said)), uintptr(n)) != n {
		return 1
	}
	n = raw(syscall.SYS_READ, uintptr(conn), uintptr(unsafe.Pointer(&text)), uintptr(len(text)))
	if n <= 0 || n > maxText {
		return 1 // who asked for a key has gone
	}
	key.sign(n)
	if raw(syscall.SYS_WRITE, uintptr(conn), uintptr(unsafe.Pointer(&said)), ed25519.SignatureSize) != ed25519.SignatureSize {
		return 1
	}
	return 0
}

// What a key is, reads and writes. Nothing is allocated for it: a page that a
// fork touches first costs about as much as the signature.
var (
	key  secret
	said [ed25519.SignatureSize]byte
	text [maxText + 1]byte
)

// secret is an Ed25519 key (RFC 8032, 5.1). crypto/ed25519 allocates, and keeps
// each key in a weak map: to touch what that takes costs a fork several times
// the signature. Whoever asks for a signature checks it with crypto/ed25519.
type secret struct {
	seed, public [32]byte
	scalar       edwards25519.Scalar
	prefix       [32]byte
	hashed       [64 + maxText]byte
	r, k         edwards25519.Scalar
	point        edwards25519.Point
}

// make makes the key of its seed.
func (s *secret) make() {
	h := sha512.Sum512(s.seed[:])
	_, _ = s.scalar.SetBytesWithClamping(h[:32]) // 32 bytes are always taken
	copy(s.prefix[:], h[32:])
	copy(s.public[:], s.point.ScalarBaseMult(&s.scalar).Bytes())
}

// sign puts the signature of the first n bytes of text into said.
func (s *secret) sign(n int) {
	at := copy(s.hashed[:], s.prefix[:])
	at += copy(s.hashed[at:], text[:n])
	h := sha512.Sum512(s.hashed[:at])
	_, _ = s.r.SetUniformBytes(h[:]) // 64 bytes are always taken
	copy(said[:], s.point.ScalarBaseMult(&s.r).Bytes())
	at = copy(s.hashed[:], said[:32])
	at += copy(s.hashed[at:], s.public[:])
	at += copy(s.hashed[at:], text[:n])
	h = sha512.Sum512(s.hashed[:at])
	_, _ = s.k.SetUniformBytes(h[:])
	copy(said[32:], s.k.MultiplyAdd(&s.k, &s.scalar, &s.r).Bytes())
}

// raw is a system call that the scheduler is not told of. It returns -1 for an
// error.
func raw(call, a, b, c uintptr) int {
	for {
		n, _, errno := syscall.RawSyscall(call, a, b, c)
		if errno == 0 {
			return int(n)
		}
		if errno != syscall.EINTR {
			return -1
		}
	}
}

// private keeps the memory of this process and of its forks out of core files,
// and away from ptrace and /proc/PID/mem of everybody but root. A kernel that
// refuses one of them still has the other.
func private() {
	const (
		prSetDumpable = 4 // prctl(2)
		coreSize      = 4 // RLIMIT_CORE
	)
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
	var none syscall.Rlimit
	_, _, _ = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, coreSize, uintptr(unsafe.Pointer(&none)), 0, 0, 0)
}
