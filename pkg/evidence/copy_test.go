package evidence

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestACopyVerifiesAsTheOriginalDoes(t *testing.T) {
	dir, m := closedLog(t)
	src, err := OpenSources(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if last := src[len(src)-1].Name; last != manifestName {
		t.Errorf("the last file is %s", last)
	}
	dst := filepath.Join(t.TempDir(), "evidence")
	if err := Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := verify(dst); err != nil {
		t.Error(err)
	}
	for _, f := range append(m.Files, File{Name: manifestName}) {
		a, b := filepath.Join(dir, f.Name), filepath.Join(dst, f.Name)
		if !bytes.Equal(read(t, a), read(t, b)) {
			t.Errorf("%s differs", f.Name)
		}
		if info, err := os.Stat(b); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dst); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestACopyOfALogThatWasNotClosedCanBeRead(t *testing.T) {
	dir, _, whole := crashed(t, 5)
	src, err := OpenSources(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst := filepath.Join(t.TempDir(), "evidence")
	if err := Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	e := openPartial(t, dst)
	defer e.Close()
	if n := len(linesOf(t, e)); n != len(whole) {
		t.Errorf("%d lines of %d", n, len(whole))
	}
}

func TestACopyGoesNowhereElse(t *testing.T) {
	victim := t.TempDir()
	for name, make := range map[string]func(dst string) error{
		"a link to a folder": func(dst string) error { return os.Symlink(victim, dst) },
		"a link to nothing":  func(dst string) error { return os.Symlink(filepath.Join(victim, "new"), dst) },
		"a folder":           func(dst string) error { return os.Mkdir(dst, 0o755) },
		"a file":             func(dst string) error { return os.WriteFile(dst, nil, 0o644) },
	} {
		dst := filepath.Join(t.TempDir(), "evidence")
		if err := make(dst); err != nil {
			t.Fatal(err)
		}
		if err := Copy(dst, []Source{{checkpointsName, strings.NewReader("x")}}); !errors.Is(err, os.ErrExist) {
			t.Errorf("over %s: %v", name, err)
		}
	}
	if d, err := os.ReadDir(victim); err != nil || len(d) != 0 {
		t.Errorf("%v, %v", d, err)
	}
	for _, name := range []string{"../x", "/etc/x", "inputs/../../x", "x", ".gitignore", "", "inputs", manifestTemp} {
		dst := filepath.Join(t.TempDir(), "evidence")
		if err := Copy(dst, []Source{{name, strings.NewReader("x")}}); err == nil {
			t.Errorf("%q is written", name)
		}
	}
	dst := filepath.Join(t.TempDir(), "evidence")
	twice := []Source{{checkpointsName, strings.NewReader("a")}, {checkpointsName, strings.NewReader("b")}}
	if err := Copy(dst, twice); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file twice: %v", err)
	}
}

func TestLinksAreNotOpenedForACopy(t *testing.T) {
	dir, _ := closedLog(t)
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "inputs", "stolen")); err != nil {
		t.Fatal(err)
	}
	if src, err := OpenSources(dir); err == nil {
		src.Close()
		t.Error("a link is opened")
	}
}

func TestAnEarlierRunIsKeptUnderTheNextFreeNumber(t *testing.T) {
	out := filepath.Join(t.TempDir(), ".posture")
	for run := range 3 {
		if err := Prepare(out); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(out, "verdict.json"), []byte{byte('0' + run)})
		if got := string(read(t, filepath.Join(out, ".gitignore"))); got != "*\n" {
			t.Errorf(".gitignore is %q", got)
		}
	}
	for name, want := range map[string]string{"": "2", ".1": "0", ".2": "1"} {
		if got := string(read(t, filepath.Join(out+name, "verdict.json"))); got != want {
			t.Errorf("%s holds run %s, want %s", out+name, got, want)
		}
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// A hole is filled only where the name is free.
	if err := os.RemoveAll(out + ".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", out+".1"); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(out + "/"); err != nil {
		t.Fatal(err)
	}
	if got := string(read(t, filepath.Join(out+".3", "verdict.json"))); got != "2" {
		t.Errorf("%s.3 holds run %s", out, got)
	}
}

func TestPrepareTakesAnEmptyFolderAndLeavesOthersAlone(t *testing.T) {
	empty := t.TempDir()
	if err := Prepare(empty); err != nil {
		t.Error(err)
	}
	if err := Prepare(filepath.Join(empty, "a", "b")); err != nil {
		t.Error(err)
	}
	src := t.TempDir()
	write(t, filepath.Join(src, "main.c"), nil)
	if err := Prepare(src); err == nil || !strings.Contains(err.Error(), "name another folder") {
		t.Error(err)
	}
	write(t, filepath.Join(src, ".gitignore"), []byte("*.o\n"))
	if err := Prepare(src); err == nil || !strings.Contains(err.Error(), "name another folder") {
		t.Error(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(src, link); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(link); err == nil {
		t.Error("a link is taken")
	}
	if err := Prepare(filepath.Join(src, "main.c", "x", "y")); err == nil {
		t.Error("a folder is made in a file")
	}
	if d, err := os.ReadDir(src); err != nil || len(d) != 2 {
		t.Errorf("%v, %v", d, err)
	}
}
