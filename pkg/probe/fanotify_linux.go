package probe

import (
	"fmt"

	"golang.org/x/sys/unix"
)

var fanotifyQuestion = question{"fanotify", "fanotify permission events", func() Result {
	if err := CanFanotify(); err != nil {
		return Result{
			Detail: err.Error(),
			Lost:   "the barrier that seals the record before a program takes root (evidence level E3)",
			Get:    "run it as root on a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS=y, 5.0 or later",
		}
	}
	return Result{OK: true, Detail: "an exec can be held until what led to it is sealed"}
}}

// CanFanotify returns nil where an exec can be held by fanotify(7). It tries
// on a file that only this process can reach.
func CanFanotify() error {
	fan, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fanotify_init: %w", err)
	}
	defer unix.Close(fan)
	file, err := unix.MemfdCreate("posture-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	defer unix.Close(file)
	if err := unix.FanotifyMark(fan, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, file, ""); err != nil {
		return fmt.Errorf("fanotify_mark(FAN_OPEN_EXEC_PERM): %w", err)
	}
	return nil
}
