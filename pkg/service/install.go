package service

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// Where the service is installed, below the root.
const (
	libDir      = "/usr/local/lib/edamame-posture"
	programPath = libDir + "/edamame-posture"
	startedPath = libDir + "/job-started.sh"
	endedPath   = libDir + "/job-completed.sh"
	recordPath  = libDir + "/installed.json"
	unitPath    = "/etc/systemd/system/" + Unit
	stateDir    = "/var/lib/edamame-posture"
)

// Unit is the name of the systemd unit.
const Unit = "edamame-posture.service"

//go:embed files/edamame-posture.service files/job-started.sh files/job-completed.sh
var files embed.FS

// Place is a machine that the service is installed on.
type Place struct {
	// Root is the folder that holds the machine's files; empty for /.
	Root string
	// Program is the file of this program.
	Program string
	// Runners are folders of runners into whose .env the hooks are written.
	Runners []string
	// KeepEvidence and DeleteEvidence say what becomes of it at the end.
	KeepEvidence, DeleteEvidence bool
}

// record is what an installation has made, by which it is taken away again.
type record struct {
	Files   map[string]string `json:"files"` // SHA-256, by path below the root
	Dirs    []string          `json:"dirs"`  // that were not there before, outermost first
	Runners []runnerRecord    `json:"runners,omitempty"`
}

// runnerRecord is what a runner's .env was before.
type runnerRecord struct {
	Dir  string      `json:"dir"`
	New  bool        `json:"new,omitempty"`  // there was none
	Open bool        `json:"open,omitempty"` // its last line had no end
	Mode fs.FileMode `json:"mode,omitempty"`
	UID  int         `json:"uid,omitempty"`
	GID  int         `json:"gid,omitempty"`
}

// ErrInstalled and ErrNotInstalled say that there is, or is not, something.
var (
	ErrInstalled    = errors.New("the service is installed already: to renew it, service upgrade")
	ErrNotInstalled = errors.New("the service is not installed: service install")
	ErrEvidence     = errors.New("there is evidence of jobs below " + stateDir + ": say --keep-evidence or --delete-evidence")
)

func (p *Place) at(path string) string { return filepath.Join(p.Root, path) }

// Install puts the service's files on the machine. It returns what a person
// should know.
func (p *Place) Install() (notes []string, err error) {
	if _, err := p.read(); err == nil {
		return nil, ErrInstalled
	} else if !errors.Is(err, ErrNotInstalled) {
		return nil, err
	}
	for _, dir := range p.Runners {
		if err := p.checkRunner(dir); err != nil {
			return nil, err
		}
	}
	r := &record{Files: map[string]string{}}
	// What is there when something fails is taken away by Uninstall.
	defer func() { err = errors.Join(err, p.write(r)) }()
	if err := p.folder(r, libDir); err != nil {
		return nil, err
	}
	if err := p.put(r, SettingsFile, Example, 0o644, false); err != nil {
		return nil, err
	}
	if err := p.renew(r); err != nil {
		return nil, err
	}
	for _, dir := range p.Runners {
		more, err := p.hook(r, dir)
		if err != nil {
			return nil, err
		}
		notes = append(notes, more...)
	}
	return notes, nil
}

// Upgrade renews program, unit and hooks. Settings stay; this program must be
// able to read them.
func (p *Place) Upgrade() error {
	r, err := p.read()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(p.at(SettingsFile))
	if err != nil {
		return err
	}
	if _, err := ParseSettings(p.at(SettingsFile), data); err != nil {
		return fmt.Errorf("this version cannot use the settings, and nothing was changed:\n%w", err)
	}
	return errors.Join(p.renew(r), p.write(r))
}

// renew writes everything but settings.
func (p *Place) renew(r *record) error {
	program, err := os.ReadFile(p.Program)
	if err != nil {
		return fmt.Errorf("this program: %w", err)
	}
	if err := p.put(r, programPath, program, 0o755, true); err != nil {
		return err
	}
	for name, to := range map[string]string{Unit: unitPath, "job-started.sh": startedPath, "job-completed.sh": endedPath} {
		text, err := files.ReadFile("files/" + name)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o755)
		if to == unitPath {
			mode = 0o644
		}
		if err := p.put(r, to, bytes.ReplaceAll(text, []byte("@PROGRAM@"), []byte(programPath)), mode, true); err != nil {
			return err
		}
	}
	return nil
}

