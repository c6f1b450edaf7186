package monitor

import (
	"bytes"
	"os"
	"strconv"

	"github.com/org/edamame-posture/pkg/sensor"
)

// witness compares what two independent sensors counted. Their totals are
// never read at the same instant, so a difference counts only when it stays:
// it is compared with the difference at arming whenever the two can be made to
// agree, and judged when they could not for patience readings in a row.
type witness struct {
	base  [3]int64 // netlink minus eBPF at arming: fork, exec, exit
	based bool
	// leaving are the processes that were exiting at arming: eBPF may have seen
	// the end of each that netlink tells later.
	leaving  int64
	failing  int
	least    int64  // smallest deviation of the failing readings
	moved    uint64 // events during the failing readings
	last     [3]uint64
	disagree bool
}

// patience is how many readings in a row may differ. They are a second apart
// while a job runs.
const patience = 5

// exit is the place of exits among the counts.
const exit = 2

func counts(s sensor.Stats) [3]uint64 { return [3]uint64{s.Forks, s.Execs, s.Exits} }

// deviation returns the largest difference beyond that at arming. exiting are
// the processes that are exiting now. What netlink tells late of those that were
// at arming becomes part of the difference at arming.
//
// eBPF tells of an exit when it begins, netlink when it is nearly done
// (do_exit, kernel/exit.c), and in between a process may be held up for long:
// by a machine that is short of time, or the first process of a namespace by
// another one's child. As many exits as there are such processes are no
// difference.
func (w *witness) deviation(ebpf, netlink [3]uint64, exiting int64) int64 {
	var worst int64
	for i := range ebpf {
		d := int64(netlink[i]) - int64(ebpf[i]) - w.base[i]
		if i == exit && d > 0 {
			late := min(d, w.leaving)
			w.base[i] += late
			w.leaving -= late
			d -= late
		} else if i == exit && d < 0 {
			d = min(d+exiting, 0)
		}
		worst = max(worst, d, -d)
	}
	return worst
}

// exitingProcesses counts the processes that have begun to exit and are not yet
// zombies.
func exitingProcesses() (n int64) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if _, err := strconv.ParseUint(name, 10, 32); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err == nil && exitingStat(stat) {
			n++
		}
	}
	return n
}

// exitingStat reads proc_pid_stat(5): the state, and PF_EXITING of
// include/linux/sched.h among the flags. The name before them may hold anything.
func exitingStat(stat []byte) bool {
	const pfExiting = 4
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 32)
	return err == nil && flags&pfExiting != 0
}

// arm takes the difference that is there before anything is recorded.
func (w *witness) arm(ebpf, netlink [3]uint64) {
	for i := range ebpf {
		w.base[i] = int64(netlink[i]) - int64(ebpf[i])
	}
	w.based, w.last = true, ebpf
}

// read judges one reading and reports whether it newly makes the witnesses
// disagree. A storm may keep some events in flight at each reading: up to one
// in fifty of those that happened meanwhile is not held against it.
//
// exiting counts the processes that are exiting. It reads all of /proc, and so
// is asked only where they would disagree without it.
func (w *witness) read(ebpf, netlink [3]uint64, exiting func() int64) bool {
	if !w.based {
		return false
	}
	dev := w.deviation(ebpf, netlink, 0)
	var moved uint64
	for i := range ebpf {
		moved = max(moved, ebpf[i]-w.last[i], netlink[i]-min(netlink[i], w.last[i]))
	}
	w.last = ebpf
	if dev == 0 {
		w.failing = 0
		return false
	}
	if w.failing == 0 {
		w.least, w.moved = dev, 0
	}
	w.failing++
	w.least = min(w.least, dev)
	w.moved = max(w.moved, moved)
	if w.failing >= patience && w.least > int64(w.moved/50) && !w.disagree && w.deviation(ebpf, netlink, exiting()) > 0 {
		w.disagree = true
		return true
	}
	return false
}

// settle judges the last comparison of a recording: least is the smallest
// deviation of several readings between which the counts went from before to
// after.
func (w *witness) settle(before, after [3]uint64, least int64) {
	if !w.based || least <= 0 {
		return
	}
	var moved uint64
	for i := range before {
		moved = max(moved, after[i]-before[i])
	}
	if least > int64(moved) {
		w.disagree = true
	}
}
