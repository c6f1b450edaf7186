package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/org/edamame-posture/pkg/judge"
)

// hostileNames are what a job could name a host, a file, an argument or a
// step.
var hostileNames = []string{
	"\x1b[2J\x1b[1;1Hedamame-posture: pass, score 0",
	"\x1b]0;title\x07", "\x9b31m", "\u009b31m", "a\rb", "a\nb", "a\x00b", "a\bb", "tab\there", "\x7f",
	"\u202egnp.exe", "\u2066x\u2069", "\u200fabc", "zero\u200bwidth", "\u2028line", "\ufeffbom", "\u3164", "\U000e0041tag",
	"z" + strings.Repeat("\u0300", 50), "\xff\xfe", `back\x1b[31mslash`,
	"<script>document.title='owned'</script>", `"><img src=x onerror=alert(1)>`, "javascript:alert(1)", "</title><b>", "</style>", "</pre></details>",
	"{{.}}", "a|b", "`code`", "[x](https://example.com)", "![x](https://example.com/i.png)", "https://example.com", "www.example.com",
	"@everyone", "#1", "-->", "<!--", "&lt;", "***", "~~~", "::error::x", "$(id)", "%0A::warning::x", "| --- |", "\n\n# head",
	strings.Repeat("long", 5000), "宽字符宽字符", "",
}

// hostile is data in which everything that a job can name is name.
func hostile(name string) *Data {
	who := []string{name, name}
	by := []Lineage{{Who: who, Step: name, Count: 1, Sent: 2}}
	actor := judge.Actor{Exe: "/x/" + name, Argv: []string{name}, PID: 7, Lineage: []string{name}}
	scope := judge.Scope{Job: name, Step: name, Action: name, Container: name, ContainerName: name, ContainerImage: name, Agent: name}
	return &Data{
		Verdict: &judge.Verdict{
			Version: 1, Verdict: judge.Fail, Reasons: []judge.Reason{judge.Forbidden, judge.HasFinding, judge.Undeclared}, Score: 90,
			Run:        judge.Run{ID: name, Host: name, Repository: name, Workflow: name, Job: name, Commit: name, Command: judge.Command{Argv: []string{name}}, Started: name, Ended: name},
			Coverage:   judge.Coverage{State: "partial", Sensor: "ebpf", Witness: "agree", Gaps: []judge.Gap{{What: name}}, Unseen: []string{name}},
			Findings:   []judge.Finding{{ID: name, Rule: "d01-x", Title: name, Severity: judge.High, Technique: []string{"T1"}, Scope: scope, Actor: actor, Object: name, Count: 3, Leaves: []uint64{4}, Do: name}},
			Undeclared: []judge.Fact{{Verb: "connect", Who: who, Object: name, Severity: judge.Low, Scope: scope, Grant: name}},
			Forbidden:  []judge.Fact{{Verb: "write", Who: who, Object: name, Severity: judge.High, Scope: scope, Grant: name}},
			Ledger:     []judge.Entry{{What: name}},
		},
		Intent: true,
		Processes: []*Process{{
			Program: name, Argv: []string{name, name}, PID: 1, Repeats: 412, Step: name, Container: name, Agent: name, Via: name, Findings: []string{name},
			Children: []*Process{{Program: name, Repeats: 1, Argv: []string{name}, Code: 1}},
		}},
		Destinations: []Destination{{Host: name, How: name, Addr: name, Port: 443, Proto: name, Verb: "connect", By: by, Standing: Undeclared, Grant: name}},
		Listening:    []Listener{{Addr: name, Who: who}},
		Containers:   []Container{{ID: name, Name: name, Image: name, Digest: name, Of: name, Programs: 1}, {ID: name, Of: name}},
		Written:      []Folder{{Path: name, Place: "home", Outside: true, Files: 2, Examples: []string{name}}, {Path: "./" + name, Place: "workspace"}},
		Files:        FileTotals{Outside: 2},
		Credentials:  []Credential{{Class: name, Path: name, By: by}},
		Survivors:    []Survivor{{PID: 3, Exe: name, Argv: []string{name}}},
		Sensors:      []Sensor{{name, name}}, Notes: []string{name}, Policy: "version: 1\n" + name + "\n" + name + "\n", PolicyHint: name, Tool: name, TreeRoot: name, TreeSize: 1000,
		page: hostilePage(name, who),
	}
}