// put writes a file of root's in one step, and makes the folders above it. Where
// it is there and over is false it is an error.
func (p *Place) put(r *record, path string, data []byte, mode fs.FileMode, over bool) error {
	to := p.at(path)
	if _, err := os.Lstat(to); err == nil && !over {
		return fmt.Errorf("%s is there already: remove it, or keep a copy of it elsewhere", to)
	}
	if err := p.folder(r, filepath.Dir(path)); err != nil {
		return err
	}
	next := to + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	sum := sha256.Sum256(data)
	r.Files[path] = hex.EncodeToString(sum[:])
	return nil
}

// folder makes a folder and those above it that are not there.
func (p *Place) folder(r *record, dir string) error {
	if _, err := os.Stat(p.at(dir)); err == nil {
		return nil
	}
	if err := p.folder(r, filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(p.at(dir), 0o755); err != nil {
		return err
	}
	r.Dirs = append(r.Dirs, dir)
	return nil
}

// Removable says why Uninstall would do nothing.
func (p *Place) Removable() error {
	_, _, err := p.removable()
	return err
}

// removable returns what was installed, and the recordings that there are.
func (p *Place) removable() (*record, []fs.DirEntry, error) {
	r, err := p.read()
	if err != nil {
		return nil, nil, err
	}
	jobs, err := os.ReadDir(p.at(stateDir + "/jobs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	jobs = slices.DeleteFunc(jobs, func(e fs.DirEntry) bool { // what is ready for the next job is no evidence
		_, err := os.Lstat(p.at(filepath.Join(stateDir, "jobs", e.Name(), "evidence", evidence.CommitmentFile)))
		return err != nil
	})
	if p.KeepEvidence && p.DeleteEvidence || len(jobs) > 0 && !p.KeepEvidence && !p.DeleteEvidence {
		return nil, nil, ErrEvidence
	}
	return r, jobs, nil
}

// Uninstall takes away what Install has made, and the evidence if it may. A
// machine is then as it was.
func (p *Place) Uninstall() (notes []string, err error) {
	r, jobs, err := p.removable()
	if err != nil {
		return nil, err
	}
	var errs []error
	for i := range r.Runners {
		if err := p.unhook(&r.Runners[i]); err != nil {
			errs = append(errs, err)
		}
	}
	for path := range r.Files {
		if err := os.Remove(p.at(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	gone := []string{stateDir + "/" + stateName, Socket}
	if len(jobs) == 0 || p.DeleteEvidence {
		gone = append(gone, stateDir+"/jobs")
	} else {
		notes = append(notes, fmt.Sprintf("the evidence of %d jobs stays in %s", len(jobs), p.at(stateDir+"/jobs")))
	}
	for _, path := range gone {
		errs = append(errs, os.RemoveAll(p.at(path)))
	}
	// These are the folders of run's recordings too: they go where nothing is in them.
	for _, dir := range []string{stateDir, filepath.Dir(Socket)} {
		if err := os.Remove(p.at(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return notes, err // the record stays, for another try
	}
	if err := os.Remove(p.at(recordPath)); err != nil {
		return notes, err
	}
	for _, dir := range slices.Backward(r.Dirs) {
		if err := os.Remove(p.at(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			if !errors.Is(err, syscall.ENOTEMPTY) {
				return notes, err
			}
			notes = append(notes, p.at(dir)+" stays: something else is in it")
		}
	}
	return notes, nil
}

// Changed returns the installed files that are not as they were written.
// Settings are meant to be changed.
func (p *Place) Changed() ([]string, error) {
	r, err := p.read()
	if err != nil {
		return nil, err
	}
	var changed []string
	for path, want := range r.Files {
		if path == SettingsFile {
			continue
		}
		data, err := os.ReadFile(p.at(path))
		sum := sha256.Sum256(data)
		if err != nil || hex.EncodeToString(sum[:]) != want {
			changed = append(changed, p.at(path))
		}
	}
	slices.Sort(changed)
	return changed, nil
}

func (p *Place) read() (*record, error) {
	data, err := os.ReadFile(p.at(recordPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotInstalled
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil || r.Files == nil {
		return nil, fmt.Errorf("%s is not what service install wrote (%w)", p.at(recordPath), err)
	}
	return &r, nil
}

func (p *Place) write(r *record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := p.put(r, recordPath, append(data, '\n'), 0o600, true); err != nil {
		return err
	}
	delete(r.Files, recordPath) // it cannot hold its own digest
	return nil
}

// The variables by which a runner knows its hooks.
const (
	startedVar = "ACTIONS_RUNNER_HOOK_JOB_STARTED"
	endedVar   = "ACTIONS_RUNNER_HOOK_JOB_COMPLETED"
)

// maxEnv bounds a runner's .env in bytes.
const maxEnv = 64 << 10

// runnerEnv reads a runner's .env. Its folder is most often the runner's user's,
// who may put anything there, so no link is followed.
func runnerEnv(dir *os.Root) (data []byte, st fs.FileInfo, err error) {
	if st, err = dir.Lstat(".env"); err != nil {
		return nil, nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s/.env is not a regular file", dir.Name())
	}
	f, err := dir.OpenFile(".env", os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(st, now) {
		return nil, nil, fmt.Errorf("%s/.env is another file than a moment ago: try again", dir.Name())
	}
	data, err = io.ReadAll(io.LimitReader(f, maxEnv+1))
	if err == nil && len(data) > maxEnv {
		err = fmt.Errorf("%s/.env has more than %d bytes", dir.Name(), maxEnv)
	}
	return data, st, err
}

// checkRunner refuses a folder that is no runner's, or has other hooks.
func (p *Place) checkRunner(dir string) error {
	root, err := os.OpenRoot(p.at(dir))
	if err != nil {
		return fmt.Errorf("--runner: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat("bin/Runner.Listener"); err != nil {
		return fmt.Errorf("--runner %s is not the folder of a runner, which has bin/Runner.Listener: %w", dir, err)
	}
	data, _, err := runnerEnv(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i, line := range strings.Split(string(data), "\n") {
		name, value, _ := strings.Cut(line, "=")
		if (name == startedVar || name == endedVar) && value != startedPath && value != endedPath {
			return document.Errors{{File: filepath.Join(p.at(dir), ".env"), Line: i + 1, Column: 1, Text: name,
				Message: "the runner has this hook already; take it out, and have your own script start " + startedPath + " or " + endedPath}}
		}
	}
	return nil
}

// hook writes the hooks into a runner's .env, and makes that root's.
func (p *Place) hook(r *record, dir string) (notes []string, err error) {
	root, err := os.OpenRoot(p.at(dir))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	was := runnerRecord{Dir: dir}
	data, st, err := runnerEnv(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		was.New = true
	case err != nil:
		return nil, err
	default:
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !ok {
			return nil, errors.New("the owner of .env cannot be read")
		}
		was.Mode, was.UID, was.GID = st.Mode().Perm(), int(sys.Uid), int(sys.Gid)
	}
	text := string(withoutHooks(data))
	if text != "" && !strings.HasSuffix(text, "\n") {
		text, was.Open = text+"\n", true
	}
	text += startedVar + "=" + startedPath + "\n" + endedVar + "=" + endedPath + "\n"
	if err := replace(root, []byte(text), 0o644, os.Geteuid(), os.Getegid()); err != nil {
		return nil, err
	}
	r.Runners = append(r.Runners, was)
	notes = append(notes, fmt.Sprintf("the runner in %s has the hooks when it is started the next time", dir))
	if st, err := root.Stat("."); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && (sys.Uid != 0 || st.Mode().Perm()&0o022 != 0) {
			notes = append(notes, fmt.Sprintf("%s/.env belongs to root now, but the folder is user %d's, who can put another in its place: a job that does so is recorded all the same, and told", dir, sys.Uid))
		}
	}
	return notes, nil
}

// unhook takes the hooks out of a runner's .env and gives it back.
func (p *Place) unhook(was *runnerRecord) error {
	root, err := os.OpenRoot(p.at(was.Dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the runner has gone
	}
	if err != nil {
		return err
	}
	defer root.Close()
	data, _, err := runnerEnv(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	rest := withoutHooks(data)
	if was.Open {
		rest = bytes.TrimSuffix(rest, []byte("\n"))
	}
	if was.New && len(rest) == 0 {
		return root.Remove(".env")
	}
	if was.New {
		was.Mode, was.UID, was.GID = 0o644, os.Geteuid(), os.Getegid()
	}
	return replace(root, rest, was.Mode, was.UID, was.GID)
}

// withoutHooks returns a .env without our lines.
func withoutHooks(data []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(data) {
		switch strings.TrimSpace(string(line)) {
		case startedVar + "=" + startedPath, endedVar + "=" + endedPath:
		default:
			kept = append(kept, line...)
		}
	}
	return kept
}

// replace puts a new file in the place of a runner's .env.
func replace(root *os.Root, data []byte, mode fs.FileMode, uid, gid int) error {
	const next = ".env.edamame-posture"
	if err := root.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chown(uid, gid), f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = root.Rename(next, ".env")
	}
	if err != nil {
		return errors.Join(err, root.Remove(next))
	}
	return nil
}
