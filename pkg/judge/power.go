package judge

import (
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
)

// PowerState says whether processes of a recording had power over the machine:
// who has it can change what is recorded of it from then on.
type PowerState string

// The states of power.
const (
	PowerNone    PowerState = "none"    // nobody took it
	PowerGranted PowerState = "granted" // only who the intent lets, by `root:`
	PowerOpen    PowerState = "open"    // somebody else did, or all had it from the start
)

// Power is who took power over the machine in a recording, and what stood in
// the way.
type Power struct {
	State PowerState `json:"state"`
	// First is the leaf of the first event by which it was taken, of an ungranted
	// one where there is one.
	First uint64 `json:"first,omitempty"`
	// Ways are how, each once, and which programs: "root apt-get".
	Ways []string `json:"ways"`
	// Held counts the execs of programs that give power which waited until what
	// led to them was sealed, Missed those that waited in vain.
	Held   uint64 `json:"held"`
	Missed uint64 `json:"missed"`
}

// maxWays bounds the ways that are listed.
const maxWays = 32

// fromTheStart is the way of a recording whose first process was root.
const fromTheStart = "root from the start"

// barriers counts what stood in the way to power.
type barriers struct {
	held, missed uint64
	rootFirst    bool
	began        bool
	leaf         uint64
}

func (b *barriers) apply(ev *event.Event) {
	switch {
	case ev.Kind == event.Barrier && ev.OK:
		b.held++
	case ev.Kind == event.Barrier:
		b.missed++
	case ev.Kind == event.Exec && ev.Via == event.ViaLineage && !b.began:
		// The first program of the recording: nobody took what it was given.
		b.began, b.rootFirst, b.leaf = true, ev.UID == 0, ev.Seq
	}
}

// givesPower reports whether a fact of the verb power is power over the
// machine, and not over one other process.
func givesPower(f *fact.Fact) bool {
	what := f.Class.String()
	return what == "root" || strings.HasSuffix(what, " socket") || strings.HasPrefix(what, "bpf") ||
		strings.HasPrefix(what, "module") || strings.HasPrefix(what, "namespace")
}

// Power returns who took power over the machine so far. It is a pure function
// of log and intent, as the verdict is.
func (j *Judge) Power() Power {
	p := Power{State: PowerNone, Ways: []string{}, Held: j.barriers.held, Missed: j.barriers.missed}
	add := func(state PowerState, leaf uint64, way string) {
		if p.State == PowerNone || p.State == PowerGranted && state == PowerOpen {
			p.State, p.First = state, leaf
		} else if p.State == state {
			p.First = min(p.First, leaf)
		}
		if len(p.Ways) < maxWays && !slices.Contains(p.Ways, way) {
			p.Ways = append(p.Ways, way)
		}
	}
	if j.barriers.rootFirst {
		add(PowerOpen, j.barriers.leaf, fromTheStart)
	}
	for _, f := range j.folder.Facts() {
		if f.Verb != fact.Power || !givesPower(f) {
			continue
		}
		state := PowerOpen
		// What is not limited is not granted: only a grant says who may.
		if g := j.judge(f); g.status == explained && g.grant != nil {
			state = PowerGranted
		}
		way := f.Object.String()
		if len(f.Who) > 0 {
			way += " " + f.Who[0].String()
		}
		add(state, f.Leaf, way)
	}
	slices.Sort(p.Ways)
	return p
}
