// Package browser drives reports in Chromium with Playwright, which `make tools`
// installs.
package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Found is what browser.cjs found.
type Found struct {
	Wrong  []string
	Rules  int // of axe-core that passed
	Text   string
	Pages  int
	Rows   int
	Sheets []string
	// Milliseconds until the page could be used.
	Clock, CPU float64
}

// Drive makes one of the checks of browser.cjs of a page in a file, and fails
// the test with each thing that is wrong. Where Playwright or Chromium is
// missing the test is skipped.
func Drive(t testing.TB, check, file string, settings map[string]any) Found {
	t.Helper()
	root, err := filepath.Abs(".")
	for ; err == nil; root = filepath.Dir(root) {
		if _, found := os.Stat(filepath.Join(root, "go.mod")); found == nil {
			break
		} else if root == filepath.Dir(root) {
			err = found
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(root, ".tools/npm-report/node_modules")
	if _, err := os.Stat(modules); err != nil {
		t.Skip("Playwright is not installed: make tools")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			settings["chromium"] = p
			break
		}
	}
	if settings["chromium"] == nil {
		t.Skip("Chromium is not installed: apt-get install chromium")
	}
	in, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(root, "test/browser/browser.cjs"), check, file)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	cmd.Stdin = bytes.NewReader(in)
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", check, err, stderr.String())
	}
	var out Found
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("%s: %v: %s", check, err, b)
	}
	for _, w := range out.Wrong {
		t.Errorf("%s: %s", check, w)
	}
	return out
}
