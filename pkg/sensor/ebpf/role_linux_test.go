package ebpf

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// roleVariable makes the test binary play a role instead of testing: the
// sensor leaves out the files of its own process, so somebody else must act.
const roleVariable = "SENSOR_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		play, ok := roles[role]
		if !ok {
			fmt.Fprintln(os.Stderr, "no such role:", role)
			os.Exit(2)
		}
		if err := play(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// as prepares the test binary in a role.
func as(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// perform runs a role to its end and returns its pid and what it wrote.
func perform(t testing.TB, role string, args ...string) (uint32, string) {
	t.Helper()
	cmd := as(role, args...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", role, err)
	}
	return uint32(cmd.Process.Pid), string(out)
}

var roles = map[string]func(args []string) error{
	"connect":    connectMany,
	"steered":    steered,
	"write-many": writeMany,
	"reuse":      reuse,
	"exchange":   exchange,
	"ask":        ask,
	"files":      doFiles,
	"read":       func(a []string) error { return readAll(a) },
	"power":      power,
	"threads":    threads,
	"usurp":      usurp,
	"request":    request,
	"grow":       grow,
	"datagrams":  datagrams,
	"refused":    refused,
	"opens":      opens,
	"inner":      inner,
}

// usurp executes a program from another thread than the leader.
func usurp([]string) error {
	runtime.LockOSThread() // whichever thread this is, the other two are others
	failed := make(chan error)
	for range 2 {
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() != unix.Getpid() {
				failed <- syscall.Exec("/bin/true", []string{"true"}, nil)
			}
		}()
	}
	return <-failed
}

// connectMany connects n times to an address and hangs up at once.
func connectMany(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	addr, err := net.ResolveTCPAddr("tcp4", args[0])
	if err != nil {
		return err
	}
	sa := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		// A reset instead of TIME_WAIT, which would use up the local ports.
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return err
		}
		// A packet of the port's connection before may come after it where they are steered.
		if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ECONNRESET) {
			return err
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}

// steered connects n times to an address of a network namespace of its own, some
// at once, and has each packet handled by another CPU than the one that sent it:
// there it interrupts whatever runs.
func steered(args []string) error {
	atOnce, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil { // that of this network namespace
		return err
	}
	if err := os.WriteFile("/sys/class/net/lo/queues/rx-0/rps_cpus", fmt.Appendf(nil, "%x", 1<<runtime.NumCPU()-1), 0); err != nil {
		return err
	}
	if err := exec.Command("ip", "link", "set", "lo", "up").Run(); err != nil {
		return err
	}
	l, err := net.Listen("tcp4", args[0])
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1)) // until the other side has hung up
			c.Close()
		}
	}()
	errs := make(chan error)
	for range atOnce {
		go func() { errs <- connectMany(args) }()
	}
	for range atOnce {
		err = errors.Join(err, <-errs)
	}
	return err
}

// refused connects to a port where nobody listens.
func refused(args []string) error {
	if c, err := net.Dial("tcp", args[0]); err == nil {
		return c.Close()
	}
	return nil
}

