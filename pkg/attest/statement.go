// Package attest makes and checks signed statements about evidence: an in-toto
// statement in a DSSE envelope in a Sigstore bundle, as attestation.json.
//
//	stmt, err := attest.Describe(".posture", tool)
//	bundle, err := attest.Sign(ctx, stmt, &attest.Key{Signer: key})
//	...
//	res, err := attest.VerifyBundle(bundle, &attest.Policy{Key: pub})
//	err = res.About(manifest)
//
// The statement's subject is evidence/manifest.json, which names every file of
// the evidence and the root of the log's tree; so who has checked the statement
// can check, with package evidence, all that it speaks of. It carries no level
// of assurance: a job cannot grade itself.
//
// What is signed with a key says only that the holder of the key says so. A
// job that can read the key is the holder. What is signed without one, by
// [Keyless], says that some code in the run that the certificate names says so.
package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// StatementType is the type of an in-toto statement,
	// https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md.
	StatementType = "https://in-toto.io/Statement/v1"
	// oldStatementType is what cosign attest-blob still writes.
	oldStatementType = "https://in-toto.io/Statement/v0.1"
	// PredicateType is that of a runtime trace,
	// https://github.com/in-toto/attestation/blob/main/spec/predicates/runtime-trace.md.
	PredicateType = "https://in-toto.io/attestation/runtime-trace/v0.1"
	// PayloadType is that of an in-toto statement in a DSSE envelope.
	PayloadType = "application/vnd.in-toto+json"

	// MonitorType says who made the trace and what its entries look like.
	MonitorType = extension + "monitor/v1"
	// CommandType and JobType are the kinds of monitored process.
	CommandType = extension + "command/v1"
	JobType     = extension + "github-job/v1"

	// extension is the prefix of all that is not of the predicate's own words.
	extension = "https://github.com/org/edamame-posture/runtime-trace/"
)

// maxStatement is the size of a statement in bytes. Transparency logs keep no
// more than 100 KB of one.
const maxStatement = 100_000

// ManifestName is the name of the first subject.
const ManifestName = "evidence/manifest.json"

// Statement is an in-toto statement about a recording.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// Subject is a file that the statement is about.
type Subject struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
	// MediaType says that it is no file which was read here.
	MediaType string `json:"mediaType,omitempty"`
}

// ImageType is the media type of a container image that is a subject: of it
// there is only the word of who wrote the runner's list of artifacts.
const ImageType = "application/vnd.oci.image.manifest.v1+json"

// Digest holds hashes in hex, lower case: a file's, or the name of a Git
// commit, which is SHA-1 or SHA-256 as the repository is.
type Digest struct {
	SHA256    string `json:"sha256,omitempty"`
	GitCommit string `json:"gitCommit,omitempty"`
}

// Predicate is a runtime trace. Keys that are URIs are this project's own.
type Predicate struct {
	Monitor          Monitor          `json:"monitor"`
	MonitoredProcess MonitoredProcess `json:"monitoredProcess"`
	MonitorLog       MonitorLog       `json:"monitorLog"`
	Metadata         *Metadata        `json:"metadata,omitempty"`

	Verdict  Verdict  `json:"https://github.com/org/edamame-posture/runtime-trace/verdict/v1"`
	Coverage Coverage `json:"https://github.com/org/edamame-posture/runtime-trace/coverage/v1"`
	EventLog EventLog `json:"https://github.com/org/edamame-posture/runtime-trace/event-log/v1"`
	Inputs   Inputs   `json:"https://github.com/org/edamame-posture/runtime-trace/inputs/v1"`
	Sealing  Sealing  `json:"https://github.com/org/edamame-posture/runtime-trace/sealing/v1"`
	Power    *Power   `json:"https://github.com/org/edamame-posture/runtime-trace/power/v1,omitempty"`
}

// Monitor is who made the trace.
type Monitor struct {
	Type        string     `json:"type"`
	TracePolicy *Reference `json:"tracePolicy,omitempty"`
	Version     string     `json:"https://github.com/org/edamame-posture/runtime-trace/tool-version/v1,omitempty"`
}

// Reference is an in-toto resource descriptor.
type Reference struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
}

// MonitoredProcess is what was watched.
type MonitoredProcess struct {
	HostID string `json:"hostID"`
	Type   string `json:"type"`
	Event  string `json:"event"` // the run's id
}

// MonitorLog is the part of the trace that stands in the statement itself. The
// whole trace is the log that the event log's root names.
type MonitorLog struct {
	Process []Process `json:"process,omitempty"`
	Network []Network `json:"network,omitempty"`
	// NetworkOmitted counts destinations for which there was no room.
	NetworkOmitted int `json:"https://github.com/org/edamame-posture/runtime-trace/network-omitted/v1,omitempty"`
}

// Process is what was run.
type Process struct {
	Argv []string `json:"argv"`
	Cut  bool     `json:"argvCut,omitempty"`
	Exit int      `json:"exit"`
}

// Network is a destination that the intent did not explain.
type Network struct {
	Direction   string   `json:"direction"`   // outbound
	Destination string   `json:"destination"` // host:port/proto
	Process     []string `json:"process"`     // base names, the doer first
	Standing    string   `json:"standing"`    // undeclared or forbidden
	Sent        uint64   `json:"bytesSent"`
	Received    uint64   `json:"bytesReceived"`
	Leaf        uint64   `json:"leaf"` // place of the first event in the log
}

// Metadata holds times in RFC 3339.
type Metadata struct {
	Started  string `json:"buildStartedOn,omitempty"`
	Finished string `json:"buildFinishedOn,omitempty"`
}

