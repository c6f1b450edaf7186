package intent

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// policyKeys names the list that holds the grants of a verb, in the order in
// which a suggested policy has them.
var policyKeys = []struct {
	verb, key string
}{
	{"connect", "egress"}, {"listen", "listen"}, {"credential", "credentials"}, {"chain", "credentials"},
	{"exec", "exec"}, {"write", "write"}, {"power", "root"},
}

// Line returns the list item of a policy that would cover a fact, such as
//
//   - {to: "uploads.example.com:443", by: [gh]}
//
// for the list that [Key] names. It is empty where no line can cover it.
func Line(f *fact.Fact) string {
	e, ok := suggest(f)
	if !ok {
		return ""
	}
	i := e.item()
	return "- " + i.line()
}

// maxLineDigests is how many digests a line names: where a program was more
// files than that, a digest is not what it should be granted by.
const maxLineDigests = 4

// Line is [Line] under this intent: where a grant misses what was run since it
// is another file, the line names the file that it was.
func (r *Resolved) Line(f *fact.Fact) string {
	if f.Verb != fact.Exec || !r.digests {
		return Line(f)
	}
	known, unknown := f.Digests()
	e, ok := suggest(f)
	if !ok || !unknown.IsZero() || len(known) > maxLineDigests {
		return Line(f)
	}
	for i := range r.grants[fact.Exec] {
		if g := &r.grants[fact.Exec][i]; len(g.digests) > 0 && g.coversPath(f) {
			for _, d := range known {
				e.SHA256 = append(e.SHA256, d.String())
			}
			e.SHA256 = sorted(e.SHA256)
			i := e.item()
			return "- " + i.line()
		}
	}
	return Line(f)
}

// LineWithUpload is [Line] for a Connect fact, with a budget that sent bytes
// would have kept.
func LineWithUpload(f *fact.Fact, sent uint64) string {
	e, ok := suggest(f)
	if !ok {
		return ""
	}
	e.Upload = roundUp(sent)
	i := e.item()
	return "- " + i.line()
}

// LineOfRequests is [Line] for several Request facts of one destination.
func LineOfRequests(facts []*fact.Fact) string {
	e, ok := suggest(facts[0])
	if !ok {
		return ""
	}
	for _, f := range facts[1:] {
		more := requestOf(f)
		if len(e.HTTP) == 0 || len(more) == 0 {
			e.HTTP = nil
			break
		}
		e.HTTP = append(e.HTTP, more...)
	}
	e.HTTP = sorted(e.HTTP)
	i := e.item()
	return "- " + i.line()
}

// Key returns the name of the list where [Line] belongs, or "".
func Key(f *fact.Fact) string {
	if e, ok := suggest(f); ok {
		return e.key()
	}
	return ""
}

// ListOf returns the name of the list that holds the grants for facts of a
// verb, as it stands in verdict.json, and "" for a verb that has none.
func ListOf(verb string) string {
	switch verb {
	case "resolve", "request", "upload":
		verb = "connect"
	case "delete", "posture-drift":
		verb = "write"
	}
	for _, k := range policyKeys {
		if k.verb == verb {
			return k.key
		}
	}
	return ""
}

// Suggest returns a policy that explains all the facts that a line can cover,
// grouped by list and sorted. The others are told in comments at its end. What
// needs no grant is left out: temporary files and caches, and what others did
// to the job.
//
// Where many files of one folder were written it grants the folder, and a line
// that another covers is left out; so the policy is what a person would have
// written after looking at the list, and not the list.
func Suggest(facts []*fact.Fact) []byte {
	s := suggestion{lists: map[string]map[string]*item{}, sent: map[string]map[string][]string{}}
	for _, f := range facts {
		s.add(f)
	}
	return s.policy()
}

func (e *entry) key() string {
	for _, k := range policyKeys {
		if k.verb == e.Verb {
			return k.key
		}
	}
	return ""
}

// suggestion is a policy that is being made.
type suggestion struct {
	lists map[string]map[string]*item
	// sent holds, for a class of credentials and a program, where it may be
	// sent; the program is empty for those that own the class.
	sent map[string]map[string][]string
	open []string // what no line covers
}

func (s *suggestion) add(f *fact.Fact) {
	if !NeedsGrant(f) {
		return
	}
	e, ok := suggest(f)
	switch {
	case !ok:
		s.open = append(s.open, f.Verb.String()+" "+document.Quote(f.Object.String()))
		return
	case e.Verb == "credential":
		s.send(e.To, e.By)
		return
	case e.Verb == "chain":
		s.send(e.Class, e.By, e.To)
		return
	}
	list := s.lists[e.key()]
	if list == nil {
		list = map[string]*item{}
		s.lists[e.key()] = list
	}
	// One line for a destination, with all who use it; but a line for
	// anyone stays apart from lines that name programs.
	id := e.To
	if len(e.By) == 0 {
		id += "\x00"
	}
	if have := list[id]; have != nil {
		have.by = append(have.by, e.By...)
		return
	}
	i := e.item()
	list[id] = &i
}

// send notes who reads a class, and where it goes.
func (s *suggestion) send(class string, by []string, to ...string) {
	if s.sent[class] == nil {
		s.sent[class] = map[string][]string{}
	}
	program := ""
	if len(by) > 0 {
		program = by[0]
	}
	s.sent[class][program] = append(s.sent[class][program], to...)
}

