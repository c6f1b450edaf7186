package judge_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/judge"
)

func TestWhoTookPowerOverTheMachine(t *testing.T) {
	root := func(l *facttest.Log, a event.Actor) event.Actor {
		l.Events[len(l.Events)-1].UID = 0
		return a
	}
	sudo := func(l *facttest.Log, program string) {
		l.Add(event.Event{Kind: event.Barrier, Actor: l.Root, Path: facttest.Text("/usr/bin/sudo"), OK: true})
		a := root(l, l.Run(l.Root, "/usr/bin/sudo", "sudo", program))
		root(l, l.Run(a, "/usr/bin/"+program, program))
	}
	for _, c := range []struct {
		name, policy string
		tell         func(l *facttest.Log)
		want         judge.Power
	}{
		{"nobody", "", func(l *facttest.Log) { l.Run(l.Root, "/usr/bin/make", "make") }, judge.Power{State: judge.PowerNone, Ways: []string{}}},
		{"another process of one's own is no power over the machine", "", func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.MemAccess, Op: event.OpRead, Actor: l.Root, Target: event.Actor{PID: 77, Start: 1}})
		}, judge.Power{State: judge.PowerNone, Ways: []string{}}},
		{"without an intent", "", func(l *facttest.Log) { sudo(l, "apt-get") }, judge.Power{State: judge.PowerOpen, First: 10, Ways: []string{"root apt-get"}, Held: 1}},
		{"an intent that does not speak of it grants nothing", "version: 1\negress: [\"*.example.com:443\"]\n", func(l *facttest.Log) { sudo(l, "apt-get") },
			judge.Power{State: judge.PowerOpen, First: 10, Ways: []string{"root apt-get"}, Held: 1}},
		{"who may", "version: 1\nroot: [apt-get]\n", func(l *facttest.Log) { sudo(l, "apt-get") },
			judge.Power{State: judge.PowerGranted, First: 10, Ways: []string{"root apt-get"}, Held: 1}},
		{"one who may and one who may not", "version: 1\nroot: [apt-get]\n", func(l *facttest.Log) { sudo(l, "apt-get"); sudo(l, "python3") },
			judge.Power{State: judge.PowerOpen, First: 15, Ways: []string{"root apt-get", "root python3"}, Held: 2}},
		{"a daemon's socket", "", func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.Unix, Actor: l.Root, Path: facttest.Text("/run/docker.sock")})
			l.Add(event.Event{Kind: event.Barrier, Actor: l.Root, Path: facttest.Text("/usr/bin/runc")})
		}, judge.Power{State: judge.PowerOpen, First: 6, Ways: []string{"docker socket make"}, Missed: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := facttest.New("make")
			c.tell(l)
			l.End(0)
			j := judge.New(resolved(t, c.policy), nil)
			for i := range l.Events {
				j.Apply(&l.Events[i])
			}
			if d := cmp.Diff(c.want, j.Power()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAJobThatIsRootNeedsToTakeNothing(t *testing.T) {
	l := facttest.New("make")
	l.Events[len(l.Events)-1].UID = 0
	l.End(0)
	j := judge.New(resolved(t, "version: 1\nroot: [make]\n"), nil)
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	if p := j.Power(); p.State != judge.PowerOpen || len(p.Ways) != 1 || p.Ways[0] != "root from the start" {
		t.Errorf("%+v", p)
	}
}
