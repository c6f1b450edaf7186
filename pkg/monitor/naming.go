package monitor

import (
	"context"
	"slices"
	"time"

	"github.com/org/edamame-posture/pkg/engine"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// naming asks engines what containers are called, beside the way of events.
type naming struct {
	engines *engine.Engines
	asks    chan redact.Text
	done    chan struct{}

	// known holds the answers, and before those of the time before it was last
	// full, as in hierarchy. Both are guarded by the monitor's lock.
	known, before map[redact.Text]*called
}

// called is what an engine says of a container.
type called struct {
	answer engine.Answer
	why    string // where nothing is known
	asked  bool   // and so it is as it will be
}

const (
	// maxNamed bounds the containers of which answers are kept, twice.
	maxNamed = 4096
	// maxAsks bounds the containers that wait to be asked for.
	maxAsks = 512
	// maxAgain bounds those of them that are asked for again.
	maxAgain = 64
	// calledWithin is how long the end of a recording waits for answers.
	calledWithin = time.Second
)

// askOnceMore is how long after each try an engine is asked again: it may be busy,
// or write down what it started only then.
var askOnceMore = [...]time.Duration{300 * time.Millisecond, 2 * time.Second, 10 * time.Second}

func newNaming(root string) *naming {
	return &naming{
		engines: engine.New(root), asks: make(chan redact.Text, maxAsks), done: make(chan struct{}),
		known: make(map[redact.Text]*called), before: make(map[redact.Text]*called),
	}
}

// of returns what is known of a container, and has it asked for where nothing
// is. It is called with the monitor's lock held, and does not wait.
func (n *naming) of(id redact.Text) *called {
	if c := n.known[id]; c != nil {
		return c
	}
	if len(n.known) >= maxNamed {
		n.known, n.before = n.before, n.known
		clear(n.known)
	}
	c := n.before[id]
	if c == nil {
		c = new(called)
		select {
		case n.asks <- id:
		default:
			c.asked, c.why = true, "too many containers came at once: it was not asked for"
		}
	}
	n.known[id] = c
	return c
}

// callContainers asks for containers one after another until the monitor stops.
func (m *Monitor) callContainers() {
	defer close(m.naming.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-m.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	type late struct {
		id    redact.Text
		due   time.Time
		tries int
	}
	var again []late
	for {
		next := -1
		var due <-chan time.Time
		for i := range again {
			if next < 0 || again[i].due.Before(again[next].due) {
				next = i
			}
		}
		if next >= 0 {
			due = time.After(time.Until(again[next].due))
		}
		var l late
		select {
		case <-m.stop:
			return
		case l.id = <-m.naming.asks:
		case <-due:
			l = again[next]
			again = slices.Delete(again, next, next+1)
		}
		a, err := m.naming.engines.Ask(ctx, l.id.String())
		if err != nil && l.tries < len(askOnceMore) && len(again) < maxAgain && !engine.IsBuildStep(l.id.String()) {
			l.due = time.Now().Add(askOnceMore[l.tries])
			l.tries++
			again = append(again, l)
			continue
		}
		m.callContainer(l.id, a, err)
	}
}

// callContainer tells every recording that saw the container.
func (m *Monitor) callContainer(id redact.Text, a engine.Answer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.naming.of(id)
	c.asked, c.answer = true, a
	if err != nil {
		c.why = err.Error()
	}
	for _, r := range m.recs {
		if r != nil {
			r.called(id, c)
		}
	}
}

// seenContainer is who told a recording of a container.
type seenContainer struct {
	actor event.Actor
	via   event.Via
	named bool // it was told what the container is called
}

var (
	inRegistry = redact.Const("digest in the registry")
	imageID    = redact.Const("id of the image")
)

// called tells what a container is called, once.
func (r *recording) called(id redact.Text, c *called) {
	seen, ok := r.inContainer[id]
	if !ok || seen.named || !c.asked {
		return
	}
	seen.named = true
	r.inContainer[id] = seen
	ev := r.blank(event.Container, boottime())
	ev.Actor, ev.Via = seen.actor, seen.via
	ev.Container, ev.OK = id, true
	if c.why != "" {
		ev.Detail = r.red.String(c.why)
	} else {
		ev.Name, ev.ContainerImage = r.red.String(c.answer.Name), r.red.String(c.answer.Image)
		ev.SHA256 = c.answer.Digest
		switch {
		case ev.SHA256.IsZero():
		case c.answer.Registry:
			ev.Detail = inRegistry
		default:
			ev.Detail = imageID
		}
	}
	r.append(ev)
}

// awaitCalled returns when it is known of every container of a recording what it
// is called, or that it will not be.
func (m *Monitor) awaitCalled(r *recording) {
	for end := time.Now().Add(calledWithin); time.Now().Before(end); time.Sleep(time.Millisecond) {
		waits := false
		m.locked(func() {
			for _, seen := range r.inContainer {
				waits = waits || !seen.named
			}
		})
		if !waits {
			return
		}
	}
}

// uncalled tells of the containers that no engine has answered for by the end.
func (r *recording) uncalled() {
	for id, seen := range r.inContainer {
		if !seen.named {
			r.called(id, &called{asked: true, why: "its engine did not answer in time"})
		}
	}
}
