package learn

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
)

// runSet holds runs, by their place in the list.
type runSet map[int]bool

func (s runSet) add(more runSet) {
	for r := range more {
		s[r] = true
	}
}

// item is one thing that a line can grant, and the one program that did it.
// Facts of all runs that one grant covers most closely are one item.
type item struct {
	key    string // the list of a policy
	object string
	by     string // empty for any program
	to     string // credentials: where the class was sent
	facts  []*fact.Fact
	runs   runSet
	from   []string // what the object was generalised from
}

func (it *item) id() string { return strings.Join([]string{it.key, it.object, it.by, it.to}, "\x00") }

// declared is the grant of the item alone.
func (it *item) declared() intent.Declared {
	d := intent.Declared{Key: it.key, Object: it.object}
	if it.by != "" {
		d.By = []string{it.by}
	}
	if it.to != "" {
		d.To = []string{it.to}
	}
	return d
}

// covered reports whether the item's grant still covers all its facts.
func (it *item) covered() bool {
	d := it.declared()
	c, err := d.Compile()
	return err == nil && !slices.ContainsFunc(it.facts, func(f *fact.Fact) bool { return !c.Covers(f) })
}

// job is what was learnt of one job.
type job struct {
	name  string
	runs  []string // their names
	whole bool     // everything was seen of each
	items []*item  // what the policy grants
	rare  []*item
	open  []string // what no line can grant
	lines []*line
}

func newJob(name string, runs []Run, o Options) *job {
	j := &job{name: name, whole: true}
	all := map[string]*item{}
	open, known := map[string]bool{}, map[string]bool{}
	for i := range runs {
		r := &runs[i]
		j.runs = append(j.runs, r.Name)
		j.whole = j.whole && r.Partial == ""
		for _, f := range r.Facts {
			if !intent.NeedsGrant(f) {
				continue
			}
			d, ok := intent.Closest(f)
			if !ok {
				open[f.Verb.String()+" "+f.Object.String()] = true
				continue
			}
			it := &item{key: d.Key, object: d.Object, runs: runSet{}}
			if len(d.By) > 0 {
				it.by = d.By[0]
			}
			if len(d.To) > 0 {
				it.to = d.To[0]
			}
			if have := all[it.id()]; have != nil {
				it = have
			} else {
				all[it.id()] = it
			}
			it.runs[i] = true
			// Many runs do the same; of facts that are alike to any grant one is enough.
			if like := it.id() + alike(f); !known[like] {
				known[like] = f.Node == nil
				it.facts = append(it.facts, f)
			}
		}
	}
	for o := range open {
		j.open = append(j.open, o)
	}
	slices.Sort(j.open)
	g := generaliser{few: few(len(runs))}
	for _, it := range g.generalise(sortedItems(all)) {
		if len(it.runs) <= g.few && !o.Rare {
			j.rare = append(j.rare, it)
		} else {
			j.items = append(j.items, it)
		}
	}
	j.write(o)
	j.rare = slices.DeleteFunc(j.rare, func(it *item) bool {
		return (it.key == "exec" || it.key == "write") && j.grants(it)
	})
	return j
}

// alike is the same for facts of which a grant covers all or none, where the
// programs that did it are known.
func alike(f *fact.Fact) string {
	return fmt.Sprint("\x00", f.Verb, f.Place, f.Proto, f.Addr, "\x00", f.Object, "\x00", f.Host, "\x00", f.Class, "\x00", f.Taint, "\x00", f.Step, "\x00", f.Who)
}

func sortedItems(all map[string]*item) []*item {
	list := make([]*item, 0, len(all))
	for _, it := range all {
		list = append(list, it)
	}
	slices.SortFunc(list, func(a, b *item) int { return cmp.Compare(a.id(), b.id()) })
	return list
}

// merge joins items that have become the same.
func merge(list []*item) []*item {
	by := map[string]*item{}
	for _, it := range list {
		have := by[it.id()]
		if have == nil {
			by[it.id()] = it
			continue
		}
		have.facts = append(have.facts, it.facts...)
		have.runs.add(it.runs)
		have.from = append(have.from, it.from...)
	}
	out := sortedItems(by)
	for _, it := range out {
		it.from = unique(it.from)
	}
	return out
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// grants reports whether the lines of the policy cover all facts of the item.
func (j *job) grants(it *item) bool {
	for _, f := range it.facts {
		if !slices.ContainsFunc(j.lines, func(l *line) bool { return l.cover.Covers(f) }) {
			return false
		}
	}
	return true
}
