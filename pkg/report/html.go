package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/org/edamame-posture/pkg/judge"
)

//go:embed report.html.tmpl
var pageSource string

// maxNesting is how deep the process tree nests on the page; deeper processes
// stand at that level and say how deep they are. Browsers flatten documents
// beyond a few hundred elements, each in its own way.
const maxNesting = 48

// HTML writes one page that holds all of the report. It loads nothing, runs no
// script and submits nothing, and its Content-Security-Policy says so; it reads
// well without style sheets too.
func HTML(w io.Writer, d *Data) error {
	v := d.Verdict
	p := page{
		Data: d, V: v, Why: capital(why(v)), Findings: sorted(v.Findings), Tree: rows(d.Processes, 0),
		Command: command(v.Run.Command.Argv, false),
	}
	for i := range d.Destinations {
		if d.Destinations[i].Local {
			p.Local++
		} else {
			p.Far++
			p.Sent += d.Destinations[i].Sent
			p.Received += d.Destinations[i].Received
		}
	}
	p.Far += d.DestinationsLeft
	p.None = "None."
	if v.Coverage.State != "complete" {
		p.None = "None that was seen."
	}
	var b bytes.Buffer
	if err := pageTemplate().Execute(&b, p); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

type page struct {
	*Data
	V              *judge.Verdict
	Why, Command   string
	None           string
	Findings       []judge.Finding
	Tree           []node
	Far, Local     uint64
	Sent, Received uint64
}

// node is a process on the page.
type node struct {
	*Process
	Open     bool
	Below    []node
	TooDeep  bool
	Children int
}

// rows nests processes down to maxNesting.
func rows(ps []*Process, depth int) []node {
	out := make([]node, 0, len(ps))
	for _, p := range ps {
		n := node{Process: p, Open: depth < 6}
		if depth+1 < maxNesting {
			n.Below = rows(p.Children, depth+1)
			out = append(out, n)
			continue
		}
		// The last level holds all that is below it, one after another.
		for stack := []*Process{p}; len(stack) > 0; {
			q := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			out = append(out, node{Process: q, TooDeep: true})
			for i := len(q.Children) - 1; i >= 0; i-- {
				stack = append(stack, q.Children[i])
			}
		}
	}
	return out
}

// pageTemplate is parsed when the first page is made: most starts of the program
// make none.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("report").Funcs(template.FuncMap{
		"show":         visible,
		"suppressedBy": suppressedBy,
		"bytes":        bytesOf,
		"span":         span,
		"number":       number,
		"count":        count,
		"chain":        chain,
		"command":      func(p *Process) string { return cmp.Or(command(p.Argv, p.ArgvCut), p.Program, "?") },
		"argv":         func(argv []string) string { return command(argv, false) },
		"name":         func(d Destination) string { return d.name() },
		"known":        func(d Destination) string { return d.known() },
		"join":         func(s []string) string { return strings.Join(s, ", ") },
		"who": func(f judge.Finding) string {
			return chain(append([]string{path.Base(f.Actor.Exe)}, f.Actor.Lineage...))
		},
		"leaves": func(ls []uint64) string {
			out := make([]string, len(ls))
			for i, l := range ls {
				out[i] = fmt.Sprint(l)
			}
			return strings.Join(out, ", ")
		},
		"lines": func(s string) []string { return strings.Split(strings.TrimRight(s, "\n"), "\n") },
		"minus": func(a, b int64) int64 { return a - b },
	}).Parse(pageSource))
})
