// Package settings puts our hook into the settings of coding agents and takes it
// out again. What else stands in a file stays, byte for byte; taking out gives
// the bytes that were there before, as long as nobody wrote the file anew.
package settings

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/org/edamame-posture/pkg/agent/client"
)

// maxFile bounds a settings file in bytes. Agents' own are a few kilobytes.
const maxFile = 4 << 20

// Installation is the hook of one agent in one scope.
type Installation struct {
	Agent     string
	Scope     Scope
	Home      string // the user's, absolute
	Workspace string // the checkout, absolute, for Project
	Program   string // where the hook is, absolute
	Root      string // what managed paths are below; "" but in tests
	Getenv    func(string) string
}

func errUnknownAgent(name string) error {
	return fmt.Errorf("there is no agent %q: want one of %s", name, strings.Join(client.Agents(), ", "))
}

func errNoManaged(agent string) error {
	return fmt.Errorf("%s has no such settings: see docs/agents.md for those that it has", agent)
}

// Change is what was done to a file.
type Change struct {
	Path string
	What string // "written", "made", "deleted", "unchanged", or why it was left alone
}

// Install puts the hook in. It changes nothing where it is in already, and
// nothing at all where one of the files cannot be changed.
func (in *Installation) Install() ([]Change, error) {
	return in.apply(func(t *target, f *file) (string, error) {
		if ok, err := t.installed(f); err != nil || ok {
			return f.text, err
		}
		text := f.text
		if !f.there {
			text = t.skeleton
		}
		text, err := t.remove(text)
		if err != nil {
			return "", err
		}
		return t.add(text)
	})
}

// Uninstall takes the hook out, and deletes what installing made.
func (in *Installation) Uninstall() ([]Change, error) {
	return in.apply(func(t *target, f *file) (string, error) {
		if !f.there {
			return "", nil
		}
		text, err := t.remove(f.text)
		if text == t.skeleton && text != f.text {
			text = ""
		}
		return text, err
	})
}

// Check returns what is missing of an installation, nothing where it is whole.
func (in *Installation) Check() (missing []string, err error) {
	targets, err := in.targets()
	if err != nil {
		return nil, err
	}
	for i := range targets {
		t := &targets[i]
		f, err := open(t.path)
		if err != nil {
			return nil, err
		}
		ok, err := t.installed(f)
		var where *fault
		switch {
		case errors.Is(err, errKept): // a person chose
		case errors.As(err, &where):
			return nil, fmt.Errorf("%s:%w", t.path, err)
		case err != nil:
			return nil, err
		case !f.there:
			missing = append(missing, t.path+" is not there")
		case !ok:
			missing = append(missing, t.path+" does not hold all of our hooks: install again")
		}
	}
	if in.Agent == "codex" && in.Scope != Managed && len(missing) == 0 && !in.trusted() {
		missing = append(missing, "Codex has not been told to trust the hooks, and passes them over without a word: start codex, open /hooks and trust them, or install with --managed")
	}
	return missing, nil
}

// Used reports whether the settings of the agent have something of ours.
func (in *Installation) Used() (bool, error) {
	targets, err := in.targets()
	if err != nil {
		return false, nil // it has no such settings
	}
	for i := range targets {
		f, err := open(targets[i].path)
		if err != nil {
			return false, err
		}
		if !f.there {
			continue
		}
		if text, err := targets[i].remove(f.text); err != nil || text != f.text {
			return true, err
		}
	}
	return false, nil
}

// trusted reports whether Codex's settings say that our hooks may run.
func (in *Installation) trusted() bool {
	hooks, _ := in.targets()
	home := Installation{Agent: "codex", Scope: User, Home: in.Home, Getenv: in.Getenv}
	own, _ := home.targets()
	f, err := open(own[1].path)
	if err != nil {
		return false
	}
	_, state, ok := strings.Cut(f.text, `[hooks.state."`+hooks[0].path+":")
	return ok && strings.Contains(state, "trusted_hash")
}

