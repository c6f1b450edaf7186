package main

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// saveMemory is called when the monitor is armed. Twice the live heap is more than
// a guest should take from then on; test/bench holds its bound.
func saveMemory() { debug.SetGCPercent(50) }

// settle is called when the monitor has begun its work. One processor is as much
// as the way of an event can use, since it is one way: a second one only adds
// wake-ups of threads, a fifth of what a quiet monitor costs.
func settle() {
	runtime.GOMAXPROCS(1)
	forgetProgram()
}

// forgetProgram gives back the pages of the program itself that starting and
// arming have touched; the few that are used again come back from the page
// cache. Half of an idle monitor's memory was its own code.
func forgetProgram() {
	exe, err := os.Stat("/proc/self/exe")
	if err != nil {
		return
	}
	st, ok := exe.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		// address perms offset dev inode pathname: proc_pid_maps(5)
		f := strings.Fields(line)
		if len(f) < 5 || strings.Contains(f[1], "w") || f[4] != strconv.FormatUint(st.Ino, 10) {
			continue
		}
		low, high, _ := strings.Cut(f[0], "-")
		from, err1 := strconv.ParseUint(low, 16, 64)
		to, err2 := strconv.ParseUint(high, 16, 64)
		if err1 != nil || err2 != nil || to <= from {
			continue
		}
		// Read-only and of a file: what is dropped is read again when needed.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED)
	}
}

// notFirst is the score of the monitor for the kernel's choice of what to kill
// where memory runs out: -1000 would be never.
const notFirst = "-900"

// endPreference gives back what a process has from the monitor that started
// it: writing results is no reason to be spared.
func endPreference() {
	const score = "/proc/self/oom_score_adj"
	if b, err := os.ReadFile(score); err == nil && strings.TrimSpace(string(b)) == notFirst {
		_ = os.WriteFile(score, []byte("0"), 0)
	}
}

// armingThreads is how many threads of the monitor compute at once while it arms,
// where the machine has fewer processors.
const armingThreads = 8

// preferMonitor lets the monitor go on where the job takes all there is: a
// starved monitor loses records, and one that is killed for want of memory
// sees nothing. What cannot be had is done without.
func preferMonitor() {
	// Loading reads the kernel's type information, which makes much garbage
	// once: collected half as often it costs no time, and more than that saves none.
	debug.SetGCPercent(200)
	// The runner gives its steps 500, which we inherited.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(notFirst), 0)
	// setpriority(2) is of one thread in Linux; threads to come inherit it.
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		if tid, err := strconv.Atoi(filepath.Base(t.Name())); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -10)
		}
	}
	// What arming waits for, an answer of the kernel's, must not wait for its turn
	// behind what it computes beside: Go lets that run for 10 ms at a time, the
	// kernel has who was waiting go first. settle ends it.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), armingThreads))
}
