package agents

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/agent/client"
	"github.com/org/edamame-posture/pkg/agent/settings"
	"github.com/org/edamame-posture/test/rig"
)

var hook string

func TestMain(m *testing.M) {
	os.Exit(rig.Main(m, map[*string]string{&hook: "../../cmd/edamame-hook"}))
}

// sessionWithin is how long an agent may take on a busy machine.
const sessionWithin = 5 * time.Minute

// ran is a session that was run.
type ran struct {
	*world
	out, errs string
	code      int
	took      time.Duration
}

// begin makes the world of a session with the agent set up in it.
func begin(t *testing.T, p *program, s *Session) *world {
	t.Helper()
	for _, name := range s.Needs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIP: %s is not installed", name)
		}
	}
	w := newWorld(t, s, hook)
	if p.install != nil {
		w.put(w.home, p.install(w))
	}
	in := &settings.Installation{Agent: p.name, Scope: settings.User, Home: w.home, Workspace: w.work, Program: w.hook, Getenv: func(string) string { return "" }}
	if _, err := in.Install(); err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs argv to its end.
func run(t *testing.T, w *world, argv []string) *ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sessionWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Dir = w.root
	cmd.WaitDelay = 5 * time.Second
	begun := time.Now()
	err := cmd.Run()
	r := &ran{world: w, out: out.String(), errs: errs.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(begun)}
	if ctx.Err() != nil {
		t.Fatalf("after %v the session has not ended: %v\n%s\n%s", r.took, err, r.out, r.errs)
	}
	return r
}

// did checks that what the session's script wanted was done.
func (r *ran) did(t *testing.T, s *Session) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s\nstdout: %.3000s\nstderr: %.3000s\nreceived: %q", fmt.Sprintf(format, args...), r.out, r.errs, r.received)
	}
	if r.code != 0 || !strings.Contains(r.out, lastWord) {
		fail("the agent ended with %d", r.code)
	}
	for _, name := range s.Expect.Files {
		if _, err := os.Stat(filepath.Join(r.work, name)); err != nil {
			fail("%v", err)
		}
	}
	for _, what := range s.Expect.Received {
		if !r.got(what) {
			fail("nobody asked for %q", what)
		}
	}
	for _, odd := range r.model.odd {
		t.Logf("the model was asked for something unknown: %s", odd)
	}
}

// only are the agents to run, all where it is empty: POSTURE_AGENTS=codex,copilot
func only(name string) bool {
	list := os.Getenv("POSTURE_AGENTS")
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}

// Real agents, their own hooks, our client: each tool call of the script is
// declared, by a process that the agent itself started.
func TestTheHooksOfRealAgentsTellOfEachCall(t *testing.T) {
	all, err := Sessions()
	if err != nil {
		t.Fatal(err)
	}
	for i := range programs {
		p := &programs[i]
		for _, s := range all {
			if s.Name != "build-c" || !only(p.name) {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				heard := listen(t)
				w := begin(t, p, s)
				r := run(t, w, p.argv(t, w, s))
				r.did(t, s)
				declared := heard.said()
				if len(heard.bad) > 0 {
					t.Errorf("not in the protocol: %q", heard.bad)
				}
				for _, d := range declared {
					t.Logf("%s %s %q", d.agent, d.event, d.callers)
					if d.agent != p.name {
						t.Errorf("it calls itself %q", d.agent)
					}
				}
				_ = client.Folder
			})
		}
	}
}
