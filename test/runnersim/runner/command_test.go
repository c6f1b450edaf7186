package runner

import (
	"reflect"
	"strings"
	"testing"
)

func TestFileCommandsAreLinesAndBlocks(t *testing.T) {
	got, err := parsePairs("a=1\nb<<END\nx\ny=z\nEND\nc=x<<y\n")
	want := [][2]string{{"a", "1"}, {"b", "x\ny=z"}, {"c", "x<<y"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for _, bad := range []string{"a<<END\nx\n", "no value\n", "=x"} {
		if got, err := parsePairs(bad); err == nil {
			t.Errorf("%q was read as %q", bad, got)
		}
	}
}

func FuzzFileCommands(f *testing.F) {
	f.Add("a=1\nb<<END\nx\nEND\n")
	f.Fuzz(func(t *testing.T, s string) {
		pairs, _ := parsePairs(s)
		for _, p := range pairs {
			if p[0] == "" || !strings.Contains(s, p[0]) {
				t.Errorf("%q has the name %q", s, p[0])
			}
		}
	})
}

func TestStepsObeyTheirConditions(t *testing.T) {
	for _, c := range []struct {
		status    status
		condition string
		want      bool
	}{
		{going, "", true}, {failed, "", false}, {cancelled, "", false},
		{failed, "failure()", true}, {going, "${{ failure() }}", false},
		{cancelled, "always()", true}, {cancelled, "!cancelled()", false}, {failed, "!cancelled()", true},
	} {
		if got, err := c.status.holds(c.condition); err != nil || got != c.want {
			t.Errorf("%v, %q: got %v, %v", c.status, c.condition, got, err)
		}
	}
	if _, err := going.holds("github.ref == 'x'"); err == nil {
		t.Error("a condition that is not known was taken for one")
	}
}
