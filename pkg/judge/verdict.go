// Package judge is the one pure function verdict = f(log, intent, signatures).
package judge

import "github.com/org/edamame-posture/pkg/redact"

// Outcome is the word that a verdict comes to.
type Outcome string

// The outcomes.
const (
	Pass   Outcome = "pass"
	Review Outcome = "review"
	Fail   Outcome = "fail"
)

// Reason says why an outcome is what it is.
type Reason string

// The reasons of format version 1.
const (
	NoIntent        Reason = "no-intent"
	PartialCoverage Reason = "partial-coverage"
	Undeclared      Reason = "undeclared"
	Forbidden       Reason = "forbidden"
	HasFinding      Reason = "finding"
	LowTightness    Reason = "low-tightness"
	Unsealed        Reason = "unsealed"
	Omission        Reason = "omission"
)

// Severity orders facts and findings.
type Severity string

// Severities, lowest first.
const (
	Info     Severity = "info"
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Verdict is verdict.json: a public format, docs/verdict.schema.json. It is a
// pure function of log, intent and signatures, and its bytes are the same on
// every machine.
type Verdict struct {
	Version   int       `json:"version"`
	Verdict   Outcome   `json:"verdict"`
	Reasons   []Reason  `json:"reasons"`
	Score     int       `json:"score"` // 0 to 100, DESIGN §7
	Tightness Tightness `json:"tightness"`
	Run       Run       `json:"run"`
	Inputs    Inputs    `json:"inputs"`
	Coverage  Coverage  `json:"coverage"`
	Power     *Power    `json:"power,omitempty"` // from judge/2 on
	Findings  []Finding `json:"findings"`
	// Agents are the sessions of coding agents, from judge/4 on.
	Agents     []AgentSession `json:"agents,omitempty"`
	Undeclared []Fact         `json:"undeclared"`
	Forbidden  []Fact         `json:"forbidden"`
	Facts      Totals         `json:"facts"`
	Ledger     []Entry        `json:"ledger"`
}

// Tightness says per verb how specific the grants were that explained what
// was seen, in thousandths (1000 is exact); -1 where nothing was seen.
type Tightness struct {
	Egress      int `json:"egress"`
	Exec        int `json:"exec"`
	Write       int `json:"write"`
	Credentials int `json:"credentials"`
}

// Run says what was watched. ID is the boot id and the root actor.
type Run struct {
	ID         string  `json:"id"`
	Repository string  `json:"repository,omitempty"`
	Commit     string  `json:"commit,omitempty"`
	Workflow   string  `json:"workflow,omitempty"`
	Job        string  `json:"job,omitempty"`
	Attempt    string  `json:"attempt,omitempty"`
	Host       string  `json:"host"`
	Command    Command `json:"command"`
	Started    string  `json:"started"` // RFC 3339, UTC, from the log
	Ended      string  `json:"ended"`
}

// Command is what was run and how it ended.
type Command struct {
	Argv []string `json:"argv"`
	Exit int      `json:"exit"` // 128+n where a signal ended it; -1 where the log does not say
}

// Inputs names what the verdict was computed from, besides the log.
type Inputs struct {
	Judge      Input `json:"judge"`
	Intent     Input `json:"intent"`
	Signatures Input `json:"signatures"`
}

// Input is one input. SHA256 is over the file in evidence/inputs/, in hex.
type Input struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
}

// Coverage says what was seen of what happened.
type Coverage struct {
	State   string   `json:"state"`   // complete or partial
	Sensor  string   `json:"sensor"`  // ebpf, netlink or none
	Witness string   `json:"witness"` // agree, disagree or none
	Events  uint64   `json:"events"`
	Lost    uint64   `json:"lost"`
	Gaps    []Gap    `json:"gaps"`
	Unseen  []string `json:"unseen"` // what the sensor used cannot see
	// Outside is what processes outside the lineage did to those inside it:
	// the record is as good as they let it be. It makes nothing partial.
	Outside []Gap `json:"outside"`
}

