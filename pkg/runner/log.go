package runner

import (
	"bytes"
	"strconv"
)

const (
	// maxLogLine bounds what is read of a line of the log: what counts is short,
	// and the job's message is one long line.
	maxLogLine = 4 << 10
	// maxName bounds a step's name in bytes.
	maxName = 256
)

// Log reads the log of a Runner.Worker, _diag/Worker_*.log, as it grows
// (StepsRunner.cs, CompositeActionHandler.cs, ProcessInvoker.cs). The zero value
// is ready.
//
// The runner's user can write to that file, and so can a job: what it says is a
// label. Of steps that run at the same time the names may be mixed up.
type Log struct {
	line []byte
	long bool // the line is beyond its bound
	name []byte
}

// Feed takes the next bytes of the log, and calls f for each process that was
// started for a step with the name. The name is valid until f returns.
func (l *Log) Feed(p []byte, f func(pid uint32, name []byte)) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		if l.long = l.long || len(l.line)+len(part) > maxLogLine; !l.long {
			l.line = append(l.line, part...)
		}
		if i < 0 {
			return
		}
		if !l.long {
			l.read(f)
		}
		l.line, l.long, p = l.line[:0], false, p[i+1:]
	}
}

func (l *Log) read(f func(pid uint32, name []byte)) {
	// [2026-11-28 11:35:39Z INFO StepsRunner] Processing step: DisplayName='X'
	if len(l.line) == 0 || l.line[0] != '[' {
		return
	}
	_, said, ok := bytes.Cut(l.line, []byte(" INFO "))
	if !ok {
		return
	}
	from, said, ok := bytes.Cut(said, []byte("] "))
	if !ok {
		return
	}
	switch string(from) {
	case "StepsRunner", "CompositeActionHandler":
		_, name, ok := bytes.Cut(said, []byte("step: DisplayName='"))
		if ok && bytes.HasPrefix(said, []byte("Processing ")) {
			name = bytes.TrimSuffix(bytes.TrimSuffix(name, []byte("\r")), []byte("'"))
			l.name = append(l.name[:0], name[:min(len(name), maxName)]...)
		}
	case "ProcessInvokerWrapper":
		number, ok := bytes.CutPrefix(said, []byte("Process started with process id "))
		if !ok || len(l.name) == 0 {
			return
		}
		number, _, _ = bytes.Cut(number, []byte{','})
		if pid, err := strconv.ParseUint(string(number), 10, 32); err == nil && pid > 0 {
			f(uint32(pid), l.name)
		}
	}
}
