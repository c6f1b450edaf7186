// Package evidence keeps a recording's log so that someone who was not there
// can rely on it: JSON lines in zstd segments, an RFC 6962 tree over them,
// checkpoints of the tree as it grew, and a manifest that closes it all.
// docs/evidence-format.md is the format.
//
// The monitor writes:
//
//	log, err := evidence.Create(dir, evidence.Options{Run: run})
//	err = log.Append(&ev)          // for every event; ErrFull is no reason to stop
//	err = log.Checkpoint(boottime) // every second
//	err = log.Append(&end)
//	m, err := log.Close(evidence.Closing{Boottime: now, Judge: "1"})
//
// Anyone reads:
//
//	ev, err := evidence.Open(dir) // OpenPartial where the monitor died
//	err = ev.Verify()
//	err = ev.Each(func(line []byte, e *event.Event) error { … })
//
// What is read may have been made by an attacker: names, sizes, ratios, depths
// and lengths are bounded, and links are refused. An error that has a place is
// a [*Fault].
package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Version is the version of the folder's format that this package writes and reads.
const Version = 1

// Bounds of what is written, and of what is read.
const (
	// MaxInput is the greatest size of one file of inputs/, in bytes.
	MaxInput = 16 << 20

	maxFiles      = 10_000   // in one folder
	maxManifest   = 4 << 20  // bytes of manifest.json
	maxBytes      = 16 << 30 // bytes of all files together
	maxNoteLine   = 1 << 10  // bytes of one line of checkpoints
	maxNoteLines  = 64       // lines of one note
	maxWindow     = 1 << 20  // bytes of a zstd frame's window
	maxRatio      = 1000     // bytes of lines for one of file…
	ratioFrom     = 64 << 20 // …once there are so many bytes of lines
	maxNameLength = 128
)

// Names in the folder.
const (
	manifestName    = "manifest.json"
	manifestTemp    = "manifest.json.tmp" // the room kept for the manifest
	checkpointsName = "checkpoints"
	inputsDir       = "inputs"
	segmentSuffix   = ".jsonl.zst"
	originPrefix    = "edamame-posture/"
)

// The files that may stand beside the log.
const (
	// CommitmentFile is the commitment, whose hash the start event names.
	CommitmentFile = "commitment.json"
	// StartTokenFile is the job's token whose audience is the commitment's
	// hash. It is no secret, and it is no part of what is published.
	StartTokenFile = "start.jwt"
	// StartBundleFile is a statement about the commitment, signed at the start.
	StartBundleFile = "start.sigstore.json"
	// RecordFile is the answer of the place where the commitment was recorded.
	RecordFile = "first-record.json"
)

var attachments = []string{CommitmentFile, RecordFile, StartTokenFile, StartBundleFile}

// ErrFull says that the log takes no more events, because of its bound, a full
// disk or a failed write. What was appended stays readable, what is refused is
// counted, and the end can still be appended. The error that wraps it says why.
var ErrFull = errors.New("the log takes no more events")

// ErrClosed says that the log was ended or closed.
var ErrClosed = errors.New("the log is closed")

// ErrTooLong says that one event was too long for a line. It is counted as lost.
var ErrTooLong = errors.New("the event is too long for a line of the log")

// Fault is something wrong in a folder of evidence, with its place.
type Fault struct {
	File string // name in the folder
	// Line is the line of the file, or of what is in it, counted from 1; 0
	// where no line is meant. Of a segment it is the line within the segment.
	Line int64
	// Seq is the seq of the event that stands or should stand there. Valid for
	// segments only.
	Seq uint64
	Err error
}

// Kinds of what is wrong, for who must tell them apart.
var (
	// ErrNotClosed is a log that the recorder did not close: it was killed, or
	// somebody took the end away.
	ErrNotClosed = errors.New("the log was not closed")
	// ErrChain is a checkpoint that does not follow from the one before.
	ErrChain = errors.New("the chain of checkpoints is broken")
)

// kindError is an error of a kind, in words of its own.
type kindError struct {
	kind error
	err  error
}

func (k *kindError) Error() string   { return k.err.Error() }
func (k *kindError) Unwrap() []error { return []error{k.kind, k.err} }

// Error gives the place before what is wrong.
func (f *Fault) Error() string {
	switch {
	case f.Line == 0:
		return fmt.Sprintf("%s: %v", f.File, f.Err)
	case strings.HasSuffix(f.File, segmentSuffix):
		return fmt.Sprintf("%s: line %d (seq %d): %v", f.File, f.Line, f.Seq, f.Err)
	}
	return fmt.Sprintf("%s: line %d: %v", f.File, f.Line, f.Err)
}

// Unwrap returns what is wrong.
func (f *Fault) Unwrap() error { return f.Err }

func fault(file, format string, args ...any) error {
	return &Fault{File: file, Err: fmt.Errorf(format, args...)}
}

// faultOf is a fault of a kind.
func faultOf(kind error, file, format string, args ...any) error {
	return &Fault{File: file, Err: &kindError{kind, fmt.Errorf(format, args...)}}
}

func segmentName(n int) string { return fmt.Sprintf("%06d%s", n, segmentSuffix) }

// plainName reports whether s is a name that no file system reads as anything
// else: no separator, no leading dot, nothing but ASCII.
func plainName(s string) bool {
	return s != "" && s[0] != '.' && nameOf(s, "._-")
}

// Origin is the first line of the checkpoints of a run.
func Origin(run string) string { return originPrefix + run }

// CheckRun says what is wrong with the id of a run, which names the log.
func CheckRun(run string) error {
	if run == "" || !nameOf(run, "._:@-") {
		return fmt.Errorf("run id %.160q: use 1 to %d characters of A-Z a-z 0-9 . _ : @ -", run, maxNameLength)
	}
	return nil
}

func nameOf(s, marks string) bool {
	if len(s) > maxNameLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(marks, c) >= 0) {
			return false
		}
	}
	return true
}

// fileName reports whether s may stand in a manifest.
func fileName(s string) bool {
	if in, ok := strings.CutPrefix(s, inputsDir+"/"); ok {
		return plainName(in)
	}
	return s == checkpointsName || isSegment(s) || isDate(s) || slices.Contains(attachments, s)
}

func isSegment(s string) bool {
	n, ok := strings.CutSuffix(s, segmentSuffix)
	if !ok || len(n) != 6 {
		return false
	}
	return strings.Trim(n, "0123456789") == ""
}

// tooDense reports whether so many bytes of lines are too many for so many of
// files, by the bounds of a reader or the stricter ones of the writer.
func tooDense(raw, file, from, ratio int64) bool {
	return raw > from && raw/ratio > file
}
