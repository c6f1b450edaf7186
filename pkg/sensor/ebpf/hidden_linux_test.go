package ebpf

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// What is done in ways that hide the name, the opener or the maker.

func init() {
	roles["chat"] = chat
	roles["packets"] = packets
	roles["take"] = take
	roles["denied"] = denied
	roles["uring-connect"] = uringConnect
	roles["roots"] = roots
	roles["kill"] = func(a []string) error {
		pid, err := strconv.Atoi(a[0])
		if err != nil {
			return err
		}
		return unix.Kill(pid, unix.SIGTERM)
	}
}

func adopt(t *testing.T, s *Sensor, path string) event.FileID {
	t.Helper()
	id, err := s.Adopt(unix.AT_FDCWD, path, false)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAFileOnTheListIsFoundByAnyName(t *testing.T) {
	s, rec := arm(t, Options{Watch: sensor.Watch{Names: []string{"credentials"}}}, nil)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, n := range []string{"credentials", "other"} {
		if err := os.WriteFile(in(n), []byte("canary"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := adopt(t, s, in("credentials"))
	if err := os.Link(in("credentials"), in("hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("hard", in("soft")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in("sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("sub/bound"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(in("credentials"), in("sub/bound"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(in("sub/bound"), unix.MNT_DETACH)
	pid, _ := perform(t, "read", in("soft"), in("other"), in("sub/bound"))
	if err := os.Rename(in("credentials"), in("innocent")); err != nil {
		t.Fatal(err)
	}
	later, _ := perform(t, "read", in("innocent"))
	drain(t, s)
	var got []string
	for _, r := range rec.find(func(r *sensor.Record) bool {
		return r.Kind == event.Open && (r.PID == pid || r.PID == later) && strings.HasPrefix(string(r.Path), dir)
	}) {
		got = append(got, strings.TrimPrefix(string(r.Path), dir+"/"))
		if !r.Watched || r.File != id {
			t.Errorf("%q: watched %v, file %+v, want %+v", r.Path, r.Watched, r.File, id)
		}
	}
	// The kernel folds by file and access: the bind mount is the same file as
	// the hard link, opened by the same image.
	if want := "hard innocent"; strings.Join(got, " ") != want {
		t.Errorf("seen %q, want %q", got, want)
	}
}

func TestAFileMadeUnderAWatchedNameIsKnownByItsHardLink(t *testing.T) {
	s, rec := arm(t, Options{Watch: sensor.Watch{Names: []string{"credentials"}}}, nil)
	dir := t.TempDir()
	pid, _ := perform(t, "make-link-read", filepath.Join(dir, "credentials"), filepath.Join(dir, "x"))
	drain(t, s)
	r := rec.only(t, "read of the link", func(r *sensor.Record) bool {
		return r.Kind == event.Open && r.PID == pid && string(r.Path) == filepath.Join(dir, "x")
	})
	if !r.Watched || !r.ByInode {
		t.Errorf("%+v", r)
	}
}

func init() {
	roles["make-link-read"] = func(a []string) error {
		if err := os.WriteFile(a[0], []byte("canary"), 0o600); err != nil {
			return err
		}
		if err := os.Link(a[0], a[1]); err != nil {
			return err
		}
		_, err := os.ReadFile(a[1])
		return err
	}
}

func TestNobodyElseCanPutAFileOnTheList(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	m := s.l.coll.Maps["watched_inodes"]
	if err := m.Put(make([]byte, 16), uint8(1)); err == nil {
		t.Error("the list can be written from user space")
	}
}

// chat connects, sends 100 bytes, and goes on when it is told to.
func chat(args []string) error {
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(os.Stdin)
	for range 2 {
		if _, err := c.Write(make([]byte, 100)); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			return err
		}
		fmt.Println("said")
		if _, err := in.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

func TestAConnectionThatGoesOnTellsWhatItHasCarried(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	over := make(chan struct{})
	addr := serve(t, "tcp4", "127.0.0.1:0", func(c net.Conn) {
		for {
			if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
				c.Close()
				close(over)
				return
			}
			_, _ = io.WriteString(c, "hello")
		}
	})
	cmd := as("chat", addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, said := uint32(cmd.Process.Pid), bufio.NewReader(out)
	dst := netip.MustParseAddrPort(addr)
	for i := range uint64(2) {
		if _, err := said.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		drain(t, s)
		drain(t, s) // nothing has changed since: nothing more is told
		flows := rec.find(func(r *sensor.Record) bool { return r.Kind == event.Flow && r.PID == pid && r.Dst == dst })
		if n := uint64(len(flows)); n != i+1 {
			t.Fatalf("%d flows after %d exchanges: %+v", n, i+1, flows)
		}
		if f := flows[i]; f.OK || f.Sent != (i+1)*100 || f.Received != (i+1)*5 || f.Sock == 0 {
			t.Errorf("flow %+v", f)
		}
		fmt.Fprintln(in)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	<-over // the end is when the other side has hung up too
	drain(t, s)
	end := rec.only(t, "end", func(r *sensor.Record) bool { return r.Kind == event.Flow && r.PID == pid && r.Dst == dst && r.OK })
	if end.Sent != 200 || end.Received != 10 {
		t.Errorf("end %+v", end)
	}
}

// packets sends frames by packet sockets on the loopback, past the queueing
// discipline too (packet(7), PACKET_QDISC_BYPASS).
func packets([]string) error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	for _, bypass := range []int{0, 1} {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		const qdiscBypass = 20
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, qdiscBypass, bypass); err != nil {
			return err
		}
		for range 3 {
			if err := unix.Sendto(fd, make([]byte, 60), 0, &unix.SockaddrLinklayer{Ifindex: lo.Index, Protocol: 0xffff, Halen: 6}); err != nil {
				return err
			}
		}
		unix.Close(fd)
	}
	return nil
}

func TestWhatPacketSocketsSendIsCounted(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	if s.l.coll.Programs["on_send_length"] == nil {
		t.Skip("this kernel has no tracepoint sock_send_length")
	}
	pid, _ := perform(t, "packets")
	drain(t, s)
	var sent, count uint64
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.PID == pid && r.Kind == event.Packet && r.Sent > 0 }) {
		sent, count = sent+r.Sent, count+r.Count
		if r.Proto != event.ProtoPacket || r.Dst.IsValid() {
			t.Errorf("%+v", r)
		}
	}
	if sent != 360 || count != 6 {
		t.Errorf("%d bytes in %d packets, want 360 in 6", sent, count)
	}
}

// take receives descriptors over a Unix socket, credentials before them, and
// uses them.
func take(args []string) error {
	c, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	f, err := c.(*net.UnixConn).File()
	if err != nil {
		return err
	}
	fd := int(f.Fd())
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil { // the other side may send now
		return err
	}
	buf, oob := make([]byte, 1), make([]byte, 256)
	_, n, _, _, err := unix.Recvmsg(fd, buf, oob, 0)
	if err != nil {
		return err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return err
		}
		if len(fds) != 2 {
			return fmt.Errorf("%d descriptors came", len(fds))
		}
		if _, err := unix.Write(fds[0], []byte("hello world")); err != nil {
			return err
		}
		if _, err := unix.Read(fds[1], buf); err != nil {
			return err
		}
		unix.Close(fds[0])
		return nil
	}
	return fmt.Errorf("no descriptors in %d messages", len(msgs))
}

func TestDescriptorsThatCameOverAUnixSocketAreTheTakers(t *testing.T) {
	s, rec := arm(t, Options{Watch: sensor.Watch{Names: []string{"credentials"}}}, nil)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "credentials"), []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	read, done := make(chan string, 1), make(chan struct{})
	addr := serve(t, "tcp4", "127.0.0.1:0", func(c net.Conn) {
		b, _ := io.ReadAll(c)
		read <- string(b)
		c.Close()
	})
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		defer close(done)
		u, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer u.Close()
		_, _ = u.Read(make([]byte, 1))
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		cf, _ := c.(*net.TCPConn).File()
		f, _ := os.Open(filepath.Join(dir, "credentials"))
		_, _, _ = u.WriteMsgUnix([]byte("x"), unix.UnixRights(int(cf.Fd()), int(f.Fd())), nil)
		cf.Close()
		f.Close()
		c.Close()
	}()
	pid, _ := perform(t, "take", l.Addr().String())
	<-done
	if got := <-read; got != "hello world" {
		t.Fatalf("%q was sent", got)
	}
	drain(t, s)
	conn := rec.only(t, "connection", func(r *sensor.Record) bool { return r.Kind == event.Connect && r.PID == pid })
	if !conn.Passed || conn.Dst.String() != addr || conn.Sock == 0 {
		t.Errorf("%+v", conn)
	}
	end := rec.only(t, "end", func(r *sensor.Record) bool { return r.Kind == event.Flow && r.Sock == conn.Sock && r.OK })
	if end.PID != pid || end.Sent != 11 {
		t.Errorf("%+v", end)
	}
	file := rec.only(t, "file", func(r *sensor.Record) bool { return r.Kind == event.Open && r.PID == pid && r.Watched })
	if string(file.Path) != filepath.Join(dir, "credentials") {
		t.Errorf("%+v", file)
	}
}

func TestAConnectionOfBeforeThatIsHandedOverIsTheTakers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	addr := serve(t, "tcp4", "127.0.0.1:0", func(c net.Conn) {
		b, _ := io.ReadAll(c)
		read <- string(b)
		c.Close()
	})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	s, rec := arm(t, Options{}, nil)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		u, err := l.AcceptUnix()
		if err != nil {
			done <- err
			return
		}
		defer u.Close()
		_, _ = u.Read(make([]byte, 1))
		f, err := os.Open(filepath.Join(dir, "file"))
		if err == nil {
			_, _, err = u.WriteMsgUnix([]byte("x"), unix.UnixRights(int(cf.Fd()), int(f.Fd())), nil)
			f.Close()
		}
		cf.Close()
		done <- err
	}()
	pid, _ := perform(t, "take", l.Addr().String())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "hello world" {
		t.Fatalf("%q was sent", got)
	}
	drain(t, s)
	conn := rec.only(t, "connection", func(r *sensor.Record) bool { return r.Kind == event.Connect && r.PID == pid })
	if !conn.Passed || conn.Dst.String() != addr {
		t.Errorf("%+v", conn)
	}
	if conn.Sock != 0 {
		t.Log("something on this machine has asked for the socket's cookie, which makes it easier")
	}
	end := rec.only(t, "end", func(r *sensor.Record) bool { return r.Kind == event.Flow && r.Dst.String() == addr && r.OK })
	if end.PID != pid || end.Sent != 11 {
		t.Errorf("%+v", end)
	}
}

// denied gives up its user and opens what it may not.
func denied(args []string) error {
	if err := syscall.Setgid(65534); err != nil {
		return err
	}
	if err := syscall.Setuid(65534); err != nil {
		return err
	}
	for _, a := range args {
		if f, err := os.Open(a); err == nil {
			f.Close()
			return fmt.Errorf("%s was opened", a)
		}
	}
	return nil
}

func TestAnOpenThatWasRefusedIsToldAsSuch(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	mem := fmt.Sprintf("/proc/%d/mem", os.Getpid())
	pid, _ := perform(t, "denied", mem)
	drain(t, s)
	r := rec.only(t, "open", func(r *sensor.Record) bool { return r.Kind == event.Open && r.PID == pid && string(r.Path) == mem })
	if r.Err != int(unix.EACCES) || !r.Watched || r.Access != event.Read || r.UID != 65534 {
		t.Errorf("%+v", r)
	}
}

func uringConnect(args []string) error {
	u, err := newURing()
	if err != nil {
		return err
	}
	for _, name := range args {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		sa := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
		for i := range len(name) {
			sa.Path[i] = int8(name[i])
		}
		if name[0] == '@' {
			sa.Path[0] = 0
		}
		// IORING_OP_CONNECT: the length stands in off.
		res, err := u.do(16, int32(fd), uintptr(unsafe.Pointer(&sa)), uintptr(2+len(name)), 0, 0)
		if err != nil {
			return err
		}
		if res < 0 {
			return fmt.Errorf("connecting to %s: %w", name, unix.Errno(-res))
		}
		unix.Close(fd)
	}
	return nil
}

func TestAUnixConnectByIOURingIsTold(t *testing.T) {
	if u, err := newURing(); err != nil {
		t.Skipf("io_uring: %v", err)
	} else {
		_ = unix.Close(u.fd)
	}
	s, rec := arm(t, Options{}, nil)
	names := []string{filepath.Join(t.TempDir(), "docker.sock"), fmt.Sprintf("@posture-test-%d", os.Getpid())}
	for _, n := range names {
		l, err := net.Listen("unix", n)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	pid, _ := perform(t, "uring-connect", names...)
	drain(t, s)
	for _, n := range names {
		rec.only(t, "connect to "+n, func(r *sensor.Record) bool { return r.Kind == event.Unix && r.PID == pid && string(r.Path) == n })
	}
}

// roots takes another root.
func roots(args []string) error {
	if err := os.Chdir(args[0]); err != nil {
		return err
	}
	return unix.Chroot(".")
}

func TestAnotherRootIsTold(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	dir := t.TempDir()
	pid, _ := perform(t, "roots", dir)
	drain(t, s)
	r := rec.only(t, "chroot", func(r *sensor.Record) bool { return r.Kind == event.Mount && r.PID == pid })
	if r.Op != event.OpOther {
		t.Errorf("%+v", r)
	}
}

func TestWhoTriedToEndTheMonitorIsRemembered(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGTERM)
	defer signal.Stop(got)
	pid, _ := perform(t, "kill", strconv.Itoa(os.Getpid()))
	<-got
	fd, err := s.LastActs()
	if err != nil {
		t.Fatal(err)
	}
	m, err := MapMemory(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := s.Close(); err != nil { // the mapping outlives what made the map
		t.Fatal(err)
	}
	a, ok, err := m.Last()
	if err != nil || !ok {
		t.Fatalf("nobody is remembered: %v", err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if a.Time == 0 || a.Start == 0 || a.PID != pid || a.Signal != int(unix.SIGTERM) || string(a.Exe) != exe || len(a.Comm) == 0 {
		t.Errorf("%+v, want process %d of %s", a, pid, exe)
	}
	if len(a.Above) == 0 || a.Above[0].PID != uint32(os.Getpid()) || a.Above[0].Start == 0 {
		t.Errorf("its parent is %+v, want %d", a.Above, os.Getpid())
	}
}

func TestTheMemoryOfWhoSignalledCannotBeWritten(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	fd, err := s.LastActs()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		t.Error("it was mapped for writing")
	}
	m, err := MapMemory(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, ok, err := m.Last(); ok || err != nil {
		t.Errorf("somebody is remembered before anybody did anything, %v", err)
	}
	if err := unix.Mprotect(m.page, unix.PROT_READ|unix.PROT_WRITE); err == nil {
		t.Error("the mapping was made writable")
	}
}

func init() {
	roles["read-often"] = func(a []string) error {
		n, err := strconv.Atoi(a[1])
		for range n {
			if _, err := os.ReadFile(a[0]); err != nil {
				return err
			}
		}
		return err
	}
}

func TestEveryOpenOfAWatchedFileIsCounted(t *testing.T) {
	s, rec := arm(t, Options{Watch: sensor.Watch{Names: []string{"credentials"}}}, nil)
	path := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(path, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	const n = 5000
	pid, _ := perform(t, "read-often", path, strconv.Itoa(n))
	drain(t, s)
	var count uint64
	named := 0
	for _, r := range rec.find(func(r *sensor.Record) bool {
		return r.Kind == event.Open && r.PID == pid && r.Watched && r.Access == event.Read
	}) {
		count += max(r.Count, 1)
		if string(r.Path) == path {
			named++
		}
		if r.File.Inode == 0 {
			t.Errorf("%+v", r)
		}
	}
	if count != n || named == 0 {
		t.Errorf("%d opens are told, %d of them with the name, want %d", count, named, n)
	}
}
