package intent

import (
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
)

// index finds the grants of a list that may cover a fact, by something that
// both have: a host or a domain above it, the base name of a program, the
// first folder of a path, a class. It only spares looks: what it finds is still
// held against the fact, and what has nothing to be found by is always found.
type index struct {
	byKey map[string][]int32 // places in the list
	rest  []int32
}

func (x *index) add(g *grant, at int) {
	keys := g.keys()
	if len(keys) == 0 {
		x.rest = append(x.rest, int32(at))
	}
	for _, k := range keys {
		if x.byKey == nil {
			x.byKey = make(map[string][]int32)
		}
		x.byKey[k] = append(x.byKey[k], int32(at))
	}
}

// keys returns what a fact that the grant covers has at least one of, none
// where that is not known.
func (g *grant) keys() []string {
	switch g.Verb {
	case fact.Connect, fact.Listen:
		return g.dest.keys()
	case fact.Credential:
		return []string{g.entry.To}
	case fact.Chain:
		return []string{g.entry.Class}
	case fact.Exec, fact.Write:
		if k := g.glob.key(); k != "" {
			return []string{k}
		}
	}
	return nil
}

func (d *destination) keys() []string {
	switch d.form {
	case formExact, formSuffix, formLabel:
		return []string{d.name}
	case formTree:
		return []string{d.name, d.name[1:]}
	}
	return nil
}

func (g *glob) key() string {
	k := g.parts[0]
	if k == "/" {
		if len(g.parts) < 2 {
			return ""
		}
		k = "/" + g.parts[1]
	}
	if strings.Contains(k, "*") {
		return ""
	}
	return k
}

// find appends to list the places of the grants that may cover the fact, in
// order and each once.
func (x *index) find(list []int32, f *fact.Fact) []int32 {
	list = append(list, x.rest...)
	if x.byKey == nil {
		return list
	}
	switch f.Verb {
	case fact.Connect, fact.Resolve, fact.Request, fact.Key, fact.Listen:
		host := f.Host.String()
		list = append(list, x.byKey[host]...)
		for i := range len(host) {
			if host[i] == '.' {
				list = append(list, x.byKey[host[i:]]...)
			}
		}
	case fact.Credential:
		list = append(list, x.byKey[f.Class.String()]...)
	case fact.Chain:
		list = append(list, x.byKey[f.Taint.String()]...)
	case fact.Exec, fact.Write, fact.Delete, fact.Drift:
		p := f.Object.String()
		top := p
		if i := strings.IndexByte(p[min(len(p), 1):], '/'); i >= 0 {
			top = p[:i+1]
		}
		list = append(list, x.byKey[top]...)
		if base := path.Base(p); f.Verb == fact.Exec && base != top {
			list = append(list, x.byKey[base]...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
