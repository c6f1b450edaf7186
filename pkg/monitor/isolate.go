package monitor

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openFiles is how many files a monitor may open: maps, programs, links, rings
// and one namespace's socket each.
const openFiles = 4096

// Isolate takes a process that is to be a monitor out of what it inherited
// from the caller's shell: limits, umask, open files, the working directory.
// It is called first thing, and none of it is worth failing for: what is then
// missing is told where it is needed.
func Isolate() {
	unix.Umask(0o022)
	// What is in its memory is nobody's to read: not in a core file, and by
	// nobody without power over every process (ptrace(2), PR_SET_DUMPABLE).
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	for _, what := range []int{unix.RLIMIT_FSIZE, unix.RLIMIT_CPU, unix.RLIMIT_NPROC, unix.RLIMIT_AS, unix.RLIMIT_DATA} {
		_ = unix.Setrlimit(what, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil && files.Cur < openFiles {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: openFiles, Max: max(files.Max, openFiles)})
	}
	// A pipe or lock of the caller's must not live on in us. Ours are closed
	// on exec, and those that came through one are not.
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
	_ = os.Chdir("/") // keeps no mount busy
}
