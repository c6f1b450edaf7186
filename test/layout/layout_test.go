// Package layout checks the shape of the project: which package may import
// which, and what must never be written in it.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/org/edamame-posture/"

// order is the way of an event. A package imports only packages above it.
var order = []string{
	"policies", "pkg/carried",
	"pkg/redact", "pkg/event", "pkg/credential", "pkg/steplog", "pkg/indicator", "pkg/wire", "pkg/runner", "pkg/agent", "pkg/probe", "pkg/warden", "pkg/seal", "pkg/barrier",
	"pkg/sensor", "pkg/sensor/ebpf", "pkg/sensor/netlink",
	"pkg/process", "pkg/names", "pkg/fact", "pkg/intent", "pkg/signature", "pkg/judge", "pkg/evidence", "pkg/posture", "pkg/witness", "pkg/engine",
	"pkg/monitor", "pkg/learn", "pkg/attest", "pkg/gate", "pkg/report", "pkg/live", "pkg/github", "pkg/service",
	"cmd/edamame-posture", "cmd/edamame-hook", "cmd/edamame-warden", "cmd/edamame-release",
}

// place returns where a package stands; a folder inside one that is listed
// stands with it, unless it is listed itself. -1 where it is not listed.
func place(pkg string) int {
	pkg = strings.TrimPrefix(pkg, module)
	best, length := -1, 0
	for i, p := range order {
		if (pkg == p || strings.HasPrefix(pkg, p+"/")) && len(p) > length {
			best, length = i, len(p)
		}
	}
	return best
}

type listed struct {
	ImportPath  string
	Imports     []string
	TestImports []string
	Deps        []string
}

func list(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	pkgs := map[string]listed{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs[p.ImportPath] = p
	}
	return pkgs
}

func TestAPackageImportsOnlyPackagesAboveIt(t *testing.T) {
	seen := 0
	for path, p := range list(t) {
		rest, ours := strings.CutPrefix(path, module)
		if !ours || strings.HasPrefix(rest, "test/") || strings.HasPrefix(rest, "internal/") {
			continue
		}
		at := place(path)
		if at < 0 {
			t.Errorf("%s stands nowhere in the order: add it, with a reason, to ARCHITECTURE.md and here", path)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			seen++
			if to := place(imp); to > at || to < 0 {
				t.Errorf("%s imports %s, which is below it", path, imp)
			}
		}
	}
	if seen < 30 {
		t.Fatalf("only %d imports among our packages were found: the check does not look at the project", seen)
	}
}

// The root process is small: no code that signs, reports or speaks to GitHub.
func TestTheMonitorLinksNoSigningReportOrGitHubCode(t *testing.T) {
	pkgs := list(t)
	for _, root := range []string{"pkg/monitor", "pkg/service"} {
		m, ok := pkgs[module+root]
		if !ok {
			t.Fatalf("%s is not there", root)
		}
		for _, banned := range []string{"pkg/attest", "pkg/gate", "pkg/report", "pkg/live", "pkg/github", "pkg/witness"} {
			if slices.Contains(m.Deps, module+banned) {
				t.Errorf("%s reaches %s", root, banned)
			}
		}
		for _, dep := range m.Deps {
			for _, banned := range []string{"github.com/sigstore/", "github.com/sethvargo/", "github.com/google/go-github", "net/http", "html/template"} {
				if dep == banned || strings.HasSuffix(banned, "/") && strings.HasPrefix(dep, banned) {
					t.Errorf("%s reaches %s", root, dep)
				}
			}
		}
	}
}

// Registries are written as wildcard domains, so that no text of ours sends
// anybody, or a scanner, to one.
func TestNoPackageRegistryIsNamedByHost(t *testing.T) {
	cmd := exec.Command("git", "grep", "-nIE", `(registry\.npm`+`js\.org|proxy\.go`+`lang\.org|sum\.go`+`lang\.org|deb\.deb`+`ian\.org)`)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("git grep: %v", err)
	}
	if len(out) > 0 {
		t.Errorf("write a wildcard domain instead:\n%s", out)
	}
}

// Names that say nothing of what is inside.
func TestNoPackageOrFileIsACatchAll(t *testing.T) {
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	bad := regexp.MustCompile(`(^|/)(utils?|common|helpers?|manager|misc)(/|\.|_)`)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) < 20 {
		t.Fatalf("only %d files are listed", len(lines))
	}
	for _, f := range lines {
		if bad.MatchString(f) {
			t.Errorf("%s: name it after what it holds", f)
		}
	}
}

// Who can move a tag chooses what runs in our own CI, and signs our releases.
func TestOurOwnWorkflowsNameActionsByTheirCommit(t *testing.T) {
	files, err := filepath.Glob("../../.github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no workflows", err)
	}
	uses := regexp.MustCompile(`(?m)^\s*(?:- )?uses:\s*(\S+)`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	seen := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range uses.FindAllSubmatch(text, -1) {
			seen++
			if name := string(m[1]); name != "./" && !pinned.MatchString(name) {
				t.Errorf("%s: uses: %s is not named by its commit", f, name)
			}
		}
	}
	if seen < 5 {
		t.Errorf("%d uses were looked at", seen)
	}
}
