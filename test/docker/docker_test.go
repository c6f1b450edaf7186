package docker_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/test/docker"
)

// engine starts an engine for one test.
func engine(t *testing.T, networks bool) *docker.Engine {
	t.Helper()
	e, err := docker.Start(networks)
	if errors.Is(err, docker.ErrNone) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

// base makes an image with BusyBox, and a go that hands out the program that
// was built here: what a container would build takes minutes, and needs a
// network.
func base(t *testing.T, e *docker.Engine, program string) {
	t.Helper()
	const stub = `#!/bin/sh
case "$*" in
"mod download") exit 0 ;;
"build -trimpath -ldflags -s -w -X main.version=9.8.7 -o /edamame-posture ./cmd/edamame-posture")
	[ "$CGO_ENABLED" = 0 ] && [ -f cmd/edamame-posture/main.go ] && [ -f go.sum ] && exec cp /built /edamame-posture ;;
esac
echo "go $*: not what this image has" >&2
exit 1
`
	built, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	err = e.Busybox("posture-go:local", []string{"sh", "cp", "["}, map[string][]byte{"built": built, "usr/local/bin/go": []byte(stub)})
	if errors.Is(err, docker.ErrNone) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

func TestTheImageIsBuiltAndSeesItsMachine(t *testing.T) {
	e := engine(t, false)
	docker := e.Docker
	program := filepath.Join(t.TempDir(), "edamame-posture")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=9.8.7", "-o", program, "../../cmd/edamame-posture")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	base(t, e, program)
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
