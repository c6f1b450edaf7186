package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		path := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestPatternsNameFilesOfTheWorkspace(t *testing.T) {
	dir := tree(t, "dist/app.tgz", "dist/app.sig", "dist/sub/deep/lib.tgz", "src/main.go", "top.tgz")
	for _, c := range []struct {
		patterns []string
		want     string
	}{
		{[]string{"dist/*.tgz"}, "dist/app.tgz"},
		{[]string{"**/*.tgz"}, "dist/app.tgz dist/sub/deep/lib.tgz top.tgz"},
		{[]string{"dist/**"}, "dist/app.sig dist/app.tgz dist/sub/deep/lib.tgz"},
		{[]string{"./dist/app.tgz", "dist/*.tgz"}, "dist/app.tgz"},
		{[]string{filepath.Join(dir, "top.tgz")}, "top.tgz"},
		{nil, ""},
	} {
		got, err := Files(dir, c.patterns)
		if err != nil {
			t.Errorf("%q: %v", c.patterns, err)
			continue
		}
		var names []string
		for _, s := range got {
			names = append(names, s.Name)
			if s.Digest != (Digest{SHA256: sum(s.Name)}) {
				t.Errorf("%s has the digest %v", s.Name, s.Digest)
			}
		}
		if strings.Join(names, " ") != c.want {
			t.Errorf("%q names %q, want %q", c.patterns, names, c.want)
		}
	}
}

func TestWhatIsNoFileOfTheWorkspaceIsNoSubject(t *testing.T) {
	outside := tree(t, "secret")
	dir := tree(t, "real/file", "loop/x")
	for link, to := range map[string]string{"out": outside, "out-file": filepath.Join(outside, "secret"), "in-dir": "real", "in-file": "real/file", "loop/back": ".."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for pattern, says := range map[string]string{
		"../secret":                      "outside of",
		filepath.Join(outside, "secret"): "outside of",
		"real/../../x":                   "outside of",
		"out/secret":                     "",
		"out-file":                       "symbolic link",
		"in-file":                        "symbolic link",
		"in-dir/file":                    "symbolic link",
		"pipe":                           "not a regular file",
		"real":                           "no file fits",
		"none*":                          "no file fits",
		"[":                              "syntax error",
	} {
		got, err := Files(dir, []string{pattern})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v, want an error that says %q", pattern, got, err, says)
		}
	}
	if _, err := Files(dir, []string{"nothing/*"}); !errors.Is(err, ErrNoSubject) {
		t.Errorf("a folder that is not there: %v", err)
	}
	// Links to folders are not followed, so a loop has an end.
	if got, err := Files(dir, []string{"loop/**/x"}); err != nil || len(got) != 1 {
		t.Errorf("with a loop of links: %v, %v", got, err)
	}
	many := t.TempDir()
	for i := range maxSubjects + 1 {
		if err := os.WriteFile(filepath.Join(many, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Files(many, []string{"*"}); err == nil || !strings.Contains(err.Error(), "more than 1024") {
		t.Errorf("too many: %v", err)
	}
}

func TestTheRunnersListIsCheckedAgainstItsFiles(t *testing.T) {
	dir := tree(t, "app.tgz")
	commit := strings.Repeat("3f", 20)
	image := strings.Repeat("ab", 32)
	list := func(entries ...any) func(string) string {
		b, err := json.Marshal(map[string]any{"version": 1, "subjects": entries})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "list.json")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return func(name string) string {
			return map[string]string{"GITHUB_ARTIFACTS_LIST": path, "GITHUB_SHA": commit, "GITHUB_REPOSITORY": "octo/app", "GITHUB_SERVER_URL": "https://github.com"}[name]
		}
	}
	entry := func(name, digest, kind string) map[string]string {
		return map[string]string{"name": name, "digest": digest, "kind": kind}
	}
	got, err := RunnerSubjects(dir, list(entry("app.tgz", "sha256:"+sum("app.tgz"), "file"), entry("ghcr.io/octo/app", "sha256:"+image, "oci")))
	if err != nil {
		t.Fatal(err)
	}
	want := []Subject{
		{Name: "https://github.com/octo/app", Digest: Digest{GitCommit: commit}},
		{Name: "app.tgz", Digest: Digest{SHA256: sum("app.tgz")}},
		{Name: "ghcr.io/octo/app", Digest: Digest{SHA256: image}, MediaType: ImageType},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	s, _ := statement(t)
	for _, sub := range got {
		if err := s.AddSubject(sub); err != nil {
			t.Error(err)
		}
	}
	for name, env := range map[string]func(string) string{
		"was changed after it was uploaded": list(entry("app.tgz", "sha256:"+image, "file")),
		"outside of":                        list(entry("../x", "sha256:"+image, "file")),
		"no such file":                      list(entry("gone", "sha256:"+image, "file")),
		"want file or oci":                  list(entry("app.tgz", "sha256:"+image, "dir")),
		"want sha256:":                      list(entry("app.tgz", image, "oci")),
		"has no name":                       list(entry("", "sha256:"+image, "oci")),
	} {
		if got, err := RunnerSubjects(dir, env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, %v, want an error that says %q", got, err, name)
		}
	}
	if got, err := RunnerSubjects(dir, func(string) string { return "" }); err != nil || got != nil {
		t.Errorf("without a runner: %v, %v", got, err)
	}
}

func FuzzArtifactList(f *testing.F) {
	f.Add([]byte(`{"version":1,"subjects":[{"name":"a","digest":"sha256:` + strings.Repeat("0", 64) + `","kind":"file"}]}`))
	f.Add([]byte(`{"version":1,"subjects":[{"name":"a","Name":"b"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseArtifacts(b)
		if err != nil {
			return
		}
		for _, a := range list {
			if a.Name == "" || len(a.Digest) != 71 || len(list) > maxSubjects {
				t.Errorf("%q was taken", a)
			}
		}
	})
}
