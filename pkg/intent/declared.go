package intent

import (
	"fmt"
	"slices"
)

// Kinds of origin.
const (
	kindPolicy   = "policy"
	kindPreset   = "preset"
	kindWorkflow = "workflow"
)

var kinds = []string{kindPolicy, kindPreset, kindWorkflow}

// Declared is a grant that is declared elsewhere than in a policy file.
type Declared struct {
	// Key is the list of a policy where it belongs: use, egress, exec, write,
	// listen, credentials or root.
	Key string
	// Object is the preset, destination, pattern, class or program.
	Object string
	// By are the programs it is for, none for any.
	By []string
	// To are the destinations that credentials of the class may be sent to.
	To []string
	// Origin is where it was declared.
	Origin Origin
	// Why says in a word or two what declared it, for a comment.
	Why string
}

// Line is the grant as an item of its list, in YAML.
func (d *Declared) Line() string {
	i := item{object: d.Object, by: d.By, to: d.To}
	if d.Key == "credentials" {
		i.object, i.class = "", d.Object
	}
	return i.line()
}

// DeclaredJob is what one job declared.
type DeclaredJob struct {
	Name   string
	Grants []Declared
}

// New makes a policy of what was declared elsewhere. It limits what every
// intent limits, and nothing else: what lists no programs and no files does
// not say that there are none. file names the source in errors.
func New(file string, jobs []DeclaredJob) (*Policy, error) {
	p := &Policy{file: file, failOn: FailOn{Severity: "high", Score: 40}}
	p.top.listed = []string{""}
	for i := range jobs {
		s := section{job: jobs[i].Name}
		for j := range jobs[i].Grants {
			if err := s.declare(&jobs[i].Grants[j]); err != nil {
				return nil, err
			}
		}
		p.jobs = append(p.jobs, s)
	}
	return p, nil
}

// Check reports why a grant cannot stand in a policy, or nil.
func (d *Declared) Check() error {
	var s section
	return s.declare(d)
}

func (s *section) declare(d *Declared) error {
	o := d.Origin
	refused := func(err error) error {
		return Errors{{File: o.File, Line: o.Line, Column: max(o.Column, 1), Text: d.Object, Message: err.Error()}}
	}
	if d.Key == "use" {
		list, err := presetEntries(d.Object)
		if err != nil {
			return refused(err)
		}
		s.entries = append(s.entries, list...)
		s.uses = append(s.uses, Use{d.Object, o})
		return nil
	}
	for _, k := range policyKeys {
		if k.key != d.Key {
			continue
		}
		e := entry{Verb: k.verb, To: d.Object, By: slices.Clone(d.By), Kind: o.Kind, File: o.File, Line: o.Line, Column: max(o.Column, 1)}
		g, err := compile(e)
		if err != nil {
			return refused(err)
		}
		s.entries = append(s.entries, g.entry)
		for _, to := range d.To {
			e.Verb, e.Class, e.To = "chain", d.Object, to
			if g, err = compile(e); err != nil {
				return refused(err)
			}
			s.entries = append(s.entries, g.entry)
		}
		return nil
	}
	return refused(fmt.Errorf("a policy has no list %q", d.Key))
}
