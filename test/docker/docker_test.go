// Package docker builds the Dockerfile with a real engine, which it starts
// itself and which nobody else meets.
package docker

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine starts Docker's daemon with folders of its own, and returns how its
// client is started.
func engine(t *testing.T) func(stdin io.Reader, args ...string) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("an engine needs root: sudo -E go test ./test/docker")
	}
	for _, p := range []string{"dockerd", "containerd", "runc", "docker"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%v: apt-get install docker.io", err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "posture-docker-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	host := "unix://" + filepath.Join(dir, "s")
	var said bytes.Buffer
	// vfs works on every kernel; no bridge and no rules of iptables change the
	// machine's network.
	d := exec.Command("dockerd", "--host", host, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
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
	client := func(stdin io.Reader, args ...string) (string, error) {
		cmd := exec.Command("docker", args...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+host, "DOCKER_BUILDKIT=0", "DOCKER_CONFIG="+dir)
		cmd.Stdin = stdin
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err := client(nil, "version"); err == nil {
			return client
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

// base is an image's file system with BusyBox, and a go that hands out the
// program that was built here: what a container would build takes minutes, and
// needs a network.
func base(t *testing.T, program string) io.Reader {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skipf("%v: apt-get install busybox-static", err)
	}
	const stub = `#!/bin/sh
case "$*" in
"mod download") exit 0 ;;
"build -trimpath -ldflags -s -w -X main.version=9.8.7 -o /edamame-posture ./cmd/edamame-posture")
	[ "$CGO_ENABLED" = 0 ] && [ -f cmd/edamame-posture/main.go ] && [ -f go.sum ] && exec cp /built /edamame-posture ;;
esac
echo "go $*: not what this image has" >&2
exit 1
`
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for name, file := range map[string]string{"bin/busybox": busybox, "built": program} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		add(name, data)
	}
	add("usr/local/bin/go", []byte(stub))
	for _, name := range []string{"bin/sh", "bin/cp", "bin/["} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: "/bin/busybox", Mode: 0o777}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestTheImageIsBuiltAndSeesItsMachine(t *testing.T) {
	docker := engine(t)
	program := filepath.Join(t.TempDir(), "edamame-posture")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=9.8.7", "-o", program, "../../cmd/edamame-posture")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := docker(base(t, program), "import", "-", "posture-go:local"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := docker(nil, "build", "--network", "none", "--build-arg", "GO=posture-go:local", "--build-arg", "VERSION=9.8.7", "-t", "posture:test", "../.."); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	if out, err := docker(nil, "run", "--rm", "--network", "none", "posture:test", "version"); err != nil || !strings.HasPrefix(out, "edamame-posture 9.8.7\n") {
		t.Errorf("version: %v\n%s", err, out)
	}
	// As the Dockerfile says, it sees the machine's processes.
	out, err := docker(nil, "run", "--rm", "--privileged", "--pid=host", "--network=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro", "posture:test", "doctor")
	if strings.Contains(out, "unable to apply caps") {
		t.Skip("the image is built and runs, but this machine has not all capabilities, so no container of it can be privileged")
	}
	if err != nil || !strings.Contains(out, "ebpf") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}
