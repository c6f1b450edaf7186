// Package docker starts a real engine for tests, which nobody else meets.
package docker

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ErrNone says that no engine can be started here, with why.
var ErrNone = errors.New("no engine here")

// Engine is Docker's daemon with folders of its own.
type Engine struct {
	// Socket is where it listens.
	Socket string

	dir    string
	daemon *exec.Cmd
	ended  chan struct{}
	said   said
}

// said is what the daemon says, while it may still say more.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Start starts an engine. With networks it has a network namespace of its own,
// in which it makes bridges; without, its containers have no network. In neither
// case the machine's own network changes.
func Start(networks bool) (*Engine, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: it needs root", ErrNone)
	}
	for _, p := range []string{"dockerd", "containerd", "runc", "docker"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("%w: %w: apt-get install docker.io", ErrNone, err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "posture-docker-")
	if err != nil {
		return nil, err
	}
	e := &Engine{Socket: filepath.Join(dir, "docker.sock"), dir: dir, ended: make(chan struct{})}
	// vfs works on every kernel.
	args := []string{"dockerd", "--host", "unix://" + e.Socket, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--storage-driver", "vfs", "--iptables=false", "--ip6tables=false"}
	spaces := uintptr(syscall.CLONE_NEWNS)
	if networks {
		spaces |= syscall.CLONE_NEWNET
		args = append([]string{"sh", "-c", `ip link set lo up && exec "$0" "$@"`}, args...)
	} else {
		args = append(args, "--bridge", "none")
	}
	e.daemon = exec.Command(args[0], args[1:]...)
	e.daemon.Stdout, e.daemon.Stderr = &e.said, &e.said
	e.daemon.SysProcAttr = &syscall.SysProcAttr{Unshareflags: spaces, Pdeathsig: syscall.SIGTERM}
	if err := e.daemon.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	go func() { _ = e.daemon.Wait(); close(e.ended) }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err := e.Docker(nil, "version"); err == nil {
			return e, nil
		}
		select {
		case <-e.ended:
			e.Stop()
			return nil, fmt.Errorf("%w: it does not run on this kernel: %.2000s", ErrNone, e.said.String())
		default:
		}
		if time.Now().After(end) {
			e.Stop()
			return nil, fmt.Errorf("the engine does not answer: %.2000s", e.said.String())
		}
	}
}

// Stop ends the engine and removes what it had.
func (e *Engine) Stop() {
	_ = e.daemon.Process.Signal(syscall.SIGTERM)
	select {
	case <-e.ended:
	case <-time.After(20 * time.Second):
		_ = e.daemon.Process.Kill()
		<-e.ended
	}
	_ = os.RemoveAll(e.dir)
}

// Command is a client of the engine's, not started yet.
func (e *Engine) Command(args ...string) *exec.Cmd {
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), e.Env()...)
	return cmd
}

// Env is the environment of its clients.
func (e *Engine) Env() []string {
	return []string{"DOCKER_HOST=unix://" + e.Socket, "DOCKER_BUILDKIT=0", "DOCKER_CONFIG=" + e.dir}
}

// Docker runs a client, and returns what it said.
func (e *Engine) Docker(stdin io.Reader, args ...string) (string, error) {
	cmd := e.Command(args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Busybox makes an image of BusyBox alone, with links for these programs. files
// are put beside it, by their paths: they can be executed.
func (e *Engine) Busybox(image string, programs []string, files map[string][]byte) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w: %w: apt-get install busybox-static", ErrNone, err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) error {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))})
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	}
	err = add("bin/busybox", program)
	for name, data := range files {
		err = errors.Join(err, add(name, data))
	}
	for _, name := range programs {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "/bin/busybox", Mode: 0o777}))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	if out, err := e.Docker(&b, "import", "-", image); err != nil {
		return fmt.Errorf("docker import: %w\n%s", err, out)
	}
	return nil
}
