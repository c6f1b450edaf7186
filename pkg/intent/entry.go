package intent

import (
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// Entry is one grant or deny of a resolved intent, laid open for those that
// compare policies: what it says, where it stands, and what it covers.
type Entry struct {
	Grant
	// Key is the list of the policy where it belongs: egress, exec and so on.
	Key  string
	Deny bool
	// Class is the credential class of what may be read or sent on.
	Class string
	// To is its destination, pattern or program, in canonical form; empty for
	// the read of a credential.
	To   string
	By   []string
	Step string
	// SHA256 are the digests of which the executed file has one; none for any.
	SHA256 []string
	// HTTP are the requests that may be made; none for any.
	HTTP []string
	// Keys are the variables whose values are the keys that may be used; none for
	// any.
	Keys []string
	// Preset is the name of the preset that holds it, or empty.
	Preset string

	g *grant
}

// Entries returns the grants and then the denies, by list and in the order of
// the file.
func (r *Resolved) Entries() []Entry {
	var list []Entry
	for v := range r.grants {
		for i := range r.grants[v] {
			list = append(list, r.grants[v][i].lay())
		}
	}
	for i := range r.denies {
		list = append(list, r.denies[i].lay())
	}
	return list
}

func (g *grant) lay() Entry {
	e := Entry{
		Grant: g.Grant, Key: g.entry.key(), Deny: g.entry.Deny, Class: g.entry.Class,
		To: g.entry.To, By: g.entry.By, Step: g.entry.Step, SHA256: g.entry.SHA256, HTTP: g.entry.HTTP, Keys: g.entry.Keys, g: g,
	}
	if g.Verb == fact.Credential {
		e.Class, e.To = e.To, ""
	}
	if g.Origin.Kind == kindPreset {
		e.Preset = strings.TrimSuffix(path.Base(g.Origin.File), ".yml")
	}
	return e
}

// Covers reports whether the entry covers a fact.
func (e *Entry) Covers(f *fact.Fact) bool { return explainedBy(f.Verb) == e.Verb && e.g.covers(f) }

// Beyond reports whether the entry is about what needs a grant under every
// intent, also one without its list: all but programs, files of the workspace
// and loopback.
func (e *Entry) Beyond() bool {
	switch e.Verb {
	case fact.Exec:
		return false
	case fact.Write:
		return e.g.glob.absolute()
	case fact.Listen:
		return e.g.dest.form != formNet || !e.g.dest.net.Addr().IsLoopback()
	}
	return true
}

// explainedBy returns the verb of the grants that explain facts of a verb.
func explainedBy(v fact.Verb) fact.Verb {
	switch v {
	case fact.Resolve, fact.Request, fact.Key: // a resolver is a destination; a request is made of one
		return fact.Connect
	case fact.Delete, fact.Drift: // who may write a file may remove it, and leave it so
		return fact.Write
	}
	return v
}

// Includes reports whether e covers every fact that o covers. It is sure where
// it says yes; of two that overlap in a way that it does not see through, none
// includes the other.
func (e *Entry) Includes(o *Entry) bool {
	if e.Verb != o.Verb || e.Class != o.Class || e.Step != "" && e.Step != o.Step || !e.includesAgent(o) || !e.includesBy(o) {
		return false
	}
	switch e.Verb {
	case fact.Connect, fact.Listen, fact.Chain:
		return e.g.dest.includes(&o.g.dest) && e.includesUpload(o) && e.includesRequests(o) && e.includesKeys(o)
	case fact.Exec, fact.Write:
		return e.g.glob.includes(&o.g.glob) && e.includesDigests(o)
	}
	return e.To == o.To
}

// includesAgent: what holds for an agent, or for what its program does by itself,
// holds for nobody else.
func (e *Entry) includesAgent(o *Entry) bool {
	a, b := &e.g.entry, &o.g.entry
	return a.Agent == "" || a.Agent == b.Agent && (!a.Own || b.Own)
}

func (e *Entry) includesBy(o *Entry) bool {
	if len(e.By) == 0 {
		// Of credentials, no names stand for the programs that own the class.
		return len(o.By) == 0 || e.Class == ""
	}
	for _, by := range o.By {
		if !slices.Contains(e.By, by) {
			return false
		}
	}
	return len(o.By) > 0
}

func (e *Entry) includesDigests(o *Entry) bool {
	for _, d := range o.SHA256 {
		if len(e.SHA256) > 0 && !slices.Contains(e.SHA256, d) {
			return false
		}
	}
	return len(e.SHA256) == 0 || len(o.SHA256) > 0
}

func (e *Entry) includesRequests(o *Entry) bool {
	for i := range o.g.requests {
		if q := &o.g.requests[i]; len(e.HTTP) > 0 && !slices.ContainsFunc(e.g.requests, func(p request) bool { return p.includes(q) }) {
			return false
		}
	}
	return len(e.HTTP) == 0 || len(o.HTTP) > 0
}

func (e *Entry) includesKeys(o *Entry) bool {
	for _, k := range o.Keys {
		if len(e.Keys) > 0 && !slices.Contains(e.Keys, k) {
			return false
		}
	}
	return len(e.Keys) == 0 || len(o.Keys) > 0
}

// includesUpload compares budgets. One that more destinations or programs draw
// on is no larger for any of them, so only those for the same are compared.
func (e *Entry) includesUpload(o *Entry) bool {
	return e.Upload == 0 || o.Upload > 0 && o.Upload <= e.Upload && e.To == o.To && e.Step == o.Step && slices.Equal(e.By, o.By)
}

// Budget is how much may be sent under the entry, as a policy writes it, or "".
func (e *Entry) Budget() string {
	if e.Upload == 0 {
		return ""
	}
	return formatBytes(e.Upload)
}

func (d *destination) includes(o *destination) bool {
	if !d.any && (o.any || d.proto != o.proto) || !d.anyPort && (o.anyPort || d.port != o.port) {
		return false
	}
	switch {
	case d.form == formAny:
		return true
	case d.form == formNet:
		return o.form == formNet && d.net.Bits() <= o.net.Bits() && d.net.Contains(o.net.Addr())
	case o.form == formExact:
		return d.matchesName(o.name)
	case o.form != formSuffix && o.form != formTree && o.form != formLabel:
		return false
	}
	switch d.form {
	case formSuffix:
		// A tree holds its own root, which is not below it.
		return strings.HasSuffix(o.name, d.name) && (o.form != formTree || len(o.name) > len(d.name))
	case formTree:
		return strings.HasSuffix(o.name, d.name)
	case formLabel:
		return o.form == formLabel && d.name == o.name && strings.HasPrefix(o.prefix, d.prefix)
	}
	return false
}

func (g *glob) includes(o *glob) bool {
	switch {
	case o.names:
		return g.names && document.MatchStars(g.text, o.text)
	case g.names:
		last := o.parts[len(o.parts)-1]
		return g.all() || last != "**" && document.MatchStars(g.text, last)
	case g.absolute() != o.absolute():
		return false
	case o.absolute():
		return g.match("/" + strings.Join(o.parts[1:], "/"))
	}
	return g.match(strings.Join(o.parts, "/"))
}

// Use is a preset that a section of the policy names.
type Use struct {
	Preset string
	Origin Origin
}

// Uses returns the presets that are named at the top, for the empty job, or
// under a job.
func (p *Policy) Uses(job string) []Use {
	if job == "" {
		return p.top.uses
	}
	for i := range p.jobs {
		if p.jobs[i].job == job {
			return p.jobs[i].uses
		}
	}
	return nil
}

// File returns the name of the file that the policy was read from.
func (p *Policy) File() string { return p.file }

// Tighter returns the items of a list that would cover facts which the entry
// covers and leave less open than it does, and nil where there are none or
// more than most: what uses it in many ways is best said by it.
func (e *Entry) Tighter(facts []*fact.Fact, most int) []string {
	if len(e.HTTP)+len(e.Keys) > 0 {
		return nil // it says already what a person can say best
	}
	items := map[string]*item{}
	var paths []string
	for _, f := range facts {
		s, ok := suggest(f)
		if !ok || s.Verb != e.g.entry.Verb || s.Class != e.g.entry.Class {
			return nil
		}
		switch {
		case e.Verb == fact.Write:
			paths = append(paths, s.To)
			continue
		case e.Verb == fact.Power, e.Verb == fact.Credential && len(e.By) == 0:
			return nil
		}
		i := items[s.To]
		if i == nil {
			n := (&entry{Verb: s.Verb, Class: s.Class, To: s.To, Step: e.Step, SHA256: e.SHA256}).item()
			i = &n
			items[s.To] = i
		}
		switch {
		case len(e.By) > 0:
			for _, by := range e.By {
				if inLineage(f, by) {
					i.by = append(i.by, by)
				}
			}
		case e.Verb == fact.Connect:
			i.by = append(i.by, s.By...)
		}
	}
	for _, p := range foldPaths(paths) {
		items[p] = &item{object: p, by: e.By, step: e.Step}
	}
	if len(items) == 0 || len(items) > most {
		return nil
	}
	wide := *e
	wide.Upload = 0 // the lines have the same budget, which is compared by no one
	var lines []string
	for to, i := range items {
		i.by = sorted(i.by)
		t := e.g.entry
		t.To, t.By = to, i.by
		g, err := compile(t)
		if err != nil {
			return nil
		}
		l := g.lay()
		l.Upload, i.upload = 0, e.Upload
		if !wide.Includes(&l) || l.Includes(&wide) {
			return nil
		}
		lines = append(lines, "- "+i.line())
	}
	return sorted(lines)
}