// hostilePage is what only the page shows, with the same name everywhere.
func hostilePage(name string, who []string) *pagePart {
	line, err := json.Marshal(map[string]any{"seq": 4, "time": 1, "kind": "exec", "argv": []string{name}})
	if err != nil {
		panic(err)
	}
	return &pagePart{
		Words: []string{"", name},
		Procs: procColumns{
			Parent: []int32{-1, 0}, Program: []int32{1, 1}, Command: []int32{1, 1}, Step: []int32{1, 1}, Agent: []int32{1, 1}, Inside: []int32{1, 1}, PID: []uint32{1, 2}, UID: []uint32{0, 0},
			Flags: []int32{0, flagUndeclared}, Code: []int32{0, 1}, Signal: []int32{0, 0}, From: []int64{0, 5}, Took: []int64{9, 3}, Repeats: []uint32{412, 1}, Hidden: []uint32{0, 2},
			Sent: []uint64{1, 0}, Received: []uint64{1, 0}, Conns: []uint32{1, 0}, Wrote: []uint32{1, 0}, Leaf: []uint64{4, 5},
		},
		Conns: connColumns{At: []int64{1}, Took: []int64{1}, Proc: []int32{0}, To: []int32{1}, Sent: []uint64{1}, Received: []uint64{1}},
		Slot:  1000, Lanes: []laneOfPage{{Step: name, Moments: [][5]uint64{{0, 1, 1, 1, 1}}}},
		Steps: []stepOfPage{{ID: name, Name: name, Action: name}},
		Facts: []factOfPage{
			{Verb: "connect", Who: who, Object: name, Host: name, Step: name, Standing: "undeclared", Severity: "low", Grant: name, By: -1, Proc: 0},
			{Verb: "write", Who: who, Object: name, Standing: "forbidden", Severity: "high", Grant: name, By: 0, Proc: 1},
		},
		Grants: []grantLine{{Key: "egress", Text: name, Place: name, Preset: "", Used: 1}},
		Causes: []causeLine{{Entry: judge.Entry{Points: 511, Severity: judge.High, What: name}, Line: name, Leaves: []uint64{4}}},
		Lines:  []logLine{{Seq: 4, Text: string(line), Proof: []string{"AAAA"}}}, Named: map[int]int{0: 0},
	}
}

// noControl fails where s holds anything but printable text and line feeds.
func noControl(t *testing.T, view, name, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%s of %q: not UTF-8", view, name)
	}
	for _, r := range s {
		switch {
		case r == '\n':
		case r < ' ', r == 0x7f, r >= 0x80 && r < 0xa0, r == 0x061c, r >= 0x200b && r <= 0x200f,
			r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r == 0xfeff, r == 0x3164, r >= 0xe0000:
			t.Errorf("%s of %q: holds U+%04X", view, name, r)
			return
		}
	}
}

func TestNothingThatAJobNamesReachesTheTerminalAsControl(t *testing.T) {
	lines := strings.Count(terminalText(t, hostile("plain"), TerminalOptions{}), "\n")
	for _, name := range hostileNames {
		for _, ascii := range []bool{false, true} {
			got := terminalText(t, hostile(name), TerminalOptions{Dir: name, ASCII: ascii})
			noControl(t, "terminal", name, got)
			if n := strings.Count(got, "\n"); n > maxLines {
				t.Errorf("%q makes %d lines", name, n)
			}
			for l := range strings.Lines(got) {
				if c := columns(strings.TrimSuffix(l, "\n")); c > 100 {
					t.Errorf("%q makes a line of %d columns: %s", name, c, l)
				}
				if ascii && !plainASCII(l) {
					t.Errorf("%q with ASCII: %s", name, l)
				}
			}
			if strings.Contains(got, "\nedamame-posture: pass") {
				t.Errorf("%q forged a verdict line:\n%s", name, got)
			}
		}
	}
	if lines < 15 {
		t.Fatalf("the view has only %d lines: it does not show what is tested", lines)
	}
}

