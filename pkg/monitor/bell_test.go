package monitor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
)

// This program once more is what the steps of the test start: it opens a
// recording or rings, as its environment says.
func init() {
	socket := os.Getenv("RING_AT")
	if socket == "" {
		return
	}
	c, err := Dial(socket)
	if err == nil {
		if nonce, ok := os.LookupEnv("RING_NONCE"); ok {
			_, err = c.Ring(nonce, nil)
		} else {
			var o Opening
			if err = json.Unmarshal([]byte(os.Getenv("RING_OPEN")), &o); err == nil {
				var opened *Opened
				if opened, err = c.Open(o); err == nil {
					fmt.Println(opened.Ring)
					os.Exit(0)
				}
			}
		}
	}
	fmt.Println("said:", err)
	os.Exit(0)
}

// ringing is a shell that stands for a runner: its steps are scripts that it
// starts as its children, and all of them start this program.
type ringing struct {
	t                    *testing.T
	cmd                  *exec.Cmd
	in                   io.WriteCloser
	lines                *bufio.Scanner
	dir, program, socket string
}

const stepText = "\"$RINGER\"; :\n"

func (w *ringing) script(name, text string) {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	_ = os.Remove(file)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

func newRingingRunner(t *testing.T, socket string, uid int) *ringing {
	t.Helper()
	w := &ringing{t: t, cmd: exec.Command("/bin/dash"), dir: t.TempDir(), socket: socket}
	for _, name := range []string{"pre.sh", "post.sh", "other.sh"} {
		w.script(name, stepText)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	w.program = filepath.Join(w.dir, "program")
	if err := os.WriteFile(w.program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.lines = bufio.NewScanner(out)
	w.cmd.Stderr = os.Stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.in.Close(); _ = w.cmd.Wait() })
	return w
}

// line is a line of shell that starts a step which rings.
func (w *ringing) line(how, script, nonce string) string {
	return fmt.Sprintf("RING_AT=%s RINGER=%s RING_NONCE=%s %s %s/%s", w.socket, w.program, nonce, how, w.dir, script)
}

// do has the worker run a line, and returns what that prints.
func (w *ringing) do(line string) string {
	w.t.Helper()
	if _, err := fmt.Fprintln(w.in, line); err != nil {
		w.t.Fatal(err)
	}
	if !w.lines.Scan() {
		w.t.Fatalf("the shell ended: %v", w.lines.Err())
	}
	return w.lines.Text()
}

func TestOnlyTheLastStepRingsTheBell(t *testing.T) {
	const uid = 65534
	for _, sensor := range []string{"ebpf", "netlink"} {
		t.Run(sensor, func(t *testing.T) {
			needRoot(t)
			spool := spoolIn(t)
			if err := os.Chmod(filepath.Dir(filepath.Dir(spool)), 0o755); err != nil {
				t.Fatal(err)
			}
			r, pipe, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			served := make(chan error, 1)
			go func() {
				served <- Serve(ctx, ServeOptions{Options: Options{Sensor: sensor, Logf: t.Logf}, UID: uid, GID: uid}, pipe)
			}()
			hello, err := readHello(r)
			if err != nil || hello.Error != "" {
				t.Fatalf("hello: %v %s", err, hello.Error)
			}
			w := newRingingRunner(t, hello.Socket, uid)
			opening, err := json.Marshal(Opening{
				Cwd: "/", Home: "/", Parent: uint32(w.cmd.Process.Pid), Detach: true,
				Bell: &Bell{Script: w.dir + "/post.sh", Program: w.program},
			})
			if err != nil {
				t.Fatal(err)
			}
			nonce := w.do(fmt.Sprintf("RING_AT=%s RINGER=%s RING_OPEN='%s' /bin/bash %s/pre.sh", w.socket, w.program, opening, w.dir))
			if len(nonce) != 32 {
				t.Fatalf("open: %s", nonce)
			}
			for _, c := range []struct{ name, line, want string }{
				{"without what it was told", w.line("/bin/bash", "post.sh", "0123"), "does not know"},
				{"another script", w.line("/bin/bash", "other.sh", nonce), "the step's script is not"},
				{"another program that runs it", w.line("/bin/dash", "post.sh", nonce), "runs in another program"},
				{"a step that became it", "/bin/dash -c '" + w.line("exec /bin/bash", "post.sh", nonce) + "'", "started as another program"},
			} {
				if got := w.do(c.line); !strings.Contains(got, c.want) {
					t.Errorf("%s: it says %q, want %q", c.name, got, c.want)
				}
			}
			// From outside, as the same user and as root.
			outside := newRingingRunner(t, w.socket, uid)
			if got := outside.do(strings.ReplaceAll(w.line("/bin/bash", "post.sh", nonce), outside.dir, w.dir)); !strings.Contains(got, "no step of the watched process") {
				t.Errorf("from outside: it says %q", got)
			}
			c, err := Dial(w.socket)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Finish(Closing{}); err == nil || !strings.Contains(err.Error(), "it did not ring") {
				t.Errorf("root that does not ring: %v", err)
			}
			c.HangUp()
			w.script("post.sh", stepText+"# changed\n")
			if got := w.do(w.line("/bin/bash", "post.sh", nonce)); !strings.Contains(got, "another file than it was") {
				t.Errorf("a changed script: it says %q", got)
			}
			w.script("post.sh", stepText) // another file, which holds the same
			if got := w.do(w.line("/bin/bash", "post.sh", nonce)); got != "said: <nil>" {
				t.Fatalf("the last step: it says %q", got)
			}
			select {
			case err := <-served:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the monitor did not end")
			}
			toldRefused(t, spool, 7)
		})
	}
}

// toldRefused looks for the refused rings in the one recording of a spool.
func toldRefused(t *testing.T, spool string, want int) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(spool, "*", evidenceDir))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	e, err := evidence.Open(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	refused := 0
	if err := e.Each(func(_ []byte, ev *event.Event) error {
		if ev.Kind == event.Unix && !ev.Target.IsZero() && strings.HasPrefix(ev.Detail.String(), "asked for the end and was refused: ") {
			refused++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(dirs[0]), verdictFile))
	if err != nil {
		t.Fatal(err)
	}
	var v judge.Verdict
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range v.Findings {
		if f.Rule == "monitor-attack" && f.Object == "a request to end" && f.Severity == judge.Medium {
			found += int(f.Count)
		}
	}
	if refused != want || found != want {
		t.Errorf("%d refused rings are told and %d found, want %d", refused, found, want)
	}
}

// Any error there ended the monitor, and with it all other recordings.
func TestARecordingThatCannotBeMadeIsAnError(t *testing.T) {
	needRoot(t)
	m := started(t, "netlink")
	defer m.Close()
	o := Opening{Command: []string{"x"}, Cwd: "/", Home: "/root", Bell: &Bell{Program: "/proc/self/exe", Script: "/nonexistent"}}
	if r, err := m.Open(o, uint32(os.Getpid())); err == nil || r != nil || !strings.Contains(err.Error(), "the bell") {
		t.Errorf("%v, %v", r, err)
	}
	opened(t, m, "y")
}
