package witness

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/org/edamame-posture/pkg/evidence"
)

// Record is all that a witness holds of a slot, as it tells it: signed with its
// key, so that it can be kept and shown.
type Record struct {
	Version int    `json:"version"` // 1
	Witness string `json:"witness"` // name of the key that signed
	Asked   int64  `json:"asked"`   // when it was told, Unix time
	Slot    ID     `json:"slot"`
	// First is the one commitment that was first.
	First First `json:"first"`
	// Cosigned are all checkpoints that were cosigned, in order. The first is
	// that of the first record.
	Cosigned []Cosigned `json:"cosigned"`
	// Conflicts are what does not go together with the above. Where there is
	// one, two histories were signed, or two commitments made, for one job.
	Conflicts []Conflict `json:"conflicts"`
}

// First is a commitment that was recorded.
type First struct {
	Time       int64             `json:"time"` // Unix time, by the witness's clock
	Origin     string            `json:"origin"`
	Commitment evidence.Hash     `json:"commitment"`        // its SHA-256
	Issuer     string            `json:"issuer,omitempty"`  // whose OIDC token said which job it is
	Service    string            `json:"service,omitempty"` // or the enrolled service that did
	Issued     int64             `json:"issued,omitempty"`  // when the token was issued, Unix time
	Claims     map[string]string `json:"claims"`            // of the token
	Checkpoint string            `json:"checkpoint"`        // the signed note
}

// Cosigned is a checkpoint that the witness signed.
type Cosigned struct {
	Time int64         `json:"time"` // Unix time, by the witness's clock
	Seq  uint64        `json:"seq"`  // place in the log's chain of keys
	Size uint64        `json:"size"`
	Root evidence.Hash `json:"root"`
	Text evidence.Hash `json:"text"` // SHA-256 of the checkpoint's text
	// Run is the SHA-256 over the Text of each checkpoint after the one that
	// was cosigned before, up to this one: those in between are held by it.
	Run evidence.Hash `json:"run"`
}

// runOf makes a Cosigned's Run.
func runOf(texts []evidence.Hash) evidence.Hash {
	h := sha256.New()
	for _, t := range texts {
		h.Write(t[:])
	}
	return evidence.Hash(h.Sum(nil))
}

// Kinds of conflict.
const (
	// SecondFirst is a second commitment for the slot, or for the log.
	SecondFirst = "second-first-record"
	// Fork is a second checkpoint signed with a key that had signed another.
	Fork = "fork"
	// Inconsistent is a checkpoint by the key that was due, whose tree is not
	// the known one with something appended, or for which no proof of that was
	// sent. Where its text stands in the evidence, it was only sent badly.
	Inconsistent = "inconsistent"
)

// Conflict is something that was refused and can be proven.
type Conflict struct {
	Time int64  `json:"time"` // Unix time, by the witness's clock
	Kind string `json:"kind"`
	// First is the commitment of a SecondFirst.
	First *First `json:"first,omitempty"`
	// Checkpoint is the signed note of the others.
	Checkpoint string        `json:"checkpoint,omitempty"`
	Text       evidence.Hash `json:"text"` // SHA-256 of the checkpoint's text
}

// Last returns the checkpoint that was cosigned last.
func (r *Record) Last() Cosigned { return r.Cosigned[len(r.Cosigned)-1] }

const recordHeader = "edamame-posture/witness-record/v1\n"

// sign encodes the record as a signed note: a line that says what it is, and
// the JSON on one line.
func (r *Record) sign(s note.Signer) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: recordHeader + string(b) + "\n"}, s)
}

// OpenRecord checks that one of the keys (verifier keys of C2SP signed-note)
// signed the record, and decodes it. It says nothing of how old it is: see
// Asked.
func OpenRecord(signed []byte, keys ...string) (*Record, error) {
	verifiers := make([]note.Verifier, len(keys))
	for i, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return nil, fmt.Errorf("witness key %.200q: %w", k, err)
		}
		verifiers[i] = v
	}
	return openRecord(signed, note.VerifierList(verifiers...))
}

func openRecord(signed []byte, keys note.Verifiers) (*Record, error) {
	if len(signed) > maxRecord {
		return nil, fmt.Errorf("a witness's record of more than %d bytes", maxRecord)
	}
	n, err := note.Open(signed, keys)
	if err != nil {
		return nil, fmt.Errorf("the witness's record is not signed by a key that is pinned: %w", err)
	}
	body, ok := strings.CutPrefix(n.Text, recordHeader)
	if !ok {
		return nil, errors.New("the note is signed by the witness, and is no record")
	}
	r := new(Record)
	if err := json.Unmarshal([]byte(body), r); err != nil {
		return nil, fmt.Errorf("the witness's record: %w", err)
	}
	if r.Version != 1 || len(r.Cosigned) == 0 {
		return nil, fmt.Errorf("the witness's record is of version %d with %d checkpoints: want version 1, and one checkpoint at least", r.Version, len(r.Cosigned))
	}
	return r, nil
}

// fresh says what is wrong with when the record was told.
func (r *Record) fresh(now time.Time) error {
	if d := now.Sub(time.Unix(r.Asked, 0)).Abs(); d > 5*time.Minute {
		return fmt.Errorf("the witness's record was told %v from now: an old answer, or a clock that is wrong", d.Round(time.Second))
	}
	return nil
}
