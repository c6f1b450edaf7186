package probe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

var lockdownQuestion = question{"lockdown", "kernel lockdown below confidentiality", func() Result {
	mode, err := Lockdown()
	switch {
	case err != nil:
		return Result{OK: true, Detail: fmt.Sprintf("not known (%v)", err)}
	case mode == "confidentiality":
		return Result{
			Detail: mode,
			Lost:   "eBPF that reads kernel memory: only the netlink sensor is left",
			Get:    "boot with lockdown=integrity or none",
		}
	}
	return Result{OK: true, Detail: mode}
}}

// Lockdown returns the kernel's lockdown mode: none, integrity or
// confidentiality (kernel_lockdown(7)). It asks securityfs, through a mount of
// its own that nobody else can see where it is not mounted.
func Lockdown() (string, error) {
	b, err := os.ReadFile("/sys/kernel/security/lockdown")
	if errors.Is(err, fs.ErrNotExist) {
		b, err = readSecurityFS("lockdown")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "none", nil // built without CONFIG_SECURITY_LOCKDOWN_LSM, or switched off
	}
	if err != nil {
		return "", err
	}
	return parseLockdown(string(b))
}

// parseLockdown reads "none [integrity] confidentiality".
func parseLockdown(line string) (string, error) {
	_, rest, ok := strings.Cut(line, "[")
	mode, _, closed := strings.Cut(rest, "]")
	if !ok || !closed {
		return "", fmt.Errorf("/sys/kernel/security/lockdown is %q, where no mode is marked", line)
	}
	switch mode {
	case "none", "integrity", "confidentiality":
		return mode, nil
	}
	return "", fmt.Errorf("/sys/kernel/security/lockdown marks %q, a mode that is not known", mode)
}

// readSecurityFS reads a file of securityfs through a detached mount, fsopen(2).
func readSecurityFS(name string) ([]byte, error) {
	ctx, err := unix.Fsopen("securityfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("opening securityfs: %w", err)
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("making a view of securityfs: %w", err)
	}
	mount, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("making a view of securityfs: %w", err)
	}
	defer unix.Close(mount)
	fd, err := unix.Openat(mount, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("securityfs: %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4096))
}
