package learn

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/policies"
)

// line is a line of the policy.
type line struct {
	intent.Declared
	cover *intent.Cover
	items []*item // that it covers
	wide  int     // 0 for one object, 1 for a pattern, 2 for a preset
	notes []string
}

// unused are presets that are never learnt. local has addresses and no names.
// The clouds' domains hand out names to anyone, so two hosts of one's own say
// nothing for the rest; nor do those of one's own model server for all others.
var unused = []string{"local", "ai", "cloud-aws", "cloud-azure", "cloud-gcp"}

// shorter is from how many destinations on a preset is shorter than they are.
const shorter = 2

// write makes the lines of the items: each list as short as a person would
// have it, and no line whose facts others cover.
func (j *job) write(o Options) {
	if !o.NoPresets {
		j.presets()
	}
	j.destinations("egress")
	j.destinations("listen")
	j.credentials()
	for _, key := range []string{"exec", "root"} {
		for _, it := range j.of(key) {
			j.add(it.declared())
		}
	}
	var paths []string
	for _, it := range j.of("write") {
		paths = append(paths, it.object)
	}
	for _, p := range intent.FoldPaths(paths) {
		j.add(intent.Declared{Key: "write", Object: p})
	}
	j.prune()
	for _, l := range j.lines {
		l.notes = j.notes(l)
	}
}

func (j *job) of(key string) []*item {
	var out []*item
	for _, it := range j.items {
		if it.key == key {
			out = append(out, it)
		}
	}
	return out
}

// add puts a line into the policy.
func (j *job) add(d intent.Declared) {
	c, err := d.Compile()
	if err != nil {
		return // what it would have granted is told by check
	}
	l := &line{Declared: d, cover: c}
	switch {
	case d.Key == "use":
		l.wide = 2
	case strings.Contains(d.Object+strings.Join(d.To, ""), "*"):
		l.wide = 1
	}
	for _, it := range j.items {
		if it.key != d.Key && d.Key != "use" {
			continue
		}
		if slices.ContainsFunc(it.facts, c.Covers) {
			l.items = append(l.items, it)
		}
	}
	j.lines = append(j.lines, l)
}

// compiledPresets are the presets that may be learnt, by name.
var compiledPresets = sync.OnceValue(func() map[string]*intent.Cover {
	out := map[string]*intent.Cover{}
	for _, name := range policies.PresetNames() {
		d := intent.Declared{Key: "use", Object: name}
		if c, err := d.Compile(); err == nil && !slices.Contains(unused, name) {
			out[name] = c
		}
	}
	return out
})

// presets uses those that explain several hosts by their names, the one that
// explains most first.
func (j *job) presets() {
	hosts := map[string][]*fact.Fact{} // by destination
	for _, it := range j.of("egress") {
		if slices.ContainsFunc(it.facts, func(f *fact.Fact) bool { return f.Host.IsZero() }) {
			continue
		}
		hosts[it.object] = append(hosts[it.object], it.facts...)
	}
	for len(hosts) >= shorter {
		best, size, gain := "", 0, shorter-1
		for _, name := range policies.PresetNames() {
			c := compiledPresets()[name]
			if c == nil {
				continue
			}
			n := 0
			for _, facts := range hosts {
				if all(c, facts) {
					n++
				}
			}
			// Of two that explain as much, the one that grants less.
			if n > gain || n == gain && best != "" && c.Size() < size {
				best, size, gain = name, c.Size(), n
			}
		}
		if best == "" {
			return
		}
		j.add(intent.Declared{Key: "use", Object: best})
		c := j.lines[len(j.lines)-1].cover
		maps.DeleteFunc(hosts, func(_ string, facts []*fact.Fact) bool { return all(c, facts) })
	}
}

func all(c *intent.Cover, facts []*fact.Fact) bool {
	return !slices.ContainsFunc(facts, func(f *fact.Fact) bool { return !c.Covers(f) })
}

// destinations makes one line for a destination, with all who use it. A line
// for anyone stays apart from one that names programs.
func (j *job) destinations(key string) {
	var last *intent.Declared
	flush := func() {
		if last != nil {
			j.add(*last)
		}
	}
	for _, it := range j.of(key) { // sorted by object, and then by program
		if last != nil && last.Object == it.object && len(last.By) > 0 && it.by != "" {
			last.By = append(last.By, it.by)
			continue
		}
		flush()
		d := it.declared()
		last = &d
	}
	flush()
}

