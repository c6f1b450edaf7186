// Package foreign reads what other programs are told that a job may do, and
// says it as a policy of ours:
//
//   - workflows with step-security/harden-runner (its action.yml; endpoints are
//     host:port, 443 where none is written: parseEndpoints in config.go of
//     step-security/agent) or bullfrogsec/bullfrog (its action.yml and README),
//   - gh-aw's Markdown workflows, `network:` of the front matter (gh-aw
//     documentation, reference/network),
//   - settings of Anthropic's sandbox-runtime (its README, "Configuration").
//
// Each line says where it comes from. What a policy has no equal for is told
// and grants nothing, so a policy is never wider than what it was read from;
// where it is tighter, as where the other asks for no port, that is told too.
//
//	p, err := foreign.Read("ci.yml", data)
//	os.Stdout.Write(p.Text())
package foreign

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// maxNotes bounds what is told of one job, in lines.
const maxNotes = 500

// Imported is what a file says, as a policy.
type Imported struct {
	File string
	// Format names what the file is for.
	Format string
	// Top holds for every job; Jobs follow in the order of the file.
	Top  Part
	Jobs []Part
}

// Part is the section of one job.
type Part struct {
	Name   string
	Grants []intent.Declared
	// Denies are destinations that are forbidden; their Key is deny.
	Denies []intent.Declared
	// Limits are lists that stand in the policy though they grant nothing.
	Limits []string
	// Notes is what has no equal, or is tighter here, in the order of the file.
	Notes   []Note
	Omitted int
	// audits: the file lets the job do everything, and reports it.
	audits bool
}

// Note tells of a part of the file that grants nothing.
type Note struct {
	Line, Column int
	Text, Why    string
}

// Read reads a file of one of the formats, which it knows by its content. The
// error is of type [document.Errors] where a place is known.
func Read(file string, data []byte) (*Imported, error) {
	if front, ok := frontMatter(data); ok {
		return read(file, front, agentic)
	}
	if b := bytes.TrimLeft(data, " \t\r\n\ufeff"); len(b) > 0 && b[0] == '{' {
		return read(file, data, sandbox)
	}
	return read(file, data, workflow)
}

func read(file string, data []byte, format func(*reader, *yaml.Node)) (*Imported, error) {
	src, docs := document.Parse(file, data)
	r := &reader{Source: src, out: &Imported{File: file}}
	switch {
	case src.Failed():
	case len(docs) != 1:
		return nil, document.Errors{{File: file, Line: 1, Column: 1, Message: "want one document: a workflow, a gh-aw workflow in Markdown, or settings of sandbox-runtime"}}
	default:
		format(r, docs[0])
	}
	if err := src.Err(); err != nil {
		return nil, err
	}
	for i := range r.out.Jobs {
		r.out.Jobs[i].sort()
	}
	r.out.Top.sort()
	if _, err := intent.Parse("the imported policy", r.out.Text()); err != nil {
		return nil, fmt.Errorf("%s: what it says makes no policy, it may be too long: %w", file, err)
	}
	return r.out, nil
}

// frontMatter returns the YAML between the first two lines of --- of a
// Markdown file, with a line for each line before it, so that places are right.
func frontMatter(data []byte) ([]byte, bool) {
	text, ok := bytes.CutPrefix(data, []byte("---"))
	if !ok || len(text) == 0 || text[0] != '\n' && text[0] != '\r' {
		return nil, false
	}
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte("\n---"))
		if i < 0 {
			return nil, false
		}
		end := at + i
		rest := text[end+4:]
		if line, after, _ := bytes.Cut(rest, []byte("\n")); len(bytes.TrimSpace(line)) == 0 {
			// A workflow in YAML may begin with --- and have a second, empty
			// document; Markdown has text, or no jobs.
			front := text[:end+1]
			if len(bytes.TrimSpace(after)) == 0 && bytes.Contains(front, []byte("\njobs:")) {
				return nil, false
			}
			return append([]byte("#--"), front...), true
		}
		at = end + 4
	}
}

type reader struct {
	*document.Source
	out *Imported
}

