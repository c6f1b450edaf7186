package attest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/org/edamame-posture/pkg/evidence"
)

// StartPredicateType is that of a statement about the beginning of a
// recording.
const StartPredicateType = "https://github.com/org/edamame-posture/start/v1"

// Names of the subjects of a start statement. A log that finds entries by the
// digests of their subjects finds all that were made for one slot.
const (
	SlotSubject       = "slot"
	CommitmentSubject = "commitment"
)

// startStatement is an in-toto statement about a commitment.
type startStatement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     start     `json:"predicate"`
}

// start is the predicate: what who meets the statement alone would ask.
type start struct {
	Origin string `json:"origin"`
	Key    string `json:"key"` // of the first checkpoint
	Tool   string `json:"tool"`
	Boot   string `json:"boot"`
	// Job is the job that is recorded, where the commitment could not say it yet:
	// the signer's word.
	Job *evidence.Claims `json:"job,omitempty"`
}

// DescribeStart makes the payload of the statement about a commitment. job is
// the job that is recorded, where the commitment does not name it; nil else.
func DescribeStart(commitment []byte, job *evidence.Claims) ([]byte, error) {
	c, err := evidence.ParseCommitment(commitment)
	if err != nil {
		return nil, err
	}
	slot := c.Slot
	if job != nil {
		if c.Claims != nil {
			return nil, errors.New("the commitment names its job itself")
		}
		if err := job.Check(); err != nil {
			return nil, err
		}
		slot = job.Slot()
	}
	sum := sha256.Sum256(commitment)
	s := startStatement{
		Type: StatementType, PredicateType: StartPredicateType,
		Subject:   []Subject{{Name: CommitmentSubject, Digest: Digest{SHA256: hex.EncodeToString(sum[:])}}},
		Predicate: start{Origin: c.Origin, Key: c.Key, Tool: c.Tool.SHA256, Boot: c.Boot, Job: job},
	}
	if slot != "" {
		s.Subject = append(s.Subject, Subject{Name: SlotSubject, Digest: Digest{SHA256: slot}})
	}
	return json.Marshal(s)
}

// AboutStart holds a start statement against the commitment at hand. It returns
// the job that the statement names in the commitment's place, nil where it names
// none.
func (r *Result) AboutStart(commitment []byte) (job *evidence.Claims, err error) {
	var said startStatement
	if err := json.Unmarshal(r.Payload, &said); err != nil {
		return nil, fmt.Errorf("%w: the start statement: %w", ErrSubject, err)
	}
	job = said.Predicate.Job
	want, err := DescribeStart(commitment, job)
	if err != nil {
		return nil, fmt.Errorf("%w: the start statement: %w", ErrSubject, err)
	}
	if string(r.Payload) != string(want) {
		return nil, fmt.Errorf("%w: the start statement is about another commitment than the one at hand", ErrSubject)
	}
	return job, nil
}

// SlotClaims reads from a job's token which job of which run it is, without
// checking it: who checks reads the token that the issuer made for the
// commitment. It returns nil for a token that does not name a job.
func SlotClaims(token string) (*evidence.Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the identity token is not a JWT: want three parts with dots between them")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, errors.New("the identity token is not a JWT: its second part is not base64url")
	}
	var c struct {
		Issuer       string `json:"iss"`
		RepositoryID string `json:"repository_id"`
		RunID        string `json:"run_id"`
		RunAttempt   string `json:"run_attempt"`
		CheckRunID   string `json:"check_run_id"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("the identity token is not a JWT: %w", err)
	}
	if c.CheckRunID == "" || c.RunID == "" {
		return nil, nil
	}
	return &evidence.Claims{
		Issuer: c.Issuer, RepositoryID: c.RepositoryID, RunID: c.RunID, RunAttempt: c.RunAttempt, CheckRunID: c.CheckRunID,
	}, nil
}
