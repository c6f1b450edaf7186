package ebpf

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// innerPID is struct inner_pid: a process id inside a pid namespace.
type innerPID struct{ NS, NR uint32 }

// seedPIDs tells the programs which processes inside pid namespaces are
// already there. Those that come later they see themselves.
func (l *loaded) seedPIDs() error {
	m := l.coll.Maps["inner_pids"]
	dir, err := os.Open("/proc")
	if err != nil {
		return fmt.Errorf("reading the processes that are already there: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("reading the processes that are already there: %w", err)
	}
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			continue
		}
		var ns unix.Stat_t
		if unix.Stat("/proc/"+name+"/ns/pid", &ns) != nil || ns.Ino == initialPIDNamespace {
			continue
		}
		nr := innermostPID("/proc/" + name + "/status")
		if nr == 0 {
			continue // it has ended
		}
		if err := m.Put(innerPID{uint32(ns.Ino), nr}, uint32(pid)); err != nil {
			return fmt.Errorf("writing the process ids of pid namespaces: %w", err)
		}
	}
	return nil
}

// innermostPID reads the last number of NSpid in proc_pid_status(5), 0 where
// there is none.
func innermostPID(status string) uint32 {
	f, err := os.Open(status)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "NSpid:"); ok {
			fields := strings.Fields(rest)
			if len(fields) < 2 {
				return 0
			}
			n, _ := strconv.ParseUint(fields[len(fields)-1], 10, 32)
			return uint32(n)
		}
	}
	return 0
}
