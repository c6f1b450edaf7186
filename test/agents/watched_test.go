package agents

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/test/rig"
)

// monitorListens reports whether the monitor's side of the hooks is there.
func monitorListens() bool {
	_, err := os.Stat("../../pkg/agent/agent.go")
	return err == nil
}

// policy is what the sessions of the rig may do besides what their calls say:
// each agent's own, its model, which is here on loopback, and the rig's namespaces.
func policy(w *world) string {
	var b strings.Builder
	b.WriteString("version: 1\nuse: [agents]\nroot: [ip, mount]\negress: [{to: \"" + strings.TrimPrefix(w.registry, "http://") + "\", by: [npm]}]\ncredentials: [npm, {class: git, by: [git, npm, node]}]\nagents:\n")
	for i := range programs {
		b.WriteString("  " + programs[i].name + ": {egress: [\"" + strings.TrimPrefix(w.api, "http://") + "\"]}\n")
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

// The same sessions under the monitor: each command of the script was run by a
// process that came from the agent, and what is found is what there is to find.
func TestRealAgentsUnderTheMonitor(t *testing.T) {
	runs(t, func(*Session) bool { return true }, func(t *testing.T, p *program, s *Session) {
		w := begin(t, p, s)
		out := filepath.Join(w.root, "posture")
		argv := []string{posture, "run", "--out", out}
		if monitorListens() {
			file := filepath.Join(w.root, "policy.yml")
			if err := os.WriteFile(file, []byte(policy(w)), 0o644); err != nil {
				t.Fatal(err)
			}
			argv = append(argv, "--intent", file)
		}
		r := run(t, w, append(append(argv, "--"), p.argv(t, w, s, "")...))
		if r.code == 3 { // the agent gave 0, and the verdict is fail
			r.code = 0
		}
		r.did(t, s)
		if err := rig.Verify(filepath.Join(out, "evidence")); err != nil {
			t.Fatalf("%v\n%s", err, r.errs)
		}
		events, err := rig.Events(filepath.Join(out, "evidence"))
		if err != nil {
			t.Fatal(err)
		}
		binary := p.path(t)
		parents, exes := map[event.Actor]event.Actor{}, map[event.Actor]string{}
		for i := range events {
			switch e := &events[i]; e.Kind {
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
		for _, turn := range w.model.turns {
			for i := range turn {
				if turn[i].Shell == "" {
					continue
				}
				at := slices.IndexFunc(events, func(e event.Event) bool { return callOf(&e, &turn[i]) })
				if at < 0 {
					t.Errorf("no shell was started for %q", turn[i].Shell)
				} else if !fromAgent(events[at].Actor) {
					t.Errorf("the shell of %q does not come from the agent", turn[i].Shell)
				}
			}
		}
		data, err := os.ReadFile(filepath.Join(out, "verdict.json"))
		if err != nil {
			t.Fatal(err)
		}
		var v judge.Verdict
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, f := range v.Findings {
			found = append(found, f.Rule)
		}
		if !monitorListens() {
			t.Logf("what the hooks say is not judged: the monitor does not listen to them. Found besides: %q", found)
			return
		}
		for _, f := range v.Undeclared {
			if f.Verb == "chain" {
				found = append(found, "chain.credential-egress")
			} else {
				found = append(found, f.Verb+" "+f.Object)
			}
		}
		for _, name := range s.Expect.Findings {
			if !slices.Contains(found, name) {
				t.Errorf("%s was not found, but %q", name, found)
			}
		}
		if s.Honest() && (v.Score > 9 || len(v.Findings) > 0) {
			t.Errorf("an honest session has score %d and %q", v.Score, found)
		}
		if t.Failed() {
			t.Logf("%.20000s", data)
		}
	})
}
