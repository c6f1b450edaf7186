package evidence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Source is an open file of evidence, which may have come from a process with
// more rights than ours.
type Source struct {
	Name string // as in the manifest, or manifest.json
	Data io.Reader
}

// Sources opens every file of a folder for Copy, which the caller does when
// it has the right to read the folder, for one that has not. Close closes them.
type Sources []Source

// OpenSources opens the files of the folder dir that belong to the format:
// the manifest last, so that a copy that breaks off reads as not closed.
func OpenSources(dir string) (Sources, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var s Sources
	var manifest *os.File
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != manifestName && !fileName(path) {
			return nil
		}
		f, _, err := regular(root, path)
		if err != nil {
			return &Fault{File: path, Err: err}
		}
		if path == manifestName {
			manifest = f
		} else {
			s = append(s, Source{path, f})
		}
		if len(s) > maxFiles {
			return errors.New("too many files in the folder")
		}
		return nil
	})
	if manifest != nil {
		s = append(s, Source{manifestName, manifest})
	}
	if err != nil {
		return nil, fmt.Errorf("open evidence: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// Close closes the files.
func (s Sources) Close() error {
	var errs []error
	for _, src := range s {
		if c, ok := src.Data.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Copy makes the folder dst, which must not be there, for the user alone, and
// fills it in the order of from. It follows no link, overwrites nothing, and
// brings all to the disk before it returns. It is meant to run as the user who
// gets the folder: nobody with more rights should write where a user can
// change the way to.
func Copy(dst string, from []Source) error {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return fmt.Errorf("copy evidence: %w", err)
	}
	root, err := openRoot(dst)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Mkdir(inputsDir, 0o700); err != nil {
		return fmt.Errorf("copy evidence: %w", err)
	}
	for _, src := range from {
		if src.Name != manifestName && !fileName(src.Name) {
			return fmt.Errorf("copy evidence: %.160q is not a file of the format", src.Name)
		}
		if err := copyFile(root, src); err != nil {
			return fmt.Errorf("copy evidence: %s: %w", src.Name, err)
		}
	}
	for _, name := range [...]string{inputsDir, "."} {
		if err := syncDir(root, name); err != nil {
			return fmt.Errorf("copy evidence: %w", err)
		}
	}
	return nil
}

func copyFile(root *os.Root, src Source) error {
	f, err := root.OpenFile(src.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.LimitReader(src.Data, maxBytes))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// gitignore marks a folder as ours, and keeps it out of commits.
const (
	gitignoreName = ".gitignore"
	gitignore     = "*\n"
)

// maxRuns is how many earlier runs Prepare keeps beside one folder.
const maxRuns = 10_000

// Prepare makes the folder out for the results of a run, for the user alone,
// with a .gitignore of *, and the folders above it that are not there. A folder that an earlier run left there is renamed
// to out.1, out.2 and so on, the next that is free. An empty folder is taken
// as it is. Anything else that stands there is left alone, and is an error.
func Prepare(out string) error {
	out = strings.TrimRight(out, "/")
	err := os.Mkdir(out, 0o700)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(out), 0o755); err == nil {
			err = os.Mkdir(out, 0o700)
		}
	}
	if errors.Is(err, os.ErrExist) {
		var empty bool
		if empty, err = earlier(out); err == nil && !empty {
			if err = rotate(out); err == nil {
				err = os.Mkdir(out, 0o700)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("prepare %s: %w", out, err)
	}
	root, err := openRoot(out)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.OpenFile(gitignoreName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", out, err)
	}
	_, err = f.WriteString(gitignore)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("prepare %s: %w", out, err)
	}
	return nil
}

// earlier says whether what stands at out is empty or from an earlier run.
func earlier(out string) (empty bool, err error) {
	root, err := openRoot(out)
	if err != nil {
		return false, err
	}
	defer root.Close()
	d, err := root.Open(".")
	if err != nil {
		return false, err
	}
	defer d.Close()
	if _, err := d.Readdirnames(1); err == io.EOF {
		return true, nil
	}
	b, err := readFile(root, gitignoreName, int64(len(gitignore)))
	if err != nil || string(b) != gitignore {
		return false, errors.New("it holds other things than an earlier run's: name another folder")
	}
	return false, nil
}

func rotate(out string) error {
	for n := 1; n <= maxRuns; n++ {
		to := fmt.Sprintf("%s.%d", out, n)
		err := renameNew(out, to)
		if !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("there are %d earlier runs beside it: remove some", maxRuns)
}

// renameFree renames where nothing stands at to. Between the look and the
// rename an empty folder could be made there, and would be replaced.
func renameFree(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: os.ErrExist}
	}
	return os.Rename(from, to)
}
