package service

import (
	"fmt"
	"io"
	"strings"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/monitor"
)

// maxAnnotations is how many of a kind a step may have; runner, _maxCountPerIssueType.
const maxAnnotations = 9

// Hook tells a job by its first or last hook that it is recorded, and what was
// found in it so far. It returns false where the job is to fail. It is the
// job's own process that says so, as the runner's user: a notice, and no gate.
func Hook(w io.Writer, s *Settings, completed bool, job *monitor.JobStatus, err error) bool {
	if err != nil {
		level := "warning"
		// At its end a job that is to fail for findings fails where nobody can say any.
		refused := s.Require && (!completed || s.FailOn != "")
		if refused {
			level = "error"
		}
		fmt.Fprintf(w, "::%s title=Posture::%s\n", level, Escape("This job is not known to be recorded: "+err.Error()))
		return !refused
	}
	if !completed {
		fmt.Fprintf(w, "This machine records what jobs do (edamame-posture, recording %s, sensor %s).\n", job.ID, job.Sensor)
		return true
	}
	fmt.Fprintf(w, "Recording %s: %d events, %d lost, findings so far: %d.\n", job.ID, job.Events, job.Lost, len(job.Found))
	ok := true
	for i := range job.Found {
		f := &job.Found[i]
		level := "warning"
		if fails := s.FailOn != "" && judge.Rank(judge.Severity(f.Severity)) >= judge.Rank(s.FailOn); fails {
			level, ok = "error", false
		}
		if i < maxAnnotations {
			fmt.Fprintf(w, "::%s title=Posture::%s\n", level, Escape(fmt.Sprintf("%s: %s: %s (%s) [%s]", f.Severity, f.Title, f.Object, f.Program, f.Rule)))
		}
	}
	if more := len(job.Found) - maxAnnotations; more > 0 {
		fmt.Fprintf(w, "And %d more in the recording.\n", more)
	}
	return ok
}

// maxEscaped bounds the text of an annotation in bytes; the runner cuts at 4096.
const maxEscaped = 2 << 10

// Escape makes a text the data of a workflow command (actions/toolkit,
// command.ts): one line that begins no other command.
func Escape(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	for i := range s {
		if i > maxEscaped {
			s = s[:i] + "…"
			break
		}
	}
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}
