package gate

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// Bounds of what is followed to find out who wrote a file.
const (
	maxMoves   = 200_000 // files that were renamed or linked
	maxWanted  = 256     // names that a subject had
	maxWriters = 10_000  // of all files together
	maxImages  = 1 << 16 // processes at once
)

// writtenBy checks that the files which are released were written by the
// programs that the policy names, and by nobody else.
//
// A log says who opened a file for writing, and when it was made, moved and
// linked; not what was written, and not for how long it stayed open. So each
// who ever opened the file that has the name in the end counts, by whatever
// name, and all must be among those that are named.
func (x *examined) writtenBy() {
	by := x.in.Policy.Require.WrittenBy
	if len(by) == 0 || x.res == nil {
		return
	}
	want := "written by " + strings.Join(by, " or ") + ", and by nobody else"
	if !slices.ContainsFunc(x.in.Artifacts, func(a Artifact) bool { return a.SHA256 != "" }) {
		x.refuse(None, "writer", WriterUnknown, want, "nothing is released but a commit", "name the files: --artifact FILE or --digest SHA256")
	}
	for _, s := range x.res.Subjects {
		// Each name that has the digest: a statement may have several, not all
		// of which are where the file was.
		if !slices.ContainsFunc(x.in.Artifacts, func(a Artifact) bool { return a.SHA256 != "" && a.is(s) }) {
			continue
		}
		name := s.Name
		check := fmt.Sprintf("writer of %.100s", name)
		unknown := func(why string) {
			x.refuse(None, check, WriterUnknown, want, why, "have the job make the file, below its workspace, while it is watched with eBPF: what it fetches, or has from before, it did not make")
		}
		switch {
		case s.MediaType != "":
			unknown("it is an image, of which the log has no file")
			continue
		case x.ours.Coverage.Lost > 0:
			unknown(fmt.Sprintf("the log cannot say: %d events were lost", x.ours.Coverage.Lost))
			continue
		case path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "../"):
			unknown("its name is not that of a file below the workspace")
			continue
		}
		found, err := writersOf(x.log, name)
		switch other := slices.IndexFunc(found, func(w writer) bool { return !w.among(by) }); {
		case err != nil:
			unknown("the log cannot say: " + err.Error())
		case len(found) == 0:
			unknown("the log has nobody who made it in the run")
		case other >= 0:
			w := found[other]
			x.refuse(None, check, OtherWriter, want, fmt.Sprintf("%s by %s, at event %d", w.how, strings.Join(w.names, " of "), w.leaf), "somebody else could put into the file what he liked: look what that program did, or name it too")
		default:
			w := found[len(found)-1]
			x.pass(None, check, fmt.Sprintf("%d times, the last by %s, at event %d", len(found), strings.Join(w.names, " of "), w.leaf))
		}
	}
}

// writer is somebody who may have written a file.
type writer struct {
	how   string
	names []string // of the program, and of those that led to it
	paths []string // of their files
	leaf  uint64
}

// among reports whether the program, or one that led to it, is named: by its
// name, or by the path of its file.
func (w *writer) among(by []string) bool {
	return slices.ContainsFunc(by, func(b string) bool {
		if path.IsAbs(b) {
			return slices.Contains(w.paths, b)
		}
		return slices.Contains(w.names, b)
	})
}

// writersOf finds who may have written the file that has a name, relative to
// the workspace, when the log ends. It finds nobody where the file was not made
// in the run.
func writersOf(e *evidence.Evidence, name string) ([]writer, error) {
	f := &following{tree: process.NewTree(maxImages), wanted: map[string]bool{}, at: map[string]event.FileID{}, files: map[event.FileID]*followed{}}
	ends, err := f.names(e, name)
	if err != nil {
		return nil, err
	}
	if err := e.Each(func(_ []byte, ev *event.Event) error { return f.event(ev) }); err != nil {
		return nil, err
	}
	var out []writer
	for _, p := range ends {
		id, there := f.at[p]
		if !there {
			continue
		}
		if w := f.files[id]; w.made {
			out = append(out, w.by...)
		} else {
			return nil, errors.New("the file was there before the run")
		}
	}
	return out, nil
}

// following follows the files that had a name which a subject had.
type following struct {
	tree    *process.Tree
	wanted  map[string]bool // names
	at      map[string]event.FileID
	files   map[event.FileID]*followed
	writers int
}

type followed struct {
	made bool // in this run
	by   []writer
}

// move is a file or folder that got another name, or one more.
type move struct {
	from, to string
	symbolic bool
}

// renamed is what a name was before the move; false where it has nothing to do
// with it.
func (m *move) renamed(p string) (before string, is bool) {
	rest, is := below(p, m.to)
	return m.from + rest, is
}

// below cuts a folder, or the name itself, off the begin of a name.
func below(p, folder string) (rest string, is bool) {
	rest, is = strings.CutPrefix(p, folder)
	return rest, is && (rest == "" || rest[0] == '/')
}

