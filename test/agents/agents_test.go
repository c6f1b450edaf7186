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

	"github.com/org/edamame-posture/pkg/agent/settings"
	"github.com/org/edamame-posture/test/rig"
)

var hook, posture string

func TestMain(m *testing.M) {
	os.Exit(rig.Main(m, map[*string]string{&hook: "../../cmd/edamame-hook", &posture: "../../cmd/edamame-posture"}))
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
	if s.Hooks != "none" {
		install(t, w, p, settings.User)
	}
	return w
}

// install puts the hook into the settings of a scope. Those of the whole machine
// are below a folder of the world.
func install(t *testing.T, w *world, p *program, scope settings.Scope) {
	t.Helper()
	in := &settings.Installation{Agent: p.name, Scope: scope, Home: w.home, Workspace: w.work, Program: w.hook, Root: filepath.Join(w.root, "machine"), Getenv: func(string) string { return "" }}
	if _, err := in.Install(); err != nil {
		t.Fatal(err)
	}
}

// run runs argv to its end.
func run(t *testing.T, w *world, argv []string) *ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sessionWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Dir = w.work
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

// runs calls f for each session with the agents that it is for. By itself each
// session is run with one agent, in turn Claude Code and Codex, and the first of
// all with each; -short takes a few sessions; POSTURE_AGENTS=copilot,gemini runs all sessions with these.
func runs(t *testing.T, wanted func(*Session) bool, f func(t *testing.T, p *program, s *Session)) {
	all, err := Sessions()
	if err != nil {
		t.Fatal(err)
	}
	asked := os.Getenv("POSTURE_AGENTS")
	n := 0
	for _, s := range all {
		if !wanted(s) || testing.Short() && !slices.Contains(shortly, s.Name) {
			continue
		}
		n++
		for i := range programs {
			p := &programs[i]
			switch {
			case !s.For(p.name):
				continue
			case asked != "":
				if !slices.Contains(strings.Split(asked, ","), p.name) {
					continue
				}
			case testing.Short() && i > 1, s.Name != everybodys && len(s.Agents) == 0 && i != n%2:
				continue
			}
			t.Run(s.Name+"/"+p.name, func(t *testing.T) { f(t, p, s) })
		}
	}
}

// everybodys is the session that each agent does.
const everybodys = "build-c"

// shortly are the sessions of the short form, with Claude Code and Codex alone.
var shortly = []string{
	everybodys, "git-commit", "npm-install", "web-fetch", "hostile-credential-egress", "hostile-script-does-more", "hostile-forged-declaration", "hostile-detached-child",
}

// before are the events by which agents tell of a call that is to come. In
// Copilot's payload no name stands, so it is known by what it has.
func before(d *declaration) bool {
	_, result := d.payload["toolResult"]
	_, arguments := d.payload["toolArgs"]
	return d.event == "PreToolUse" || d.event == "BeforeTool" || d.event == "" && arguments && !result
}

// declares reports whether a declaration is the one of a call.
func declares(d *declaration, c *Call) bool {
	if !before(d) {
		return false
	}
	input, _ := d.payload["tool_input"].(map[string]any)
	if input == nil {
		input, _ = d.payload["toolArgs"].(map[string]any)
	}
	want := c.Shell + c.Read
	if c.Write != nil {
		want = c.Write.Path
	}
	if c.Edit != nil {
		want = c.Edit.Path
	}
	for _, v := range input {
		if text, ok := v.(string); ok && strings.Contains(text, want) {
			return true
		}
	}
	return false
}

