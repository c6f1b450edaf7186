package sigstore

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// timestamps is the one timestamp authority of this process: the program
// always takes port 2112 too, for its metrics, so that a machine has room for
// one. Rigs of a process share it, and other processes wait for their turn.
var timestamps struct {
	sync.Mutex
	users int
	url   string
	stop  func()
	lock  *os.File
}

func startTimestamps(t testing.TB, program string) string {
	t.Helper()
	s := &timestamps
	s.Lock()
	defer s.Unlock()
	if s.users == 0 {
		lock, err := os.OpenFile(filepath.Join(os.TempDir(), "edamame-posture-timestamps.lock"), os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatalf("waiting for another test's timestamp authority to end: %v", err)
		}
		s.url, s.stop = serve(t, "timestamp authority", "/ping", func(p []string) *exec.Cmd {
			return exec.Command(program, "serve", "--host=127.0.0.1", "--port="+p[0],
				"--timestamp-signer=memory", "--disable-ntp-monitoring")
		})
		s.lock = lock
	}
	s.users++
	t.Cleanup(func() {
		s.Lock()
		defer s.Unlock()
		if s.users--; s.users == 0 {
			s.stop()
			s.lock.Close() // and with it the lock
		}
	})
	return s.url
}
