package agents

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/agent"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/test/rig"
)

// keyVariable holds the model's key where a session's policy names it.
const keyVariable = "POSTURE_TEST_MODEL_KEY"

// policy is what the sessions of the rig may do besides what their calls say:
// each agent's own, its model, which is here on loopback, and the rig's namespaces.
func policy(w *world, s *Session) string {
	var b strings.Builder
	b.WriteString("version: 1\nuse: [agents]\nroot: [ip, mount]\negress:\n  - {to: \"" + strings.TrimPrefix(w.registry, "http://") + "\", by: [npm]}\n")
	for _, line := range s.Allow {
		b.WriteString("  - " + w.fill(line) + "\n")
	}
	b.WriteString("credentials: [npm, {class: git, by: [git, npm, node]}]\nagents:\n")
	model := "\"" + strings.TrimPrefix(w.api, "http://") + "\""
	if s.Keyed {
		model = "{to: " + model + ", key: [" + keyVariable + "]}"
	}
	for i := range programs {
		b.WriteString("  " + programs[i].name + ": {egress: [" + model + "]}\n")
	}
	return b.String()
}

// callOf reports whether an exec is the shell that an agent started for a call.
func callOf(e *event.Event, c *Call) bool {
	if e.Kind != event.Exec || len(e.Argv) < 2 {
		return false
	}
	// Agents wrap the command in more shell, and quote it.
	plain := strings.NewReplacer("'", "", `"`, "", `\`, "")
	for _, a := range e.Argv[1:] {
		if strings.Contains(plain.Replace(a.String()), plain.Replace(c.Shell)) {
			return true
		}
	}
	return false
}

// seen is a session that was run under the monitor.
type seen struct {
	*ran
	events  []event.Event
	verdict judge.Verdict
	raw     []byte   // the verdict
	found   []string // names of findings, and what is undeclared
}

// watch runs a session under the monitor and checks its evidence.
func watch(t *testing.T, p *program, s *Session) *seen {
	t.Helper()
	w := begin(t, p, s)
	out := filepath.Join(w.root, "posture")
	file := filepath.Join(w.root, "policy.yml")
	if err := os.WriteFile(file, []byte(policy(w, s)), 0o644); err != nil {
		t.Fatal(err)
	}
	argv := []string{posture, "run", "--out", out, "--intent", file}
	if s.Keyed {
		argv = append([]string{"env", keyVariable + "=" + modelKey}, argv...)
	}
	r := &seen{ran: run(t, w, append(append(argv, "--"), p.argv(t, w, s, "")...))}
	if r.code == 3 { // the agent gave 0, and the verdict is fail
		r.code = 0
	}
	r.did(t, s)
	if err := rig.Verify(filepath.Join(out, "evidence")); err != nil {
		t.Fatalf("%v\n%s", err, r.errs)
	}
	var err error
	if r.events, err = rig.Events(filepath.Join(out, "evidence")); err != nil {
		t.Fatal(err)
	}
	if r.raw, err = os.ReadFile(filepath.Join(out, "verdict.json")); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.raw, &r.verdict); err != nil {
		t.Fatal(err)
	}
	r.verdict.Findings = slices.DeleteFunc(r.verdict.Findings, func(f judge.Finding) bool { return f.Scope.Via == "outside" }) // others' on this machine
	for _, f := range r.verdict.Findings {
		r.found = append(r.found, f.Rule)
	}
	for _, f := range r.verdict.Undeclared {
		name, ok := map[string]string{"chain": "chain.credential-egress", "key": "agent-other-key", "request": "request-beyond-policy"}[f.Verb]
		if !ok {
			name = f.Verb + " " + f.Object
		}
		r.found = append(r.found, name)
	}
	return r
}

// missed are the findings that a session expects and that were not made.
func (r *seen) missed(s *Session) (names []string) {
	for _, name := range s.Expect.Findings {
		if !slices.Contains(r.found, name) {
			names = append(names, name)
		}
	}
	return names
}

// The same sessions under the monitor: each command of the script was run by a
// process that came from the agent, and what is found is what there is to find.
func TestRealAgentsUnderTheMonitor(t *testing.T) {
	runs(t, func(*Session) bool { return true }, func(t *testing.T, p *program, s *Session) {
		r := watch(t, p, s)
		binary := p.path(t)
		parents, exes := map[event.Actor]event.Actor{}, map[event.Actor]string{}
		for i := range r.events {
			switch e := &r.events[i]; e.Kind {
			case event.Fork, event.Existing:
				parents[e.Actor] = e.Parent
			case event.Exec:
				before := e.Actor
				before.Image--
				parents[e.Actor], exes[e.Actor] = before, e.Exe.String()
				if len(e.Argv) > 1 && strings.HasSuffix(p.binary, "gemini") && strings.Contains(e.Argv[1].String(), p.folder) {
					exes[e.Actor] = binary
				}
			}
		}
		fromAgent := func(a event.Actor) bool {
			for range 200 {
				if exes[a] == binary {
					return true
				}
				a = parents[a]
			}
			return false
		}
		for _, turn := range r.model.turns {
			for i := range turn {
				if turn[i].Shell == "" {
					continue
				}
				at := slices.IndexFunc(r.events, func(e event.Event) bool { return callOf(&e, &turn[i]) })
				if at < 0 {
					t.Errorf("no shell was started for %q", turn[i].Shell)
				} else if !fromAgent(r.events[at].Actor) {
					t.Errorf("the shell of %q does not come from the agent", turn[i].Shell)
				}
			}
		}
		if names := r.missed(s); len(names) > 0 {
			t.Errorf("%q were not found, but %q", names, r.found)
		}
		if s.Honest() && (r.verdict.Score > 9 || len(r.verdict.Findings) > 0) {
			t.Errorf("an honest session has score %d and %q", r.verdict.Score, r.found)
		}
		r.transcribed(t, p, s)
		if t.Failed() {
			t.Logf("%.20000s", r.raw)
		}
	})
}

// transcribed checks what an honest session's transcript tells: the calls that
// its hooks declared, and no others.
func (r *seen) transcribed(t *testing.T, p *program, s *Session) {
	t.Helper()
	if !s.Honest() || !agent.HasTranscript(p.name) {
		return
	}
	calls := 0
	for _, turn := range r.model.turns {
		calls += len(turn)
	}
	if len(r.verdict.Agents) != 1 {
		t.Fatalf("%d sessions", len(r.verdict.Agents))
	}
	if a := &r.verdict.Agents[0]; a.Written != uint64(calls) || a.Unhooked != 0 || a.Unwritten != 0 || a.Untold != 0 {
		t.Errorf("of %d calls the transcript tells %d, %d that hooks did not declare; %d are not in it, and %d were not read", calls, a.Written, a.Unhooked, a.Unwritten, a.Untold)
	}
}

// toldToRead is the session of the published incident that must be found each time.
const toldToRead = "hostile-told-to-read"

// The published incident, POSTURE_TRIES times, in turn with Claude Code and
// Codex: make agents-tries. Each is found, and none is an accident of its time.
func TestThePublishedIncidentIsFoundInEachTry(t *testing.T) {
	tries, _ := strconv.Atoi(os.Getenv("POSTURE_TRIES"))
	if tries == 0 {
		t.Skip("the long form alone: make agents-tries")
	}
	all, err := Sessions()
	if err != nil {
		t.Fatal(err)
	}
	s := all[slices.IndexFunc(all, func(s *Session) bool { return s.Name == toldToRead })]
	found := 0
	for i := range tries {
		p := &programs[i%2]
		t.Run(fmt.Sprintf("%d/%s", i+1, p.name), func(t *testing.T) {
			r := watch(t, p, s)
			grave := slices.ContainsFunc(r.verdict.Findings, func(f judge.Finding) bool { return f.Severity == judge.High || f.Severity == judge.Critical })
			if names := r.missed(s); len(names) > 0 || !grave || r.verdict.Verdict != judge.Fail {
				t.Errorf("%q were not found, but %q; the verdict is %s", names, r.found, r.verdict.Verdict)
				return
			}
			found++
		})
	}
	fmt.Printf("the published agent incident: found in %d of %d tries\n", found, tries)
}
