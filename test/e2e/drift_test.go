package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/judge"
)

// private runs with sudo's rules and the timed jobs of its own, so that no
// other recording on this machine sees what is done to them.
var private = []string{"unshare", "--mount", "--propagation", "private", "sh", "-c",
	"mount -t tmpfs none /etc/sudoers.d && mount -t tmpfs none /etc/cron.d && exec \"$@\"", "sh"}

func (w *watched) drifts() (out []event.Event) {
	for _, e := range w.events {
		if e.Kind == event.Drift {
			out = append(out, e)
		}
	}
	return out
}

func TestAJobThatAddsALineOfSudoersIsTold(t *testing.T) {
	w := run(t, options{argv0: private, env: []string{"HOME=" + t.TempDir()}}, "sh", "-c", "echo 'nobody ALL=(nobody) /bin/false' > /etc/sudoers.d/zz-canary")
	d := w.drifts()
	w.must(len(d) == 1 && d[0].Class.Is("sudoers") && d[0].Path.Is("/etc/sudoers.d/zz-canary") && d[0].Detail.Is("added") && !d[0].SHA256.IsZero() && d[0].Via == event.ViaMonitor, "told %+v", d)
	f := w.finding("posture-drift")
	w.must(f != nil && f.Severity == judge.High && f.Object == "/etc/sudoers.d/zz-canary, added" && strings.HasSuffix(f.Actor.Exe, "sh"), "finding %+v", f)
	n := 0
	for _, e := range w.events {
		if e.Kind == event.Posture && e.Name.IsZero() {
			n++
			w.must(!e.SHA256.IsZero() && e.Count > 5, "a look at the machine: %+v", e)
		}
	}
	w.must(n == 2, "%d looks at the machine", n)
}

func TestAJobThatChangesNothingHasNoDrift(t *testing.T) {
	w := run(t, options{argv0: private, env: []string{"HOME=" + t.TempDir()}}, "sh", "-c", "echo x > file; git init -q repo; git -C repo config core.hooksPath /tmp/x")
	w.must(len(w.drifts()) == 0 && w.finding("posture-drift") == nil, "told %+v", w.drifts())
}

// What a neighbour does while the job runs is told, and not held against it.
func TestWhatANeighbourChangesIsNoFactOfTheJob(t *testing.T) {
	home, in := t.TempDir(), t.TempDir()
	policy := filepath.Join(home, "posture.yml")
	if err := os.WriteFile(policy, []byte("version: 1\negress: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(in, "go")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		// It opens when the job reads: then the recording has begun.
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err == nil {
			err = errors.Join(os.Mkdir(filepath.Join(home, ".ssh"), 0o700),
				os.WriteFile(filepath.Join(home, ".ssh/authorized_keys"), []byte("ssh-ed25519 AAAA canary\n"), 0o600), f.Close())
		}
		done <- err
	}()
	w := run(t, options{in: in, argv0: private, env: []string{"HOME=" + home}, flags: []string{"--intent", policy}}, "cat", "go")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f := w.finding("posture-drift")
	w.must(f != nil && f.Severity == judge.Medium && strings.HasSuffix(f.Title, "nobody of the job was seen to do it"), "finding %+v", f)
	for _, f := range w.verdict.Undeclared {
		w.must(f.Verb != fact.Drift.String(), "undeclared %+v", f)
	}
}

func TestAPolicySaysWhoMayChangeTheMachine(t *testing.T) {
	job := `mkdir -p ~/.ssh && echo 'ssh-ed25519 AAAA canary' >> ~/.ssh/authorized_keys`
	home := t.TempDir()
	policy := func(lines string) string {
		p := filepath.Join(t.TempDir(), "posture.yml")
		if err := os.WriteFile(p, []byte("version: 1\n"+lines), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	o := options{argv0: private, env: []string{"HOME=" + home}, flags: []string{"--intent", policy("egress: []\n")}}
	w := run(t, o, "sh", "-c", job)
	w.must(w.finding("posture-drift") != nil, "no finding")
	undeclared := false
	for _, f := range w.verdict.Undeclared {
		undeclared = undeclared || f.Verb == fact.Drift.String() && f.Severity == judge.High && strings.HasSuffix(f.Object, "/.ssh/authorized_keys")
	}
	w.must(undeclared && w.verdict.Verdict == judge.Fail, "verdict %s, undeclared %+v", w.verdict.Verdict, w.verdict.Undeclared)

	if err := os.RemoveAll(filepath.Join(home, ".ssh")); err != nil {
		t.Fatal(err)
	}
	o.in, o.flags = "", []string{"--intent", policy("write: [{to: \"" + home + "/.ssh/**\", by: [sh]}]\n")}
	w = run(t, o, "sh", "-c", job)
	w.must(len(w.drifts()) == 1 && w.finding("posture-drift") == nil, "a change that is granted: %+v", w.finding("posture-drift"))
}
