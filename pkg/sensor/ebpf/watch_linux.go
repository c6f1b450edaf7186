package ebpf

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// resolveCached is RESOLVE_CACHED, include/uapi/linux/openat2.h: nothing is
// asked of a file system.
const resolveCached = 0x20

var _ sensor.Adopter = (*Sensor)(nil)

// Adopt has a file watched whatever name it is opened by. The programs see
// this process open it, and take note: the map is frozen for everybody else.
func (s *Sensor) Adopt(root int, path string, cached bool) (event.FileID, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
	if cached {
		how.Resolve = resolveCached
	}
	fd, err := unix.Openat2(root, path, &how)
	if err != nil {
		return event.FileID{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return event.FileID{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return event.FileID{}, errors.New("not a regular file")
	}
	return event.FileID{Dev: st.Dev, Inode: st.Ino}, nil
}
