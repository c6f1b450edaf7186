package ebpf

import (
	"errors"
	"fmt"
	"os"

	bpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// LastActs returns a descriptor of the map that remembers who signalled the
// monitor last, for a process that may outlive it. It is the sensor's own, and
// valid until Close.
func (s *Sensor) LastActs() (fd int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader == nil {
		return -1, errNotRunning
	}
	if s.l.coll.Programs["on_signal"] == nil {
		return -1, errors.New("this kernel shows no signals to the programs")
	}
	return s.l.coll.Maps["last_acts"].FD(), nil
}

// PinLastActs gives the map of LastActs a name in a BPF file system, by which it
// stays when this process is gone, until the name is removed.
func (s *Sensor) PinLastActs(path string) error {
	if _, err := s.LastActs(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader == nil {
		return errNotRunning
	}
	m, err := s.l.coll.Maps["last_acts"].Clone() // the sensor's own must not be unpinned with it
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Pin(path); err != nil {
		return fmt.Errorf("leaving the memory of who signalled the monitor: %w", err)
	}
	return nil
}

// OpenMemory maps what PinLastActs left at path. A map that is not such a one,
// or that somebody could have written, is refused.
func OpenMemory(path string) (*Memory, error) {
	// Not as read-only: the kernel maps no map that was opened so (do_mmap takes
	// VM_SHARED from a file that cannot be written).
	m, err := bpf.LoadPinnedMap(path, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the memory of who signalled the monitor: %w", err)
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return nil, fmt.Errorf("opening the memory of who signalled the monitor: %w", err)
	}
	if info.Type != bpf.Array || info.ValueSize != lastSize || info.MaxEntries != 1 || !info.Frozen() {
		return nil, fmt.Errorf("%s is not what a monitor leaves", path)
	}
	return MapMemory(m.FD())
}

// Memory is the map of LastActs as another process sees it. It stays readable
// when the monitor is gone.
type Memory struct{ page []byte }

// MapMemory maps what a descriptor of LastActs leads to, for reading alone. The
// descriptor may be closed after. The map is frozen: nobody can write it.
func MapMemory(fd int) (*Memory, error) {
	page, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping the memory of who signalled the monitor: %w", err)
	}
	return &Memory{page}, nil
}

// Last returns who sent the last signal. ok is false where nobody did.
func (m *Memory) Last() (a LastAct, ok bool, err error) { return decodeLastAct(m.page) }

// Close takes the mapping away.
func (m *Memory) Close() error {
	page := m.page
	m.page = nil
	return unix.Munmap(page)
}
