package probe

import "golang.org/x/sys/unix"

var kernelQuestion = question{"kernel", "Linux kernel", func() Result {
	release, err := KernelRelease()
	if err != nil {
		return Result{Detail: err.Error()}
	}
	return Result{OK: true, Detail: release}
}}

// KernelRelease returns what uname -r prints.
func KernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}