func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func TestEscapesAreShownAndUnambiguous(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[31m":                  `\x1b[31m`,
		`\x1b[31m`:                  `\\x1b[31m`,
		"\u202e":                    `\u{202e}`,
		"\xff":                      `\xff`,
		"é":                         "é",
		"宽":                         "宽",
		"e" + "\u0301":              "e\u0301",
		"e\u0301\u0301\u0301\u0301": "e\u0301\u0301\\u{301}\\u{301}",
		"\u0301":                    `\u{301}`,
		"a b":                       "a b",
		"a\u00a0b":                  `a\u{a0}b`,
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) is %q, want %q", in, got, want)
		}
	}
	if got := ascii("é宽"); got != `\u{e9}\u{5bbd}` {
		t.Errorf("ascii is %q", got)
	}
}

func TestAHostIsCutSoThatItsOwnerShows(t *testing.T) {
	d := hostile("x")
	d.Destinations[0].Host = strings.Repeat("packages.example.org.", 20) + "attacker.example"
	if got := terminalText(t, d, TerminalOptions{}); !strings.Contains(got, "attacker.example:443") {
		t.Errorf("the end of the host is cut:\n%s", got)
	}
}

func TestMarkdownIsInert(t *testing.T) {
	for _, name := range hostileNames {
		var b bytes.Buffer
		if err := Markdown(&b, hostile(name)); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		noControl(t, "markdown", name, got)
		if len(got) > maxMarkdown {
			t.Errorf("%q makes %d bytes", name[:20], len(got))
		}
		if !strings.HasPrefix(got, "### ") {
			t.Errorf("begins with %.20q", got)
		}
		// Only our own markup stands in it unescaped.
		before, chart, charted := strings.Cut(got, "```mermaid\n")
		chart, rest, ended := strings.Cut(chart, "```\n")
		if !charted || !ended {
			t.Fatalf("%q: there is no whole diagram", name)
		}
		for l := range strings.Lines(chart) {
			if !chartLine.MatchString(strings.TrimSuffix(l, "\n")) {
				t.Errorf("%q: not a line of our diagram: %.300q", name, l)
			}
		}
		rest = before + rest
		for _, own := range []string{"<details>", "</details>", "<summary>", "</summary>", "<code>", "</code>", "<pre>", "</pre>", "<br>", "`report.html`"} {
			rest = strings.ReplaceAll(rest, own, "")
		}
		if i := strings.IndexAny(rest, "<>`[]@!\\"); i >= 0 {
			t.Errorf("%q: unescaped %q in ...%s", name, rest[i], rest[max(0, i-40):min(len(rest), i+40)])
		}
		for _, bad := range []string{"http://", "https://", "www.", "::error", "::warning"} {
			if strings.Contains(rest, bad) {
				t.Errorf("%q: holds %s", name, bad)
			}
		}
		columnsOf := 0
		for l := range strings.Lines(got) {
			if !strings.HasPrefix(l, "|") {
				columnsOf = 0
				continue
			}
			n := strings.Count(l, "|")
			if columnsOf != 0 && n != columnsOf {
				t.Errorf("%q: a row of %d cells in a table of %d: %s", name, n-1, columnsOf-1, l)
			}
			columnsOf = n
		}
	}
}

func TestTheViewsAreTheSameBytesEachTime(t *testing.T) {
	d := install(t)
	for name, view := range map[string]func(*Data) ([]byte, error){
		"terminal": func(d *Data) ([]byte, error) {
			var b bytes.Buffer
			err := Terminal(&b, d, TerminalOptions{})
			return b.Bytes(), err
		},
		"markdown": func(d *Data) ([]byte, error) { var b bytes.Buffer; err := Markdown(&b, d); return b.Bytes(), err },
		"html":     func(d *Data) ([]byte, error) { var b bytes.Buffer; err := HTML(&b, d); return b.Bytes(), err },
		"sarif":    func(d *Data) ([]byte, error) { var b bytes.Buffer; err := SARIF(&b, d); return b.Bytes(), err },
	} {
		first, err := view(d)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			again, err := view(install(t))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, again) {
				t.Errorf("%s differs between two runs", name)
			}
		}
	}
}

