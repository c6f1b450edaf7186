package fact

import (
	"bytes"
	"strings"

	"github.com/org/edamame-posture/pkg/redact"
)

var (
	star     = redact.Const("*")
	deepStar = redact.Const("**")
	slash    = redact.Const("/")
	dot      = redact.Const(".")
)

// path is a canonical path under construction: pieces of a text that the
// redactor made, and words of ours. It is kept between paths, so that looking
// a known fact up allocates nothing.
type path struct {
	parts []redact.Text
	place Place
	// hidden: a name in it begins with a dot, as those of settings do.
	hidden bool
}

func (p *path) reset() { p.parts, p.place, p.hidden = p.parts[:0], Elsewhere, false }

func (p *path) add(t redact.Text) { p.parts = append(p.parts, t) }

// text joins the pieces.
func (p *path) text() redact.Text { return redact.Concat(p.parts...) }

// appendTo appends the pieces to b.
func (p *path) appendTo(b []byte) []byte {
	for i := range p.parts {
		b = append(b, p.parts[i].String()...)
	}
	return b
}

// top returns how much of the canonical path names its first folder, with the
// slash: that of its place, or the first below the workspace.
func (p *path) top(canonical []byte) int {
	switch p.place {
	case Temp, Cache, Home, System:
		return min(p.parts[0].Len()+1, len(canonical))
	}
	if i := bytes.IndexByte(canonical, '/'); i != 0 {
		return i + 1
	}
	return 1 + bytes.IndexByte(canonical[1:], '/') + 1
}

// managers are the programs that fill a folder of packages as their work. Of
// what they write there, the folder is worth telling, not each package; of
// what anyone else writes there, the package is.
var managers = map[string]bool{
	"npm": true, "npx": true, "pnpm": true, "yarn": true, "yarnpkg": true, "bun": true, "bunx": true, "corepack": true,
	"pip": true, "pip3": true, "uv": true, "poetry": true, "pdm": true, "pipenv": true,
}

// deepFolders are made by tools for themselves: what lies below is not told
// one by one.
var deepFolders = map[string]bool{
	"__pycache__": true, ".pytest_cache": true, ".mypy_cache": true, ".ruff_cache": true, ".tox": true, ".eggs": true,
	".gradle": true, ".turbo": true, ".parcel-cache": true, ".nx": true, ".cache": true, ".terraform": true, ".nyc_output": true,
}

// gitFolders hold what git names by content.
var gitFolders = map[string]bool{"objects": true, "refs": true, "logs": true, "lfs": true}

// noFile reports whether a write to this name leaves nothing on the machine:
// terminals, pipes, the null device, a process's own entries in /proc.
func noFile(p string, pid uint32) bool {
	if p == "" || p[0] != '/' {
		// What the kernel names without a folder is no file (fs/d_path.c).
		return true
	}
	if strings.HasPrefix(p, "/memfd:") {
		return true
	}
	if rest, ok := strings.CutPrefix(p, "/dev/"); ok {
		switch rest {
		case "null", "zero", "full", "random", "urandom", "ptmx", "console", "stdin", "stdout", "stderr":
			return true
		}
		return strings.HasPrefix(rest, "tty") || strings.HasPrefix(rest, "pts/") || strings.HasPrefix(rest, "fd/")
	}
	if rest, ok := strings.CutPrefix(p, "/proc/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		if name == "self" || name == "thread-self" {
			return true
		}
		n, ok := number(name)
		return ok && n == uint64(pid)
	}
	return false
}

func number(s string) (uint64, bool) {
	if s == "" || len(s) > 10 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, true
}

// fold makes the canonical form of an absolute path: below the workspace it is
// relative to it, elsewhere absolute; names that differ from run to run are
// stars. With keepBase the last name stays when the folders before it are
// folded away, since a program is known by it. doer is the program that acts.
func (p *path) fold(t redact.Text, w *Folders, doer string, keepBase bool) {
	p.reset()
	s := strings.TrimSuffix(t.String(), " (deleted)")
	if s == "" || s[0] != '/' || strings.HasPrefix(s, "/memfd:") {
		if strings.HasPrefix(strings.TrimPrefix(s, "/"), "memfd:") {
			p.add(redact.Const("memfd:*"))
			return
		}
		p.add(t)
		return
	}
	if strings.Contains(s, "/../") || strings.Contains(s, "/./") || strings.Contains(s, "//") || strings.HasSuffix(s, "/..") {
		// Not as the kernel resolves it: it stands for itself, in no place
		// that anything would be granted for.
		p.add(t)
		return
	}
	place, root := w.locate(s)
	p.place = place
	i := 0
	switch place {
	case Workspace:
		if len(s) == root {
			p.add(dot)
			return
		}
		i = root + 1
	case Elsewhere:
	default:
		p.add(t.Slice(0, root))
		if len(s) == root {
			return
		}
		i = root
	}
	loose := place == Temp || place == Cache
	proc := place == System && strings.HasPrefix(s, "/proc/")
	for first := true; i < len(s); first = false {
		if s[i] == '/' {
			p.add(slash)
			i++
			if i == len(s) {
				break
			}
		}
		end := i + indexOr(s[i:], '/')
		name := s[i:end]
		last := end == len(s)
		if name[0] == '.' {
			p.hidden = true
		}
		if proc {
			if _, ok := number(name); ok {
				p.add(star)
				i = end
				continue
			}
		}
		switch {
		case name == "node_modules" || name == "site-packages" || name == "dist-packages":
			p.add(t.Slice(i, end))
			if last {
				if managers[doer] {
					p.deep(t, s, end, keepBase)
				}
				return
			}
			if managers[doer] {
				p.deep(t, s, end, keepBase)
				return
			}
			p.add(slash)
			i = end + 1
			end = i + indexOr(s[i:], '/')
			if s[i] == '@' && end < len(s) {
				end += 1 + indexOr(s[end+1:], '/')
			}
			p.add(t.Slice(i, end))
			p.deep(t, s, end, keepBase)
			return
		case deepFolders[name], place == Cache && !last:
			p.name(t, i, end, loose)
			p.deep(t, s, end, keepBase)
			return
		case name == ".git" && !last:
			p.add(t.Slice(i, end))
			sub := s[end+1:]
			sub = sub[:indexOr(sub, '/')]
			if gitFolders[sub] {
				p.add(slash)
				p.add(t.Slice(end+1, end+1+len(sub)))
				p.deep(t, s, end+1+len(sub), keepBase)
				return
			}
			i = end
			continue
		}
		folded := p.name(t, i, end, loose)
		if first && folded && place == Temp && !last {
			// A temporary folder with a name of chance: one thing, whatever
			// is in it.
			p.deep(t, s, end, keepBase)
			return
		}
		i = end
	}
}