// credentials makes the list: one line for the programs of a class that send it
// to the same places.
func (s *suggestion) credentials() []item {
	var items []item
	for class, programs := range s.sent {
		same := map[string]*item{}
		for program, to := range programs {
			to = sorted(to)
			id := strings.Join(to, " ")
			if program == "" {
				items = append(items, item{class: class, to: to})
				continue
			}
			if same[id] == nil {
				same[id] = &item{class: class, to: to}
			}
			same[id].by = append(same[id].by, program)
		}
		for _, i := range same {
			i.by = sorted(i.by)
			items = append(items, *i)
		}
	}
	return items
}

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

func (s *suggestion) policy() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "version: %d\n", Version)
	for n, k := range policyKeys {
		if n > 0 && policyKeys[n-1].key == k.key {
			continue
		}
		var items []item
		switch k.key {
		case "credentials":
			items = s.credentials()
		case "write":
			for _, p := range foldPaths(slices.Collect(maps.Keys(s.lists[k.key]))) {
				items = append(items, item{object: p})
			}
		default:
			for _, i := range s.lists[k.key] {
				i.by = sorted(i.by)
				items = append(items, *i)
			}
		}
		writeList(&b, k.key, items)
	}
	for _, o := range sorted(s.open) {
		fmt.Fprintf(&b, "# no line of policy covers: %s\n", o)
	}
	return b.Bytes()
}

// width is how long the lines of a list of words become.
const width = 80

// writeList writes a list, sorted: words beside each other, other items each
// in a line.
func writeList(b *bytes.Buffer, key string, items []item) {
	if len(items) == 0 {
		return
	}
	words := key == "exec" || key == "credentials" || key == "root"
	lines := make([]string, 0, len(items))
	for i := range items {
		words = words && items[i].bare()
		lines = append(lines, items[i].line())
	}
	slices.Sort(lines)
	b.WriteString(key + ":")
	if !words {
		b.WriteByte('\n')
		for _, l := range lines {
			b.WriteString("  - " + l + "\n")
		}
		return
	}
	b.WriteString(" [")
	at := len(key) + 3
	for i, l := range lines {
		if i > 0 {
			b.WriteByte(',')
			at++
			if at+len(l)+2 > width {
				b.WriteString("\n  ")
				at = 2
			} else {
				b.WriteByte(' ')
				at++
			}
		}
		b.WriteString(l)
		at += len(l)
	}
	b.WriteString("]\n")
}

// item is the entry as a line would have it.
func (e *entry) item() item {
	i := item{by: e.By, step: e.Step, upload: e.Upload, sha256: e.SHA256, http: e.HTTP, keys: e.Keys}
	switch e.Verb {
	case "credential":
		i.class = e.To
	case "chain":
		i.class, i.to = e.Class, []string{e.To}
	default:
		i.object = e.To
	}
	return i
}

// suggest returns the entry that covers a fact most closely.
func suggest(f *fact.Fact) (entry, bool) {
	var e entry
	switch f.Verb {
	case fact.Connect, fact.Resolve:
		e = entry{Verb: "connect", To: destinationOf(f), By: doer(f)}
	case fact.Request:
		e = entry{Verb: "connect", To: destinationOf(f), By: doer(f), HTTP: requestOf(f)}
	case fact.Listen:
		e = entry{Verb: "listen", To: destinationOf(f), By: doer(f)}
	case fact.Credential:
		e = entry{Verb: "credential", To: f.Class.String()}
		if !owned(f, e.To) {
			e.By = doer(f)
		}
	case fact.Chain:
		e = entry{Verb: "chain", Class: f.Taint.String(), To: destinationOf(f)}
		if !owned(f, e.Class) {
			e.By = doer(f)
		}
	case fact.Exec:
		e = entry{Verb: "exec", To: literal(path.Base(f.Object.String()))}
	case fact.Write, fact.Delete, fact.Drift:
		e = entry{Verb: "write", To: literal(f.Object.String())}
	case fact.Power:
		by := doer(f)
		if len(by) == 0 {
			return e, false
		}
		e = entry{Verb: "power", To: by[0]}
	default:
		return e, false
	}
	e.Kind = "policy"
	g, err := compile(e)
	if err != nil || !g.covers(f) {
		return e, false
	}
	return g.entry, true
}

// doer returns the program that did it, where a policy can name it.
func doer(f *fact.Fact) []string {
	name := ""
	if len(f.Who) > 0 {
		name = f.Who[0].String()
	} else if f.Node != nil {
		name = f.Node.Name()
	}
	if validProgram(name) != nil {
		return nil
	}
	return []string{name}
}

// destinationOf returns the destination that covers exactly where a fact went.
func destinationOf(f *fact.Fact) string {
	d := destination{port: f.Addr.Port(), anyPort: f.Addr.Port() == 0, proto: f.Proto}
	host := f.Host.String()
	switch a := f.Addr.Addr().Unmap().WithZone(""); {
	case f.Verb != fact.Listen && host != "" && !looksNumeric(host) && validName(host) == nil:
		d.form, d.name = formExact, host
	case a.IsValid():
		d.form = formNet
		d.net, _ = a.Prefix(a.BitLen())
	}
	if d.proto == event.ProtoNone {
		d.any = true
	}
	if d.any && d.form == formAny {
		return "" // it would cover everything
	}
	return d.String()
}

// literal returns the pattern for a path of a fact. Its own stars stay; what a
// pattern cannot hold, two stars inside a name, becomes one.
func literal(p string) string {
	names := strings.Split(p, "/")
	for i, name := range names {
		for name != "**" && strings.Contains(name, "**") {
			name = strings.ReplaceAll(name, "**", "*")
		}
		names[i] = name
	}
	return strings.Join(names, "/")
}
