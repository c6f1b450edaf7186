// Package signature finds known attack shapes with Sigma rules.
//
//	pack, err := signature.Default()
//	m := pack.Matcher()
//	for _, hit := range m.Apply(&signature.Input{Event: ev, Node: node}) {
//		…
//	}
//
// Rules are files of the SigmaHQ schema, compiled to closures. What this engine
// does not know (a modifier, a field, a way to write a condition) is an error
// with its place, never a rule that quietly does not match. docs/signatures.md
// lists categories, fields and modifiers.
//
// An event costs a look-up for each name it holds: rules are indexed by
// category and by the literals that they cannot match without. An event that
// no rule matches allocates nothing.
package signature

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/indicator"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// Rule is what a person is told of a rule that hit.
type Rule struct {
	// ID is the rule's name where it has one, such as d1-runner-memory, else
	// its UUID. It is unique in a pack.
	ID    string
	Title string
	// Level is informational, low, medium, high or critical.
	Level string
	// Status is stable, test, experimental, deprecated or "".
	Status string
	// Technique holds ATT&CK ids, such as T1003.007, in the rule's order.
	Technique []string
	// Tags are all tags, in lower case; FalsePositives what the author knows
	// to look alike.
	Tags, FalsePositives []string
	// Do says in one line what to do now; it is the custom field "do".
	Do string

	uuid   string
	origin place
	source string
	index  int // in the pack's order
}

// Input is an event and what is known of it.
type Input struct {
	Event *event.Event
	// Node is the image that acted, Target the one that was acted upon; each
	// may be nil.
	Node, Target *process.Node
	// Host is the name of the event's destination, where it is known.
	Host string
	// Fact is the fact that the event became or belongs to, or nil.
	Fact *fact.Fact
	// Resolver says that a message of DNS went to, or came from, a resolver that
	// the machine is, or seems to be, configured with.
	Resolver bool
}

// Place returns where the rule stands, as file:line.
func (r *Rule) Place() string { return fmt.Sprintf("%s:%d", r.origin.file, r.origin.line) }

// Source returns what events the rule looks at: a category, or the type of a
// correlation.
func (r *Rule) Source() string { return r.source }

// Hit is one match of a rule.
type Hit struct {
	Rule *Rule
	// Node is the image that acted in the last event.
	Node *process.Node
	// Object is what it acted on: a destination, a path, a program.
	Object redact.Text
	// Leaves are the Seq of the events that prove it, in order.
	Leaves []uint64
	// First and Last are the times of the first and last of these events.
	First, Last int64
}

// Pack is a set of rules that was read and compiled. It is not changed after
// it was made, and each [Matcher] has state of its own.
type Pack struct {
	name, version string
	files         []file
	rules         []*compiled
	correlations  []*correlation
	byCategory    [categoryCount]index
	categories    uint32 // that have a rule

	indicators *indicator.Set // nil for none
	brands     *brands        // nil for none
	suffixes   *suffixes      // nil for those that ship

	lenient      bool
	placeholders map[string][]string
	skipped      Errors
}

// file is a rule file as it was read.
type file struct {
	Name string `json:"name"`
	Text string `json:"text"`
	// Own: it is the caller's, added by [Pack.With].
	Own bool `json:"own,omitempty"`
}

// Name returns the name of the pack: "default" for the rules that ship with
// the program, "files" for others.
func (p *Pack) Name() string { return p.name }

// Version returns the version of the pack, or "".
func (p *Pack) Version() string { return p.version }

// SHA256 returns the digest of [Pack.Canonical] in hex.
func (p *Pack) SHA256() string {
	sum := sha256.Sum256(p.Canonical())
	return hex.EncodeToString(sum[:])
}

// Skipped returns what was wrong in the rules that [Options].Lenient left out.
func (p *Pack) Skipped() Errors { return p.skipped }

// Rules returns what is told of each rule, in the order in which hits of one
// event come.
func (p *Pack) Rules() []*Rule {
	var list []*Rule
	for _, r := range p.rules {
		if !r.silent {
			list = append(list, &r.Rule)
		}
	}
	for _, c := range p.correlations {
		if !c.silent {
			list = append(list, &c.Rule)
		}
	}
	return list
}
