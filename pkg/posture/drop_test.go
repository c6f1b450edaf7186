package posture

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func FuzzACL(f *testing.F) {
	f.Add(encodeACL(without([]aclEntry{{aclUserObj, 6, aclNoID}, {aclGroupObj, 6, aclNoID}, {aclOther, 0, aclNoID}}, 1001)), uint32(1001))
	f.Fuzz(func(t *testing.T, b []byte, uid uint32) {
		list, err := parseACL(b)
		if err != nil {
			return
		}
		if got := string(encodeACL(list)); b != nil && got != string(b) {
			t.Errorf("%x is written as %x", b, got)
		}
		if !bars(without(list, uid), uid) {
			t.Errorf("%x does not keep out %d", b, uid)
		}
	})
}

// connects reports whether a user with one group may connect to a socket.
func connects(t *testing.T, path string, uid, gid uintptr) bool {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		// The thread ends with this function: nothing else runs as that user.
		runtime.LockOSThread()
		for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS}, {unix.SYS_SETRESGID, gid, gid, gid}, {unix.SYS_SETRESUID, uid, uid, uid}} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				result <- errno
				return
			}
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
			unix.Close(fd)
		}
		result <- err
	}()
	err := <-result
	if err != nil && !errors.Is(err, unix.EACCES) {
		t.Fatal(err)
	}
	return err == nil
}

// The kernel itself says who may connect: a member of the socket's group may
// until it is closed to the one user, and again when that is taken back.
func TestASocketIsClosedToOneUserAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/dev/shm", "posture-drop-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, err := range []error{os.Chmod(dir, 0o755), os.Chown(path, 0, 4243), os.Chmod(path, 0o660)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	may := func(uid uintptr) bool { return connects(t, path, uid, 4243) }
	if !may(4242) {
		t.Fatal("a member of the group may not connect before")
	}
	was, err := closeTo(path, 4242)
	if errors.Is(err, unix.ENOTSUP) {
		t.Skip("this file system has no access lists")
	}
	if err != nil || was != nil {
		t.Fatalf("it had the list %x: %v", was, err)
	}
	if may(4242) || !may(4244) {
		t.Errorf("the user may connect: %v; another of the group may: %v", may(4242), may(4244))
	}
	d := Dropped{acls: map[string][]byte{path: was}}
	if err := d.Restore(); err != nil || !may(4242) {
		t.Errorf("given back: %v, may connect: %v", err, may(4242))
	}
}
