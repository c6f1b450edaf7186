package ebpf

import (
	"errors"
	"fmt"
	"os"

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
