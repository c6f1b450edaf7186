package netlink

import (
	"bytes"
	"errors"
)

// stat is what is used of proc_pid_stat(5).
type stat struct {
	pid, ppid, session uint32
	comm               []byte // up to 15 bytes; a part of what was parsed
	state              byte
	threads            int
	start              int64 // clock ticks since boot
	argStart, argEnd   uint64
	kernel             bool // a kernel thread: PF_KTHREAD of include/linux/sched.h
}

var errStat = errors.New("not a line of /proc/PID/stat")

// parseStat reads a line of /proc/PID/stat. The name in it is the process's
// own choice and may hold spaces and parentheses, so its end is the last one.
func parseStat(b []byte) (stat, error) {
	var s stat
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return s, errStat
	}
	pid, ok := number(bytes.TrimSpace(b[:open]))
	if !ok || pid>>32 != 0 {
		return s, errStat
	}
	s.pid, s.comm = uint32(pid), b[open+1:end]
	rest := b[end+1:]
	for field := 3; field <= 49; field++ {
		for len(rest) > 0 && rest[0] == ' ' {
			rest = rest[1:]
		}
		n := 0
		for n < len(rest) && rest[n] != ' ' && rest[n] != '\n' {
			n++
		}
		word := rest[:n]
		rest = rest[n:]
		if n == 0 {
			if field > 22 {
				return s, nil // older kernels have fewer fields
			}
			return s, errStat
		}
		switch field {
		case 3:
			s.state = word[0]
			continue
		case 4, 6, 9, 20, 22, 48, 49:
		default:
			continue
		}
		v, ok := number(word)
		if !ok {
			return s, errStat
		}
		switch field {
		case 4:
			s.ppid = uint32(v)
		case 6:
			s.session = uint32(v)
		case 9:
			s.kernel = v&0x00200000 != 0
		case 20:
			s.threads = int(min(v, 1<<22))
		case 22:
			if v > 1<<55 {
				return s, errStat
			}
			s.start = int64(v)
		case 48:
			s.argStart = v
		case 49:
			s.argEnd = v
		}
	}
	return s, nil
}

// number reads a decimal number without sign. A negative one counts as 0.
func number(b []byte) (uint64, bool) {
	if len(b) > 1 && b[0] == '-' {
		_, ok := number(b[1:])
		return 0, ok
	}
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var v uint64
	for _, c := range b {
		if c < '0' || c > '9' || v > (1<<64-1-9)/10 {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	return v, true
}

// parseIDs reads the effective ids of /proc/PID/status: the second number of
// the lines Uid and Gid.
func parseIDs(status []byte) (uid, gid uint32, ok bool) {
	var found int
	for line := range bytes.Lines(status) {
		var to *uint32
		switch {
		case bytes.HasPrefix(line, []byte("Uid:")):
			to = &uid
		case bytes.HasPrefix(line, []byte("Gid:")):
			to = &gid
		default:
			continue
		}
		f := bytes.Fields(line[4:])
		if len(f) < 2 {
			return 0, 0, false
		}
		v, ok := number(f[1])
		if !ok || v>>32 != 0 {
			return 0, 0, false
		}
		*to = uint32(v)
		found++
	}
	return uid, gid, found == 2
}

// parseNamespace reads what a link of /proc/PID/ns holds, such as
// net:[4026531833]. 0 where it cannot be read.
func parseNamespace(link []byte) uint32 {
	_, rest, ok := bytes.Cut(link, []byte(":["))
	if !ok {
		return 0
	}
	v, ok := number(bytes.TrimSuffix(rest, []byte("]")))
	if !ok || v>>32 != 0 {
		return 0
	}
	return uint32(v)
}

// parseCgroup returns the path in the cgroup v2 hierarchy of /proc/PID/cgroup:
// the line of hierarchy 0.
func parseCgroup(b []byte) []byte {
	for line := range bytes.Lines(b) {
		if p, ok := bytes.CutPrefix(line, []byte("0::")); ok {
			return bytes.TrimSuffix(bytes.TrimSuffix(p, []byte("\n")), []byte(" (deleted)"))
		}
	}
	return nil
}