// deep ends a path below s[:end]: all of it is one object.
func (p *path) deep(t redact.Text, s string, end int, keepBase bool) {
	p.add(slash)
	p.add(deepStar)
	if !keepBase || end == len(s) {
		return
	}
	p.add(slash)
	p.name(t, strings.LastIndexByte(s, '/')+1, len(s), true)
}

func indexOr(s string, c byte) int {
	if i := strings.IndexByte(s, c); i >= 0 {
		return i
	}
	return len(s)
}

// name adds one name of a path, with a star for each token of it that is a
// number, a hash or chance, and reports whether there was one.
func (p *path) name(t redact.Text, from, to int, loose bool) bool {
	s := t.String()[from:to]
	if loose && len(s) == 11 && strings.HasPrefix(s, "tmp") {
		// mkdtemp of Python: eight of a-z, 0-9 and _.
		p.add(t.Slice(from, from+3))
		p.add(star)
		return true
	}
	if loose && len(s) >= 8 && strings.HasPrefix(s, "cc") && (len(s) == 8 || s[8] == '.') && allAlnum(s[2:8]) {
		// make_temp_file of gcc (libiberty): cc, six of chance, a suffix.
		p.add(t.Slice(from, from+2))
		p.add(star)
		p.add(t.Slice(from+8, to))
		return true
	}
	folded, kept := false, 0
	for i := 0; i < len(s); {
		if !alnum(s[i]) {
			i++
			continue
		}
		j := i + 1
		for j < len(s) && alnum(s[j]) {
			j++
		}
		if len(s)-i >= uuidLen && isUUID(s[i:i+uuidLen]) && (i+uuidLen == len(s) || !alnum(s[i+uuidLen])) {
			if i > kept {
				p.add(t.Slice(from+kept, from+i))
			}
			p.add(star)
			i += uuidLen
			folded, kept = true, i
			continue
		}
		if a, ok := varying(s[i:j], loose || i > 0 && temporary(s[:i])); ok {
			a += i
			if a > kept {
				p.add(t.Slice(from+kept, from+a))
			}
			p.add(star)
			folded, kept = true, j
		}
		i = j
	}
	if kept < len(s) {
		p.add(t.Slice(from+kept, to))
	}
	return folded
}

// temporary reports whether what precedes a token says that it is made by
// mktemp(1) or a program that writes beside the file and renames.
func temporary(before string) bool {
	before = strings.TrimRight(before, ".-_")
	return strings.HasSuffix(before, "tmp") || strings.HasSuffix(before, "temp") || strings.HasSuffix(before, "TMP")
}

func allAlnum(s string) bool {
	for i := 0; i < len(s); i++ {
		if !alnum(s[i]) || s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// varying reports whether a token of letters and digits differs from run to
// run, and where in it that begins. In a loose place (temporary folders,
// caches) short numbers and short mixtures are held to be chance too.
func varying(s string, loose bool) (int, bool) {
	var digits, lower, upper, hex, turns int
	class := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		k := byte('l')
		switch {
		case c >= '0' && c <= '9':
			digits++
			hex++
			k = 'd'
		case c >= 'a' && c <= 'z':
			lower++
			if c <= 'f' {
				hex++
			}
		case c >= 'A' && c <= 'Z':
			upper++
			k = 'u'
		default:
			return 0, false // not ASCII: a word of some language
		}
		if k != class {
			turns++
			class = k
		}
	}
	n := len(s)
	switch {
	case digits == n:
		return 0, n >= 5 || loose && n >= 3
	case hex == n && n >= 8 && digits >= 2:
		return 0, true
	case n >= 8 && digits > 0 && lower > 0 && upper > 0 && turns >= 4:
		return 0, true
	case !loose:
		return 0, false
	case n >= 6 && upper > 0 && lower > 0 && (digits > 0 || turns > 3):
		return 0, true
	case n >= 6 && digits > 0 && (lower > 0 || upper > 0) && turns >= 4:
		return 0, true
	}
	// go-build123456, pip3.1234: letters that end in a number.
	d := n
	for d > 0 && s[d-1] >= '0' && s[d-1] <= '9' {
		d--
	}
	return d, n-d >= 3
}

// uuidLen is the length of a UUID in text (RFC 9562, section 4).
const uuidLen = 36

func isUUID(s string) bool {
	for i := range uuidLen {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}
