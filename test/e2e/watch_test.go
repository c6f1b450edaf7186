package e2e

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// until waits until what a program wrote has want in it.
func until(t *testing.T, what string, wrote func() string, want string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if strings.Contains(wrote(), want) {
			return
		}
	}
	t.Fatalf("%s: %q did not come in\n%q", what, want, wrote())
}

// written collects what a program writes, to be looked at while it does.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// slowly is a command that is there before somebody watches, and goes on.
const slowly = `printf 'ready\n'; i=0; while [ $i -lt 60 ]; do /bin/sleep 0.2; /bin/true later-$i; i=$((i+1)); done`

func TestARunIsWatchedOnATerminal(t *testing.T) {
	cmd, _, _ := begin(t, options{}, "sh", "-c", slowly)
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	watch := exec.Command(binary, "watch")
	term, err := pty.StartWithSize(watch, &pty.Winsize{Rows: 24, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	var screen written
	go func() { _, _ = io.Copy(&screen, term) }()
	until(t, "the screen", screen.text, "edamame-posture  ")
	until(t, "what was there before", screen.text, "later-0")
	until(t, "what comes", screen.text, "later-9")
	// In this order: once the filter is being typed, a p is a letter of it.
	for _, press := range []struct{ key, shows string }{{"p", "paused, "}, {"/", "filter: "}} {
		if _, err := term.WriteString(press.key); err != nil {
			t.Fatal(err)
		}
		until(t, "the key "+press.key, screen.text, press.shows)
	}
	if _, err := term.WriteString("\rq"); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("leaving: %v", err)
	}
	until(t, "the other screen", screen.text, "\x1b[?1049l")
}

func TestWithoutATerminalWatchingPrintsLinesUntilTheEnd(t *testing.T) {
	cmd, _, _ := begin(t, options{}, "sh", "-c", "printf 'ready\\n'; /bin/sleep 3; /bin/true last-one")
	watch := exec.Command(binary, "watch")
	var out written
	watch.Stdout, watch.Stderr = &out, &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out.text())
	}
	for _, want := range []string{"last-one", "the recording has ended"} {
		if !strings.Contains(out.text(), want) {
			t.Errorf("there is no %q in\n%s", want, out.text())
		}
	}
}