func TestColourIsOnlyOnTheVerdictAndSeverities(t *testing.T) {
	d := hostile("x")
	plain := terminalText(t, d, TerminalOptions{})
	painted := terminalText(t, d, TerminalOptions{Color: true})
	if strings.Contains(plain, "\x1b") {
		t.Error("colour without Color")
	}
	stripped := painted
	for _, c := range []string{red, yellow, green, bold, reset} {
		stripped = strings.ReplaceAll(stripped, c, "")
	}
	if stripped != plain {
		t.Errorf("colour changes more than colour:\n%s\n%s", stripped, plain)
	}
	if n := strings.Count(painted, reset); n != 3 {
		t.Errorf("%d painted words, want the verdict and two severities", n)
	}
}

func TestPartialCoverageNeverReadsAsNothingHappened(t *testing.T) {
	d := &Data{Verdict: &judge.Verdict{Verdict: judge.Review, Reasons: []judge.Reason{judge.PartialCoverage}, Coverage: judge.Coverage{State: "partial"}}}
	got := terminalText(t, d, TerminalOptions{})
	for _, s := range []string{"none that was seen", "nowhere that was seen", "nothing that was seen", "none read that was seen", "partly"} {
		if !strings.Contains(got, s) {
			t.Errorf("%q is missing in\n%s", s, got)
		}
	}
}

func TestSARIFHasWhatTheStandardRequires(t *testing.T) {
	for _, name := range append([]string{"plain"}, hostileNames...) {
		var b bytes.Buffer
		if err := SARIF(&b, hostile(name)); err != nil {
			t.Fatal(err)
		}
		var s struct {
			Schema  string `json:"$schema"`
			Version string
			Runs    []struct {
				Tool struct {
					Driver struct {
						Name  string
						Rules []struct {
							ID               string
							ShortDescription struct{ Text string }
						}
					}
				}
				Invocations []struct{ ExecutionSuccessful *bool }
				Results     []struct {
					RuleID    string
					RuleIndex *int
					Level     string
					Message   struct{ Text string }
					Locations []struct {
						PhysicalLocation struct {
							ArtifactLocation struct{ URI string }
							Region           struct{ StartLine int }
						}
					}
					PartialFingerprints map[string]string
				}
			}
		}
		if err := json.Unmarshal(b.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if s.Version != "2.1.0" || !strings.Contains(s.Schema, "sarif-2.1.0") || len(s.Runs) != 1 {
			t.Fatalf("version %q, schema %q, %d runs", s.Version, s.Schema, len(s.Runs))
		}
		run := s.Runs[0]
		if run.Tool.Driver.Name == "" || len(run.Invocations) != 1 || run.Invocations[0].ExecutionSuccessful == nil {
			t.Errorf("tool or invocation lacks what is required: %+v", run)
		}
		if len(run.Results) != 3 {
			t.Fatalf("%d results, want finding, forbidden and undeclared", len(run.Results))
		}
		for _, r := range run.Results {
			switch {
			case r.RuleIndex == nil || *r.RuleIndex >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[*r.RuleIndex].ID != r.RuleID:
				t.Errorf("result %s points to no rule", r.RuleID)
			case r.Level != "error" && r.Level != "warning" && r.Level != "note":
				t.Errorf("level %q", r.Level)
			case r.Message.Text == "" || len(r.Locations) != 1 || r.Locations[0].PhysicalLocation.Region.StartLine < 1:
				t.Errorf("result %+v lacks what is required", r)
			}
			noControl(t, "sarif", name, r.Message.Text)
		}
	}
}

func TestTheMarkdownStaysBelowItsBound(t *testing.T) {
	d := hostile(strings.Repeat("<", 500))
	for range 5000 {
		d.Verdict.Findings = append(d.Verdict.Findings, d.Verdict.Findings[0])
		d.Verdict.Undeclared = append(d.Verdict.Undeclared, d.Verdict.Undeclared[0])
		d.Destinations = append(d.Destinations, d.Destinations[0])
		d.Survivors = append(d.Survivors, d.Survivors[0])
	}
	var b bytes.Buffer
	if err := Markdown(&b, d); err != nil {
		t.Fatal(err)
	}
	if b.Len() > maxMarkdown {
		t.Errorf("%d bytes", b.Len())
	}
	if strings.Count(b.String(), "<details>") != strings.Count(b.String(), "</details>") {
		t.Error("a fold is left open")
	}
}
