package fact_test

import (
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/redact"
)

// The step of a process is told after its exec, and what a shell does itself is
// the step's as much as what its children do.
func TestWhatAStepsOwnShellDoesIsOfTheStep(t *testing.T) {
	l := facttest.New("Runner.Worker")
	sh := l.Run(l.Root, "/usr/bin/bash", "bash")
	l.Add(event.Event{Kind: event.Step, Actor: sh, Via: event.ViaMonitor, Job: redact.Const("build"), StepID: redact.Const("goes")})
	l.Send(sh, "203.0.113.9:80", 1)
	l.Send(l.Run(sh, "/usr/bin/curl", "curl"), "203.0.113.10:80", 1)
	m := newMachine(0)
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	steps := map[string]string{}
	for _, f := range m.folder.Facts() {
		if f.Verb == fact.Connect {
			steps[f.Object.String()] = f.Job.String() + "/" + f.Step.String()
		}
	}
	if len(steps) != 2 {
		t.Fatal(steps)
	}
	for object, step := range steps {
		if step != "build/goes" {
			t.Errorf("%s is of %s", object, step)
		}
	}
}
