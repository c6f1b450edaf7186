package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/org/edamame-posture/pkg/sensor/ebpf"
)

// pinRoot is where a monitor that outlives its client leaves the map of who
// signalled it last, for whoever ends the recording: the BPF file system, as
// systemd mounts it. What is pinned there stays when the monitor is killed.
var pinRoot = "/sys/fs/bpf"

const pinPrefix = "edamame-posture-"

func pinOf(id string) string { return filepath.Join(pinRoot, pinPrefix+id) }

// pin leaves the memory of a detached recording. The error says why it cannot,
// and is no reason not to watch.
func (m *Monitor) pin(r *recording) error {
	s, ok := m.primary.(rememberer)
	if !ok {
		return fmt.Errorf("the %s sensor does not see signals", m.primary.Name())
	}
	if err := s.PinLastActs(pinOf(r.id)); err != nil {
		return err
	}
	r.pinned = true
	return nil
}

// Remembered returns how the monitor of a recording's folder ended, as far as
// it has left that behind, and takes that away. It needs root.
func Remembered(spool string) Death {
	const unknown = "who it was is not known: "
	id := filepath.Base(filepath.Clean(spool))
	if !isID(id) {
		return Death{Unknown: unknown + "its folder has another's name"}
	}
	path := pinOf(id)
	m, err := ebpf.OpenMemory(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Death{Unknown: unknown + "what remembers it is not in " + pinRoot}
	}
	if err != nil {
		return Death{Unknown: unknown + err.Error()}
	}
	defer os.Remove(path)
	defer m.Close()
	return deathIn(m)
}

// sweepPins removes what monitors left whose recordings are not there any more.
func sweepPins() {
	entries, err := os.ReadDir(pinRoot)
	if err != nil {
		return
	}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), pinPrefix)
		if !ok {
			continue
		}
		there := false
		for _, root := range spoolRoots {
			for _, dir := range []string{root, filepath.Join(root, jobsName)} {
				if _, err := os.Lstat(filepath.Join(dir, id)); err == nil {
					there = true
				}
			}
		}
		if !there {
			_ = os.Remove(pinOf(id))
		}
	}
}
