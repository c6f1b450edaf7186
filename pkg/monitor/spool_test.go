package monitor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// spoolIn makes the tests' own folder the only root of recordings.
func spoolIn(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	saved := spoolRoots
	spoolRoots = []string{root}
	t.Cleanup(func() { spoolRoots = saved })
	return root
}

func TestAFolderThatOthersCanWriteIsRefused(t *testing.T) {
	root := spoolIn(t)
	if err := os.Mkdir(root, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := newSpool(); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("error is %v, want one that names %s", err, root)
	}
}

func TestALinkInThePlaceOfTheRootIsRefused(t *testing.T) {
	root := spoolIn(t)
	if err := os.Symlink(t.TempDir(), root); err != nil {
		t.Fatal(err)
	}
	if _, _, err := newSpool(); err == nil {
		t.Error("a link was followed")
	}
}

func TestOnlyFoldersOfRecordingsAreRecoveredAndDiscarded(t *testing.T) {
	root := spoolIn(t)
	_, dir, err := newSpool()
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	for _, bad := range []string{other, root, "/", filepath.Join(dir, ".."), dir + "/../../x", filepath.Join(dir, "deeper")} {
		if err := Recover(bad, os.Getuid(), os.Getgid(), Death{}); err == nil {
			t.Errorf("Recover(%q) is no error", bad)
		}
		if err := Discard(bad); err == nil {
			t.Errorf("Discard(%q) is no error", bad)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Recover(dir, os.Getuid(), os.Getgid(), Death{}); !errors.Is(err, ErrNotTold) {
		t.Errorf("of a folder without a log: %v", err)
	}
	if err := Discard(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestOnlyRecordingsThatNobodyTouchesAnyMoreAreSwept(t *testing.T) {
	root := spoolIn(t)
	if err := os.Mkdir(root, 0o711); err != nil {
		t.Fatal(err)
	}
	put := func(name string, age time.Duration) string {
		at := filepath.Join(root, name)
		file := filepath.Join(at, evidenceDir, "log")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
		return at
	}
	old, day := put("0123456789abcdef", 72*time.Hour), 24*time.Hour
	stay := []string{put("1123456789abcdef", time.Second), put("2123456789abcdef", day-time.Hour), put(jobsName, 72*time.Hour), put("other", 72*time.Hour)}
	if removed := SweepSpools(time.Second); len(removed) != 1 || removed[0] != old {
		t.Errorf("removed are %q", removed)
	}
	for _, dir := range stay {
		if _, err := os.Stat(filepath.Join(dir, evidenceDir, "log")); err != nil {
			t.Error(err)
		}
	}
}
