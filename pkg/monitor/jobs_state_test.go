package monitor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/posture"
	"github.com/org/edamame-posture/pkg/process"
)

func snapshot() *posture.Snapshot {
	return &posture.Snapshot{Version: posture.Version, Items: []posture.Item{}, State: []posture.State{}, Unread: []posture.Unread{}}
}

func TestWhatTheMachineWasOutlivesTheMonitor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "machine.json")
	_, s, err := readStates(path)
	if err != nil || len(s.Users) != 0 {
		t.Fatalf("where there is none: %+v, %v", s, err)
	}
	for i := range maxUsers + 3 {
		s.put(&state{UID: uint32(i), Home: "/h", Job: fmt.Sprint(i), Snapshot: snapshot()})
	}
	s.put(&state{UID: 5, Home: "/h", Job: "again", Snapshot: snapshot()})
	s.put(&state{UID: 6, Home: "/h", Job: "without"})
	s.Left = []leftover{{event.Actor{PID: 7, Start: 123456789}, "a"}}
	if err := s.write(path); err != nil {
		t.Fatal(err)
	}
	_, got, err := readStates(path)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Fatalf("%v: %+v, want %+v", err, got, s)
	}
	if len(got.Users) != maxUsers || got.of(0, "/h") != nil || got.of(5, "/h").Job != "again" || got.of(6, "/h").Job != "6" || got.of(5, "/other") != nil {
		t.Errorf("%d users: %+v", len(got.Users), got.Users)
	}
	// Of another boot no process is the one that was.
	s.Boot = "another"
	if err := s.write(path); err != nil {
		t.Fatal(err)
	}
	if _, got, err = readStates(path); err != nil || len(got.Left) != 0 || len(got.Users) != maxUsers {
		t.Errorf("after another boot: %+v, %v", got.Left, err)
	}
	if err := os.WriteFile(path, []byte(`{"users":[{}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, got, err = readStates(path); err == nil || len(got.Users) != 0 || got.Key == [32]byte{} {
		t.Errorf("a file that is none of ours: %+v, %v", got, err)
	}
}

func TestALeftoverIsKnownByTheTickWhereProcSaysWhenItBegan(t *testing.T) {
	l := leftover{event.Actor{PID: 7, Start: 12_345_678_901}, "a"}
	for want, ps := range map[bool][]*process.Process{
		true: {
			{Actor: event.Actor{PID: 7, Start: 12_345_678_901, Image: 2}, Alive: true},
			{Actor: event.Actor{PID: 7, Start: 12_340_000_000}, Alive: true, Coarse: true},
		},
		false: {
			nil, {Actor: event.Actor{PID: 7, Start: 12_345_678_901}}, {Actor: event.Actor{PID: 7, Start: 12_340_000_000}, Alive: true},
			{Actor: event.Actor{PID: 7, Start: 12_350_000_000}, Alive: true, Coarse: true}, {Actor: event.Actor{PID: 8, Start: 12_345_678_901}, Alive: true},
		},
	} {
		for _, p := range ps {
			if l.is(p) != want {
				t.Errorf("%+v: want %v", p, want)
			}
		}
	}
}

func FuzzStates(f *testing.F) {
	good, err := json.Marshal(&states{Boot: "b", Users: []*state{{UID: 1, Home: "/h", Snapshot: snapshot()}}, Left: []leftover{{event.Actor{PID: 1, Start: 2}, "a"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s states
		if s.decode(data) != nil {
			return
		}
		for _, u := range s.Users {
			posture.Compare(u.Snapshot, u.Snapshot)
		}
		if len(s.Users) > maxUsers || len(s.Left) > maxLeft {
			t.Errorf("%d users, %d processes", len(s.Users), len(s.Left))
		}
	})
}
