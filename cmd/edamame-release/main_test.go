package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// laid returns a checkout's shim, with a small program built for each
// processor.
func laid(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	shim, err := os.ReadFile("../../action/shim.js")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"action/shim.js": string(shim), "src/go.mod": "module example.com/small\n\ngo 1.26\n", "src/main.go": "package main\n\nfunc main() {}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, arch := range archs {
		cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(root, "bin", "linux-"+arch, "edamame-posture"), ".")
		cmd.Dir, cmd.Env = filepath.Join(root, "src"), append(os.Environ(), "GOARCH="+arch, "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return root
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAReleaseHasTheDigestsOfItsProgramsAndWhatTheyAreMadeOf(t *testing.T) {
	root := laid(t)
	before := read(t, root, "action/shim.js")
	// A second one takes the place of the first.
	for _, version := range []string{"1.2.3", "1.10.0-rc.1"} {
		if err := release(root, version); err != nil {
			t.Fatal(err)
		}
		shim := read(t, root, "action/shim.js")
		for _, arch := range archs {
			sum := sha256.Sum256(read(t, root, "bin", "linux-"+arch, "edamame-posture"))
			want := hex.EncodeToString(sum[:])
			if !bytes.Contains(shim, []byte(arch+": '"+want+"'")) || !bytes.Contains(shim, []byte("version: '"+version+"'")) {
				t.Errorf("the shim has no %s %s for %s", version, want, arch)
			}
			var b bom
			if err := json.Unmarshal(read(t, root, "bin", "linux-"+arch+".cdx.json"), &b); err != nil {
				t.Fatal(err)
			}
			c := b.Metadata.Component
			if c.Name != "example.com/small" || c.PURL != "pkg:golang/example.com/small@v"+version || len(c.Hashes) != 1 || c.Hashes[0].Content != want || len(b.Components) != 1 || b.Components[0].Name != "std" {
				t.Errorf("it is said to be made of %+v", b)
			}
		}
		if a, b := strings.Count(string(before), "\n"), strings.Count(string(shim), "\n"); a != b {
			t.Errorf("the shim had %d lines and has %d", a, b)
		}
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command(node, "--check", filepath.Join(root, "action/shim.js")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAReleaseThatIsNoneIsRefused(t *testing.T) {
	root := laid(t)
	for _, version := range []string{"", "v1.2.3", "1.2", "1.2.3'; evil()", "01.2.3"} {
		if err := release(root, version); err == nil {
			t.Errorf("version %q was released", version)
		}
	}
	swapped := filepath.Join(root, "bin", "linux-arm64", "edamame-posture")
	if err := os.WriteFile(swapped, read(t, root, "bin", "linux-amd64", "edamame-posture"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := release(root, "1.2.3"); err == nil || !strings.Contains(err.Error(), "holds a program for amd64") {
		t.Errorf("a program for another processor: %v", err)
	}
	for _, shim := range []string{"", "const RELEASE = {};\n", strings.Repeat("const RELEASE = { version: '', sha256: {} };\n", 2)} {
		if out, err := table([]byte(shim), "1.2.3", nil); err == nil {
			t.Errorf("%s was made of %s", out, shim)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte("a\nconst RELEASE = { version: '', sha256: {} };\nb\n"))
	f.Fuzz(func(t *testing.T, shim []byte) {
		sums := map[string]string{"amd64": fmt.Sprintf("%064x", 1), "arm64": fmt.Sprintf("%064x", 2)}
		once, err := table(shim, "1.2.3", sums)
		if err != nil {
			return
		}
		if twice, err := table(once, "1.2.3", sums); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q is made %q, and that %q: %v", shim, once, twice, err)
		}
	})
}
