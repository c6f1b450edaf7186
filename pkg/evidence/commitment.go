package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Commitment is what a monitor says of a recording before anything of it
// runs. Who can show when it was said, and that nothing else was said for the
// same slot, knows that the log is the one that was begun then: its first
// checkpoint is signed with Key, and its start event names the commitment's
// hash.
type Commitment struct {
	Version int `json:"version"` // 1
	// Slot names the job that is recorded: see [Claims.Slot]. Empty for a
	// command that nobody else knows of.
	Slot   string  `json:"slot,omitempty"`
	Claims *Claims `json:"claims,omitempty"`
	Origin string  `json:"origin"` // of the checkpoints
	Key    string  `json:"key"`    // of the first checkpoint: Ed25519, base64

	Tool       Tool   `json:"tool"`
	Sensor     string `json:"sensor"`
	Barriers   int    `json:"barriers"`   // programs whose exec waits until what led to it is sealed
	Intent     string `json:"intent"`     // SHA-256 of inputs/intent.json in hex, "none" or [IntentLater]
	Signatures string `json:"signatures"` // the same of inputs/signatures.json

	Boot     string `json:"boot"`     // the machine's boot id
	Boottime int64  `json:"boottime"` // CLOCK_BOOTTIME in nanoseconds
	Wall     int64  `json:"wall"`     // Unix time in nanoseconds
	// Namespaces are the monitor's own, by their inode numbers. A monitor that
	// is not in the machine's first ones sees a part of it.
	Namespaces map[string]uint64 `json:"namespaces"`
	// Modules is the SHA-256 of the sorted names of the kernel's modules, one a
	// line, in hex.
	Modules string `json:"modules"`
	// Before is what was found running or loaded that may act on the job.
	Before []Before `json:"before"`

	key []byte // Key, decoded
}

// IntentLater is what a commitment says of the intent where a checkout still
// has to bring it: a note of the log names its SHA-256, IntentNote.
const (
	IntentLater = "workspace"
	IntentNote  = "intent of the workspace"
)

// Tool is the program that records.
type Tool struct {
	Version string `json:"version"`
	SHA256  string `json:"sha256"` // of the program's file, hex
}

// Before is something that was there before the recording.
type Before struct {
	Kind   string `json:"kind"` // process, container or preload
	Name   string `json:"name"`
	PID    uint32 `json:"pid,omitempty"`
	Parent uint32 `json:"parent,omitempty"`
}

// Claims say which job of which run is recorded, as the issuer of its tokens
// tells it.
type Claims struct {
	Issuer       string `json:"issuer"`
	RepositoryID string `json:"repository_id"`
	RunID        string `json:"run_id"`
	RunAttempt   string `json:"run_attempt"`
	CheckRunID   string `json:"check_run_id"`
}

// slotPrefix separates slots from everything else that is hashed.
const slotPrefix = "edamame-posture/slot/v1\n"

// Slot returns the digest that names the job, in hex. There is one slot for
// each attempt of a job, and one recording for each slot.
func (c *Claims) Slot() string {
	sum := sha256.Sum256([]byte(slotPrefix + c.Issuer + "\n" + c.RepositoryID + "\n" + c.RunID + "\n" + c.RunAttempt + "\n" + c.CheckRunID))
	return hex.EncodeToString(sum[:])
}

// audiencePrefix and the commitment's hash are the audience of the token by
// which an issuer says which job made the commitment, and when. Nobody else
// accepts a token of such an audience.
const audiencePrefix = "posture:v1:"

// Audience returns the audience of a start token for a commitment.
func Audience(commitment []byte) string {
	sum := sha256.Sum256(commitment)
	return audiencePrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// endPrefix begins the audience of an end token: no start token is one.
const endPrefix = "posture:end:v1:"

// EndAudience returns the audience of a token for the statement about a
// recording, as it is signed.
func EndAudience(statement []byte) string {
	sum := sha256.Sum256(statement)
	return endPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// servicePrefix begins the issuer of claims that an enrolled machine makes of
// its own jobs. A name follows. No issuer of tokens is called so.
const servicePrefix = "service\n"

// Check refuses claims in which something is missing, or could be read as two.
func (c *Claims) Check() error {
	for _, f := range []struct {
		name, value string
		number      bool
	}{
		{"issuer", c.Issuer, false}, {"repository_id", c.RepositoryID, true}, {"run_id", c.RunID, true},
		{"run_attempt", c.RunAttempt, true}, {"check_run_id", c.CheckRunID, true},
	} {
		if f.name == "issuer" {
			f.value = strings.TrimPrefix(f.value, servicePrefix)
		}
		if f.value == "" || len(f.value) > 256 || bytes.ContainsAny([]byte(f.value), "\n\r\x00") {
			return fmt.Errorf("claim %s is %.80q: want one line", f.name, f.value)
		}
		if n, err := strconv.ParseUint(f.value, 10, 64); f.number && (err != nil || strconv.FormatUint(n, 10) != f.value) {
			return fmt.Errorf("claim %s is %.80q: want a decimal number", f.name, f.value)
		}
	}
	return nil
}

// maxCommitment bounds a commitment, in bytes.
const maxCommitment = 256 << 10

// MaxBefore bounds what a commitment lists as having been there before.
const MaxBefore = 512

// Encode returns the commitment's bytes, of which its hash is made.
func (c *Commitment) Encode() ([]byte, error) {
	if c.Before == nil {
		c.Before = []Before{}
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("commitment: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return nil, err
	}
	if b.Len() > maxCommitment {
		return nil, fmt.Errorf("commitment: %d bytes, and %d are allowed", b.Len(), maxCommitment)
	}
	return b.Bytes(), nil
}

func (c *Commitment) check() error {
	if c.Version != 1 {
		return fmt.Errorf("version %d: this program reads version 1", c.Version)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(c.Key)
	if err != nil || len(key) != 32 {
		return fmt.Errorf("key %.80q: want 32 bytes in base64", c.Key)
	}
	c.key = key
	if len(c.Before) > MaxBefore {
		return fmt.Errorf("%d things that were there before: %d are allowed", len(c.Before), MaxBefore)
	}
	if c.Claims == nil {
		if c.Slot != "" {
			return errors.New("a slot without claims")
		}
		return nil
	}
	if err := c.Claims.Check(); err != nil {
		return err
	}
	if want := c.Claims.Slot(); c.Slot != want {
		return fmt.Errorf("slot %.80q: its claims give %s", c.Slot, want)
	}
	return nil
}

// ParseCommitment reads a commitment. It takes only the bytes that Encode
// gives, so that there is one text for one meaning.
func ParseCommitment(b []byte) (*Commitment, error) {
	if len(b) > maxCommitment {
		return nil, fmt.Errorf("commitment: %d bytes, and %d are allowed", len(b), maxCommitment)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	c := new(Commitment)
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("commitment: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("commitment: something follows it")
	}
	again, err := c.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("commitment: it is not written as this version writes it")
	}
	return c, nil
}

// StatusContext returns the context of the commit status that records a job's
// commitment at GitHub. Its description is what [Audience] returns.
func StatusContext(c *Claims) string { return "posture/" + c.CheckRunID }
