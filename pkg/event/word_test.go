package event

import (
	"slices"
	"testing"
)

func TestAProtocolIsReadFromItsWord(t *testing.T) {
	for n := range 1 << 16 {
		p, ok := parseProto(Proto(n).String())
		if !ok || p != Proto(n) {
			t.Fatalf("%d is written %q and read %d, %v", n, Proto(n), p, ok)
		}
	}
	for _, s := range []string{"", "6", "TCP", "017", "+1", "65536", "256", "-1"} {
		if p, ok := parseProto(s); ok {
			t.Errorf("%q is read as %v", s, p)
		}
	}
}

func TestEveryKindAndOpHasAWordOfItsOwn(t *testing.T) {
	if len(kindByName) != int(kindCount) {
		t.Errorf("%d words for %d kinds", len(kindByName), kindCount)
	}
	if len(opByName) != int(opCount)-1 {
		t.Errorf("%d words for %d operations", len(opByName), opCount-1)
	}
}

func TestBitsAreNamedInOrder(t *testing.T) {
	if got := (Append | Read | Create).String(); got != "read,create,append" {
		t.Error(got)
	}
	if got := (Script | Memfd).String(); got != "memfd,script" {
		t.Error(got)
	}
	if got := Access(0).String(); got != "" {
		t.Error(got)
	}
}

func TestAnActorIsReadFromItsWords(t *testing.T) {
	for _, a := range []Actor{{}, {PID: 1, Start: 2}, {PID: 4711, Start: 81020301234, Image: 3}, {PID: 1<<32 - 1, Start: 1<<63 - 1, Image: 1<<32 - 1}} {
		got, err := ParseActor(a.String())
		if err != nil || got != a {
			t.Errorf("%s: %v, %v", a, got, err)
		}
	}
	for _, s := range []string{"", "1", "@", "1@", "@1", "1@2.", "1@2.3.4", "x@1", "1@2.-1", "4294967296@1"} {
		if a, err := ParseActor(s); err == nil {
			t.Errorf("%q is read as %v", s, a)
		}
	}
}

func TestActorsSortByStartThenPIDThenImage(t *testing.T) {
	want := []Actor{{9, 1, 0}, {2, 2, 0}, {3, 2, 0}, {3, 2, 1}}
	got := []Actor{want[3], want[1], want[0], want[2]}
	slices.SortFunc(got, Actor.Compare)
	if !slices.Equal(got, want) {
		t.Error(got)
	}
}
