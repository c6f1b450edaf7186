package report

import (
	"cmp"
	"hash/maphash"
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
)

// Bounds of what files remembers.
const (
	maxPaths    = 1 << 20 // distinct paths, 8 bytes each
	maxFolders  = 1 << 16
	maxExamples = 3
	// Rows of each place that a view lists.
	rowsOutside = 60
	rowsInside  = 24
)

// files counts the distinct paths that were written, by folder.
type files struct {
	seed      maphash.Seed // so that no job can make two paths collide
	seen      hashes       // of paths
	folders   map[string]*folder
	uncounted uint64
}

// hashes is a set of hashes. A map's groups would take twice the memory, and a
// second place of it to look at.
type hashes struct {
	slots []uint64 // a power of two of them; 0 is free
	n     int
}

// slot returns where h, which is odd, stands, or the free slot where it would.
func (s *hashes) slot(h uint64) *uint64 {
	for i := h >> 1; ; i++ {
		if at := &s.slots[i&uint64(len(s.slots)-1)]; *at == h || *at == 0 {
			return at
		}
	}
}

func (s *hashes) has(h uint64) bool { return s.n > 0 && *s.slot(h | 1) != 0 }

func (s *hashes) add(h uint64) {
	if s.n >= len(s.slots)/4*3 {
		old := s.slots
		s.slots = make([]uint64, max(2*len(old), 1024))
		for _, h := range old {
			if h != 0 {
				*s.slot(h) = h
			}
		}
	}
	*s.slot(h | 1) = h | 1
	s.n++
}

type folder struct {
	path     string
	files    uint64
	examples []string
}

func (f *files) init() {
	f.seed = maphash.MakeSeed()
	f.folders = make(map[string]*folder)
}

func (f *files) wrote(p string) {
	if noFile(p) {
		return
	}
	switch h := maphash.String(f.seed, p); {
	case f.seen.has(h):
		return
	case f.seen.n >= maxPaths:
		f.uncounted++
		return
	default:
		f.seen.add(h)
	}
	dir, name := path.Split(p)
	dir = path.Clean(dir)
	d := f.folders[dir]
	for d == nil {
		if len(f.folders) < maxFolders || dir == "/" {
			d = &folder{path: dir}
			f.folders[dir] = d
			break
		}
		// No room for another folder: the nearest one above that there is.
		if dir = path.Dir(dir); dir == "." {
			dir = "/"
		}
		d = f.folders[dir]
	}
	d.files++
	if len(d.examples) < maxExamples {
		d.examples = append(d.examples, name)
	}
}

// noFile reports paths that look like files and are none worth telling: what
// is written there is not kept. An event without a path is more of an open that
// was told before.
func noFile(p string) bool {
	switch p {
	case "", "/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx", "/dev/random", "/dev/urandom",
		"/dev/stdout", "/dev/stderr":
		return true
	}
	return p[0] != '/' || strings.HasPrefix(p, "/dev/pts/") || strings.HasPrefix(p, "/dev/fd/") ||
		strings.HasPrefix(p, "/proc/self/") || strings.HasPrefix(p, "/proc/thread-self/")
}

var placeNames = [...]string{
	fact.Elsewhere: "elsewhere", fact.Workspace: "workspace", fact.Temp: "temp",
	fact.Cache: "cache", fact.Home: "home", fact.System: "system",
}

// finish groups the folders of each place into few rows: what is outside
// first, then by number of files.
func (f *files) finish(d *Data, ws *fact.Folders) {
	byPlace := make(map[fact.Place][]*folder)
	for dir, fo := range f.folders {
		place := ws.Place(dir + "/x")
		byPlace[place] = append(byPlace[place], fo)
	}
	t := &d.Files
	t.Uncounted = f.uncounted
	for place, name := range placeNames {
		place := fact.Place(place)
		var n uint64
		for _, fo := range byPlace[place] {
			n += fo.files
		}
		limit, outside := rowsInside, false
		switch place {
		case fact.Workspace:
			t.Workspace = n
		case fact.Temp:
			t.Temp = n
		case fact.Cache:
			t.Cache = n
		default:
			t.Outside += n
			limit, outside = rowsOutside, true
		}
		for _, row := range group(byPlace[place], limit) {
			row.Place, row.Outside = name, outside
			row.Path = relative(row.Path, place, ws.Root)
			d.Written = append(d.Written, row)
		}
	}
	slices.SortStableFunc(d.Written, func(a, b Folder) int {
		return cmp.Or(compareBool(b.Outside, a.Outside), cmp.Compare(b.Files, a.Files), cmp.Compare(a.Path, b.Path))
	})
}

// relative shows a folder of the workspace as seen from there.
func relative(p string, place fact.Place, workspace string) string {
	if place != fact.Workspace {
		return p
	}
	if rest, ok := strings.CutPrefix(p, workspace); ok {
		return "." + cmp.Or(rest, "/")
	}
	return p
}

// group makes at most limit rows of folders: all at the greatest depth at
// which there are so few.
func group(folders []*folder, limit int) []Folder {
	slices.SortFunc(folders, func(a, b *folder) int { return cmp.Compare(a.path, b.path) })
	deepest := 0
	for _, fo := range folders {
		deepest = max(deepest, strings.Count(fo.path, "/"))
	}
	depth := deepest
	for ; depth > 0; depth-- {
		n, last := 0, ""
		for i, fo := range folders {
			if head := above(fo.path, depth); i == 0 || head != last {
				last = head
				n++
			}
		}
		if n <= limit {
			break
		}
	}
	var rows []Folder
	last := ""
	for i, fo := range folders {
		head := above(fo.path, depth)
		if i == 0 || head != last {
			last = head
			rows = append(rows, Folder{Path: fo.path})
		}
		row := &rows[len(rows)-1]
		row.Path = shared(row.Path, fo.path)
		row.Files += fo.files
		row.Folders++
		for _, e := range fo.examples {
			if len(row.Examples) < maxExamples {
				row.Examples = append(row.Examples, fo.path+"/"+e)
			}
		}
	}
	for i := range rows {
		for k, e := range rows[i].Examples {
			rows[i].Examples[k] = strings.TrimLeft(strings.TrimPrefix(e, rows[i].Path), "/")
		}
	}
	return rows
}

// above returns the first depth names of an absolute path.
func above(p string, depth int) string {
	n := 0
	for i := range len(p) {
		if p[i] == '/' {
			if n == depth {
				return p[:i]
			}
			n++
		}
	}
	return p
}

// shared returns the folder that holds both.
func shared(a, b string) string {
	for a != "/" && a != b && !strings.HasPrefix(b, a+"/") {
		a = path.Dir(a)
	}
	return a
}
