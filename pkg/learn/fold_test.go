package learn

import (
	"strings"
	"testing"
)

func TestFoldLeavesOutChanceAlone(t *testing.T) {
	for path, want := range map[string]string{
		"/tmp/tmp.Xa8Qz01kLm/a.o": "/tmp/tmp.*/a.o",
		"/tmp/build-4711/x":       "/tmp/build-*/x",
		"/proc/812/environ":       "/proc/*/environ",
		"/usr/lib/node18/bin":     "/usr/lib/node18/bin",
		"dist/app-1.2.3.tar.gz":   "dist/app-1.2.3.tar.gz",
		"/home/ci/.bashrc":        "/home/ci/.bashrc",
		"/tmp/**/a":               "/tmp/**/a",
	} {
		if got := Fold(path); got != want {
			t.Errorf("%s becomes %s, want %s", path, got, want)
		}
	}
}

func FuzzFold(f *testing.F) {
	f.Add("/tmp/tmp.Xa8Qz01kLm/9")
	f.Add("a/*/b")
	f.Fuzz(func(t *testing.T, path string) {
		got := Fold(path)
		if Fold(got) != got {
			t.Errorf("%q becomes %q, and that %q", path, got, Fold(got))
		}
		if strings.Count(got, "/") != strings.Count(path, "/") {
			t.Errorf("%q becomes %q, which has other folders", path, got)
		}
	})
}
