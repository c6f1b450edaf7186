package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

func terminalText(t *testing.T, d *Data, opt TerminalOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := Terminal(&b, d, opt); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSummaryOfAnInstallIsAsAUserShouldSeeIt(t *testing.T) {
	golden(t, "install.txt", []byte(terminalText(t, install(t), TerminalOptions{Dir: ".posture"})))
}

func TestJobSummaryOfAnInstall(t *testing.T) {
	var b bytes.Buffer
	if err := Markdown(&b, install(t)); err != nil {
		t.Fatal(err)
	}
	golden(t, "install.md", b.Bytes())
}

func TestSummaryNamesAResolverThatHidesTheQuestion(t *testing.T) {
	s := newScene(t, "curl")
	c := s.run(shell, "/usr/bin/curl", "curl")
	s.send(c, "", "1.1.1.1:443", 10, 10)
	s.send(c, "", "192.0.2.1:853", 10, 10)
	s.send(c, "", "192.0.2.1:443", 10, 10)
	s.exit(c, 0)
	got := terminalText(t, s.end(0), TerminalOptions{})
	if strings.Count(got, "DNS over HTTPS") != 1 || strings.Count(got, "DNS over TLS") != 1 {
		t.Errorf("summary is\n%s", got)
	}
}

func TestSummaryOfWhatStaysOnTheMachine(t *testing.T) {
	s := newScene(t, "curl")
	c := s.run(shell, "/usr/bin/env", "env", "curl")
	c.Image = 2
	s.put(&event.Event{Kind: event.Exec, Actor: c, Exe: s.text("/usr/bin/curl"), Argv: []redact.Text{s.text("curl")}})
	s.send(c, "", "127.0.0.1:8080", 10, 10)
	s.exit(c, 0)
	got := terminalText(t, s.end(0), TerminalOptions{})
	if !strings.Contains(got, "went to       1 destination on this machine, nowhere else\n") {
		t.Errorf("summary is\n%s", got)
	}
	// env did nothing but execute curl.
	if strings.Contains(got, "  env curl") || !strings.Contains(got, "\n  curl  ") {
		t.Errorf("summary is\n%s", got)
	}
}
