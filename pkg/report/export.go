package report

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
)

// Formats are the names that [Export] takes.
var Formats = []string{"ocsf", "csv", "controls", "cyclonedx", "otlp"}

// Export writes what the folder of results holds for another program: OCSF's
// JSON lines, a CSV of facts, a row for a trust centre, a CycloneDX list of what
// was fetched, or OpenTelemetry spans. It reads the log once, from its start to
// its end, with memory that is bounded however long the log is, and gives the
// same bytes for the same evidence. docs/formats.md describes each.
func Export(w io.Writer, dir, format string) error {
	ev, err := open(dir)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 1<<16)
	switch format {
	case "ocsf":
		err = writeOCSF(b, ev)
	case "csv":
		err = writeCSV(b, ev)
	case "controls":
		return errors.Join(ev.Close(), Controls(w, dir))
	case "cyclonedx":
		err = writeCycloneDX(b, ev)
	case "otlp":
		err = writeOTLP(b, ev)
	default:
		err = fmt.Errorf("there is no format %q: it is one of %s", format, strings.Join(Formats, ", "))
	}
	return errors.Join(err, b.Flush(), ev.Close())
}

// open opens the evidence of a folder of results. That which was not closed is
// read as far as it goes; that which was, and is not as it was then, is not: a
// report of it would look as good as one of the whole.
func open(dir string) (*evidence.Evidence, error) {
	at := filepath.Join(dir, "evidence")
	ev, err := evidence.Open(at)
	if errors.Is(err, evidence.ErrNotClosed) {
		ev, err = evidence.OpenPartial(at)
	}
	switch {
	case err == nil:
		return ev, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	case !isDir(at):
		return nil, fmt.Errorf("%s is no folder of results: name the one that run wrote (.posture, unless --out named another)", dir)
	}
	return nil, fmt.Errorf("%w; it is not as it was written: 'edamame-posture verify' checks the rest of it", err)
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// reading is a log while it is read: the judge of it and the clock in it.
type reading struct {
	*judge.Judge
	Clock clock
	Host  string
	Tool  string
	// Last is when the last event happened, in boot time.
	Last int64
	// Seed is what ids are made of: the same for the same evidence.
	Seed string
}

// clock tells the wall time of a moment of the recording.
type clock struct{ wall, began int64 }

// at is the Unix time, in nanoseconds, of a boot time.
func (c clock) at(boot int64) int64 { return c.wall + boot - c.began }

// text is at, as RFC 3339 in UTC; empty where the log does not say when it
// began.
func (c clock) text(boot int64) string {
	if c.wall == 0 {
		return ""
	}
	return time.Unix(0, c.at(boot)).UTC().Format(time.RFC3339Nano)
}

// read judges the log and hands each event on when the judge has taken it, with
// the image that did it. That is nil where the event has no actor.
func read(ev *evidence.Evidence, each func(r *reading, e *event.Event, n *process.Node) error) (*reading, error) {
	in, err := ev.Inputs()
	if err != nil {
		return nil, err
	}
	m := ev.Manifest()
	r := &reading{Judge: judge.New(in.Intent, in.Signatures), Seed: m.Run + "\x00" + m.Tree.Root.String()}
	err = ev.Each(func(_ []byte, e *event.Event) error {
		r.Apply(e)
		r.Last = max(r.Last, e.Time)
		if e.Kind == event.Start && r.Clock.began == 0 {
			r.Clock, r.Host, r.Tool = clock{e.Wall, e.Time}, e.Host.String(), e.Tool.String()
		}
		if each == nil {
			return nil
		}
		var n *process.Node
		if !e.Actor.IsZero() {
			n = r.Tree().Get(e.Actor)
		}
		return each(r, e, n)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	return r, nil
}

// id makes n bytes that are the same for the same evidence and place in it.
func (r *reading) id(what string, place uint64, n int) []byte {
	b := binary.BigEndian.AppendUint64([]byte(r.Seed+"\x00"+what+"\x00"), place)
	sum := sha256.Sum256(b)
	return sum[:n]
}

// maxText bounds one string of an export in bytes: an argument vector may be a
// megabyte.
const maxText = 4096

// bounded returns s as far as an export holds it.
func bounded(s string) string {
	if len(s) <= maxText {
		return s
	}
	return cutBytes(s, maxText-len(dots)) + dots
}

// writeJSON writes v on one line. What a terminal or an eye might take for
// something else is escaped, as in the log; a reader of JSON gets it as it is.
func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(escapeJSON(b), '\n'))
	return err
}

// escapeJSON escapes the characters of JSON text that show nothing or change
// how others show. They stand in strings only.
func escapeJSON(b []byte) []byte {
	clean := true
	for _, c := range b {
		if c >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r < 0x7f || unicode.IsPrint(r) && !invisible(r) {
			out = append(out, b[:n]...)
		} else if r > 0xffff {
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		} else {
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out
}