// apply computes all texts before it writes the first.
func (in *Installation) apply(change func(*target, *file) (string, error)) ([]Change, error) {
	targets, err := in.targets()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(targets, func(a, b target) int { return cmp.Compare(a.path, b.path) })
	changes := make([]Change, len(targets))
	files := make([]*file, len(targets))
	texts := make([]string, len(targets))
	for i := range targets {
		t := &targets[i]
		changes[i].Path = t.path
		if files[i], err = open(t.path); err != nil {
			return nil, err
		}
		texts[i], err = change(t, files[i])
		if errors.Is(err, errKept) {
			changes[i].What, texts[i] = "left alone: line "+err.Error(), files[i].text
		} else if err != nil {
			return nil, fmt.Errorf("%s:%w", t.path, err)
		}
	}
	for i, f := range files {
		what, err := f.write(texts[i])
		if err != nil {
			return changes[:i], err
		}
		changes[i].What = cmp.Or(changes[i].What, what)
	}
	return changes, nil
}

func (t *target) installed(f *file) (bool, error) {
	switch {
	case !f.there:
		return false, nil
	case t.whole != nil:
		return f.text == string(t.whole), nil
	case t.toml != nil:
		return t.toml.holds(f.text), nil
	}
	for _, e := range t.entries {
		if ok, err := holds(f.text, e); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (t *target) add(text string) (string, error) {
	switch {
	case t.whole != nil:
		return string(t.whole), nil
	case t.toml != nil:
		return t.toml.add(text)
	}
	for _, e := range t.entries {
		var err error
		if text, err = add(text, e); err != nil {
			return "", err
		}
	}
	return text, nil
}

func (t *target) remove(text string) (string, error) {
	switch {
	case t.whole != nil:
		return "", nil
	case t.toml != nil:
		return t.toml.remove(text)
	}
	for _, e := range slices.Backward(t.entries) {
		var err error
		if text, err = remove(text, e); err != nil {
			return "", err
		}
	}
	return text, nil
}

// file is a file as it is.
type file struct {
	path  string // behind links: what is kept elsewhere and linked here stays so
	text  string
	there bool
	info  fs.FileInfo
}

func open(path string) (*file, error) {
	f := &file{path: path}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	f.path, f.there = real, true
	if f.info, err = os.Stat(real); err != nil {
		return nil, err
	}
	if !f.info.Mode().IsRegular() || f.info.Size() > maxFile {
		return nil, fmt.Errorf("%s: want a file of at most %d MiB", path, maxFile>>20)
	}
	data, err := os.ReadFile(real)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 && strings.HasSuffix(path, ".json") {
		return nil, fmt.Errorf("%s:1:1: the file is empty: delete it, or write {} into it", path)
	}
	f.text = string(data)
	return f, nil
}

// write gives a file its new text, in one step: who reads it meanwhile sees the
// old one or the new. No text means no file.
func (f *file) write(text string) (string, error) {
	switch {
	case text == f.text:
		return "unchanged", nil
	case text == "":
		if err := os.Remove(f.path); err != nil {
			return "", err
		}
		_ = os.Remove(filepath.Dir(f.path)) // only where nothing else is in it
		return "deleted", nil
	}
	mode := fs.FileMode(0o644)
	if f.there {
		mode = f.info.Mode().Perm()
	}
	if err := Replace(f.path, []byte(text), mode, f.info); err != nil {
		return "", err
	}
	if f.there {
		return "written", nil
	}
	return "made", nil
}

// Replace writes a file in one step. like is the file that it replaces, whose
// owner it gets; nil where there is none.
func Replace(path string, data []byte, mode fs.FileMode, like fs.FileInfo) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails where all went well
	defer f.Close()
	if _, err = io.Copy(f, bytes.NewReader(data)); err == nil {
		err = f.Chmod(mode)
	}
	if st, ok := owner(like); ok && err == nil && os.Geteuid() == 0 {
		err = f.Chown(int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

func owner(info fs.FileInfo) (*syscall.Stat_t, bool) {
	if info == nil {
		return nil, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return st, ok
}
