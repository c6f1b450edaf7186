package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/agent"
	"github.com/org/edamame-posture/pkg/event"
)

func TestTheFirstLineSaysWhatComes(t *testing.T) {
	for _, c := range []struct {
		sent, name, payload string
		huge                bool
	}{
		{"edamame-hook/1 codex 2\n{}", "codex", "{}", false},
		{"edamame-hook/1 gemini 0\n", "gemini", "", false},
		{"edamame-hook/1 cursor 0 huge\n", "cursor", "", true},
		{"edamame-hook/1 claude-code 2\n{}more", "claude-code", "{}", false},
	} {
		name, payload, err := readDeclared(strings.NewReader(c.sent))
		if err != nil || name != c.name || string(payload) != c.payload || (payload == nil) != c.huge {
			t.Errorf("%q: %q %q %v", c.sent, name, payload, err)
		}
	}
	for _, sent := range []string{
		"", "\n", "edamame-hook/1 codex 2", "edamame-hook/2 codex 2\n{}", "edamame-hook/1 other 2\n{}", "edamame-hook/1 codex -1\n",
		"edamame-hook/1 codex 1048577\n", "edamame-hook/1 codex 3\n{}", "edamame-hook/1 codex 2 huge\n{}", "edamame-hook/1 codex 0 large\n",
		"edamame-hook/1 codex\n", "edamame-hook/1 codex 2 huge more\n", "edamame-hook/1 " + strings.Repeat("x", 200) + " 2\n{}", "edamame-hook/1  codex 2\n{}",
	} {
		if _, _, err := readDeclared(strings.NewReader(sent)); err == nil {
			t.Errorf("%.60q is taken", sent)
		}
	}
}

func FuzzFirstLine(f *testing.F) {
	f.Add([]byte("edamame-hook/1 codex 2\n{}"))
	f.Add([]byte("edamame-hook/1 cursor 0 huge\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		name, payload, err := readDeclared(bytes.NewReader(sent))
		if err == nil && (name == "" || len(payload) > agent.MaxPayload || len(payload) > len(sent)) {
			t.Errorf("%q %d", name, len(payload))
		}
	})
}

// say declares from this process, and returns what it is answered.
func say(m *Monitor, sent string) (string, error) {
	c, err := net.Dial("unix", m.declared.path)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, sent); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func framed(payload string) string {
	return fmt.Sprintf("edamame-hook/1 claude-code %d\n%s", len(payload), payload)
}

func TestWhoIsNotRecordedDeclaresNothing(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	r := opened(t, m, "test")
	// This process is the recording's client, and no part of it.
	got, err := say(m, framed(`{"hook_event_name":"SessionStart","session_id":"12345678"}`))
	if err != nil || !strings.HasPrefix(got, "no ") {
		t.Errorf("answered %q, %v", got, err)
	}
	if got, err = say(m, "GET / HTTP/1.1\r\n\r\n"); err != nil || !strings.HasPrefix(got, "no ") {
		t.Errorf("answered %q, %v", got, err)
	}
	m.finish(r, Closing{}, "")
	for _, ev := range events(t, r) {
		if ev.Kind == event.Agent {
			t.Errorf("the log has %+v", ev)
		}
	}
}

// A flood of declarations takes nothing from the record, and what found no room
// is counted.
func TestAFloodOfDeclarationsIsBoundedAndCounted(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	r := opened(t, m, "test")
	held := make([]net.Conn, 0, 4*maxDeclaring)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 4 * maxDeclaring {
		all.Go(func() {
			if c, err := net.Dial("unix", m.declared.path); err == nil {
				mu.Lock()
				held = append(held, c)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	perform(t, "beside-the-flood")
	for _, c := range held {
		c.Close()
	}
	m.finish(r, Closing{}, "")
	var ran, counted bool
	for _, ev := range events(t, r) {
		for _, a := range ev.Argv {
			ran = ran || ev.Kind == event.Exec && a.Contains("beside-the-flood")
		}
		counted = counted || ev.Kind == event.Note && ev.Detail.HasPrefix("declarations that found no room") && ev.Count >= 2*maxDeclaring
	}
	if !ran || !counted {
		t.Errorf("the command was seen: %v; the flood was counted: %v", ran, counted)
	}
}

func TestTheSocketGoesWithItsMonitor(t *testing.T) {
	m := started(t, "auto")
	path := m.declared.path
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("%v %v", st, err)
	}
	m.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	// One that a killed monitor left.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := socketFolder(AgentsFolder); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was not swept: %v", err)
	}
}

// What a hook waits for the monitor: it is not recorded, which is found out last.
func BenchmarkDeclare(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("watching from the kernel needs root")
	}
	m, err := Start(b.Context(), Options{Sensor: "auto", Tool: "test"})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	payload := framed(`{"hook_event_name":"UserPromptSubmit","session_id":"12345678","prompt":"x"}`)
	for b.Loop() {
		if _, err := say(m, payload); err != nil {
			b.Fatal(err)
		}
	}
}
