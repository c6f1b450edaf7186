// Package gate decides whether an artifact may be released, by what was
// recorded while it was built: it holds signed statements and their evidence
// against a release policy, on another machine than the one that was watched.
//
//	policy, err := gate.LoadPolicy("release-gate.yml")
//	in := &gate.Input{Policy: policy, Artifacts: artifacts, Now: time.Now()}
//	in.Add(gate.ReadPath("results"))
//	decision := gate.Decide(ctx, in)
//	os.Exit(decision.ExitCode())
//
// A statement carries no level of assurance, and nothing that it says of itself
// counts before the log says the same: the level is what was checked here. The
// intent is the gate's own. What is not there, or could not be asked, is never
// taken for good.
package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Level says how far a recording can be relied on.
type Level int

// The levels. Each includes the one before.
const (
	None Level = iota
	E0         // the files fit together; anyone may have written them
	E1         // the holder of a key that the policy names says so
	E2         // some code in the run that the policy names says so
	E3         // nobody without power over the machine changed the record
	E4         // and nobody wrote it afterwards, or shows two
)

// String is none, E0, E1, E2, E3 or E4.
func (l Level) String() string {
	if l < E0 || l > E4 {
		return "none"
	}
	return [...]string{"E0", "E1", "E2", "E3", "E4"}[l-E0]
}

// MarshalText implements [encoding.TextMarshaler].
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Status is what a check came to.
type Status string

// What a check comes to.
const (
	Passed  Status = "pass"
	Refused Status = "refused"
	// Unknown is what could not be checked, since something did not answer.
	Unknown Status = "unknown"
	// Unchecked is what this gate does not check, or cannot with what it was
	// given. It never raises a level.
	Unchecked Status = "not checked"
)

// Reason is a word for why something was refused, for programs.
type Reason string

// The reasons.
const (
	NothingFound     Reason = "nothing-found"
	Malformed        Reason = "malformed"
	PredicateType    Reason = "predicate-type"
	Unsigned         Reason = "unsigned"
	BadSignature     Reason = "signature"
	Expired          Reason = "expired"
	Untrusted        Reason = "untrusted"
	WrongIdentity    Reason = "identity"
	WrongRepository  Reason = "repository"
	WrongTrigger     Reason = "trigger"
	OtherRun         Reason = "other-run"
	OtherCommit      Reason = "other-commit"
	WrongSubject     Reason = "wrong-subject"
	WrongEvidence    Reason = "wrong-evidence"
	EvidenceMissing  Reason = "evidence-missing"
	LogTampered      Reason = "log-tampered"
	ChainCut         Reason = "chain-cut"
	ChainUnsigned    Reason = "chain-unsigned"
	NotClosed        Reason = "not-closed"
	Silence          Reason = "silence"
	VerdictDiffers   Reason = "verdict-differs"
	CannotRecompute  Reason = "cannot-recompute"
	TwoStatements    Reason = "two-statements"
	TooOld           Reason = "too-old"
	WrongIntent      Reason = "intent"
	BadVerdict       Reason = "verdict"
	HighScore        Reason = "score"
	LowTightness     Reason = "tightness"
	HasFinding       Reason = "finding"
	PartialCoverage  Reason = "coverage"
	OldSignatures    Reason = "signature-pack-old"
	WrongSignatures  Reason = "signature-pack"
	PowerTaken       Reason = "power"
	JobMissing       Reason = "job-missing"
	JobFailed        Reason = "job-failed"
	JobUnknown       Reason = "job-unknown"
	JobsUnknown      Reason = "jobs-unknown"
	NoCommitment     Reason = "no-commitment"
	NotHost          Reason = "not-the-host"
	BeforeStart      Reason = "before-the-start"
	WrongWorkflow    Reason = "workflow"
	WrongRunner      Reason = "runner"
	NoStartToken     Reason = "no-start-token"
	NoEndToken       Reason = "no-end-token"
	NoIssuerKey      Reason = "issuer-key"
	WrongAudience    Reason = "audience"
	OtherJob         Reason = "other-job"
	LateStart        Reason = "late-start"
	NoStartStatement Reason = "no-start-statement"
	NoFirstRecord    Reason = "no-first-record"
	WrongRecord      Reason = "record"
	SecondCommitment Reason = "second-commitment"
	ClockDiffers     Reason = "clock"
	OtherHistory     Reason = "other-history"
	Withheld         Reason = "withheld"
	Unwitnessed      Reason = "unwitnessed"
	EndUnwitnessed   Reason = "end-unwitnessed"
	WrongTimestamp   Reason = "timestamp"
	Undated          Reason = "undated"
	WriterUnknown    Reason = "writer-unknown"
	OtherWriter      Reason = "other-writer"
	LowLevel         Reason = "level"
	ServiceDown      Reason = "service-down"
	NotImplemented   Reason = "not-checked"
	SourceUnreadable Reason = "source"
)

