package monitor

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"strings"
)

// spoolRoots are where recordings lie while they grow, the first that works.
// They belong to root and no job can write there, so handing a recording over
// is a chown, and no path that a job could change is ever followed by root.
var spoolRoots = []string{"/var/lib/edamame-posture", "/run/edamame-posture", "/tmp/edamame-posture-root"}

// ownFolders names the folders below which no job has business, wherever the
// recordings lie. The folder of evidence is among them for who stands in the
// one above it.
func ownFolders() []string {
	names := []string{evidenceDir}
	for _, root := range spoolRoots {
		if name := filepath.Base(root); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// newSpool makes an empty folder for one recording. Others may pass through it
// to the control socket but not list it.
func newSpool() (id, dir string, err error) {
	var errs []error
	for _, root := range spoolRoots {
		if err := rootOwned(root); err != nil {
			errs = append(errs, err)
			continue
		}
		if id, dir, err = newFolder(root); err == nil {
			return id, dir, nil
		}
		errs = append(errs, err)
	}
	return "", "", fmt.Errorf("no folder for the recording: %w", errors.Join(errs...))
}

// newFolder makes a folder with the id of a recording as its name.
func newFolder(root string) (id, dir string, err error) {
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", "", err
	}
	id = hex.EncodeToString(raw[:])
	dir = filepath.Join(root, id)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // whatever the umask is
		return "", "", errors.Join(err, os.Remove(dir))
	}
	return id, dir, nil
}

// rootOwned makes dir if it is not there and refuses one that somebody else
// could have planted.
func rootOwned(dir string) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return trusted(dir)
}

// trusted refuses a folder that anybody else can write or has made.
func trusted(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.IsDir() || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only uid %d can write: remove it", dir, os.Geteuid())
	}
	if st.Mode().Perm() != 0o711 {
		return os.Chmod(dir, 0o711) // a umask took something from it
	}
	return nil
}

// sweepControl removes the folders of control sockets that no monitor listens
// at any more: one that was killed could not. Young ones are left alone, since
// their monitor may be about to listen and to wait for its one client.
func sweepControl() {
	for _, root := range spoolRoots {
		if trusted(root) != nil {
			continue
		}
		entries, err := os.ReadDir(root)
		if err != nil {
			continue
		}
		for _, e := range entries {
			sweepSocket(filepath.Join(root, e.Name()))
		}
	}
}

// isID reports whether a folder may be a recording's by its name.
func isID(name string) bool {
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == 8
}

// SweepSpools removes recordings that nobody has taken: their monitor or the
// process that was to deliver them has died. Whoever still writes one does so
// every second, so it is enough to look when that was last. An age below a day
// is taken for one.
// It returns what it has removed.
func SweepSpools(age time.Duration) (removed []string) {
	before := time.Now().Add(-max(age, 24*time.Hour))
	for _, root := range spoolRoots {
		if trusted(root) != nil {
			continue
		}
		entries, err := os.ReadDir(root)
		if err != nil {
			continue
		}
		for _, e := range entries {
			dir := filepath.Join(root, e.Name())
			if isID(e.Name()) && e.IsDir() && untouchedSince(dir, before) && Discard(dir) == nil {
				removed = append(removed, dir)
			}
		}
	}
	return removed
}

// untouchedSince reports whether a recording's folder holds evidence, and
// nothing of it was written since.
func untouchedSince(dir string, t time.Time) bool {
	files, err := os.ReadDir(filepath.Join(dir, evidenceDir))
	if err != nil {
		return false
	}
	for _, f := range files {
		if st, err := f.Info(); err != nil || st.ModTime().After(t) {
			return false
		}
	}
	return true
}

// sweepSocket removes the folder of a control socket that nobody listens at any more.
func sweepSocket(dir string) {
	st, err := os.Lstat(filepath.Join(dir, controlName))
	if err != nil || time.Since(st.ModTime()) < sweepAfter {
		return
	}
	c, err := net.Dial("unix", filepath.Join(dir, controlName))
	switch {
	case err == nil:
		c.Close()
	case errors.Is(err, unix.ECONNREFUSED):
		_ = Discard(dir)
	}
}

const (
	// jobsName is the folder of what a service has recorded, among the spools.
	jobsName    = "jobs"
	controlName = "control"
	sweepAfter  = time.Minute
)

// handOver gives the finished folder to the caller.
func handOver(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// Recover makes what a monitor that died left in a spool folder readable for
// the caller, and tells in its log how the monitor ended. It refuses a folder
// that is not one of ours. An error that is ErrNotTold means that it is readable
// and lacks only that.
func Recover(spool string, uid, gid int, how Death) error {
	clean := filepath.Clean(spool)
	for _, root := range spoolRoots {
		if filepath.Dir(clean) != root {
			continue
		}
		if err := rootOwned(root); err != nil {
			return err
		}
		st, err := os.Lstat(clean)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return fmt.Errorf("%s is not a folder", clean)
		}
		// Once it is handed over, the caller could change the way to its files.
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) == os.Geteuid() {
			err = how.tell(filepath.Join(clean, evidenceDir))
		}
		if herr := handOver(clean, uid, gid); herr != nil {
			return herr
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotTold, err)
		}
		return nil
	}
	return fmt.Errorf("%s is not a recording's folder: those lie in %s", spool, strings.Join(spoolRoots, ", "))
}

// ErrNotTold says that a log does not tell how its monitor ended.
var ErrNotTold = errors.New("the log does not tell how the monitor ended")

// Discard removes a recording's folder after it was delivered.
func Discard(spool string) error {
	clean := filepath.Clean(spool)
	for _, root := range spoolRoots {
		if filepath.Dir(clean) == root {
			return os.RemoveAll(clean)
		}
	}
	return fmt.Errorf("%s is not a recording's folder", spool)
}