// grant adds a grant to a part, or tells why it cannot be one.
func (r *reader) grant(p *Part, key, object string, at *yaml.Node, why string) {
	d := intent.Declared{Key: key, Object: object, Why: why, Origin: intent.Origin{File: r.File, Line: at.Line, Column: at.Column, Kind: "policy"}}
	if err := d.Check(); err != nil {
		r.note(p, at, object, "not granted: "+reason(err))
		return
	}
	if !slices.ContainsFunc(p.Grants, func(o intent.Declared) bool { return o.Key == key && o.Object == object }) {
		p.Grants = append(p.Grants, d)
	}
}

// deny adds a destination that is forbidden. One that a policy cannot say
// ends the reading: to leave it out would allow more than the file does.
func (r *reader) deny(p *Part, object string, at *yaml.Node, why string) {
	text := "version: 1\ndeny:\n  egress: [" + document.Quote(object) + "]\n"
	if _, err := intent.Parse(r.File, []byte(text)); err != nil {
		r.FailNear(at, "", "a policy cannot forbid it, and without that it would allow more: %s", reason(err))
		return
	}
	if !slices.ContainsFunc(p.Denies, func(o intent.Declared) bool { return o.Object == object }) {
		p.Denies = append(p.Denies, intent.Declared{Key: "deny", Object: object, Why: why, Origin: intent.Origin{File: r.File, Line: at.Line, Column: at.Column}})
	}
}

// reason is the first message of an error, without its place.
func reason(err error) string {
	var list document.Errors
	if errors.As(err, &list) && len(list) > 0 {
		return list[0].Message
	}
	return err.Error()
}

func (r *reader) note(p *Part, at *yaml.Node, text, why string) {
	if len(p.Notes) >= maxNotes {
		p.Omitted++
		return
	}
	p.Notes = append(p.Notes, Note{at.Line, at.Column, text, why})
}

func (p *Part) sort() {
	slices.SortStableFunc(p.Notes, func(a, b Note) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
}

// short is a node as it may stand in a note.
func short(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return document.Kind(n)
	}
	s, _, more := strings.Cut(strings.TrimSpace(n.Value), "\n")
	if len(s) > 100 {
		s, more = strings.ToValidUTF8(s[:100], ""), true
	}
	if more {
		s += " ..."
	}
	return s
}

// keys in the order in which a policy has them.
var keys = []string{"use", "egress", "listen", "write"}

// Text is the policy, each line with the place that it comes from.
func (i *Imported) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Imported from %s (%s). What has no equal is told and grants nothing.\nversion: 1\n", shown(i.File), i.Format)
	if len(i.Jobs) > 0 && !slices.ContainsFunc(i.Jobs, func(p Part) bool { return !p.audits }) {
		b.WriteString("fail-on: never # as egress-policy: audit; take it out when the verdicts are quiet\n")
	}
	i.Top.write(&b, "")
	if len(i.Jobs) > 0 {
		b.WriteString("jobs:\n")
	}
	for j := range i.Jobs {
		fmt.Fprintf(&b, "  %s:\n", document.Quote(i.Jobs[j].Name))
		i.Jobs[j].write(&b, "    ")
	}
	return b.Bytes()
}

func (p *Part) write(b *bytes.Buffer, indent string) {
	list := func(indent string, grants []intent.Declared, key string) (n int) {
		for i := range grants {
			if g := &grants[i]; g.Key == key {
				line := g.Line()
				if key == "deny" {
					line = document.Quote(g.Object)
				}
				fmt.Fprintf(b, "%s  - %s # line %d, %s\n", indent, line, g.Origin.Line, shown(g.Why))
				n++
			}
		}
		return n
	}
	for _, key := range keys {
		at := b.Len()
		fmt.Fprintf(b, "%s%s:\n", indent, key)
		if list(indent, p.Grants, key) == 0 {
			b.Truncate(at)
			if slices.Contains(p.Limits, key) {
				fmt.Fprintf(b, "%s%s: [] # nothing\n", indent, key)
			}
		}
	}
	if len(p.Denies) > 0 {
		fmt.Fprintf(b, "%sdeny:\n%s  egress:\n", indent, indent)
		list(indent+"  ", p.Denies, "deny")
	}
	if len(p.Notes) > 0 {
		fmt.Fprintf(b, "%s# Not taken over as it stands:\n", indent)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(b, "%s#   line %d: %s: %s\n", indent, n.Line, shown(n.Text), shown(n.Why))
	}
	if p.Omitted > 0 {
		fmt.Fprintf(b, "%s#   and %d more\n", indent, p.Omitted)
	}
}

func shown(s string) string { return document.Shown(s) }
