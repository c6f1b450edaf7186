//go:build !linux

package probe

import (
	"errors"
	"runtime"
)

var errNotLinux = errors.New("the monitor watches Linux only, and this is " + runtime.GOOS +
	": replay, verify and gate work here, run does not")

var questions = []question{{"kernel", "Linux kernel", func() Result {
	return Result{Detail: runtime.GOOS, Lost: "watching; evidence from other machines can still be replayed", Get: "run it on Linux"}
}}}

// CanEBPF returns why the eBPF sensor cannot be used.
func CanEBPF() error { return errNotLinux }

// CanNetlink returns why the netlink sensor cannot be used.
func CanNetlink() error { return errNotLinux }

// CgroupRoot returns where the cgroup v2 hierarchy is mounted.
func CgroupRoot() (string, error) { return "", errNotLinux }

// OldCgroupRoot returns where a hierarchy of cgroup v1 is mounted.
func OldCgroupRoot() (controller, root string, err error) { return "", "", errNotLinux }

// ReadClock reads the clocks of this machine.
func ReadClock() (Clock, error) { return Clock{}, errNotLinux }
