package process

import (
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// Program returns the everyday name of the program that the image runs, as a
// person would say it: the script's for an interpreter that runs one (npm for
// `node /usr/bin/npm`, pip for `python3 -m pip`), the applet's for busybox, sh
// for `sh -c`, else the base name of the executable. A step's own script,
// whose file name is random, is called by its shell. An image that executed
// nothing has the name of the one that forked it.
//
// A name is what the job made of it: /tmp/npm is called npm too. Where it
// matters which file it was, look at Exe, File and Argv.
func (n *Node) Program() redact.Text {
	m := n.runs()
	if m == nil {
		return redact.Text{}
	}
	if !m.program.IsZero() {
		return m.program
	}
	return program(m)
}

const deletedSuffix = " (deleted)"

// program finds the name from the file that was executed and its arguments.
func program(n *Node) redact.Text {
	exe := n.Exe.TrimSuffix(deletedSuffix).Base()
	argv0 := argument(n, 0).Base().TrimPrefix("-")
	if n.Image&event.Script != 0 && !n.Filename.HasPrefix("/dev/fd/") {
		if s := scriptName(n.Filename); !s.IsZero() {
			return s
		}
	}
	switch {
	case exe.IsZero():
		exe = argv0
	case exe.Is("busybox"), exe.Is("toybox"), exe.Is("coreutils"):
		return applet(n, exe, argv0)
	case isVersion(exe.String()) && !argv0.IsZero():
		exe = argv0 // .../claude/versions/2.1.3
	}
	name := withoutVersion(exe)
	f, ok := families[name.String()]
	if !ok {
		return exe
	}
	if f.shell && families[argv0.String()].shell {
		name = argv0 // /bin/sh is dash, or bash
	}
	if s := f.script(n); !s.IsZero() {
		return s
	}
	return name
}

// applet returns which of its many programs a multi-call binary runs.
func applet(n *Node, exe, argv0 redact.Text) redact.Text {
	if !argv0.IsZero() && argv0 != exe {
		return argv0
	}
	if a := argument(n, 1); !a.IsZero() && !a.HasPrefix("-") {
		return a.Base()
	}
	return exe
}

func argument(n *Node, i int) redact.Text {
	if i < len(n.Argv) {
		return n.Argv[i]
	}
	return redact.Text{}
}

// family is how an interpreter is told what to run.
type family struct {
	shell bool
	// code are the letters of short options after which there is no script,
	// operand those that take the next argument.
	code, operand string
	// long are the long options that take the next argument; codeLong those
	// after which there is no script.
	long, codeLong string
	// module is the letter of the option that names a module; file that of
	// the one that names the script.
	module, file byte
	// cluster: short options may stand together behind one dash.
	cluster bool
}

var (
	shells = family{shell: true, code: "cs", operand: "oO", long: " --rcfile --init-file ", cluster: true}
	nodes  = family{code: "epi", operand: "rC", codeLong: " --eval --print --interactive --test --run --version --help --build-sea ",
		long: " --require --import --loader --experimental-loader --conditions --env-file --inspect-port --title --diagnostic-dir --icu-data-dir --openssl-config --redirect-warnings --test-reporter --trace-event-categories --watch-path "}
	pythons = family{code: "cVh", operand: "WX", long: " --check-hash-based-pycs ", codeLong: " --version --help ", module: 'm', cluster: true}
	rubies  = family{code: "ehv", operand: "IrCE", codeLong: " --version --help "}
	perls   = family{code: "eEvVh", operand: "I", cluster: true}
	phps    = family{code: "rRBEaimvh", operand: "dcztS", codeLong: " --version --run --ini --info ", file: 'f'}
	luas    = family{code: "ev", operand: "l"}
	plain   = family{code: "e", cluster: false}

	families = map[string]family{
		"sh": shells, "dash": shells, "bash": shells, "rbash": shells, "ash": shells, "zsh": shells, "ksh": shells, "mksh": shells, "fish": shells,
		"node": nodes, "nodejs": nodes,
		"python": pythons, "python2": pythons, "python3": pythons, "pypy": pypy, "pypy3": pypy,
		"ruby": rubies, "perl": perls, "php": phps, "lua": luas, "luajit": luas,
		"java":    {operand: "", long: " -cp -classpath --class-path -p --module-path --add-modules -m --module ", file: 'j'},
		"Rscript": plain, "tclsh": plain, "osascript": plain, "raku": plain,
	}
	pypy = pythons
)

// script returns the name of what the interpreter was told to run, empty where
// that is no file.
func (f *family) script(n *Node) redact.Text {
	for i := 1; i < len(n.Argv); i++ {
		a := n.Argv[i].String()
		switch {
		case a == "--":
			return scriptName(argument(n, i+1))
		case a == "-" || a == "":
			return redact.Text{}
		case f.file == 'j' && a == "-jar":
			return scriptName(argument(n, i+1))
		case strings.Contains(f.long, " "+a+" "):
			i++
			continue
		case f.file == 'j' && a[0] == '-':
			continue
		case f.file == 'j':
			return redact.Text{} // a class
		case strings.HasPrefix(a, "--"):
			name, _, _ := strings.Cut(a, "=")
			if strings.Contains(f.codeLong, " "+name+" ") {
				return redact.Text{}
			}
			continue
		case a[0] != '-' && !(f.shell && a[0] == '+'):
			return scriptName(n.Argv[i])
		}
		switch skip, stop, name := f.short(n, i); {
		case stop:
			return name
		default:
			i += skip
		}
	}
	return redact.Text{}
}

// short reads the short options of one argument: how many arguments they take,
// and whether nothing more is to be looked for.
func (f *family) short(n *Node, i int) (skip int, stop bool, name redact.Text) {
	a := n.Argv[i].String()
	end := len(a)
	if !f.cluster {
		end = min(end, 2)
	}
	for j := 1; j < end; j++ {
		c := a[j]
		last := j == len(a)-1
		switch {
		case c == f.module && f.module != 0:
			if last {
				return 0, true, argument(n, i+1)
			}
			return 0, true, n.Argv[i].Slice(j+1, len(a))
		case c == f.file && f.file != 0:
			if last {
				return 0, true, scriptName(argument(n, i+1))
			}
			return 0, true, scriptName(n.Argv[i].Slice(j+1, len(a)))
		case strings.IndexByte(f.code, c) >= 0:
			return 0, true, redact.Text{}
		case strings.IndexByte(f.operand, c) >= 0:
			if last {
				return 1, false, redact.Text{}
			}
			if !f.shell {
				return 0, false, redact.Text{} // the rest is the operand
			}
			skip = 1
		}
	}
	return skip, false, redact.Text{}
}

// scriptName returns the everyday name of a script, empty for one whose file
// name says nothing.
func scriptName(path redact.Text) redact.Text {
	path = path.TrimSuffix(deletedSuffix)
	base := path.Base()
	dir := path.Dir()
	stem, ext := cutExt(base)
	if isUUID(stem.String()) {
		return redact.Text{}
	}
	switch parent := dir.Base(); {
	case ext == ".phar" || ext == ".pyz":
		return stem
	case base.Is("__main__.py") && !parent.IsZero():
		return parent
	case base.Is("__pip-runner__.py"):
		return redact.Const("pip")
	case ext != ".js" && ext != ".cjs" && ext != ".mjs":
		return base
	case stem.HasPrefix("yarn-") && stem.Len() > 5 && isVersion(stem.String()[5:]):
		return stem.Slice(0, 4) // .yarn/releases/yarn-4.1.0.cjs
	case parent.Is("bin"):
		return stem.TrimSuffix("-cli")
	}
	i := strings.LastIndex(dir.String(), "node_modules/")
	if i < 0 {
		return base
	}
	pkg := dir.Slice(i+len("node_modules/"), dir.Len())
	if name, rest, ok := pkg.Cut("/"); !ok {
		pkg = name
	} else if !name.HasPrefix("@") {
		pkg = name
	} else {
		pkg, _, _ = rest.Cut("/")
	}
	switch {
	case pkg == stem:
		return pkg
	case pkg.Is("claude-code") && stem.Is("cli"):
		return redact.Const("claude")
	case pkg.Is("gemini-cli") && stem.Is("gemini"):
		return stem
	case pkg.Is("copilot") && (stem.Is("index") || stem.Is("npm-loader")):
		return pkg
	case stem.Is("cli"), stem.Is("bin"):
		return pkg
	}
	return base
}

// cutExt returns a file name without its last extension, and that.
func cutExt(base redact.Text) (stem redact.Text, ext string) {
	s := base.String()
	if i := strings.LastIndexByte(s, '.'); i > 0 {
		return base.Slice(0, i), s[i:]
	}
	return base, ""
}

// withoutVersion returns the name of an interpreter without the version in
// its file name; python keeps the first number, as people say it.
func withoutVersion(exe redact.Text) redact.Text {
	s := exe.String()
	end := len(s)
	for end > 0 && (s[end-1] >= '0' && s[end-1] <= '9' || s[end-1] == '.') {
		end--
	}
	if end == len(s) || end == 0 {
		return exe
	}
	switch s[:end] {
	case "python", "pypy":
		major := end
		for major < len(s) && s[major] != '.' {
			major++
		}
		return exe.Slice(0, major)
	case "ruby", "perl", "php", "lua", "node", "tclsh":
		return exe.Slice(0, end)
	}
	return exe
}

// isVersion reports whether s is nothing but numbers and dots.
func isVersion(s string) bool {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return false
	}
	for i := range len(s) {
		if s[i] != '.' && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

// isUUID reports whether s has the form 8-4-4-4-12 of RFC 9562 in hex, as the
// runner names its scripts.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}
