package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// buildFolder is a make that writes a temporary file with names, process ids
// and a port that are others in each run, and goes where it is told.
func buildFolder(t *testing.T, tmp string, first uint32, hosts ...string) string {
	t.Helper()
	s := newScene(t, "make")
	s.pids = first
	mk := s.run(shell, "/usr/bin/make", "make")
	cc := s.run(mk, "/usr/bin/gcc", "gcc")
	s.write(cc, "/tmp/"+tmp+".s")
	s.write(cc, fmt.Sprintf("/home/ci/.cache/run/pid-%d", first))
	s.write(cc, "/home/ci/app/out/a.o")
	for i, h := range hosts {
		s.send(mk, h, fmt.Sprintf("198.51.100.%d:443", i+1), 10, uint64(first))
	}
	s.exit(cc, 0)
	s.exit(mk, 0)
	s.end(0)
	return s.dir
}

func compared(t *testing.T, a, b string) *Comparison {
	t.Helper()
	c, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRunsThatDifferByChanceAloneAreTheSame(t *testing.T) {
	c := compared(t, buildFolder(t, "ccA1b2C3", 411, "a.example.com"), buildFolder(t, "ccX9y8Z7", 411, "a.example.com"))
	var b bytes.Buffer
	if err := c.Text(&b); err != nil {
		t.Fatal(err)
	}
	if !c.Same || !strings.HasSuffix(b.String(), "both did the same\n") {
		t.Errorf("they differ:\n%s", b.String())
	}
}

func TestWhatOneRunDidIsToldForItsSideAlone(t *testing.T) {
	a := buildFolder(t, "ccA1b2C3", 411, "a.example.com", "old.example.com")
	b := buildFolder(t, "ccX9y8Z7", 411, "a.example.com", "\x1b[31mnew.example.com")
	c := compared(t, a, b)
	if c.Same || len(c.A.Facts) != 1 || c.A.Facts[0].Object != "old.example.com:443" || len(c.B.Facts) != 1 {
		t.Fatalf("only in A %+v, only in B %+v", c.A.Facts, c.B.Facts)
	}
	for name, write := range map[string]func(*Comparison, *bytes.Buffer) error{
		"terminal": func(c *Comparison, b *bytes.Buffer) error { return c.Text(b) },
		"markdown": func(c *Comparison, b *bytes.Buffer) error { return c.Markdown(b) },
		"json":     func(c *Comparison, b *bytes.Buffer) error { return c.JSON(b) },
	} {
		var out, again bytes.Buffer
		if err := write(c, &out); err != nil {
			t.Fatal(err)
		}
		if err := write(compared(t, a, b), &again); err != nil {
			t.Fatal(err)
		}
		if out.String() != again.String() || strings.ContainsRune(out.String(), '\x1b') || !strings.Contains(out.String(), "old") {
			t.Errorf("%s is\n%s", name, out.String())
		}
	}
}

func TestAFindingOfOneRunIsToldForIt(t *testing.T) {
	quiet := buildFolder(t, "ccA1b2C3", 411)
	c := compared(t, quiet, attackFolder(t))
	if len(c.A.Findings) != 0 || len(c.B.Findings) == 0 || c.B.Verdict == c.A.Verdict {
		t.Errorf("findings of A are %v, of B %v", c.A.Findings, c.B.Findings)
	}
	if f := c.B.Facts[0]; f.Standing != string(Undeclared) {
		t.Errorf("the gravest is not first: %+v", f)
	}
}

func TestAComparisonIsBounded(t *testing.T) {
	s := newScene(t, "make")
	mk := s.run(shell, "/usr/bin/make", "make")
	for i := range maxDiffering + 50 {
		s.put(&event.Event{Kind: event.Exec, Actor: event.Actor{PID: uint32(2000 + i), Start: s.now, Image: 1}, Exe: s.text(fmt.Sprintf("/usr/bin/tool-%c%c%c", 'a'+i/676, 'a'+i/26%26, 'a'+i%26))})
	}
	s.exit(mk, 0)
	s.end(0)
	c := compared(t, s.dir, buildFolder(t, "ccA1b2C3", 411))
	if len(c.A.Facts) != maxDiffering || c.A.LeftOut == 0 {
		t.Errorf("%d are listed, %d are not", len(c.A.Facts), c.A.LeftOut)
	}
}
