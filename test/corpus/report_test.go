package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/test/browser"
)

// watchedCase does one case for real under the monitor, held against a policy,
// and returns the folder of its results.
func watchedCase(t *testing.T, m *machine, c *scenario, policy string) (dir string, v *judge.Verdict) {
	t.Helper()
	for _, p := range append(c.Needs, "ip", "unshare", "nsenter") {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("SKIP: %v", err)
		}
	}
	file := filepath.Join(m.dir, "posture.yml") // the job has a /tmp of its own
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	m.flags = []string{"--intent", file}
	*keep = t.TempDir()
	t.Cleanup(func() { *keep = "" })
	o, err := m.run(t.Context(), c, "ebpf")
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range o.missing {
		t.Errorf("it did not do what it says: %s", missing)
	}
	return filepath.Join(*keep, c.ID+"-ebpf"), o.verdict
}

// plainest is the longest argument that a page shows as it is.
func plainest(argv []string) (longest string) {
	for _, a := range argv {
		if len(a) > len(longest) && !strings.ContainsFunc(a, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./", r)
		}) {
			longest = a
		}
	}
	return longest
}

// The reports that `run` itself wrote, of an attack and of an `npm install` of
// which nothing is to be said, are driven as a person would: each view, searches
// and filters, from a finding to its lines of the log, with keys alone, and by
// axe-core in light and dark.
func TestReportsOfFreshRunsAreDrivenInTheBrowser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: watching from the kernel needs root: sudo -E go test ./test/corpus")
	}
	t.Chdir("../..") // from where the programs are built
	of := func(folder, file, id string) *scenario {
		list, err := load(folder, file)
		i := slices.IndexFunc(list, func(c *scenario) bool { return c.ID == id })
		if err != nil || i < 0 {
			t.Fatalf("%s is not in %s: %v", id, folder, err)
		}
		return list[i]
	}
	m, err := newMachine()
	if m != nil {
		t.Cleanup(m.close)
	}
	if err != nil {
		t.Fatal(err)
	}
	const policy = "version: 1\nuse: [node, github-runner]\negress: [{to: \"registry.test:80\", by: [npm]}]\n"

	t.Run("an attack", func(t *testing.T) {
		dir, v := watchedCase(t, m, of("test/attacks", attackFile, "axios-rat"), policy)
		weight := []judge.Severity{judge.Critical, judge.High, judge.Medium, judge.Low, judge.Info}
		slices.SortStableFunc(v.Findings, func(a, b judge.Finding) int {
			return cmp.Compare(slices.Index(weight, a.Severity), slices.Index(weight, b.Severity))
		})
		if v.Verdict != judge.Fail || len(v.Findings) < 5 || len(v.Findings[0].Leaves) == 0 {
			t.Fatalf("verdict %s, %d findings", v.Verdict, len(v.Findings))
		}
		settings := func() map[string]any {
			return map[string]any{
				"line": fmt.Sprintf(`"seq":%d,`, v.Findings[0].Leaves[0]), "search": "sfrclak.com", "process": plainest(v.Findings[0].Actor.Argv), "found": "", "host": "sfrclak.com",
				"want": map[string][]string{
					"overview":  {"fail", fmt.Sprint(v.Score), v.Findings[0].Title, "undeclared connect", "complete"},
					"findings":  {v.Findings[0].Title, v.Findings[0].Do, "sfrclak.com"},
					"processes": {"npm install axios", "undeclared"},
					"egress":    {"sfrclak.com", "registry.test"},
					"files":     {"workspace"},
					"policy":    {"sfrclak.com:8000", "explained nothing"},
					"evidence":  {"sfrclak.com", "exec"},
				},
			}
		}
		page := filepath.Join(dir, "report.html")
		if out := browser.Drive(t, "views", page, settings()); out.Rules < 100 {
			t.Errorf("axe passed %d rules only: it did not look", out.Rules)
		}
		browser.Drive(t, "use", page, settings())
		browser.Drive(t, "keyboard", page, settings())
	})
	t.Run("an npm install", func(t *testing.T) {
		dir, v := watchedCase(t, m, of("test/benign", benignFile, "npm-plain"), policy)
		for _, f := range v.Findings {
			t.Errorf("finding: %s %s", f.Rule, f.Object)
		}
		settings := func() map[string]any {
			return map[string]any{
				"process": "npm install left right", "found": "", "host": "registry.test",
				"want": map[string][]string{
					"overview":  {string(v.Verdict), "none", "complete"},
					"findings":  {"No finding."},
					"processes": {"npm install left right", "npm ci"},
					"egress":    {"registry.test:80"},
					"files":     {"node_modules", "workspace"},
					"policy":    {"registry.test:80", "preset node"},
					"evidence":  {"exec"},
				},
			}
		}
		page := filepath.Join(dir, "report.html")
		browser.Drive(t, "views", page, settings())
		browser.Drive(t, "filters", page, settings())
		browser.Drive(t, "keyboard", page, settings())
	})
}
