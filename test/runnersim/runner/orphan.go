package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processes returns what runs, as PID_NAME.
func processes() map[string]bool {
	found := map[string]bool{}
	all, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range all {
		if name, err := os.ReadFile(f); err == nil {
			found[strings.Split(f, "/")[2]+"_"+strings.TrimSpace(string(name))] = true
		}
	}
	return found
}

// cleanUp kills what the job has left running: what was not there before and
// still has the Worker's mark in its environment, as far as the runner's user
// may read that. Then it empties the folder for temporary files.
func (w *worker) cleanUp() {
	mark := []byte("RUNNER_TRACKING_ID=" + w.tracking)
	for name := range processes() {
		number, command, _ := strings.Cut(name, "_")
		pid, err := strconv.Atoi(number)
		if err != nil || w.before[name] || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile("/proc/" + number + "/environ")
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(v, mark) {
				w.tracef("JobExtension", "Terminate orphan process: pid (%s) (%s)", number, command)
				_ = unix.Kill(pid, unix.SIGKILL)
				w.result.Orphans = append(w.result.Orphans, command)
			}
		}
	}
	if err := os.RemoveAll(w.temp); err != nil {
		w.tracef("JobExtension", "%v", err)
	}
}
