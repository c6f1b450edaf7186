package fact_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/fact/facttest"
)

const tool = "/opt/tools/gen"

// ran folds a log and returns the fact of tool, or of the script build.sh.
func ran(t *testing.T, l *facttest.Log) *fact.Fact {
	t.Helper()
	m := newMachine(0)
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	for _, f := range m.folder.Facts() {
		if f.Verb == fact.Exec && (f.Object.Is(tool) || f.Object.Is("build.sh")) {
			return f
		}
	}
	t.Fatal("there is no fact")
	return nil
}

func TestAFactKnowsTheDigestsOfAllThatItRan(t *testing.T) {
	list := []event.SHA256{facttest.Digest(1), facttest.Digest(2)}
	script := func(l *facttest.Log) event.Actor {
		return l.Script(l.Root, "./build.sh", "/bin/sh", "sh", "./build.sh")
	}
	for _, c := range []struct {
		name    string
		tell    func(l *facttest.Log)
		known   []byte
		unknown string // empty: nothing
		in      bool
	}{
		{"told after the exec", func(l *facttest.Log) { l.Holds(l.Run(l.Root, tool, "gen"), 1) }, []byte{1}, "", true},
		{"told before another exec of the same", func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, tool, "gen"), 1)
			again := l.Events[len(l.Events)-2]
			again.Actor = l.Fork(l.Root)
			again.Actor.Image++
			l.Add(again)
		}, []byte{1}, "", true},
		{"two contents at one path", func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, tool, "gen"), 1)
			l.Holds(l.Run(l.Root, tool, "gen"), 2)
		}, []byte{1, 2}, "", true},
		{"one of them another", func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, tool, "gen"), 1)
			l.Holds(l.Run(l.Root, tool, "gen"), 3)
		}, []byte{1, 3}, "", false},
		{"one that is not told", func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, tool, "gen"), 1)
			l.Holds(l.Run(l.Root, tool, "gen"), 2)
			l.Events = l.Events[:len(l.Events)-1]
		}, []byte{1}, "the log does not tell it", false},
		{"one that could not be read", func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, tool, "gen"), 1)
			l.Holds(l.Run(l.Root, tool, "gen"), 0)
		}, []byte{1}, "could not be read", false},
		{"not known stays so", func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, tool, "gen"), 0)
			d := l.Events[len(l.Events)-1]
			d.SHA256, d.Detail = facttest.Digest(1), facttest.Text("")
			l.Add(d)
		}, []byte{1}, "could not be read", false},
		{"one that nobody looked at", func(l *facttest.Log) {
			l.Holds(l.Run(l.Root, tool, "gen"), 1)
			l.Run(l.Root, tool, "gen")
		}, []byte{1}, "executed files were not digested", false},
		{"a recording without digests", func(l *facttest.Log) { l.Run(l.Root, tool, "gen") }, nil, "executed files were not digested", false},
		{"the same inode with another time", func(l *facttest.Log) {
			a := l.Run(l.Root, tool, "gen")
			l.Holds(a, 1)
			e := l.Events[len(l.Events)-2]
			e.CTime++
			l.Add(e)
		}, []byte{1}, "the log does not tell it", false},
		{"a script, by its own", func(l *facttest.Log) { l.Holds(script(l), 1) }, []byte{1}, "", true},
		{"a script, not by its interpreter", func(l *facttest.Log) {
			a := script(l)
			l.Holds(a, 3)
			d := &l.Events[len(l.Events)-1]
			d.Image, d.Filename, d.Cwd, d.SHA256 = 0, facttest.Text(""), facttest.Text(""), facttest.Digest(1)
		}, nil, "the log does not tell it", false},
		{"a script that changes", func(l *facttest.Log) {
			l.Holds(script(l), 1)
			l.Holds(script(l), 3)
		}, []byte{1, 3}, "", false},
		{"more contents than are remembered", func(l *facttest.Log) {
			for i := range byte(80) {
				l.Holds(l.Run(l.Root, tool, "gen"), 100+i)
			}
		}, slices.Collect(func(yield func(byte) bool) {
			for i := range byte(64) {
				if !yield(100 + i) {
					return
				}
			}
		}), "executed files were not digested", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := facttest.New("make")
			c.tell(l)
			f := ran(t, l)
			known, unknown := f.Digests()
			var want []event.SHA256
			for _, n := range c.known {
				want = append(want, facttest.Digest(n))
			}
			if !slices.Equal(known, want) || (unknown.IsZero()) != (c.unknown == "") || !strings.Contains(unknown.String(), c.unknown) {
				t.Errorf("known %v, not known %q; want %v, %q", known, unknown, want, c.unknown)
			}
			if f.Ran(list) != c.in {
				t.Errorf("one of the list: %v", f.Ran(list))
			}
		})
	}
}

// What a job can make without end is not remembered without end.
func TestContentsBeyondTheBoundAreNotKnown(t *testing.T) {
	m := newMachine(0)
	l := facttest.New("make")
	a := l.Run(l.Root, tool, "gen")
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	e := l.Events[len(l.Events)-1]
	e.Kind, e.Actor = event.Digest, a
	for i := range 1<<14 + 10 {
		e.Size, e.CTime, e.SHA256 = uint64(i), 5, facttest.Digest(1)
		m.apply(&e)
	}
	e.Kind, e.SHA256, e.Exe = event.Exec, event.SHA256{}, facttest.Text("/usr/bin/last")
	f := m.apply(&e)
	known, unknown := f.Digests()
	if len(known) != 0 || !unknown.Contains("more files were executed than are remembered") {
		t.Error(fmt.Sprint(known, unknown))
	}
}