// names finds all names by which the file was reached before it had its name
// in the end, of which there is one for each folder that may be the workspace.
func (f *following) names(e *evidence.Evidence, name string) (ends []string, err error) {
	var moves []move
	var bases []string
	base := func(dir redact.Text) {
		if d := dir.String(); path.IsAbs(d) && !slices.Contains(bases, d) {
			bases = append(bases, d)
		}
	}
	execs := 0
	err = e.Each(func(_ []byte, ev *event.Event) error {
		switch ev.Kind {
		case event.Start:
			base(ev.Cwd)
		case event.Exec:
			if execs++; execs > 1 || ev.Via != event.ViaLineage {
				return nil
			}
			base(ev.Cwd)
			for _, v := range ev.Env {
				if v.Name.Is("GITHUB_WORKSPACE") {
					base(v.Value)
				}
			}
		case event.Rename, event.Link:
			if len(moves) == maxMoves {
				return fmt.Errorf("more than %d files were renamed or linked", maxMoves)
			}
			m := move{ev.Path.String(), ev.NewPath.String(), ev.Detail.Is("symbolic")}
			if m.symbolic && !path.IsAbs(m.from) {
				m.from = path.Join(path.Dir(m.to), m.from)
			}
			moves = append(moves, m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, b := range bases {
		ends = append(ends, path.Join(b, name))
	}
	for _, p := range ends {
		f.wanted[p] = true
	}
	// Backwards: what a name came from had its own from what was before that.
	for _, m := range slices.Backward(moves) {
		for _, p := range slices.Collect(maps.Keys(f.wanted)) {
			before, is := m.renamed(p)
			if !is || f.wanted[before] {
				continue
			}
			if len(f.wanted) == maxWanted {
				return nil, fmt.Errorf("it had more than %d names", maxWanted)
			}
			f.wanted[before] = true
		}
	}
	// Where a symbolic link in the name leads, the file is.
	for _, m := range moves {
		for _, p := range slices.Clone(ends) {
			if to, is := m.renamed(p); is && m.symbolic && !slices.Contains(ends, to) {
				ends = append(ends, to)
			}
		}
	}
	return ends, nil
}

// event takes the next event of the log.
func (f *following) event(ev *event.Event) error {
	n := f.tree.Apply(ev)
	p, to := ev.Path.String(), ev.NewPath.String()
	switch ev.Kind {
	case event.Open:
		if ev.Err != 0 || ev.Access&(event.Write|event.Create|event.Truncate|event.Append) == 0 {
			return nil
		}
		if f.wanted[p] {
			// One that is made has nothing of an earlier file with its number.
			if old := f.files[ev.File]; old == nil || ev.Access&event.Create != 0 {
				f.files[ev.File] = &followed{}
			}
			f.files[ev.File].made = f.files[ev.File].made || ev.Access&(event.Create|event.Truncate) != 0
			f.put(p, ev.File)
		}
		return f.wrote(ev.File, ev, n, "opened for writing")
	case event.Rename:
		moved := map[string]event.FileID{}
		for q, id := range f.at {
			if rest, is := below(q, p); is {
				moved[to+rest] = id
				delete(f.at, q)
			}
		}
		if len(moved) == 0 && f.wanted[to] {
			moved[to] = ev.File // nothing is known of it
		}
		for q, id := range moved {
			if err := f.moved(q, id, ev, n, "renamed"); err != nil {
				return err
			}
		}
	case event.Link:
		if id, there := f.at[p]; (there || f.wanted[to]) && ev.File != (event.FileID{}) {
			if !there {
				id = ev.File
			}
			return f.moved(to, id, ev, n, "linked")
		}
	case event.Unlink:
		if id, there := f.at[p]; there {
			delete(f.at, p)
			f.forget(id)
		}
	}
	return nil
}

// put says that a name leads to a file now.
func (f *following) put(p string, id event.FileID) {
	old, there := f.at[p]
	f.at[p] = id
	if there && old != id {
		f.forget(old)
	}
}

// forget drops a file to which no name leads any more.
func (f *following) forget(id event.FileID) {
	for _, o := range f.at {
		if o == id {
			return
		}
	}
	delete(f.files, id)
}

func (f *following) moved(to string, id event.FileID, ev *event.Event, n *process.Node, how string) error {
	if f.files[id] == nil {
		f.files[id] = &followed{}
	}
	f.put(to, id)
	return f.wrote(id, ev, n, how)
}

// wrote adds who did something to a file that is followed.
func (f *following) wrote(id event.FileID, ev *event.Event, n *process.Node, how string) error {
	w := f.files[id]
	if w == nil {
		return nil
	}
	if f.writers++; f.writers > maxWriters {
		return fmt.Errorf("more than %d times somebody opened it", maxWriters)
	}
	by := writer{how: how, names: []string{"nobody who is known"}, leaf: ev.Seq}
	if n != nil && n.Known {
		by.names, by.paths = []string{n.Name()}, []string{n.Exe.String()}
		for a := range n.Ancestors() {
			by.names, by.paths = append(by.names, a.Name()), append(by.paths, a.Exe.String())
		}
	}
	w.by = append(w.by, by)
	return nil
}
