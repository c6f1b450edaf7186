package monitor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/sensor"
)

// witness compares what two independent sensors counted. Their totals cannot be
// read at one instant, and netlink's are told by a thread that a busy machine
// may keep waiting: so eBPF's, which are the kernel's own, are read before and
// after netlink was read to its end, and netlink's must lie between.
type witness struct {
	// base is netlink minus eBPF at arming: fork, exec, exit. On a busy machine it
	// is known to lie between base and base plus slack.
	base, slack [3]int64
	based       bool
	// leaving are the processes that were exiting at arming: eBPF may have seen
	// the end of each that netlink tells later.
	leaving int64
	// threadExecs is what eBPF had counted of them at arming.
	threadExecs uint64
	failing     int // readings in a row
	disagree    bool
}

// reading is what netlink has counted at a moment between two readings of what
// eBPF has.
type reading struct {
	before, netlink, after [3]uint64
	threadExecs            uint64 // see sensor.Stats
}

// patience is how many readings in a row may differ. They are a second apart
// while a job runs.
const patience = 5

// exit is the place of exits among the counts.
const exit = 2

func counts(s sensor.Stats) [3]uint64 { return [3]uint64{s.Forks, s.Execs, s.Exits} }

// deviation returns by how much netlink's counts are at least too few or too
// many, beyond the difference at arming. exiting are the processes that are
// exiting now. What netlink tells late of those that were at arming becomes part
// of the difference at arming.
//
// eBPF tells of an exit when it begins, netlink when it is nearly done
// (do_exit, kernel/exit.c), and in between a process may be held up for long:
// by a machine that is short of time, or the first process of a namespace by
// another one's child. As many exits as there are such processes are no
// difference; nor are those of leaders whose place another thread took by an exec,
// which netlink may tell as the end of a thread.
func (w *witness) deviation(r reading, exiting int64) int64 {
	var worst int64
	for i := range r.netlink {
		n := int64(r.netlink[i]) - w.base[i]
		d := max(n-w.slack[i]-int64(r.after[i]), 0)
		if d == 0 {
			d = min(n-int64(r.before[i]), 0)
		}
		if i == exit && d > 0 {
			late := min(d, w.leaving)
			w.base[i] += late
			w.leaving -= late
			d -= late
		} else if i == exit && d < 0 {
			d = min(d+exiting+w.usurped(r), 0)
		}
		worst = max(worst, d, -d)
	}
	return worst
}

// usurped is how many leaders lost their place to a thread since arming.
func (w *witness) usurped(r reading) int64 { return int64(r.threadExecs - w.threadExecs) }

// apart says which counts of a reading the witnesses are apart by, as a person
// reads it.
func (w *witness) apart(r reading) string {
	var by []string
	for i := range r.netlink {
		n, late := int64(r.netlink[i])-w.base[i], int64(0)
		if i == exit {
			late = w.usurped(r)
		}
		if n-w.slack[i] > int64(r.after[i]) || n+late < int64(r.before[i]) {
			by = append(by, fmt.Sprintf("%s: %s by eBPF, %s by netlink", witnessedText[i],
				fromTo(int64(r.before[i]), int64(r.after[i])), fromTo(n-w.slack[i], n)))
		}
	}
	return strings.Join(by, "; ")
}

func fromTo(a, b int64) string {
	if a == b {
		return strconv.FormatInt(a, 10)
	}
	return fmt.Sprintf("%d to %d", a, b)
}

// differ notes that the witnesses disagree, and by what. The monitor's lock is
// held.
func (m *Monitor) differ(what string) {
	m.witness.disagree = true
	m.opt.Logf("the two sensors are apart: %s", what)
	for _, r := range m.open() {
		r.note(r.red.String("second witness: "+what), 0)
	}
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

// arm takes the difference that is there before anything is recorded, of one
// reading after another: what happens meanwhile leaves it open by as much, and
// each says between what it lies.
func (w *witness) arm(r reading) {
	for i := range r.netlink {
		least, most := int64(r.netlink[i])-int64(r.after[i]), int64(r.netlink[i])-int64(r.before[i])
		if w.based && least <= w.base[i]+w.slack[i] && most >= w.base[i] {
			least, most = max(least, w.base[i]), min(most, w.base[i]+w.slack[i])
		}
		w.base[i], w.slack[i] = least, most-least
	}
	if !w.based {
		w.threadExecs = r.threadExecs
	}
	w.based = true
}

// doubts takes the reading of a round, and reports whether the witnesses are to
// be compared with care: several in a row said that they disagree.
func (w *witness) doubts(r reading) bool {
	if !w.based || w.disagree || w.deviation(r, 0) == 0 {
		w.failing = 0
		return false
	}
	w.failing++
	return w.failing >= patience
}
