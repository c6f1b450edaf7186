package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/org/edamame-posture/pkg/runner"
)

// pfKthread is PF_KTHREAD of include/linux/sched.h, in field 9 of
// proc_pid_stat(5).
const pfKthread = 0x00200000

// stat is what we read of proc_pid_stat(5).
type stat struct {
	ppid    uint32
	start   int64 // nanoseconds since boot, rounded down to a tick
	threads int
	kernel  bool
}

var errStat = errors.New("not in the form of proc_pid_stat(5)")

// parseStat reads a line of proc_pid_stat(5). The name in parentheses is the
// job's own choice and may hold anything, parentheses too, so what counts
// begins after the last one.
func parseStat(line []byte) (stat, error) {
	i := bytes.LastIndexByte(line, ')')
	if i < 0 {
		return stat{}, errStat
	}
	var s stat
	field := 2
	for f := range bytes.FieldsSeq(line[i+1:]) {
		field++
		var n uint64
		switch field {
		case 4, 9, 20, 22:
			var err error
			if n, err = strconv.ParseUint(string(f), 10, 63); err != nil {
				return stat{}, errStat
			}
		}
		switch field {
		case 4:
			if n > 1<<32-1 {
				return stat{}, errStat
			}
			s.ppid = uint32(n)
		case 9:
			s.kernel = n&pfKthread != 0
		case 20:
			s.threads = int(n)
		case 22:
			if n > (1<<63-1)/uint64(tick) {
				return stat{}, errStat
			}
			s.start = max(int64(n)*tick, 1) // the first process of all began at 0
			return s, nil
		}
	}
	return stat{}, errStat
}

// readStat reads what /proc knows of a process.
func (t *Table) readStat(pid uint32) (stat, error) {
	line, err := os.ReadFile(t.path(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(line)
}

func (t *Table) path(pid uint32, name string) string {
	return filepath.Join(t.proc, strconv.FormatUint(uint64(pid), 10), name)
}

// Seed takes in the processes that are there already. Call it once, after the
// sensors were armed, so that no process is missed in between; what records
// told before is kept. From then on the table asks procRoot, usually /proc,
// about processes that no record told of.
func (t *Table) Seed(procRoot string) error {
	dir, err := os.Open(procRoot)
	if err != nil {
		return fmt.Errorf("the running processes cannot be read: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("the running processes cannot be read: %w", err)
	}
	t.proc = procRoot
	parents := make(map[*Process]uint32, len(names))
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil || pid == 0 {
			continue
		}
		s, err := t.readStat(uint32(pid))
		if err != nil {
			continue // it ended meanwhile
		}
		p := t.get(uint32(pid), s.start, 0)
		if p != nil && (p.born == forked || !p.Alive) {
			continue
		}
		if p == nil {
			p = t.add(uint32(pid), s.start, t.now)
			p.Coarse = true
		}
		p.born = max(p.born, seeded)
		t.describe(p, s)
		if !p.loose && p.Alive {
			parents[p] = s.ppid
		}
		t.settle(p)
	}
	for p, ppid := range parents {
		if p.Parent == nil {
			t.bearSeeded(p, ppid)
		}
	}
	for p := range t.all() {
		t.seedStep(p)
	}
	return nil
}

// seedStep notes where a process that was there before stands to steps: of the
// workers above it the outermost counts.
func (t *Table) seedStep(p *Process) {
	for q := p; q.Parent != nil; q = q.Parent {
		if q.Parent.role == runnerWorker {
			p.step = withinStep
			if q == p {
				p.step = stepRoot
			}
		}
	}
}

// bearSeeded links a process that was there before to its parent, which began
// before it, or else the pid was reused between two reads.
func (t *Table) bearSeeded(p *Process, ppid uint32) {
	parent := t.get(ppid, 0, 0)
	if ppid == 0 || parent == nil || parent.Actor.Start/tick > p.Actor.Start/tick {
		return
	}
	t.bear(p, parent, false, 0)
}

// describe fills what an exec would have told.
func (t *Table) describe(p *Process, s stat) {
	p.Kernel = s.kernel && p.Actor.Image == 0
	if p.Actor.Image != 0 {
		return
	}
	if !p.Kernel {
		if exe, err := os.Readlink(t.path(p.Actor.PID, "exe")); err == nil {
			if p.role = roleOfString(exe); p.role == runnerWorker && !runner.IsWorker([]byte(exe)) {
				p.role = noRole
			}
		}
	}
	p.NetNS = uint32(inode(t.path(p.Actor.PID, "ns/net")))
	if status, err := os.ReadFile(t.path(p.Actor.PID, "status")); err == nil {
		p.UID = effectiveUID(status)
	}
}

// effectiveUID reads the second number of the Uid line of proc_pid_status(5).
func effectiveUID(status []byte) uint32 {
	_, line, _ := bytes.Cut(status, []byte("\nUid:"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	i := 0
	for f := range bytes.FieldsSeq(line) {
		if i++; i == 2 {
			n, _ := strconv.ParseUint(string(f), 10, 32)
			return uint32(n)
		}
	}
	return 0
}

// unknown makes a process that a record named and the table did not hold. Its
// parents are read from /proc up to one that is known, whose tags it gets.
func (t *Table) unknown(pid uint32, start, time int64, depth int) *Process {
	if pid == 0 {
		return &Process{loose: true}
	}
	t.stats.Unknown++
	var s stat
	resolved := false
	if t.proc != "" && depth < maxResolve {
		var err error
		s, err = t.readStat(pid)
		resolved = err == nil && (start == 0 || start/tick == s.start/tick)
	}
	if !resolved {
		t.stats.Unresolved++
		p := t.add(pid, start, time)
		if t.proc != "" && p.Alive {
			t.end(p, max(time, t.now)) // /proc says so; a late exit changes nothing
		}
		t.settle(p)
		return p
	}
	if start == 0 {
		start = s.start
		if p := t.get(pid, start, 0); p != nil {
			return p
		}
	}
	p := t.add(pid, start, time)
	p.Coarse = p.Coarse || start == s.start
	t.describe(p, s)
	if s.ppid != 0 {
		parent := t.known(s.ppid, 0, 0, depth+1)
		if parent.Actor.Start/tick <= p.Actor.Start/tick {
			t.bear(p, parent, false, 0)
		}
	}
	t.settle(p)
	return p
}

// lives reports whether a process whose exit was reported runs on: its first
// thread has ended, others have not. Only what is part of a recording is asked
// for.
func (t *Table) lives(p *Process) bool {
	if t.proc == "" || p.Tags == 0 || !exists(p.Actor.PID) {
		return false
	}
	if newest := t.get(p.Actor.PID, 0, 0); newest != p {
		return false
	}
	s, err := t.readStat(p.Actor.PID)
	return err == nil && s.threads > 1 && p.is(s.start)
}
