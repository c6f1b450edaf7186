package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

var namespaces atomic.Uint32

// netns makes a network namespace of the test's own, with nothing but
// loopback, so that no test traffic leaves the machine. It returns its name for
// `ip netns exec` and a function that listens inside it.
func netns(t *testing.T) (name string, listen func(network, addr string) net.Listener) {
	t.Helper()
	need(t, "ip")
	name = fmt.Sprintf("posture-e2e-%d-%d", os.Getpid(), namespaces.Add(1))
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "delete", name) })
	ip("-n", name, "link", "set", "lo", "up")
	// A second address of the namespace's own stands for the rest of the world.
	ip("-n", name, "addr", "add", "198.51.100.7/32", "dev", "lo")
	return name, func(network, addr string) net.Listener {
		t.Helper()
		var l net.Listener
		err := inNetns(name, func() (err error) {
			l, err = net.Listen(network, addr)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
}

// inNetns runs f on a thread that is in the namespace and ends with it.
func inNetns(name string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// serve answers every request with body, and counts.
func serve(t *testing.T, l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
}
