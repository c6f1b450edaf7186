// Package told is what a machine that was booted to try a kernel tells of
// itself over its serial console: lines of JSON behind a mark.
package told

import "github.com/org/edamame-posture/pkg/probe"

// Mark begins each line that is meant for who booted the machine.
const Mark = "@@posture@@ "

// Plan is what the machine is to do. It lies in its file system as PlanFile.
type Plan struct {
	Count   int      // of each act of a storm
	Sensors []string // a storm under each of them
	Sealed  bool     // and a sealed run with the way to root and requests inside TLS
}

// PlanFile is where a machine finds its plan, and Modules where the kernel
// modules are that it loads first, in the order of their names.
const (
	PlanFile = "/plan.json"
	Modules  = "/modules"
)

// Line is one line: one of its fields is set.
type Line struct {
	Guest *Guest `json:",omitempty"`
	Run   *Run   `json:",omitempty"`
	Done  bool   `json:",omitempty"`
}

// Guest is the machine.
type Guest struct {
	Release, Machine string // as uname(2) has them
	Probes           []probe.Result
	Problems         []string
}

// Run is one watched command.
type Run struct {
	Asked  string // the sensor that was asked for
	Sealed bool
	Err    string // why it is worth nothing

	// Of the verdict's coverage.
	Sensor, State, Witness string
	Events, Lost           uint64
	Unseen, Gaps           []string

	Did, Seen Tally
	// Untold is how many execs were seen whose program and arguments were not.
	Untold int
	// Requests are request lines that were read inside TLS, of different paths.
	Requests, Requested int
	// Held and Missed are execs on the way to root, that waited to be sealed, and
	// that waited in vain.
	Held, Missed int
	CPU          float64 // seconds of `run` and all that it started, in emulation
}

// Tally counts the acts of a storm.
type Tally struct {
	Execs, Connects, Sends, Names, Opens int
}
