package evidence

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Checkpoint is the state of the tree at one time, as a note of checkpoints
// tells it.
type Checkpoint struct {
	Origin   string
	Size     uint64
	Root     Hash
	Boottime int64  // CLOCK_BOOTTIME in nanoseconds
	Lost     uint64 // events known to be missing
	// Extra are further lines of the text, which this version does not know.
	Extra []string
	// Signatures are the lines after the text, without what begins them.
	// Nothing is said of who made them.
	Signatures []string

	// Line is where the note begins in checkpoints, from 1.
	Line int64
}

// signatureMark begins a signature line (C2SP signed-note).
const signatureMark = "— "

// appendText appends the note's text: what is signed, each line ended.
func (c *Checkpoint) appendText(b []byte) []byte {
	b = append(b, c.Origin...)
	b = append(b, '\n')
	b = strconv.AppendUint(b, c.Size, 10)
	b = append(b, '\n')
	b = base64.StdEncoding.AppendEncode(b, c.Root[:])
	b = append(b, "\nboottime "...)
	b = strconv.AppendInt(b, c.Boottime, 10)
	b = append(b, "\nlost "...)
	b = strconv.AppendUint(b, c.Lost, 10)
	b = append(b, '\n')
	for _, line := range c.Extra {
		b = append(append(b, line...), '\n')
	}
	return b
}

// TextHash returns the SHA-256 of the note's text, by which a witness names it.
func (c *Checkpoint) TextHash() Hash { return sha256.Sum256(c.appendText(nil)) }

// appendNote appends the text, the empty line and the signatures.
func (c *Checkpoint) appendNote(b []byte) []byte {
	b = append(c.appendText(b), '\n')
	for _, line := range c.Signatures {
		b = append(append(append(b, signatureMark...), line...), '\n')
	}
	return b
}

// noteReader reads one note after another.
type noteReader struct {
	r    *bufio.Reader
	line int64  // lines read
	next string // a line that was read and belongs to the next note
	have bool
}

func newNoteReader(r io.Reader) *noteReader {
	return &noteReader{r: bufio.NewReaderSize(r, maxNoteLine+1)}
}

// errHalfNote says that the file ends inside a note, as after a crash.
var errHalfNote = errors.New("the file ends inside a note")

func (n *noteReader) readLine() (string, error) {
	if n.have {
		n.have = false
		return n.next, nil
	}
	b, err := n.r.ReadSlice('\n')
	switch {
	case err == nil:
		n.line++
		return string(b[:len(b)-1]), nil
	case err == io.EOF && len(b) == 0:
		return "", io.EOF
	case err == io.EOF:
		return "", errHalfNote
	case err == bufio.ErrBufferFull:
		return "", fmt.Errorf("a line of more than %d bytes", maxNoteLine)
	}
	return "", err
}

// read returns the next note, or io.EOF after the last.
func (n *noteReader) read() (*Checkpoint, error) {
	first, err := n.readLine()
	if err != nil {
		return nil, err
	}
	at := n.line
	lines := []string{first}
	for lines[len(lines)-1] != "" {
		line, err := n.readLine()
		if err == io.EOF {
			return nil, errHalfNote
		}
		if err != nil {
			return nil, err
		}
		if lines = append(lines, line); len(lines) > maxNoteLines {
			return nil, fmt.Errorf("a note of more than %d lines", maxNoteLines)
		}
	}
	c, err := parseText(lines[:len(lines)-1])
	if err != nil {
		return nil, err
	}
	c.Line = at
	for {
		line, err := n.readLine()
		if err == io.EOF {
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		sig, ok := strings.CutPrefix(line, signatureMark)
		if !ok {
			n.next, n.have = line, true
			return c, nil
		}
		if c.Signatures = append(c.Signatures, sig); len(c.Signatures) > maxNoteLines {
			return nil, fmt.Errorf("more than %d signatures", maxNoteLines)
		}
	}
}

func parseText(lines []string) (*Checkpoint, error) {
	if len(lines) < 5 {
		return nil, fmt.Errorf("a note of %d lines, and the least are origin, size, root, boottime and lost", len(lines))
	}
	c := &Checkpoint{Origin: lines[0], Extra: lines[5:]}
	if len(c.Extra) == 0 {
		c.Extra = nil
	}
	run, ok := strings.CutPrefix(c.Origin, originPrefix)
	if !ok || CheckRun(run) != nil {
		return nil, fmt.Errorf("origin %.160q: want %sRUN", c.Origin, originPrefix)
	}
	var err error
	if c.Size, err = parseCount(lines[1]); err != nil {
		return nil, fmt.Errorf("size %w", err)
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) || len(lines[2]) != base64.StdEncoding.EncodedLen(len(root)) {
		return nil, fmt.Errorf("root %.80q: want 32 bytes in base64", lines[2])
	}
	copy(c.Root[:], root)
	boottime, ok := strings.CutPrefix(lines[3], "boottime ")
	if !ok {
		return nil, fmt.Errorf("%.80q: want the line boottime", lines[3])
	}
	b, err := parseCount(boottime)
	if err == nil && b > 1<<63-1 {
		err = errors.New("out of range")
	}
	if err != nil {
		return nil, fmt.Errorf("boottime %w", err)
	}
	c.Boottime = int64(b)
	lost, ok := strings.CutPrefix(lines[4], "lost ")
	if !ok {
		return nil, fmt.Errorf("%.80q: want the line lost", lines[4])
	}
	if c.Lost, err = parseCount(lost); err != nil {
		return nil, fmt.Errorf("lost %w", err)
	}
	return c, nil
}

// parseCount reads a decimal number that is written in the one way there is.
func parseCount(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%.40q: want a decimal number", s)
	}
	return n, nil
}
