package report

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/test/browser"
)

// browse drives a page in Chromium.
func browse(t testing.TB, check string, page []byte, settings map[string]any) browser.Found {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	return browser.Drive(t, check, file, settings)
}

// theft is what the report of the recorded attack is asked for.
func theft() map[string]any {
	return map[string]any{
		"line": `"kind":"http"`, "search": "203.0.113.9", "process": "node steal.js", "found": "2 processes found", "host": "203.0.113.9",
		"want": map[string][]string{
			"overview":  {"fail", "85", "Install script of a package connects to an address without a name", "undeclared chain aws", "without: 85", "0.40", "complete", "36 events"},
			"findings":  {"Find the package whose script it is", "203.0.113.9:8080", "T1195.002", "node steal.js"},
			"timeline":  {"4 processes", "1 connection", "node steal.js"},
			"processes": {"sh -c 'node steal.js'", "undeclared", "3 processes, 4 program starts"},
			"egress":    {"203.0.113.9:8080", "steal.js", "95 B"},
			"files":     {"/home/runner/.aws/credentials", "workspace", "/home/runner/.profile.d-canary"},
			"policy":    {"{class: aws, by: [steal.js]}", "posture.yml:3", "used", "7 explained nothing"},
			"evidence":  {"203.0.113.9:8080", "connect", "steal.js"},
		},
	}
}

func TestEveryViewOfAnAttackOpensAndIsOpenToAll(t *testing.T) {
	out := browse(t, "views", pageOf(t, recorded(t, "attack")), theft())
	if out.Rules < 100 {
		t.Errorf("axe passed %d rules only: it did not look", out.Rules)
	}
}

func TestEveryViewOfAnInstallOpensAndIsOpenToAll(t *testing.T) {
	browse(t, "views", pageOf(t, recorded(t, "npm-install")), map[string]any{"schemes": []string{"light"}, "want": map[string][]string{
		"overview": {"pass", "none", "npm install --no-audit --no-fund", "Nothing cost points", "1,726"},
		"findings": {"No finding."},
		"egress":   {":443", "6.3 MB", "npm"},
		"files":    {"/usr/etc/npmrc", "./node_modules", "781 in the workspace"},
		"policy":   {"Nothing: every fact is explained", "preset node"},
		"evidence": {"9 lines that findings and facts rest on, of 1,834"},
	}})
}

func TestAFindingLeadsToItsEvidence(t *testing.T) {
	browse(t, "use", pageOf(t, recorded(t, "attack")), theft())
}

func TestTheKeyboardAloneIsEnough(t *testing.T) {
	browse(t, "keyboard", pageOf(t, recorded(t, "attack")), theft())
}

// A proof in the page leads to the root of the log, and to no other.
func TestThePageRefusesAProofThatDoesNotHold(t *testing.T) {
	page := pageOf(t, recorded(t, "attack"))
	root := []byte(`"root":"`)
	i := bytes.Index(page, root) + len(root)
	page[i] ^= 2
	settings := theft()
	out := browse(t, "forged", page, settings)
	if !strings.Contains(out.Text, "does not lead to the root") {
		t.Errorf("the page says %q", out.Text)
	}
}

func TestThePageOnPaperAndWithoutScripts(t *testing.T) {
	out := browse(t, "plain", pageOf(t, recorded(t, "attack")), map[string]any{})
	for _, want := range []string{"Posture: fail, score 85", "Install script of a package connects to an address without a name", "203.0.113.9:8080", "hold the installation"} {
		if !strings.Contains(out.Text, want) {
			t.Errorf("without scripts %q is missing in %s", want, out.Text)
		}
	}
	if out.Pages < 3 || len(out.Sheets) != 8 || out.Rows < 4 {
		t.Errorf("on paper: %d pages, sheets %q, %d processes", out.Pages, out.Sheets, out.Rows)
	}
}

// Names that a job could give are text, also those of a megabyte.
func TestHostileNamesAreTextInTheBrowser(t *testing.T) {
	d := hostile("x")
	var names []string
	for i, name := range append(hostileNames, `<script>window.ran=1</script>`, `"><img src=x onerror="window.ran=1">`, strings.Repeat("A", 1<<20), strings.Repeat("\u202e<b>", 1<<18)) {
		h := hostile(name)
		d.Verdict.Findings = append(d.Verdict.Findings, h.Verdict.Findings...)
		d.Destinations = append(d.Destinations, h.Destinations...)
		d.Written = append(d.Written, h.Written...)
		d.Credentials = append(d.Credentials, h.Credentials...)
		d.Survivors = append(d.Survivors, h.Survivors...)
		d.Listening = append(d.Listening, h.Listening...)
		d.Notes = append(d.Notes, name)
		d.page.Facts = append(d.page.Facts, h.page.Facts...)
		d.page.Causes = append(d.page.Causes, h.page.Causes...)
		d.page.Grants = append(d.page.Grants, h.page.Grants...)
		d.page.Steps = append(d.page.Steps, h.page.Steps...)
		l := h.page.Lines[0]
		l.Seq = uint64(100 + i)
		d.page.Lines = append(d.page.Lines, l)
		if name != "" && len(name) < 1000 {
			names = append(names, visible(strings.ToValidUTF8(name, "\ufffd")))
		}
	}
	page := pageOf(t, d)
	if len(page) > 10<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	browse(t, "hostile", page, map[string]any{"title": "Posture: fail", "names": names})
}

// Pictures of the README, made with POSTURE_PICTURES=1.
func TestPictures(t *testing.T) {
	if os.Getenv("POSTURE_PICTURES") == "" {
		t.Skip("POSTURE_PICTURES=1 makes docs/pictures anew")
	}
	dir, err := filepath.Abs("../../docs/pictures")
	if err != nil {
		t.Fatal(err)
	}
	picture := func(view, name, scheme, click string) map[string]any {
		return map[string]any{"view": view, "path": filepath.Join(dir, name+".png"), "scheme": scheme, "click": click, "width": 1280, "height": 720}
	}
	browse(t, "pictures", pageOf(t, recorded(t, "attack")), map[string]any{"pictures": []any{
		picture("overview", "overview", "light", ""), picture("findings", "finding", "dark", ""), picture("processes", "processes", "dark", ".rows .row"),
	}})
}
