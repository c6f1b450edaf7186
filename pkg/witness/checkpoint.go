package witness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/org/edamame-posture/pkg/evidence"
)

const originPrefix = "edamame-posture/"

// checkpoint is one signed note whose signature by the key that it names was
// checked. Nothing is said of whose key that is.
type checkpoint struct {
	origin string
	size   uint64
	root   evidence.Hash
	seq    uint64        // place in the chain of keys, from 0
	next   evidence.Hash // SHA-256 of the next one's key; zero in the last
	key    evidence.Hash // SHA-256 of its own key
	text   evidence.Hash // SHA-256 of the text
	pub    ed25519.PublicKey
	raw    []byte // the note
}

// errSignature is what a note that is well formed and not signed by the key it
// names wraps.
var errSignature = errors.New("not signed by the key that the checkpoint names")

// parseCheckpoint reads a note and checks its signature.
func parseCheckpoint(raw []byte) (*checkpoint, error) {
	if len(raw) > maxNote {
		return nil, fmt.Errorf("a checkpoint of %d bytes, %d are allowed", len(raw), maxNote)
	}
	text, _, ok := bytes.Cut(raw, []byte("\n\n"))
	lines := strings.Split(string(text), "\n")
	if !ok || len(lines) < 8 {
		return nil, errors.New("want the lines origin, size, root, boottime, lost, seq, next and key, an empty line and signatures")
	}
	c := &checkpoint{origin: lines[0], raw: raw}
	run, ok := strings.CutPrefix(c.origin, originPrefix)
	if !ok || evidence.CheckRun(run) != nil || strings.Contains(run, "+") {
		// A note's signature line takes no name with a plus.
		return nil, fmt.Errorf("origin %.160q: want %sRUN, RUN of A-Z a-z 0-9 . _ : @ -", c.origin, originPrefix)
	}
	var err error
	if c.size, err = parseCount(lines[1]); err != nil {
		return nil, fmt.Errorf("size %w", err)
	}
	if err := c.root.UnmarshalText([]byte(lines[2])); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	var seq, next, key string
	for i, f := range []struct {
		name  string
		value *string
	}{{"boottime ", new(string)}, {"lost ", new(string)}, {"seq ", &seq}, {"next ", &next}, {"key ", &key}} {
		if *f.value, ok = strings.CutPrefix(lines[3+i], f.name); !ok {
			return nil, fmt.Errorf("line %d is %.80q: want %q", 4+i, lines[3+i], f.name)
		}
	}
	if c.seq, err = parseCount(seq); err != nil {
		return nil, fmt.Errorf("seq %w", err)
	}
	var pub evidence.Hash // of the same form
	if err := errors.Join(c.next.UnmarshalText([]byte(next)), pub.UnmarshalText([]byte(key))); err != nil {
		return nil, fmt.Errorf("next or key: %w", err)
	}
	c.pub = pub[:]
	c.key = sha256.Sum256(c.pub)
	vkey, err := note.NewEd25519VerifierKey(c.origin, c.pub)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(raw, note.VerifierList(v))
	if _, bad := errors.AsType[*note.InvalidSignatureError](err); bad {
		return nil, errSignature
	}
	if _, none := errors.AsType[*note.UnverifiedNoteError](err); none {
		return nil, errSignature
	}
	if err != nil {
		return nil, err
	}
	if len(n.Text) != len(text)+1 {
		return nil, errors.New("an empty line stands in the text")
	}
	c.text = sha256.Sum256([]byte(n.Text))
	return c, nil
}

// unsigned returns the text of the note.
func (c *checkpoint) unsigned() []byte {
	text, _, _ := bytes.Cut(c.raw, []byte("\n\n"))
	return append(text[:len(text):len(text)], '\n')
}

// ends reports whether the checkpoint says that it is the last of its log.
func (c *checkpoint) ends() bool { return c.next == evidence.Hash{} }

// request is what add-checkpoint is asked.
type request struct {
	old   uint64
	proof [][]byte
	// notes are the checkpoints, each by its own bytes. The last is the one to
	// be cosigned.
	notes [][]byte
}

// parseRequest reads the body of an add-checkpoint: the line "old", the proof,
// an empty line, and a run of one or more notes.
func parseRequest(body []byte) (*request, error) {
	head, rest, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return nil, errors.New("want the line old, a proof, an empty line and a checkpoint")
	}
	if bytes.Count(head, []byte("\n")) > maxProof {
		return nil, fmt.Errorf("more than %d lines of proof", maxProof)
	}
	lines := strings.Split(string(head), "\n")
	r := new(request)
	old, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return nil, fmt.Errorf("%.80q: want the line old SIZE", lines[0])
	}
	var err error
	if r.old, err = parseCount(old); err != nil {
		return nil, fmt.Errorf("old %w", err)
	}
	for _, line := range lines[1:] {
		var h evidence.Hash
		if err := h.UnmarshalText([]byte(line)); err != nil {
			return nil, fmt.Errorf("proof: %w", err)
		}
		r.proof = append(r.proof, h[:])
	}
	r.notes, err = splitNotes(rest)
	return r, err
}

// signatureMark begins a signature line (C2SP signed-note).
const signatureMark = "— "

// splitNotes cuts a run of notes as docs/evidence-format.md does: a note ends
// where, after its empty line, a line does not begin with the mark.
func splitNotes(b []byte) ([][]byte, error) {
	var notes [][]byte
	for len(b) > 0 {
		if len(notes) == MaxNotes {
			return nil, fmt.Errorf("more than %d checkpoints: send them in several requests", MaxNotes)
		}
		end := bytes.Index(b, []byte("\n\n"))
		if end < 0 {
			return nil, errors.New("a checkpoint without its empty line and signatures")
		}
		for end += 2; bytes.HasPrefix(b[end:], []byte(signatureMark)); {
			n := bytes.IndexByte(b[end:], '\n')
			if n < 0 {
				return nil, errors.New("a signature line that does not end")
			}
			end += n + 1
		}
		notes = append(notes, b[:end:end])
		b = b[end:]
	}
	if len(notes) == 0 {
		return nil, errors.New("there is no checkpoint")
	}
	return notes, nil
}

// append writes what parseRequest reads.
func (r *request) append(b []byte) []byte {
	b = append(strconv.AppendUint(append(b, "old "...), r.old, 10), '\n')
	for _, h := range r.proof {
		b = append(base64.StdEncoding.AppendEncode(b, h), '\n')
	}
	b = append(b, '\n')
	for _, n := range r.notes {
		b = append(b, n...)
	}
	return b
}

// parseCount reads a decimal number that is written in the one way there is.
func parseCount(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%.40q: want a decimal number", s)
	}
	return n, nil
}
