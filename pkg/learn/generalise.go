package learn

import (
	"maps"
	"slices"
	"strings"
)

// Of how many values a thing must be seen before it counts as one that varies.
const (
	leastNumbers  = 3 // numbers of hosts, and in paths
	leastVersions = 2 // versions, names of chance, ports
	leastFiles    = 5 // files below the folder of a version
)

// generaliser replaces the parts of objects that vary by stars. few is how many
// runs nothing may rest on.
type generaliser struct{ few int }

func (g generaliser) generalise(list []*item) []*item {
	by := map[string][]*item{}
	for _, it := range list {
		by[it.key] = append(by[it.key], it)
	}
	by["write"] = merge(g.paths(merge(g.versionFolders(by["write"]))))
	by["exec"] = merge(g.paths(by["exec"]))
	moved := map[string]string{}
	for _, key := range []string{"egress", "listen"} {
		g.hosts(by[key], moved)
		g.ports(by[key], moved)
		by[key] = merge(by[key])
	}
	// Where a credential goes is a destination too, and named alike.
	for _, it := range by["credentials"] {
		if to, ok := moved[it.to]; ok {
			from := it.to
			if it.to = to; it.covered() {
				it.from = append(it.from, from)
			} else {
				it.to = from
			}
		}
	}
	by["credentials"] = merge(by["credentials"])
	var out []*item
	for _, key := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[key]...)
	}
	return out
}

// values are the values of a part that varies, and the runs that had each.
type values map[string]runSet

func (v values) add(value string, runs runSet) {
	if v[value] == nil {
		v[value] = runSet{}
	}
	v[value].add(runs)
}

// strong reports whether so many values would be left whichever few runs were
// not there. The bound is a safe one: a value that only few runs had is taken
// for lost with any of them.
func (v values) strong(few, least int) bool {
	sure, unsure := 0, 0
	lost := map[int]int{} // by run
	for _, runs := range v {
		if len(runs) > few {
			sure++
			continue
		}
		unsure++
		for r := range runs {
			lost[r]++
		}
	}
	worst := slices.Sorted(maps.Values(lost))
	for _, n := range worst[max(0, len(worst)-few):] {
		unsure -= n
	}
	return sure+max(0, unsure) >= least
}

// varies reports whether the runs differ in the values that they had, and that
// not only by a few of them.
func (v values) varies(few int) bool {
	had := map[int][]string{}
	for _, value := range slices.Sorted(maps.Keys(v)) {
		for r := range v[value] {
			had[r] = append(had[r], value)
		}
	}
	alike, most := map[string]int{}, 0
	for _, list := range had {
		id := strings.Join(list, "\x00")
		alike[id]++
		most = max(most, alike[id])
	}
	return len(had)-most > few
}
