package process

import (
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// maxClimb bounds how many ancestors are looked at for one question.
const maxClimb = 64

// Script is a package manager's script that an image runs under.
type Script struct {
	// Manager is the package manager's name, such as npm, pip or cargo.
	Manager redact.Text
	// Package is whose script it is, as far as the working directory or the
	// script's own path say it, else as the environment does.
	Package redact.Text
	// Event is the script's name or phase: postinstall, build_wheel, build.
	Event redact.Text
	// Node is the image that began the script.
	Node *Node
}

// Lifecycle reports whether the image runs under a script of a package: an
// install script, a build script, a task of the manifest. Which script it is
// follows from the programs of the lineage and their arguments; only where
// those do not say, the environment names it.
func (n *Node) Lifecycle() (Script, bool) {
	var build Script
	at := n.runs()
	for range maxClimb {
		if at == nil {
			break
		}
		above := at.above()
		s, ok := scriptOf(at, above)
		switch {
		case ok && s.Manager.Is("node-gyp"):
			if build.Node == nil {
				build = s // most often itself started by a script of npm
			}
		case ok:
			return s, true
		}
		at = above
	}
	return build, build.Node != nil
}

// maxScripts bounds the images that a [Scripts] remembers. When there are more
// all are forgotten, and found again.
const maxScripts = 1 << 13

// Scripts finds what [Node.Lifecycle] does for many images of one tree, and
// remembers it for each program of a lineage.
type Scripts struct {
	of    map[*Node]Script
	climb []*Node
}

// NewScripts returns one that remembers nothing yet.
func NewScripts() *Scripts {
	return &Scripts{of: make(map[*Node]Script)}
}

// Of returns the script that the image runs under, the zero value where there
// is none.
func (s *Scripts) Of(n *Node) Script {
	at := n.runs()
	s.climb = s.climb[:0]
	var outer Script
	for at != nil {
		have, ok := s.of[at]
		if ok {
			outer = have
			break
		}
		s.climb = append(s.climb, at)
		at = at.above()
	}
	for i := len(s.climb) - 1; i >= 0; i-- {
		m := s.climb[i]
		own, ok := scriptOf(m, at)
		switch {
		case ok && !own.Manager.Is("node-gyp"), ok && (outer.Node == nil || outer.Manager.Is("node-gyp")):
			outer = own
		}
		if len(s.of) >= maxScripts {
			clear(s.of)
		}
		s.of[m] = outer
		at = m
	}
	return outer
}

// Moved takes notice of an event that the tree was given, of the image n: one
// that comes late may tell another lineage than was known.
func (s *Scripts) Moved(ev *event.Event, n *Node) {
	switch ev.Kind {
	case event.Fork, event.Exec:
		if n == nil {
			return
		}
		// What came from it was there before it.
		if _, known := s.of[n]; known || n.child != nil || ev.Kind == event.Fork && n.Actor.Image > 0 {
			clear(s.of)
		}
	}
}

// above returns the nearest ancestor with a program of its own.
func (n *Node) above() *Node {
	for a := range n.Ancestors() {
		return a
	}
	return nil
}

// scriptOf reports whether n is the image that a manager, the program above
// it, runs a script with.
func scriptOf(n, above *Node) (Script, bool) {
	name := n.Program()
	s := Script{Node: n}
	if dpkgScript(n, &s) {
		return s, true
	}
	if above == nil {
		return s, false
	}
	manager := above.Program()
	switch {
	case name.HasPrefix("build-script-") && manager.Is("cargo"):
		s.Manager, s.Event = manager, redact.Const("build")
		s.Package = withoutHash(n.Exe.Dir().Base())
	case name.Is("node-gyp"):
		s.Manager, s.Event = name, redact.Const("build")
	case npmLike[manager.String()] && isShellC(n):
		s.Manager, s.Event, s.Package = manager, n.script, packageOf(n)
	case manager.Is("composer") && isShellC(n):
		s.Manager, s.Event = manager, redact.Const("script")
	case npmLike[manager.String()] && !n.script.IsZero() && n.script != above.script:
		// yarn 2 and later have a shell of their own.
		s.Manager, s.Event, s.Package = manager, n.script, packageOf(n)
	case gemLike[manager.String()] && (name.Is("extconf.rb") || name.Is("mkrf_conf.rb") || name.Is("make") || name.Is("rake")):
		s.Manager, s.Event = manager, name
		s.Package = gemOf(n.Cwd)
	case pythonBuild(n, name, &s):
		s.Manager = redact.Const("python")
		at := above
		for range maxClimb {
			if at == nil {
				break
			}
			if m := at.Program(); pythonManagers[m.String()] {
				s.Manager = m
				break
			}
			at = at.above()
		}
		s.Package = sourceOf(n.Cwd)
	default:
		return s, false
	}
	return s, true
}

var (
	npmLike = map[string]bool{"npm": true, "npx": true, "yarn": true, "yarnpkg": true, "pnpm": true, "pnpx": true, "bun": true, "bunx": true, "cnpm": true}
	gemLike = map[string]bool{"gem": true, "bundle": true, "bundler": true}

	pythonManagers = map[string]bool{"pip": true, "pip2": true, "pip3": true, "uv": true, "uvx": true, "poetry": true, "pdm": true, "pipx": true, "pipenv": true, "tox": true, "conda": true, "build": true}
)

// isShellC reports whether the image is a shell that was given its script as
// an argument.
func isShellC(n *Node) bool {
	return families[n.Program().String()].shell && len(n.Argv) > 1 && n.Argv[1].HasPrefix("-") && n.Argv[1].Contains("c")
}

// packageOf returns the package of a script of npm: that of the folder it
// runs in, else what the environment says.
func packageOf(n *Node) redact.Text {
	const dir = "/node_modules/"
	i := strings.LastIndex(n.Cwd.String(), dir)
	if i < 0 {
		return n.scrPkg
	}
	pkg := n.Cwd.Slice(i+len(dir), n.Cwd.Len())
	first, rest, ok := pkg.Cut("/")
	if !ok || !first.HasPrefix("@") {
		return first
	}
	second, _, _ := rest.Cut("/")
	return pkg.Slice(0, first.Len()+1+second.Len())
}

// pythonBuild reports whether a Python program builds a package, by setup.py
// or by the hooks of PEP 517.
func pythonBuild(n *Node, name redact.Text, s *Script) bool {
	switch {
	case name.Is("setup.py"), name.Is("_in_process.py"), name.Is("setuptools_build"):
		for i, a := range n.Argv {
			if a.HasSuffix(".py") && i+1 < len(n.Argv) {
				s.Event = n.Argv[i+1]
				break
			}
		}
		return true
	case strings.HasPrefix(name.String(), "python"), name.HasPrefix("pypy"):
		for i, a := range n.Argv {
			if a.Is("-c") && i+1 < len(n.Argv) && n.Argv[i+1].Contains("setup.py") && n.Argv[i+1].Contains("exec(compile(") {
				s.Event = argument(n, i+2)
				return true
			}
		}
	}
	return false
}

// dpkgScript reports whether the image is a maintainer script, which dpkg
// keeps in a folder that only root writes.
func dpkgScript(n *Node, s *Script) bool {
	const dir = "/var/lib/dpkg/info/"
	const dirNew = "/var/lib/dpkg/tmp.ci/"
	for _, f := range [...]redact.Text{n.Filename, argument(n, 1)} {
		switch {
		case f.HasPrefix(dir):
			pkg, ext := cutExt(f.TrimPrefix(dir))
			switch ext {
			case ".preinst", ".postinst", ".prerm", ".postrm", ".config":
				s.Manager, s.Package, s.Event = redact.Const("dpkg"), pkg, f.TrimPrefix(dir).Slice(pkg.Len()+1, f.Len())
				return true
			}
		case f.HasPrefix(dirNew):
			s.Manager, s.Event = redact.Const("dpkg"), f.TrimPrefix(dirNew)
			return true
		}
	}
	return false
}

// withoutHash returns serde from serde-0a1b2c3d4e5f6071, the name of a folder
// of cargo.
func withoutHash(name redact.Text) redact.Text {
	if i := strings.LastIndexByte(name.String(), '-'); i > 0 {
		return name.Slice(0, i)
	}
	return name
}

// sourceOf returns the package of a source folder of pip:
// /tmp/pip-install-x/numpy_0a1b2c…
func sourceOf(cwd redact.Text) redact.Text {
	base := cwd.Base()
	if i := strings.LastIndexByte(base.String(), '_'); i > 0 && base.Len()-i == 33 {
		return base.Slice(0, i)
	}
	return base
}

// gemOf returns the gem of a folder such as .../gems/nokogiri-1.16.0/ext/x.
func gemOf(cwd redact.Text) redact.Text {
	const dir = "/gems/"
	i := strings.LastIndex(cwd.String(), dir)
	if i < 0 {
		return redact.Text{}
	}
	gem, _, _ := cwd.Slice(i+len(dir), cwd.Len()).Cut("/")
	return withoutHash(gem)
}
