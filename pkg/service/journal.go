package service

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
)

// priority is that of syslog(3).
type priority byte

const (
	errPriority     priority = '3'
	warningPriority priority = '4'
	infoPriority    priority = '6'
)

// Journal writes lines as journald takes them from a service's stderr: with a
// priority before each (sd-daemon(3)). What it is given to say may hold
// anything: a message stays one line. Who writes does not wait for the journal,
// and what it did not take in time is counted.
type Journal struct {
	lines   chan string
	written chan struct{}
	dropped atomic.Uint64
}

// Bounds of what is to be written.
const (
	maxMessage = 4 << 10 // bytes of a line
	maxLines   = 1024    // that wait
)

// NewJournal writes to w until it is closed.
func NewJournal(w io.Writer) *Journal {
	j := &Journal{lines: make(chan string, maxLines), written: make(chan struct{})}
	go func() {
		defer close(j.written)
		for line := range j.lines {
			_, _ = io.WriteString(w, line)
			if n := j.dropped.Swap(0); n > 0 {
				_, _ = fmt.Fprintf(w, "<%c>%d messages before this one were dropped: the journal did not take them\n", warningPriority, n)
			}
		}
	}()
	return j
}

// Close writes what waits. Nothing may be written after it.
func (j *Journal) Close() {
	close(j.lines)
	<-j.written
}

// At writes a line of a priority.
func (j *Journal) At(p priority, format string, args ...any) {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, fmt.Sprintf(format, args...))
	select {
	case j.lines <- fmt.Sprintf("<%c>%s\n", p, text[:min(len(text), maxMessage)]):
	default:
		j.dropped.Add(1)
	}
}

// Info writes what is as it should be.
func (j *Journal) Info(format string, args ...any) { j.At(infoPriority, format, args...) }

// Warn writes what somebody should know.
func (j *Journal) Warn(format string, args ...any) { j.At(warningPriority, format, args...) }

// Error writes what somebody has to do something about.
func (j *Journal) Error(format string, args ...any) { j.At(errPriority, format, args...) }
