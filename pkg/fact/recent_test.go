package fact

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/process"
)

// Remembering paths spares work and changes no fact, also where folders come to
// be told as one, facts give way to others and the folders of the job move.
func TestRememberedPathsComeToTheSameFacts(t *testing.T) {
	for _, limit := range []int{40, 0} {
		r := rand.New(rand.NewPCG(uint64(limit), 3))
		l := facttest.New("make")
		var actors []event.Actor
		for i := range 6 {
			actors = append(actors, l.Run(l.Root, fmt.Sprintf("/usr/bin/tool%d", i%3), fmt.Sprintf("tool%d", i%3)))
		}
		begun := len(l.Events)
		for range 20_000 {
			a := actors[r.IntN(len(actors))]
			file := fmt.Sprintf("%s/d%d/f%d", []string{facttest.Root, "/etc", "/tmp/x", facttest.Home, "/proc"}[r.IntN(5)], r.IntN(1+r.IntN(1+r.IntN(12))), r.IntN(120))
			if r.IntN(9) == 0 {
				file = fmt.Sprintf("/proc/%d/oom_score_adj", a.PID+uint32(r.IntN(2)))
			}
			ev := event.Event{Kind: event.Open, Actor: a, Access: event.Write, Path: facttest.Text(file), File: event.FileID{Dev: 1, Inode: uint64(r.IntN(3))}}
			switch r.IntN(8) {
			case 0:
				ev.Kind = event.Unlink
			case 1:
				ev.Kind, ev.NewPath = event.Rename, ev.Path
			case 2:
				ev.Kind = event.Chmod
			case 3:
				ev.Kind, ev.Exe, ev.Filename = event.Exec, ev.Path, ev.Path
			}
			l.Add(ev)
		}
		tell := func(remember bool) *Folder {
			tree, table := process.NewTree(1000), names.New(100)
			f := NewFolder(tree, table, Folders{Root: facttest.Root, Home: facttest.Home}, limit)
			f.Explained = func(fact *Fact) bool { return fact.Place == Temp || fact.Place == Workspace }
			for i := range l.Events {
				ev := &l.Events[i]
				n := tree.Apply(ev)
				if !remember {
					f.recent.forget()
				}
				if i == (begun+len(l.Events))/2 {
					f.SetFolders(Folders{Root: facttest.Root + "/d1", Home: facttest.Home})
				}
				f.Apply(ev, n)
			}
			return f
		}
		remembering, plain := tell(true), tell(false)
		have, want := remembering.Facts(), plain.Facts()
		if len(have) != len(want) || len(want) < 40 {
			t.Fatalf("limit %d: %d facts, want %d", limit, len(have), len(want))
		}
		for i := range want {
			a, b := *have[i], *want[i]
			a.Node, b.Node = nil, nil // of two trees
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("limit %d: %+v\nwant %+v", limit, a, b)
			}
		}
		if a, b := remembering.LeftOut(), plain.LeftOut(); !reflect.DeepEqual(a, b) {
			t.Errorf("limit %d: left out %+v, want %+v", limit, a, b)
		}
		if !reflect.DeepEqual(remembering.written, plain.written) {
			t.Errorf("limit %d: other files are held to be written", limit)
		}
	}
}
