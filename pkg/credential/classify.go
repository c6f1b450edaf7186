package credential

import (
	"slices"
	"strconv"
	"strings"
)

// maxPath bounds a path in bytes, PATH_MAX of linux/limits.h. What is longer
// is not classified.
const maxPath = 4096

// Classify returns the class that the file at path belongs to. The path is
// absolute, as the kernel resolves it; home is the home folder of the recording
// and may be empty.
//
// Folders such as .aws are looked for anywhere and not in home alone, since a
// process chooses its HOME. What a package brought along is left out: a .npmrc
// or .env in node_modules, under /usr/share or in a module cache holds no secret of
// this machine, and neither does .env.example.
func Classify(path, home string) (Class, bool) {
	if len(path) == 0 || len(path) > maxPath || path[0] != '/' {
		return Class{}, false
	}
	best, ok := first(exact[path[strings.LastIndexByte(path, '/')+1:]], path)
	if r, found := first(starred, path); found && (!ok || r.class < best.class) {
		best, ok = r, true
	}
	if !ok || best.pattern[0] != '/' && shipped(path, home) || example(path) {
		return Class{}, false
	}
	return classes[best.class], true
}

// Process returns the process whose memory or environment a path of procfs
// stands for, so that a process that reads itself can be told from one that
// reads another. The number is of the pid namespace of that procfs.
func Process(path string) (pid uint32, ok bool) {
	rest, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, false
	}
	return uint32(n), true
}

// WatchNames returns the base names that a sensor should report reads of, and
// prefixes of base names, sorted. A match is no class yet: only the whole path
// decides. The files of /proc/PID are left out: sensors know them by themselves
// and tell a process that reads its own from one that reads another's.
func WatchNames() (names, prefixes []string) {
	for _, c := range classes {
		for _, p := range c.patterns {
			if strings.HasPrefix(p, "/proc/*/") {
				continue
			}
			base := p[strings.LastIndexByte(p, '/')+1:]
			if i := strings.IndexByte(base, '*'); i >= 0 {
				if i > 0 {
					prefixes = append(prefixes, base[:i])
				}
				continue
			}
			names = append(names, base)
		}
	}
	slices.Sort(names)
	slices.Sort(prefixes)
	names, prefixes = slices.Compact(names), slices.Compact(prefixes)
	// A prefix that another covers, and a name that a prefix covers.
	prefixes = slices.DeleteFunc(prefixes, func(p string) bool {
		return slices.ContainsFunc(prefixes, func(q string) bool { return q != p && strings.HasPrefix(p, q) })
	})
	names = slices.DeleteFunc(names, func(n string) bool {
		return slices.ContainsFunc(prefixes, func(q string) bool { return strings.HasPrefix(n, q) })
	})
	return names, prefixes
}

// Places returns where the files of all classes may lie, as patterns of
// path/filepath: those with a fixed place, and the others below each of the
// folders. Patterns that go through any number of folders are left out.
func Places(folders ...string) []string {
	var out []string
	for _, c := range classes {
		for _, p := range c.patterns {
			switch {
			case strings.Contains(p, "**") || strings.HasPrefix(p, "/proc/"):
			case p[0] == '/':
				out = append(out, p)
			default:
				for _, dir := range folders {
					if strings.HasPrefix(dir, "/") {
						out = append(out, strings.TrimSuffix(dir, "/")+"/"+p)
					}
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

type rule struct {
	pattern string
	class   int
}

// exact are the patterns by their base name, starred those with a star in it;
// both in the order of the table.
var exact, starred = func() (map[string][]rule, []rule) {
	by, rest := make(map[string][]rule), []rule(nil)
	for i, c := range classes {
		for _, p := range c.patterns {
			if base := p[strings.LastIndexByte(p, '/')+1:]; strings.Contains(base, "*") {
				rest = append(rest, rule{p, i})
			} else {
				by[base] = append(by[base], rule{p, i})
			}
		}
	}
	return by, rest
}()

// first returns the first of the rules that stands for path.
func first(rules []rule, path string) (rule, bool) {
	for _, r := range rules {
		if match(r.pattern, path) {
			return r, true
		}
	}
	return rule{}, false
}

// match reports whether a pattern of the table stands for path.
func match(pattern, path string) bool {
	if pattern[0] == '/' {
		return matchParts(pattern[1:], path[1:])
	}
	// The last parts: as many as the pattern has, or more with two stars.
	if !strings.Contains(pattern, "**") {
		from := len(path)
		for range strings.Count(pattern, "/") + 1 {
			if from = strings.LastIndexByte(path[:from], '/'); from < 0 {
				return false
			}
		}
		return matchParts(pattern, path[from+1:])
	}
	for from := 0; from >= 0; {
		if matchParts(pattern, path[from+1:]) {
			return true
		}
		n := strings.IndexByte(path[from+1:], '/')
		if n < 0 {
			return false
		}
		from += n + 1
	}
	return false
}

// matchParts matches part by part. A pattern has two stars at most once, so
// this takes time in proportion to the length of the path.
func matchParts(pattern, path string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, "/")
		if p == "**" {
			// What follows is matched against the end of the path.
			from := len(path) + 1
			for range strings.Count(pRest, "/") + 1 {
				if from == 0 {
					return false
				}
				from = strings.LastIndexByte(path[:from-1], '/') + 1
			}
			return matchParts(pRest, path[from:])
		}
		s, sRest, sMore := strings.Cut(path, "/")
		if pMore != sMore || !matchPart(p, s) {
			return false
		}
		if !pMore {
			return true
		}
		pattern, path = pRest, sRest
	}
}

// matchPart matches one part, in which a pattern has at most one star.
func matchPart(pattern, s string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

// shippedIn are folders whose files came with a package.
var shippedIn = []string{
	"/node_modules/", "/site-packages/", "/dist-packages/", "/go/pkg/mod/", "/.cargo/registry/", "/.rustup/", "/_cacache/", "/.pnpm-store/",
	"/.m2/repository/", "/.gradle/caches/", "/vendor/bundle/", "/.nuget/packages/",
}

var shippedUnder = []string{"/usr/share/", "/usr/lib/", "/usr/lib64/", "/usr/include/", "/usr/src/", "/usr/local/share/", "/usr/local/lib/", "/usr/local/go/", "/opt/hostedtoolcache/", "/nix/store/", "/snap/", "/sys/"}

// shipped reports whether path lies where packages are unpacked, and not below
// home but for caches.
func shipped(path, home string) bool {
	for _, in := range shippedIn {
		if strings.Contains(path, in) {
			return true
		}
	}
	if home != "" && home != "/" && strings.HasPrefix(path, strings.TrimSuffix(home, "/")+"/") {
		return false
	}
	for _, under := range shippedUnder {
		if strings.HasPrefix(path, under) {
			return true
		}
	}
	return false
}

// example reports whether path is a template that a repository holds in place
// of the real file.
func example(path string) bool {
	base := path[strings.LastIndexByte(path, '/')+1:]
	if strings.HasSuffix(base, ".pub") {
		return true // the public half of a key pair
	}
	if !strings.HasPrefix(base, ".env.") {
		return false
	}
	for _, s := range []string{".example", ".sample", ".template", ".tmpl", ".tpl", ".dist", ".defaults", ".schema", ".md", ".vault"} {
		if strings.HasSuffix(base, s) || strings.Contains(base, s+".") {
			return true
		}
	}
	return false
}