// Verdict holds what a release gate or an admission controller asks for, as
// plain values that no policy language needs a loop for.
type Verdict struct {
	Verdict  string   `json:"verdict"`
	Reasons  []string `json:"reasons"`
	Score    int      `json:"score"`
	Critical int      `json:"criticalFindings"`
	High     int      `json:"highFindings"`
	Medium   int      `json:"mediumFindings"`
	Low      int      `json:"lowFindings"`
	Info     int      `json:"infoFindings"`
	Rules    []string `json:"rules"` // of the findings, each once
	// RulesOmitted counts rules for which there was no room.
	RulesOmitted int    `json:"rulesOmitted"`
	Facts        uint64 `json:"facts"`
	Undeclared   uint64 `json:"undeclaredFacts"`
	Forbidden    int    `json:"forbiddenFacts"`
	SHA256       string `json:"sha256"` // of verdict.json, hex
}

// Coverage says what was seen of what happened.
type Coverage struct {
	State   string `json:"state"`
	Sensor  string `json:"sensor"`
	Witness string `json:"witness"`
	Events  uint64 `json:"events"`
	Lost    uint64 `json:"lostEvents"`
	Gaps    int    `json:"gaps"`
}

// Sealing says how the log was begun and signed while it grew.
type Sealing struct {
	Commitment  string `json:"commitmentSHA256,omitempty"` // of commitment.json, hex
	Slot        string `json:"slot,omitempty"`             // which job was recorded, hex
	FirstKey    string `json:"firstKey,omitempty"`         // of the first checkpoint, base64
	Checkpoints uint64 `json:"checkpoints"`
	Signed      uint64 `json:"signedCheckpoints"` // of them, from the first on
	Ended       bool   `json:"chainEnded"`        // the last names no next key
}

// Power says who took power over the machine: judge.Power.
type Power struct {
	State  string   `json:"state"`
	First  uint64   `json:"firstLeaf,omitempty"`
	Ways   []string `json:"ways"`
	Held   uint64   `json:"barriersHeld"`
	Missed uint64   `json:"barriersMissed"`
}

// EventLog names the log. Its hashes are those of RFC 6962.
type EventLog struct {
	Hash string `json:"hash"` // rfc6962-sha256
	Size uint64 `json:"treeSize"`
	Root string `json:"rootHash"` // base64, as in the manifest
	Lost uint64 `json:"lost"`
}

// Inputs names what the verdict was computed from beside the log. A digest is
// empty where there was no such input.
type Inputs struct {
	Judge            string `json:"judge"`
	IntentName       string `json:"intentName"`
	IntentSHA256     string `json:"intentSHA256"`
	SignaturesName   string `json:"signaturesName"`
	SignaturesSHA256 string `json:"signaturesSHA256"`
}

// AddSubject adds what else the statement is about: a file by its SHA-256, or a
// commit. The same subject twice is one.
func (s *Statement) AddSubject(sub Subject) error {
	d := sub.Digest
	switch {
	case sub.Name == "":
		return errors.New("a subject needs a name")
	case d.SHA256 == "" && d.GitCommit == "":
		return fmt.Errorf("subject %.80q has a name only: want a digest, for names prove nothing", sub.Name)
	case d.SHA256 != "" && !isHex(d.SHA256, 64):
		return fmt.Errorf("subject %.80q: sha256 %.80q: want 64 hexadecimal digits in lower case", sub.Name, d.SHA256)
	case d.GitCommit != "" && !isHex(d.GitCommit, 40) && !isHex(d.GitCommit, 64):
		return fmt.Errorf("subject %.80q: commit %.80q: want 40 or 64 hexadecimal digits in lower case", sub.Name, d.GitCommit)
	case slices.Contains(s.Subject, sub):
		return nil
	case len(s.Subject) >= maxSubjects:
		return fmt.Errorf("more than %d subjects: verifiers refuse such a statement", maxSubjects)
	}
	s.Subject = append(s.Subject, sub)
	return nil
}

func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}

// maxSubjects is what sigstore-go and GitHub's attestations allow.
const maxSubjects = 1024

// Encode returns the statement as it is signed. It refuses one that lacks what
// the predicate type requires, or is too large.
func (s *Statement) Encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if len(b) > maxStatement {
		return nil, fmt.Errorf("the statement has %d bytes, %d are allowed: name fewer subjects", len(b), maxStatement)
	}
	return b, nil
}

// check reports what the statement lacks of what its types require.
func (s *Statement) check() error {
	if s.Type != StatementType {
		return fmt.Errorf("statement type is %.200q, want %q", s.Type, StatementType)
	}
	if s.PredicateType != PredicateType {
		return fmt.Errorf("predicate type is %.200q, want %q", s.PredicateType, PredicateType)
	}
	p := &s.Predicate
	for _, f := range []struct {
		name  string
		there bool
	}{
		{"subject", len(s.Subject) > 0},
		{"monitor.type", p.Monitor.Type != ""},
		{"monitoredProcess.hostID", p.MonitoredProcess.HostID != ""},
		{"monitoredProcess.type", p.MonitoredProcess.Type != ""},
		{"monitoredProcess.event", p.MonitoredProcess.Event != ""},
		{"monitorLog", len(p.MonitorLog.Process)+len(p.MonitorLog.Network) > 0},
	} {
		if !f.there {
			return fmt.Errorf("the statement has no %s, which its type requires", f.name)
		}
	}
	return nil
}
