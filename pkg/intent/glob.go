package intent

import (
	"path"
	"strings"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// glob is a pattern over paths: * stays within one name, ** is any number of
// names. A pattern is absolute, or relative to the workspace.
//
// It is held against the canonical objects of facts, which are patterns
// themselves: a fact node_modules/** stands for many files. So a match means
// that the pattern holds every path of the fact; a star of a fact is matched
// by a star of the pattern only, and ** by ** only. There is no ?, since it
// would break this.
type glob struct {
	text  string
	parts []string
	names bool // a bare program name, matched against base names
}

// parseGlob reads a pattern. With names, one without a slash is a base name.
func parseGlob(s string, names bool) (glob, error) {
	g := glob{text: s}
	switch {
	case s == "":
		return g, badAt(0, "empty; want a path or a pattern such as dist/**")
	case len(s) > 4096:
		return g, badAt(0, "longer than a path can be")
	case strings.ContainsRune(s, 0):
		return g, badAt(0, "a path has no NUL byte")
	case s == "~" || strings.HasPrefix(s, "~/"):
		return g, badAt(0, "~ is not read by this version; write the path of the home folder")
	case s == ".":
		g.parts = []string{"."}
		return g, nil
	case names && !strings.Contains(s, "/"):
		g.names = true
		g.parts = []string{s}
		return g, nil
	}
	body := strings.TrimPrefix(s, "/")
	body = strings.TrimPrefix(body, "./")
	if strings.HasSuffix(body, "/") {
		body += "**"
	}
	for _, part := range strings.Split(body, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return g, badAt(0, `write the path plain, without "//", "/./" and "/../"`)
		case part != "**" && strings.Contains(part, "**"):
			return g, badAt(strings.Index(s, "**"), `** stands alone between slashes`)
		}
		if len(g.parts) > 0 && part == "**" && g.parts[len(g.parts)-1] == "**" {
			continue
		}
		g.parts = append(g.parts, part)
	}
	if len(g.parts) == 0 {
		return g, badAt(0, `write "/**" for every file`)
	}
	if strings.HasPrefix(s, "/") {
		g.parts = append([]string{"/"}, g.parts...)
	}
	// Each ** may try every place of the path; more than a few are a mistake.
	if n := strings.Count(strings.Join(g.parts, "/"), "**"); n > 4 {
		return g, badAt(0, "more than four ** in one pattern")
	}
	return g, nil
}

func (g *glob) absolute() bool { return !g.names && g.parts[0] == "/" }

// exact reports whether the pattern names one path only.
func (g *glob) exact() bool {
	return !strings.Contains(g.text, "*") && !strings.HasSuffix(g.text, "/")
}

// all reports whether every path matches.
func (g *glob) all() bool {
	if g.names {
		return strings.Trim(g.text, "*") == ""
	}
	for _, p := range g.parts {
		if p != "**" && p != "/" {
			return false
		}
	}
	return true
}

// match reports whether the pattern holds all that p, the canonical path of a
// fact, stands for. A path without a first slash is relative to the workspace.
func (g *glob) match(p string) bool {
	if g.names {
		return document.MatchStars(g.text, path.Base(p))
	}
	parts := g.parts
	if parts[0] == "/" {
		if p == "" || p[0] != '/' {
			return false
		}
		parts, p = parts[1:], p[1:]
	}
	return matchParts(parts, p)
}

func matchParts(parts []string, p string) bool {
	for len(parts) > 0 {
		if parts[0] == "**" {
			if len(parts) == 1 {
				return true
			}
			for {
				if matchParts(parts[1:], p) {
					return true
				}
				i := strings.IndexByte(p, '/')
				if i < 0 {
					return false
				}
				p = p[i+1:]
			}
		}
		if p == "" {
			return false
		}
		name, rest := p, ""
		if i := strings.IndexByte(p, '/'); i >= 0 {
			name, rest = p[:i], p[i+1:]
		}
		if name == "**" || !document.MatchStars(parts[0], name) {
			return false
		}
		parts, p = parts[1:], rest
	}
	return p == ""
}
