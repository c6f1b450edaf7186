// Package report makes the views that people and other programs have of a
// verdict: the summary on a terminal, the summary of a workflow's job, one HTML
// page, and SARIF for code scanning.
//
// [Load] reads a folder of results once and gives [Data], which holds all that
// a view shows and is bounded however long the job was. The views are pure
// functions of it, and give the same bytes for the same data.
//
// Every string in Data may come from the watched job. It is shown, never
// obeyed: [Terminal] escapes what a terminal would act on, [Markdown] what
// GitHub would, [HTML] goes through html/template, and none of the views loads
// or links to anything that the job named.
package report

import "github.com/org/edamame-posture/pkg/judge"

// Data is what the views show of one recording.
type Data struct {
	Verdict *judge.Verdict
	// Intent is true where a policy was declared.
	Intent bool
	// Processes are the roots of what ran. Each stands for as many processes
	// as its Repeats says.
	Processes []*Process
	Ran       Ran
	// Destinations are sorted: forbidden ones first, undeclared ones next, what
	// stays on this machine last; among equals by bytes sent.
	Destinations     []Destination
	DestinationsLeft uint64 // more were there than are listed
	Containers       []Container
	ContainersLeft   uint64
	Listening        []Listener
	Written          []Folder
	Files            FileTotals
	Credentials      []Credential
	CredentialsLeft  uint64
	Survivors        []Survivor
	SurvivorsLeft    uint64
	Redacted         uint64 // secrets taken out of what was recorded
	Sensors          []Sensor
	Notes            []string // what the monitor said of itself
	Missing          []string // what the evidence lacks that was not closed
	Policy           string   // a policy that covers what was seen, where none was given
	PolicyHint       string   // a policy file that was there and not used
	PowerTaken       []string // ways to root that the steps' user lost at the start
	PowerKept        []string // and what of it could not be taken
	Origin           string   // where the intent came from, as the program that began the recording says
	// Steps are the lines of the workflow where its steps stand, by their ids;
	// empty where nobody said which workflow it was. Declared is where the intent
	// begins.
	Steps    map[string]Place
	Declared Place
	Tool     string // version of the monitor
	TreeSize uint64 // events in the log
	TreeRoot string // base64
	Began    int64  // boot time in nanoseconds; times of facts count from here
	Closed   bool   // the log has its end

	ended int64     // boot time of the last event
	page  *pagePart // what only the page shows
}

// Ran counts processes.
type Ran struct {
	Processes uint64 // forked by the lineage
	Programs  uint64 // execs
	Failed    uint64 // ended with another code than 0
	LeftOut   uint64 // images that the view has no room for
}

// Process is one process, or several alike, in the view of the tree. A fork
// that ran no program of its own is not shown; its children stand under the
// nearest image that did.
type Process struct {
	Program string
	Argv    []string
	ArgvCut bool
	Exe     string
	PID     uint32
	UID     uint32
	Began   int64 // nanoseconds since the recording began
	// Took is how long it ran, in nanoseconds; of processes alike, in sum.
	Took    int64
	Running bool
	Code    int
	Signal  int
	// Sent and Received are payload bytes of its sockets.
	Sent, Received uint64
	Repeats        uint64 // how many it stands for, 1 at least
	Replaces       bool   // exec without fork: its parent here is what the process ran before
	Existed        bool   // it was there before the recording, or the log only names it
	Container      string
	Step           string
	Agent          string
	Via            string   // request, host or outside
	Findings       []string // rules of the findings that name it
	Leaf           uint64
	Depth          int
	Children       []*Process
	Hidden         uint64 // processes below it that are not listed
}

// Destination is where something was sent.
type Destination struct {
	Host  string // empty for a literal address
	How   string // how the name is known: dns, sni, http, hosts, literal
	Addr  string // the first address
	Port  uint16
	Proto string
	// Verb is connect, or resolve where another resolver was asked.
	Verb           string
	Encrypted      string // doh, dot or doq: a resolver that hides the question
	Local          bool   // stays on this machine
	Count          uint64
	Sent, Received uint64
	By             []Lineage // most bytes sent first, 8 at most
	ByLeft         uint64
	Standing       Standing
	Grant          string // the line that would cover it
	First          int64
	Leaf           uint64
}

// Standing is what the verdict says of a fact.
type Standing string

// The standings. Unlisted facts are explained, or nothing was declared.
const (
	Unlisted   Standing = ""
	Undeclared Standing = "undeclared"
	Forbidden  Standing = "forbidden"
)

// Lineage is who did something.
type Lineage struct {
	Who            []string // the doer first
	Step           string
	Count          uint64
	Sent, Received uint64
}

// Listener is a socket that waited for connections.
type Listener struct {
	Addr     string
	Local    bool
	Who      []string
	Standing Standing
}

// Folder is a place where files were written.
type Folder struct {
	Path     string
	Place    string // workspace, temp, cache, home, system, elsewhere
	Outside  bool   // neither workspace, temp nor cache
	Files    uint64 // distinct paths
	Folders  uint64 // distinct folders, itself or below
	Examples []string
}

// FileTotals counts distinct paths that were written.
type FileTotals struct {
	Workspace, Temp, Cache, Outside uint64
	Deleted                         uint64 // unlink calls
	// Uncounted are writes after the bound of distinct paths; some may be of
	// paths already counted.
	Uncounted uint64
}

// Total is the number of distinct paths.
func (t FileTotals) Total() uint64 { return t.Workspace + t.Temp + t.Cache + t.Outside }

// Credential is a file of a credential class that was read.
type Credential struct {
	Class, Path string
	By          []Lineage
	Count       uint64
	Standing    Standing
	Leaf        uint64
}

// Survivor is a process that was left running.
type Survivor struct {
	PID     uint32
	Program string
	Exe     string
	Argv    []string
}

// Sensor is one source of events.
type Sensor struct {
	Name, Role string
}
