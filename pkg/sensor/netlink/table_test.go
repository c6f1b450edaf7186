package netlink

import (
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

func TestOtherNamespacesAreNoticedOnceAndOnlyWhereTheyAreCertain(t *testing.T) {
	home := event.Namespaces{Mount: 1, Net: 2, PID: 3, User: 4}
	away := home
	away.Net = 20
	type read struct {
		pid   uint32
		start int64
		ns    event.Namespaces
		at    int64
	}
	for name, c := range map[string]struct {
		before                      func(*table)
		read                        read
		changed, inherited, entered bool
	}{
		"the same ones":            {nil, read{10, 100, home, 5}, false, false, false},
		"new ones":                 {nil, read{10, 100, away, 5}, true, false, false},
		"those of somebody else":   {func(t *table) { t.found(process{pid: 11, start: 110, ns: away, own: true}) }, read{10, 100, away, 5}, true, false, true},
		"those of a child":         {func(t *table) { t.fork(11, 10, 110, 4); t.inside(11, 110, away, 5) }, read{10, 100, away, 6}, true, false, false},
		"a child in its parent's":  {func(t *table) { t.fork(11, 10, 110, 4) }, read{11, 110, home, 5}, false, true, false},
		"a child in others":        {func(t *table) { t.fork(11, 10, 110, 4) }, read{11, 110, away, 5}, true, true, false},
		"a process that is gone":   {nil, read{12, 0, away, 5}, false, false, false},
		"one with the same number": {nil, read{10, 200, away, 5}, false, false, false},
		"what cannot be read":      {nil, read{10, 100, event.Namespaces{}, 5}, false, false, false},
		"only one can be read":     {nil, read{10, 100, event.Namespaces{Net: 20}, 5}, true, false, false},
		"what was read before it went elsewhere": {func(t *table) { t.inside(10, 100, away, 5) },
			read{10, 100, home, 4}, false, false, false},
		"the child of one that has gone elsewhere after, or before, its birth": {func(t *table) {
			t.inside(10, 100, away, 5)
			t.fork(11, 10, 110, 4)
		}, read{11, 110, home, 6}, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable()
			tab.found(process{pid: 10, start: 100, ns: home, own: true})
			if c.before != nil {
				c.before(tab)
			}
			_, changed, inherited, entered := tab.inside(c.read.pid, c.read.start, c.read.ns, c.read.at)
			if changed != c.changed || inherited != c.inherited || entered != c.entered {
				t.Errorf("changed %v, inherited %v, entered %v; want %v, %v, %v", changed, inherited, entered, c.changed, c.inherited, c.entered)
			}
			if _, again, _, _ := tab.inside(c.read.pid, c.read.start, c.read.ns, c.read.at+1); again && c.read.at > 4 {
				t.Error("it is noticed again")
			}
		})
	}
}
