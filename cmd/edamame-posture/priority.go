package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"golang.org/x/sys/unix"
)

// settleMemory is called when the monitor is armed. Twice the live heap is more
// than a guest should take from then on; test/bench holds its bound.
func settleMemory() { debug.SetGCPercent(50) }

// preferMonitor lets the monitor go on where the job takes all there is: a
// starved monitor loses records, and one that is killed for want of memory
// sees nothing. What cannot be had is done without.
func preferMonitor() {
	// Loading reads the kernel's type information, which makes much garbage
	// once: collecting it meanwhile would cost more than it is worth.
	debug.SetGCPercent(400)
	// The runner gives its steps 500, which we inherited.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0)
	// setpriority(2) is of one thread in Linux; threads to come inherit it.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(filepath.Base(t.Name())); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -10)
		}
	}
}
