package signature

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
)

// inContainers are rules that ask what a container is called.
const inContainers = `title: t
name: by-%s
logsource: {product: linux, category: process_creation}
detection:
  s: {Image: /bin/sh}
  c: {Container: '%s'}
  condition: %s
---
`

func TestARuleWaitsForWhatAContainerIsCalled(t *testing.T) {
	const id = "4f2a00"
	rules := fmt.Sprintf(inContainers, "id", id, "s and c") + fmt.Sprintf(inContainers, "name", "web", "s and c") +
		fmt.Sprintf(inContainers, "tag", "r.example:5000/shop:1.2", "s and c") + fmt.Sprintf(inContainers, "image", "r.example:5000/shop", "s and c") +
		fmt.Sprintf(inContainers, "other", "db", "s and c") + fmt.Sprintf(inContainers, "not", "web", "s and not c")
	start := func() (*Matcher, *process.Tree, func(*event.Event) []string) {
		m, tree := load(t, strings.TrimSuffix(rules, "---\n")).Matcher(), process.NewTree(100)
		seq := uint64(0)
		return m, tree, func(e *event.Event) (hits []string) {
			seq++
			e.Seq, e.Time, e.Actor = seq, int64(seq)*1e9, event.Actor{PID: 7, Start: 1, Image: uint32(min(seq, 2))}
			for _, h := range m.Apply(&Input{Event: e, Node: tree.Apply(e)}) {
				hits = append(hits, fmt.Sprintf("%s %v", h.Rule.ID, h.Leaves))
			}
			return hits
		}
	}
	exec := func() *event.Event {
		return &event.Event{Kind: event.Exec, Exe: text("/bin/sh"), Argv: texts("sh"), Container: text(id)}
	}
	answer := func(name string) *event.Event {
		return &event.Event{Kind: event.Container, Container: text(id), OK: true, Name: text(name), ContainerImage: text("r.example:5000/shop:1.2")}
	}

	_, _, apply := start()
	if hits := apply(exec()); hits != nil {
		t.Errorf("before the engine has answered: %q", hits)
	}
	if hits := apply(&event.Event{Kind: event.Container, Container: text(id), Detail: text("/docker/x")}); hits != nil {
		t.Errorf("when the container is told: %q", hits)
	}
	if got, want := apply(answer("web")), []string{"by-id [1]", "by-name [1]", "by-tag [1]", "by-image [1]"}; !slices.Equal(got, want) {
		t.Errorf("when it has: %q, want %q", got, want)
	}
	if got, want := apply(answer("db")), []string(nil); !slices.Equal(got, want) {
		t.Errorf("what is said once more: %q", got)
	}

	m, tree, apply := start()
	apply(exec())
	if got := m.End(); len(got) != 2 || got[0].Rule.ID != "by-id" || got[1].Rule.ID != "by-not" {
		t.Errorf("when the log is over: %+v", got)
	}
	if got := m.End(); len(got) != 0 || len(m.held) != 0 {
		t.Errorf("once more: %+v", got)
	}

	// What finds no room is decided by the id alone.
	e := exec()
	n := tree.Apply(e)
	for range 2 * maxHeld {
		m.Apply(&Input{Event: e, Node: n})
	}
	if len(m.held) > maxHeld {
		t.Errorf("%d wait", len(m.held))
	}

	// Outside of any container nothing is waited for.
	_, _, apply = start()
	outside := exec()
	outside.Container = text("")
	if got, want := apply(outside), []string{"by-not [1]"}; !slices.Equal(got, want) {
		t.Errorf("outside: %q, want %q", got, want)
	}
}
