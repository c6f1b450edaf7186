package report

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// went is a destination that some programs of steps went to.
func went(host string, standing Standing, by ...[2]string) Destination {
	d := Destination{Host: host, How: "tls", Addr: "198.51.100.20", Port: 443, Proto: "tcp", Count: 1, Standing: standing}
	for _, b := range by {
		d.By = append(d.By, Lineage{Step: b[0], Who: []string{b[1], "sh"}, Count: 1})
	}
	return d
}

// charted is the diagram in a summary, without its fence.
func charted(t *testing.T, d *Data) string {
	t.Helper()
	var b bytes.Buffer
	m := &markdown{d: d}
	m.destinations()
	b.Write(m.b.Bytes())
	_, rest, ok := strings.Cut(b.String(), "```mermaid\n")
	chart, after, ended := strings.Cut(rest, "```\n")
	if !ok || !ended || strings.Contains(after, "```") {
		t.Fatalf("the diagram is not one block:\n%s", b.String())
	}
	return chart
}

func TestTheChartSaysWhichStepWentWhereByWhichProgram(t *testing.T) {
	d := newScene(t, "true").end(0)
	d.Destinations = []Destination{
		went("evil.example", Undeclared, [2]string{"build", "node"}),
		went("packages.example", Unlisted, [2]string{"build", "node"}, [2]string{"", "curl"}),
		{Host: "127.0.0.1", Port: 1, Local: true, By: []Lineage{{Who: []string{"x"}}}},
	}
	want := `flowchart LR
  n0(["build"])
  n1["node"]
  n2[["evil.example#58;443, undeclared"]]
  n0 --> n1
  n1 --> n2
  n3[["packages.example#58;443"]]
  n1 --> n3
  n4(["the job"])
  n5["curl"]
  n4 --> n5
  n5 --> n3
`
	if got := charted(t, d); got != want {
		t.Errorf("the chart is\n%swant\n%s", got, want)
	}
}

var chartLine = regexp.MustCompile(`^(flowchart LR|  n\d+ --> n\d+|  n\d+(\(\[|\[\[?)"[^"\x60<>&|{}()\\%\n\r\[\]]*"(\]\)|\]\]?))$`)

func TestNoNameBreaksOutOfTheChart(t *testing.T) {
	d := newScene(t, "true").end(0)
	for i, name := range []string{
		"```\n# heading", "\"]\n  click n0 href \"https://evil.example\"", "%%{init: {}}%%", "</details><script>", "#quot;]", "a\u202eb\u2028c", "end", "subgraph x",
		"\x1b[2J", strings.Repeat("x", 1<<20),
	} {
		d.Destinations = append(d.Destinations, went(name, Forbidden, [2]string{name, name + fmt.Sprint(i)}))
	}
	for l := range strings.Lines(charted(t, d)) {
		if !chartLine.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("not a line of ours: %.300q", l)
		}
		if len(l) > 2000 {
			t.Errorf("a line of %d bytes", len(l))
		}
	}
}

func TestTheChartIsBoundedAndCountsTheRest(t *testing.T) {
	d := newScene(t, "true").end(0)
	for i := range 500 {
		d.Destinations = append(d.Destinations, went(fmt.Sprintf("h%d.example", i), Unlisted, [2]string{"build", "node"}))
	}
	chart := charted(t, d)
	if n := strings.Count(chart, "[[") + strings.Count(chart, "n0([") + strings.Count(chart, "n1["); n != maxNodes {
		t.Errorf("%d nodes", n)
	}
	m := &markdown{d: d}
	m.destinations()
	if !strings.Contains(m.b.String(), "The chart leaves out 442 ways.") {
		t.Errorf("the rest is not counted:\n%.3000s", m.b.String())
	}
}