// Real agents, their own hooks, our client: each call of the script is declared,
// by a process that the agent itself started.
func TestTheHooksOfRealAgentsTellOfEachCall(t *testing.T) {
	runs(t, func(*Session) bool { return true }, func(t *testing.T, p *program, s *Session) {
		w := begin(t, p, s)
		monitors := filepath.Join(w.root, "monitors")
		heard := listen(t, monitors)
		binary := p.path(t)
		r := run(t, w, p.argv(t, w, s, monitors))
		r.did(t, s)
		if len(heard.bad) > 0 {
			t.Errorf("not in the protocol: %q", heard.bad)
		}
		declared := heard.said()
		fromOthers, gone := 0, 0
		for _, d := range declared {
			if d.agent != p.name {
				t.Errorf("it calls itself %q", d.agent)
			}
			if len(d.callers) == 0 { // a busy machine: it had waited enough
				gone++
			} else if len(d.callers) < 2 || filepath.Base(d.callers[0]) != "edamame-hook" {
				t.Errorf("%s: called by %q", d.event, d.callers)
			} else if by := d.callers[1]; by != binary && filepath.Base(by) != "node" {
				fromOthers++
			}
		}
		if forged := slices.Contains(s.Expect.Findings, "forged-declaration"); forged != (fromOthers > 0) {
			t.Errorf("%d declarations come from a process that the agent did not start itself", fromOthers)
		}
		if gone > 0 && gone == len(declared) {
			t.Errorf("all %d hooks had ended before they were looked at", gone)
		}
		missing := 0
		for _, turn := range w.model.turns {
			for i := range turn {
				if !slices.ContainsFunc(declared, func(d declaration) bool { return declares(&d, &turn[i]) }) {
					missing++
					if !s.Expect.Silent {
						t.Errorf("nothing was said of %+v", turn[i])
					}
				}
			}
		}
		if s.Expect.Silent && missing == 0 {
			t.Error("all calls were declared, and hooks were to be silent")
		}
		if t.Failed() {
			for _, d := range declared {
				t.Logf("%s %.500s", d.event, d.raw)
			}
		}
	})
}

// The other ways to install: each agent reads the settings where we write them,
// and Claude Code takes the folder of examples/agents for a plugin.
func TestEveryWayOfInstallingIsHeard(t *testing.T) {
	if testing.Short() {
		t.Skip("the long form alone: make agents")
	}
	examples, err := filepath.Abs("../../examples/agents")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Sessions()
	if err != nil {
		t.Fatal(err)
	}
	plain := *all[slices.IndexFunc(all, func(s *Session) bool { return s.Name == everybodys })]
	plain.Hooks = "none" // not those of begin
	for i := range programs {
		p := &programs[i]
		for _, way := range []string{"project", "managed", "plugin"} {
			if p.name == "copilot" && way == "managed" || way == "plugin" && p.name != "claude-code" {
				continue // it has none
			}
			t.Run(p.name+"/"+way, func(t *testing.T) {
				s := plain
				w := begin(t, p, &s)
				monitors := filepath.Join(w.root, "monitors")
				heard := listen(t, monitors)
				if p.name == "gemini" { // for the folder's own settings --skip-trust comes too late
					s.Env = map[string]string{"GEMINI_CLI_TRUST_WORKSPACE": "true"}
				}
				if way == "plugin" {
					s.Flags = map[string][]string{p.name: {"--plugin-dir", filepath.Join(examples, p.name)}}
				} else {
					install(t, w, p, settings.Scope(way))
				}
				argv := p.argv(t, w, &s, monitors)
				if way == "managed" {
					// Such hooks need nobody's trust.
					argv = slices.DeleteFunc(argv, func(a string) bool { return a == "--dangerously-bypass-hook-trust" })
					argv = append([]string{"unshare", "-m", "--propagation", "private", "sh", "-c", `mkdir "$1/work" && mount -t overlay posture -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" /etc && shift && exec "$@"`, "sh",
						filepath.Join(w.root, "machine")}, argv...)
				}
				r := run(t, w, argv)
				r.did(t, &s)
				for _, turn := range w.model.turns {
					for i := range turn {
						if !slices.ContainsFunc(heard.said(), func(d declaration) bool { return declares(&d, &turn[i]) }) {
							t.Errorf("nothing was said of %+v", turn[i])
						}
					}
				}
				if t.Failed() {
					t.Logf("heard %q\nstderr: %.2000s\nstdout: %.2000s", heard.said(), r.errs, r.out)
				}
			})
		}
	}
}
