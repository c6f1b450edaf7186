package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sealedName is what the monitor's program is called in /proc/PID/exe.
const sealedName = "edamame-posture"

// seals are those that nobody can take off again, root neither: fcntl(2).
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// unsealed says why the monitor runs from a file; nil where it does not.
var unsealed error

// sealMonitor starts the monitor again from a sealed copy of its program in
// memory: the file may lie where the job can write, and pages of a program
// that runs come from its file. It is called before anything else, since what
// was set up is lost, and returns only where the program is sealed, is no
// monitor, or cannot be sealed.
func sealMonitor() {
	service := len(os.Args) > 2 && os.Args[1] == "service" && os.Args[2] == "run"
	if !service && (len(os.Args) < 2 || os.Args[1] != "monitor" || slices.Contains(os.Args, "--leave")) {
		return
	}
	if err := execSealed(); err != nil {
		unsealed = fmt.Errorf("it runs from its file: %w", err)
	}
}

// execSealed returns nil in a program that is sealed already.
func execSealed() error {
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer file.Close()
	if have, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0); err == nil && have&seals == seals {
		// By the file's name, or ps shows the number of a descriptor.
		_ = os.WriteFile("/proc/self/comm", []byte(sealedName), 0)
		return nil
	}
	if exe, err := os.Readlink("/proc/self/exe"); err == nil && strings.HasPrefix(exe, "/memfd:") {
		return errors.New("the copy in memory is not sealed") // else it would start itself for ever
	}
	sealed, err := sealedCopy(file)
	if err != nil {
		return err
	}
	defer sealed.Close()
	err = unix.Exec("/proc/self/fd/"+strconv.Itoa(int(sealed.Fd())), os.Args, os.Environ())
	return fmt.Errorf("starting the sealed copy: %w", err)
}

// sealedProgram is what `run` and `start` start the monitor from where they are
// root: the sealed copy at once, which saves starting the program twice. It is
// nil where they are not, or where it cannot be made: the monitor then sees to
// it itself, or says why not.
func sealedProgram() *os.File {
	if os.Geteuid() != 0 {
		return nil
	}
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil
	}
	defer file.Close()
	sealed, err := sealedCopy(file)
	if err != nil {
		return nil
	}
	return sealed
}

// sealedCopy copies a program into memory and seals it.
func sealedCopy(file *os.File) (*os.File, error) {
	fd, err := unix.MemfdCreate(sealedName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before 6.3
		fd, err = unix.MemfdCreate(sealedName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	sealed := os.NewFile(uintptr(fd), sealedName)
	if err := copyWhole(sealed, file); err != nil {
		sealed.Close()
		return nil, fmt.Errorf("copying it into memory: %w", err)
	}
	if _, err := unix.FcntlInt(sealed.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		sealed.Close()
		return nil, fmt.Errorf("sealing the copy: %w", err)
	}
	return sealed, nil
}

// copyWhole writes all of a program into its copy. Nobody can change the file
// meanwhile: what is executed cannot be opened for writing (ETXTBSY). The kernel
// copies from the file's pages: mapped here they would be faulted in one by one,
// which takes three times as long, and in a private mapping hold the breakpoints
// of another monitor's uprobes.
func copyWhole(to, from *os.File) error {
	st, err := from.Stat()
	if err != nil {
		return err
	}
	for left := st.Size(); left > 0; {
		n, err := unix.Sendfile(int(to.Fd()), int(from.Fd()), nil, int(min(left, 1<<30)))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		left -= int64(n)
	}
	return nil
}
