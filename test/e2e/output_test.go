package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
)

// What run --scan-output finds in the command's output, and what it leaves as
// it was.

const canary = "Zk93LmQ2vT8yRw4NcA7s" // no real secret

var scanning = options{flags: []string{"--scan-output"}, env: []string{"DEPLOY_TOKEN=" + canary}}

func (w *watched) disclosed() (out []string) {
	for _, e := range w.events {
		if e.Kind == event.Disclosure {
			out = append(out, fmt.Sprintf("%s %s %d", e.Name, e.Detail, e.Count))
		}
	}
	slices.Sort(out)
	return out
}

func TestASecretInTheOutputIsFound(t *testing.T) {
	// As the malicious tj-actions/changed-files printed what it took from memory.
	w := run(t, scanning, "sh", "-c", `echo begin; echo "{\"T\":{\"value\":\"$DEPLOY_TOKEN\",\"isSecret\":true}}" | base64 -w0 | base64 -w0; exit 4`)
	w.must(w.code == 4, "exit code %d", w.code)
	want := []string{"DEPLOY_TOKEN base64 twice 2", "memory of the runner's worker base64 twice 2"}
	w.must(slices.Equal(w.disclosed(), want), "told %q, want %q", w.disclosed(), want)
	f := w.finding("secret-in-log")
	w.must(f != nil && f.Severity == judge.Critical && w.verdict.Verdict == judge.Fail, "finding %+v, verdict %s", f, w.verdict.Verdict)
	for _, name := range []string{"verdict.json", "report.html", "summary.md"} {
		if b, err := os.ReadFile(filepath.Join(w.dir, name)); err == nil && bytes.Contains(b, []byte(canary)) {
			t.Errorf("%s holds the secret", name)
		}
	}

	w = run(t, scanning, "sh", "-c", `echo "Authorization: $DEPLOY_TOKEN" >&2`)
	f = w.finding("secret-in-log")
	w.must(f != nil && f.Severity == judge.High && w.verdict.Verdict == judge.Review && f.Actor.PID != 0,
		"plain, to stderr: %+v, verdict %s", f, w.verdict.Verdict)

	w = run(t, options{env: scanning.env}, "sh", "-c", `echo "$DEPLOY_TOKEN"`)
	w.must(w.finding("secret-in-log") == nil && w.code == 0, "unasked it is looked for")
}

// The command's output reaches its end whole, in order, and with both streams
// where they were.
func TestScanningLeavesTheOutputAsItWas(t *testing.T) {
	w := run(t, scanning, "sh", "-c", `echo out; echo err >&2; head -c 20000000 /dev/zero | tr '\0' x`)
	w.must(w.stdout == "out\n"+strings.Repeat("x", 20000000) && strings.HasPrefix(w.stderr, "err\n"), "stdout has %d bytes", len(w.stdout))
	w.must(w.code == 0 && len(w.disclosed()) == 0, "exit code %d, told %q", w.code, w.disclosed())

	in := t.TempDir()
	both, err := os.Create(filepath.Join(in, "both"))
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	cmd := exec.Command(binary, "run", "--quiet", "--scan-output", "--", "sh", "-c", `for i in $(seq 1000); do echo $i; echo $i >&2; done`)
	cmd.Dir, cmd.Stdout, cmd.Stderr = in, both, both
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&want, "%d\n%d\n", i+1, i+1)
	}
	got, err := os.ReadFile(both.Name())
	// What run says of itself comes after or before, as without.
	if err != nil || !bytes.Contains(got, []byte(want.String())) {
		t.Errorf("two streams that are one file are out of order: %v %.60q", err, got)
	}
}