// Check is one thing that was looked at.
type Check struct {
	Name string `json:"check"`
	// Level is the one that it belongs to; none for a rule of the policy.
	Level  Level  `json:"level"`
	Status Status `json:"status"`
	Reason Reason `json:"reason,omitempty"`
	Want   string `json:"want,omitempty"`
	Got    string `json:"got,omitempty"`
	Do     string `json:"do,omitempty"`
}

// Artifact is what is to be released: a file by its SHA-256 in hex, or a
// commit.
type Artifact struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256,omitempty"`
	Commit string `json:"gitCommit,omitempty"`
	// File says that it is one that is at hand, and no image.
	File bool `json:"-"`
}

// Job is a job of a run, as GitHub lists it.
type Job struct {
	ID         int64
	Name       string
	Attempt    int64 // in which it really ran
	Status     string
	Conclusion string
	Started    time.Time // zero where GitHub does not say
}

// Candidate is a statement that was found, and the folder of results that it
// came with, where there is one.
type Candidate struct {
	Where  string // for a person
	Bundle []byte // nil where a folder has none
	Dir    string // empty where there is no evidence
	// Named says that it was pointed at, and not found among others.
	Named bool
}

// Decision is what the gate says.
type Decision struct {
	Version  int        `json:"version"`
	Outcome  Status     `json:"outcome"` // pass, refused or unknown
	Level    Level      `json:"level"`
	Next     string     `json:"next,omitempty"` // why not one more
	Reasons  []Reason   `json:"reasons"`
	Policy   PolicyName `json:"policy"`
	Time     time.Time  `json:"time"`
	Artifact []Artifact `json:"artifacts"`
	// Checks are those over all statements.
	Checks     []Check      `json:"checks"`
	Statements []*Statement `json:"statements"`
	// SetAside are statements that were found and say nothing of this release.
	SetAside []Aside `json:"setAside,omitempty"`
}

// PolicyName says by which policy it was decided.
type PolicyName struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// Aside is a statement that was passed over.
type Aside struct {
	Where string `json:"where"`
	Why   string `json:"why"`
}

// Statement is what was found of one statement.
type Statement struct {
	Where    string     `json:"where"`
	SHA256   string     `json:"sha256,omitempty"` // of the signed statement
	Level    Level      `json:"level"`
	Signer   string     `json:"signer,omitempty"`
	Run      string     `json:"run,omitempty"`
	Job      string     `json:"job,omitempty"`
	SignedAt *time.Time `json:"signedAt,omitempty"`
	Verdict  string     `json:"verdict,omitempty"` // by the gate's intent and signatures
	Score    int        `json:"score"`
	About    []string   `json:"about"`
	Checks   []Check    `json:"checks"`
	bundle   []byte
}

// ExitCode is 0 for pass, 1 for refused and 4 for what could not be checked.
func (d *Decision) ExitCode() int {
	switch d.Outcome {
	case Passed:
		return 0
	case Refused:
		return 1
	}
	return 4
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