// Gap is something that was not, or may not have been, seen.
type Gap struct {
	What string `json:"what"`
	From int64  `json:"from"` // boot time in nanoseconds
	To   int64  `json:"to"`
	Lost uint64 `json:"lost,omitempty"`
	Leaf uint64 `json:"leaf"` // the event that tells it
}

// Scope says whose doing it is.
type Scope struct {
	Job       string `json:"job,omitempty"`
	Step      string `json:"step,omitempty"`
	Action    string `json:"action,omitempty"`
	Container string `json:"container,omitempty"` // id
	// ContainerName and ContainerImage are what the container's engine calls it
	// and its image, name:tag.
	ContainerName  string `json:"container_name,omitempty"`
	ContainerImage string `json:"container_image,omitempty"`
	Agent          string `json:"agent,omitempty"`
	// Session and Call are a coding agent's, as it declared them: from judge/4 on.
	Session string `json:"session,omitempty"`
	Call    string `json:"call,omitempty"`
	Via     string `json:"via,omitempty"` // request, host or outside
}

// Actor is the process image that did it.
type Actor struct {
	Exe     string   `json:"exe"`
	Argv    []string `json:"argv"`
	PID     uint32   `json:"pid"`
	Start   int64    `json:"start"`
	Image   uint32   `json:"image,omitempty"`
	Lineage []string `json:"lineage"` // base names, nearest ancestor first
}

// Finding is a signature hit, or a fact that needs a person.
type Finding struct {
	ID        string   `json:"id"` // stable for the same rule, actor lineage and object
	Rule      string   `json:"rule"`
	Title     string   `json:"title"`
	Severity  Severity `json:"severity"`
	Technique []string `json:"technique"` // ATT&CK ids
	Scope     Scope    `json:"scope"`
	Actor     Actor    `json:"actor"`
	Object    string   `json:"object"`
	First     int64    `json:"first"` // boot time in nanoseconds
	Last      int64    `json:"last"`
	Count     uint64   `json:"count"`
	Leaves    []uint64 `json:"leaves"` // Seq of the events that prove it, 16 at most
	Do        string   `json:"do"`     // one line on what to do now
	// Suppressed is the suppression that takes it out of the outcome, nil where
	// none does.
	Suppressed *Suppressed `json:"suppressed,omitempty"`

	counts  bool     // it costs what an undeclared fact of its severity does
	byRule  bool     // a signature found it; only such can be suppressed
	lineage []string // names, the doer first

	container redact.Text
}

// Suppressed says by whose word a finding does not count.
type Suppressed struct {
	Reason string `json:"reason"`
	Owner  string `json:"owner"`
	Until  string `json:"until"` // the last day, UTC
}

// Fact is a behaviour after folding.
type Fact struct {
	Verb     string   `json:"verb"`
	Who      []string `json:"who"` // base names, the doer first
	Object   string   `json:"object"`
	Severity Severity `json:"severity"`
	Scope    Scope    `json:"scope"`
	First    int64    `json:"first"`
	Last     int64    `json:"last"`
	Count    uint64   `json:"count"`
	Sent     uint64   `json:"sent,omitempty"`
	Received uint64   `json:"received,omitempty"`
	Leaf     uint64   `json:"leaf"`
	// Grant is the line of policy that would cover it, or for a forbidden
	// fact the deny that hit, with its place.
	Grant string `json:"grant,omitempty"`
}

// Totals counts facts.
type Totals struct {
	Total      uint64 `json:"total"`
	Explained  uint64 `json:"explained"`
	Undeclared uint64 `json:"undeclared"`
	LeftOut    uint64 `json:"left_out"` // counted in Total, not listed
}

// Entry is one line of the ledger that the score is the sum of.
type Entry struct {
	Points   int      `json:"points"` // thousandths of a nat, DESIGN §7
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Capped   bool     `json:"capped,omitempty"` // over the cap of its severity
}