// credentials makes one line for the programs that send a class to the same
// places.
func (j *job) credentials() {
	type reader struct{ class, by string }
	sent := map[reader][]string{}
	for _, it := range j.of("credentials") {
		r := reader{it.object, it.by}
		sent[r] = append(sent[r], nonempty(it.to)...)
	}
	readers := slices.SortedFunc(maps.Keys(sent), func(a, b reader) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.by, b.by))
	})
	lines := map[string]*intent.Declared{}
	var order []*intent.Declared
	for _, r := range readers {
		to := unique(sent[r])
		id := r.class + "\x00" + strings.Join(to, "\x00")
		if d := lines[id]; d != nil && r.by != "" {
			d.By = append(d.By, r.by)
			continue
		}
		d := &intent.Declared{Key: "credentials", Object: r.class, To: to, By: nonempty(r.by)}
		order = append(order, d)
		if r.by != "" {
			lines[id] = d
		}
	}
	for _, d := range order {
		j.add(*d)
	}
}

func nonempty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// prune takes out each line whose facts others cover, the narrow ones first.
func (j *job) prune() {
	slices.SortStableFunc(j.lines, func(a, b *line) int {
		return cmp.Or(cmp.Compare(a.wide, b.wide), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Line(), b.Line()))
	})
	times := map[*fact.Fact]int{}
	each := func(l *line, do func(f *fact.Fact) bool) bool {
		for _, it := range l.items {
			for _, f := range it.facts {
				if l.cover.Covers(f) && !do(f) {
					return false
				}
			}
		}
		return true
	}
	for _, l := range j.lines {
		each(l, func(f *fact.Fact) bool { times[f]++; return true })
	}
	j.lines = slices.DeleteFunc(j.lines, func(l *line) bool {
		if !each(l, func(f *fact.Fact) bool { return times[f] > 1 }) {
			return false
		}
		each(l, func(f *fact.Fact) bool { times[f]--; return true })
		return true
	})
}

// maxValues and maxNames bound what a comment lists.
const (
	maxValues = 5
	maxNames  = 3
)

// notes says why a line is as it is, for a comment.
func (j *job) notes(l *line) []string {
	var out []string
	runs := runSet{}
	var from, hosts []string
	var facts []*fact.Fact
	programs := map[string]runSet{}
	for _, it := range l.items {
		runs.add(it.runs)
		from = append(from, it.from...)
		facts = append(facts, it.facts...)
		if it.key == "egress" {
			hosts = append(hosts, it.object)
		}
		if programs[it.by] == nil {
			programs[it.by] = runSet{}
		}
		programs[it.by].add(it.runs)
	}
	if l.Key == "use" {
		out = append(out, fmt.Sprintf("for %s; %d of its %d grants were used", listed(unique(hosts), maxValues), l.cover.Used(facts), l.cover.Size()))
	} else if from = unique(from); len(from) > 0 && strings.Contains(l.Object+strings.Join(l.To, ""), "*") {
		out = append(out, fmt.Sprintf("for %s", listed(from, maxValues)))
	} else if n := len(l.items); l.Key == "write" && n > 1 {
		out = append(out, fmt.Sprintf("for %d paths", n))
	}
	if len(l.To) > 0 {
		out = append(out, "read, and then sent there: look twice")
	}
	if len(runs) < len(j.runs) || len(out) > 0 && len(j.runs) > 1 {
		out = append(out, j.in(runs))
	}
	if len(l.By) > 1 {
		for _, by := range l.By {
			if p := programs[by]; len(p) < len(runs) {
				out = append(out, by+" "+j.in(p))
			}
		}
	}
	return out
}

// in says in how many runs something was seen, and in which where they are few.
func (j *job) in(runs runSet) string {
	s := fmt.Sprintf("in %d of %s", len(runs), count(len(j.runs), "run"))
	if len(runs) == len(j.runs) || len(runs) > maxNames {
		return s
	}
	return s + " (" + listed(j.names(runs), maxNames) + ")"
}

func (j *job) names(runs runSet) []string {
	var names []string
	for _, r := range slices.Sorted(maps.Keys(runs)) {
		names = append(names, j.runs[r])
	}
	return names
}

// listed names at most so many of a list.
func listed(list []string, most int) string {
	more := ""
	if len(list) > most {
		list, more = list[:most], fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ") + more
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
