// Package witness is a server that holds, on another machine, what a log said
// of itself while its job ran, and the client that asks it. A release gate
// learns from it which commitment of a job was the first, that the log never
// had two histories, and that its end was not held back.
//
// The server speaks C2SP tlog-witness and gives cosignature/v1, with two
// additions for logs that live as long as one run and sign each checkpoint with
// another key: POST /first-record makes a log known, and add-checkpoint takes
// the checkpoints in between, so that the chain of keys has no hole.
// docs/witness.md describes all of it.
//
//	s, err := witness.Open(witness.Config{Dir: dir, Key: key, Issuers: issuers})
//	defer s.Close()
//	http.Serve(listener, s)
//
//	c, err := witness.NewClient("https://witness.example.org", vkey)
//	record, err := c.FirstRecord(ctx, witness.FirstRecord{…})
//	sig, err := c.AddCheckpoint(ctx, old, proof, notes)
//	record, err = c.Slot(ctx, slot)
package witness

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Bounds of what is sent.
const (
	// MaxCommitment is the greatest size of a commitment, in bytes.
	MaxCommitment = 64 << 10
	// MaxNotes is how many checkpoints one request may hold.
	MaxNotes = 1000

	maxNote    = 4 << 10   // bytes of one checkpoint with its signatures
	maxProof   = 63        // hashes of one proof, by C2SP tlog-witness
	maxRequest = 512 << 10 // bytes of an add-checkpoint
	maxFirst   = 128 << 10 // bytes of a first-record
	maxToken   = 16 << 10  // bytes of an OIDC token
	maxRecord  = 32 << 20  // bytes of a slot's record, as it is sent
)

// Slot names the one place that a job has for its evidence. Its parts come
// from who vouches for the job, not from the job's environment.
type Slot struct {
	// Issuer is the URL of the OIDC issuer; of an enrolled service it is
	// "service", a line end and the service's name.
	Issuer       string
	RepositoryID string
	RunID        string
	RunAttempt   string
	CheckRunID   string
}

// slotClaims are the claims of a token that make a slot, in order.
var slotClaims = [...]string{"repository_id", "run_id", "run_attempt", "check_run_id"}

// ServiceIssuer is the Issuer of the slots of an enrolled service.
func ServiceIssuer(name string) string { return "service\n" + name }

// ID is a slot's digest, by which it is known.
type ID [sha256.Size]byte

// ID returns the slot's digest.
func (s Slot) ID() ID {
	return sha256.Sum256([]byte("edamame-posture/slot/v1\n" +
		strings.Join([]string{s.Issuer, s.RepositoryID, s.RunID, s.RunAttempt, s.CheckRunID}, "\n")))
}

// String returns the digest in hexadecimal digits, in lower case.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText gives what String gives.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText decodes what String gives, and nothing else.
func (id *ID) UnmarshalText(b []byte) error {
	raw, err := hex.DecodeString(string(b))
	if err != nil || len(raw) != len(id) || hex.EncodeToString(raw) != string(b) {
		return fmt.Errorf("%.80q: want 32 bytes in hexadecimal digits, in lower case", b)
	}
	copy(id[:], raw)
	return nil
}

// Audience is what the OIDC token of a first record must be made for.
func Audience(commitment []byte) string {
	sum := sha256.Sum256(commitment)
	return "posture:v1:" + base64.RawURLEncoding.EncodeToString(sum[:])
}
