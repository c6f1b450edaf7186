package learn

import (
	"regexp"
	"slices"
	"strings"
)

// part is one name of a path, cut where it may vary.
type part struct {
	before, value, after string
	least                int // of how many values it varies; 0 for a name that does not
}

func (p part) text() string { return p.before + p.value + p.after }

var (
	// A version, a date or a number.
	numbered = regexp.MustCompile(`[0-9]+(?:[._-][0-9]+)*`)
	// What mktemp(1) and its like end a name with, after tmp or temp.
	temporary = regexp.MustCompile(`^(.*(?i:tmp|temp)[-_.]?)([A-Za-z0-9]{6,16})((?:\.[A-Za-z0-9]+)?)$`)
	// The same without a word that says so: it must look like chance.
	chance = regexp.MustCompile(`^(.*[-_.])([A-Za-z0-9]{6,16})$`)
	// A folder that is named for a version alone.
	version = regexp.MustCompile(`^v?[0-9]+(?:\.[0-9]+)+$`)
)

// cut finds what may vary in one name of a path.
func cut(name string) part {
	if strings.Contains(name, "*") {
		return part{before: name} // the fact's own stars stay as they are
	}
	if m := temporary.FindStringSubmatch(name); m != nil && mixed(m[2]) >= 2 {
		return part{m[1], m[2], m[3], leastVersions}
	}
	if m := chance.FindStringSubmatch(name); m != nil && mixed(m[2]) == 3 {
		return part{m[1], m[2], "", leastVersions}
	}
	found := numbered.FindAllStringIndex(name, -1)
	if len(found) == 0 {
		return part{before: name}
	}
	at, least := found[0], leastNumbers
	for _, f := range found {
		if strings.ContainsAny(name[f[0]:f[1]], "._-") {
			at, least = f, leastVersions
			break
		}
	}
	return part{name[:at[0]], name[at[0]:at[1]], name[at[1]:], least}
}

// Fold returns a path with a star for each part that is another in every run:
// what mktemp(1) and its like make, and below folders for temporary files and
// /proc any number, such as a process id. [Learn] sees many runs and folds what
// varies; this is for who has two.
func Fold(path string) string {
	scratch := false
	for _, place := range []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/", "/proc/"} {
		scratch = scratch || strings.HasPrefix(path, place)
	}
	names := strings.Split(path, "/")
	for i, n := range names {
		if strings.Contains(n, "*") {
			continue
		}
		switch m, c := temporary.FindStringSubmatch(n), chance.FindStringSubmatch(n); {
		case m != nil && mixed(m[2]) >= 2:
			names[i] = m[1] + "*" + m[3]
		case c != nil && mixed(c[2]) >= 2 && (scratch || mixed(c[2]) == 3):
			names[i] = c[1] + "*"
		case scratch:
			names[i] = numbered.ReplaceAllString(n, "*")
		}
	}
	return strings.Join(names, "/")
}

// mixed counts the kinds of characters: digits, small and capital letters.
func mixed(s string) int {
	n := 0
	for _, set := range []string{"0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
		if strings.ContainsAny(s, set) {
			n++
		}
	}
	return n
}

// cutPath cuts each name of a path. Outside the workspace, and among settings,
// each file counts: there only folders vary.
func cutPath(path string) []part {
	names := strings.Split(path, "/")
	parts := make([]part, len(names))
	counts := strings.HasPrefix(path, "/") || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, ".") })
	for i, n := range names {
		if parts[i] = cut(n); i == len(names)-1 && counts {
			parts[i] = part{before: n}
		}
	}
	return parts
}

// candidate is an item whose path may be generalised.
type candidate struct {
	item  *item
	parts []part
}

// paths generalises the objects of items that are paths or names of programs,
// in place.
func (g generaliser) paths(list []*item) []*item {
	families := map[string][]candidate{}
	for _, it := range list {
		c := candidate{it, cutPath(it.object)}
		var id strings.Builder
		for _, p := range c.parts {
			id.WriteString(p.before)
			if p.least > 0 {
				id.WriteByte(byte(p.least))
			}
			id.WriteString(p.after + "/")
		}
		families[id.String()] = append(families[id.String()], c)
	}
	for _, family := range families {
		g.settle(family)
	}
	return list
}

// settle generalises a family of paths that differ in what may vary only. A
// part that does not vary enough splits it.
func (g generaliser) settle(family []candidate) {
	if len(family) < 2 {
		return
	}
	stars := make([]string, len(family[0].parts))
	some := false
	for i, p := range family[0].parts {
		if p.least == 0 {
			continue
		}
		v := values{}
		for _, c := range family {
			v.add(c.parts[i].value, c.item.runs)
		}
		if len(v) == 1 {
			continue
		}
		if !v.strong(g.few, p.least) || !v.varies(g.few) {
			split := map[string][]candidate{}
			for _, c := range family {
				split[c.parts[i].value] = append(split[c.parts[i].value], c)
			}
			for _, f := range split {
				g.settle(f)
			}
			return
		}
		stars[i], some = starFor(p, v), true
	}
	if !some {
		return
	}
	for _, c := range family {
		names := make([]string, len(c.parts))
		for i, p := range c.parts {
			if names[i] = p.text(); stars[i] != "" {
				names[i] = stars[i]
			}
		}
		before := c.item.object
		c.item.object = strings.Join(names, "/")
		if !c.item.covered() {
			c.item.object = before
			continue
		}
		for i := range c.parts {
			if stars[i] != "" {
				c.item.from = append(c.item.from, c.parts[i].text())
			}
		}
	}
}

// starFor returns the name with a star for what varies. A version that is
// written onto a word, as in python3.12, keeps what all have of it: 3. there.
func starFor(p part, v values) string {
	same := ""
	if n := len(p.before); n > 1 && letter(p.before[n-1]) && (p.before[n-1] != 'v' || letter(p.before[n-2])) {
		first := true
		for value := range v {
			if first {
				same, first = value, false
				continue
			}
			for !strings.HasPrefix(value, same) {
				same = same[:len(same)-1]
			}
		}
		same = same[:strings.LastIndexAny(same, "._-")+1]
	}
	return p.before + same + "*" + p.after
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// versionFolders puts in the place of the many files below the folder of a
// version, outside the workspace, all that is below it: it is that version's.
// Settings and hidden folders are no such place.
func (g generaliser) versionFolders(list []*item) []*item {
	files := map[string]values{}
	for _, it := range list {
		if dir := versionFolder(it.object); dir != "" {
			if files[dir] == nil {
				files[dir] = values{}
			}
			files[dir].add(it.object, it.runs)
		}
	}
	for _, it := range list {
		dir := versionFolder(it.object)
		if dir == "" || !files[dir].strong(g.few, leastFiles) {
			continue
		}
		before := it.object
		if it.object = dir + "/**"; !it.covered() {
			it.object = before
		}
	}
	return list
}

func versionFolder(path string) string {
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "/.") {
		return ""
	}
	for _, settings := range []string{"/etc/", "/proc/", "/sys/", "/dev/", "/boot/"} {
		if strings.HasPrefix(path, settings) {
			return ""
		}
	}
	names := strings.Split(path, "/")
	for i, n := range names[:len(names)-1] {
		if i > 1 && version.MatchString(n) {
			return strings.Join(names[:i+1], "/")
		}
	}
	return ""
}
