package intent

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/policies"
	"gopkg.in/yaml.v3"
)

// Error is one thing that is wrong in a policy, and where.
type Error = document.Error

// Errors are all that is wrong in a policy; the error of [Parse].
type Errors = document.Errors

var (
	jobKeys  = []string{"use", "egress", "exec", "write", "listen", "credentials", "root", "agents", "deny"}
	topKeys  = append([]string{"version", "jobs", "fail-on", "suppress"}, jobKeys...)
	severity = []string{"low", "medium", "high", "critical"}
)

// Parse reads a policy file; name is used in errors and as the origin of
// grants. The error, where there is one, is of type [Errors] and tells all that
// is wrong.
func Parse(name string, data []byte) (*Policy, error) {
	p := &parser{policy: &Policy{file: name, failOn: FailOn{Severity: "high", Score: 40}}}
	var docs []*yaml.Node
	p.Source, docs = document.Parse(name, data)
	switch {
	case p.Failed():
	case len(docs) == 0:
		return nil, Errors{{File: name, Line: 1, Column: 1, Message: `the file is empty; a policy begins with "version: 1"`}}
	case len(docs) > 1:
		p.Fail(docs[1], "a policy is one document; a second begins here")
	default:
		p.file(docs[0])
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return p.policy, nil
}

type parser struct {
	*document.Source
	policy  *Policy
	entries int
	over    bool
}

func (p *parser) file(n *yaml.Node) {
	p.policy.top.listed = []string{""}
	version := false
	for _, e := range p.keys(n, topKeys) {
		switch e.Key {
		case "version":
			version = true
			if e.Value.Value != strconv.Itoa(Version) {
				p.Fail(e.Value, "this program reads version %d", Version)
			}
		case "jobs":
			for _, j := range p.Any(e.Value) {
				s := section{job: j.Key}
				if j.Key == "" {
					p.Fail(j.At, "a job has a name")
					continue
				}
				if j.Value.Tag != "!!null" {
					p.section(&s, p.keys(j.Value, jobKeys))
				}
				p.policy.jobs = append(p.policy.jobs, s)
			}
		case "fail-on":
			p.failOn(e.Value)
		case "suppress":
			p.suppress(e.Value)
		default:
			p.section(&p.policy.top, []document.Pair{e})
		}
	}
	if !version && n.Kind == yaml.MappingNode {
		p.Fail(n, `"version: %d" is missing`, Version)
	}
}

// keys is Mapping that knows the keys of other places.
func (p *parser) keys(n *yaml.Node, known []string) []document.Pair {
	pairs := p.Any(n)
	kept := pairs[:0]
	for _, e := range pairs {
		switch {
		case contains(known, e.Key):
			kept = append(kept, e)
		case contains(topKeys, e.Key):
			p.Fail(e.At, "stands at the top of the file, not in a job")
		default:
			p.FailNear(e.At, document.Nearest(e.Key, known), "unknown key")
		}
	}
	return kept
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func (p *parser) section(s *section, pairs []document.Pair) {
	for _, e := range pairs {
		s.listed = append(s.listed, e.Key)
		switch e.Key {
		case "use":
			for _, n := range p.Strings(e.Value) {
				p.use(s, n)
			}
		case "egress":
			p.grants(s, e.Value, "connect", "to", "to", "by", "step", "upload", "http", "key")
		case "credentials":
			p.grants(s, e.Value, "credential", "class", "class", "by", "to", "step")
		case "exec":
			p.grants(s, e.Value, "exec", "to", "to", "by", "step", "sha256")
		case "write", "listen":
			p.grants(s, e.Value, e.Key, "to", "to", "by", "step")
		case "root":
			for _, n := range p.List(e.Value) {
				if to, ok := p.String(n); ok {
					p.entry(s, n, entry{Verb: "power", To: to})
				}
			}
		case "agents":
			p.agents(s, e.Value, false)
		case "deny":
			for _, d := range p.Mapping(e.Value, "egress") {
				for _, n := range p.List(d.Value) {
					if to, ok := p.String(n); ok {
						p.entry(s, n, entry{Verb: "connect", Deny: true, To: to})
					}
				}
			}
		}
	}
}

// grants reads a list whose items are texts or mappings; object is the key
// that names what the text alone would.
func (p *parser) grants(s *section, list *yaml.Node, verb, object string, keys ...string) {
	for _, n := range p.List(list) {
		switch n.Kind {
		case yaml.ScalarNode:
			if to, ok := p.String(n); ok {
				p.entry(s, n, entry{Verb: verb, To: to})
			}
		case yaml.MappingNode:
			p.mapping(s, n, verb, object, keys)
		case yaml.SequenceNode:
			p.Fail(n, `want a text or a mapping, have a list; an IPv6 address stands in quotes: "[::1]:443"`)
		}
	}
}

func (p *parser) mapping(s *section, n *yaml.Node, verb, object string, keys []string) {
	e := entry{Verb: verb}
	at := n
	hasObject := false
	var sent []*yaml.Node // credentials: where the class may be sent
	for _, k := range p.Any(n) {
		switch {
		case k.Key == object:
			e.To, hasObject = p.String(k.Value)
			at = k.Value
			if !hasObject {
				return
			}
		case k.Key == "by":
			for _, b := range p.Strings(k.Value) {
				if err := validProgram(b.Value); err != nil {
					p.refuse(b, err)
					return
				}
				e.By = append(e.By, b.Value)
			}
			if len(e.By) == 0 {
				p.Fail(k.Value, "names no program; leave by out for any")
				return
			}
		case verb == "credential" && k.Key == "to":
			if sent = p.Strings(k.Value); len(sent) == 0 {
				p.Fail(k.Value, "names no destination; leave to out where the class is sent nowhere else")
				return
			}
		case k.Key == "step":
			var ok bool
			if e.Step, ok = p.String(k.Value); !ok {
				return
			}
			if e.Step == "" {
				p.Fail(k.Value, "names no step; leave step out for any")
				return
			}
			if strings.ContainsFunc(e.Step, unicode.IsSpace) {
				// What the runner's log calls a step, a job can write there.
				p.Fail(k.Value, "is a step's name; give the step an id: in the workflow, and name that")
				return
			}
		case verb == "connect" && k.Key == "upload":
			amount, ok := p.String(k.Value)
			if !ok {
				return
			}
			var err error
			if e.Upload, err = ParseBytes(amount); err != nil {
				p.refuse(k.Value, err)
				return
			}
		case verb == "connect" && k.Key == "http":
			for _, q := range p.Strings(k.Value) {
				if _, err := parseRequest(q.Value); err != nil {
					p.refuse(q, err)
					return
				}
				e.HTTP = append(e.HTTP, q.Value)
			}
			if len(e.HTTP) == 0 {
				p.Fail(k.Value, "allows no request; leave http out for any, or take the grant out")
				return
			}
		case verb == "connect" && k.Key == "key":
			for _, v := range p.Strings(k.Value) {
				if err := validVariable(v.Value); err != nil {
					p.refuse(v, err)
					return
				}
				e.Keys = append(e.Keys, v.Value)
			}
			if len(e.Keys) == 0 {
				p.Fail(k.Value, "names no key; leave key out for any")
				return
			}
		case verb == "exec" && k.Key == "sha256":
			for _, d := range p.Strings(k.Value) {
				if _, err := parseDigest(d.Value); err != nil {
					p.refuse(d, err)
					return
				}
				e.SHA256 = append(e.SHA256, d.Value)
			}
			if len(e.SHA256) == 0 {
				p.Fail(k.Value, "names no digest; leave sha256 out for any file of that name")
				return
			}
		default:
			p.FailNear(k.At, document.Nearest(k.Key, keys), "unknown key")
			return
		}
	}
	if !hasObject {
		p.Fail(n, "%q is missing", object)
		return
	}
	if !p.entry(s, at, e) {
		return
	}
	for _, to := range sent {
		p.entry(s, to, entry{Verb: "chain", Class: e.To, To: to.Value, By: e.By, Step: e.Step})
	}
}

// entry checks an entry and keeps it in the section, or tells what is wrong
// with it and returns false.
func (p *parser) entry(s *section, at *yaml.Node, e entry) bool {
	e.Kind, e.File, e.Line, e.Column = kindPolicy, p.File, at.Line, at.Column
	g, err := compile(e)
	if err != nil {
		if e.Verb == "credential" {
			p.FailNear(at, document.Nearest(e.To, classes()), "%s; there are %s", err, strings.Join(classes(), ", "))
			return false
		}
		p.refuse(at, err)
		return false
	}
	if p.entries++; p.entries > maxGrants {
		if !p.over {
			p.Fail(at, "more than %d grants; use wider ones", maxGrants)
		}
		p.over = true
		return false
	}
	s.entries = append(s.entries, g.entry)
	return true
}

func (p *parser) refuse(at *yaml.Node, err error) {
	var se *syntaxError
	if errors.As(err, &se) {
		p.FailAt(at, se.offset, "%s", se.message)
		return
	}
	p.Fail(at, "%s", err)
}

// failOn reads fail-on. A key that is left out keeps its default, so that
// adding one never switches another off.
func (p *parser) failOn(n *yaml.Node) {
	f := &p.policy.failOn
	if n.Kind == yaml.ScalarNode {
		if n.Value != "never" {
			p.FailNear(n, document.Nearest(n.Value, []string{"never"}), `want "never", or a mapping of severity, score and coverage`)
			return
		}
		*f = FailOn{Never: true}
		return
	}
	for _, e := range p.Mapping(n, "severity", "score", "coverage") {
		v, ok := p.String(e.Value)
		if !ok {
			continue
		}
		switch e.Key {
		case "severity":
			switch {
			case v == "never":
				f.Severity = ""
			case contains(severity, v):
				f.Severity = v
			default:
				p.FailNear(e.Value, document.Nearest(v, severity), "want low, medium, high, critical or never")
			}
		case "score":
			n, err := strconv.Atoi(v)
			switch {
			case v == "never":
				f.Score = 0
			case err != nil || n < 1 || n > 100 || strconv.Itoa(n) != v:
				p.Fail(e.Value, "want a score from 1 to 100, or never")
			default:
				f.Score = n
			}
		case "coverage":
			switch v {
			case "never":
				f.Coverage = false
			case "partial":
				f.Coverage = true
			default:
				p.FailNear(e.Value, document.Nearest(v, []string{"partial", "never"}), "want partial or never")
			}
		}
	}
}

// use puts the entries of a preset into the section.
func (p *parser) use(s *section, n *yaml.Node) {
	list, err := presetEntries(n.Value)
	if err != nil {
		p.FailNear(n, document.Nearest(n.Value, policies.PresetNames()), "%s", err)
		return
	}
	p.entries += len(list)
	s.entries = append(s.entries, list...)
	s.uses = append(s.uses, Use{n.Value, Origin{File: p.File, Line: n.Line, Column: n.Column, Kind: kindPolicy}})
}

// presetEntries returns the grants of a preset.
func presetEntries(name string) ([]entry, error) {
	data, ok := policies.Preset(name)
	if !ok {
		return nil, fmt.Errorf("no such preset; there are %s", strings.Join(policies.PresetNames(), ", "))
	}
	list, err := readPreset(name, data)
	if err != nil {
		return nil, fmt.Errorf("the preset does not parse: %w", err)
	}
	return list, nil
}

// readPreset reads a preset file: name, description, source, egress,
// credentials, exec, agents. That it lists programs limits a job to none.
func readPreset(name string, data []byte) ([]entry, error) {
	file := "policies/presets/" + name + ".yml"
	src, docs := document.Parse(file, data)
	p := &parser{Source: src, policy: &Policy{}}
	var s section
	if !p.Failed() && len(docs) != 1 {
		return nil, Errors{{File: file, Line: 1, Column: 1, Message: "want one document"}}
	}
	if len(docs) == 1 {
		for _, e := range p.Mapping(docs[0], "name", "description", "source", "egress", "credentials", "exec", "agents") {
			switch e.Key {
			case "egress", "credentials", "exec":
				p.section(&s, []document.Pair{e})
			case "agents":
				p.agents(&s, e.Value, true)
			case "name":
				if e.Value.Value != name {
					p.Fail(e.Value, "the file is named %s.yml", name)
				}
			default:
				p.String(e.Value)
			}
		}
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	for i := range s.entries {
		s.entries[i].Kind = kindPreset
	}
	return s.entries, nil
}
