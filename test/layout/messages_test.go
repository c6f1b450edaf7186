package layout

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// verb is a place in a message of fmt's that something is put into.
var verb = regexp.MustCompile(`%[-+# 0-9.*\[\]]*[a-zA-Z]`)

func TestEachMessageOfTheTroubleshootingPageIsInTheSource(t *testing.T) {
	root := "../.."
	var source strings.Builder
	for _, dir := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			source.Write(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	said := verb.ReplaceAllString(source.String(), "…")
	page, err := os.ReadFile(filepath.Join(root, "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	headings := regexp.MustCompile("(?m)^### `(.+)`$").FindAllStringSubmatch(string(page), -1)
	if len(headings) < 10 {
		t.Fatalf("the page has %d messages", len(headings))
	}
	for _, h := range headings {
		if !strings.Contains(said, h[1]) {
			t.Errorf("no program says %q", h[1])
		}
	}
}
