package intent

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/agent"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
)

// maxGrants bounds a resolved intent: a fact may have to be held against each.
const maxGrants = 10_000

// maxAncestors bounds how far up a lineage a program is looked for.
const maxAncestors = 1024

// entry is a grant as it was written: what Canonical stores and what the
// grants are compiled from, so that the two cannot differ.
type entry struct {
	Verb  string   `json:"verb"` // connect, credential, chain, exec, write, listen, power, agent
	Deny  bool     `json:"deny,omitempty"`
	Class string   `json:"class,omitempty"` // chain: the class that may be sent on
	To    string   `json:"to"`
	By    []string `json:"by,omitempty"`
	Step  string   `json:"step,omitempty"`
	// Upload is a budget in bytes, 0 for none.
	Upload uint64 `json:"upload,omitempty"`
	// SHA256 are the digests of which the file that is executed has one; none for
	// any file.
	SHA256 []string `json:"sha256,omitempty"`
	// Agent is the coding agent in whose sessions alone the entry holds; Own: only
	// for what its program does outside of tool calls. Of the verb agent, To is a
	// tool that it may use, or * for any.
	Agent string `json:"agent,omitempty"`
	Own   bool   `json:"own,omitempty"`
	// HTTP are the requests that may be made, as parseRequest reads them; none for
	// any.
	HTTP []string `json:"http,omitempty"`
	// Keys are the variables whose values are the keys that may be used; none for
	// any.
	Keys []string `json:"keys,omitempty"`

	Kind   string `json:"kind"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// grant is a compiled entry.
type grant struct {
	Grant
	entry entry
	dest  destination // connect, listen, chain
	glob  glob        // exec, write
	// digests are those of the entry, sorted.
	digests []event.SHA256
	// requests are those of the entry, sorted.
	requests []request
}

// maxDigests bounds the digests of one entry.
const maxDigests = 1024

// verbs maps the words of entries to verbs.
var verbs = map[string]fact.Verb{
	"connect": fact.Connect, "credential": fact.Credential, "exec": fact.Exec,
	"write": fact.Write, "listen": fact.Listen, "power": fact.Power, "chain": fact.Chain,
	"agent": noVerb,
}

// noVerb is the verb of an entry that covers no fact.
const noVerb fact.Verb = 0

// compile checks an entry and makes it a grant.
func compile(e entry) (grant, error) {
	g := grant{entry: e}
	g.Verb = verbs[e.Verb]
	g.Origin = Origin{File: e.File, Line: e.Line, Column: e.Column, Kind: e.Kind}
	var err error
	if e.Class != "" && g.Verb != fact.Chain {
		return g, badAt(0, "only what may be sent on has a class")
	}
	if e.Upload > 0 && (g.Verb != fact.Connect || e.Deny) {
		return g, badAt(0, "only egress has a budget")
	}
	g.Upload = e.Upload
	if len(e.SHA256) > 0 && g.Verb != fact.Exec {
		return g, badAt(0, "only exec has digests")
	}
	if len(e.SHA256) > maxDigests {
		return g, badAt(0, "more than %d digests; use several entries", maxDigests)
	}
	g.entry.SHA256 = sorted(slices.Clone(e.SHA256))
	for _, s := range g.entry.SHA256 {
		d, err := parseDigest(s)
		if err != nil {
			return g, err
		}
		g.digests = append(g.digests, d)
	}
	if len(e.HTTP) > 0 && (g.Verb != fact.Connect || e.Deny) {
		return g, badAt(0, "only egress has requests")
	}
	if e.Agent != "" && !contains(agent.Names, e.Agent) {
		return g, badAt(0, "there are the agents %s", strings.Join(agent.Names, ", "))
	}
	if e.Agent != "" && e.Deny {
		return g, badAt(0, "what an agent may not reach stands under deny, for all")
	}
	if len(e.HTTP) > maxRequests {
		return g, badAt(0, "more than %d requests; use several entries, or wider patterns", maxRequests)
	}
	if len(e.Keys) > 0 && (g.Verb != fact.Connect || e.Deny) {
		return g, badAt(0, "only egress has keys")
	}
	if len(e.Keys) > maxKeys {
		return g, badAt(0, "more than %d keys for one destination", maxKeys)
	}
	for _, name := range e.Keys {
		if err := validVariable(name); err != nil {
			return g, err
		}
	}
	g.entry.Keys = sorted(slices.Clone(e.Keys))
	if g.requests, g.entry.HTTP, err = parseRequests(e.HTTP); err != nil {
		return g, err
	}
	switch g.Verb {
	case fact.Connect:
		if g.dest, err = parseDestination(e.To, e.Deny); err != nil {
			return g, err
		}
		if len(g.requests)+len(g.entry.Keys) > 0 && !g.dest.any && g.dest.proto != event.ProtoTCP {
			return g, badAt(0, "requests are read over TCP only; take http and key out, or the protocol")
		}
		g.Specificity = g.dest.specificity()
		g.entry.To = g.dest.String()
	case fact.Listen:
		if g.dest, err = parseDestination(e.To, false); err != nil {
			return g, err
		}
		if g.dest.form != formNet && g.dest.form != formAny {
			return g, badAt(0, `want an address of this machine, or "*" for all: "127.0.0.1:*"`)
		}
		g.Specificity = g.dest.specificity()
		if g.dest.anyPort {
			g.Specificity = min(g.Specificity, suffix)
		}
		g.entry.To = g.dest.String()
	case fact.Credential:
		if !knownClass(e.To) {
			return g, badAt(0, "not a credential class")
		}
		// Without by, only the programs that own the class: as good as named.
		g.Specificity = exactHost
		if len(e.By) == 0 {
			g.Specificity = exactLineage
		}
	case fact.Chain:
		if !knownClass(e.Class) {
			return g, badAt(0, "not a credential class")
		}
		if g.dest, err = parseDestination(e.To, false); err != nil {
			return g, err
		}
		// As for the read: without by, only by the programs that own the class.
		g.Specificity = g.dest.specificity()
		if len(e.By) == 0 && g.Specificity == exactHost {
			g.Specificity = exactLineage
		}
		g.entry.To = g.dest.String()
	case fact.Exec, fact.Write:
		if g.glob, err = parseGlob(e.To, g.Verb == fact.Exec); err != nil {
			return g, err
		}
		switch {
		case len(g.digests) > 0:
			// One content is one object, whatever it is called.
			g.Specificity = exactHost
		case g.glob.all():
			g.Specificity = anything
		case g.glob.exact():
			g.Specificity = exactHost
		default:
			g.Specificity = suffix
		}
	case fact.Power:
		if err := validProgram(e.To); err != nil {
			return g, err
		}
		g.Specificity = exactHost
	default:
		if e.Verb != "agent" || e.Agent == "" {
			return g, badAt(0, "verb not known")
		}
		if e.To == "" || len(e.To) > 255 {
			return g, badAt(0, `want the name of a tool, such as Bash, or "*" for any`)
		}
	}
	for _, by := range e.By {
		if err := validProgram(by); err != nil {
			return g, err
		}
	}
	if len(e.By) > 0 && g.Specificity == exactHost {
		g.Specificity = exactLineage
	}
	if e.Kind == kindPreset {
		g.Specificity = min(g.Specificity, preset)
	}
	g.entry.By = slices.Clone(e.By)
	i := g.entry.item()
	g.Text = i.text()
	return g, nil
}

// maxKeys bounds the keys of one entry.
const maxKeys = 16

// validVariable accepts the names of environment variables, and so of secrets.
func validVariable(name string) error {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '_', c >= '0' && c <= '9' && i > 0:
		default:
			return badAt(i, "want the name of an environment variable that holds the key, not the key itself")
		}
	}
	switch {
	case name == "":
		return badAt(0, "empty; want the name of an environment variable")
	case len(name) > 128:
		return badAt(0, "longer than 128 bytes")
	}
	return nil
}

// parseDigest reads the SHA-256 of a file.
func parseDigest(s string) (event.SHA256, error) {
	d, err := event.ParseSHA256(s)
	var bad *event.BadSHA256
	if errors.As(err, &bad) {
		return d, badAt(bad.Offset, "%s", bad.Message)
	}
	return d, err
}

func validProgram(s string) error {
	switch {
	case s == "":
		return badAt(0, "empty; want the name of a program")
	case strings.Contains(s, "/"):
		return badAt(strings.IndexByte(s, '/'), "want the base name of a program, without its folder")
	case strings.ContainsAny(s, "*?"):
		return badAt(strings.IndexAny(s, "*?"), "a program is named whole, without * and ?")
	case len(s) > 255:
		return badAt(0, "longer than a file name can be")
	}
	return nil
}

func (r *Resolved) add(e entry) error {
	if r.count++; r.count > maxGrants {
		return fmt.Errorf("%s: more than %d grants for one job; use wider ones", e.File, maxGrants)
	}
	g, err := compile(e)
	if err != nil {
		return fmt.Errorf("%s:%d:%d: %w", e.File, e.Line, e.Column, err)
	}
	if e.Deny {
		r.foundNo.add(&g, len(r.denies))
		r.denies = append(r.denies, g)
	} else {
		r.found[g.Verb].add(&g, len(r.grants[g.Verb]))
		r.grants[g.Verb] = append(r.grants[g.Verb], g)
		r.budgets = r.budgets || g.Upload > 0
		r.digests = r.digests || len(g.digests) > 0
		r.requests = r.requests || g.limits()
		if e.Agent != "" {
			if r.agents == nil {
				r.agents = make(map[string]*agentIntent)
			}
			if r.agents[e.Agent] == nil {
				r.agents[e.Agent] = &agentIntent{}
			}
			r.agents[e.Agent].add(&e)
		}
	}
	return nil
}

// covers reports whether the grant covers a fact, whose verb was looked at.
func (g *grant) covers(f *fact.Fact) bool {
	if !g.inStep(f) || g.entry.Agent != "" && !g.inAgent(f) {
		return false
	}
	switch g.Verb {
	case fact.Connect, fact.Listen:
		if !g.dest.matches(f) {
			return false
		}
		// What is said to a resolver is no request of HTTP.
		if len(g.entry.Keys) > 0 && (f.Verb == fact.Key || f.Verb == fact.Resolve) {
			return false
		}
		if len(g.requests) > 0 && (f.Verb == fact.Resolve || f.Verb == fact.Request && !g.allows(f)) {
			return false
		}
	case fact.Credential:
		if g.entry.To != f.Class.String() {
			return false
		}
		if len(g.entry.By) == 0 {
			return owned(f, g.entry.To)
		}
	case fact.Chain:
		if g.entry.Class != f.Taint.String() || !g.dest.matches(f) {
			return false
		}
		if len(g.entry.By) == 0 {
			return owned(f, g.entry.Class)
		}
	case fact.Exec, fact.Write:
		if !g.coversPath(f) || len(g.digests) > 0 && !f.Ran(g.digests) {
			return false
		}
	case fact.Power:
		if !inLineage(f, g.entry.To) {
			return false
		}
	default:
		return false
	}
	return g.isBy(f)
}

// inAgent reports whether a fact is of a session of the grant's agent.
func (g *grant) inAgent(f *fact.Fact) bool {
	if f.Node == nil || f.Late || g.entry.Own && !f.Call.IsZero() {
		return false
	}
	return f.Node.AgentSession.HasPrefix(g.entry.Agent + ":")
}

// inStep reports whether the grant holds in the step of a fact, and isBy whether
// it holds for who did it.
func (g *grant) inStep(f *fact.Fact) bool {
	return g.entry.Step == "" || g.entry.Step == f.Step.String()
}

func (g *grant) isBy(f *fact.Fact) bool {
	if len(g.entry.By) == 0 {
		return true
	}
	for _, p := range g.entry.By {
		if inLineage(f, p) {
			return true
		}
	}
	return false
}

// inLineage reports whether a program of that name did it or led to it.
func inLineage(f *fact.Fact, program string) bool {
	for _, w := range f.Who {
		if w.String() == program {
			return true
		}
	}
	if f.Node == nil || len(f.Who) == 0 {
		return false
	}
	// Who holds the nearest programs only. The lineage begins inside the
	// recording: what stood around it differs from machine to machine.
	n := f.Node
	for i := 0; n != nil && i < maxAncestors; i++ {
		if n.Via == event.ViaMonitor {
			return false
		}
		if n.Name() == program {
			return true
		}
		n = n.Parent
	}
	return false
}
