package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/indicator"
)

func TestOSVRecordsBecomeAListThatRunTakes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"npm/MAL-2026-1.json":  `{"id":"MAL-2026-1","published":"2026-03-31T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"@a/b"},"versions":["1.0.0"]}]}`,
		"npm/MAL-2020-1.json":  `{"id":"MAL-2020-1","published":"2020-03-31T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"old"},"versions":["1"]}]}`,
		"pypi/MAL-2026-2.json": `{"id":"MAL-2026-2","published":"2026-04-01T00:00:00Z","affected":[{"package":{"ecosystem":"PyPI","name":"x"}}]}`,
		"README.md":            "no record",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, error) {
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append([]string{"signatures", "import-osv"}, args...))
		err := root.Execute()
		return out.String(), err
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{dir}, 3}, {[]string{"--since", "2026-01-01", dir}, 2}, {[]string{"--ecosystem", "npm", "--since", "2026-01-01", dir}, 1},
	} {
		list, err := run(c.args...)
		s := indicator.New()
		if e := s.Add("list", []byte(list)); err != nil || e != nil || s.Len() != c.want {
			t.Errorf("%q: %v %v, %d entries, want %d", c.args, err, e, s.Len(), c.want)
		}
	}
	list, _ := run(dir)
	path := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(path, []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := readIndicators([]string{path}, ""); err != nil || len(b) == 0 {
		t.Errorf("run does not take it: %v", err)
	}
	for _, c := range []struct {
		paths []string
		key   string
		want  string
	}{
		{[]string{path}, filepath.Join(dir, "README.md"), "no PEM block"},
		{nil, path, "no list to check"},
		{[]string{filepath.Join(dir, "none")}, "", "no such file"},
		{[]string{filepath.Join(dir, "README.md")}, "", "README.md:1:1: a list of indicators is a mapping"},
	} {
		if _, err := readIndicators(c.paths, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q: %v, want %q", c.paths, c.key, err, c.want)
		}
	}
	if _, err := run(filepath.Join(dir, "README.md")); err == nil {
		t.Error("a file that is no record is taken")
	}
}
