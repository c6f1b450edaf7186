package intent

import (
	"slices"
	"strings"
)

// manyPaths is from how many paths of one folder on a suggested policy names
// the folder.
const manyPaths = 5

// foldPaths makes a list of patterns shorter for a person: what lies in the
// workspace and has many neighbours in the list is granted by its folder, and
// what another pattern covers is left out. A folder whose name begins with a dot
// holds settings and hooks, and outside the workspace each file counts: there
// every path stays.
func foldPaths(list []string) []string {
	for i, p := range list {
		list[i] = strings.TrimSuffix(p, "\x00")
	}
	list = sorted(list)
	list = foldBy(list, func(p string) (folder, pattern string) {
		i := strings.LastIndexByte(p, '/')
		if i < 0 || strings.Contains(p, "**") {
			return "", ""
		}
		return p[:i], p[:i] + "/*"
	})
	list = foldBy(list, func(p string) (folder, pattern string) {
		i := strings.IndexByte(p, '/')
		if i < 0 {
			return "", ""
		}
		return p[:i], p[:i] + "/**"
	})
	return uncovered(list)
}

// foldBy replaces the paths of a folder by a pattern where they are many.
func foldBy(list []string, by func(string) (folder, pattern string)) []string {
	count := map[string]int{}
	foldable := func(p string) string {
		folder, pattern := by(p)
		if folder == "" || strings.HasPrefix(p, "/") || strings.HasPrefix(p, ".") {
			return ""
		}
		return pattern
	}
	for _, p := range list {
		if pattern := foldable(p); pattern != "" {
			count[pattern]++
		}
	}
	out := make([]string, 0, len(list))
	for _, p := range list {
		if pattern := foldable(p); count[pattern] >= manyPaths && pattern != "" {
			p = pattern
		}
		out = append(out, p)
	}
	return sorted(out)
}

// uncovered leaves out what another pattern of the list holds.
func uncovered(list []string) []string {
	var wide []glob
	for _, p := range list {
		if g, err := parseGlob(p, false); err == nil && !g.exact() {
			wide = append(wide, g)
		}
	}
	out := slices.Clone(list)
	return slices.DeleteFunc(out, func(p string) bool {
		for i := range wide {
			g := &wide[i]
			if g.text == p || g.absolute() != strings.HasPrefix(p, "/") || !g.match(p) {
				continue
			}
			// Of two that hold each other the first stays.
			if q, err := parseGlob(p, false); err == nil && q.match(g.text) && p < g.text {
				continue
			}
			return true
		}
		return false
	})
}