// writeMany opens n files for writing, again and again.
func writeMany(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := range n {
		f, err := os.Create(filepath.Join(args[0], strconv.Itoa(i%1000)))
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// reuse makes files with names of their own in a folder, each in the place of
// the one before, writes to each again, and says how many inode numbers there
// were.
func reuse(args []string) error {
	numbers := map[uint64]bool{}
	for i := range 100 {
		name := filepath.Join(args[0], fmt.Sprintf("life-%d", i))
		for range 2 {
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			var st unix.Stat_t
			err = unix.Fstat(int(f.Fd()), &st)
			f.Close()
			if err != nil {
				return err
			}
			numbers[st.Ino] = true
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(args[0], "numbers"), []byte(strconv.Itoa(len(numbers))), 0o600)
}

// exchange sends 11 bytes, reads 3, and closes.
func exchange(args []string) error {
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello world"); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if string(b) != "abc" {
		return fmt.Errorf("read %q, %v", b, err)
	}
	return nil
}

// request connects, sends what its argument holds in hexadecimal, and reads.
func request(args []string) error {
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	first, err := hex.DecodeString(args[1])
	if err != nil {
		return err
	}
	if _, err := c.Write(first); err != nil {
		return err
	}
	_, err = io.ReadAll(c)
	return err
}

// grow makes n requests inside TLS, each in a goroutine of its own and from deeper
// in its stack than the one before: in some of them writing is what makes it grow.
func grow(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := tls.Dial("tcp", args[0], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for i := range n {
		wrote := make(chan error)
		text := fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		go func() { wrote <- deeper(c, text, i) }()
		if err := <-wrote; err != nil {
			return err
		}
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
	}
	return nil
}

//go:noinline
func deeper(c *tls.Conn, text []byte, levels int) error {
	if levels == 0 {
		_, err := c.Write(text)
		return err
	}
	return deeper(c, text, levels-1)
}

// question is a DNS question for the A record of a name.
func question(id uint16, name string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for l := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0, 0, 1, 0, 1)
}

// ask sends one DNS question to an address and waits for the answer.
func ask(args []string) error {
	c, err := net.Dial("udp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(question(7, args[1])); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Read(make([]byte, 512))
	return err
}

// datagrams sends n datagrams of 100 bytes to an address by sendto.
func datagrams(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer c.Close()
	addr, err := net.ResolveUDPAddr("udp", args[0])
	if err != nil {
		return err
	}
	for range n {
		if _, err := c.WriteTo(make([]byte, 100), addr); err != nil {
			return err
		}
	}
	return nil
}

// doFiles does one of each to files in a folder.
func doFiles(args []string) error {
	if err := os.Chdir(args[0]); err != nil {
		return err
	}
	f, err := os.OpenFile("new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, do := range []func() error{
		func() error { return f.Chmod(0o600) },
		func() error { return os.Mkdir("dir", 0o750) },
		func() error { return os.Rename("new", "dir/../renamed") },
		func() error { return unix.Chmod("renamed", 0o4755) },
		func() error { return os.Link("renamed", "hard") },
		func() error { return os.Symlink("../elsewhere", "soft") },
		func() error { return unix.Truncate("renamed", 0) },
		func() error { return os.Remove("hard") },
		func() error { return os.Remove("dir") },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

func readAll(paths []string) error {
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		_, _ = f.Read(make([]byte, 16))
		f.Close()
	}
	return nil
}

// opens opens and closes a file n times and says how long each took.
func opens(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	path, err := unix.BytePtrFromString(args[0])
	if err != nil {
		return err
	}
	at := unix.AT_FDCWD
	for range n {
		fd, _, e := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(path)), unix.O_RDONLY, 0, 0, 0)
		if e != 0 {
			return e
		}
		unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	}
	return nil
}

// threads runs many threads and is ended by a signal.
func threads([]string) error {
	for range 8 {
		go func() {
			runtime.LockOSThread()
			for {
				time.Sleep(time.Millisecond)
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	if err := unix.Kill(unix.Getpid(), unix.SIGTERM); err != nil {
		return err
	}
	select {} // until it arrives
}

// power does to the process args[0] and to the machine what the sensor tells.
func power(args []string) error {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	dir := args[1]
	runtime.LockOSThread()
	if err := syscall.PtraceAttach(pid); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
		return err
	}
	if err := syscall.PtraceDetach(pid); err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/" + args[0] + "/maps")
	if err != nil {
		return err
	}
	from, _, _ := bytes.Cut(maps, []byte("-"))
	addr, err := strconv.ParseUint(string(from), 16, 64)
	if err != nil {
		return err
	}
	b := make([]byte, 4)
	if _, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 4}}, []unix.RemoteIovec{{Base: uintptr(addr), Len: 4}}, 0); err != nil {
		return fmt.Errorf("process_vm_readv: %w", err)
	}
	_, _ = unix.ProcessVMWritev(pid, []unix.Iovec{{Base: &b[0], Len: 4}}, []unix.RemoteIovec{{Base: uintptr(addr), Len: 4}}, 0)
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	if fd, err := unix.PidfdGetfd(pidfd, 0, 0); err == nil {
		_ = unix.Close(fd)
	}
	if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
		return err
	}
	// bpf(BPF_PROG_GET_FD_BY_ID) of an id that is not there.
	attr := make([]byte, 64)
	binary.LittleEndian.PutUint32(attr, 1<<30)
	_, _, _ = unix.Syscall(unix.SYS_BPF, 13, uintptr(unsafe.Pointer(&attr[0])), 64)
	var params [120]byte
	if fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 2, uintptr(unsafe.Pointer(&params)), 0); e == 0 {
		_ = unix.Close(int(fd))
	}
	if c, err := net.Dial("unix", filepath.Join(dir, "sock")); err != nil {
		return err
	} else {
		c.Close()
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("posture", filepath.Join(dir, "mnt"), "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := unix.Unmount(filepath.Join(dir, "mnt"), 0); err != nil {
		return err
	}
	if fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err == nil {
		_ = unix.Close(fd)
	}
	if _, err := unix.Setsid(); err != nil {
		return err
	}
	return unix.Setresuid(65534, 65534, 65534)
}

// inner reads the memory of a child by its pid in its own pid namespace.
func inner([]string) error {
	child := exec.Command("/bin/cat", "-u")
	in, err := child.StdinPipe()
	if err != nil {
		return err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	// Start returns once the descriptors of the old image are closed, which
	// is before the kernel says that the new one runs: a kill in between ends
	// a process that never became it. Its answer comes from the new one.
	b := make([]byte, 4)
	if _, err := in.Write([]byte("here")); err != nil {
		return err
	}
	if _, err := io.ReadFull(out, b); err != nil {
		return err
	}
	// The address is nobody's; that it was tried is told.
	_, err = unix.ProcessVMReadv(child.Process.Pid, []unix.Iovec{{Base: &b[0], Len: 4}}, []unix.RemoteIovec{{Base: 16, Len: 4}}, 0)
	if err != unix.EFAULT {
		return fmt.Errorf("process_vm_readv: %w", err)
	}
	return nil
}

// elf is a program of machine code, loaded at elfBase.
func program(code []byte) []byte {
	const header = 64 + 56
	b := make([]byte, header, header+len(code))
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], 2)  // ET_EXEC
	le.PutUint16(b[18:], 62) // EM_X86_64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], elfBase+header)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	p := b[64:]
	le.PutUint32(p[0:], 1) // PT_LOAD
	le.PutUint32(p[4:], 7)
	le.PutUint64(p[16:], elfBase)
	le.PutUint64(p[24:], elfBase)
	le.PutUint64(p[32:], uint64(header+len(code)))
	le.PutUint64(p[40:], uint64(header+len(code)))
	le.PutUint64(p[48:], 0x1000)
	return append(b, code...)
}

const elfBase = 0x400000
