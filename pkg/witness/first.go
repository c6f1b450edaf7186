package witness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/org/edamame-posture/pkg/evidence"
)

// FirstRecord is what makes a log known: the body of POST /first-record.
type FirstRecord struct {
	// Commitment is the log's commitment.json, byte by byte, whose hash leaf 0
	// names.
	Commitment []byte `json:"commitment"`
	// Checkpoint is the log's first one, seq 0: a signed note.
	Checkpoint string `json:"checkpoint"`
	// Endorsement is an enrolled service's note. Where there is none, Token
	// says which job it is.
	Endorsement string `json:"endorsement,omitempty"`
	// Token is an OIDC token for Audience(Commitment). It goes as a header, so
	// that what logs requests knows it for a secret.
	Token string `json:"-"`
}

// commitment is what is read of one.
type commitment struct {
	Slot   ID            `json:"slot"`
	Origin string        `json:"origin"`
	Key    evidence.Hash `json:"key"` // public key of checkpoint 0
	Claims claims        `json:"claims"`
}

// errMismatch is what a commitment that is not this checkpoint's wraps.
var errMismatch = errors.New("the commitment does not fit")

// parseFirst reads the body of a first-record.
func parseFirst(body []byte) (*FirstRecord, *commitment, *checkpoint, error) {
	f := new(FirstRecord)
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(f); err != nil {
		return nil, nil, nil, err
	}
	if dec.More() {
		return nil, nil, nil, errors.New("something stands after the object")
	}
	if len(f.Commitment) > MaxCommitment {
		return nil, nil, nil, fmt.Errorf("a commitment of %d bytes, %d are allowed", len(f.Commitment), MaxCommitment)
	}
	c := new(commitment)
	if err := strict.Unmarshal(f.Commitment, c); err != nil {
		return nil, nil, nil, fmt.Errorf("commitment: %w", err)
	}
	cp, err := parseCheckpoint([]byte(f.Checkpoint))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("checkpoint: %w", err)
	}
	switch {
	case cp.seq != 0:
		return nil, nil, nil, fmt.Errorf("%w: checkpoint %d of the chain, want the first, 0", errMismatch, cp.seq)
	case cp.size == 0:
		return nil, nil, nil, fmt.Errorf("%w: the checkpoint covers nothing, and leaf 0 names the commitment", errMismatch)
	case cp.ends():
		return nil, nil, nil, fmt.Errorf("%w: the checkpoint names no next key", errMismatch)
	case c.Origin != cp.origin:
		return nil, nil, nil, fmt.Errorf("%w: it is for the log %.160q, and the checkpoint for %q", errMismatch, c.Origin, cp.origin)
	case !bytes.Equal(c.Key[:], cp.pub):
		return nil, nil, nil, fmt.Errorf("%w: its key did not sign the checkpoint", errMismatch)
	}
	return f, c, cp, nil
}
