package intent

import (
	"bytes"
	"fmt"
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
	{"connect", "egress"}, {"listen", "listen"}, {"credential", "credentials"},
	{"exec", "exec"}, {"write", "write"}, {"power", "root"},
}

// Line returns the list item of a policy that would cover a fact, such as
//
//   - {to: "uploads.example.com:443", by: ["gh"]}
//
// for the list that [Key] names. It is empty where no line can cover it.
func Line(f *fact.Fact) string {
	e, ok := suggest(f)
	if !ok {
		return ""
	}
	return "- " + e.item()
}

// Key returns the name of the list where [Line] belongs, or "".
func Key(f *fact.Fact) string {
	if e, ok := suggest(f); ok {
		return e.key()
	}
	return ""
}

// Suggest returns a policy that explains all the facts that a line can cover,
// grouped by list and sorted. The others are told in comments at its end.
func Suggest(facts []*fact.Fact) []byte {
	lists := map[string]map[string]*entry{}
	var open []string
	for _, f := range facts {
		e, ok := suggest(f)
		if !ok {
			open = append(open, f.Verb.String()+" "+document.Quote(f.Object.String()))
			continue
		}
		list := lists[e.key()]
		if list == nil {
			list = map[string]*entry{}
			lists[e.key()] = list
		}
		// One line for a destination, with all who use it; but a line for
		// anyone stays apart from lines that name programs.
		id := e.To
		if len(e.By) == 0 {
			id += "\x00"
		}
		if have := list[id]; have != nil {
			have.By = append(have.By, e.By...)
			continue
		}
		list[id] = &e
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "version: %d\n", Version)
	for _, k := range policyKeys {
		if len(lists[k.key]) == 0 {
			continue
		}
		items := make([]string, 0, len(lists[k.key]))
		for _, e := range lists[k.key] {
			slices.Sort(e.By)
			e.By = slices.Compact(e.By)
			items = append(items, e.item())
		}
		slices.Sort(items)
		fmt.Fprintf(&b, "%s:\n", k.key)
		for _, item := range items {
			fmt.Fprintf(&b, "  - %s\n", item)
		}
	}
	slices.Sort(open)
	for _, o := range slices.Compact(open) {
		fmt.Fprintf(&b, "# no line of policy covers: %s\n", o)
	}
	return b.Bytes()
}

func (e *entry) key() string {
	for _, k := range policyKeys {
		if k.verb == e.Verb {
			return k.key
		}
	}
	return ""
}

// item is the entry as a YAML list item.
func (e *entry) item() string {
	if len(e.By) == 0 && e.Step == "" {
		return document.Quote(e.To)
	}
	return e.text()
}

// suggest returns the entry that covers a fact most closely.
func suggest(f *fact.Fact) (entry, bool) {
	var e entry
	switch f.Verb {
	case fact.Connect, fact.Resolve:
		e = entry{Verb: "connect", To: destinationOf(f), By: doer(f)}
	case fact.Listen:
		e = entry{Verb: "listen", To: destinationOf(f), By: doer(f)}
	case fact.Credential:
		e = entry{Verb: "credential", To: f.Class.String()}
		if !ownsClass(f) {
			e.By = doer(f)
		}
	case fact.Exec:
		e = entry{Verb: "exec", To: literal(path.Base(f.Object.String()))}
	case fact.Write, fact.Delete:
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
