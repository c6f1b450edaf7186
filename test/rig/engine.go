package rig

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/edamame-posture/test/docker"
)

// Engine is Docker's daemon, for one test.
type Engine struct {
	*docker.Engine
	Host string // as DOCKER_HOST has it
}

// StartEngine starts one that other users may ask too, as those of the group
// docker may. Where that is not possible the test is skipped.
func StartEngine(t testing.TB) *Engine {
	t.Helper()
	e, err := docker.Start(false)
	if errors.Is(err, docker.ErrNone) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	for path, mode := range map[string]os.FileMode{filepath.Dir(e.Socket): 0o755, e.Socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	return &Engine{e, "unix://" + e.Socket}
}

// Import makes an image of BusyBox under some of its names, all in /bin, and of
// more files by their paths.
func (e *Engine) Import(t testing.TB, image string, names []string, more map[string][]byte) {
	t.Helper()
	err := e.Busybox(image, names, more)
	if errors.Is(err, docker.ErrNone) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}
