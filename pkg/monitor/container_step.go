package monitor

import (
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/runner"
	"github.com/org/edamame-posture/pkg/sensor"
)

// client is a client of a container engine that a worker started for a step. The
// engine starts one process in a container for it, which is no child of it.
type client struct {
	p     *process.Process
	actor event.Actor // p is another's once this one has gone
	step  runner.Step
	asked runner.Asked
}

// maxClients bounds the clients of a recording that wait for their process. A
// worker starts one for each step that runs.
const maxClients = 256

func (c *client) alive() bool { return c.p.Alive && processOf(c.p.Actor) == processOf(c.actor) }

// asks takes note of a client of an engine, by the arguments that the kernel
// has of it.
func (r *recording) asks(p *process.Process, s runner.Step, argv []byte) {
	asked := runner.AskedOf(argv)
	if s.Kind != runner.Container || asked == (runner.Asked{}) {
		return
	}
	kept := r.clients[:0]
	for _, c := range r.clients {
		if c.alive() {
			kept = append(kept, c)
		}
	}
	if r.clients = kept; len(kept) < maxClients {
		r.clients = append(kept, client{p, p.Actor, s, asked})
	}
}

// enters returns the client for which an engine started a process in a container,
// whose exec ev is; nil where there is none. It must be the first that the client
// could have asked for: in the container that it named, or in one that is new.
// And what the worker gave the client to pass on must be in the environment: of
// several steps that run at once it says which.
//
// A step that forges another one's environment in a container of its own, while
// that one's client waits for its container, is told as the other's. That
// client's own process then is of no step.
func (r *recording) enters(rec *sensor.Record, p *process.Process, ev *event.Event, via event.Via) *client {
	// A runtime is in the container's cgroup before it starts anything there. runc
	// runs from a mount of its own then, where its file has the path "/".
	if via != event.ViaRequest || ev.Container.IsZero() || string(rec.Exe) == "/" || process.IsRuntime(string(rec.Exe)) {
		return nil
	}
	fresh := !r.entered[ev.Container]
	if fresh && len(r.entered) < maxContainers {
		r.entered[ev.Container] = true
	}
	if len(r.clients) == 0 || p.InStep() {
		return nil
	}
	var job, id redact.Text
	for _, v := range ev.Env {
		switch v.Name.String() {
		case "GITHUB_JOB":
			job = v.Value
		case "GITHUB_ACTION":
			id = v.Value
		}
	}
	for i := range r.clients {
		c := &r.clients[i]
		there := c.asked.New && fresh || c.asked.In != "" && strings.HasPrefix(ev.Container.String(), c.asked.In)
		if !there || c.step.Job != job || c.step.ID != id || !c.alive() {
			continue
		}
		found := *c
		r.clients = append(r.clients[:i], r.clients[i+1:]...)
		return &found
	}
	return nil
}

// joined tells which step a process in a container is of.
func (r *recording) joined(now int64, p *process.Process, c *client) {
	p.JoinStep()
	ev := r.blank(event.Step, now)
	ev.Actor, ev.Parent = p.Actor, c.actor
	ev.Job, ev.StepID, ev.StepAction, ev.Detail = c.step.Job, c.step.ID, c.step.Action, c.step.Kind
	r.append(ev)
}