// A reader that is slow loses nothing, and what the command left running does
// not hold run up.
func TestOutputAfterTheCommandsEnd(t *testing.T) {
	in := t.TempDir()
	cmd := exec.Command(binary, "run", "--quiet", "--scan-output", "--", "sh", "-c", `sleep 300 & echo $! > left; head -c 3000000 /dev/zero | tr '\0' y; echo "$DEPLOY_TOKEN"`)
	cmd.Dir, cmd.Env = in, append(os.Environ(), scanning.env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sum, n := sha256.New(), 0
	for b := make([]byte, 1<<16); ; {
		k, err := out.Read(b)
		sum.Write(b[:k])
		n += k
		if err == io.EOF {
			break
		}
		if n < 1<<20 {
			time.Sleep(100 * time.Millisecond) // what a slow reader does; nothing is waited for
		}
	}
	_ = cmd.Wait()
	want := sha256.Sum256([]byte(strings.Repeat("y", 3000000) + canary + "\n"))
	if !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Errorf("%d bytes came, want %d", n, 3000000+len(canary)+1)
	}
	if left, err := os.ReadFile(filepath.Join(in, "left")); err != nil {
		t.Error(err)
	} else if pid, _ := strconv.Atoi(strings.TrimSpace(string(left))); pid < 2 || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Error("what the command left running was waited for")
	}
	if w := loaded(t, in); len(w.disclosed()) != 1 {
		t.Errorf("told %q", w.disclosed())
	}
	if !strings.Contains(stderr.String(), "left a process running") {
		t.Errorf("stderr does not say that output may be lost: %s", &stderr)
	}
}

// On a terminal the command has one of its own, of the same size. What it left
// running there, and does not end with it, does not hold run up.
func TestScanningOnATerminal(t *testing.T) {
	in := t.TempDir()
	cmd := exec.Command(binary, "run", "--scan-output", "--", "sh", "-c",
		`(trap "" HUP; exec sleep 300) & echo $! > left; test -t 0 && test -t 1 && test -t 2 && echo terminal; stty size; read x; echo "got $x"; echo "$DEPLOY_TOKEN"; kill -INT $$`)
	cmd.Dir, cmd.Env = in, append(os.Environ(), scanning.env...)
	term, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	var seen bytes.Buffer
	for b := make([]byte, 4096); ; {
		n, err := term.Read(b)
		seen.Write(b[:n])
		if bytes.Contains(seen.Bytes(), []byte("101")) {
			if _, werr := io.WriteString(term, "typed\n"); werr != nil {
				t.Fatal(werr)
			}
			_, _ = io.Copy(&seen, term) // until EIO: it has ended
			break
		}
		if err != nil {
			t.Fatalf("%v: %s", err, &seen)
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if left, err := os.ReadFile(filepath.Join(in, "left")); err != nil {
		t.Error(err)
	} else if pid, _ := strconv.Atoi(strings.TrimSpace(string(left))); pid < 2 || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Error("what the command left running was waited for")
	}
	for _, want := range []string{"terminal\r\n33 101\r\n", "got typed\r\n", "secret-in-log"} {
		if want == "secret-in-log" {
			if w := loaded(t, in); w.finding(want) == nil {
				t.Errorf("no finding: %s", &seen)
			}
		} else if !strings.Contains(seen.String(), want) {
			t.Errorf("%q is not in %q", want, &seen)
		}
	}
}

// With --live a finding is told when it is made: the command here ends only
// when its reader has seen that.
func TestAFindingIsToldWhileTheCommandRuns(t *testing.T) {
	in := t.TempDir()
	fifo := filepath.Join(in, "go-on")
	if out, err := exec.Command("mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it would wait for ever
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "run", "--live", "--scan-output", "--", "sh", "-c", `echo "$DEPLOY_TOKEN" | base64; cat go-on; exit 7`)
	cmd.Dir, cmd.Env = in, append(os.Environ(), scanning.env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := false
	var all bytes.Buffer
	for lines := bufio.NewScanner(io.TeeReader(stderr, &all)); lines.Scan(); {
		if !told && strings.Contains(lines.Text(), "critical: The job printed a secret") && strings.HasSuffix(lines.Text(), "[secret-in-log]") {
			told = true
			if err := os.WriteFile(fifo, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); !told || code != 7 {
		t.Errorf("told: %v, exit code %d, stderr:\n%s", told, code, &all)
	}
}
