package rig

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Engine is Docker's daemon with folders of its own, which nobody else meets.
type Engine struct {
	Host string // as DOCKER_HOST has it
	dir  string
}

// StartEngine starts one for a test, which is skipped where that is not possible.
func StartEngine(t testing.TB) *Engine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("an engine needs root")
	}
	for _, p := range []string{"dockerd", "containerd", "runc", "docker"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%v: apt-get install docker.io", err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "posture-docker-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "docker.sock")
	e := &Engine{Host: "unix://" + socket, dir: dir}
	var said bytes.Buffer
	// vfs works on every kernel; no bridge and no rules of iptables change the
	// machine's network.
	d := exec.Command("dockerd", "--host", e.Host, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false")
	d.Stdout, d.Stderr = &said, &said
	d.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = d.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = d.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = d.Process.Kill()
			<-ended
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err := e.Docker(nil, "version"); err == nil {
			// Other users may ask it too, as those of the group docker may.
			if err := os.Chmod(socket, 0o666); err != nil {
				t.Fatal(err)
			}
			return e
		}
		stopped := false
		select {
		case <-ended:
			stopped = true
		default:
		}
		if stopped {
			t.Skipf("the engine does not run on this kernel: %.2000s", said.String())
		}
		if time.Now().After(end) {
			t.Fatal("the engine does not answer")
		}
	}
}

// Docker runs the engine's client and returns what it printed.
func (e *Engine) Docker(stdin io.Reader, args ...string) (string, error) {
	cmd := exec.Command("docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.Host, "DOCKER_BUILDKIT=0", "DOCKER_CONFIG="+e.dir)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Import makes an image of BusyBox under some of its names, all in /bin, and of
// more files by their paths.
func (e *Engine) Import(t testing.TB, image string, names []string, more map[string][]byte) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skipf("%v: apt-get install busybox-static", err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	add(&tar.Header{Name: "bin/busybox", Mode: 0o755}, program)
	for _, n := range names {
		add(&tar.Header{Name: "bin/" + n, Typeflag: tar.TypeSymlink, Linkname: "/bin/busybox", Mode: 0o777}, nil)
	}
	for name, data := range more {
		add(&tar.Header{Name: name, Mode: 0o755}, data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := e.Docker(&b, "import", "-", image); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
}
